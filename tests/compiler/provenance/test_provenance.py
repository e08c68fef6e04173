"""Provenance: every value has an origin or is a named constant, and what is said of it is so."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from stoa_compiler.provenance import TABLES, Cause, Place, Provenance
from stoa_compiler.provenance.reading import leaves, on_line, resolved, written
from stoa_schemas import bundle
from stoa_schemas.documents import KINDS
from tests.compiler.provenance import causality
from tests.compiler.provenance.causality import GONE, SOURCES, World, edited, keyed, prove, read
from tests.compiler.sources import BASE

STRATEGY = ("spec", "identity", "strategy")
TENANTS, RICH = SOURCES


def world(root: Path, strategy: str | None = None) -> World:
    made = World.of(read(root))
    assert made is not None
    if strategy is not None:
        document = next(iter(made.provenances.values()))._places.graph.origin.document
        edits: list[causality.Edit] = [(Place(document, STRATEGY), strategy)]
        edits += [
            (Place(document, ("spec", "identity", key)), GONE) for key in ("tenants", "features", "metadataHosts")
        ]
        made = World.of(edited(made.source, edits))
        assert made is not None
    return made


@pytest.fixture(scope="module")
def rich() -> World:
    return world(RICH)


@pytest.fixture(scope="module")
def demo() -> World:
    return world(TENANTS)


# Every value has an origin.


@pytest.mark.parametrize("root", [TENANTS, RICH, BASE], ids=["demo", "rich", "base"])
@pytest.mark.parametrize("strategy", ["single-realm", "realm-per-tenant"])
def test_no_value_is_without_an_origin(root: Path, strategy: str) -> None:
    for provenance in world(root, strategy).provenances.values():
        lacking = [f"{t.path}:{written(t.pointer)}" for t in provenance.undeclared]
        assert lacking == [], "add a rule to the target's table in compiler/stoa_compiler/provenance/"


def test_organizations_and_features_have_origins_too(rich: World) -> None:
    assert [t for p in rich.provenances.values() for t in p.undeclared] == []


def test_each_artifact_has_one_table(rich: World, demo: World) -> None:
    for world in (rich, demo):
        for provenance in world.provenances.values():
            for path in provenance.files:
                assert sum(t.fits(path) for t in TABLES) == 1, path


def test_names_of_rules_are_stable_words() -> None:
    """A rule's name says whether it is a constant: none is both in one artifact."""
    for table in TABLES:
        kinds = {(r.emission.name, r.emission.constant) for r in table.rules}
        assert len({name for name, _ in kinds}) == len(kinds), table.paths
        for rule in table.rules:
            assert rule.emission.name.replace(".", "").replace("-", "").isalpha()
            assert rule.emission.sentence.endswith(".")


# The richer source is as rich as the language.


def fields_of(model: Any, seen: set[type[BaseModel]]) -> Iterator[tuple[str, str]]:
    for plain in _models(model):
        if plain not in seen:
            seen.add(plain)
            for name, field in plain.model_fields.items():
                yield plain.__name__, field.alias or name
                yield from fields_of(field.annotation, seen)


def used_in(model: Any, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from used_in(model, item)
    for plain in _models(model):
        aliases = {f.alias or n: f for n, f in plain.model_fields.items()}
        if isinstance(value, dict) and value.keys() <= aliases.keys():
            for key, below in value.items():
                yield plain.__name__, key
                yield from used_in(aliases[key].annotation, below)
        elif isinstance(value, dict):
            for below in value.values():
                yield from used_in(model, below) if isinstance(below, dict) else ()


def _models(model: Any) -> list[type[BaseModel]]:
    if get_origin(model) in (Annotated, Union, UnionType, list, dict):
        return [m for a in get_args(model) for m in _models(a)]
    if hasattr(model, "__value__"):
        return _models(model.__value__)
    return [model] if isinstance(model, type) and issubclass(model, BaseModel) else []


def test_the_rich_source_uses_every_key() -> None:
    seen: set[type[BaseModel]] = set()
    every = {f for kind in KINDS.values() for f in fields_of(kind, seen)}
    used: set[tuple[str, str]] = set()
    for path in RICH.rglob("*.yaml"):
        if path.parent.name != "sources":
            document = yaml.safe_load(path.read_text())
            used |= set(used_in(KINDS[document["kind"]], document))
    assert every - used == set()


# What is said is so.


def test_a_change_of_a_cause_changes_the_value_and_no_constant() -> None:
    """A sample; `python -m tests.compiler.provenance.causality` tries them all."""
    proof = prove(read(RICH), lambda number: number % 25 == 5)
    assert proof.broken == []
    assert proof.moved == []
    assert proof.unnamed == []
    assert proof.causes > 50
    assert proof.alone + proof.along == proof.causes - len(proof.refused)
    assert len(proof.refused) < proof.causes / 20
    assert proof.alone > 30


def test_the_trial_finds_a_wrong_cause_and_a_wrong_constant(rich: World) -> None:
    provenance = rich.provenances["prod"]
    traced = next(t for t in provenance.of(bundle.PLATFORM_INDEX) if t.pointer == ("domain",))
    where = (("prod", traced.path), ("domain",))
    wrong = Cause((provenance._places.platform("displayName"),))
    proof = causality.Proof()
    named = (("prod", traced.path), ("displayName",))
    causality._try(rich, wrong, [where], {named: "Harbour"}, {named: set()}, proof, {})
    assert len(proof.broken) == 1
    assert proof.moved
    assert proof.unnamed


def test_digests_and_copies_change_with_what_they_are_of(rich: World) -> None:
    document = rich.provenances["prod"]._places.node("acme").origin.document
    other = World.of(edited(rich.source, [(Place(document, ("spec", "displayName")), "Another name")]))
    assert other is not None
    provenance, checked = rich.provenances["prod"], 0
    for path in provenance.files:
        for traced in provenance.of(path):
            if not traced.within:
                continue
            rests = any(
                p.key[1] == ("spec", "displayName") and p.key[0] == document.file.path
                for c in provenance.causes(traced)
                for p in c.places
            )
            at, pointer = ("prod", path), keyed(provenance.data(path), traced.pointer)
            differs = other.values[at].get(pointer, GONE) != traced.value
            said = f"{path}:{written(traced.pointer)}"
            assert traced.emission is not None
            if traced.emission.name == "bundle.size":  # Another text may be as long.
                assert rests or not differs, said
            else:
                assert differs == rests, said
            checked += 1
    assert checked > 40


def test_digests_are_of_the_files_that_are_named(rich: World) -> None:
    provenance = rich.provenances["prod"]
    for traced in provenance.of(bundle.BUNDLE_FILE):
        assert traced.emission is not None
        if traced.emission.name in ("bundle.digest", "bundle.size"):
            content = provenance.files[traced.within[0][0]].content
            assert traced.value in (bundle.sha256(content), len(content))


# Pointers and lines.


def test_pointers_are_read_as_they_are_written(rich: World) -> None:
    for provenance in rich.provenances.values():
        for path in provenance.files:
            data = provenance.data(path)
            for pointer, value in leaves(data):
                assert resolved(data, written(pointer)) == pointer
                assert at(data, pointer) == value
    assert resolved({"a": [1]}, "/a/1") is None
    assert resolved({"a~/b": 1}, "/a~0~1b") == ("a~/b",)


def at(data: Any, pointer: tuple[str | int, ...]) -> Any:
    for step in pointer:
        data = data[step]
    return data


def test_every_value_stands_on_a_line(rich: World) -> None:
    provenance = rich.provenances["prod"]
    for path in ("kubernetes/platform/tenant-acme.yaml", "argocd/root.yaml", "keycloak/harbour-realm.json"):
        artifact = provenance.files[path]
        found: Mapping[int, set[Any]] = {
            line: on_line(artifact, line) for line in range(1, artifact.content.count(b"\n") + 1)
        }
        assert set().union(*found.values()) == {p for p, _ in leaves(provenance.data(path))}
    lines = provenance.files["kubernetes/platform/tenant-acme.yaml"].content.decode().splitlines()
    where = next(n for n, line in enumerate(lines, 1) if "requests.storage" in line)
    assert on_line(provenance.files["kubernetes/platform/tenant-acme.yaml"], where) == {
        (1, "spec", "hard", "requests.storage")
    }


def test_the_places_are_where_the_source_says_it(demo: World) -> None:
    provenance = demo.provenances["prod"]
    traced = next(t for t in provenance.of("mcp/tenants/ioi.json") if t.pointer == ("contact",))
    (cause,) = traced.causes
    (place,) = cause.places
    assert str(place.span) == "tenants/ioi/tenant.yaml:11:12"
    assert isinstance(provenance, Provenance)

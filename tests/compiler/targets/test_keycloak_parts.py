"""The realm in parts: put together it is what one piece would be, and what was put together wrongly is found."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph, Origin, Remembered, TenantFacts, TenantNode
from stoa_compiler.target import Artifact, Part, Parts
from stoa_compiler.targets.keycloak import TARGET
from stoa_compiler.targets.keycloak.verify import judge_number
from stoa_schemas.documents import Platform
from tests.compiler.targets.test_keycloak import (
    CONSUMERS,
    MUTATIONS,
    PLATFORM,
    apart,
    document,
    features,
    people_of,
    tenant_node,
    with_identity,
)

PATH = "keycloak/stoa-realm.json"


def parts_of() -> Parts:
    assert TARGET.parts is not None
    return TARGET.parts


PARTS = parts_of()


def graph_of(*tenants: TenantNode) -> Graph:
    doc = document("platform.yaml", PLATFORM)
    people, groups = people_of("platform", doc)
    return Graph("stoa", Platform.model_validate(PLATFORM), people, groups, tenants, Origin(doc))


@pytest.fixture
def graph() -> Graph:
    """Three tenants, of which two have applications."""
    return graph_of(
        tenant_node("greg", ["sorrento"], ["prod"], {}),
        tenant_node("ioi", ["parzival", "art3mis"], ["prod"], CONSUMERS),
        tenant_node("ioi-b", ["aech"], ["prod"], {"web": CONSUMERS["web"]}),
    )


def organized(graph: Graph) -> Graph:
    return with_identity(graph, tenants="organizations")


def made(graph: Graph) -> dict[str, Part]:
    return {t.name: PARTS.emit(graph, "prod", t, {}) for t in graph.tenants_in("prod")}


def joined(graph: Graph, parts: Mapping[str, Part]) -> dict[str, Artifact]:
    return {a.path: a for a in PARTS.join(graph, "prod", parts, {})}


def only_facts(graph: Graph) -> Graph:
    """The graph as a run has it that knew all tenants: who asks for a node fails."""

    def nodes(names: object) -> Mapping[str, TenantNode]:
        raise AssertionError(names)

    return replace(graph, tenants=Remembered([TenantFacts.of(t) for t in graph.tenants], nodes))


def said(report: Report) -> list[tuple[str, str]]:
    return [(d.rule.code, d.message) for d in report.sorted()]


def proved(graph: Graph, parts: Mapping[str, Part]) -> list[tuple[str, str]]:
    report = Report()
    PARTS.verify(graph, "prod", parts, {}, report)
    return said(report)


def rest(graph: Graph, parts: Mapping[str, Part], files: Mapping[str, Artifact]) -> list[tuple[str, str]]:
    report = Report()
    PARTS.verify_rest(graph, "prod", parts, files, report)
    return said(report)


def whole(graph: Graph) -> list[tuple[str, str]]:
    report = Report()
    TARGET.verify(graph, "prod", {a.path: a for a in TARGET.emit(graph, "prod", {})}, report)
    return said(report)


def kept(part: Part) -> Part:
    """The part as plain JSON brings it back."""
    return Part(part.artifacts, json.loads(json.dumps(part.shared)))


VARIANTS: Mapping[str, Callable[[Graph], Graph]] = {
    "plain": lambda g: g,
    "organizations": organized,
    "features": features,
    "all": lambda g: organized(features(g)),
    "apart": apart,
    "older": lambda g: with_identity(g, keycloak="26.4"),
}
NAMES = st.text(alphabet="abo-é", min_size=1, max_size=4).filter(lambda n: n.isascii() and n.strip("-") == n)
TEXTS = st.text(alphabet=st.characters(min_codepoint=32, exclude_categories=("Cs",)), min_size=1, max_size=12)


@st.composite
def sources(draw: st.DrawFn) -> Graph:
    """Some tenants, with texts of any script, whose people may be called alike."""
    tenants = []
    for name in sorted(draw(st.sets(NAMES, max_size=4))):
        people = draw(
            st.lists(
                st.sampled_from(["ann", "bob", f"x-{name}", f"y-{name}", f"service-account-{name}.robot"]),
                unique=True,
                max_size=3,
            )
        )
        consumers = draw(st.sets(st.sampled_from(sorted(CONSUMERS))))
        node = tenant_node(name, people, ["prod"], {c: CONSUMERS[c] for c in consumers})
        spec = node.declared.spec.model_copy(update={"display_name": draw(TEXTS)})
        named = tuple(replace(p, first_name=draw(TEXTS)) for p in node.people)
        tenants.append(replace(node, declared=node.declared.model_copy(update={"spec": spec}), people=named))
    return VARIANTS[draw(st.sampled_from(sorted(VARIANTS)))](graph_of(*tenants))


@given(sources(), st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_put_together_it_is_what_one_piece_would_be_and_the_same_is_found(graph: Graph, data: st.DataObject) -> None:
    parts = {name: kept(part) for name, part in made(graph).items()}
    files = joined(only_facts(graph), parts)
    assert {p: a.content for p, a in files.items()} == {a.path: a.content for a in TARGET.emit(graph, "prod", {})}
    # Proved in shares of any kind, the same is found as in one piece; of tokens, what is found first may differ.
    report, there = Report(), list(graph.tenants)
    while there:
        count = data.draw(st.integers(1, len(there)))
        share, there = there[:count], there[count:]
        of_these = {t.name: parts[t.name] for t in share}
        PARTS.verify(replace(graph, tenants=tuple(share)), "prod", of_these, {}, report)
    PARTS.verify_rest(graph, "prod", parts, files, report)
    at_once = Report()
    TARGET.verify(graph, "prod", {a.path: a for a in TARGET.emit(graph, "prod", {})}, at_once)
    found, expected = ({(d.rule.code, d.span, d.message, d.notes) for d in r.found} for r in (report, at_once))
    if any(code == "STOA649" for code, *_ in expected):
        # One piece does not tell the accounts of people of one name apart, and misses what is wrong with the first.
        found, expected = ({f for f in some if f[0] == "STOA649"} for some in (found, expected))
    assert {f for f in found if f[0] != "STOA642"} == {f for f in expected if f[0] != "STOA642"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_found_and_no_node_is_asked_for(graph: Graph, variant: str) -> None:
    graph = VARIANTS[variant](graph)
    parts = made(graph)
    assert proved(graph, parts) == []
    assert rest(only_facts(graph), parts, joined(only_facts(graph), parts)) == []
    none = replace(graph, tenants=())
    assert rest(none, {}, joined(none, {})) == []


def lines_of(content: bytes, name: str) -> tuple[int, int]:
    """Where the lines of an entry of a top list begin and end in the file, by a text that only it has."""
    at = content.index(name.encode())
    return content.rindex(b"\n    {\n", 0, at) + 1, content.index(b"\n    }", at) + len(b"\n    }")


def without(content: bytes, name: str) -> bytes:
    start, end = lines_of(content, name)
    return content[:start] + content[end + len(b",\n") :]


def doubled(content: bytes, name: str) -> bytes:
    start, end = lines_of(content, name)
    return content[:end] + b",\n" + content[start:]


def swapped(content: bytes, one: str, other: str) -> bytes:
    (a, b), (c, d) = lines_of(content, one), lines_of(content, other)
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def replaced(content: bytes, one: str, other: str) -> bytes:
    (a, b), (c, d) = lines_of(content, one), lines_of(content, other)
    return content[:a] + content[c:d] + content[b:]


GREG, IOI = '"email": "sorrento@greg.example"', '"email": "parzival@ioi.example"'
WRONG: Mapping[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "one lost": (lambda c: without(c, IOI), "STOA652", "the realm lacks `parzival` in `users`"),
    "one twice": (lambda c: doubled(c, IOI), "STOA652", "the realm holds `parzival` in `users`"),
    "two in each other's place": (lambda c: swapped(c, IOI, GREG), "STOA641", "the entries of `users` are not in"),
    "one in another's place": (lambda c: replaced(c, IOI, GREG), "STOA652", "the realm lacks `parzival` in `users`"),
    "a client lost": (lambda c: without(c, '"clientId": "ioi.web"'), "STOA652", "the realm lacks `ioi.web`"),
    "a client twice": (lambda c: doubled(c, '"clientId": "ioi.web"'), "STOA652", "the realm holds `ioi.web`"),
    "a scope lost": (
        lambda c: without(c, '"name": "stoa-tenant-ioi"'),
        "STOA652",
        "the realm lacks `stoa-tenant-ioi` in `clientScopes`",
    ),
    "a mapping lost": (
        lambda c: without(c, '"client": "ioi.robot"'),
        "STOA652",
        "the realm lacks `ioi.robot` in `scopeMappings`",
    ),
    "an Organization lost": (
        lambda c: without(c, '"alias": "ioi"'),
        "STOA652",
        "the realm lacks `ioi` in `organizations`",
    ),
    "an Organization's people changed": (
        lambda c: c.replace(b'"membershipType": "UNMANAGED"', b'"membershipType": "MANAGED"', 1),
        "STOA652",
        "the realm holds `greg` in `organizations`",
    ),
    "a group changed": (
        lambda c: c.replace(b'"tenant": [\n          "greg"', b'"tenant": [\n          "ioi"', 1),
        "STOA652",
        "the realm holds `greg` in `groups`",
    ),
    "another's gate": (
        lambda c: c.replace(b'"roles": [\n          "ioi"', b'"roles": [\n          "ioi-b"', 1),
        "STOA652",
        "the realm holds `stoa-tenant-ioi` in `clientScopeMappings`",
    ),
    "a gate's role lost": (
        lambda c: c.replace(b'        {\n          "name": "ioi"\n        },\n', b"", 1),
        "STOA652",
        "the realm lacks `ioi` in `roles`",
    ),
    "the platform's person lost": (
        lambda c: without(c, '"username": "halliday"'),
        "STOA652",
        "the realm lacks `halliday` in `users`",
    ),
    "one digit of a setting": (
        lambda c: c.replace(b'"failureFactor": 5', b'"failureFactor": 6'),
        "STOA652",
        "`keycloak/stoa-realm.json` differs from the platform's own realm",
    ),
    "a key more": (
        lambda c: c.replace(b'\n  "enabled"', b'\n  "editUsernameAllowed": true,\n  "enabled"'),
        "STOA652",
        "`keycloak/stoa-realm.json` differs from the platform's own realm",
    ),
    "a key more at the end": (
        lambda c: c.removesuffix(b"\n}\n") + b',\n  "verifyEmail": false\n}\n',
        "STOA652",
        "`keycloak/stoa-realm.json` differs from the platform's own realm",
    ),
    "a list again": (
        lambda c: c.removesuffix(b"\n}\n") + b',\n  "users": [\n    {\n      "username": "x"\n    }\n  ]\n}\n',
        "STOA652",
        "the realm holds `something` in `users`",
    ),
    "a comma lost": (lambda c: c.replace(b"\n    },\n    {", b"\n    }\n    {", 1), "STOA652", "the realm"),
    "a comma lost in an entry": (lambda c: c.replace(b'"ioi.web",', b'"ioi.web"', 1), "STOA652", "the realm"),
    "a bracket lost": (lambda c: c[:-6] + c[-4:], "STOA641", "`keycloak/stoa-realm.json` is not shaped like a realm"),
    "no list of people": (lambda c: c.replace(b'\n  "users": [', b'\n  "people": ['), "STOA652", "the realm lacks"),
    "no letters": (lambda c: c.replace(b"Sorrento", b"\xff"), "STOA641", "`keycloak/stoa-realm.json` is not shaped"),
    "nothing": (lambda c: b"", "STOA652", "`keycloak/stoa-realm.json` differs"),
    "something after it": (lambda c: c + b" ", "STOA652", "`keycloak/stoa-realm.json` differs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_put_together_wrongly_is_found(graph: Graph, name: str) -> None:
    wrong, code, message = WRONG[name]
    graph = organized(graph)
    parts = made(graph)
    content = wrong(joined(graph, parts)[PATH].content)
    found = rest(only_facts(graph), parts, {PATH: Artifact(PATH, "application/json", content, ())})
    assert any(c == code and m.startswith(message) for c, m in found), found


def test_every_byte_of_the_realm_is_accounted_for(graph: Graph) -> None:
    graph = organized(graph)
    parts = made(graph)
    content = joined(graph, parts)[PATH].content
    silent = []
    for at in range(0, len(content), 41):
        changed = content[:at] + (b"}" if content[at : at + 1] != b"}" else b"{") + content[at + 1 :]
        report = Report()
        PARTS.verify_rest(graph, "prod", parts, {PATH: Artifact(PATH, "application/json", changed, ())}, report)
        if not report.found:
            silent.append(content[at - 20 : at + 20])
    assert silent == []


def test_a_tenant_without_a_part_and_a_part_without_a_tenant_are_found(graph: Graph) -> None:
    for variant in (graph, apart(graph)):
        facts, parts = only_facts(variant), made(variant)
        fewer = {name: part for name, part in parts.items() if name != "ioi"}
        assert ("STOA641", "`ioi` and the parts of the realm do not belong together") in rest(
            facts, fewer, joined(facts, fewer)
        )
        left = replace(variant, tenants=variant.tenants[:2])
        assert ("STOA641", "`ioi-b` and the parts of the realm do not belong together") in rest(
            left, parts, joined(left, parts)
        )
        lost = {**parts, "ioi": Part()}
        assert rest(facts, lost, joined(facts, lost))
        assert proved(variant, lost)


def test_no_file_and_files_of_nobody_are_found(graph: Graph) -> None:
    parts = made(graph)
    assert ("STOA641", f"`{PATH}` is not there") in rest(graph, parts, {})
    for variant in (graph, apart(graph)):
        parts = made(variant)
        files = joined(variant, parts)
        more = Artifact("keycloak/x-realm.json", "application/json", b"{}", ())
        assert rest(variant, parts, {**files, more.path: more}) == [
            ("STOA652", "`keycloak/x-realm.json` are realms of nobody")
        ]


def test_a_realm_that_is_anothers_is_found(graph: Graph) -> None:
    graph = apart(graph)
    parts, path = made(graph), "keycloak/stoa-ioi-realm.json"
    files = joined(graph, parts)
    assert files[path].digest == parts["ioi"].artifacts[0].digest
    other = Artifact(path, "application/json", files["keycloak/stoa-greg-realm.json"].content, ())
    message = ("STOA641", f"`{path}` is not the realm of `ioi`")
    assert message in rest(only_facts(graph), parts, {**files, path: other})
    assert message in rest(only_facts(graph), parts, {p: a for p, a in files.items() if p != path})
    assert rest(only_facts(graph), parts, {p: a for p, a in files.items() if p != PATH}) != []
    crossed = {**parts, "ioi": Part((*parts["ioi"].artifacts, *parts["greg"].artifacts))}
    assert ("STOA641", "`ioi` does not give its own realm alone") in proved(graph, crossed)


def altered(part: Part, name: str, change: Callable[[str], str]) -> Part:
    names, texts = part.shared[name]
    return Part((), {**part.shared, name: [names, [change(text) for text in texts]]})


def with_list(part: Part, name: str, names: list[str], texts: list[str]) -> Part:
    return Part((), {**part.shared, name: [names, texts]})


OF_A_PART: Mapping[str, Callable[[dict[str, Part]], dict[str, Part]]] = {
    "a group with another tenant's gate": lambda p: {
        **p,
        "ioi": altered(
            p["ioi"],
            "groups",
            lambda t: t.replace('"stoa.gateway": [\n          "ioi"', '"stoa.gateway": [\n          "ioi-b"'),
        ),
    },
    "a person in another tenant's group": lambda p: {
        **p,
        "ioi": altered(p["ioi"], "users", lambda t: t.replace('"/ioi/builders"', '"/ioi-b/builders"')),
    },
    "another tenant's scope": lambda p: {
        **p,
        "ioi": altered(p["ioi"], "clients", lambda t: t.replace('"stoa-tenant-ioi"', '"stoa-tenant-ioi-b"')),
    },
    "a gate that opens to another tenant": lambda p: {
        **p,
        "ioi": altered(p["ioi"], "clientScopeMappings", lambda t: t.replace('"ioi"\n', '"ioi-b"\n')),
    },
    "one person twice": lambda p: {
        **p,
        "greg": with_list(p["greg"], "users", *[2 * list(each) for each in p["greg"].shared["users"]]),
    },
    "a name that is not the entry's": lambda p: {
        **p,
        "greg": with_list(p["greg"], "users", ["zorro"], p["greg"].shared["users"][1]),
    },
    "two entries in one": lambda p: {
        **p,
        "ioi": with_list(
            p["ioi"],
            "users",
            p["ioi"].shared["users"][0][:2],
            [
                p["ioi"].shared["users"][1][0],
                "\n    },\n    {\n".join(p["ioi"].shared["users"][1][1:]),
            ],
        ),
    },
    "a list of nobody's": lambda p: {**p, "greg": with_list(p["greg"], "identityProviders", ["x"], ['"alias": "x"'])},
    "a file besides": lambda p: {**p, "greg": replace(p["greg"], artifacts=(Artifact("keycloak/x", "x", b"", ()),))},
}


@pytest.mark.parametrize("name", OF_A_PART)
@pytest.mark.parametrize("alone", [True, False])
def test_a_part_that_is_not_its_tenants_is_found_also_without_the_other(graph: Graph, name: str, alone: bool) -> None:
    """What one tenant's entries could do to another's: each is found in the share of the tenant that has it."""
    parts = made(graph)
    changed = OF_A_PART[name](parts)
    assert changed != parts
    (tenant,) = [t for t in graph.tenants if changed[t.name] != parts[t.name]]
    share = replace(graph, tenants=(tenant,)) if alone else graph
    assert proved(share, {t.name: changed[t.name] for t in share.tenants}) != []


def test_entries_in_another_tenants_part_are_found(graph: Graph) -> None:
    """Together the two come to the right realm; one kept alone would bring back a tenant that is gone."""
    parts = made(graph)
    crossed = {**parts, "greg": parts["ioi-b"], "ioi-b": parts["greg"]}
    found = proved(graph, crossed)
    assert ("STOA652", "`greg` does not give its own entries alone") in found
    assert ("STOA652", "`ioi-b` does not give its own entries alone") in found


def test_two_tenants_people_of_one_name_are_found_in_the_whole() -> None:
    one, other = tenant_node("greg", ["ann"], ["prod"], {}), tenant_node("ioi", ["ann", "bob"], ["prod"], {})
    graph = graph_of(
        one,
        replace(other, people=(replace(other.people[0], username="Ann", email="ANN@greg.example"), other.people[1])),
    )
    parts = made(graph)
    for tenant in graph.tenants:
        assert proved(replace(graph, tenants=(tenant,)), {tenant.name: parts[tenant.name]}) == []
    found = rest(graph, parts, joined(graph, parts))
    assert found == whole(graph)
    assert sorted(found) == [
        ("STOA649", "the e-mail address `ann@greg.example` is taken"),
        ("STOA649", "the user name `ann` is taken"),
    ]


def test_many_realms_are_counted_over_all_tenants(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    # By the module's name: the package calls a function so too.
    monkeypatch.setattr(sys.modules[judge_number.__module__], "MANY_REALMS", 3)
    graph = apart(graph)
    parts = made(graph)
    assert proved(graph, parts) == []
    assert rest(graph, parts, joined(graph, parts)) == whole(graph)
    assert [code for code, _ in whole(graph)] == ["STOA656"]


@pytest.mark.parametrize("name", MUTATIONS)
def test_whatever_the_whole_proof_finds_the_rest_finds_too(graph: Graph, name: str) -> None:
    graph = graph_of(
        tenant_node("greg", ["sorrento"], ["prod"], {}),
        tenant_node("ioi", ["parzival", "art3mis"], ["prod", "dev"], CONSUMERS),
    )
    parts = made(graph)
    realm: dict[str, Any] = json.loads(joined(graph, parts)[PATH].content)
    MUTATIONS[name][0](realm)
    content = json.dumps(realm, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    assert content != joined(graph, parts)[PATH].content
    assert rest(graph, parts, {PATH: Artifact(PATH, "application/json", content, ())}) != []


def test_the_joined_realm_names_the_platforms_documents_and_the_one_piece_all(graph: Graph) -> None:
    shared = joined(graph, made(graph))[PATH]
    (one,) = TARGET.emit(graph, "prod", {})
    assert shared.origins[0] == graph.origin
    assert len(shared.origins) < len(one.origins)
    assert all(t.origin in one.origins and t.origin not in shared.origins for t in graph.tenants)

"""Fixes: before and after, never worse, never where a person must decide."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Edit, Fix, Report
from stoa_compiler.fixes import only_meaning
from stoa_compiler.load import Placed, Source, load
from stoa_compiler.mend import Mended, apply, mend
from stoa_compiler.parse import parse_file
from stoa_compiler.pipeline import judge
from stoa_compiler.source import SourceFile, Span
from stoa_compiler.validate import WRONG_KIND, validate_document

HERE = Path(__file__).parent
BASE = HERE.parent / "bad" / "base"
CORPUS = sorted(p.parent for p in (HERE.parent / "bad").glob("STOA*/in"))
CASES = sorted(p.parent for p in HERE.glob("*/before"))


def mended(source: Source) -> tuple[Mended, Report]:
    report = Report()
    return mend(source, report), report


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.yaml")}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_before_and_after(case: Path, tmp_path: Path) -> None:
    source = tmp_path / "tenants"
    shutil.copytree(BASE, source)
    shutil.copytree(case / "before", source, dirs_exist_ok=True)
    before = Report()
    judge(load(source, before), before)
    code = case.name.split("-")[0]
    assert code == "several" or code in {d.rule.code for d in before.found if d.fix}
    result, after = mended(load(source, Report()))
    assert {new.path: new.content for _, new in result.changed} == files(case / "after")
    assert after.found == []
    assert mended(result.checked.source)[0].fixed == 0


@pytest.mark.parametrize("case", CORPUS, ids=lambda c: c.name)
def test_the_corpus_is_never_made_worse(case: Path, tmp_path: Path) -> None:
    source = tmp_path / "tenants"
    shutil.copytree(BASE, source)
    shutil.copytree(case / "in", source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.REMOVE"))
    before = Report()
    loaded = load(source, before)
    judge(loaded, before)
    result, after = mended(loaded)
    fixable = sum(d.fix is not None for d in before.found)
    assert bool(result.fixed) == bool(fixable)
    assert not any(d.fix for d in after.found)
    if fixable:
        assert after.errors < before.errors or before.errors == 0
    again, _ = mended(result.checked.source)
    assert (again.fixed, again.changed) == (0, ())


UNTOUCHED = [
    ("acme/tenant.yaml", "grants:", "grant:"),
    ("acme/tenant.yaml", "roles: [reader]", "roles: [readers]"),
    ("acme/tenant.yaml", "members: [ben]", "members: [benn]"),
    ("acme/tenant.yaml", "tenants/acme", "7"),
    ("acme/tenant.yaml", "environments: [dev, prod]", "environments: [dev, prd]"),
    ("acme/subscriptions/shop-orders.yaml", "consumer: shop", "consumer: shopp"),
    ("acme/subscriptions/shop-orders.yaml", "contract: orders", "contract: order"),
    ("acme/subscriptions/shop-orders.yaml", "status: active", "status: activ"),
    ("acme/consumers/shop.yaml", "client: confidential", "client: confidental"),
    ("acme/consumers/shop.yaml", "grantTypes: [client_credentials]", "grantTypes: [client-credentials]"),
    ("acme/contracts/orders.yaml", "sideEffects: destructive", "sideEffects: destuctive"),
    ("acme/contracts/orders.yaml", "sideEffects: read", "side_effects: read"),
    ("acme/contracts/orders.yaml", "type: bearer", "type: bearr"),
    ("acme/contracts/orders.yaml", "classification: H", "classification: HV"),
    ("acme/contracts/orders.yaml", "sideEffects: read", "sideEffects: read\n      aproval: false"),
    ("acme/contracts/orders.yaml", "sideEffects: read", "sideEffects: read\n      approval:"),
    ("acme/contracts/orders.yaml", "vault:tenants/acme/orders#token", "vault:tenants/acme/order"),
    ("acme/contracts/orders.yaml", "https://orders.acme.example/v1", "https://orders.acme.exampel/v1"),
    ("acme/contracts/orders.yaml", "method: GET", "method: PST"),
    ("acme/plans/basic.yaml", "kind: Plan", "kind: Subscription"),
    ("acme/plans/basic.yaml", "rate: 10/second", "rate:"),
    ("acme/plans/basic.yaml", "rate: 10/second", "rate: 10"),
    ("umbra/contracts/lamps.yaml", "sha256: ", "sha256: 0"),
]


@pytest.mark.parametrize(
    ("path", "old", "new"), UNTOUCHED, ids=[f"{n.split(chr(10))[-1].strip()}" for _, _, n in UNTOUCHED]
)
def test_what_a_person_must_decide_is_left_alone(path: str, old: str, new: str, tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "tenants")
    file = tmp_path / "tenants" / path
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    result, report = mended(load(tmp_path / "tenants", Report()))
    assert report.found
    assert (result.fixed, result.changed) == (0, ())


def test_a_secret_is_neither_shown_nor_mended(tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "tenants")
    file = tmp_path / "tenants/acme/plans/basic.yaml"
    token = "ghp_" + "a1B2" * 9
    file.write_text(file.read_text(encoding="utf-8").replace("Basic", f"e\u0301 {token}"), encoding="utf-8")
    result, report = mended(load(tmp_path / "tenants", Report()))
    assert result.fixed == 0
    assert token not in str([(d.message, d.help, d.fix) for d in report.found])


def test_one_meaning() -> None:
    known = ["displayName", "description", "rate", "burst", "quota"]
    assert only_meaning("display_name", known) == "displayName"
    assert only_meaning("dispalyName", known) == "displayName"
    assert only_meaning("rat", known) == "rate"
    assert only_meaning("zebra", known) is None
    assert only_meaning("PST", ["POST", "PUT", "PATCH"]) is None
    assert only_meaning("get", ["GET", "HEAD"]) == "GET"
    assert only_meaning("a_b", ["aB", "a-b"]) is None
    assert only_meaning("x", []) is None


def test_fixes_that_meet_are_applied_one_at_a_time() -> None:
    file = SourceFile("x.yaml", "x.yaml", b"abc\r\nd\xffe\nxyz")
    first = Fix("1", (Edit(Span("x.yaml", 1, 1, 1, 3), "A"), Edit(Span("x.yaml", 3, 3, 9, 9), "Z")))
    meets = Fix("2", (Edit(Span("x.yaml", 1, 2, 1, 4), "B"),))
    apart = Fix("3", (Edit(Span("x.yaml", 2, 1, 2, 2), "D"),))
    new, count = apply(file, [meets, apart, first])
    assert (new.content, count) == (b"Ac\r\nD\xffe\nxyZ", 2)


# Any good file with several words broken.

BREAKS = [
    ("displayName:", "display_name:"),
    ("description:", "descripton:"),
    ("gostoa.dev/v2", "gostoa.dev/v3"),
    ("kind: ", "kind: X"),
    ("name: ", "name: x"),
    ("tenant: ", "tenant: x"),
    ("method: POST", "method: post"),
    ("method: GET", "method: Get"),
    ("version: ", "version: v"),
    ("plan: ", "plan: x"),
    ("owner:", "ownr:"),
    ("contact:", "conatct:"),
    ("  tier: ", "  teir: "),
    ("operations:", "opertions:"),
    ("spec:", "spec:  \u200b"),
    ("description: ", "description: \u200d"),
    ("  displayName:", "  description:\n  displayName:"),
    ("type: object", "typ: object"),
    ("properties:", "propertis:"),
    ("apiVersion: gostoa.dev/v2\n", ""),
    ("  tenant: ", "  # tenant: "),
]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from(["base", "tenants"]))
def test_fewer_mistakes_and_a_second_run_changes_nothing(seed: int, number: int, which: str) -> None:
    chance = random.Random(seed)
    good = load(BASE if which == "base" else HERE.parents[1] / "tenants", Report())
    placed = list(good.placed)
    for _ in range(number):
        at = chance.randrange(len(placed))
        text = placed[at].file.content.decode()
        broken = [(old, new) for old, new in BREAKS if old in text]
        old, new = chance.choice(broken)
        parts = text.split(old)
        cut = chance.randrange(1, len(parts))
        text = old.join(parts[:cut]) + new + old.join(parts[cut:])
        file = placed[at].file
        placed[at] = Placed(
            SourceFile(file.path, file.shown, text.encode()), placed[at].kind, placed[at].name, placed[at].tenant
        )
    source = Source(tuple(placed), good.descriptions, good.files)
    before = Report()
    judge(source, before)
    result, after = mended(source)
    assert not any(d.fix for d in after.found)
    if result.fixed:
        assert badness(result.checked.source, after) < badness(source, before)
    again, _ = mended(result.checked.source)
    assert (again.fixed, again.changed) == (0, ())


def badness(source: Source, report: Report) -> tuple[int, int]:
    """How far the documents are from being valid, and how many findings there are.

    A document that cannot be read hides what else is wrong, in it and in what refers to it: the first counts more.
    """
    return sum(4 - stage(place) for place in source.placed), len(report.sorted())


def stage(place: Placed) -> int:
    """How far the document gets: read, clean in form, of the right kind, valid."""
    report = Report()
    document = parse_file(place.file, report)
    if document is None or report.found:
        return int(document is not None)
    validate_document(place, document, report)
    return 4 if not report.errors else 2 if any(d.rule is WRONG_KIND for d in report.found) else 3

"""Versions, ignored breaks, and whole graphs."""

from datetime import date

import pytest

from stoa_compiler.compatibility import Judgement, covers, judge
from stoa_compiler.compatibility.versions import Version, bump, enough, suggested
from tests.compiler.compatibility.pairs import PARCELS, Sources, changed

TODAY = date(2027, 1, 15)
BREAKS = ("maximum: 100", "maximum: 50")
ADDS = ("          trace: {type: string}\n", "          trace: {type: string}\n          page: {type: integer}\n")
MAY = ("      output:\n", "      answer: {check: report}\n      output:\n")
WORDS = ("summary: Find parcels", "summary: Search for parcels")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources(tmp_path_factory.mktemp("judged"))


def judged(
    sources: Sources, *steps: tuple[str, str], before: str = "1.2.3", after: str = "", platform: str = ""
) -> Judgement:
    base = changed(("version: 1.2.3", f"version: {before}"))
    head = changed(("version: 1.2.3", f"version: {after or before}"), *steps)
    graph = sources.graph(base)
    file = sources.copy.root / "platform.yaml"
    kept = file.read_text()
    try:
        if platform:
            file.write_text(kept.replace("  identity:\n", f"  compatibility:\n    ignore:\n{platform}  identity:\n"))
        return judge(graph, sources.graph(head), TODAY)
    finally:
        file.write_text(kept)


def codes(judgement: Judgement) -> list[str]:
    return [d.rule.code for d in judgement.findings]


@pytest.mark.parametrize(
    ("step", "before", "after", "expected"),
    [
        (BREAKS, "1.2.3", "2.0.0", []),
        (BREAKS, "1.2.3", "1.3.0", ["STOA711"]),
        (BREAKS, "1.2.3", "1.2.3", ["STOA711"]),
        (BREAKS, "0.4.1", "0.5.0", []),
        (BREAKS, "0.4.1", "1.0.0", []),
        (BREAKS, "0.4.1", "0.4.2", ["STOA711"]),
        (BREAKS, "2.0.0-rc.1", "2.0.0-rc.2", []),
        (BREAKS, "2.0.0-rc.1", "2.0.0", []),
        (BREAKS, "1.9.0", "2.0.0-rc.1", []),
        (BREAKS, "1.2.3", "1.2.2", ["STOA713"]),
        (ADDS, "1.2.3", "1.3.0", []),
        (ADDS, "1.2.3", "2.0.0", []),
        (ADDS, "1.2.3", "1.2.4", ["STOA712"]),
        (ADDS, "0.4.1", "0.4.2", []),
        (ADDS, "0.4.1", "0.4.1", ["STOA712"]),
        (MAY, "1.2.3", "1.2.4", ["STOA714"]),
        (MAY, "1.2.3", "1.3.0", []),
        (WORDS, "1.2.3", "1.2.3", []),
        (WORDS, "1.2.3", "1.2.4", []),
        (WORDS, "1.2.3", "1.2.3-rc.1", ["STOA713"]),
        (("sideEffects: read", "sideEffects: none"), "1.2.3", "1.2.3", ["STOA712"]),
    ],
)
def test_version(step: tuple[str, str], before: str, after: str, expected: list[str], sources: Sources) -> None:
    judgement = judged(sources, step, before=before, after=after)
    assert codes(judgement) == expected
    for finding in judgement.findings:
        line = sources.copy.root.joinpath("acme/contracts/parcels.yaml").read_text().split("\n")[finding.span.line - 1]
        assert line == f"  version: {after}"


def test_what_the_version_is_worth(sources: Sources) -> None:
    wanted = {step: judged(sources, step).versions[0].wanted for step in (BREAKS, ADDS, MAY, WORDS)}
    assert wanted == {BREAKS: "major", ADDS: "minor", MAY: "minor", WORDS: "patch"}
    (version,) = judged(sources, BREAKS).versions
    assert (version.base, version.head, version.suggested, version.enough) == ("1.2.3", "1.2.3", "2.0.0", False)
    assert judged(sources, ("owner: parcels@acme.example", "owner: boxes@acme.example")).versions == ()


def test_a_finding_lists_its_breaks_and_the_way_out(sources: Sources) -> None:
    (finding,) = judged(sources, BREAKS).findings
    assert finding.message == "`acme:parcels` has 1 breaking change, and its version stays 1.2.3"
    assert [n.message.split(":")[0] for n in finding.notes] == ["request-bound-narrowed"]
    assert "Write 2.0.0" in finding.help


@pytest.mark.parametrize(
    ("status", "after"), [(("published", "draft"), "0.0.1"), (("published", "draft"), "1.2.3")]
)  # fmt: skip
def test_a_draft_needs_no_version(status: tuple[str, str], after: str, sources: Sources) -> None:
    draft = sources.graph(changed(status))
    head = sources.graph(changed(("1.2.3", after), BREAKS))
    judgement = judge(draft, head, TODAY)
    assert judgement.breaks == ()
    assert codes(judgement) == []
    assert judgement.versions[0].enough


def test_a_published_contract_that_becomes_a_draft_breaks(sources: Sources) -> None:
    judgement = judged(sources, ("published", "draft"))
    assert [b.code for b in judgement.breaks] == ["contract-unpublished"]
    assert "STOA711" in codes(judgement)


def entry(code: str = "request-bound-narrowed", contract: str = "acme:parcels", until: str = "2027-01-15") -> str:
    return f"      - {{code: {code}, contract: '{contract}', reason: Agreed., until: {until}}}\n"


@pytest.mark.parametrize("contract", ["acme:parcels", "acme:*", "*:*", "acme:parcels:find_parcels", "*:*:*"])
def test_an_ignored_break_needs_no_version(contract: str, sources: Sources) -> None:
    judgement = judged(sources, BREAKS, platform=entry(contract=contract))
    assert codes(judgement) == []
    (found,) = judgement.breaks
    assert found.ignored is not None
    assert (found.ignored.reason, found.ignored.until) == ("Agreed.", "2027-01-15")
    assert judgement.versions[0].wanted == "major"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (entry(until="2027-01-14"), ["STOA711", "STOA715"]),
        (entry(until="2027-02-29"), ["STOA711", "STOA715"]),
        (entry(code="request-enum-narrowed"), ["STOA711", "STOA716"]),
        (entry(contract="umbra:*"), ["STOA711", "STOA716"]),
        (entry(contract="acme:parcels:drop_parcel"), ["STOA711", "STOA716"]),
        (entry() + entry(contract="*:*"), []),
    ],
)
def test_an_entry_that_does_not_hold(platform: str, expected: list[str], sources: Sources) -> None:
    judgement = judged(sources, BREAKS, platform=platform)
    assert sorted(codes(judgement)) == expected
    assert all(b.ignored is None for b in judgement.breaks) == bool(expected)


def test_scopes(sources: Sources) -> None:
    (found,) = judged(sources, BREAKS).breaks
    assert covers("acme:parcels", found)
    assert covers("*:parcels:*", found)
    assert not covers("acme:orders", found)
    (whole,) = judged(sources, ("published", "draft")).breaks
    assert covers("acme:*", whole)
    assert not covers("acme:parcels:*", whole)


def test_a_contract_that_goes(sources: Sources) -> None:
    for status, expected in (("published", ["STOA717"]), ("deprecated", []), ("draft", [])):
        base = sources.graph(changed(("status: published", f"status: {status}")))
        (sources.copy.root / "acme/contracts/parcels.yaml").unlink()
        checked, _ = sources.copy.read()
        assert checked.graph is not None
        judgement = judge(base, checked.graph, TODAY)
        assert codes(judgement) == expected
        assert [b.code for b in judgement.breaks] == (["contract-removed"] if status != "draft" else [])


def test_equal_graphs_have_nothing(sources: Sources) -> None:
    graph = sources.graph(PARCELS)
    assert judge(graph, sources.graph(PARCELS), TODAY) == Judgement((), (), ())


def test_what_the_platform_changes_is_shown_and_asks_no_version_of_contracts(sources: Sources) -> None:
    base = sources.graph(PARCELS)
    sources.copy.change("platform.yaml", "    H:\n", "    H:\n      approval: [read, destructive]\n")
    head = sources.graph(PARCELS)
    sources.copy.change("platform.yaml", "    H:\n      approval: [read, destructive]\n", "    H:\n")
    judgement = judge(base, head, TODAY)
    assert ("approval-demanded", "acme:parcels:find_parcels") in {(b.code, b.subject) for b in judgement.breaks}
    assert codes(judgement) == []
    assert judgement.versions == ()


def test_the_day_changes_nothing_else(sources: Sources) -> None:
    base, head = sources.graph(PARCELS), sources.graph(changed(BREAKS))
    assert judge(base, head, date(1999, 1, 1)) == judge(base, head, date(2999, 1, 1))


def test_order_of_versions() -> None:
    """SemVer 2.0.0, 11."""
    rising = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    rising += ["1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]
    versions = [Version.read(v) for v in rising]
    assert sorted([*versions[6:], *versions[:6]]) == versions
    assert Version.read("1.0.0+a") == Version.read("1.0.0+b")
    assert [str(v) for v in versions] == rising
    with pytest.raises(ValueError, match="no version"):
        Version.read("1.0")


def test_parts_of_versions() -> None:
    one, two = Version.read("1.9.9"), Version.read("2.0.0")
    assert (bump(one, two), bump(two, one), bump(one, one)) == ("major", "none", "none")
    assert enough(one, two, "major")
    assert [suggested(one, b) for b in ("major", "minor", "patch", "none")] == ["2.0.0", "1.10.0", "1.9.10", "1.9.9"]  # type: ignore[arg-type]
    assert suggested(Version.read("0.3.1"), "major") == "0.4.0"

"""What an editor is told of a source: findings, meaning, provenance, completion, on text that is not saved."""

import random
import shutil
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.lsp.completion import Item, complete
from stoa_compiler.lsp.cursor import Cursor, cursor_at
from stoa_compiler.lsp.hover import hover, target
from stoa_compiler.lsp.project import Project, belongs, place_of, root_of
from stoa_compiler.lsp.references import At
from stoa_compiler.pipeline import read

DEMO = Path(__file__).parents[3] / "tenants"
TENANT = "ioi/tenant.yaml"
BILLING = "ioi/contracts/billing.yaml"
CIRCULATION = "alderbrook/contracts/circulation.yaml"
OPENAPI = "alderbrook/sources/circulation.yaml"
SUBSCRIPTION = "ioi/subscriptions/new.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the demo source, analysed."""
    shutil.copytree(DEMO, tmp_path / "tenants")
    made = Project(tmp_path / "tenants")
    made.analyse()
    return made


def codes(project: Project, path: str) -> list[str]:
    return [d.rule.code for d in project.analyse().findings[path]]


def edited(project: Project, path: str, old: str, new: str) -> tuple[At, Cursor]:
    """The document with `new` in place of `old`, and the cursor where `new` has `¦`."""
    text = (project.root / path).read_text(encoding="utf-8") if (project.root / path).exists() else old
    assert old in text, old
    text = text.replace(old, new, 1)
    place = text.index("¦")
    text = text.replace("¦", "")
    project.edit(path, text.encode())
    analysis = project.analyse()
    cursor = cursor_at(text, text.count("\n", 0, place), place - text.rfind("\n", 0, place) - 1)
    assert cursor is not None
    kind, tenant, _ = place_of(path) or ("", "", "")
    known = project.document(path) or analysis.documents.get(path)
    return At(analysis, path, kind, tenant, known.data if known else None), cursor


def offered(project: Project, path: str, old: str, new: str) -> list[Item]:
    return complete(*edited(project, path, old, new))


def test_the_same_findings_as_check(project: Project) -> None:
    broken = (project.root / TENANT).read_text().replace("tier: enterprise", "tier: enterprize")
    project.edit(TENANT, broken.encode())
    analysis = project.analyse()
    (project.root / TENANT).write_text(broken)
    report = Report()
    read(project.root, report)
    assert sorted(d.order for found in analysis.findings.values() for d in found) == [d.order for d in report.sorted()]
    assert report.found


def test_mistakes_reach_over_files(project: Project) -> None:
    """A role that goes from the platform is missed in each tenant, though only the platform is being edited."""
    platform = (project.root / "platform.yaml").read_text()
    project.edit("platform.yaml", platform.replace("    devops:\n", "    dev-ops:\n").encode())
    assert "STOA301" in codes(project, TENANT)
    project.edit("platform.yaml", platform.encode())
    assert codes(project, TENANT) == []


def test_unsaved_files_and_the_disk(project: Project) -> None:
    text = "apiVersion: gostoa.dev/v2\nkind: Plan\nmetadata:\n  name: new\n  tenant: ioi\nspec:\n  displayName: New\n"
    project.edit("ioi/plans/new.yaml", text.encode())
    assert codes(project, "ioi/plans/new.yaml") == ["STOA202"]
    project.forget("ioi/plans/new.yaml")
    assert "ioi/plans/new.yaml" not in project.analyse().findings
    (project.root / "ioi/plans/new.yaml").write_text(text)
    assert "ioi/plans/new.yaml" not in project.analyse().findings
    project.disk_changed()
    assert codes(project, "ioi/plans/new.yaml") == ["STOA202"]


def test_documents_are_read_again_only_when_they_change(project: Project) -> None:
    before = project.analyse()
    project.edit(BILLING, (project.root / BILLING).read_bytes() + b"# more\n")
    after = project.analyse()
    changed = {path for path in before.documents if before.documents[path] is not after.documents[path]}
    assert changed == {BILLING}


def test_a_large_source(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typing checks the tenant that is edited, and keeps what is known of the others; saving checks everything."""
    monkeypatch.setattr("stoa_compiler.lsp.project.CHECKED_WHILE_TYPING", 1)
    greg = (project.root / "greg/tenant.yaml").read_text()
    project.edit("greg/tenant.yaml", greg.replace("tier: ", "tier: no-").encode())
    assert codes(project, "greg/tenant.yaml") == ["STOA301"]
    text = (project.root / TENANT).read_text()
    project.edit(TENANT, text.replace("tier: enterprise", "tier: enterprize").encode())
    assert (codes(project, TENANT), codes(project, "greg/tenant.yaml")) == (["STOA301"], ["STOA301"])
    graph = project.analyse().graph
    assert graph is not None
    assert [t.name for t in graph.tenants] == ["alderbrook", "greg", "ioi"]
    # An address that another tenant has as well: seen when the file is saved.
    sorrento = greg.split("email: ")[1].split("\n")[0]
    project.edit(TENANT, text.replace("wade.watts@ioi.example", sorrento).encode())
    assert codes(project, TENANT) == []
    project.edit("greg/tenant.yaml", greg.encode())
    project.disk_changed()
    found = project.analyse().findings
    assert found[TENANT] or found["greg/tenant.yaml"]
    project.edit("platform.yaml", (project.root / "platform.yaml").read_bytes().replace(b"    devops:\n", b"    d:\n"))
    assert "STOA301" in codes(project, "alderbrook/tenant.yaml")


def test_a_broken_document_is_still_known(project: Project) -> None:
    """References to what it declared lead there while it is half typed."""
    platform = (project.root / "platform.yaml").read_text()
    project.edit("platform.yaml", (platform + "  [").encode())
    assert codes(project, "platform.yaml") == ["STOA101"]
    at, cursor = edited(project, TENANT, "tier: enterprise", "tier: enter¦prise")
    found = target(at, cursor)
    assert found is not None
    assert found.file.path == "platform.yaml"


@pytest.mark.parametrize(
    ("path", "old", "new", "file", "text"),
    [
        (TENANT, "tier: enterprise", "tier: enter¦prise", "platform.yaml", "enterprise"),
        (TENANT, "role: devops", "role: dev¦ops", "platform.yaml", "devops"),
        (TENANT, "[dev, staging, prod]", "[dev, sta¦ging, prod]", "platform.yaml", "staging"),
        (TENANT, "members: [art3mis]", "members: [art¦3mis]", TENANT, "art3mis"),
        (TENANT, '"ioi:billing:record_payment"', '"ioi:billing:record¦_payment"', BILLING, "record_payment"),
        (TENANT, '"ioi:billing:record_payment"', '"ioi:bil¦ling:record_payment"', BILLING, "billing"),
        (TENANT, '"ioi:billing:record_payment"', '"i¦oi:billing:record_payment"', TENANT, "ioi"),
        ("platform.yaml", "tenants: [ioi]", "tenants: [io¦i]", TENANT, "ioi"),
        ("platform.yaml", "- from: external", "- from: exter¦nal", "platform.yaml", "external"),
        (BILLING, "classification: VH", "classification: V¦H", "platform.yaml", "VH"),
        (BILLING, "      prod: https", "      pr¦od: https", "platform.yaml", "prod"),
        (BILLING, "  tenant: ioi", "  tenant: i¦oi", TENANT, "ioi"),
        (CIRCULATION, "from: searchTitles", "from: search¦Titles", OPENAPI, "searchTitles"),
        (CIRCULATION, "file: sources/circ", "file: sour¦ces/circ", OPENAPI, ""),
    ],
)  # fmt: skip
def test_definition(project: Project, path: str, old: str, new: str, file: str, text: str) -> None:
    found = target(*edited(project, path, old, new))
    assert found is not None
    assert found.file.path == file
    line = found.file.lines[found.span.line - 1]
    assert line[found.span.column - 1 : found.span.end_column - 1] == text


def test_definition_of_subscriptions(project: Project) -> None:
    text = "spec:\n  consumer: sales-assistant\n  contract: billing\n  plan: standard\n"
    for key, folder in (("consumer", "consumers"), ("contract", "contracts"), ("plan", "plans")):
        line = next(line for line in text.splitlines() if key in line)
        name = line.split(": ")[1]
        found = target(*edited(project, SUBSCRIPTION, text, text.replace(name, name[0] + "¦" + name[1:])))
        assert found is not None
        assert found.file.path == f"ioi/{folder}/{name}.yaml"
        project.forget(SUBSCRIPTION)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (TENANT, "tier: enterprise", "tier: no¦thing"),
        (TENANT, '"ioi:*:*"', '"*:¦*:*"'),
        (TENANT, '"ioi:*:*"', '":::¦::"'),
        (TENANT, "displayName: IOI", "displayName: I¦OI"),
        (CIRCULATION, "from: searchTitles", "from: no¦ne"),
    ],
)
def test_no_definition(project: Project, path: str, old: str, new: str) -> None:
    assert target(*edited(project, path, old, new)) is None


def test_hover(project: Project) -> None:
    def said(path: str, old: str, new: str) -> str:
        return hover(*edited(project, path, old, new)) or ""

    operation = said(BILLING, "    record_payment:", "    record¦_payment:")
    assert "Tool `ioi:billing:record_payment`; MCP clients see it as `ioi_billing_record_payment`." in operation
    assert "May be called by `cpi-admin`, `tenant-admin`." in operation
    tier = said(TENANT, "tier: enterprise", "tier: enter¦prise")
    assert "**tier**: text, required" in tier
    assert "A tier of the platform: the caps that hold." in tier
    assert "declared in `platform.yaml:" in tier
    assert "maxTools 2000" in tier
    person = said(TENANT, "members: [art3mis]", "members: [art¦3mis]")
    assert "`art3mis` holds `devops`, and may call 9 tools." in person
    pattern = said(
        TENANT, '"ioi:billing:get_invoice", "ioi:inventory:*"]', '"ioi:billing:get_invoice", "ioi:inv¦entory:*"]'
    )
    assert "`ioi:inventory:*` names 6 tools" in pattern
    assert "`viewer` may still not call" in pattern
    default = said("platform.yaml", "      limitFactor: 0.2", "      limit¦Factor: 0.2")
    assert "Multiplies every rate and quota." in default
    assert "Where left out: `1.0`" in default
    missing = said(TENANT, "tier: enterprise", "tier: no¦thing")
    assert "No tier `nothing` is declared." in missing
    assert said(BILLING, "        type: object", "        ty¦pe: object").startswith("**type**: text")


def labels(items: list[Item]) -> list[str]:
    return [item.label for item in items]


def test_completion_of_keys(project: Project) -> None:
    keys = offered(project, TENANT, "  tier: enterprise\n", "  ¦\n")
    assert labels(keys) == ["tier"]
    assert (keys[0].text, keys[0].words) == ("tier: ", "A tier of the platform: the caps that hold.")
    operation = offered(project, BILLING, "      sideEffects: read\n", "      ¦\n")
    assert labels(operation)[0] == "sideEffects", "what is required comes first"
    assert "method" not in labels(operation), "what is there is not offered again"
    assert labels(offered(project, BILLING, "        type: object\n", "        ¦\n"))[0] == "type"
    fresh = offered(project, SUBSCRIPTION, "", "¦")
    assert labels(fresh) == ["apiVersion", "kind", "metadata", "spec"]


@pytest.mark.parametrize(
    ("path", "old", "new", "texts"),
    [
        (TENANT, "tier: enterprise", "tier: ¦", ["enterprise", "starter", "team"]),
        (TENANT, "tier: enterprise", "tier:¦", [" enterprise", " starter", " team"]),
        (TENANT, "[dev, staging, prod]", "[dev, ¦]", ["dev", "prod", "staging"]),
        (TENANT, "[dev, staging, prod]", "\n    - ¦", ["dev", "prod", "staging"]),
        (TENANT, "members: [parzival]", "members: [¦]", ["aech", "art3mis", "parzival"]),
        (TENANT, "roles: [devops]", "roles: [d¦]", ["cpi-admin", "devops", "tenant-admin", "viewer"]),
        ("platform.yaml", "tenants: [ioi]", "tenants: [¦]", ["alderbrook", "greg", "ioi"]),
        ("platform.yaml", "    - from: dmz", "    - from: ¦", ["dmz", "external", "internal", "tenants"]),
        (BILLING, "status: published", "status: ¦", ["draft", "published", "deprecated"]),
        (BILLING, "      type: bearer", "      type: ¦", ["bearer", "header", "basic"]),
        (BILLING, "name: billing", "name: ¦", ["billing"]),
        (BILLING, "kind: Universal", "kind: ¦ #", ["UniversalAPIContract"]),
        (BILLING, "secret: vault:tenants/ioi/billing#api-token", "secret: ¦", ['"vault:tenants/ioi/billing#"']),
        (CIRCULATION, "file: sources/circulation.yaml", "file: ¦", ["sources/circulation.yaml"]),
        (SUBSCRIPTION, "", "spec:\n  contract: ¦", ["billing", "inventory"]),
    ],
)
def test_completion_of_values(project: Project, path: str, old: str, new: str, texts: list[str]) -> None:
    assert [item.text for item in offered(project, path, old, new)] == texts


def test_completion_of_tools(project: Project) -> None:
    patterns = labels(offered(project, TENANT, '"ioi:*:*"', '"¦"'))
    assert patterns[:2] == ["ioi:*:*", "ioi:billing:*"]
    assert "ioi:billing:record_payment" in patterns
    assert all(p.startswith("ioi:") for p in patterns), "a tenant grants its own tools only"
    everywhere = labels(offered(project, "platform.yaml", '"*:*:*"', "¦"))
    assert everywhere[0] == "*:*:*"
    assert "greg:oasis:*" in everywhere


def test_completion_from_a_source(project: Project) -> None:
    operations = offered(project, CIRCULATION, "from: searchTitles", "from: ¦")
    assert "searchTitles" in labels(operations)
    assert next(i.words for i in operations if i.label == "searchTitles").startswith("GET /titles")
    pinned = (project.root / CIRCULATION).read_text().split("sha256: ")[1][:64]
    assert labels(offered(project, CIRCULATION, f"sha256: {pinned}", "sha256: ¦")) == [pinned]


def test_half_typed_documents(project: Project) -> None:
    """Documents cut anywhere, with the cursor at the cut: nothing fails, and something is always found."""
    chance = random.Random(7)
    for path in (TENANT, BILLING, "platform.yaml", CIRCULATION):
        text = (project.root / path).read_text(encoding="utf-8")
        kind, tenant, _ = place_of(path) or ("", "", "")
        for _ in range(12):
            cut = chance.randrange(len(text))
            project.edit(path, text[:cut].encode())
            analysis = project.analyse()
            known = project.document(path) or analysis.documents.get(path)
            at = At(analysis, path, kind, tenant, known.data if known else None)
            begun = text[:cut]
            cursor = cursor_at(begun, begun.count("\n"), cut - begun.rfind("\n") - 1)
            if cursor is not None:
                complete(at, cursor)
                hover(at, cursor)
                target(at, cursor)
        project.edit(path, text.encode())
        assert codes(project, path) == []


def test_places() -> None:
    assert place_of("ioi/plans/gold.yaml") == ("Plan", "ioi", "gold")
    assert place_of("ioi/sources/x.yaml") is None
    assert not belongs("ioi/.hidden/x.yaml")
    assert not belongs("README.md")
    assert root_of(DEMO / BILLING) == DEMO
    assert root_of(Path("/nowhere/at/all.yaml")) is None


def test_mistakes_of_all_phases_show_together(project: Project) -> None:
    path = project.root / BILLING
    text = path.read_text(encoding="utf-8")
    key = next(line for line in text.split("\n") if line.startswith("  displayName:"))
    broken = text.replace(key, f"{key}\n{key}\n  team: x", 1).replace("type: string", "type: strin", 1)
    project.edit(BILLING, broken.encode())
    assert sorted(codes(project, BILLING)) == ["STOA103", "STOA201", "STOA441"]
    assert project.document(BILLING) is None, "what has mistakes of YAML is no ground for completion"

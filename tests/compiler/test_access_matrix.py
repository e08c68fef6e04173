"""`stoa access`: the matrix is what the bundle's catalogs say and what the runtime lists, in every form."""

import csv
import datetime
import io
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler.cli import main
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.matrix import Holder, Matrix, of_graph
from stoa_compiler.matrix.bundles import differences, of_bundle
from stoa_compiler.matrix.platform import PLATFORM_TOOLS
from stoa_compiler.matrix.reasons import Reasons, allows
from stoa_compiler.matrix.whys import of_holder
from stoa_compiler.pipeline import read, render
from stoa_compiler.write import write
from stoa_runtime import platform_tools
from stoa_runtime.access import ID_KEY, Access
from stoa_runtime.bundles import Snapshot, load
from stoa_runtime.principals import principal
from tests.compiler.sources import CONSUMER, ORDERS, REPOSITORY, TENANT, TENANTS, Copy, copy_of_base

TODAY = datetime.date(2026, 6, 1)
ENVIRONMENTS = ("dev", "staging", "prod")


def graph_of(root: Path) -> Graph:
    report = Report()
    checked = read(root, report)
    assert checked.graph is not None, report.sorted()
    assert not report.errors, report.sorted()
    return checked.graph


def written(graph: Graph, environment: str, out: Path) -> Path:
    write(render(graph, environment, Report()).files, out)
    return out


@pytest.fixture(scope="module")
def demo() -> Graph:
    return graph_of(TENANTS)


@pytest.fixture(scope="module")
def bundles(demo: Graph, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {e: written(demo, e, folder / e) for e in ENVIRONMENTS}


def access(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["access", *arguments], env={"COLUMNS": "100"})


def listed(snapshot: Snapshot, holder: Holder) -> list[str]:
    """What the runtime lists for the holder's token."""
    client = holder.name if holder.kind == "consumer" else snapshot.index.clients[0]
    claims = {"sub": "s", "azp": client, "tenant": holder.tenant, "roles": list(holder.roles)}
    view = Access(snapshot).view(principal(claims, snapshot, TODAY))
    return sorted(str((tool.meta or {})[ID_KEY]) for page in view.modern for tool in page.tools)


def agrees(graph: Graph, environment: str, folder: Path) -> Matrix:
    """The matrix, once it was found equal to the catalogs and to the runtime's lists."""
    matrix = of_graph(graph, environment, TODAY)
    assert differences(matrix, of_bundle(folder, TODAY)) == []
    snapshot = load(folder, allow_development=True)
    for holder in matrix.holders:
        assert sorted(holder.tools) == listed(snapshot, holder), holder.key
    return matrix


# The same as what is enforced.


def test_the_platforms_tools_are_those_of_the_runtime() -> None:
    served = {t.name: ({t.permission, t.also} - {None}, t.title, t.changes) for t in platform_tools.PLATFORM_TOOLS}
    assert {n: (set(t.opened_by), t.title, t.changes) for n, t in PLATFORM_TOOLS.items()} == served


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_demo_source(demo: Graph, bundles: dict[str, Path], environment: str) -> None:
    matrix = agrees(demo, environment, bundles[environment])
    assert len(matrix.of("person")) == {"dev": 10, "staging": 7, "prod": 10}[environment]


def test_a_realm_for_each_tenant(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change("platform.yaml", "identity:", "identity:\n    strategy: realm-per-tenant")
    graph = graph_of(source.root)
    agrees(graph, "prod", written(graph, "prod", tmp_path / "out"))


def patterns(tenant: str, contract: str, operations: Sequence[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda c, o: f"{tenant}:{c}:{o}", st.sampled_from(["*", contract]), st.sampled_from(["*", *operations])
    )


GRANTS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["owner", "reader"]),
            "effect": st.sampled_from(["allow", "allow", "deny"]),
            "tools": st.lists(patterns("acme", "orders", ["get_order", "cancel_order"]), min_size=1, max_size=3),
        }
    ),
    max_size=5,
)
NUMBERS = count()


@given(
    grants=GRANTS,
    groups=st.lists(st.lists(st.sampled_from(["owner", "reader"]), unique=True), min_size=2, max_size=2),
    permissions=st.lists(
        st.sampled_from(["catalog:read", "posture:read", "tools:read", "approvals:decide"]), min_size=1, unique=True
    ),
    standing=st.sampled_from(
        [("published", "active"), ("deprecated", "active"), ("draft", "suspended"), ("published", "suspended")]
    ),
    agents=st.booleans(),
)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_grants(
    tmp_path: Path,
    grants: list[dict[str, object]],
    groups: list[list[str]],
    permissions: list[str],
    standing: tuple[str, str],
    agents: bool,
) -> None:
    source = copy_of_base(tmp_path / str(next(NUMBERS)))
    text = (source.root / TENANT).read_text()
    start, end = text.index("  groups:"), text.index("  secrets:")
    made = {
        "owners": {"roles": groups[0], "members": ["ada"]},
        "readers": {"roles": groups[1], "members": ["ben", "ada"]},
    }
    text = f"{text[:start]}  groups: {json.dumps(made)}\n  grants: {json.dumps(grants)}\n{text[end:]}"
    (source.root / TENANT).write_text(text)
    source.change(ORDERS, "status: published", f"status: {standing[0]}")
    source.change(ORDERS, "sideEffects: read", f"sideEffects: read\n      agents: {str(agents).lower()}")
    source.change("acme/subscriptions/shop-orders.yaml", "status: active", f"status: {standing[1]}")
    source.change("platform.yaml", "permissions: [catalog:read, tools:read]", f"permissions: {json.dumps(permissions)}")
    graph = graph_of(source.root)
    matrix = agrees(graph, "dev", written(graph, "dev", source.root.parent / "out"))
    reasons_agree(graph, matrix)


def reasons_agree(graph: Graph, matrix: Matrix) -> None:
    """What `--why` says leads to the same verdict for every holder and every tool there is."""
    reasons = Reasons(graph)
    for holder in matrix.holders:
        for tool in matrix.tools:
            if holder.kind == "role" and holder.tenant not in ("platform", tool.partition(":")[0]) and ":" in tool:
                continue  # A role by itself is of no tenant.
            answers = of_holder(reasons, holder, tool, TODAY)
            assert any(allows(mine) for _, mine in answers) == (tool in holder.tools), (holder.key, tool, answers)


def test_the_reasons_of_the_demo_source(demo: Graph) -> None:
    reasons_agree(demo, of_graph(demo, "prod", TODAY))


def test_a_bundle_of_another_source_is_told(bundles: dict[str, Path], tmp_path: Path) -> None:
    assert access("--bundle", str(bundles["prod"]), "--check", "--env", "prod").exit_code == 0
    copy = Copy(tmp_path / "tenants")
    for path in TENANTS.rglob("*"):
        if path.is_file():
            copy.add(path.relative_to(TENANTS).as_posix(), path.read_bytes())
    copy.change("ioi/tenant.yaml", "      effect: deny\n", "")
    done = access(str(copy.root), "--bundle", str(bundles["prod"]), "--check")
    assert done.exit_code == 1
    assert (
        "error: person `art3mis` of `ioi` may call `ioi:billing:record_payment` by the source, and not by the bundle"
        in done.stderr.splitlines()
    )


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    done = access("--bundle", str(tmp_path))
    assert (done.exit_code, done.stdout) == (3, "")
    assert "mcp/platform.json` cannot be read: No such file" in done.stderr
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "platform.json").write_text("{}")
    assert "is not what a bundle holds there" in access("--bundle", str(tmp_path)).stderr


# What people read.


def test_whole_contracts_are_folded() -> None:
    text = access("--person", "parzival").stdout
    assert text.splitlines() == [
        "parzival (Wade Watts) of `ioi`, tenant-admin: 20 tools",
        "  stoa_*           all 8: 7 read, 1 write",
        "  ioi:billing:*    all 6: 1 none, 2 read, 2 write, 1 destructive with approval  [VH]",
        "  ioi:inventory:*  all 6: 3 read, 2 write, 1 destructive with approval  [H]",
    ]
    one = access("--person", "parzival", "--tool", "ioi:billing:get_invoice", "--by", "person").stdout
    assert "  ioi:billing:*  1 of 6: get_invoice" in one  # A filter does not make it all.


def test_why_names_the_grant_the_group_the_permission_and_the_deny() -> None:
    lines = access("--person", "art3mis", "--why", "--tool", "ioi:billing:*").stdout.splitlines()
    at = lines.index("    ioi:billing:create_invoice  write, VH")
    assert [line.rpartition(":")[0] for line in lines[at + 1 : at + 4]] == [
        "      + in the group `operations`, which gives `devops`  tenants/ioi/tenant.yaml:36",
        "      + `ioi:billing:*` is granted to `devops`  tenants/ioi/tenant.yaml:47",
        "      + `devops` has `tools:write`: the tool's effects are `write`  tenants/platform.yaml:186",
    ]
    at = lines.index("    refused  ioi:billing:record_payment  write, VH")
    assert lines[at + 1] == "      - `ioi:billing:record_payment` is denied to `devops`  tenants/ioi/tenant.yaml:50:15"


def test_by_tool_everyone_is_named() -> None:
    text = access("--tool", "ioi:billing:void_invoice").stdout
    assert "void_invoice  destructive, with approval, VH  tenants/ioi/contracts/billing.yaml:" in text
    assert "people    parzival, halliday of platform\n" in text
    assert "roles     tenant-admin of ioi, cpi-admin of platform\n" in text


def test_an_environment_leaves_out_who_is_not_there() -> None:
    assert "alderbrook" in access("--by", "role").stdout
    assert "alderbrook" not in access("--by", "role", "--env", "staging").stdout


def test_a_subscription_that_has_ended_gives_nothing() -> None:
    rows = {
        day: json.loads(access("--consumer", "ioi.sales-assistant", "--on", day, "--format", "json").stdout)["holders"]
        for day in ("2027-06-30", "2027-07-01")
    }
    assert any(t.startswith("ioi:billing:") for h in rows["2027-06-30"] for t in h["tools"])
    assert not any(t.startswith("ioi:billing:") for h in rows["2027-07-01"] for t in h["tools"])


def test_groups_that_are_managed_elsewhere_are_mentioned(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change(TENANT, "      members: [ben]\n", "")
    text = access(str(source.root)).stdout
    assert "ben (Ben Okoro) of `acme`, no role: 0 tools" in text
    assert "note: who is in the group `readers` of `acme` is the identity provider's to say" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--person", "parzifal"], "there is no person `parzifal`; did you mean `parzival`?"),
        (["--role", "dev-ops"], "there is no role `dev-ops`; did you mean `devops`?"),
        (["--tenant", "nobody"], "there is no tenant `nobody`"),
        (["--consumer", "ledger-sync"], "did you mean `ioi.ledger-sync`?"),
        (["--tool", "ioi:billing:get_invoise"], "did you mean `ioi:billing:get_invoice`?"),
        (["--env", "moon"], "there is no environment `moon`"),
        (["--check"], "--check compares a bundle"),
        (["--why", "--format", "html"], "--why reads the source"),
    ],
)
def test_what_is_not_there_is_wrong_use(arguments: list[str], said: str) -> None:
    done = access(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_source_with_mistakes_has_no_matrix(tmp_path: Path) -> None:
    done = access(str(copy_of_base(tmp_path).change(TENANT, "role: reader", "role: raeder").root))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "STOA301" in done.stderr


# What machines read.


def test_the_json_is_as_its_schema_says() -> None:
    schema = json.loads((REPOSITORY / "schemas" / "access.v1.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    for arguments in ([], ["--why", "--by", "tenant"], ["--by", "consumer", "--why"], ["--env", "prod"]):
        document = json.loads(access(*arguments, "--format", "json").stdout)
        jsonschema.validate(document, schema)
        ids = {t["id"] for t in document["tools"]}
        assert len(ids) == 40
        assert all(set(h["tools"]) <= ids for h in document["holders"])


def test_a_spreadsheet_takes_no_cell_for_a_formula(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    source.change(TENANT, "firstName: Ada", 'firstName: "=HYPERLINK(1)"').change(
        ORDERS, "summary: One order", 'summary: "@SUM(1;2)|cmd \\", x"'
    )
    text = access(str(source.root), "--by", "person", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {r["title"] for r in rows if r["name"] == "ada"} == {"'=HYPERLINK(1) Lind"}
    assert {r["tool title"] for r in rows if r["tool"] == "acme:orders:get_order"} == {"'@SUM(1;2)|cmd \", x"}
    assert not any(cell.startswith(tuple("=+-@\t\r")) for r in rows for cell in r.values())
    whole = {(r["kind"], r["name"], r["tool"]) for r in rows}
    assert whole == {("person", h.name, t) for h in of_graph(graph_of(source.root)).of("person") for t in h.tools}


def test_the_order_of_files_and_runs_does_not_count() -> None:
    for form in ("text", "json", "csv", "html"):
        assert access("--format", form).stdout == access("--format", form).stdout


def test_a_consumer_without_a_subscription_reaches_nothing(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    (source.root / "acme/subscriptions/shop-orders.yaml").unlink()
    assert (source.root / CONSUMER).is_file()
    text = access(str(source.root), "--by", "consumer").stdout
    assert "acme.shop (Web shop) of `acme`, its own account: 0 tools" in text

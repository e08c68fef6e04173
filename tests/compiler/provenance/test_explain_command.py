"""`stoa explain` of values and of calls, as a person or a program reads it."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import main
from tests.compiler.provenance.causality import REPOSITORY
from tests.compiler.sources import TENANT, copy_of_base


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", *arguments], env={"COLUMNS": "110"})


def judged(document: object, name: str) -> None:
    schema = json.loads((REPOSITORY / "schemas" / f"{name}.v1.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)


# Values.


def test_a_value_with_its_rule_and_place() -> None:
    done = explain("keycloak/stoa-realm.json:/displayName", "--env", "prod")
    assert done.stdout.splitlines() == [
        "keycloak/stoa-realm.json:/displayName",
        '  "STOA"',
        "  rule: keycloak.realm: The platform's name, or that of the realm's tenant.",
        "    from tenants/platform.yaml:8:16  `spec.displayName`",
    ]


def test_a_constant_is_said_to_be_one() -> None:
    text = explain("keycloak/stoa-realm.json:/bruteForceProtected", "--env", "prod").stdout
    assert "constant: hardening.realm: Every realm has it" in text


def test_what_is_left_out_is_said_to_be_a_default() -> None:
    text = explain("kubernetes/platform/tenant-ioi.yaml:/1/spec/hard/pods", "--env", "prod").stdout
    assert "`spec.tiers.enterprise.resources.pods`, which is left out: the default holds" in text


def test_a_subtree_lists_its_values() -> None:
    done = explain("mcp/tenants/ioi.json:/access/viewer", "--env", "dev", "--format", "json")
    document = json.loads(done.stdout)
    judged(document, "provenance")
    assert [v["value"] for v in document["values"]] == [
        "ioi_billing_get_invoice", "ioi_billing_list_invoices", "ioi_inventory_get_item",
        "ioi_inventory_get_stock_levels", "ioi_inventory_search_items",
    ]  # fmt: skip
    first = document["values"][0]["causes"][0]["places"][0]
    assert (first["file"], first["pointer"]) == ("tenants/ioi/tenant.yaml", "/spec/grants/3/tools/1")


def test_a_line_and_a_path_through_a_folder() -> None:
    text = explain("build/prod/helm/stoa-runtime.values.yaml:/gateway", "--env", "prod").stdout
    assert "helm/stoa-runtime.values.yaml:/gateway/url" in text
    by_line = explain("kubernetes/platform/tenant-ioi.yaml:1", "--env", "prod").stdout
    assert by_line.startswith("kubernetes/platform/tenant-ioi.yaml:/0/apiVersion\n")


def test_a_digest_names_what_it_is_of() -> None:
    text = explain("bundle.json:/digest", "--env", "dev").stdout
    assert "made of the values of `mcp/manifest.json`: " in text


def test_long_lists_are_cut_and_say_so() -> None:
    text = explain("keycloak/stoa-realm.json", "--env", "dev", "--limit", "2").stdout
    assert "values more: --limit 0 shows all" in text
    assert text.count("  constant: ") + text.count("  rule: ") == 2


def test_every_artifact_can_be_explained_whole() -> None:
    for path in ("bundle.json", "mcp/manifest.json", "mcp/development.json", "mcp/platform.json"):
        judged(json.loads(explain(path, "--env", "dev", "--format", "json").stdout), "provenance")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mcp/platform.json:/nothing", "--env", "prod"], "`mcp/platform.json` has nothing at `/nothing`"),
        (["mcp/platform.json:99", "--env", "prod"], "has no value on line 99"),
        (["mcp/platfrom.json", "--env", "prod"], "did you mean `mcp/platform.json`?"),
        (["mcp/platform.json"], "give the environment with --env: dev, staging, prod"),
        (["mcp/platform.json", "--env", "moon"], "there is no environment `moon`"),
        (["mcp/platform.json", "--env", "prod", "--source", "nowhere"], "there is no folder `nowhere`"),
        (["mcp/platform.json", "--env", "prod", "--format", "markdown"], "only codes have a page"),
        (["nonsense"], "there is no diagnostic `nonsense`"),
        (["STOA301", "--tool", "x"], "ask of one thing"),
        (["--tool", "ioi:billing:get_invoice"], "give --person, --role or --consumer"),
        (["--person", "aech"], "and --tool"),
        (["--person", "parzifal", "--tool", "ioi:billing:get_invoice"], "did you mean `parzival`?"),
        (["--role", "vewer", "--tool", "ioi:billing:get_invoice"], "did you mean `viewer`?"),
        (["--consumer", "ioi.ledger", "--tool", "ioi:billing:get_invoice"], "did you mean `ioi.ledger-sync`?"),
        (["--person", "aech", "--tool", "ioi:billing:refund"], "there is no tool `ioi:billing:refund`"),
    ],
)
def test_what_is_not_there_is_wrong_use(arguments: list[str], said: str) -> None:
    done = explain(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


# Calls.


def test_what_decides_a_call() -> None:
    lines = explain(
        "--person", "parzival", "--tool", "ioi:billing:void_invoice", "--env", "staging"
    ).stdout.splitlines()
    assert lines[:2] == [
        "parzival (Wade Watts) of `ioi` calls `ioi:billing:void_invoice` in staging",
        "allowed, once a second person has approved the call",
    ]
    text = "\n".join(lines)
    for said in (
        "+ `ioi:*:*` is granted to `tenant-admin`  tenants/ioi/tenant.yaml:45:15",
        "classification: VH",
        "one caller may call it 5 times a minute: 1 a minute in `staging`",
        "all callers of `ioi` together may make 6,000 times a minute: 1200 a minute in `staging`",
        "the tier `enterprise` has 30,000 times a minute at the most",
        "`staging` multiplies every rate and quota by 0.2",
        "another person with `tenant-admin` can give it",
    ):
        assert said in text


def test_what_is_missing_when_the_answer_is_no() -> None:
    text = explain("--person", "aech", "--tool", "ioi:billing:create_invoice").stdout
    assert "refused: `ioi:billing:create_invoice` does not exist for this caller" in text
    assert "- `viewer` has no grant that names it; nearest: `ioi:billing:list_invoices`" in text
    assert "- `viewer` lacks `tools:write`: the tool's effects are `write`" in text
    other = explain("--person", "aech", "--tool", "greg:oasis:get_world").stdout
    assert "- the tool is `greg`'s: only roles of scope `platform` cross tenants" in other
    away = explain("--person", "marian", "--tool", "stoa_catalog", "--env", "staging").stdout
    assert "- `alderbrook` is not in `staging`" in away


def test_an_application_and_its_plan() -> None:
    tool = "ioi:billing:get_invoice"
    text = explain("--consumer", "ioi.sales-assistant", "--role", "viewer", "--tool", tool, "--env", "staging").stdout
    assert "`sales-assistant-billing` subscribes to `billing` with the plan `standard` until 2027-06-30" in text
    assert "the plan `standard` lets `sales-assistant-billing` make 120 times a minute: 24 a minute" in text
    assert "and 10,000 in a calendar day" in text
    ended = explain("--consumer", "ioi.sales-assistant", "--tool", tool, "--on", "2030-01-01").stdout
    assert "- the subscription `sales-assistant-billing` ended on 2027-06-30" in ended
    assert "refused" in ended


def test_the_json_of_calls_is_as_its_schema_says() -> None:
    for who in (["--person", "halliday"], ["--role", "devops"], ["--consumer", "ioi.ledger-sync"]):
        for tool in ("ioi:billing:get_invoice", "stoa_approvals_decide"):
            judged(json.loads(explain(*who, "--tool", tool, "--format", "json").stdout), "decision")


def test_a_draft_and_what_agents_do_not_see_have_a_reason(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    source.change("acme/contracts/orders.yaml", "status: published", "status: draft")
    source.change("acme/contracts/orders.yaml", "sideEffects: read", "sideEffects: read\n      agents: false")
    text = explain("--person", "ada", "--tool", "acme:orders:get_order", "--source", str(source.root)).stdout
    assert "- `orders` is a draft, so nobody sees its tools" in text
    assert "- `agents: false` keeps it from every agent" in text
    broken = explain("mcp/platform.json", "--source", str(source.change(TENANT, "role: reader", "role: r").root))
    assert (broken.exit_code, broken.stdout) == (1, "")

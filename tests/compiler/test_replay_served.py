"""What `stoa replay` foretells, and what the real runtime then answers to the same calls by the changed bundle."""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))

from person import signed_in  # type: ignore[import-not-found]
from running import REPOSITORY, Serving, serving  # type: ignore[import-not-found]

from stoa_compiler.replay.access import Access
from stoa_compiler.replay.callers import Callers
from stoa_compiler.replay.comparison import Decided, decided
from stoa_compiler.replay.recorded import read
from tests.compiler.sources import stoa

INVOICE = {"invoice_id": "inv_004217"}
PAYMENT = INVOICE | {"amount": "1258.60", "method": "transfer", "received_at": "2026-10-29T06:30:00Z"}
Made = tuple[str, str, dict[str, Any]]
"""Who calls which tool, and with what."""
CALLS: list[Made] = [
    ("parzival", "ioi_billing_get_invoice", INVOICE),
    ("art3mis", "ioi_billing_get_invoice", INVOICE),
    ("art3mis", "ioi_billing_list_invoices", {}),
    ("art3mis", "ioi_billing_record_payment", PAYMENT),  # Denied by a grant, then not any more.
    ("aech", "ioi_billing_get_invoice", INVOICE),
    ("aech", "ioi_inventory_search_items", {}),
    ("aech", "ioi_nothing_at_all", {}),
    ("parzival", "ioi_billing_void_invoice", INVOICE | {"reason": "duplicate"}),  # Stops for an approval.
    ("parzival", "ioi_billing_get_invoice", {"colour": "blue"}),  # Arguments that do not fit.
    ("parzival", "ioi_inventory_get_stock_levels", {"skus": ["HAP-0042"]}),
    ("parzival", "stoa_catalog", {}),
    ("sorrento", "greg_sixers_list_officers", {}),
    ("sorrento", "ioi_billing_get_invoice", INVOICE),
    ("halliday", "ioi_billing_get_invoice", INVOICE),
    ("halliday", "greg_sixers_list_officers", {}),
    ("ogden", "greg_oasis_list_sectors", {}),
    ("ioi.ledger-sync", "ioi_billing_list_invoices", {}),
    ("ioi.ledger-sync", "ioi_inventory_search_items", {}),
    *[("parzival", "ioi_billing_list_invoices", {})] * 6,
]


PEOPLE = {who for who, _, _ in CALLS if "." not in who}


def changed(source: Path) -> None:
    """A merge request: revoked grants, a tool and a consumer gone, an approval, a lower limit, a group emptied."""

    @contextmanager
    def document(path: str) -> Iterator[dict[str, Any]]:
        whole = yaml.safe_load((source / path).read_text())
        yield whole["spec"]
        (source / path).write_text(yaml.safe_dump(whole, sort_keys=False))

    with document("ioi/tenant.yaml") as ioi:
        ioi["grants"] = [g for g in ioi["grants"] if g.get("effect") != "deny"]
        ioi["grants"][-1]["tools"] = ["ioi:inventory:*"]
    with document("ioi/contracts/billing.yaml") as billing:
        billing["operations"]["list_invoices"]["limits"] = {"rate": "3/minute"}
        billing["operations"]["get_invoice"]["approval"] = True
    with document("greg/tenant.yaml") as greg:
        greg["groups"]["visitors"]["members"] = []
        greg["grants"][1]["tools"].remove("greg:sixers:*")
    (source / "greg/contracts/sixers.yaml").unlink()
    (source / "greg/subscriptions/dispatch-desk-sixers.yaml").unlink()
    for path in (source / "ioi").rglob("ledger-sync*.yaml"):
        path.unlink()


async def tokens(dev: Serving, people: set[str]) -> dict[str, str]:
    """Tokens of people by the code flow, and of an application's own account."""
    found = {}
    for name in sorted(people):
        if "." in name:
            async with httpx2.AsyncClient() as http:
                form = {"grant_type": "client_credentials", "client_id": name}
                meta = (await http.get(f"{dev.issuer}/.well-known/openid-configuration")).json()
                answer = await http.post(meta["token_endpoint"], data=form)
            found[name] = answer.json()["access_token"]
        else:
            async with signed_in(dev.mcp, name) as person:
                await person.tools()
                found[name] = person.token
    return found


async def made(dev: Serving, given: dict[str, str]) -> list[dict[str, Any]]:
    """The decisions that the runtime writes of the calls, one for each."""
    start = len(dev.decisions())
    async with httpx2.AsyncClient(timeout=30.0) as http:
        for who, tool, arguments in CALLS:
            params = {"name": tool, "arguments": arguments}
            headers = {"Authorization": f"Bearer {given[who]}", "Accept": "application/json, text/event-stream"}
            headers |= {"MCP-Protocol-Version": "2025-11-25"}
            await http.post(
                dev.mcp, json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, headers=headers
            )
    decisions = dev.decisions()[start:]
    assert len(decisions) == len(CALLS)
    return decisions


def answered(decision: dict[str, Any]) -> str:
    """What the runtime did with a call, in replay's words."""
    if decision["decision"] in ("allowed", "failed"):
        return "allowed"
    return "approval" if decision["rule"].startswith("approval-") else "refused"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both runs: what was answered then and now, the log of then, and the bundle of now."""
    folder = tmp_path_factory.mktemp("replay")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "tenants", source)
    people = {who for who, _, _ in CALLS}
    found: dict[str, Any] = {}

    async def run() -> None:
        async with serving(source, folder / "then") as dev:
            given = await tokens(dev, people)
            found["then"], found["log"], found["old"] = await made(dev, given), dev.audit, dev.bundle
        changed(source)
        async with serving(source, folder / "now") as dev:
            # Whoever may not sign in any more shows the token that a realm would give without its groups.
            given = await tokens(dev, PEOPLE)
            given["ioi.ledger-sync"] = "gone"
            found["now"], found["bundle"] = await made(dev, given), dev.bundle

    asyncio.run(run())
    return found


def foretold(world: dict[str, Any], bundle: str) -> list[Decided]:
    access = Access(world[bundle])
    log = read([world["log"]])
    assert not log.chain
    assert not log.unreadable
    return list(decided(log.calls, access, Callers(world[bundle], access.index)))


def test_the_same_bundle_would_answer_the_same(world: dict[str, Any]) -> None:
    for one, then in zip(foretold(world, "old"), world["then"], strict=True):
        if one.was != "arguments":
            assert one.verdict.after == answered(then), one


def test_the_changed_bundle_answers_as_foretold(world: dict[str, Any]) -> None:
    found = foretold(world, "bundle")
    both = zip(CALLS, world["then"], world["now"], strict=True)
    outcomes = [(c[0], c[1], answered(a), answered(b)) for c, a, b in both]
    for one, (who, tool, _, now) in zip(found, outcomes, strict=True):
        if one.was == "arguments":
            continue  # Arguments are not in the log.
        assert one.verdict.after == now, (who, tool, one.verdict)
        assert one.who == who or who not in PEOPLE
    # What was changed did change something, each in its way.
    moved = {(who, tool, then, now) for who, tool, then, now in outcomes if then != now}
    assert {
        ("aech", "ioi_billing_get_invoice", "allowed", "refused"),
        ("parzival", "ioi_billing_get_invoice", "allowed", "approval"),
        ("art3mis", "ioi_billing_record_payment", "refused", "allowed"),
        ("parzival", "ioi_billing_list_invoices", "allowed", "refused"),
        ("sorrento", "greg_sixers_list_officers", "allowed", "refused"),
        ("ogden", "greg_oasis_list_sectors", "allowed", "refused"),
        ("ioi.ledger-sync", "ioi_billing_list_invoices", "allowed", "refused"),
    } <= moved


def test_what_a_person_is_told(world: dict[str, Any]) -> None:
    told = stoa("replay", str(world["log"]), "--against", str(world["bundle"]), "--exit-code")
    assert told.returncode == 1, told.stderr
    assert "would be refused" in told.stdout
    assert "ioi/aech by claude  ioi:billing:get_invoice  1 call" in told.stdout
    assert "the caller has the role `viewer`, to which no grant gives it" in told.stdout
    assert "the client `ioi.ledger-sync` is not registered for `ioi`" in told.stdout
    assert "`greg` has no contract `sixers` with tools" in told.stdout
    assert "`ioi:billing:list_invoices` from one caller: 3 calls a minute; up to 6 came in that span" in told.stdout
    assert "would need an approval" in told.stdout
    assert "could not be judged" in told.stdout
    same = stoa("replay", str(world["log"]), "--against", str(world["old"]), "--exit-code", "--format", "json")
    facts = json.loads(same.stdout)
    assert (same.returncode, facts["groups"], facts["counts"]["unchanged"]) == (0, [], len(CALLS))

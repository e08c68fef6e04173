"""What each resource says, to whom, and that nobody is told of another tenant's things."""

from pathlib import Path
from typing import Any

import pytest

from stoa_runtime import bundles
from stoa_runtime.access import Access
from stoa_runtime.backends import State
from stoa_runtime.calls import Caller
from stoa_runtime.control.paging import Window
from stoa_runtime.control.problems import Refused
from stoa_runtime.control.queries import Query
from stoa_runtime.control.resources import RESOURCES, Asked
from stoa_runtime.limits import LimitRules
from stoa_runtime.principals import Principal
from stoa_schemas import control
from tests.runtime.control.api import ANYONE, CATALOG, POSTURE, ask, items
from tests.runtime.world import SECRET, Issuer, World, index, write_bundle


@pytest.fixture
def watcher(issuer: Issuer) -> str:
    """Someone of `ioi` who may review, and call nothing."""
    return issuer.token(sub="watcher", roles=["watch"])


@pytest.fixture
def shop(issuer: Issuer) -> str:
    """A consumer's own token, whose role would open the catalog to a person."""
    return issuer.token(sub="service-account-shop", azp="ioi.shop", roles=["devops", "watch"])


def _caller(who: Principal, snapshot: bundles.Snapshot, backends: Any) -> Caller:
    access = Access(snapshot)
    return Caller(who, snapshot, access, backends, LimitRules(snapshot), None, access.view(who))


def test_a_person_reads_the_own_tenant(stoa: World, parzival: str) -> None:
    assert ask(stoa, "/bundle", parzival).json() == {
        "digest": stoa.digest,
        "platform": "demo",
        "displayName": "Demo",
        "environment": "dev",
        "development": False,
    }
    [tenant] = items(stoa, "/tenants", parzival)
    assert tenant == ask(stoa, "/tenants/ioi", parzival).json()
    assert (tenant["name"], tenant["contracts"], tenant["tools"]) == ("ioi", 6, len(stoa.tenants["ioi"].tools))
    names = [contract["name"] for contract in items(stoa, "/tenants/ioi/contracts", parzival)]
    assert names == ["billing", "inventory", "keyless", "nowhere", "private", "slow"]
    contract = ask(stoa, "/tenants/ioi/contracts/nowhere", parzival).json()
    assert contract["backend"]["breaker"] == {"failures": 2, "resetMs": 60_000}
    assert contract["tools"] == 1


def test_tools_are_those_of_the_mcp_list(stoa: World, issuer: Issuer) -> None:
    for roles in (["devops"], ["viewer", "devops"], ["devops", "unknown"]):
        token = issuer.token(roles=roles)
        listed = stoa.post("tools/list", {}, token=token).json()["result"]["tools"]
        own = ask(stoa, "/access/me?limit=200", token).json()
        assert [tool["name"] for tool in own["items"]] == sorted(tool["name"] for tool in listed)
        shown = items(stoa, "/tenants/ioi/tools", token)
        assert {tool["name"] for tool in shown} == {t["name"] for t in listed if not t["name"].startswith("stoa_")}
    by_name = {tool["name"]: tool for tool in listed}
    one = ask(stoa, "/tenants/ioi/tools/ioi_billing_create_invoice", token).json()
    assert one["inputSchema"] == by_name["ioi_billing_create_invoice"]["inputSchema"]
    assert one["outputSchema"] == by_name["ioi_billing_create_invoice"]["outputSchema"]
    assert one["sideEffects"] == "write"
    of_contract = items(stoa, "/tenants/ioi/contracts/inventory/tools", token)
    assert [tool["id"] for tool in of_contract] == ["ioi:inventory:list_items"]


def test_a_tool_that_the_caller_may_not_call_is_not_there(stoa: World, tmp_path: Path) -> None:
    """A role that may read the catalog, and is granted the reading tools only."""
    written = write_bundle(tmp_path, index("http://127.0.0.1:9/jwks", stoa.tenants), stoa.tenants)
    snapshot = bundles.load(written)
    rights = frozenset({"catalog:read", "posture:read"})
    reader = Principal("reader", "ioi", frozenset({"viewer"}), rights, "claude", None)
    backends: Any = None
    caller = _caller(reader, snapshot, backends)
    resource = {r.name: r for r in RESOURCES}
    tools = resource["tools"].answer(Asked(caller, {"tenant": "ioi"}, Query(Window(limit=200))))
    assert isinstance(tools, control.Tools)
    assert {tool.side_effects for tool in tools.items} == {"read"}
    refusals = []
    for name in ("ioi_billing_delete_invoice", "ioi_billing_nothing", "greg_oasis_get_quest"):
        with pytest.raises(Refused) as refused:
            resource["tool"].answer(Asked(caller, {"tenant": "ioi", "tool": name}))
        refusals.append(refused.value.problem)
    assert refusals[0] == refusals[1] == refusals[2]
    counted = resource["contract"].answer(Asked(caller, {"tenant": "ioi", "contract": "billing"}))
    assert isinstance(counted, control.WholeContract)
    assert counted.tools == sum(tool.contract == "billing" for tool in tools.items)
    # The access table is what a reviewer reads, so it holds what the reviewer may not call.
    grants = resource["access"].answer(Asked(caller, {}, Query(filters={"tool": "ioi:billing:delete_invoice"})))
    assert isinstance(grants, control.Grants)
    assert [grant.role for grant in grants.items] == ["cpi-admin", "devops"]


def test_consumers_and_plans(stoa: World, parzival: str) -> None:
    consumer = ask(stoa, "/tenants/ioi/consumers/ioi.shop", parzival).json()
    assert items(stoa, "/tenants/ioi/consumers", parzival) == [consumer]
    assert consumer["subscriptions"] == [
        {"name": "now", "contract": "inventory", "plan": "small", "expires": "2999-01-01"},
        {"name": "over", "contract": "billing", "plan": "small", "expires": "2020-01-01"},
    ]
    plan = ask(stoa, "/tenants/ioi/plans/small", parzival).json()
    assert plan == {"tenant": "ioi", "name": "small", "rate": {"calls": 1.0, "seconds": 1}, "burst": 1}
    assert items(stoa, "/tenants/ioi/plans", parzival) == [plan]


def test_another_tenants_things_are_answered_like_what_does_not_exist(stoa: World, issuer: Issuer) -> None:
    sorrento = issuer.token(sub="sorrento", tenant="greg", roles=["devops", "watch"])
    for path in CATALOG[2:]:
        others = ask(stoa, path, sorrento)
        missing = ask(stoa, path.replace("/tenants/ioi", "/tenants/nobody"), sorrento)
        within = ask(stoa, path.replace("/tenants/ioi", "/tenants/greg") + "/nothing", sorrento)
        assert others.status_code == missing.status_code == within.status_code == 404, path
        assert others.content == missing.content == within.content, path
        told = [
            {k: v for k, v in answer.headers.items() if k.lower() not in ("stoa-trace-id", "date")}
            for answer in (others, missing, within)
        ]
        assert told[0] == told[1] == told[2], path
    for path in ("/access?tenant=", "/backends?tenant="):
        others, missing = ask(stoa, path + "ioi", sorrento), ask(stoa, path + "nobody", sorrento)
        assert others.status_code == missing.status_code == 200
        assert others.content == missing.content == b'{"items":[]}'
        assert others.headers["ETag"] == missing.headers["ETag"]


def _everything(stoa: World, token: str, tenants: list[str]) -> set[str]:
    """What names a thing in any answer that the token gets."""
    seen: set[str] = set()
    for name in tenants:
        seen |= {f"contract {c['tenant']}/{c['name']}" for c in items(stoa, f"/tenants/{name}/contracts", token)}
        seen |= {f"tool {t['id']}" for t in items(stoa, f"/tenants/{name}/tools", token)}
        seen |= {f"consumer {c['clientId']}" for c in items(stoa, f"/tenants/{name}/consumers", token)}
        seen |= {f"plan {p['tenant']}/{p['name']}" for p in items(stoa, f"/tenants/{name}/plans", token)}
    seen |= {f"tenant {t['name']}" for t in items(stoa, "/tenants", token)}
    seen |= {f"tool {g['tool']}" for g in items(stoa, "/access", token)}
    seen |= {f"contract {b['tenant']}/{b['contract']}" for b in items(stoa, "/backends", token)}
    own = ask(stoa, "/access/me?limit=200", token).json()["items"]
    return seen | {f"tool {t['id']}" for t in own if not t["id"].startswith("stoa_")}


def test_what_two_tenants_see_has_nothing_in_common(stoa: World, issuer: Issuer) -> None:
    seen = {
        name: _everything(stoa, issuer.token(tenant=name, sub="same", roles=["devops", "watch"]), [name])
        for name in ("greg", "ioi")
    }
    assert seen["greg"] & seen["ioi"] == set()
    for name, things in seen.items():
        assert len(things) >= 3
        assert all(thing.split()[1].replace(".", "/").replace(":", "/").split("/")[0] == name for thing in things)
    halliday = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin"])
    assert _everything(stoa, halliday, ["greg", "ioi"]) == seen["greg"] | seen["ioi"]


def test_permissions_open_resources(stoa: World, issuer: Issuer, parzival: str, watcher: str) -> None:
    viewer = issuer.token(roles=["viewer"])
    expected = {viewer: ANYONE, parzival: CATALOG + ANYONE, watcher: POSTURE + ANYONE}
    for token, opened in expected.items():
        for path in CATALOG + POSTURE + ANYONE:
            answer = ask(stoa, path, token)
            assert answer.status_code == (200 if path in opened else 403), path
            if path not in opened:
                problem = answer.json()
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert problem["type"] == "https://gostoa.dev/problems/insufficient-rights"
                assert ("posture:read" if path in POSTURE else "catalog:read") in problem["detail"]
                assert "WWW-Authenticate" not in answer.headers


def test_rights_are_judged_before_anything_is_looked_up(stoa: World, watcher: str) -> None:
    answers = {
        ask(stoa, f"/tenants/{name}{query}", watcher).content
        for name in ("ioi", "greg", "nobody")
        for query in ("", "?x=1")
    }
    assert len(answers) == 1


def test_a_consumers_token_is_told_of_its_own_access_and_nothing_else(stoa: World, shop: str) -> None:
    own = ask(stoa, "/access/me", shop).json()
    assert own["contracts"] == ["inventory"]
    assert [tool["id"] for tool in own["items"]] == ["ioi:inventory:list_items"]
    assert own["client"] == "ioi.shop"
    for path in CATALOG + POSTURE:
        assert ask(stoa, path, shop).status_code == 403, path


def test_the_access_table_is_the_catalogs(stoa: World, issuer: Issuer, watcher: str) -> None:
    def table(path: str, token: str) -> list[tuple[str, str]]:
        return [(grant["role"], grant["name"]) for grant in items(stoa, path, token)]

    declared = stoa.tenants["ioi"].access
    whole = table("/access", watcher)
    assert sorted(whole) == sorted((role, name) for role, names in declared.items() for name in names)
    assert table("/access?role=viewer", watcher) == [pair for pair in whole if pair[0] == "viewer"]
    one = items(stoa, "/access?tool=ioi:billing:delete_invoice", watcher)
    assert [(g["role"], g["scope"], g["sideEffects"], g["approval"]) for g in one] == [
        ("cpi-admin", "platform", "destructive", True),
        ("devops", "tenant", "destructive", True),
    ]
    assert table("/access?role=viewer&tool=ioi:billing:delete_invoice", watcher) == []
    halliday = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin"])
    assert table("/access?tenant=ioi", halliday) == whole
    assert len(table("/access", halliday)) == len(whole) + 3


def test_the_state_of_backends(untouched: World, watcher: str) -> None:
    stoa = untouched

    def states() -> dict[str, dict[str, Any]]:
        return {state["contract"]: state for state in items(stoa, "/backends", watcher)}

    assert states()["private"] == {"tenant": "ioi", "contract": "private", "failuresInRow": 0, "inFlight": 0}
    stoa.call("ioi_inventory_list_items")
    stoa.call("ioi_slow_wait")
    while states()["nowhere"]["circuit"] != "open":
        stoa.call("ioi_nowhere_reach")
    after = states()
    assert after["inventory"]["lastStatus"] == 200
    assert "lastFailure" not in after["inventory"]
    assert after["slow"]["lastFailure"] == "backend-timeout"
    assert after["nowhere"]["failuresInRow"] == 2
    assert after["nowhere"]["lastFailure"] == "backend-unreachable"
    assert all(state["inFlight"] == 0 for state in after.values())


@pytest.mark.parametrize(
    ("open_seconds", "probing", "circuit"),
    [
        (None, False, "closed"),
        (0.0, False, "open"),
        (59.9, False, "open"),
        (60.0, False, "half-open"),
        (60.0, True, "half-open"),
    ],
)
def test_an_open_circuit_is_half_open_once_its_time_is_over(
    stoa: World, tmp_path: Path, open_seconds: float | None, probing: bool, circuit: str
) -> None:
    class Seen:
        def states(self) -> dict[tuple[str, str], State]:
            return {("ioi", "nowhere"): State(2, open_seconds, probing, 1, None, "backend-unreachable")}

    snapshot = bundles.load(write_bundle(tmp_path, index("http://127.0.0.1:9/jwks", stoa.tenants), stoa.tenants))
    who = Principal("watcher", "ioi", frozenset({"watch"}), frozenset({"posture:read"}), "claude", None)
    seen: Any = Seen()
    [resource] = [r for r in RESOURCES if r.name == "backends"]
    answer = resource.answer(Asked(_caller(who, snapshot, seen), {}))
    assert isinstance(answer, control.Backends)
    [nowhere] = [b for b in answer.items if b.contract == "nowhere"]
    assert (nowhere.circuit, nowhere.failures_in_row, nowhere.in_flight) == (circuit, 2, 1)


def test_no_answer_names_a_backends_host_or_a_secret(stoa: World, issuer: Issuer) -> None:
    token = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin", "devops"])
    for path in CATALOG + POSTURE + ANYONE:
        text = ask(stoa, path, token).text
        assert stoa.backend.url not in text
        assert "169.254" not in text
        assert "vault:" not in text
        assert SECRET not in text

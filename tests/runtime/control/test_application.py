"""The API as HTTP: tokens, methods, queries, pages, entity tags, and what is recorded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Scope

from stoa_runtime import bundles
from stoa_runtime.access import Access
from stoa_runtime.audit import AuditUnavailable, Event
from stoa_runtime.calls import Caller
from stoa_runtime.control import PREFIX, application, openapi
from stoa_runtime.control.resources import RESOURCES
from stoa_runtime.limits import LimitRules
from stoa_runtime.principals import Principal
from tests.runtime.control.api import CATALOG, ask, items, pages
from tests.runtime.test_gate import attacks
from tests.runtime.world import Issuer, World, index, write_bundle

DOCUMENT = Path(__file__).parents[3] / "docs" / "control-plane.openapi.json"


def lasting(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are not of one request only."""
    return {k.lower(): v for k, v in headers.items() if k.lower() not in ("stoa-trace-id", "date")}


def test_no_bad_token_is_accepted_and_the_challenges_are_those_of_mcp(stoa: World) -> None:
    bad = attacks(stoa.issuer) | {"scope": stoa.issuer.token(scope="openid")}
    for attack, token in [*bad.items(), ("none", None)]:
        answer = ask(stoa, "/tenants", token)
        same = stoa.post("tools/list", {}, token=token)
        assert answer.status_code in (401, 403), attack
        assert (answer.status_code, answer.content) == (same.status_code, same.content), attack
        assert answer.headers["WWW-Authenticate"] == same.headers["WWW-Authenticate"], attack
        lines = stoa.audit_lines()[-2:]
        assert lines[0]["decision"] == "refused"
        assert lines[0]["rule"] == lines[1]["rule"], attack


def test_nothing_below_the_api_is_told_without_a_token(stoa: World) -> None:
    for path in (*CATALOG, "/", "/openapi.json", "/nothing", "/access/me"):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            assert ask(stoa, path, None, method).status_code == 401, (method, path)


def test_other_hosts_and_origins_are_refused(stoa: World, parzival: str) -> None:
    assert ask(stoa, "/bundle", parzival, Host="evil.test").status_code == 421
    assert ask(stoa, "/bundle", parzival, Origin="https://evil.test").status_code == 403
    assert ask(stoa, "/bundle", parzival, Origin="https://mcp.example.test").status_code == 200


def test_other_methods_are_refused_with_those_that_are_served(stoa: World, parzival: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for path in ("/bundle", "/tenants/ioi/plans", "/tenants/nobody", "/openapi.json"):
            answer = ask(stoa, path, parzival, method)
            assert answer.status_code == 405, (method, path)
            assert answer.headers["Allow"] == "GET, HEAD"
            assert answer.json()["type"] == "https://gostoa.dev/problems/method-not-allowed"
    assert ask(stoa, "/nothing", parzival, "POST").status_code == 404


def test_head_tells_what_get_tells_but_for_the_content(stoa: World, parzival: str) -> None:
    for path in (*CATALOG, "/openapi.json", "/tenants?limit=1", "/tenants/nobody", "/access", "/bundle?x=1"):
        get, head = ask(stoa, path, parzival), ask(stoa, path, parzival, "HEAD")
        assert head.status_code == get.status_code, path
        assert lasting(head.headers) == lasting(get.headers), path
        assert head.content == b""
        assert int(head.headers["Content-Length"]) == len(get.content)


@pytest.mark.parametrize("path", ["/", "/tenants/", "//tenants", "/tenants/ioi/", "/tenants//plans", "/../healthz"])
def test_other_paths_do_not_exist(stoa: World, parzival: str, path: str) -> None:
    assert ask(stoa, path, parzival).status_code == 404


def test_a_path_that_is_encoded_differently_reaches_nothing_else(stoa: World, parzival: str) -> None:
    assert ask(stoa, "/tenants/%69oi", parzival).json()["name"] == "ioi"
    for path in (
        "/tenants/ioi%2Fplans",
        "/tenants/ioi%00",
        "/tenants/ioi%0a",
        "/tenants/%2e%2e/bundle",
        "/tenants/IOI",
    ):
        assert ask(stoa, path, parzival).status_code == 404, path


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limt=3", {"limt": "`limit`"}),
        ("access_token=x", {"access_token": "no parameter"}),
        ("limit=0", {"limit": "1 to 200"}),
        ("limit=201", {"limit": "1 to 200"}),
        ("limit=-1&cursor=", {"limit": "1 to 200", "cursor": "`next`"}),
        ("limit=1.0", {"limit": "1 to 200"}),
        ("limit=%D9%A3", {"limit": "1 to 200"}),
        ("limit=1%0a", {"limit": "1 to 200"}),
        ("limit=1&limit=2", {"limit": "more than once"}),
        ("limit", {"": "name=value"}),
        ("limit=%ff", {"": "UTF-8"}),
        ("&".join(f"a{n}=1" for n in range(40)), {"": "at most 32"}),
        ("cursor=tenants-00", {"cursor": "`next`"}),
        ("cursor=access-0", {"cursor": "`next`"}),
        ("role=Viewer", {"role": "`viewer`"}),
        ("role=viewer%0a", {"role": "`viewer`"}),
        ("tool=ioi:*:*", {"tool": "`acme:billing:get_invoice`"}),
        ("tenant=", {"tenant": "`acme`"}),
    ],
)
def test_queries_are_read_strictly(stoa: World, issuer: Issuer, query: str, told: dict[str, str]) -> None:
    answer = ask(stoa, f"/access?{query}", issuer.token(roles=["watch"]))
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    found = {error["parameter"]: error["detail"] for error in problem["errors"]}
    assert found.keys() == told.keys()
    assert all(words in found[parameter] for parameter, words in told.items())


def test_a_resource_without_pages_takes_no_parameters(stoa: World, parzival: str) -> None:
    for path in ("/bundle", "/tenants/ioi", "/openapi.json"):
        assert ask(stoa, f"{path}?limit=1", parzival).status_code == 400
        assert ask(stoa, f"{path}?", parzival).status_code == 200


@pytest.mark.parametrize("path", ["/tenants/ioi/tools", "/access", "/access?role=viewer", "/access/me", "/backends"])
def test_pages_of_any_length_make_up_the_list(stoa: World, issuer: Issuer, path: str) -> None:
    token = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin"])
    whole = items(stoa, path, token)
    assert len(whole) > 3
    for limit in (1, 2, 3, len(whole) - 1, len(whole)):
        if limit == 1 and len(whole) > 30:
            continue
        cut = list(pages(stoa, path, token, limit))
        assert [item for page in cut for item in page] == whole
        assert all(len(page) == limit for page in cut[:-1])


def test_the_link_of_a_page_leads_to_the_next(stoa: World, issuer: Issuer) -> None:
    token = issuer.token(roles=["watch"])
    first = ask(stoa, "/access?role=viewer&limit=2", token)
    link, relation = first.headers["Link"].split("; ")
    assert relation == 'rel="next"'
    second = ask(stoa, link.strip("<>").removeprefix(PREFIX), token)
    assert second.json()["items"] == items(stoa, "/access?role=viewer", token)[2:4]
    assert first.json()["next"] in link


def test_a_cursor_is_a_place_that_need_not_exist(stoa: World, parzival: str) -> None:
    """What has gone since the cursor was given is no loss: the list goes on behind its place."""
    behind = b"ioi\0billing-that-is-gone".hex()
    answer = ask(stoa, f"/tenants/ioi/contracts?cursor=contracts-{behind}", parzival).json()
    assert [contract["name"] for contract in answer["items"]] == ["inventory", "keyless", "nowhere", "private", "slow"]
    assert ask(stoa, "/tenants/ioi/contracts?cursor=contracts-ff", parzival).json() == {"items": []}


def test_an_answer_that_is_known_is_not_sent_again(stoa: World, issuer: Issuer, parzival: str) -> None:
    for path in (*CATALOG, "/access/me", "/openapi.json"):
        first = ask(stoa, path, parzival)
        tag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == "private, no-cache"
        assert first.headers["Vary"] == "Authorization"
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = ask(stoa, path, parzival, If_None_Match=known)
            assert (again.status_code, again.content) == (304, b""), (path, known)
            assert again.headers["ETag"] == tag
            assert again.headers["Stoa-Bundle"] == stoa.digest
        for unknown in ('"other"', tag.strip('"'), "", "W/", '"'):
            assert ask(stoa, path, parzival, If_None_Match=unknown).status_code == 200, (path, unknown)


def test_the_tag_is_of_what_the_caller_sees(stoa: World, issuer: Issuer, parzival: str) -> None:
    halliday = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin"])
    tags = {ask(stoa, "/tenants", token).headers["ETag"] for token in (parzival, halliday)}
    assert len(tags) == 2
    assert ask(stoa, "/tenants", issuer.token(sub="another")).headers["ETag"] in tags


def test_a_refusal_is_not_cached_and_not_turned_into_not_modified(stoa: World, parzival: str) -> None:
    for path in ("/access", "/tenants/nobody", "/tenants?x=1"):
        answer = ask(stoa, path, parzival, If_None_Match="*")
        assert answer.status_code in (400, 403, 404)
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert answer.headers["Stoa-Bundle"] == stoa.digest
        assert "ETag" not in answer.headers


def test_each_request_is_recorded(stoa: World, parzival: str) -> None:
    for method, path, decision, rule in (
        ("GET", "/tenants/ioi", "allowed", "control-read"),
        ("HEAD", "/tenants", "allowed", "control-read"),
        ("GET", "/tenants/greg", "refused", "control-unknown"),
        ("GET", "/access", "refused", "control-rights"),
        ("GET", "/tenants?x=1", "refused", "control-query"),
        ("DELETE", "/tenants/ioi", "refused", "control-method"),
    ):
        before = len(stoa.audit_lines())
        trace_id = "5" * 32
        answer = ask(stoa, path, parzival, method, traceparent=f"00-{trace_id}-{'6' * 16}-01")
        [line] = stoa.audit_lines()[before:]
        assert (line["decision"], line["rule"], line["bundle"]) == (decision, rule, stoa.digest)
        assert (line["subject"], line["tenant"], line["client"]) == ("parzival", "ioi", "claude")
        assert line["asked"] == f"{method} {PREFIX}{path.partition('?')[0]}"
        assert line["trace_id"] == answer.headers["Stoa-Trace-Id"] == trace_id


@pytest.mark.anyio
@pytest.mark.parametrize("fails", ["write", "settled"])
async def test_what_cannot_be_recorded_is_not_answered(stoa: World, tmp_path: Path, fails: str) -> None:
    class Full:
        def write(self, event: Event) -> None:
            if fails == "write":
                raise AuditUnavailable("the audit log is full")

        async def settled(self) -> None:
            raise AuditUnavailable("the audit log did not take the line in time")

    snapshot = bundles.load(write_bundle(tmp_path, index("http://127.0.0.1:9/jwks", stoa.tenants), stoa.tenants))
    who = Principal("parzival", "ioi", frozenset({"devops"}), frozenset({"catalog:read"}), "claude", None)
    backends: Any = None
    access = Access(snapshot)
    caller = Caller(who, snapshot, access, backends, LimitRules(snapshot), None, access.view(who))

    async def authorize(scope: Scope) -> Caller:
        return caller

    transport = httpx2.ASGITransport(application(authorize, Full()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://mcp.example.test") as client:
        for path in ("/tenants/ioi", "/tenants/nobody", "/openapi.json"):
            answer = await client.get(f"{PREFIX}{path}")
            assert answer.status_code == 503
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert "ioi" not in answer.text
            assert "ETag" not in answer.headers


def test_a_path_in_the_log_cannot_forge_a_line(stoa: World, parzival: str) -> None:
    before = len(stoa.audit_lines())
    ask(stoa, "/tenants/%22%0a%7B%22decision%22:%22allowed%22%7D%1b[31m" + "y" * 500, parzival)
    [line] = stoa.audit_lines()[before:]
    assert line["decision"] == "refused"
    assert "\n" not in line["asked"]
    assert len(line["asked"]) < 300


def test_a_body_is_not_looked_at(stoa: World, parzival: str) -> None:
    headers = {"Host": "mcp.example.test", "Authorization": f"Bearer {parzival}"}
    answer = httpx2.request("GET", f"{stoa.url}{PREFIX}/bundle", headers=headers, content=b"{" * 1000)
    assert answer.status_code == 200


def test_the_description_is_served_and_the_one_in_the_documentation_is_current(stoa: World, parzival: str) -> None:
    made = openapi.encoded(openapi.document(RESOURCES))
    assert ask(stoa, "/openapi.json", parzival).content == made
    assert DOCUMENT.read_bytes() == made, "python -m stoa_runtime.control docs/control-plane.openapi.json"


def test_every_resource_is_described_and_none_is_told_of_twice() -> None:
    described = json.loads(DOCUMENT.read_bytes())
    assert list(described["paths"]) == [*(r.path for r in RESOURCES), "/openapi.json"]
    identities = [
        path[method]["operationId"]
        for path in described["paths"].values()
        for method in ("get", "head", "post")
        if method in path
    ]
    assert len(identities) == len(set(identities))
    assert "null" not in json.dumps(described["components"]["schemas"])

"""Approvals over sockets, with the official client of both eras, and two processes' applications on one folder."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from stoa_runtime import bundles
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.world import MODERN, Issuer, Recorder, World

pytestmark = pytest.mark.anyio
DELETE = "ioi_billing_delete_invoice"
ROLES = {
    "cpi-admin": bundle.RoleEntry(scope="platform", permissions=["catalog:read", "approvals:decide"]),
    "devops": bundle.RoleEntry(scope="tenant", permissions=["catalog:read", "tools:destructive"]),
    "judge": bundle.RoleEntry(scope="tenant", permissions=["approvals:decide"]),
    "viewer": bundle.RoleEntry(scope="tenant", permissions=["tools:read"]),
}
CAN_ASK = {"_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}}


@dataclass
class Deployment:
    """Two applications that share a state folder."""

    one: World
    two: World

    def token(self, subject: str, *roles: str, **claims: Any) -> str:
        return self.one.issuer.token(sub=subject, roles=list(roles), **claims)

    @property
    def parzival(self) -> str:
        return self.token("parzival", "devops")

    @property
    def art3mis(self) -> str:
        return self.token("art3mis", "judge")

    @property
    def deletions(self) -> list[str]:
        return [r["target"] for r in self.one.backend.requests if r["method"] == "DELETE"]

    def tool(self, token: str, name: str, **arguments: Any) -> Any:
        """The structured answer of a platform tool, or the words of its refusal."""
        result = self.two.call(f"stoa_approvals_{name}", arguments, token=token)
        return result["content"][0]["text"] if result["isError"] else result["structuredContent"]

    def approve(self, text: str) -> str:
        """Approves the call whose refusal is `text`; the approval's id."""
        identity = "apr_" + text.partition("`apr_")[2].partition("`")[0]
        assert self.tool(self.art3mis, "decide", id=identity, decision="approve")["state"] == "approved"
        return identity


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: Recorder) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("approvals")
    secret = folder / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    tenants = world.catalogs(backend.url)
    access = {"devops": [t.name for t in tenants["ioi"].tools], "viewer": []}
    tenants["ioi"] = tenants["ioi"].model_copy(update={"access": access})
    index = world.index(issuer.jwks_url, tenants, roles=ROLES)
    written = world.write_bundle(folder / "bundle", index, tenants)
    with served(folder, written, issuer, backend, "one") as one, served(folder, written, issuer, backend, "two") as two:
        yield Deployment(one, two)


@contextmanager
def served(folder: Path, written: Path, issuer: Issuer, backend: Recorder, name: str) -> Iterator[World]:
    settings = Settings(
        bundle=written,
        audit=folder / name / "audit.jsonl",
        state=folder / "state",
        secrets="file",
        secrets_folder=folder / "secrets",
    )
    with world.listening(settings) as url:
        yield World(url, issuer, backend, settings.audit, bundles.load(written).digest)


def client(stoa: World, token: str, mode: str, answer: Callable[[str], Awaitable[str]] | None = None) -> Client:
    async def ask(_context: Any, params: Any) -> mcp_types.ElicitResult:
        assert answer is not None
        action: Any = await answer(params.message)
        return mcp_types.ElicitResult(action=action, content={} if action == "accept" else None)

    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}", "Host": "mcp.example.test"})
    transport = streamable_http_client(f"{stoa.url}/mcp", http_client=http)
    return Client(transport, mode=mode, elicitation_callback=ask if answer else None)


def text_of(result: mcp_types.CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, mcp_types.TextContent)
    return block.text


@pytest.mark.parametrize("mode", ["legacy", MODERN])
async def test_without_a_form_the_refusal_is_words_and_the_same_call_then_goes_through_once(
    shared: Deployment, mode: str
) -> None:
    arguments, before = {"id": f"words-{mode}"}, len(shared.deletions)
    async with client(shared.one, shared.parzival, mode) as parzival:
        refused = await parzival.call_tool(DELETE, arguments)
        assert refused.is_error
        assert "make the same call again, with the same arguments" in text_of(refused)
        assert "`cpi-admin` or `judge`" in text_of(refused)
        assert len(shared.deletions) == before
        identity = shared.approve(text_of(refused))
        done = await parzival.call_tool(DELETE, arguments)
        assert not done.is_error, done
        assert shared.deletions[before:] == [f"/invoices/words-{mode}"]
        again = await parzival.call_tool(DELETE, arguments)
        assert again.is_error
        assert identity in text_of(again)
        assert "was used" in text_of(again)
        assert len(shared.deletions) == before + 1
    lines = [line for line in shared.one.audit_lines() if line["approval"] == identity]
    assert [(line["decision"], line["rule"], line["approver"]) for line in lines] == [
        ("refused", "approval-demanded", None),
        ("allowed", lines[1]["rule"], "art3mis"),
    ]
    [decided] = [line for line in shared.two.audit_lines() if line["approval"] == identity]
    assert (decided["decision"], decided["rule"], decided["subject"]) == ("allowed", "approval-granted", "art3mis")
    assert f"words-{mode}" not in json.dumps([lines, decided])


async def test_a_modern_client_asks_its_user_and_the_call_goes_through_once_it_is_approved(shared: Deployment) -> None:
    before, asked = len(shared.deletions), []

    async def answer(message: str) -> str:
        asked.append(message)
        if len(asked) == 2:
            shared.approve(message)
        return "accept"

    async with client(shared.one, shared.parzival, MODERN, answer) as parzival:
        done = await parzival.call_tool(DELETE, {"id": "form"})
    assert not done.is_error, done
    assert done.meta is not None
    assert done.meta["dev.gostoa/bundle"] == shared.one.digest
    assert len(asked) == 2
    assert "Accept once it is approved" in asked[0]
    assert shared.deletions[before:] == ["/invoices/form"]


@pytest.mark.parametrize(
    ("action", "words", "state"), [("decline", "taken back", "withdrawn"), ("cancel", "stands", "pending")]
)
async def test_a_user_who_does_not_want_to_wait_ends_it(
    shared: Deployment, action: str, words: str, state: str
) -> None:
    asked = []

    async def answer(message: str) -> str:
        asked.append(message)
        return action

    async with client(shared.one, shared.parzival, MODERN, answer) as parzival:
        ended = await parzival.call_tool(DELETE, {"id": action})
    assert ended.is_error
    assert words in text_of(ended)
    identity = "apr_" + asked[0].partition("`apr_")[2][:16]
    assert shared.tool(shared.art3mis, "get", id=identity)["state"] == state


async def test_a_user_who_accepts_without_waiting_is_told_in_the_end(shared: Deployment) -> None:
    asked = []

    async def answer(message: str) -> str:
        asked.append(message)
        return "accept"

    async with client(shared.one, shared.parzival, MODERN, answer) as parzival:
        ended = await parzival.call_tool(DELETE, {"id": "hasty"})
    assert ended.is_error
    assert len(asked) == 3
    assert "make the same call again" in text_of(ended)


def test_the_question_is_as_the_specification_has_it(shared: Deployment) -> None:
    params = {"name": DELETE, "arguments": {"id": "raw"}, **CAN_ASK}
    result = shared.one.post("tools/call", params, token=shared.parzival).json()["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"]["approval"]["method"] == "elicitation/create"
    question = result["inputRequests"]["approval"]["params"]
    assert (question["mode"], question["requestedSchema"]) == ("form", {"type": "object", "properties": {}})
    state = result["requestState"]
    assert "raw" not in state
    shared.approve(question["message"])
    params |= {"requestState": state, "inputResponses": {"approval": {"action": "accept", "content": {}}}}
    before = len(shared.deletions)
    other = shared.token("aech", "devops")
    for refused in (
        shared.one.post("tools/call", params, token=other),
        shared.one.post("tools/call", params | {"arguments": {"id": "other"}}, token=shared.parzival),
        shared.one.post("tools/call", params | {"requestState": state[:-1]}, token=shared.parzival),
        shared.one.post("tools/call", params, token=shared.token("parzival", "devops", tenant="platform")),
    ):
        answer = refused.json()
        assert answer.get("result", {}).get("isError") or answer["error"]["code"] == -32602, answer
    assert len(shared.deletions) == before
    assert shared.two.post("tools/call", params, token=shared.parzival).json()["result"]["isError"] is False
    replayed = shared.one.post("tools/call", params, token=shared.parzival).json()["result"]
    assert replayed["isError"] is True
    assert "was used already" in replayed["content"][0]["text"]
    assert shared.deletions[before:] == ["/invoices/raw"]


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}, {"sampling": {}}])
def test_a_client_that_cannot_show_a_form_is_not_sent_one(shared: Deployment, capabilities: dict[str, Any]) -> None:
    meta = {"io.modelcontextprotocol/clientCapabilities": capabilities}
    params = {"name": DELETE, "arguments": {"id": f"plain {len(capabilities)}"}, "_meta": meta}
    result = shared.one.post("tools/call", params, token=shared.parzival).json()["result"]
    assert (result["resultType"], result["isError"]) == ("complete", True)


def test_at_once_from_two_processes_the_backend_is_called_once(shared: Deployment) -> None:
    from concurrent.futures import ThreadPoolExecutor

    params = {"name": DELETE, "arguments": {"id": "rush"}}
    refused = shared.one.call(DELETE, {"id": "rush"}, token=shared.parzival)
    shared.approve(refused["content"][0]["text"])
    before, token = len(shared.deletions), shared.parzival
    with ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(lambda n: (shared.one, shared.two)[n % 2].post("tools/call", params, token=token), range(24))
        )
    passed = [a for a in answers if a.json()["result"]["isError"] is False]
    assert len(passed) == 1
    assert shared.deletions[before:] == ["/invoices/rush"]


def test_people_list_look_and_decide(shared: Deployment) -> None:
    token = shared.token("wade", "devops")
    refused = shared.one.call(DELETE, {"id": "seen"}, token=token)
    identity = "apr_" + refused["content"][0]["text"].partition("`apr_")[2][:16]
    listed = {a["id"]: a for a in shared.tool(shared.art3mis, "list")["approvals"]}
    assert listed[identity]["arguments"] == {"id": "seen"}
    assert listed[identity]["youMayDecide"] is True
    assert [a["id"] for a in shared.tool(token, "list")["approvals"]] == [identity]
    assert shared.tool(shared.token("sorrento", "devops", tenant="greg"), "list")["approvals"] == []
    assert "no tenant `greg`" in shared.tool(shared.art3mis, "list", tenant="greg")
    assert "no approval" in shared.tool(shared.token("sorrento", "judge", tenant="greg"), "get", id=identity)
    assert "needs a `reason`" in shared.tool(shared.art3mis, "decide", id=identity, decision="reject")
    rejected = shared.tool(shared.art3mis, "decide", id=identity, decision="reject", reason="It is paid.")
    assert (rejected["state"], rejected["decision"]["subject"]) == ("rejected", "art3mis")
    assert "subject" not in shared.tool(token, "get", id=identity)["decision"]
    told = shared.one.call(DELETE, {"id": "seen"}, token=token)["content"][0]["text"]
    assert "rejected by a holder of `judge`. Reason: It is paid." in told
    assert "nothing to decide any more" in shared.tool(shared.art3mis, "decide", id=identity, decision="approve")
    rules = [line["rule"] for line in shared.two.audit_lines() if line["approval"] == identity]
    assert rules == ["approval-reason", "approval-refused", "approval-decided"]
    assert identity in [a["id"] for a in shared.tool(shared.art3mis, "list", all=True)["approvals"]]
    assert identity not in [a["id"] for a in shared.tool(shared.art3mis, "list")["approvals"]]


def test_nobody_approves_his_own_call(shared: Deployment) -> None:
    both = shared.token("ogden", "devops", "judge")
    text = shared.one.call(DELETE, {"id": "own"}, token=both)["content"][0]["text"]
    identity = "apr_" + text.partition("`apr_")[2][:16]
    for token in (both, shared.token("ogden", "judge"), shared.token("ogden", "cpi-admin", tenant="platform")):
        assert "another person has to decide" in shared.tool(token, "decide", id=identity, decision="approve")
    assert shared.tool(shared.art3mis, "get", id=identity)["state"] == "pending"


def test_the_tools_are_shown_to_those_whom_they_open_to_with_honest_hints(shared: Deployment) -> None:
    def names(token: str) -> dict[str, Any]:
        tools = shared.one.post("tools/list", {}, token=token).json()["result"]["tools"]
        return {t["name"][15:]: t["annotations"] for t in tools if t["name"].startswith("stoa_approvals_")}

    assert sorted(names(shared.art3mis)) == ["decide", "get", "list"]
    assert sorted(names(shared.parzival)) == ["get", "list"]
    assert names(shared.token("ogden", "viewer")) == {}
    assert names(shared.token("shop", "devops", "judge", azp="ioi.shop")) == {}
    hints = names(shared.art3mis)
    assert [hints[n]["readOnlyHint"] for n in ("decide", "get", "list")] == [False, True, True]
    assert hints["decide"]["destructiveHint"] is True
    assert shared.one.call("stoa_approvals_decide", {"id": "x", "decision": "approve"}, token=shared.parzival)["code"]


def test_while_nothing_can_be_recorded_nothing_is_decided(
    tmp_path: Path, issuer: Issuer, backend: Recorder, shared: Deployment
) -> None:
    """The log is a device that is always full."""
    tenants = world.catalogs(backend.url)
    access = {"devops": [DELETE], "viewer": []}
    tenants["ioi"] = tenants["ioi"].model_copy(update={"access": access})
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants, roles=ROLES), tenants)
    secret = tmp_path / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    settings = Settings(
        bundle=written,
        audit=tmp_path / "a.jsonl",
        state=tmp_path / "state",
        secrets="file",
        secrets_folder=tmp_path / "secrets",
    )
    with world.listening(settings) as url:
        stoa = World(url, issuer, backend, settings.audit, "")
        text = stoa.call(DELETE, {"id": "x"}, token=shared.parzival)["content"][0]["text"]
        identity = "apr_" + text.partition("`apr_")[2][:16]
    with world.listening(replace(settings, audit=Path("/dev/full"))) as url:
        full = World(url, issuer, backend, settings.audit, "")
        full.call("stoa_tools", token=shared.parzival)
        arguments = {"id": identity, "decision": "approve"}
        refused = full.call("stoa_approvals_decide", arguments, token=shared.art3mis)
        assert "cannot be recorded" in refused["content"][0]["text"]
    with world.listening(settings) as url:
        stoa = World(url, issuer, backend, settings.audit, "")
        shown = stoa.call("stoa_approvals_get", {"id": identity}, token=shared.art3mis)
        assert shown["structuredContent"]["state"] == "pending"


def test_an_approval_is_not_used_up_by_a_call_that_cannot_be_made(
    tmp_path: Path, issuer: Issuer, backend: Recorder, shared: Deployment
) -> None:
    """The backend's credential is gone when the approved call comes, and back afterwards."""
    tenants = world.catalogs(backend.url)
    tenants["ioi"] = tenants["ioi"].model_copy(update={"access": {"devops": [DELETE], "viewer": []}})
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants, roles=ROLES), tenants)
    secret = tmp_path / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    settings = Settings(
        bundle=written, audit=tmp_path / "a.jsonl", state=tmp_path, secrets="file", secrets_folder=tmp_path / "secrets"
    )
    with world.listening(settings) as url:
        stoa = World(url, issuer, backend, settings.audit, "")
        text = stoa.call(DELETE, {"id": "x"}, token=shared.parzival)["content"][0]["text"]
        identity = "apr_" + text.partition("`apr_")[2][:16]
        stoa.call("stoa_approvals_decide", {"id": identity, "decision": "approve"}, token=shared.art3mis)
        secret.unlink()
        gone = stoa.call(DELETE, {"id": "x"}, token=shared.parzival)
        assert "credential for this backend is not there" in gone["content"][0]["text"]
        secret.write_text(world.SECRET)
        with stoa.recording() as got:
            assert not stoa.call(DELETE, {"id": "x"}, token=shared.parzival)["isError"]
        assert [r["method"] for r in got] == ["DELETE"]

"""Approvals through the API: who is shown which, and that nobody else's can be told from none."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from stoa_runtime import bundles
from stoa_runtime.control import PREFIX
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.control.api import ask
from tests.runtime.world import Issuer, Recorder, World

DELETE = "ioi_billing_delete_invoice"
ROLES = {
    "cpi-admin": bundle.RoleEntry(scope="platform", permissions=["catalog:read", "approvals:decide"]),
    "devops": bundle.RoleEntry(scope="tenant", permissions=["catalog:read", "tools:destructive"]),
    "judge": bundle.RoleEntry(scope="tenant", permissions=["approvals:decide"]),
    "viewer": bundle.RoleEntry(scope="tenant", permissions=["tools:read"]),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: Recorder) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("approvals")
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants, roles=ROLES), tenants)
    secret = folder / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    audit = folder / "state" / "audit.jsonl"
    settings = Settings(bundle=written, audit=audit, secrets="file", secrets_folder=folder / "secrets")
    with world.listening(settings) as url:
        yield World(url, issuer, backend, settings.audit, bundles.load(written).digest, tenants)


def test_an_approval_is_shown_to_its_requester_and_to_those_who_may_decide(guarded: World, issuer: Issuer) -> None:
    def token(subject: str, role: str, tenant: str = "ioi", **claims: str) -> str:
        return issuer.token(sub=subject, roles=[role], tenant=tenant, **claims)

    parzival, judge = token("parzival", "devops"), token("art3mis", "judge")
    halliday = token("halliday", "cpi-admin", "platform")
    strangers = {
        "of the tenant, without the right": token("aech", "devops"),
        "another tenant's judge": token("sorrento", "judge", "greg"),
        "the same name in another tenant": token("parzival", "devops", "greg"),
        "a consumer of the tenant": token("shop", "judge", azp="ioi.shop"),
    }
    assert guarded.call(DELETE, {"id": "INV-7"}, token=parzival)["isError"] is True

    [approval] = ask(guarded, "/approvals", judge).json()["approvals"]
    assert (approval["tool"], approval["arguments"]) == ("ioi:billing:delete_invoice", {"id": "INV-7"})
    assert (approval["state"], approval["youMayDecide"]) == ("pending", True)
    path = f"/approvals/{approval['id']}"
    for seeing, decides in ((parzival, False), (judge, True), (halliday, True)):
        answer = ask(guarded, path, seeing)
        assert answer.status_code == 200
        assert answer.json() == approval | {"youMayDecide": decides}
        assert ask(guarded, path, seeing, If_None_Match=answer.headers["ETag"]).status_code == 304
        assert ask(guarded, "/approvals?tenant=ioi&waiting=false", seeing).json()["approvals"] == [answer.json()]
        assert ask(guarded, "/approvals?tenant=greg", seeing).json() == {"approvals": []}
    for who, stranger in strangers.items():
        assert ask(guarded, "/approvals?waiting=false", stranger).json() == {"approvals": []}, who
        hidden, missing = ask(guarded, path, stranger), ask(guarded, "/approvals/apr_0000000000000000", stranger)
        assert hidden.status_code == missing.status_code == 404, who
        assert hidden.content == missing.content, who


def test_an_approval_is_decided_by_another_person_and_then_used(guarded: World, issuer: Issuer) -> None:
    parzival, judge = issuer.token(roles=["devops"]), issuer.token(sub="art3mis", roles=["judge"])
    assert guarded.call(DELETE, {"id": "INV-8"}, token=parzival)["isError"] is True
    [approval] = [a for a in ask(guarded, "/approvals", judge).json()["approvals"] if a["arguments"] == {"id": "INV-8"}]
    path = f"/approvals/{approval['id']}/decision"
    verdict = {"decision": "approve", "reason": "asked on the phone"}

    own = issuer.token(roles=["devops", "judge"])
    assert decide(guarded, path, own, verdict).status_code == 409
    assert decide(guarded, path, parzival, verdict).status_code == 403
    foreign = decide(guarded, path, issuer.token(sub="sorrento", tenant="greg", roles=["judge"]), verdict)
    missing = decide(guarded, "/approvals/apr_0000000000000000/decision", judge, verdict)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content

    given = decide(guarded, path, judge, verdict)
    assert (given.status_code, given.json()["state"]) == (200, "approved")
    assert decide(guarded, path, judge, verdict).status_code == 409
    line = next(x for x in reversed(guarded.audit_lines()) if x["rule"] == "approval-granted")
    assert (line["approval"], line["subject"]) == (approval["id"], "art3mis")
    assert guarded.call(DELETE, {"id": "INV-8"}, token=parzival)["structuredContent"]["id"] == "INV-8"
    assert "needs the approval" in guarded.call(DELETE, {"id": "INV-8"}, token=parzival)["content"][0]["text"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        (
            {"content": b'{"decision":"approve","decision":"reject"}', "headers": {"Content-Type": "application/json"}},
            400,
        ),
        ({"json": {"decision": "maybe"}}, 400),
        ({"json": {"decision": "approve", "more": 1}}, 400),
        ({"content": b"decision=approve", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": {"decision": "approve", "reason": "x" * 20_000}}, 413),
    ],
)
def test_a_decision_of_another_form_is_refused(
    guarded: World, issuer: Issuer, sent: dict[str, object], status: int
) -> None:
    token = issuer.token(sub="art3mis", roles=["judge"])
    answer = decide(guarded, "/approvals/apr_0000000000000000/decision", token, **sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_decisions_are_made_by_post_and_nothing_else_is(guarded: World, issuer: Issuer) -> None:
    judge = issuer.token(sub="art3mis", roles=["judge"])
    answer = ask(guarded, "/approvals/apr_0000000000000000", judge, "POST")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    answer = ask(guarded, "/approvals/apr_0000000000000000/decision", judge)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert ask(guarded, "/approvals?waiting=yes", judge).status_code == 400


def decide(guarded: World, path: str, token: str, verdict: object = None, **more: Any) -> httpx2.Response:
    headers = {"Host": "mcp.example.test", "Authorization": f"Bearer {token}", **more.pop("headers", {})}
    sent = more if verdict is None else {"json": verdict}
    return httpx2.post(f"{guarded.url}{PREFIX}{path}", headers=headers, **sent)

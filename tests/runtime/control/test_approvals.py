"""Approvals through the API: who is shown which, and that nobody else's can be told from none."""

from collections.abc import Iterator

import pytest

from stoa_runtime import bundles
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
    settings = Settings(bundle=written, audit=folder / "state" / "audit.jsonl")
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


def test_approvals_are_not_decided_here(guarded: World, issuer: Issuer) -> None:
    answer = ask(guarded, "/approvals/apr_0000000000000000", issuer.token(roles=["judge"]), "POST")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert ask(guarded, "/approvals?waiting=yes", issuer.token(roles=["judge"])).status_code == 400

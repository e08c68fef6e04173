"""An issuer for each tenant: each speaks for its own tenant only, whatever it signs."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from stoa_runtime.bundles import BundleError, load
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime.world import ISSUER, MCP_URL, Issuer, catalogs, index, listening, write_bundle

TENANTS = ("greg", "ioi", "platform")


def at(tenant: str) -> str:
    return ISSUER if tenant == "platform" else f"{ISSUER}-{tenant}"


@pytest.fixture(scope="module")
def issuers() -> Iterator[dict[str, Issuer]]:
    made = {tenant: Issuer() for tenant in TENANTS}
    yield made
    for issuer in made.values():
        issuer.server.close()


def rules(by_tenant: dict[str, Issuer], **more: object) -> bundle.TokenRules:
    return bundle.TokenRules(
        **{
            "issuer": ISSUER,
            "audience": MCP_URL,
            "jwks_url": by_tenant["platform"].jwks_url,
            "algorithms": ["RS256"],
            "scopes": [bundle.MCP_SCOPE],
            "issuers": [
                bundle.IssuerRule(tenant=t, issuer=at(t), jwks_url=i.jwks_url) for t, i in sorted(by_tenant.items())
            ],
            **more,
        }
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, issuers: dict[str, Issuer]) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("issuers")
    tenants = catalogs("http://127.0.0.1:9")
    written = write_bundle(folder / "bundle", index("http://unused", tenants, token=rules(issuers)), tenants)
    settings = Settings(bundle=written, audit=folder / "audit.jsonl", secrets="file", secrets_folder=folder)
    with listening(settings) as url:
        yield url


def listed(url: str, token: str) -> tuple[int, str, set[str]]:
    """Status, challenge, and whose tools are shown."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {
        "Authorization": f"Bearer {token}",
        "Host": "mcp.example.test",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    answer = httpx2.post(f"{url}/mcp", json=body, headers=headers)
    tools = answer.json()["result"]["tools"] if answer.status_code == 200 else []
    return answer.status_code, answer.headers.get("WWW-Authenticate", ""), {t["name"].split("_")[0] for t in tools}


def test_each_issuers_tokens_count_for_its_own_tenant(served: str, issuers: dict[str, Issuer]) -> None:
    ioi = issuers["ioi"].token(iss=at("ioi"), tenant=["ioi"])
    greg = issuers["greg"].token(iss=at("greg"), tenant="greg", sub="sorrento")
    own = issuers["platform"].token(iss=at("platform"), tenant=["platform"], roles=["cpi-admin"], sub="halliday")
    assert listed(served, ioi)[::2] == (200, {"ioi", "stoa"})
    assert listed(served, greg)[::2] == (200, {"greg", "stoa"})
    assert listed(served, own)[0] == 200


@pytest.mark.parametrize("claim", ["greg", ["greg"], ["ioi", "greg"], [], None, "platform", ["platform"]])
def test_an_issuer_cannot_speak_for_another_tenant(served: str, issuers: dict[str, Issuer], claim: object) -> None:
    token = issuers["ioi"].token(iss=at("ioi"), tenant=claim, roles=["devops", "cpi-admin"])
    status, challenge, _ = listed(served, token)
    assert status == 401
    assert "the token names another tenant than its issuer's" in challenge


def test_a_name_is_not_enough_to_be_an_issuer(served: str, issuers: dict[str, Issuer]) -> None:
    forged = issuers["ioi"].token(iss=at("greg"), tenant="greg")
    assert listed(served, forged)[0] == 401
    stranger = issuers["ioi"].token(iss=f"{ISSUER}-other", tenant="ioi")
    status, challenge, _ = listed(served, stranger)
    assert (status, "another issuer" in challenge) == (401, True)
    assert listed(served, issuers["ioi"].token(iss=None, tenant="ioi"))[0] == 401


def test_the_metadata_names_all_issuers(served: str) -> None:
    said = httpx2.get(f"{served}/.well-known/oauth-protected-resource/mcp", headers={"Host": "mcp.example.test"}).json()
    assert said["authorization_servers"] == [at(t) for t in TENANTS]


@pytest.mark.parametrize("wrong", ["one missing", "one twice", "not the platform's"])
def test_a_bundle_with_a_tenant_that_nobody_or_everybody_speaks_for_is_not_served(
    issuers: dict[str, Issuer], tmp_path: Path, wrong: str
) -> None:
    entries = rules(issuers).issuers or []
    if wrong == "one missing":
        changed = rules(issuers, issuers=entries[1:])
    elif wrong == "one twice":
        changed = rules(issuers, issuers=[entries[0].model_copy(update={"issuer": entries[1].issuer}), *entries[1:]])
    else:
        changed = rules(issuers, issuer=at("ioi"))
    tenants = catalogs("http://127.0.0.1:9")
    written = write_bundle(tmp_path / "bundle", index("http://unused", tenants, token=changed), tenants)
    with pytest.raises(BundleError, match="issuer"):
        load(written)

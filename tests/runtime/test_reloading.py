"""Another bundle in the folder of a runtime that serves: revocation, bad bundles, requests in flight, signatures."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest

from stoa_runtime import bundles
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.signing import Signer

INVOICE = "ioi_billing_get_invoice"


@dataclass
class Reloading:
    """A runtime of its own, and the folder that it watches."""

    world: world.World
    folder: Path
    token: str

    def put(self, tenants: dict[str, bundle.Catalog], **index: object) -> str:
        """Exchanges the folder for another bundle, as the compiler does; its digest."""
        new = self.folder.with_name("new")
        world.write_bundle(new, world.index(self.world.issuer.jwks_url, tenants, **index), tenants)
        return self.exchange(new)

    def exchange(self, new: Path) -> str:
        digest = bundle.sha256((new / bundle.RUNTIME_MANIFEST).read_bytes())
        old = self.folder.with_name("old")
        self.folder.rename(old)
        new.rename(self.folder)
        shutil.rmtree(old)
        return digest

    def names(self) -> set[str]:
        """What the person sees."""
        answer = self.world.post("tools/list", {}, token=self.token).json()
        return {tool["name"] for tool in answer["result"]["tools"]}

    def ready(self) -> dict[str, str]:
        return dict(httpx2.get(f"{self.world.url}/readyz").json())


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def running(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, **more: object) -> Iterator[Reloading]:
    tenants = world.catalogs(backend.url)
    folder = tmp_path / "bundle"
    if not folder.exists():
        world.write_bundle(folder, world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=folder, audit=tmp_path / "state" / "audit.jsonl", reload_seconds=0.05)
    settings = replace(settings, **more)  # type: ignore[arg-type]
    with world.listening(settings) as url:
        digest = bundle.sha256((folder / bundle.RUNTIME_MANIFEST).read_bytes())
        seen = world.World(url, issuer, backend, settings.audit, digest, tenants)
        yield Reloading(seen, folder, issuer.token())


@pytest.fixture
def served(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder) -> Iterator[Reloading]:
    with running(tmp_path, issuer, backend) as made:
        yield made


def without(tenants: dict[str, bundle.Catalog], tool: str) -> dict[str, bundle.Catalog]:
    """The catalogs where nobody of `ioi` may call `tool`."""
    ioi = tenants["ioi"]
    access = {role: [name for name in names if name != tool] for role, names in ioi.access.items()}
    return {**tenants, "ioi": ioi.model_copy(update={"access": access})}


def test_a_grant_that_is_taken_away_counts_from_the_next_request(served: Reloading) -> None:
    assert INVOICE in served.names()
    digest = served.put(without(served.world.tenants, INVOICE))
    eventually(lambda: served.ready().get("bundle") == digest)
    assert INVOICE not in served.names()
    answer = served.world.post("tools/call", {"name": INVOICE, "arguments": {"id": "1"}}, token=served.token).json()
    missing = served.world.post("tools/call", {"name": "ioi_billing_nothing"}, token=served.token).json()
    assert answer["error"] == missing["error"]


@pytest.mark.parametrize("damage", ["catalog", "manifest", "half"])
def test_a_bad_bundle_leaves_the_last_good_one_and_says_so(served: Reloading, damage: str) -> None:
    before = served.ready()["bundle"]
    new = served.folder.with_name("new")
    tenants = without(served.world.tenants, INVOICE)
    world.write_bundle(new, world.index(served.world.issuer.jwks_url, tenants), tenants)
    match damage:
        case "catalog":
            path = new / "mcp" / "tenants" / "ioi.json"
            path.write_bytes(path.read_bytes().replace(b"ioi_billing_get_invoice", b"ioi_billing_get_invoicX"))
        case "manifest":
            (new / bundle.RUNTIME_MANIFEST).write_bytes(b"{}")
        case _:
            (new / "mcp" / "tenants" / "greg.json").unlink()
    served.exchange(new)
    eventually(lambda: "refused" in served.ready())
    assert served.ready()["status"] == "ready"
    assert served.ready()["bundle"] == before
    assert INVOICE in served.names()
    digest = served.put(tenants)
    eventually(lambda: served.ready().get("bundle") == digest)
    assert "refused" not in served.ready()
    assert INVOICE not in served.names()


def test_a_request_in_flight_ends_on_the_bundle_that_it_began_with(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    backend.documents["/slow"] = None
    tenants = world.catalogs(backend.url)
    slow = tenants["ioi"].contracts
    patient = [
        c.model_copy(update={"backend": c.backend.model_copy(update={"read_ms": 5000, "total_ms": 5000})})
        if c.name == "slow"
        else c
        for c in slow
    ]
    tenants["ioi"] = tenants["ioi"].model_copy(update={"contracts": patient})
    world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    with running(tmp_path, issuer, backend) as served:
        before = served.ready()["bundle"]
        got: list[dict[str, object]] = []
        params = {"name": "ioi_slow_wait", "arguments": {}}
        call = threading.Thread(
            target=lambda: got.append(served.world.post("tools/call", params, token=served.token).json())
        )
        start = len(backend.requests)
        with served.world.recording() as requests:
            call.start()
            eventually(lambda: any(r["target"] == "/slow" for r in backend.requests[start:]))
            digest = served.put(without(served.world.tenants, "ioi_slow_wait"))
            eventually(lambda: served.ready().get("bundle") == digest)
            call.join(10)
        assert requests
        (answer,) = got
        meta = answer["result"]["_meta"]  # type: ignore[index]
        assert meta["dev.gostoa/bundle"] == before
        assert "ioi_slow_wait" not in served.names()


def test_other_promises_of_the_audit_log_wait_for_a_new_process(served: Reloading) -> None:
    before = served.ready()["bundle"]
    served.put(served.world.tenants, enforcement=bundle.EnforcementRules(audit_durability="event"))
    eventually(lambda: "refused" in served.ready())
    assert served.ready()["bundle"] == before


def test_only_signed_bundles_are_taken_where_a_key_is_named(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    signer = Signer()
    key = tmp_path / "key.pem"
    key.write_bytes(signer.public_pem)
    tenants = world.catalogs(backend.url)
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    with pytest.raises(bundles.BundleError, match="not signed"), running(tmp_path, issuer, backend, keys=(key,)):
        pass
    signer.sign(folder, 7)
    with running(tmp_path, issuer, backend, keys=(key,)) as served:
        first = served.ready()["bundle"]
        served.put(without(tenants, INVOICE))
        eventually(lambda: "not signed" in served.ready().get("refused", ""))
        assert served.ready()["bundle"] == first
        older = served.folder.with_name("older")
        fewer = without(tenants, INVOICE)
        world.write_bundle(older, world.index(issuer.jwks_url, fewer), fewer)
        served.exchange(signer.sign(older, 6))
        eventually(lambda: "6" in served.ready().get("refused", ""))
        assert served.ready()["bundle"] == first
        newer = served.folder.with_name("newer")
        world.write_bundle(newer, world.index(issuer.jwks_url, fewer), fewer)
        digest = served.exchange(signer.sign(newer, 8))
        eventually(lambda: served.ready().get("bundle") == digest)
        assert INVOICE not in served.names()


def test_keys_of_the_same_issuer_are_not_fetched_again(served: Reloading) -> None:
    served.names()
    digest = served.put(without(served.world.tenants, INVOICE))
    fetched = len(served.world.issuer.server.requests)
    eventually(lambda: served.ready().get("bundle") == digest)
    served.names()
    assert len(served.world.issuer.server.requests) == fetched

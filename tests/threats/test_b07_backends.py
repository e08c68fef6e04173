"""B7: backends that answer to harm, end to end; `tests/runtime/test_backend_faults.py` has each fault by itself."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.threats import wire
from tests.threats.process import Attacked, serving

FAULTS = {
    "redirect": "redirect",
    "big": "more than 2048 bytes",
    "bomb": "more than 2048 bytes",
    "html": "",
    "broken": "",
    "deep": "",
    "crash": "",
    "deviates": "",
}


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("fault", FAULTS)
def test_answer(stoa: Attacked, parzival: str, fault: str, era: str) -> None:
    before = stoa.memory()
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.call(parzival, f"ioi_billing_{fault}", era=era))
    result = answer.json()["result"]
    assert result["isError"] is True
    assert FAULTS[fault] in result["content"][0]["text"]
    assert len(got) == 1
    for text in ("127.0.0.1", "hunter2", "Traceback", world.SECRET):
        assert text not in answer.body.decode()
    assert stoa.memory() - before < 10_000_000


@pytest.mark.parametrize("era", wire.ERAS)
def test_backend_that_hangs(stoa: Attacked, parzival: str, era: str) -> None:
    began = time.monotonic()
    result = wire.asked(stoa.address, wire.call(parzival, "ioi_slow_wait", era=era)).json()["result"]
    assert "in time" in result["content"][0]["text"]
    assert time.monotonic() - began < 10


HOSTS = [
    "169.254.169.254",
    "127.1",
    "0x7f000001",
    "2130706433",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "localhost",
    "0.0.0.0",
    "10.0.0.1",
    "user@127.0.0.1",
]


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    """A platform whose backends may be in no private network, and one contract for each host."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    port = backend.url.rpartition(":")[2]
    contracts = [world.contract(f"c{n}", f"http://{host}:{port}", auth=None) for n, host in enumerate(HOSTS)]
    tools = [world.tool("ioi", f"c{n}", "reach", "GET", "/reach") for n in range(len(HOSTS))]
    tenants = {"ioi": world.catalog("ioi", contracts, tools)}
    index = world.index(issuer.jwks_url, tenants, backend_networks=[])
    written = world.write_bundle(folder / "bundle", index, tenants)
    settings = Settings(bundle=written, port=0, audit=folder / "state" / "a.jsonl")
    with serving(settings, issuer, backend, tenants, folder / "process") as made:
        yield made


@pytest.mark.parametrize("host", HOSTS)
def test_address_that_leads_inside(guarded: Attacked, parzival: str, host: str) -> None:
    """Judged as the connection is made: a name that leads to loopback is refused by where it leads."""
    with guarded.recording() as got:
        result: Any = wire.asked(guarded.address, wire.call(parzival, f"ioi_c{HOSTS.index(host)}_reach")).json()[
            "result"
        ]
    assert result["isError"] is True
    assert got == []

"""B10: more calls than the limits let by a header, an address, another client, another spelling, or at once."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.engines.valkey import Missing, Valkey
from tests.engines.valkey import serving as valkey_serving
from tests.runtime import world
from tests.threats import wire
from tests.threats.process import Attacked, serving

TOOL = "ioi_inventory_list_items"
CALLS = 5
HOUR = bundle.RateLimit(calls=CALLS, seconds=3600)
"""So that nothing comes back while a test runs."""


def process(stack: ExitStack, folder: Path, issuer: world.Issuer, backend: world.Recorder, **more: Any) -> Attacked:
    enforcement = bundle.EnforcementRules(limits_when_down=more.pop("down", "refuse"))
    tenant_rate = more.pop("tenant_rate", None)
    tenants = world.catalogs(backend.url)
    ioi = tenants["ioi"]
    tools = [tool.model_copy(update={"rate": HOUR}) for tool in ioi.tools]
    changes: dict[str, Any] = {"tools": tools, **({"rate": tenant_rate} if tenant_rate else {})}
    tenants["ioi"] = ioi.model_copy(update=changes)
    index = world.index(issuer.jwks_url, tenants, enforcement=enforcement, clients=[world.CLIENT, "claude2"])
    written = world.write_bundle(folder / "bundle", index, tenants)
    settings = Settings(bundle=written, port=0, audit=folder / "state" / "a.jsonl", **more)
    return stack.enter_context(serving(settings, issuer, backend, tenants, folder / "process"))


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    with ExitStack() as stack:
        yield process(stack, tmp_path_factory.mktemp("limits"), issuer, backend)


def passed(answer: wire.Answer) -> bool:
    return answer.status == 200 and answer.json().get("result", {}).get("isError") is False


DODGES: dict[str, Any] = {
    "nothing": lambda n: ({}, {}),
    "X-Forwarded-For": lambda n: ({"X-Forwarded-For": f"10.0.0.{n}"}, {}),
    "Forwarded": lambda n: ({"Forwarded": f"for=10.0.0.{n}"}, {}),
    "X-Real-IP": lambda n: ({"X-Real-IP": f"10.0.0.{n}", "True-Client-IP": f"10.0.0.{n}"}, {}),
    "User-Agent": lambda n: ({"User-Agent": f"agent {n}"}, {}),
    "a session": lambda n: ({"Mcp-Session-Id": str(n)}, {}),
    "a trace": lambda n: ({"traceparent": f"00-{n + 1:032x}-{n + 1:016x}-01"}, {}),
    "another client": lambda n: ({}, {"azp": ("claude", "claude2")[n % 2]}),
    "other roles": lambda n: ({}, {"roles": [["devops"], ["devops", "viewer"], ["viewer"]][n % 3]}),
    "another token": lambda n: ({}, {"jti": str(n)}),
}


@pytest.mark.parametrize("dodge", DODGES)
def test_dodge_by(limited: Attacked, dodge: str) -> None:
    """Each call with its own connection, and so from its own port."""
    admitted = 0
    for n in range(CALLS * 3):
        headers, claims = DODGES[dodge](n)
        token = limited.issuer.token(sub=f"dodger by {dodge}", **claims)
        era = wire.ERAS[n % 2]
        body = wire.message("tools/call", {"name": TOOL, "arguments": {}}, era=era)
        fields = [*wire.fields("tools/call", token, era=era, name=TOOL), *headers.items()]
        admitted += passed(wire.asked(limited.address, wire.request(fields, body)))
    assert admitted == CALLS


def test_dodge_by_another_spelling_of_the_tool(limited: Attacked) -> None:
    token = limited.issuer.token(sub="speller")
    for _ in range(CALLS):
        assert passed(wire.asked(limited.address, wire.call(token, TOOL)))
    for name in (TOOL.upper(), TOOL.title(), TOOL + " ", " " + TOOL, "ioi:inventory:list_items", TOOL + "\0", TOOL):
        assert not passed(wire.asked(limited.address, wire.call(token, name)))


def test_dodge_by_calls_at_once(limited: Attacked) -> None:
    data = wire.call(limited.issuer.token(sub="many at once"), TOOL)
    with limited.recording() as got, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: wire.asked(limited.address, data), range(48)))
    assert sum(map(passed, answers)) == CALLS
    assert len(got) == CALLS


def test_dodge_by_a_crafted_subject(limited: Attacked) -> None:
    """Names with the separators of keys are no other's."""
    for subject in ("ioi|x", "x|ioi", "x%7Cy", "x\n", "*", "x" * 5000):
        data = wire.call(limited.issuer.token(sub=subject), TOOL)
        assert [passed(wire.asked(limited.address, data)) for _ in range(CALLS + 1)] == [True] * CALLS + [False]


def test_the_tenants_rate_is_that_of_all_its_people_and_no_other_tenants(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    with ExitStack() as stack:
        stoa = process(stack, tmp_path, issuer, backend, tenant_rate=bundle.RateLimit(calls=20, seconds=3600))
        answers = [
            wire.asked(stoa.address, wire.listing(issuer.token(sub=f"p{n}", azp=("claude", "claude2")[n % 2])))
            for n in range(40)
        ]
        assert [a.status for a in answers] == [200] * 20 + [429] * 20
        assert int(answers[-1].header("retry-after") or 0) > 0
        assert wire.asked(stoa.address, wire.listing(issuer.token(sub="s", tenant="greg"))).status == 200


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    folder = tmp_path / "valkey"
    folder.mkdir()
    try:
        with valkey_serving(folder) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.engine
@pytest.mark.parametrize("down", ["refuse", "local"])
def test_two_processes_share_their_counts_and_a_store_that_is_down_does_as_declared(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, valkey: Valkey, down: str
) -> None:
    with ExitStack() as stack:
        both = [
            process(stack, tmp_path / name, issuer, backend, down=down, store_url=valkey.url) for name in ("one", "two")
        ]
        data = wire.call(issuer.token(sub="between"), TOOL)
        answers = [passed(wire.asked(both[n % 2].address, data)) for n in range(CALLS * 2)]
        assert sum(answers) == CALLS
        valkey.kill()
        began = time.monotonic()
        other = wire.call(issuer.token(sub="meanwhile"), TOOL)
        with both[0].recording() as got:
            answers = [passed(wire.asked(both[0].address, other)) for _ in range(CALLS * 2)]
        assert sum(answers) == (CALLS if down == "local" else 0)
        assert len(got) == sum(answers)
        assert time.monotonic() - began < 15

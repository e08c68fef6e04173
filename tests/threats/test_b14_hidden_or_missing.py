"""B14: a tool that one may not see and one that does not exist: the same bytes, in times of one distribution.

The test of times has a false-alarm rate of one in a thousand for each try, and an alarm must come three times in a
row: one in a thousand million for each comparison. That it would find a leak is tested on a process that has one, of
200 microseconds.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.threats import timing, wire
from tests.threats.process import Attacked, serving

PAIRS = 100
CALLS = 50
"""Calls of unknown tools that one person makes here; more than 60 in a minute are refused."""
TWINS = {
    "another tenant's": ("greg_oasis_get_quest", "greg_oasis_get_quesz"),
    "another tenant's, and one of no tenant": ("greg_oasis_get_quest", "gred_oasis_get_quest"),
    "one's own tenant's": ("ioi_billing_create_invoice", "ioi_billing_create_invoicf"),
    "one's own tenant's that needs approval": ("ioi_billing_delete_invoice", "ioi_billing_delete_invoicf"),
    "one's own tenant's that is mirrored": ("ioi_inventory_mirrored", "ioi_inventory_mirrorfd"),
    "the platform's": ("stoa_security_posture", "stoa_security_posturf"),
}
SIZES = {"no arguments": {}, "an argument": {"id": "1"}, "40 KB of arguments": {"id": "x" * 40_000}}
PATHS = {"prepared": {}, "SDK": {"_meta": {"x/y": 1}}, "progress": {"_meta": {"progressToken": 1}}}
LEAK = """
import time
from stoa_runtime.bundles import Snapshot
whole = Snapshot.tool_id
def leaking(self, name):
    found, until = whole(self, name), time.perf_counter() + 0.0002
    while found and time.perf_counter() < until:
        pass
    return found
Snapshot.tool_id = leaking
"""
subjects = itertools.count()


def viewer(stoa: Attacked) -> str:
    """Somebody who only reads, and has called nothing yet."""
    token = stoa.issuer.token(sub=f"viewer {next(subjects)}", roles=["viewer"])
    assert wire.asked(stoa.address, wire.listing(token)).status == 200
    return token


def answer(connection: wire.Wire, data: bytes) -> wire.Answer:
    connection.send(data)
    found = connection.answer()
    assert found is not None
    return found


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("twins", TWINS)
def test_same_bytes(stoa: Attacked, twins: str, size: str, path: str, era: str) -> None:
    token = stoa.issuer.token(sub=f"viewer {next(subjects)}", roles=["viewer"])
    answers = [
        wire.asked(stoa.address, wire.call(token, name, SIZES[size], era=era, **PATHS[path])) for name in TWINS[twins]
    ]
    assert len({(a.status, a.body, str([h for h in a.headers if h[0] != "date"])) for a in answers}) == 1
    assert answers[0].json()["error"]["code"] == -32602
    for name in TWINS[twins]:
        assert name.encode() not in answers[0].body


@pytest.mark.parametrize("era", wire.ERAS)
def test_same_bytes_when_the_calls_are_used_up(stoa: Attacked, era: str) -> None:
    token = stoa.issuer.token(sub=f"viewer {next(subjects)}", roles=["viewer"])
    theirs, missing = TWINS["another tenant's"]
    with wire.Wire(stoa.address) as connection:
        for n in range(60):
            answer(connection, wire.call(token, (theirs, missing)[n % 2], era=era))
        told = [answer(connection, wire.call(token, name, era=era)).json()["result"] for name in (theirs, missing)]
    texts = [result["content"][0]["text"] for result in told]
    assert texts[0] == texts[1]
    assert "Too many calls of tools that do not exist for you" in texts[0]


@pytest.mark.parametrize("header", ["traceparent", "Mcp-Param-Region", "Accept", "Last-Event-ID"])
def test_same_bytes_whatever_else_is_sent(stoa: Attacked, header: str) -> None:
    token = stoa.issuer.token(sub=f"viewer {next(subjects)}", roles=["viewer"])
    found = set()
    for name in TWINS["one's own tenant's that is mirrored"]:
        body = wire.message("tools/call", {"name": name, "arguments": {"region": "eu"}})
        fields = [f for f in wire.fields("tools/call", token, name=name) if f[0] != header] + [(header, "us")]
        got = wire.asked(stoa.address, wire.request(fields, body))
        found.add((got.status, got.body))
    assert len(found) == 1


def measured(
    stoa: Attacked, connection: wire.Wire, requests: tuple[Callable[[str], bytes], ...], rng: random.Random
) -> list[float]:
    """The differences of times of these two kinds of request."""
    differences: list[float] = []
    while len(differences) < PAIRS:
        token = viewer(stoa)
        made = [request(token) for request in requests]
        one, other = (partial(answer, connection, data) for data in made)
        differences += timing.pairs(one, other, CALLS // timing.REPEATS // 2, rng)
    return differences


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("path", ["prepared", "SDK"])
@pytest.mark.parametrize(
    ("twins", "size"),
    [
        ("another tenant's", "an argument"),
        ("another tenant's", "40 KB of arguments"),
        ("one's own tenant's", "an argument"),
        ("one's own tenant's that is mirrored", "no arguments"),
    ],
)
def test_times_of_one_distribution(stoa: Attacked, twins: str, size: str, path: str, era: str) -> None:
    def request(name: str, token: str) -> bytes:
        return wire.call(token, name, SIZES[size], era=era, **PATHS[path])

    kinds = tuple(partial(request, name) for name in TWINS[twins])
    with wire.Wire(stoa.address) as connection:
        assert not timing.alarms(partial(measured, stoa, connection, kinds), random.randrange(2**32))


@pytest.fixture(scope="module")
def leaking(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    """A process that takes 200 microseconds longer for a tool that exists."""
    folder: Path = tmp_path_factory.mktemp("leaking")
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, port=0, audit=folder / "state" / "a.jsonl")
    with serving(settings, issuer, backend, tenants, folder / "process", before=LEAK) as made:
        yield made


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("path", ["prepared", "SDK"])
def test_the_test_of_times_finds_a_leak_of_200_microseconds(leaking: Attacked, path: str, era: str) -> None:
    def request(name: str, token: str) -> bytes:
        return wire.call(token, name, SIZES["an argument"], era=era, **PATHS[path])

    kinds = tuple(partial(request, name) for name in TWINS["another tenant's"])
    with wire.Wire(leaking.address) as connection:
        assert timing.alarms(partial(measured, leaking, connection, kinds), 1)


def test_the_test_of_times_gives_false_alarms_as_often_as_it_says() -> None:
    """On differences that are symmetric and have long tails, as those of a busy machine."""
    rng = random.Random(7)
    tries = 2000
    alarms = sum(
        timing.probability([rng.paretovariate(1.1) * rng.choice((-1, 1)) for _ in range(PAIRS)]) < 0.05
        for _ in range(tries)
    )
    assert 0.03 < alarms / tries < 0.07

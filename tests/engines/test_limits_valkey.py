"""Limits that several processes share, over a real Valkey: the same as in one process, and through its failures."""

import asyncio
import datetime
import ipaddress
import itertools
import logging
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_runtime.limits import Admission, Charge, LimitReached, MemoryStore, Quota, Slot, Store
from stoa_runtime.limits.valkey import FAILURES, RETRY_SECONDS, TAKE_SECONDS, ValkeyStore
from tests.engines.valkey import Missing, Valkey, serving
from tests.runtime.limits.counting import START, Clock, charge, quota, slot

pytestmark = pytest.mark.engine
PASSWORD = "correct horse/battery@staple"
names = (f"k{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that nobody harms."""
    try:
        with serving(tmp_path_factory.mktemp("valkey")) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may kill."""
    try:
        with serving(tmp_path) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


async def outcome(store: Store, *taken: Any) -> Any:
    """The admission, or what the refusal says."""
    try:
        return await store.take(*taken)
    except LimitReached as refused:
        return (refused.rule, refused.retry_after, refused.text)


async def eventually(ask: Callable[[], Awaitable[bool]], seconds: float = 10) -> float:
    """Seconds until `ask` says yes."""
    began = time.monotonic()
    while not await ask():
        assert time.monotonic() - began < seconds, "it does not happen"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def run(url: str, story: Callable[[ValkeyStore], Awaitable[None]], policy: Any = "refuse") -> None:
    async def whole() -> None:
        store = ValkeyStore(url, lambda: policy)
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


RATES = [(1, 1, None), (7, 1, 3), (60, 60, 20), (1000, 3600, 1), (3000, 1, 2)]
STEP = st.one_of(
    st.floats(0, 1).map(lambda x: ("wait", x**4 * 90)),
    st.tuples(st.just("take"), st.lists(st.integers(0, 8), min_size=1, max_size=5, unique=True)),
    st.tuples(st.just("release"), st.integers(0, 20)),
)


@given(st.lists(STEP, min_size=5, max_size=60))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_decides_as_the_store_in_memory(valkey: Valkey, steps: Sequence[tuple[str, Any]]) -> None:
    mark = next(names)
    clock = Clock()
    charges = [charge(f"{mark}:c{i}", *rate) for i, rate in enumerate(RATES)]
    quotas = [quota(f"{mark}:q0", 5, START + 100), quota(f"{mark}:q1", 3, START + 86_400.25)]
    slots = [slot(f"{mark}:s0", 1, 20), slot(f"{mark}:s1", 3, 45.5)]
    everything: list[Charge | Quota | Slot] = [*charges, *quotas, *slots]

    async def story() -> None:
        memory, shared = MemoryStore(clock), ValkeyStore(valkey.url, lambda: "refuse", clock)
        held: list[tuple[Admission, Admission]] = []
        for step, value in steps:
            if step == "wait":
                clock.now += value
            elif step == "release":
                if held:
                    one, other = held.pop(value % len(held))
                    memory.release_now(one)
                    await shared.release(other)
            else:
                chosen = [everything[i] for i in value]
                # A quota's key holds its span, so none is taken after its end.
                chosen = [c for c in chosen if not isinstance(c, Quota) or c.ends > clock.now]
                taken = [[c for c in chosen if isinstance(c, kind)] for kind in (Charge, Quota, Slot)]
                one, other = await outcome(memory, *taken), await outcome(shared, *taken)
                if isinstance(one, Admission) and isinstance(other, Admission):
                    if one.slots:
                        held.append((one, other))
                else:
                    assert one == other
        await shared.close()

    asyncio.run(story())


WORKER = """
import asyncio, sys, time
from stoa_runtime.limits.valkey import ValkeyStore
from stoa_runtime.limits import LimitReached
from tests.runtime.limits.counting import charge, quota

async def main():
    store = ValkeyStore(sys.argv[1], lambda: "refuse")
    rate, daily = [charge("shared-rate", 100, 86400)], [quota("shared-quota", 60, time.time() + 3600)]
    await store.take([])
    print("ready", flush=True)
    sys.stdin.readline()
    counts = [0, 0]
    async def one(n, *taken):
        try:
            await store.take(*taken)
            counts[n] += 1
        except LimitReached as refused:
            assert refused.rule in ("rate-tool", "quota-plan"), refused.rule
    for _ in range(50):
        await asyncio.gather(*(one(0, rate) for _ in range(4)), *(one(1, [], daily) for _ in range(4)))
    await store.close()
    print(*counts)

asyncio.run(main())
"""


def test_two_processes_together_admit_exactly_the_limit(valkey: Valkey) -> None:
    command = [sys.executable, "-c", WORKER, valkey.url]
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    counted = [list(map(int, worker.communicate(timeout=60)[0].split())) for worker in workers]
    assert [sum(each) for each in zip(*counted, strict=True)] == [100, 60]
    assert all(count > 0 for each in counted for count in each), "one process did all"


HOLDER = """
import asyncio, sys
from stoa_runtime.limits.valkey import ValkeyStore
from tests.runtime.limits.counting import slot

async def main():
    store = ValkeyStore(sys.argv[1], lambda: "refuse")
    await store.take([], [], [slot("held", 1, 1.5)])
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_killed_process_gives_its_slots_back(valkey: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        place = slot("held", 1, 1.5)
        command = [sys.executable, "-c", HOLDER, valkey.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "held\n"
            worker.kill()
        assert (await outcome(store, [], [], [place]))[0] == "concurrency-tool"

        async def free() -> bool:
            return isinstance(await outcome(store, [], [], [place]), Admission)

        await eventually(free, 5)

    run(valkey.url, story)


def test_slots_are_given_back_even_by_a_caller_who_leaves(valkey: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        place = slot(next(names), 1)
        held = await store.take([], [], [place])
        leaving = asyncio.create_task(store.release(held))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

        async def free() -> bool:
            return isinstance(await outcome(store, [], [], [place]), Admission)

        await eventually(free, 2)
        taking = asyncio.create_task(store.take([], [], [slot("left", 1)]))
        await asyncio.sleep(0.0001)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)

        async def left() -> bool:
            return isinstance(await outcome(store, [], [], [slot("left", 1)]), Admission)

        if taking.cancelled():
            await eventually(left, 2)

    run(valkey.url, story)


def test_a_server_that_forgot_the_script_gets_it_again(valkey: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        key = next(names)
        with redis.Redis.from_url(valkey.url) as client:
            for _ in range(3):
                await store.take([charge(key, 3, 3600)])
                client.script_flush()
        assert (await outcome(store, [charge(key, 3, 3600)]))[0] == "rate-tool"

    run(valkey.url, story)


def test_connections_that_died_in_the_pool_are_no_failure(valkey: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        law = charge(next(names), 1000)
        await asyncio.gather(*(store.take([law]) for _ in range(8)))
        with redis.Redis.from_url(valkey.url) as client:
            for _ in range(3):
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await asyncio.gather(*(store.take([law]) for _ in range(8)))
        assert store.works

    run(valkey.url, story)


def test_every_key_has_an_end(valkey: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        mark = next(names)
        place = slot(f"{mark}:s", 2)
        for _ in range(2):
            held = await store.take([charge(f"{mark}:c", 5, 60)], [quota(f"{mark}:q", 9, time.time() + 100)], [place])
        with redis.Redis.from_url(valkey.url) as client:
            left = {key: client.pttl(key) for key in sorted(client.keys(f"{mark}:*"))}
        assert len(left) == 3
        rate, calls, running = left.values()
        assert 60_000 < rate <= 60_000 + 24_000
        assert 150_000 < calls <= 161_000
        assert 60_000 < running <= 120_000
        await store.release(held)

    run(valkey.url, story)


def test_the_rights_that_the_documentation_names_are_enough(valkey: Valkey) -> None:
    page = (Path(__file__).parents[2] / "docs/limits.md").read_text()
    rights = next(line for line in page.splitlines() if line.startswith("ACL SETUSER")).split()
    with redis.Redis.from_url(valkey.url) as client:
        client.execute_command(*(word.replace("PASSWORD", "pw") for word in rights))

    async def story(store: ValkeyStore) -> None:
        place = slot("stoa|s", 1)
        for _ in range(2):
            held = await store.take([charge("stoa|c", 5)], [quota("stoa|q", 5, time.time() + 60)], [place])
            await store.release(held)
        assert store.works
        assert (await outcome(store, [charge("other", 5)]))[0] == "limits-unavailable"

    run(f"redis://{rights[2]}:pw@127.0.0.1:{valkey.port}/0", story)


def test_refused_while_the_server_is_dead_and_admitted_when_it_is_back(
    fragile: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(store: ValkeyStore) -> None:
        law = charge("k", 1000)
        await store.take([law])
        fragile.kill()
        for _ in range(FAILURES):
            assert (await outcome(store, [law]))[0] == "limits-unavailable"
        assert not store.works
        fragile.start()

        async def back() -> bool:
            return isinstance(await outcome(store, [law]), Admission)

        assert await eventually(back) < RETRY_SECONDS + 5
        assert store.works

    with caplog.at_level(logging.WARNING):
        run(fragile.url, story)
    assert [r.getMessage() for r in caplog.records if r.name == "stoa.limits"] == [
        "the store of limits cannot be used (ConnectionError); calls are refused until it is back",
        "the store of limits is back",
    ]


def test_counted_here_while_the_server_is_dead(fragile: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        law = charge("k", 5, 3600)
        for _ in range(5):
            assert not (await store.take([law])).local
        assert (await outcome(store, [law]))[0] == "rate-tool"
        fragile.kill()
        place = slot("s", 1)
        held = await store.take([law], [], [place])
        assert held.local
        for _ in range(4):
            await store.take([law])
        assert (await outcome(store, [law]))[0] == "rate-tool"
        fragile.start()

        async def back() -> bool:
            found = await outcome(store, [law])
            return isinstance(found, Admission) and not found.local

        await eventually(back)
        await store.release(held)
        assert store.works

    run(fragile.url, story, "local")


def test_a_server_that_hangs_is_left_alone(fragile: Valkey) -> None:
    async def story(store: ValkeyStore) -> None:
        law = charge("k", 100_000)
        await store.take([law])
        fragile.hold()
        first = await asyncio.gather(*(outcome(store, [law]) for _ in range(10)))
        assert {found[0] for found in first} == {"limits-unavailable"}
        assert not store.works
        # While the circuit is open nobody waits: a thousand of them would take minutes at the time limit.
        began = time.monotonic()
        for _ in range(1000):
            assert (await outcome(store, [law]))[0] == "limits-unavailable"
        assert time.monotonic() - began < 1000 * TAKE_SECONDS / 10
        fragile.go_on()

        async def back() -> bool:
            return isinstance(await outcome(store, [law]), Admission)

        await eventually(back)

    run(fragile.url, story)


def test_a_password_opens_and_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from urllib.parse import quote

    async def admitted(store: ValkeyStore) -> None:
        assert isinstance(await outcome(store, [charge("k", 5)]), Admission)

    async def refused(store: ValkeyStore) -> None:
        for _ in range(FAILURES):
            assert (await outcome(store, [charge("k", 5)]))[0] == "limits-unavailable"

    try:
        with serving(tmp_path, PASSWORD) as server, caplog.at_level(logging.DEBUG):
            at = f"127.0.0.1:{server.port}/0"
            run(f"redis://:{quote(PASSWORD, safe='')}@{at}", admitted)
            run(f"redis://:wrong-{quote(PASSWORD, safe='')}@{at}", refused)
            run(f"redis://{at}", refused)
    except Missing as missing:
        pytest.skip(str(missing))
    assert "the store of limits cannot be used (AuthenticationError)" in caplog.text
    assert "staple" not in caplog.text


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "valkey")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


def test_over_tls_and_only_with_a_certificate_that_is_trusted(valkey: Valkey, tmp_path: Path) -> None:
    """The server's own TLS is not in every build, so TLS ends in front of it."""
    chain, secret = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", valkey.port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer), return_exceptions=True)

    async def story() -> None:
        front = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        at = f"rediss://127.0.0.1:{front.sockets[0].getsockname()[1]}/0"
        trusting = ValkeyStore(f"{at}?ssl_ca_certs={chain}", lambda: "refuse")
        assert isinstance(await outcome(trusting, [charge(next(names), 5)]), Admission)
        await trusting.close()
        strict = ValkeyStore(at, lambda: "refuse")
        assert (await outcome(strict, [charge(next(names), 5)]))[0] == "limits-unavailable"
        await strict.close()
        front.close()

    asyncio.run(story())

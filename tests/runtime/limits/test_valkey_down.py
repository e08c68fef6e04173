"""A shared store that cannot be reached: what is declared happens, and no call waits for long."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stoa_runtime.limits import LimitReached, MemoryStore, StoreUnusable, open_store
from stoa_runtime.limits.valkey import FAILURES, ValkeyStore
from tests.runtime.limits.counting import charge, slot


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where nothing listens, with a password."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"redis://:hunter2-secret@127.0.0.1:{held.getsockname()[1]}/0"


def test_calls_are_refused_where_that_is_declared(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        store = open_store(nobody, lambda: "refuse")
        for _ in range(FAILURES + 2):
            with pytest.raises(LimitReached) as refused:
                await store.take([charge("k", 100)])
            assert (refused.value.rule, refused.value.retry_after) == ("limits-unavailable", 1.0)
            assert "Calls cannot be counted at the moment. Call again in 1 second." in refused.value.text
            assert "hunter2" not in refused.value.text
            assert refused.value.__cause__ is None
        assert not store.works
        await store.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
    assert "the store of limits cannot be used (ConnectionError); calls are refused until it is back" in caplog.text
    assert "hunter2" not in caplog.text
    assert "127.0.0.1" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("stoa"))


def test_each_process_counts_where_that_is_declared(nobody: str) -> None:
    async def story() -> None:
        store = open_store(nobody, lambda: "local")
        law, place = charge("k", 100), slot("s", 1)
        held = await store.take([law], [], [place])
        assert held.local
        with pytest.raises(LimitReached) as refused:
            await store.take([law], [], [place])
        assert refused.value.rule == "concurrency-tool"
        await store.release(held)
        burst = charge("other", 100, 3600, 20)
        for _ in range(20):
            await store.take([burst])
        with pytest.raises(LimitReached) as refused:
            await store.take([burst])
        assert refused.value.rule == "rate-tool"
        await store.close()

    asyncio.run(story())


def test_what_a_new_bundle_declares_holds_at_once(nobody: str) -> None:
    async def story() -> None:
        declared = ["refuse"]
        store = ValkeyStore(nobody, lambda: declared[0])  # type: ignore[arg-type, return-value]
        with pytest.raises(LimitReached):
            await store.take([charge("k", 1)])
        declared[0] = "local"
        assert (await store.take([charge("k", 1)])).local
        await store.close()

    asyncio.run(story())


def test_a_server_that_does_not_answer_costs_few_calls_their_time() -> None:
    """Only the calls before the circuit opens, and one in a while, wait; those in between speak to nobody."""

    async def story() -> None:
        connections = 0

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = ValkeyStore(f"redis://127.0.0.1:{port}", lambda: "refuse")
        for _ in range(FAILURES):
            with pytest.raises(LimitReached):
                await store.take([charge("k", 1)])
        opened = connections
        for _ in range(50):
            with pytest.raises(LimitReached):
                await store.take([charge("k", 1)])
        assert connections <= opened + 1
        await store.close()
        server.close()

    asyncio.run(story())


def test_no_url_is_this_process() -> None:
    assert isinstance(open_store(None, lambda: "refuse"), MemoryStore)


def test_a_url_that_is_none_is_the_operators_mistake() -> None:
    for url in ("http://user:hunter2@host", "hunter2", "redis://:hunter2@host:port/0"):
        with pytest.raises(StoreUnusable, match="not well formed") as caught:
            open_store(url, lambda: "refuse")
        assert "hunter2" not in str(caught.value)


def test_the_clients_library_is_loaded_for_a_shared_store_only() -> None:
    code = "import sys, stoa_runtime.limits as l; l.open_store(None, lambda: 'refuse'); print('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

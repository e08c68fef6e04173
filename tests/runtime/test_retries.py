"""Retries: within their budget, after a wait that the backend may lengthen, and never where a call may count twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.addresses import AddressRule
from stoa_runtime.backends import BackendFailed, Backends, open_wire
from stoa_runtime.credentials import FileCredentials
from stoa_runtime.requests import Outgoing
from stoa_runtime.retries import FLOOR, WINDOW, Budget, asked_seconds, wait_seconds
from stoa_schemas import bundle
from tests.runtime.world import Recorder, contract

ANSWER = bundle.Answer(media_types=["application/json"], check="enforce", max_bytes=10_000)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Failing:
    """Answers every call with one status, and counts."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.headers, self.tries = status, headers, 0

    def __call__(self, handler: Any, path: str, body: bytes) -> None:
        self.tries += 1
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@pytest.fixture
def own() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


def calls(url: str, number: int, method: str = "GET", **rule: Any) -> tuple[list[Any], list[float]]:
    """The statuses of some calls one after the other, and the waits between tries."""
    waits: list[float] = []
    clock = Clock()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds

    async def story() -> list[Any]:
        addresses = AddressRule(["127.0.0.0/8"])
        entry = contract("x", url, auth=None, **rule)
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")), clock, lambda: 1.0, sleep)
            found: list[Any] = []
            for _ in range(number):
                try:
                    reply = await backends.send("ioi", entry, Outgoing(method, "/it", (), None), ANSWER, "00-1-2-01")
                    found.append(reply.status)
                except BackendFailed as failed:
                    found.append(failed.rule)
            return found

    return asyncio.run(story()), waits


def test_the_budget_is_a_share_of_the_calls_lately() -> None:
    clock = Clock()
    budget = Budget(clock)
    for _ in range(100):
        budget.called()
    assert [budget.take(20) for _ in range(21)] == [True] * 20 + [False]
    clock.now += WINDOW + 1
    assert [budget.take(20) for _ in range(FLOOR + 1)] == [True] * FLOOR + [False]


def test_a_backend_that_fails_for_everyone_is_not_called_as_many_times_more(own: Recorder) -> None:
    failing = own.respond = Failing(503)  # type: ignore[method-assign]
    found, _ = calls(own.url, 100, retries=5, backoff_ms=1, retry_percent=20)
    assert found == [503] * 100
    assert 100 + FLOOR <= failing.tries <= 125  # Calls in all, of 600 without a budget.


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_not_idempotent_is_sent_once(own: Recorder, method: str) -> None:
    failing = own.respond = Failing(503, Retry_After="1")  # type: ignore[method-assign]
    assert calls(own.url, 1, method, retries=5) == ([503], [])
    assert failing.tries == 1


def test_waits_double_and_are_cut_by_chance() -> None:
    assert [wait_seconds(n, 100, None, lambda: 1.0) for n in range(3)] == [0.1, 0.2, 0.4]
    assert [wait_seconds(n, 100, None, lambda: 0.0) for n in range(3)] == [0.05, 0.1, 0.2]
    assert wait_seconds(0, 100, "7", lambda: 1.0) == 7.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 3 ", 3.0),
        ("Thu, 01 Jan 1970 00:01:10 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("²", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert asked_seconds(text, lambda: 60.0) == seconds


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_backend_asks_for_is_waited_for_within_the_calls_time(own: Recorder, status: int) -> None:
    failing = own.respond = Failing(status, Retry_After="3")  # type: ignore[method-assign]
    assert calls(own.url, 1, retries=2, total_ms=10_000) == ([status], [3.0, 3.0])
    assert failing.tries == 3
    assert calls(own.url, 1, retries=2, total_ms=2_000) == ([status], [])  # Longer than the call may take.


def test_too_many_requests_without_a_time_is_not_tried_again(own: Recorder) -> None:
    own.respond = Failing(429)  # type: ignore[method-assign]
    assert calls(own.url, 1, retries=2) == ([429], [])

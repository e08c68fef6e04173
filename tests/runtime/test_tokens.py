"""Keys are fetched, kept, replaced, and given up in time; remembered tokens do not outlive any of it."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from stoa_runtime.tokens import (
    KEYS_MAX_AGE,
    KEYS_RENEWED,
    KEYS_STALE_LIMIT,
    REFRESH_PAUSE,
    KeysUnavailable,
    TokenRefused,
    Verifier,
)
from tests.runtime.world import Issuer, index


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def verifying(issuer: Issuer, story: Callable[[Verifier, Clock], Awaitable[Any]], jwks_url: str | None = None) -> Any:
    async def told() -> Any:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            clock = Clock()
            rules = index(jwks_url or issuer.jwks_url, {}).token
            return await story(Verifier(rules, session, clock), clock)

    return asyncio.run(told())


@pytest.fixture
def issuer() -> Any:
    issuer = Issuer()
    yield issuer
    issuer.server.close()


def fetches(issuer: Issuer) -> int:
    return len(issuer.server.requests)


def test_keys_are_fetched_once(issuer: Issuer) -> None:
    async def story(verifier: Verifier, _clock: Clock) -> None:
        tokens = [issuer.token(sub=f"p{i}") for i in range(5)]
        await asyncio.gather(*(verifier.verify(t) for t in tokens))
        assert fetches(issuer) == 1
        assert (await verifier.verify(tokens[0])).claims["sub"] == "p0"

    verifying(issuer, story)


def test_a_new_key_is_found_by_one_refresh(issuer: Issuer) -> None:
    async def story(verifier: Verifier, clock: Clock) -> None:
        await verifier.verify(issuer.token())
        issuer.server.documents["/jwks"]["keys"].append(issuer.published("k2", issuer.other))
        fresh = issuer.token(key=issuer.other, headers={"kid": "k2"})
        with pytest.raises(TokenRefused):
            await verifier.verify(fresh)
        assert fetches(issuer) == 1
        clock.ahead = REFRESH_PAUSE + 1
        assert (await verifier.verify(fresh)).claims["sub"] == "parzival"
        assert fetches(issuer) == 2

    verifying(issuer, story)


def test_a_token_of_a_key_that_is_taken_back_is_forgotten(issuer: Issuer) -> None:
    async def story(verifier: Verifier, clock: Clock) -> None:
        token = issuer.token(exp=int(time.time()) + 100_000)
        await verifier.verify(token)
        issuer.server.documents["/jwks"] = {"keys": [issuer.published("k2", issuer.other)]}
        clock.ahead = KEYS_MAX_AGE + 1
        with pytest.raises(TokenRefused):
            await verifier.verify(token)

    verifying(issuer, story)


def test_a_remembered_token_is_forgotten_when_it_expires(issuer: Issuer) -> None:
    async def story(verifier: Verifier, _clock: Clock) -> None:
        leeway = index(issuer.jwks_url, {}).token.leeway_seconds
        token = issuer.token(exp=int(time.time()) - leeway + 2)
        await verifier.verify(token)
        await verifier.verify(token)
        await asyncio.sleep(2.1)
        with pytest.raises(TokenRefused, match="expired"):
            await verifier.verify(token)

    verifying(issuer, story)


def test_without_keys_nothing_is_accepted(issuer: Issuer) -> None:
    async def story(verifier: Verifier, _clock: Clock) -> None:
        with pytest.raises(KeysUnavailable):
            await verifier.verify(issuer.token())

    verifying(issuer, story, "http://127.0.0.1:9/jwks")
    issuer.server.documents["/jwks"] = {"keys": "none"}
    verifying(issuer, story)


async def refused(verifier: Verifier, issuer: Issuer) -> None:
    with pytest.raises(TokenRefused):
        await verifier.verify(issuer.token())


def test_old_keys_count_for_a_while_and_then_no_more(issuer: Issuer) -> None:
    async def story(verifier: Verifier, clock: Clock) -> None:
        token = issuer.token(exp=int(time.time()) + 100_000)
        await verifier.verify(token)
        issuer.server.documents["/jwks"] = {"error": "the issuer is being restarted"}
        clock.ahead = KEYS_MAX_AGE + 1
        assert (await verifier.verify(token)).claims["sub"] == "parzival"
        clock.ahead = KEYS_STALE_LIMIT + 1
        with pytest.raises(KeysUnavailable):
            await verifier.verify(token)

    verifying(issuer, story)


def test_an_issuer_that_hangs_holds_calls_up_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = issuer.server.respond
    goes_on = threading.Event()

    def hangs(*request: Any) -> None:
        goes_on.wait(20)
        answers(*request)

    async def story(verifier: Verifier, clock: Clock) -> None:
        token = issuer.token(exp=int(time.time()) + 100_000)
        await verifier.verify(token)
        monkeypatch.setattr("stoa_runtime.tokens.FETCH_SECONDS", 0.2)
        monkeypatch.setattr(issuer.server, "respond", hangs)
        clock.ahead = KEYS_MAX_AGE + 1
        await asyncio.gather(*(verifier.verify(token) for _ in range(5)))
        assert fetches(issuer) == 2
        # Nobody waits any more, not even for the fetches that are due meanwhile.
        monkeypatch.setattr("stoa_runtime.tokens.FETCH_SECONDS", 60)
        for _ in range(3):
            clock.ahead += REFRESH_PAUSE + 1
            async with asyncio.timeout(15):
                await verifier.verify(token)
        await asyncio.sleep(0.2)
        assert fetches(issuer) == 3
        goes_on.set()
        while not verifier.keys.fresh():
            await asyncio.sleep(0.01)

    verifying(issuer, story)


def test_keys_are_renewed_before_they_are_old_while_calls_go_on(issuer: Issuer) -> None:
    async def story(verifier: Verifier, clock: Clock) -> None:
        token = issuer.token(exp=int(time.time()) + 100_000)
        await verifier.verify(token)
        clock.ahead = KEYS_RENEWED + 1
        assert verifier.known(token) is not None
        while fetches(issuer) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        clock.ahead = KEYS_MAX_AGE + 1
        assert verifier.known(token) is not None
        assert fetches(issuer) == 2

    verifying(issuer, story)


def test_redirects_and_secret_keys_in_the_key_set_are_passed_over(issuer: Issuer) -> None:
    issuer.server.documents["/jwks"] = {
        "keys": [
            {"kty": "oct", "kid": "k1", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "k1", "n": "!", "e": "AQAB"},
            {**issuer.published("k1", issuer.key), "use": "enc"},
            {**issuer.published("k1", issuer.key), "alg": "RS512"},
            7,
        ]
    }
    verifying(issuer, lambda v, c: refused(v, issuer))
    redirecting = issuer.server.url + "/redirect"

    async def story(verifier: Verifier, _clock: Clock) -> None:
        with pytest.raises(KeysUnavailable):
            await verifier.verify(issuer.token())

    verifying(issuer, story, redirecting)
    assert issuer.server.requests[-1]["target"] == "/redirect"

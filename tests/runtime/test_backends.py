"""Backends that misbehave: nothing of theirs comes through that the contract does not allow."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.addresses import AddressRule
from stoa_runtime.backends import BackendFailed, Backends, open_wire
from stoa_runtime.credentials import FileCredentials
from stoa_runtime.requests import Outgoing
from stoa_schemas import bundle
from tests.runtime.world import SECRET, Recorder, World, contract


def told(result: dict[str, Any]) -> str:
    assert result["isError"] is True
    assert "structuredContent" not in result
    return str(result["content"][0]["text"])


def test_redirects_are_not_followed(stoa: World) -> None:
    with stoa.recording() as got:
        text = told(stoa.call("ioi_billing_redirect"))
    assert "redirect" in text
    assert "127.0.0.1" not in text
    assert [r["target"] for r in got] == ["/redirect"]


@pytest.mark.parametrize("name", ["big", "bomb"])
def test_answers_over_the_cap_are_withheld(stoa: World, name: str) -> None:
    assert "more than 2048 bytes" in told(stoa.call(f"ioi_billing_{name}"))
    assert stoa.audit_lines()[-1]["rule"] == "backend-size"


def test_other_media_types_are_withheld(stoa: World) -> None:
    text = told(stoa.call("ioi_billing_html"))
    assert "media type" in text
    assert "hello" not in text


@pytest.mark.parametrize("name", ["broken", "deep"])
def test_unsound_json_is_withheld(stoa: World, name: str) -> None:
    assert "not sound JSON" in told(stoa.call(f"ioi_billing_{name}"))


def test_long_numbers_keep_every_digit(stoa: World) -> None:
    result = stoa.call("ioi_billing_long")
    assert result["structuredContent"] == {"id": 123456789012345678901234567890}


def test_an_answer_outside_its_schema_is_withheld_or_noted_as_the_contract_says(stoa: World) -> None:
    assert "not as its contract says" in told(stoa.call("ioi_billing_deviates"))
    assert stoa.audit_lines()[-1]["rule"] == "answer-schema"
    assert stoa.call("ioi_billing_lenient")["structuredContent"] == {"id": 7}
    assert stoa.audit_lines()[-1]["answer_deviates"] is True


def test_a_client_error_is_told_in_the_backends_own_words_and_nothing_else(stoa: World) -> None:
    text = told(stoa.call("ioi_billing_invalid"))
    assert "month must be before 13" in text
    assert "db-7.local" not in text
    assert SECRET not in text


def test_a_server_error_tells_nothing_of_the_server(stoa: World) -> None:
    text = told(stoa.call("ioi_billing_crash"))
    assert "500" in text
    assert "hunter2" not in text


def test_the_platforms_credential_is_blotted_out_of_answers(stoa: World) -> None:
    result = stoa.call("ioi_billing_leak")
    assert result["structuredContent"]["Authorization"] == "Bearer [withheld]"
    assert SECRET not in str(result)


def test_an_answer_without_content_says_so(stoa: World) -> None:
    result = stoa.call("ioi_billing_none")
    assert result["isError"] is False
    assert "204" in result["content"][0]["text"]


def test_a_slow_backend_is_given_up(stoa: World) -> None:
    assert "in time" in told(stoa.call("ioi_slow_wait"))


def test_without_the_platforms_credential_nothing_is_called(stoa: World) -> None:
    with stoa.recording() as got:
        text = told(stoa.call("ioi_keyless_reach"))
    assert "credential" in text
    assert "vault:" not in text
    assert got == []


def test_an_address_outside_the_backend_networks_is_not_connected_to(stoa: World) -> None:
    text = told(stoa.call("ioi_private_reach"))
    assert "outside the networks" in text
    assert "169.254" not in text


def test_a_failing_backend_is_left_alone(stoa: World) -> None:
    texts = [told(stoa.call("ioi_nowhere_reach")) for _ in range(3)]
    assert "cannot be reached" in texts[0]
    assert "left alone" in texts[2]
    assert stoa.audit_lines()[-1]["rule"] == "backend-circuit"


ANSWER = bundle.Answer(media_types=["application/json"], check="enforce", max_bytes=10_000)


def send(backend: str, networks: list[str], method: str = "GET", path: str = "/items", **rule: Any) -> Any:
    async def once() -> Any:
        addresses = AddressRule(networks)
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")))
            entry = contract("x", backend, auth=None, **rule)
            return await backends.send("ioi", entry, Outgoing(method, path, (), None), ANSWER, "00-1-2-01")

    return asyncio.run(once())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_no_way_of_writing_loopback_gets_past_the_address_check(backend: Recorder, host: str) -> None:
    before = len(backend.requests)
    port = backend.url.rpartition(":")[2]
    with pytest.raises(BackendFailed) as failed:
        send(f"http://{host}:{port}", [])
    assert len(backend.requests) == before
    assert failed.value.rule == "backend-address"


def test_idempotent_calls_are_tried_again_and_others_are_not(backend: Recorder) -> None:
    original = backend.respond
    tries: list[str] = []

    def failing(handler: Any, path: str, body: bytes) -> None:
        tries.append(handler.command)
        if len(tries) < 3:
            handler.send_response(503)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            original(handler, path, body)

    backend.respond = failing  # type: ignore[method-assign]
    try:
        assert send(backend.url, ["127.0.0.0/8"], retries=2).status == 200
        assert tries == ["GET"] * 3
        tries.clear()
        assert send(backend.url, ["127.0.0.0/8"], "POST", retries=2).status == 503
        assert tries == ["POST"]
    finally:
        backend.respond = original  # type: ignore[method-assign]


def test_an_open_circuit_lets_one_call_through_after_its_time(backend: Recorder) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    async def story() -> None:
        addresses, clock = AddressRule(["127.0.0.0/8"]), Clock()
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")), clock)
            breaker = bundle.Breaker(failures=2, reset_ms=1000)
            outgoing = Outgoing("GET", "/items", (), None)

            async def rule(url: str) -> str:
                entry = contract("x", url, auth=None, breaker=breaker)
                try:
                    await backends.send("ioi", entry, outgoing, ANSWER, "00-1-2-01")
                except BackendFailed as failed:
                    return failed.rule
                return "answered"

            gone = "http://127.0.0.1:9"
            assert [await rule(gone) for _ in range(3)] == ["backend-unreachable"] * 2 + ["backend-circuit"]
            assert await rule(backend.url) == "backend-circuit"
            clock.now = 1.5
            assert [await rule(gone), await rule(backend.url)] == ["backend-unreachable", "backend-circuit"]
            clock.now = 3.0
            assert [await rule(backend.url) for _ in range(2)] == ["answered"] * 2
            assert await rule(gone) == "backend-unreachable"
            assert await rule(backend.url) == "answered"

    asyncio.run(story())


def test_no_argument_stands_in_for_the_platforms_credential(backend: Recorder, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "x").write_text("the-real-key")

    async def story() -> None:
        addresses = AddressRule(["127.0.0.0/8"])
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(tmp_path))
            auth = bundle.BackendAuthRule(type="header", header="X-Api-Key", secret="vault:keys#x")
            entry = contract("x", backend.url, auth=auth)
            outgoing = Outgoing("GET", "/items", (("x-api-key", "the-callers"), ("X-Other", "1")), None)
            await backends.send("ioi", entry, outgoing, ANSWER, "00-1-2-01")

    asyncio.run(story())
    headers = backend.requests[-1]["headers"]
    assert [v for k, v in headers if k == "x-api-key"] == ["the-real-key"]
    assert ("x-other", "1") in headers

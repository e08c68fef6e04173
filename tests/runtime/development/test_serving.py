"""Development servers listen on loopback, and answer those who address them by their own name."""

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stoa_runtime.development import NotForDevelopment
from stoa_runtime.development.serving import LoopbackOnly, is_loopback, listening_socket, serve_locally


def _hello() -> Starlette:
    return Starlette(routes=[Route("/", lambda _request: PlainTextResponse("hello"))])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", [None, "", "0.0.0.0", "::", "10.0.0.1", "127.1", "localhost.example.com", "2130706433"]
)
def test_not_loopback(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com"])
def test_nothing_listens_beyond_loopback(host: str) -> None:
    with pytest.raises(NotForDevelopment):
        listening_socket(host, 0)


def test_an_application_is_served_while_the_block_runs() -> None:
    async def ask() -> tuple[str, str]:
        async with serve_locally(_hello(), "127.0.0.1", 0) as url, httpx2.AsyncClient() as client:
            answer = await client.get(url)
        with pytest.raises(httpx2.ConnectError):
            async with httpx2.AsyncClient() as client:
                await client.get(url)
        return url, answer.text

    url, text = asyncio.run(ask())
    assert url.startswith("http://127.0.0.1:")
    assert text == "hello"


def test_two_servers_share_a_process() -> None:
    async def ask() -> list[str]:
        async with (
            serve_locally(_hello(), "127.0.0.1", 0) as one,
            serve_locally(_hello(), "127.0.0.1", 0) as other,
            httpx2.AsyncClient() as client,
        ):
            return [(await client.get(url)).text for url in (one, other)]

    assert asyncio.run(ask()) == ["hello", "hello"]


def test_a_port_in_use_is_an_error() -> None:
    with listening_socket("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listening_socket("127.0.0.1", taken.getsockname()[1])


def test_a_rebound_host_name_gets_nothing(serve, free_port: int) -> None:
    url = serve(LoopbackOnly(_hello(), f"127.0.0.1:{free_port}"), free_port)
    assert httpx2.get(url).text == "hello"
    assert httpx2.get(url, headers={"Host": f"attacker.example:{free_port}"}).status_code == 403
    assert httpx2.get(url, headers={"Host": "127.0.0.1"}).status_code == 403

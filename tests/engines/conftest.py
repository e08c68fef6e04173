"""One Keycloak for all engine tests, holding the realm of the demo source, and the bundle that goes with it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph, PersonNode
from stoa_compiler.pipeline import read
from tests.engines.keycloak import Keycloak, distribution, free_port, running

ROOT = Path(__file__).parents[2]
STOA = Path(sys.executable).with_name("stoa")
FIRST_PASSWORD = "handed out by the desk"
PASSWORD = "known to its owner only"


@dataclass(frozen=True)
class Compiled:
    """The demo source with its development environment at ports of this run."""

    graph: Graph
    bundle: Path
    gateway: str
    issuer: str

    @property
    def realm(self) -> str:
        """The realm's name."""
        return self.graph.platform.spec.identity.realm

    @property
    def everyone(self) -> list[PersonNode]:
        """All people of the source."""
        return [*self.graph.people, *(p for t in self.graph.tenants for p in t.people)]


def compiled_with(folder: Path, server: str, realm: str = "stoa", identity: str = "") -> Compiled:
    """The bundle of a copy of the source with its realm in `server`, made by the command line.

    `identity` is more to say there, as lines of YAML.
    """
    source = folder / "tenants"
    shutil.copytree(ROOT / "tenants", source)
    gateway, issuer = f"http://127.0.0.1:{free_port()}", f"{server}/realms/{realm}"
    platform = source / "platform.yaml"
    text = platform.read_text()
    strategy = "" if "strategy:" in identity else "    strategy: single-realm\n"
    said = "    strategy: single-realm\n    realm: stoa\n"
    assert text.count(said) == 1
    text = text.replace(said, f"{strategy}{identity}    realm: {realm}\n")
    for key, value in (("gateway", gateway), ("issuer", issuer)):
        text, changed = re.subn(rf"(?m)^(    dev:\n(?:      .*\n)*?      {key}: ).*$", rf"\g<1>{value}", text)
        assert changed == 1
    platform.write_text(text)
    command = [str(STOA), "compile", str(source), "--env", "dev", "--out", str(folder / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    graph = read(source, Report()).graph
    assert graph is not None
    return Compiled(graph, folder / "bundle", gateway, issuer)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The demo source with one realm for all tenants."""
    distribution()
    return compiled_with(tmp_path_factory.mktemp("engines"), f"http://127.0.0.1:{free_port()}")


@dataclass(frozen=True)
class Desk:
    """Where people get their first password and sign in."""

    keycloak: Keycloak
    realm: str
    replaced: set[str] = field(default_factory=set)
    """Who has replaced the first password. To try both would be guessing, and be stopped as such."""

    def sign_in(self, username: str, client_id: str, redirect_uri: str, **more: str) -> Any:
        """Tokens of a person, who replaces the first password on the first sign-in."""
        password = self._password(username)
        return self.keycloak.sign_in(self.realm, client_id, redirect_uri, username, password, PASSWORD, **more)

    def browse(self, address: str, username: str) -> str:
        """Where the person's browser is sent in the end, from an authorization URL on."""
        return self.keycloak.browse(address, username, self._password(username), PASSWORD)

    def reset(self, username: str) -> None:
        """Gives the person a first password again."""
        self.keycloak.set_password(self.realm, username, FIRST_PASSWORD)
        self.replaced.discard(username)

    def _password(self, username: str) -> str:
        if username in self.replaced:
            return PASSWORD
        self.replaced.add(username)
        return FIRST_PASSWORD


@pytest.fixture(scope="session")
def keycloak(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """The server with the bundle's realm imported, and first passwords given to everybody in it."""
    (file,) = (compiled.bundle / "keycloak").iterdir()
    port = int(compiled.issuer.split(":")[2].partition("/")[0])
    with running(tmp_path_factory.mktemp("keycloak"), port, [(file.name, file.read_bytes())]) as server:
        for person in compiled.everyone:
            server.set_password(compiled.realm, person.username, FIRST_PASSWORD)
        yield server


@pytest.fixture(scope="session")
def desk(compiled: Compiled, keycloak: Keycloak) -> Desk:
    return Desk(keycloak, compiled.realm)

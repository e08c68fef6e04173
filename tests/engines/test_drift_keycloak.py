"""`stoa drift --keycloak` on a real Keycloak: equal right after an import, each change by hand by its name."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import ROOT, STOA
from tests.engines.keycloak import Keycloak, free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("keycloak")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo source with a realm of its own, compiled."""
    folder = tmp_path_factory.mktemp("drift")
    shutil.copytree(ROOT / "tenants", folder / "tenants")
    platform = folder / "tenants" / "platform.yaml"
    realm = f"drift-{time.monotonic_ns() % 10**9}"
    text = platform.read_text().replace("    realm: stoa\n", f"    realm: {realm}\n")
    platform.write_text(text.replace("/realms/stoa", f"/realms/{realm}"))
    command = [STOA, "compile", folder / "tenants", "--env", "dev", "--out", folder / "bundle"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.fixture
def realm(bundle: Path, keycloak: Keycloak) -> str:
    """The realm's name, imported anew."""
    (file,) = (bundle / "keycloak").glob("*-realm.json")
    declared = json.loads(file.read_bytes())
    name: str = declared["realm"]
    if keycloak.get(f"/realms/{name}").status == 200:
        keycloak.admin("DELETE", f"/{name}")
    keycloak.admin("POST", "", declared)
    return name


def drift(bundle: Path, keycloak: Keycloak, *options: str, url: str = "", token: str = "") -> tuple[int, Any, str]:
    """The exit code, what is said of each system, and the text."""
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin"}
    given = token or keycloak.token("master", form | {"password": keycloak.admin_password}).json["access_token"]
    command = [STOA, "drift", bundle, "--keycloak", url or keycloak.url, *options]
    environment = os.environ | {"STOA_DRIFT_KEYCLOAK_TOKEN": given}
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout, done.stderr
    assert given not in done.stdout + done.stderr
    text = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert text.returncode == done.returncode
    return done.returncode, json.loads(done.stdout)["systems"], text.stdout


@pytest.mark.usefixtures("realm")
def test_equal_right_after_an_import(bundle: Path, keycloak: Keycloak) -> None:
    code, (system,), text = drift(bundle, keycloak)
    assert (code, system["state"], system["differences"]) == (0, "equal", [])
    assert f"keycloak {keycloak.url}: equal (1 object)" in text


def test_each_change_by_hand_is_named(bundle: Path, keycloak: Keycloak, realm: str) -> None:
    keycloak.admin("PUT", f"/{realm}", {"bruteForceProtected": False})
    (client,) = keycloak.admin("GET", f"/{realm}/clients?clientId=ioi.sales-assistant")
    keycloak.admin("PUT", f"/{realm}/clients/{client['id']}", client | {"redirectUris": ["*"]})
    aech = keycloak.user_id(realm, "aech")
    owners = keycloak.admin("GET", f"/{realm}/group-by-path/ioi/owners")
    keycloak.admin("PUT", f"/{realm}/users/{aech}/groups/{owners['id']}")
    keycloak.admin("DELETE", f"/{realm}/users/{keycloak.user_id(realm, 'jonas')}")
    group = {"name": "left", "attributes": {"stoa.managed": ["ioi"]}}
    ioi = keycloak.admin("GET", f"/{realm}/group-by-path/ioi")
    keycloak.admin("POST", f"/{realm}/groups/{ioi['id']}/children", group)
    keycloak.admin("POST", f"/{realm}/groups", {"name": "somebody-elses"})
    code, (system,), text = drift(bundle, keycloak)
    found = {(d["kind"], d["object"]) for d in system["differences"]}
    assert code == 1
    assert found >= {
        ("changed", f"{realm}: realm {realm} (platform)"),
        ("changed", f"{realm}: client ioi.sales-assistant (ioi)"),
        ("extra", f"{realm}: member /ioi/owners -> aech (ioi)"),
        ("missing", f"{realm}: person jonas (alderbrook)"),
        ("orphan", f"{realm}: group /ioi/left (ioi)"),
    }
    assert "somebody-elses" not in text
    assert 'redirectUris: ["*"] -> ["https://assistant.ioi.example/signed-in"]' in text
    assert "bruteForceProtected: false -> true" in text


def test_a_realm_that_is_not_there_is_missing(bundle: Path, keycloak: Keycloak, realm: str) -> None:
    keycloak.admin("DELETE", f"/{realm}")
    code, (system,), _ = drift(bundle, keycloak)
    assert code == 1
    assert [(d["kind"], d["object"]) for d in system["differences"]] == [
        ("missing", f"{realm}: realm {realm} (platform)")
    ]


@pytest.mark.usefixtures("realm")
def test_what_cannot_be_asked_is_told(bundle: Path, keycloak: Keycloak, tmp_path: Path) -> None:
    code, (system,), _ = drift(bundle, keycloak, url=f"http://127.0.0.1:{free_port()}")
    assert (code, system["state"]) == (3, "unreachable")
    code, (system,), _ = drift(bundle, keycloak, token="none-of-theirs")
    assert (code, system["state"]) == (3, "unreachable")
    # An equal Keycloak beside a repository that is away is not equal as a whole.
    gone = str(tmp_path / "gone.git")
    code, (system, branch), _ = drift(bundle, keycloak, "--repo", gone, "--branch", "x")
    assert (code, system["state"], branch["state"]) == (3, "equal", "unreachable")

"""`stoa drift --runtime` on the real runtime: the bundle that it serves, another one, one that it refuses, none."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from stoa_runtime.settings import Settings
from stoa_schemas import bundle as bundles
from tests.compiler.drift.command import drift as command
from tests.runtime import world


@dataclass
class Served:
    """A runtime, its bundle's folder, and who signs its tokens."""

    url: str
    folder: Path
    issuer: world.Issuer
    scratch: Path

    def drift(self, bundle: Path, token: str | None = None, url: str = "") -> tuple[int, Any, str]:
        """The exit code, what is said of the runtime, and everything as text."""
        done, text = self.asked(bundle, token, url, "--format", "json"), self.asked(bundle, token, url)
        assert done.stdout, done.stderr
        assert text.exit_code == done.exit_code
        return done.exit_code, json.loads(done.stdout)["systems"][0], text.stdout

    def asked(self, bundle: Path, token: str | None = None, url: str = "", *options: str) -> Result:
        """What one run of the command ends with."""
        given = {"STOA_DRIFT_RUNTIME_TOKEN": self.issuer.token() if token is None else token}
        return command(str(bundle), "--runtime", url or self.url, *options, **given)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    issuer = world.Issuer()
    catalogs = {"ioi": world.catalog("ioi", [], [])}
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, catalogs), catalogs)
    settings = Settings(
        bundle=folder,
        audit=tmp_path / "state" / "audit.jsonl",
        reload_seconds=0.1,
        allowed_hosts=("127.0.0.1:*",),
    )
    with world.listening(settings) as url:
        yield Served(url, folder, issuer, tmp_path)
    issuer.server.close()


def another(served: Served, **more: Any) -> Path:
    catalogs = {"ioi": world.catalog("ioi", [], [], tier="iron")}
    return world.write_bundle(served.scratch / "other", world.index(served.issuer.jwks_url, catalogs, **more), catalogs)


def test_the_bundle_that_is_served_is_equal(served: Served) -> None:
    code, system, text = served.drift(served.folder)
    assert (code, system["state"], system["differences"]) == (0, "equal", [])
    assert f"runtime {served.url}: equal (1 object)" in text


def test_another_bundle_is_named(served: Served) -> None:
    code, system, text = served.drift(another(served, environment="prod"))
    assert code == 1
    assert [f["path"] for f in system["differences"][0]["fields"]] == ["digest", "environment"]
    assert 'environment: "dev" -> "prod"' in text


def test_a_refused_bundle_is_drift_though_the_served_one_is_equal(served: Served) -> None:
    kept = served.scratch / "kept"
    kept.mkdir()
    for path in served.folder.rglob("*"):
        if path.is_file():
            (kept / path.relative_to(served.folder)).parent.mkdir(parents=True, exist_ok=True)
            (kept / path.relative_to(served.folder)).write_bytes(path.read_bytes())
    (served.folder / bundles.RUNTIME_MANIFEST).write_text("{}")
    for _ in range(100):
        if served.asked(kept).exit_code:
            break
        time.sleep(0.1)  # The runtime looks at its folder now and then.
    code, system, text = served.drift(kept)
    assert code == 1
    assert [f["path"] for f in system["differences"][0]["fields"]] == ["refused"]
    assert "a bundle that lies in its folder is refused, and the last good one is served" in text


def test_who_is_not_let_in_and_what_does_not_answer(served: Served) -> None:
    code, system, text = served.drift(served.folder, token="wrong")
    assert (code, system["state"]) == (3, "unreachable")
    assert "the token needs `catalog:read`" in text
    code, _, text = served.drift(served.folder, token=served.issuer.token(roles=["viewer"]))
    assert (code, "does not let us in" in text) == (3, True)
    code, _, text = served.drift(served.folder, url="http://127.0.0.1:9")
    assert (code, "cannot be asked" in text) == (3, True)
    # A server that is no runtime, and one that sends elsewhere: the token does not go along.
    served.issuer.server.documents["/api/v1/bundle"] = ["no", "runtime"]
    code, _, text = served.drift(served.folder, url=served.issuer.server.url)
    assert code == 3
    code, _, text = served.drift(served.folder, url=f"{served.issuer.server.url}/redirect?")
    assert (code, "answers 302" in text) == (3, True)
    assert not [r for r in served.issuer.server.requests if r["target"].startswith("/redirected")]


def test_one_that_differs_beside_one_that_is_away(served: Served) -> None:
    gone = str(served.scratch / "gone.git")
    options = (str(another(served)), "--runtime", served.url, "--repo", gone, "--branch", "x")
    done = command(*options, STOA_DRIFT_RUNTIME_TOKEN=served.issuer.token())
    assert done.exit_code == 1
    assert f"runtime {served.url}: 1 difference" in done.stdout
    assert "unreachable" in done.stdout


def test_a_runtime_that_was_stopped_is_unreachable(tmp_path: Path) -> None:
    issuer = world.Issuer()
    catalogs = {"ioi": world.catalog("ioi", [], [])}
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, catalogs), catalogs)
    settings = Settings(bundle=folder, audit=tmp_path / "audit.jsonl", allowed_hosts=("127.0.0.1:*",))
    with world.listening(settings) as url:
        served = Served(url, folder, issuer, tmp_path)
        assert served.drift(folder)[0] == 0
    code, system, _ = served.drift(folder)
    assert (code, system["state"], system["differences"]) == (3, "unreachable", [])
    issuer.server.close()

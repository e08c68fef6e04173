"""`stoa reconcile keycloak` where there is no server to speak to, and where it is used wrongly."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import main

SOURCE = Path(__file__).parents[3] / "tenants"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reconcile") / "bundle"
    done = CliRunner().invoke(main, ["compile", str(SOURCE), "--env", "prod", "--out", str(out), "--no-cache"])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("an-access-token\n")
    return str(file)


def reconcile(bundle: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["reconcile", "keycloak", str(bundle), *options])


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class _Answers(http.server.BaseHTTPRequestHandler):
    status = 403

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"error": "no"}')

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(params=[401, 403, 500])
def refusing(request: pytest.FixtureRequest) -> Iterator[str]:
    answers = type("Answers", (_Answers,), {"status": request.param})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_server_that_is_not_there_is_said_to_be(bundle: Path, token: str, closed: str) -> None:
    done = reconcile(bundle, "--url", closed, "--admin-token-file", token, "--dry-run")
    assert done.exit_code == 3
    assert f"{closed} cannot be asked" in done.stderr
    assert "an-access-token" not in done.output
    done = reconcile(bundle, "--url", closed, "--admin-token-file", token, "--dry-run", "--format", "json")
    assert done.exit_code == 3
    assert closed in json.loads(done.stdout)["error"]


def test_a_server_that_refuses_is_never_taken_for_one_in_sync(bundle: Path, token: str, refusing: str) -> None:
    done = reconcile(bundle, "--url", refusing, "--admin-token-file", token, "--dry-run")
    assert done.exit_code == 3
    assert "in sync" not in done.output
    done = reconcile(bundle, "--url", refusing, "--client-id", "x", "--client-secret-file", token, "--dry-run")
    assert done.exit_code == 3


def test_a_changed_bundle_is_not_applied(bundle: Path, token: str, closed: str, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in bundle.rglob("*"):
        if file.is_file():
            copy = changed / file.relative_to(bundle)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    realm = changed / "keycloak" / "stoa-realm.json"
    realm.write_bytes(realm.read_bytes().replace(b"stoa-mcp", b"stoa-all"))
    done = reconcile(changed, "--url", closed, "--admin-token-file", token)
    assert done.exit_code == 2
    assert "`keycloak/stoa-realm.json` is not what its digest names" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "says who is asking"),
        (("--client-id", "x"), "says who is asking"),
        (
            ("--admin-token-file", "{token}", "--client-id", "x", "--client-secret-file", "{token}"),
            "says who is asking",
        ),
        (("--admin-token-file", "{token}", "--realm", "other"), "the bundle has no realm `other`; it has `stoa`"),
    ],
)
def test_wrong_use(bundle: Path, token: str, closed: str, options: tuple[str, ...], said: str) -> None:
    done = reconcile(bundle, "--url", closed, *(o.format(token=token) for o in options))
    assert done.exit_code == 2
    assert said in done.stderr

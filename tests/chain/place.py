"""Everything that the chain runs on: Git repositories, an API server with Argo CD, Keycloak, a desk, mock backends."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from stoa_runtime.credentials import variable
from tests.chain.machine import STOA
from tests.engines import argocd, keycloak, kubernetes
from tests.engines.argocd import ArgoCd
from tests.engines.conftest import Desk
from tests.engines.keycloak import Keycloak, free_port
from tests.engines.kubernetes import Cluster

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "dev"
REALM = "stoa"
GATEWAY_NAMESPACE = "mcp-gateway"
CHART_TAG = "v0.1.0"
RESYNC = 3
"""Seconds between two looks of Argo CD, which are 120 where nobody says otherwise. The branch is looked at when it is
pushed to besides, as a webhook would have it."""
_COMMAND_SECONDS = 120

JSON = Any


class Failed(Exception):
    """A command of the chain failed; the message holds its words."""


def run(*command: str | Path, cwd: Path | None = None, fine: tuple[int, ...] = (0,)) -> str:
    """What the command prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    )
    if done.returncode not in fine:
        shown = " ".join(str(part) for part in command[:3])
        raise Failed(f"`{shown}` ended with exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Engines:
    """What outlives a commit."""

    cluster: Cluster
    argo: ArgoCd
    keycloak: Keycloak


@contextmanager
def engines(scratch: Path, told: Callable[[str, float], None]) -> Iterator[Engines]:
    """The three engines, started side by side; each is told with the seconds that it took."""
    # Whatever must be built or fetched comes first, and alone.
    kubernetes.api_server(), kubernetes.etcd(), argocd.program(), keycloak.distribution()
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        lock = threading.Lock()

        def identity() -> Keycloak:
            started = time.monotonic()
            made: Keycloak = stack_enter(keycloak.running(_made(scratch / "keycloak"), free_port(), []))
            told(f"Keycloak {keycloak.VERSION}", time.monotonic() - started)
            return made

        def cluster() -> tuple[Cluster, ArgoCd]:
            started = time.monotonic()
            api = stack_enter(kubernetes.running(_made(scratch / "kubernetes")))
            told(f"kube-apiserver {kubernetes.VERSION} and etcd", time.monotonic() - started)
            started = time.monotonic()
            argo = stack_enter(argocd.running(_made(scratch / "argocd"), api, RESYNC))
            told(f"Argo CD {argocd.VERSION} with a Valkey", time.monotonic() - started)
            return api, argo

        def stack_enter(one: Any) -> Any:
            entered = one.__enter__()
            with lock:
                stack.push(one.__exit__)
            return entered

        first, second = pool.submit(identity), pool.submit(cluster)
        api, argo = second.result()
        yield Engines(api, argo, first.result())


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@dataclass(frozen=True)
class Repositories:
    """The source as its authors have it, the branch that Argo CD reads, and the repository with the runtime's chart."""

    source: Path
    rendered: Path
    chart: Path
    key: Path
    gateway_port: int
    backends_port: int

    @property
    def gateway(self) -> str:
        """Base URL of the runtime."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def edit(self, path: str, before: str, after: str) -> None:
        """Changes one document of the source."""
        file = self.source / "tenants" / path
        text = file.read_text()
        if text.count(before) != 1:
            raise Failed(f"`{path}` does not hold `{before}` once")
        file.write_text(text.replace(before, after))


def repositories(scratch: Path, issuer: str) -> Repositories:
    """The demo source with its development environment on this machine and delivered by Argo CD."""
    made = Repositories(
        scratch / "source",
        scratch / "rendered.git",
        scratch / "platform.git",
        scratch / "signing.key",
        free_port(),
        free_port(),
    )
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", made.key)
    public = run("openssl", "pkey", "-in", made.key, "-pubout")
    shutil.copytree(ROOT / "tenants", made.source / "tenants")
    run("git", "init", "--quiet", "--initial-branch", "main", made.source)
    run("git", "init", "--quiet", "--bare", made.rendered)
    platform = made.source / "tenants" / "platform.yaml"
    text = platform.read_text()
    argo = f"""\
      kubernetes: {{}}
      argocd:
        repository: file://{made.rendered}
        branch: rendered
        runtime:
          repository: file://{made.chart}
          revision: {CHART_TAG}
          namespace: {GATEWAY_NAMESPACE}
          values: [deploy/{ENVIRONMENT}.yaml]
          signed: true
"""
    for key, value in (
        ("gateway", made.gateway),
        ("issuer", issuer),
        ("targets", "[mcp, keycloak, helm, kubernetes, argocd]"),
    ):
        start = rf"(?m)^(    {ENVIRONMENT}:\n(?:      .*\n)*?)      {key}: .*\n"
        more = argo if key == "targets" else ""
        text, changed = re.subn(start, rf"\g<1>      {key}: {value}\n{more}", text)
        if changed != 1:
            raise Failed(f"the demo source's `{ENVIRONMENT}` has no `{key}`")
    platform.write_text(text)
    for contract in (made.source / "tenants").glob("*/contracts/*.yaml"):
        said = contract.read_text()
        contract.write_text(re.sub(r"(?m)^(\s+dev: http://127\.0\.0\.1):\d+/", rf"\g<1>:{made.backends_port}/", said))
    operator = {"signature": {"publicKeys": {"release": public}}, "credentials": {"secretName": "stoa-backends"}}
    chart(scratch / "platform", made.chart, operator)
    return made


def chart(work: Path, bare: Path, values: Mapping[str, Any]) -> None:
    """The platform's repository at `bare`: the chart, and what its operator adds to the rendered values."""
    shutil.copytree(ROOT / "charts", work / "charts")
    (work / "deploy").mkdir()
    (work / "deploy" / f"{ENVIRONMENT}.yaml").write_text(yaml.safe_dump(dict(values)))
    run("git", "init", "--quiet", "--initial-branch", "main", work)
    commit(work, "The runtime's chart")
    run("git", "tag", CHART_TAG, cwd=work)
    run("git", "clone", "--quiet", "--bare", work, bare)


def commit(work: Path, message: str) -> str:
    """A commit of everything in a working tree."""
    run("git", "add", "--all", cwd=work)
    who = ("-c", "user.name=Og", "-c", "user.email=og@gostoa.example", "-c", "commit.gpgsign=false")
    run("git", *who, "commit", "--quiet", "-m", message, cwd=work)
    return run("git", "rev-parse", "HEAD", cwd=work).strip()


def prepare(cluster: Cluster, bundle: Path) -> list[str]:
    """Makes what is there before the platform, the zones' namespaces and the credentials; the namespaces' names."""
    zones = [file.stem.removeprefix("zone-") for file in sorted((bundle / "kubernetes/platform").glob("zone-*.yaml"))]
    for name in zones:
        status, answer = cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        if status not in (200, 201):
            raise Failed(f"namespace {name}: {answer}")
    references = sorted(
        {
            contract["backend"]["auth"]["secret"]
            for file in (bundle / "mcp" / "tenants").glob("*.json")
            for contract in orjson.loads(file.read_bytes())["contracts"]
            if contract["backend"].get("auth")
        }
    )
    credentials = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "stoa-backends", "namespace": GATEWAY_NAMESPACE},
        "stringData": {variable(reference): "only the mocks take it" for reference in references},
    }
    status, answer = cluster.apply(credentials)
    if status not in (200, 201):
        raise Failed(f"the backends' credentials: {answer}")
    return zones


@contextmanager
def mock_backends(bundle: Path, port: int) -> Iterator[None]:
    """Backends that answer from the bundle's examples."""
    command = [sys.executable, "-m", "stoa_runtime.development.mocks", str(bundle), "--port", str(port)]
    command.append("--stop-at-eof")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed("the mock backends do not start")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def reconcile(engines: Engines, bundle: Path, scratch: Path) -> JSON:
    """What `stoa reconcile keycloak` changed in each realm."""
    form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin"}
    answer = engines.keycloak.token("master", {**form, "password": engines.keycloak.admin_password})
    token = scratch / "admin.token"
    token.touch(mode=0o600)
    token.write_text(answer.json["access_token"])
    how = ("--url", engines.keycloak.url, "--admin-token-file", token, "--format", "json")
    return orjson.loads(run(STOA, "reconcile", "keycloak", bundle, *how))["realms"]


def open_desk(server: Keycloak, usernames: list[str], first_password: str) -> Desk:
    """Where everybody gets a first password."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: server.set_password(REALM, name, first_password), usernames))
    return Desk(server, REALM)

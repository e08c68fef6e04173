"""A real Argo CD on a real API server: its repo server and its application controller, without the web server.

    python -m tests.engines.argocd

builds it, once; tests only look for what was built, unless STOA_BUILD_ENGINES=1 asks them to build.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines import golang, valkey
from tests.engines.helm import helm
from tests.engines.keycloak import free_port
from tests.engines.kubernetes import Cluster

VERSION = "3.2.11"
"""3.2.12 does not compile as a module, and later ones replace a folder that the module lacks."""
NAMESPACE = "argocd"
START_LIMIT = 60
"""Seconds."""
SYNC_LIMIT = 180
_COLLECTOR_SECONDS = 1.0
HEALTH_OF_APPLICATIONS = """\
hs = {}
hs.status = "Progressing"
hs.message = ""
if obj.status ~= nil and obj.status.health ~= nil then
  hs.status = obj.status.health.status
  hs.message = obj.status.health.message or ""
end
return hs
"""
"""As its manual says it: without this, one wave of Applications does not wait for another."""

JSON = Any
Object = dict[str, Any]


def source() -> Path:
    """The module's files, from the cache or through the module proxy; skips the test where they cannot be had."""
    folder = golang.ENGINES / f"argocd-{VERSION}" / "src"
    if not (folder / "manifests").is_dir():
        if shutil.which("go") is None:
            pytest.skip(f"Argo CD {VERSION} is fetched with go, which is not on PATH")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            module = f"github.com/argoproj/argo-cd/v3@v{VERSION}"
            listed = json.loads(golang.go(folder.parent, "mod", "download", "-json", module))
            # The module's own folder is read-only, and is no place to build in.
            fresh = folder.with_name(f"src.{secrets.token_hex(4)}")
            shutil.copytree(listed["Dir"], fresh, copy_function=shutil.copyfile)
            for below in (fresh, *(p for p in fresh.rglob("*") if p.is_dir())):
                below.chmod(0o755)
            fresh.rename(folder)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            said = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"Argo CD {VERSION} cannot be fetched: {said[-300:].strip()}")
    return folder


def program() -> Path:
    """The binary, from the cache or built from the Go module; skips the test where it cannot be had."""

    def build(target: Path) -> None:
        golang.go(source(), "build", "-o", str(target), "./cmd")

    binary = golang.ENGINES / f"argocd-{VERSION}" / "argocd"
    return golang.built(binary, f"Argo CD {VERSION}", 6, build, unasked="python -m tests.engines.argocd")


def manifests(folder: str) -> list[Object]:
    """The objects in a folder of Argo CD's own manifests."""
    below = source() / "manifests" / folder
    found = [o for file in sorted(below.glob("*.yaml")) for o in yaml.safe_load_all(file.read_text()) if o]
    return [o for o in found if o["kind"] != "Kustomization"]


@dataclass(frozen=True)
class ArgoCd:
    """Argo CD at work on one API server."""

    cluster: Cluster
    logs: Path

    def application(self, name: str) -> Object:
        """The Application as it is now; empty where there is none."""
        status, answer = self.cluster.call("GET", f"{_APPLICATIONS}/{name}")
        assert status in (200, 404), answer
        found: Object = answer if status == 200 else {}
        return found

    def applications(self) -> dict[str, Object]:
        """All Applications, by name."""
        _, answer = self.cluster.call("GET", _APPLICATIONS)
        return {one["metadata"]["name"]: one for one in answer["items"]}

    def refresh(self, *names: str) -> None:
        """Asks for a look at the repository now, as a webhook does; without names, for all Applications."""
        note = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}
        for name in names or tuple(self.applications()):
            self.cluster.call("PATCH", f"{_APPLICATIONS}/{name}", note, "application/merge-patch+json")

    def wait(self, name: str, until: Callable[[Object], bool], what: str, seconds: float = SYNC_LIMIT) -> Object:
        """The Application once `until` holds; fails with what it says of itself where it does not come to that."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.application(name)
            if found and until(found):
                return found
            assert time.monotonic() < deadline, f"{name} does not get {what}:\n{told(found)}\n{self.last_words()}"
            time.sleep(0.1)

    def wait_synced(self, name: str, revision: str, *, healthy: bool = True) -> Object:
        """The Application once it has applied `revision` of its first source that is in the bundle's repository."""

        def synced(one: Object) -> bool:
            status = one.get("status", {})
            operation = status.get("operationState", {})
            sync = status.get("sync", {})
            return (
                sync.get("status") == "Synced"
                and revision in (sync.get("revision"), *sync.get("revisions", ()))
                and operation.get("phase") in (None, "Succeeded")
                and (not healthy or status.get("health", {}).get("status") == "Healthy")
            )

        return self.wait(name, synced, f"Synced at {revision}")

    def last_words(self) -> str:
        """The ends of its logs."""
        return "\n".join((self.logs / f"{part}.log").read_text()[-1500:] for part in ("repo-server", "controller"))


_APPLICATIONS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications"


def told(application: Object) -> str:
    """What an Application says of its own state."""
    status = application.get("status", {})
    kept = {key: status.get(key) for key in ("sync", "health", "conditions", "operationState")}
    return json.dumps(kept, indent=1)[:6000]


def refusals(application: Object) -> list[tuple[str, str]]:
    """Kind and name, and the words, of what the last operation did not apply."""
    results = application.get("status", {}).get("operationState", {}).get("syncResult", {}).get("resources", ())
    return [
        (f"{r['kind']}/{r['name']}", r.get("message", ""))
        for r in results
        if r.get("status") not in ("Synced", "Pruned", "PruneSkipped")
    ]


def install(cluster: Cluster, password: str) -> None:
    """What `kubectl apply -k` of its manifests brings, but for the workloads, which are processes here."""
    for one in manifests("crds"):
        status, answer = cluster.apply(one)
        assert status in (200, 201), answer
    assert cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})[0] in (200, 201)
    for one in manifests("base/config"):
        one["metadata"]["namespace"] = NAMESPACE
        if one["metadata"]["name"] == "argocd-cm":
            one["data"]["resource.customizations.health.argoproj.io_Application"] = HEALTH_OF_APPLICATIONS
        if one["metadata"]["name"] == "argocd-secret":
            one["stringData"] = {"server.secretkey": secrets.token_hex(32)}
        status, answer = cluster.apply(one)
        assert status in (200, 201), answer
    redis = {"name": "argocd-redis", "namespace": NAMESPACE}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": redis, "stringData": {"auth": password}})
    until = time.monotonic() + START_LIMIT
    while cluster.call("GET", _APPLICATIONS)[0] != 200:
        assert time.monotonic() < until, "the API server does not serve Argo CD's kinds"
        time.sleep(0.1)


@contextmanager
def running(scratch: Path, cluster: Cluster, resync: int = 10) -> Iterator[ArgoCd]:
    """Argo CD with no Applications yet; it looks at its repositories every `resync` seconds, and when asked to."""
    argocd, with_helm = program(), helm()
    try:
        valkey.binary()
    except valkey.Missing as missing:
        pytest.skip(f"Argo CD needs a Redis: {missing}")
    password = secrets.token_hex(16)
    install(cluster, password)
    with valkey.serving(_made(scratch / "valkey"), password) as redis:
        environment = _environment(scratch, cluster, with_helm, password)
        repositories, metrics, more_metrics = free_port(), free_port(), free_port()
        quiet = ["--loglevel", "info", "--logformat", "text", "--redis", f"127.0.0.1:{redis.port}"]
        server = ["--address", "127.0.0.1", "--port", str(repositories), "--disable-tls"]
        server += ["--metrics-address", "127.0.0.1", "--metrics-port", str(metrics)]
        controller = ["--repo-server", f"127.0.0.1:{repositories}", "--repo-server-plaintext"]
        controller += ["--app-resync", str(resync), "--app-resync-jitter", "0", "--metrics-port", str(more_metrics)]
        processes: list[subprocess.Popen[bytes]] = []
        stop = threading.Event()
        collector = threading.Thread(target=_collect_garbage, args=(cluster, stop), daemon=True)
        try:
            processes.append(_started("repo-server", argocd, [*server, *quiet], environment, scratch))
            _listening(repositories, processes[0], scratch / "repo-server.log")
            processes.append(_started("controller", argocd, [*controller, *quiet], environment, scratch))
            _listening(more_metrics, processes[1], scratch / "controller.log")
            collector.start()
            yield ArgoCd(cluster, scratch)
        finally:
            stop.set()
            for process in reversed(processes):
                _end(process)


_PRUNED = (
    *(f"api/v1/{plural}" for plural in ("configmaps", "services", "serviceaccounts", "resourcequotas", "limitranges")),
    "apis/apps/v1/deployments",
    "apis/networking.k8s.io/v1/networkpolicies",
    *(f"apis/rbac.authorization.k8s.io/v1/{plural}" for plural in ("roles", "rolebindings")),
    *(f"apis/argoproj.io/v1alpha1/{plural}" for plural in ("applications", "appprojects")),
    *(f"apis/external-secrets.io/v1/{plural}" for plural in ("externalsecrets", "secretstores")),
)


def _collect_garbage(cluster: Cluster, stop: threading.Event) -> None:
    """Argo CD deletes in the foreground, so an object goes when the garbage collector says that nothing needs it."""
    while not stop.wait(_COLLECTOR_SECONDS):
        try:
            cluster.finish_deletions(_PRUNED)
        except OSError:
            if not stop.is_set():
                raise


def _made(folder: Path, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    return folder


def _environment(scratch: Path, cluster: Cluster, with_helm: Path, password: str) -> dict[str, str]:
    folders = {
        name: str(_made(scratch / name.lower(), 0o700))
        for name in ("ARGOCD_GNUPGHOME", "ARGOCD_TLS_DATA_PATH", "ARGOCD_SSH_DATA_PATH", "ARGOCD_GPG_DATA_PATH")
    }
    # Repositories are read as on a machine of its own: nobody's Git settings, nobody's proxy.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "ARGOCD_")) and "proxy" not in k.lower()}
    return {
        **kept,
        **folders,
        "PATH": f"{with_helm.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(_made(scratch / "home")),
        "TMPDIR": str(_made(scratch / "tmp")),
        "KUBECONFIG": str(cluster.kubeconfig(scratch / "kubeconfig", NAMESPACE)),
        "REDIS_PASSWORD": password,
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
    }


def _started(
    part: str, argocd: Path, options: Sequence[str], environment: Mapping[str, str], scratch: Path
) -> "subprocess.Popen[bytes]":
    role = "argocd-repo-server" if part == "repo-server" else "argocd-application-controller"
    with (scratch / f"{part}.log").open("wb") as log:
        return subprocess.Popen(
            [str(argocd), *options],
            cwd=scratch,
            env={**environment, "ARGOCD_BINARY_NAME": role},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_LIMIT
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, f"it does not listen:\n{log.read_text()[-3000:]}"
            time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and what it started: they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


if __name__ == "__main__":
    sys.exit(golang.main([helm, program]))

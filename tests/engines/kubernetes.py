"""A real Kubernetes API server on loopback, with etcd behind it: built or fetched once, kept outside the checkout.

There is no controller, scheduler or kubelet: what is asked is what the API server itself decides. `finish_deletions`
stands in for the garbage collector where somebody deletes in the foreground.
"""

import json
import re
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler import blockyaml
from tests.engines import golang
from tests.engines.keycloak import free_port

VERSION = "1.37.1"
ETCD = "3.4.23"
START_LIMIT = 120


def api_server() -> Path:
    """The binary, from the cache or built from the Go module; skips the test where it cannot be had."""

    def build(target: Path) -> None:
        folder = target.parent / "build"
        folder.mkdir(exist_ok=True)
        listed = json.loads(golang.go(folder, "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"))
        (folder / "go.mod").write_text(_module(Path(listed["GoMod"]).read_text()))
        tools = '//go:build tools\n\npackage engine\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver"\n'
        (folder / "tools.go").write_text(tools)
        golang.go(folder, "mod", "tidy")
        golang.go(folder, "build", "-o", str(target), "k8s.io/kubernetes/cmd/kube-apiserver")

    binary = golang.ENGINES / f"kube-apiserver-{VERSION}" / "kube-apiserver"
    return golang.built(binary, f"kube-apiserver {VERSION}", 7, build)


def _module(theirs: str) -> str:
    """A module of our own that builds it: staging modules are replaced by the versions that they were published as."""
    staging = sorted(set(re.findall(r"(?m)^\s*(k8s\.io/\S+) v0\.0\.0\s*(?://.*)?$", theirs)))
    version = f"v0.{VERSION.split('.', 1)[1]}"
    go = re.search(r"(?m)^go .*$", theirs)
    debug = re.search(r"(?ms)^godebug (\(.*?^\)|[^\n]*)", theirs)
    parts = ["module stoa.example/engine", *(m[0] for m in (go, debug) if m), f"require k8s.io/kubernetes v{VERSION}"]
    replaced = "\n".join(f"\t{name} => {name} {version}" for name in staging)
    return "\n\n".join([*parts, f"replace (\n{replaced}\n)"]) + "\n"


def etcd() -> Path:
    """etcd: on PATH, from the cache, or from Debian's package, which is unpacked and not installed."""
    found = shutil.which("etcd")
    if found:
        return Path(found)
    folder = golang.ENGINES / f"etcd-{ETCD}"
    binary = folder / "usr" / "bin" / "etcd"
    if not binary.is_file():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip("etcd is not on PATH, and there is no apt-get to fetch Debian's etcd-server")
        folder.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(["apt-get", "download", "etcd-server"], cwd=folder, capture_output=True, check=False)
        packages = sorted(folder.glob("etcd-server_*.deb"))
        if got.returncode or not packages:
            pytest.skip(f"etcd cannot be fetched: {got.stderr.decode()[-200:].strip()}")
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(folder)], check=True)
    return binary


@dataclass(frozen=True)
class Cluster:
    """A running API server."""

    url: str
    token: str
    """Of somebody in `system:masters`."""

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", who: str | None = None
    ) -> tuple[int, Any]:
        """Status and answer. `who` is impersonated."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if data is not None:
            request.add_header("Content-Type", kind)
        if who is not None:
            request.add_header("Impersonate-User", who)
        context = ssl._create_unverified_context()  # Its certificate is its own, and it is on loopback.
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            said = refusal.read()
            try:
                return refusal.code, json.loads(said or b"null")
            except ValueError:  # A path that it knows nothing of is answered in plain text.
                return refusal.code, {"message": said.decode(errors="replace")}

    def apply(self, one: dict[str, Any], dry_run: bool = False) -> tuple[int, Any]:
        """Server-side apply of one object, in the YAML that the compiler writes, with every field checked."""
        path = f"{self.path(one)}/{one['metadata']['name']}?fieldManager=stoa&force=true&fieldValidation=Strict"
        return self.call(
            "PATCH", path + ("&dryRun=All" if dry_run else ""), blockyaml.dump(one), "application/apply-patch+yaml"
        )

    def kubeconfig(self, file: Path, namespace: str = "default") -> Path:
        """Writes how a Kubernetes client of any kind gets in, and which namespace it means."""
        # Its certificate is its own, and it is on loopback.
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        whole = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin", "namespace": namespace}}],
            "current-context": "here",
        }
        file.write_text(json.dumps(whole))
        file.chmod(0o600)
        return file

    def finish_deletions(self, plurals: Sequence[str]) -> None:
        """What the garbage collector would do with objects that wait for it, and that nothing depends on."""
        for plural in plurals:
            status, answer = self.call("GET", f"/{plural}")
            for one in answer["items"] if status == 200 else ():
                metadata = one["metadata"]
                if "deletionTimestamp" in metadata and metadata.get("finalizers") == ["foregroundDeletion"]:
                    group, _, kind = plural.rpartition("/")
                    path = f"/{group}/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
                    self.call("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")

    @staticmethod
    def path(one: dict[str, Any]) -> str:
        """The collection that an object belongs to."""
        version, namespace = one["apiVersion"], one["metadata"].get("namespace")
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = one["kind"].lower()
        plural = f"{plural[:-1]}ies" if plural.endswith("y") else f"{plural}s"
        return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


@contextmanager
def running(scratch: Path) -> Iterator[Cluster]:
    """An API server with nothing in it."""
    server, store = api_server(), etcd()
    client, peer, port, token = free_port(), free_port(), free_port(), secrets.token_hex(16)
    (scratch / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    (scratch / "tokens.csv").chmod(0o600)
    subprocess.run(["openssl", "genrsa", "-out", str(scratch / "sa.key"), "2048"], check=True, capture_output=True)
    at, among = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    etcd_command = [str(store), "--data-dir", str(scratch / "etcd"), "--listen-client-urls", at]
    etcd_command += ["--advertise-client-urls", at, "--listen-peer-urls", among]
    etcd_command += ["--initial-advertise-peer-urls", among, "--initial-cluster", f"default={among}"]
    server_command = [str(server), "--etcd-servers", at, "--secure-port", str(port), "--bind-address", "127.0.0.1"]
    server_command += ["--cert-dir", str(scratch / "certs"), "--token-auth-file", str(scratch / "tokens.csv")]
    server_command += ["--service-account-key-file", str(scratch / "sa.key")]
    server_command += ["--service-account-signing-key-file", str(scratch / "sa.key")]
    server_command += ["--service-account-issuer", "https://k.local", "--authorization-mode", "RBAC"]
    server_command += ["--service-cluster-ip-range", "10.0.0.0/24"]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in (("etcd", etcd_command), ("kube-apiserver", server_command)):
            with (scratch / f"{name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, cwd=scratch, stdout=log, stderr=subprocess.STDOUT))
        cluster = Cluster(f"https://127.0.0.1:{port}", token)
        until = time.monotonic() + START_LIMIT
        while not _ready(cluster):
            for process in processes:
                assert process.poll() is None, (scratch / "kube-apiserver.log").read_text()[-2000:]
            assert time.monotonic() < until, "the API server does not get ready"
            time.sleep(0.2)
        yield cluster
    finally:
        # All of it is thrown away: the API server would wait for its watchers, and for etcd.
        for process in reversed(processes):
            process.kill()
            process.wait()


def _ready(cluster: Cluster) -> bool:
    try:
        status, _ = cluster.call("GET", "/api/v1/namespaces/default")
    except (OSError, ValueError):
        return False
    return status == 200

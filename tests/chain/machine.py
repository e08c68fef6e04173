"""The machine that a pod would run on: volumes written from what the API server has, and the container as a process.

There is no kubelet and no controller here. What they would do with the runtime's Deployment is done by this module,
from the Deployment, the ConfigMaps and the Secrets that are found in the API server, and from nothing else.
"""

import base64
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.kubernetes import Cluster

STOA = Path(sys.executable).with_name("stoa")
START_LIMIT = 60
"""Seconds."""

Object = dict[str, Any]


class Refused(Exception):
    """The container ended, or did not come up; the message holds its own words."""


@dataclass
class Machine:
    """A place for one pod of one Deployment."""

    cluster: Cluster
    namespace: str
    deployment: str
    folder: Path
    versions: int = 0
    """How often a volume was written."""

    def found(self) -> Object:
        """The Deployment in the API server."""
        return self._get("apis/apps/v1", "deployments", self.deployment)

    def wait_for(self, digest: str, seconds: float) -> None:
        """Returns when the Deployment is there and names the bundle."""
        deadline = time.monotonic() + seconds
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}"
        while True:
            status, found = self.cluster.call("GET", path)
            if status == 200:
                named = found["spec"]["template"]["metadata"]["annotations"]["gostoa.dev/bundle"]
                if named == digest:
                    return
            if time.monotonic() > deadline:
                raise Refused(f"the Deployment does not come to name {digest}")
            time.sleep(0.05)

    def mount(self) -> list[str]:
        """Writes the pod's volumes as they are declared now; the names of ConfigMaps that they come from.

        As the kubelet does it: the files lie in a folder of their own, and one link leads there, moved at once.
        """
        spec = self.found()["spec"]["template"]["spec"]
        names: list[str] = []
        for volume in spec["volumes"]:
            place = self.folder / volume["name"]
            place.mkdir(parents=True, exist_ok=True)
            files: dict[str, bytes] = {}
            for source in volume.get("projected", {}).get("sources", ()):
                files |= self._config_map(source["configMap"], names)
            if "configMap" in volume:
                files |= self._config_map({**volume["configMap"], "name": volume["configMap"]["name"]}, names)
            if "secret" in volume:
                files |= self._secret(volume["secret"])
            if files:
                self._exchange(place, files)
        return names

    def _config_map(self, source: Mapping[str, Any], names: list[str]) -> dict[str, bytes]:
        data = self._get("api/v1", "configmaps", source["name"])["data"]
        names.append(source["name"])
        return {item["path"]: data[item["key"]].encode() for item in source["items"]}

    def _secret(self, source: Mapping[str, Any]) -> dict[str, bytes]:
        data = self._get("api/v1", "secrets", source["secretName"])["data"]
        return {item["path"]: base64.b64decode(data[item["key"]]) for item in source["items"]}

    def _exchange(self, place: Path, files: Mapping[str, bytes]) -> None:
        self.versions += 1
        fresh = place / f"..{self.versions:04}"
        for path, content in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        link = place / "..data_tmp"
        link.symlink_to(fresh.name)
        before = (place / "..data").resolve() if (place / "..data").is_symlink() else None
        link.rename(place / "..data")
        for top in sorted({path.partition("/")[0] for path in files}):
            if not (place / top).is_symlink():
                (place / top).symlink_to(f"..data/{top}")
        if before is not None:
            shutil.rmtree(before)

    @contextmanager
    def running(self, port: int) -> Iterator["subprocess.Popen[bytes]"]:
        """The container as a process on `port` of loopback, once it is ready; its volumes are mounted already."""
        (container,) = self.found()["spec"]["template"]["spec"]["containers"]
        mounts = {m["mountPath"]: self.folder / m["name"] for m in container["volumeMounts"]}
        arguments = [_at(argument, mounts) for argument in container["args"]]
        # A pod has an address of its own; here it is a port of loopback.
        arguments[arguments.index("--host") + 1] = "127.0.0.1"
        arguments[arguments.index("--port") + 1] = str(port)
        assert container["command"] == ["stoa"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder / "tmp")}
        for source in container.get("envFrom", ()):
            data = self._get("api/v1", "secrets", source["secretRef"]["name"])["data"]
            environment |= {key: base64.b64decode(value).decode() for key, value in data.items()}
        log = self.folder / "runtime.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [STOA, *arguments], stdout=subprocess.PIPE, stderr=output, env=environment, start_new_session=True
            )
        killer = threading.Timer(START_LIMIT, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode().strip()
            killer.cancel()
            if not line.startswith("listening on "):
                raise Refused(f"`stoa {' '.join(arguments)}` does not come up:\n{log.read_text()[-3000:]}")
            self.report_ready()
            yield process
        finally:
            killer.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def report_ready(self) -> None:
        """What the controller of Deployments would write once the pod that it declares now is ready."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        found = self.found()
        replicas = found["spec"].get("replicas", 1)
        condition = {"status": "True", "lastUpdateTime": now, "lastTransitionTime": now}
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
            "conditions": [
                {"type": "Available", "reason": "MinimumReplicasAvailable", "message": "", **condition},
                {"type": "Progressing", "reason": "NewReplicaSetAvailable", "message": "", **condition},
            ],
        }
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}/status"
        code, answer = self.cluster.call("PATCH", path, {"status": status}, "application/merge-patch+json")
        if code != 200:
            raise Refused(f"the Deployment's status is not taken: {answer}")

    def _get(self, version: str, plural: str, name: str) -> Object:
        status, answer = self.cluster.call("GET", f"/{version}/namespaces/{self.namespace}/{plural}/{name}")
        if status != 200:
            raise Refused(f"{plural}/{name} is not in the API server: {answer.get('message')}")
        found: Object = answer
        return found


def _at(argument: str, mounts: Mapping[str, Path]) -> str:
    """The argument with the path of a mount as it is on this machine."""
    for path, place in mounts.items():
        if argument == path or argument.startswith(f"{path}/"):
            return f"{place}{argument[len(path) :]}"
    return argument

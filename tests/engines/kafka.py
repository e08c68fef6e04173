"""A real Kafka: its jars found or fetched, one broker started on loopback, killed, and started again."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engines.keycloak import free_port

VERSION = "4.1.0"
CACHE = Path.home() / ".cache" / "stoa-engines" / f"kafka-{VERSION}"
START_LIMIT = 120
"""Seconds. It starts in about 10."""
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>stoa</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""


def jars() -> Path:
    """The folder of the server's jars, from the cache or from Maven; skips the test where it cannot be had."""
    if shutil.which("java") is None:
        pytest.skip("Kafka needs Java 17 or newer on PATH")
    if CACHE.is_dir():
        return CACHE
    if shutil.which("mvn") is None:
        pytest.skip(f"Kafka {VERSION} is fetched with mvn, which is not on PATH")
    fresh = CACHE.parent / f".{CACHE.name}.{secrets.token_hex(4)}"
    (fresh / "lib").mkdir(parents=True)
    (fresh / "pom.xml").write_text(_POM)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fresh / 'lib'}"]
    fetched = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=900, check=False)
    if fetched.returncode:
        shutil.rmtree(fresh)
        pytest.skip(f"Kafka {VERSION} cannot be fetched: {(fetched.stdout + fetched.stderr)[-300:].strip()}")
    try:
        (fresh / "lib").rename(CACHE)
    except OSError:
        if not CACHE.is_dir():  # Another test run was first where it is.
            raise
    shutil.rmtree(fresh)
    return CACHE


class Kafka:
    """One broker that is its own controller."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, controller = free_port(), free_port()
        self.servers = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        self._properties.write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
            f"listeners=PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}\n"
            f"advertised.listeners=PLAINTEXT://{self.servers}\n"
            "controller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"log.dirs={folder / 'data'}\n"
            "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\nnum.partitions=3\ngroup.initial.rebalance.delay.ms=0\n"
        )
        self._run("kafka.tools.StorageTool", "format", "-t", _identity(), "-c", str(self._properties))

    def _command(self, main: str, *arguments: str) -> list[str]:
        return ["java", "-Xmx384m", "-cp", f"{jars()}/*", main, *arguments]

    def _run(self, main: str, *arguments: str) -> None:
        done = subprocess.run(self._command(main, *arguments), capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.fail(f"{main} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")

    def start(self) -> None:
        """Starts the broker and waits until it listens."""
        log = self._folder / "kafka.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                env=os.environ,
            )
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                pytest.fail(f"Kafka ended with {self._process.returncode}:\n{log.read_text()[-3000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.2)
        pytest.fail(f"Kafka did not start in {START_LIMIT} s:\n{log.read_text()[-3000:]}")

    def kill(self) -> None:
        """Ends the broker as a loss of power would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=20)
            self._process = None


def _identity() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


@contextmanager
def running(folder: Path) -> Iterator[Kafka]:
    """A broker, ended with the block."""
    jars()
    broker = Kafka(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()

"""Several workers over real sockets: one killed under load, a clean end, starts that fail, the parent's own death."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from stoa_runtime.settings import Settings, SettingsRefused
from stoa_schemas import bundle
from stoa_schemas.audit import DECISION
from tests.engines import valkey
from tests.runtime import world

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="several workers need a system that can fork processes"),
]

STOA = Path(sys.executable).with_name("stoa")
INVOICE = "ioi_billing_get_invoice"
DRAIN = 5


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@dataclass
class Together:
    """`stoa serve` with several workers, in a process of its own."""

    process: subprocess.Popen[str]
    seen: world.World
    state: Path
    metrics: str | None

    @property
    def workers(self) -> set[int]:
        """The processes that serve."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def decisions(self) -> int:
        """Decisions in the logs of all workers."""
        texts = [file.read_text() for file in self.state.glob("audit*.jsonl")]
        return sum(json.loads(line)["type"] == DECISION for text in texts for line in text.splitlines())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with valkey.serving(tmp_path_factory.mktemp("valkey"), "a-password") as server:
            yield server.url
    except valkey.Missing as missing:
        pytest.skip(str(missing))


@contextmanager
def serving(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str, *options: str, rate: int = 100_000
) -> Iterator[Together]:
    tenants = world.catalogs(backend.url)
    tenants["ioi"] = tenants["ioi"].model_copy(update={"rate": bundle.RateLimit(calls=rate, seconds=600)})
    patient = [
        c.model_copy(update={"backend": c.backend.model_copy(update={"read_ms": 5000, "total_ms": 5000})})
        for c in tenants["ioi"].contracts
    ]
    tenants["ioi"] = tenants["ioi"].model_copy(update={"contracts": patient})
    folder, state, secrets = tmp_path / "bundle", tmp_path / "state", tmp_path / "secrets"
    world.write_bundle(folder, world.index(issuer.jwks_url, tenants), tenants)
    secret = secrets / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    command = [str(STOA), "serve", str(folder), "--port", "0", "--state", str(state), "--secrets", str(secrets)]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--drain", str(DRAIN), *options],
        env={**os.environ, "STOA_SERVE_STORE": store},
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "stderr").open("w"),
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("listening on "), (tmp_path / "stderr").read_text()
        url = first.removeprefix("listening on ").strip()
        metrics = process.stdout.readline().removeprefix("metrics at ").strip() if "--metrics" in options else None
        yield Together(process, world.World(url, issuer, backend, state / "audit.jsonl", "", tenants), state, metrics)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


class Load:
    """Calls from several threads, each over a connection of its own, as long as the block lasts."""

    def __init__(self, served: Together, token: str, threads: int = 4) -> None:
        self._served = served
        self._token = token
        self._ends = threading.Event()
        self.good = 0
        self.broken = 0
        self.bad: list[object] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                answer = self._served.seen.post(
                    "tools/call", {"name": INVOICE, "arguments": {"id": "1"}}, token=self._token, timeout=60
                )
            except httpx2.TransportError:
                self.broken += 1
                continue
            if answer.status_code == 200 and answer.json()["result"]["structuredContent"]["id"] == "1":
                self.good += 1
            else:
                self.bad.append(answer.text)


def test_a_worker_that_is_killed_under_load_is_replaced_while_the_other_goes_on(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    with serving(tmp_path, issuer, backend, store) as served:
        before = served.workers
        assert len(before) == 2
        with Load(served, issuer.token()) as load:
            eventually(lambda: load.good > 20)
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            at_death = load.good
            eventually(lambda: load.good > at_death + 20)
            eventually(lambda: len(served.workers) == 2 and victim not in served.workers)
            after = load.good
            eventually(lambda: load.good > after + 20)
        assert load.bad == []
        assert load.broken <= 4, "more broke than were under way in the worker that died"
        assert before & served.workers == before - {victim}
        assert served.decisions() >= load.good
        assert "worker" in (tmp_path / "stderr").read_text()
        assert "SIGKILL" in (tmp_path / "stderr").read_text()


def test_every_worker_writes_a_log_of_its_own(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    with serving(tmp_path, issuer, backend, store) as served:
        with Load(served, issuer.token()) as load:
            eventually(lambda: load.good > 20)
        assert {file.name for file in served.state.glob("audit*.jsonl")} == {"audit.jsonl", "audit-2.jsonl"}
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
        assert served.decisions() == load.good
    judged = subprocess.run([str(STOA), "audit", "verify", str(served.state / "audit.jsonl")], capture_output=True)
    assert judged.returncode == 0, judged.stderr


def test_workers_count_one_limit_together(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    with serving(tmp_path, issuer, backend, store, rate=10) as served:
        token = issuer.token(sub="counted")
        statuses = [served.seen.post("tools/list", {}, token=token, timeout=60).status_code for _ in range(60)]
    assert statuses.count(429) >= 45
    assert statuses.count(200) + statuses.count(429) == 60
    assert 1 <= statuses.count(200) <= 12


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_call_in_flight_ends_before_all_workers_do(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str, sig: signal.Signals
) -> None:
    with serving(tmp_path, issuer, backend, store) as served:
        workers = served.workers
        answers: list[httpx2.Response] = []
        params = {"name": "ioi_slow_wait", "arguments": {}}
        asked = len(backend.requests)
        call = threading.Thread(
            target=lambda: answers.append(served.seen.post("tools/call", params, token=issuer.token(), timeout=60))
        )
        call.start()
        eventually(lambda: any(r["target"] == "/slow" for r in backend.requests[asked:]))
        served.process.send_signal(sig)
        call.join(60)
        assert served.process.wait(60) == 0
        assert answers[0].status_code == 200
        assert not answers[0].json()["result"].get("isError")
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        with pytest.raises(httpx2.TransportError):
            served.seen.post("tools/list", {}, token=issuer.token())


def test_workers_end_when_the_process_that_started_them_is_killed(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    with serving(tmp_path, issuer, backend, store) as served:
        workers = served.workers
        served.process.kill()
        eventually(lambda: not [pid for pid in workers if _lives(pid)])


def _lives(pid: int) -> bool:
    """A process that has ended and that nobody has asked after lives no more."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_the_metrics_of_any_worker_are_those_of_all(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with serving(tmp_path, issuer, backend, store, "--metrics", "127.0.0.1:0") as served:
        with Load(served, issuer.token()) as load:
            eventually(lambda: load.good > 20)
        assert served.metrics is not None
        text = httpx2.get(served.metrics).text
        families = list(text_string_to_metric_families(text))
        assert len({family.name for family in families}) == len(families), "a metric stands in two places"
        calls = [s for f in families for s in f.samples if s.name == "stoa_calls_total"]
        assert {s.labels["worker"] for s in calls} <= {"1", "2"}
        assert sum(s.value for s in calls) == load.good
        assert {s.labels["worker"] for f in families for s in f.samples if f.name == "stoa_audit_works"} == {"1", "2"}


def test_a_bundle_that_cannot_be_served_ends_the_start_in_one_line(tmp_path: Path, store: str) -> None:
    (tmp_path / "bundle").mkdir()
    command = [str(STOA), "serve", str(tmp_path / "bundle"), "--port", "0", "--workers", "2", "--state", str(tmp_path)]
    env = {**os.environ, "STOA_SERVE_STORE": store}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_an_address_that_is_taken_ends_the_start_in_one_line(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, store: str
) -> None:
    with serving(tmp_path, issuer, backend, store) as served:
        port = served.seen.url.rpartition(":")[2]
        command = [str(STOA), "serve", str(tmp_path / "bundle"), "--port", port, "--workers", "2"]
        env = {**os.environ, "STOA_SERVE_STORE": store}
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert ended.returncode == 3
    assert f"127.0.0.1:{port} cannot be listened on" in ended.stderr


def test_several_workers_without_a_store_are_refused_with_the_reason() -> None:
    with pytest.raises(SettingsRefused, match="every limit counts 3 times"):
        Settings(bundle=Path("bundle"), workers=3)

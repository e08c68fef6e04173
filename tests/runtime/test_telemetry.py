"""Metrics and traces as a scraper and a collector get them, over real sockets."""

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families

from stoa_runtime.server import application
from stoa_runtime.settings import Settings, TelemetrySettings
from stoa_runtime.telemetry import TelemetryUnusable, bound, open_telemetry
from stoa_schemas import bundle
from tests.runtime import world

INVOICE = "ioi_billing_get_invoice"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SENTINEL = "argument-5ab1"
ATTRIBUTES = {
    "http.request.method",
    "http.response.status_code",
    "mcp.method.name",
    "stoa.bundle",
    "stoa.contract",
    "stoa.decision",
    "stoa.endpoint",
    "stoa.limit",
    "stoa.outcome",
    "stoa.rule",
    "stoa.tenant",
    "stoa.tool",
}


class Collector:
    """Takes spans by OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.paths: list[str] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                message = ExportTraceServiceRequest.FromString(body)
                collector.raw += body
                collector.paths.append(self.path)
                for resource in message.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Watched:
    """A runtime that is watched."""

    seen: world.World
    folder: Path
    page: str = ""

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = httpx2.get(self.page).text
        return {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample that has these labels; None where there is none."""
        found = [value for (n, have), value in self.samples().items() if n == name and set(labels.items()) <= set(have)]
        assert len(found) <= 1, f"{name} {labels} names several"
        return found[0] if found else None

    def exchange(self, tenants: dict[str, bundle.Catalog], *, broken: bool = False) -> str:
        new, old = self.folder.with_name("new"), self.folder.with_name(f"old-{time.monotonic_ns()}")
        world.write_bundle(new, world.index(self.seen.issuer.jwks_url, tenants), tenants)
        if broken:
            (new / "mcp" / "tenants" / "ioi.json").write_bytes(b"{}")
        digest = bundle.sha256((new / bundle.RUNTIME_MANIFEST).read_bytes())
        self.folder.rename(old)
        new.rename(self.folder)
        return digest


@contextmanager
def watched(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, telemetry: TelemetrySettings, **more: Any
) -> Iterator[Watched]:
    tenants = world.catalogs(backend.url)
    folder = tmp_path / "bundle"
    world.write_bundle(folder, world.index(issuer.jwks_url, tenants), tenants)
    secret = tmp_path / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    settings = Settings(
        bundle=folder,
        audit=tmp_path / "state" / "audit.jsonl",
        reload_seconds=0.05,
        secrets="file",
        secrets_folder=tmp_path / "secrets",
        telemetry=telemetry,
    )
    settings = replace(settings, **more)
    sockets = bound(telemetry.metrics) if telemetry.metrics else None
    app = application(settings, open_telemetry(telemetry, sockets))
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", http="httptools", lifespan="on")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    digest = bundle.sha256((folder / bundle.RUNTIME_MANIFEST).read_bytes())
    seen = world.World(url, issuer, backend, settings.audit, digest, tenants)
    try:
        yield Watched(seen, folder, sockets.url if sockets else "")
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
        if sockets is not None:
            sockets.close()


@pytest.fixture
def metered(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder) -> Iterator[Watched]:
    with watched(tmp_path, issuer, backend, TelemetrySettings(metrics=("127.0.0.1", 0))) as served:
        yield served


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


# Metrics


def test_calls_are_counted_by_tenant_decision_and_rule(metered: Watched, issuer: world.Issuer) -> None:
    seen = metered.seen
    for number in range(3):
        seen.call(INVOICE, {"id": str(number)})
    seen.call(INVOICE, {"id": 7})
    seen.call("ioi_billing_crash")
    seen.post("tools/call", {"name": "greg_oasis_get_quest", "arguments": {"id": "1"}}, token=issuer.token())
    seen.post("tools/list", {}, token=issuer.token())
    seen.post("tools/list", {}, token=None)
    calls = {k: v for k, v in metered.samples().items() if k[0] == "stoa_calls_total"}
    assert {(dict(k[1])["decision"], dict(k[1])["rule"]): v for k, v in calls.items()} == {
        ("allowed", "granted"): 3,
        ("refused", "arguments"): 1,
        ("failed", "backend-status"): 1,
        ("refused", "tool-not-visible"): 1,
    }
    assert {dict(k[1])["tenant"] for k in calls} == {"ioi"}
    assert metered.value("stoa_call_seconds_count", decision="allowed") == 3
    assert metered.value("stoa_backend_calls_total", tenant="ioi", outcome="2xx") == 3
    assert metered.value("stoa_backend_calls_total", tenant="ioi", outcome="5xx") == 1
    assert metered.value("stoa_backend_seconds_count", outcome="2xx") == 3
    assert metered.value("stoa_requests_total", endpoint="mcp", asked="tools/call", status="200") == 5
    assert metered.value("stoa_requests_total", endpoint="mcp", asked="tools/list", status="200") == 1
    assert metered.value("stoa_requests_total", endpoint="mcp", asked="tools/list", status="401") == 1
    assert metered.value("stoa_requests_refused_total", rule="token-missing") == 1
    assert metered.value("stoa_requests_in_flight") == 0


def test_no_label_is_anything_that_a_caller_chooses(metered: Watched, issuer: world.Issuer) -> None:
    seen = metered.seen
    seen.call(INVOICE, {"id": SENTINEL})
    seen.call(f"no-such-{SENTINEL}")
    seen.post(f"x/{SENTINEL}", {}, token=issuer.token())
    httpx2.request("TRACE", f"{seen.url}/mcp", headers={"Host": "mcp.example.test"})
    httpx2.get(f"{seen.url}/{SENTINEL}", headers={"Host": "mcp.example.test"})
    text = httpx2.get(metered.page).text
    assert SENTINEL not in text.lower()
    for hidden in ("parzival", world.CLIENT, INVOICE, "ioi:billing:get_invoice", world.SECRET, "127.0.0.1"):
        assert hidden not in text
    assert 'method="other"' in text


def test_tools_are_counted_where_it_is_asked_for(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder) -> None:
    telemetry = TelemetrySettings(metrics=("127.0.0.1", 0), metrics_tools=True)
    with watched(tmp_path, issuer, backend, telemetry) as served:
        served.seen.call(INVOICE, {"id": "1"})
        served.seen.call("no-such-tool")
        assert served.value("stoa_tool_calls_total", tool="ioi:billing:get_invoice", decision="allowed") == 1
        assert "no-such-tool" not in httpx2.get(served.page).text


def test_the_page_is_not_on_the_port_of_clients_and_holds_nothing_else(metered: Watched) -> None:
    assert httpx2.get(f"{metered.seen.url}/metrics", headers={"Host": "mcp.example.test"}).status_code == 404
    base = metered.page.removesuffix("/metrics")
    for path in ("/", "/mcp", "/readyz", "/metrics/x"):
        assert httpx2.get(base + path).status_code == 404
    assert httpx2.post(metered.page).status_code == 405


def test_limits_approvals_and_circuits_are_counted(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(metrics=("127.0.0.1", 0))) as served:
        seen = served.seen
        for _ in range(3):
            seen.call("ioi_nowhere_reach")
        assert served.value("stoa_circuits", state="open") == 1
        seconds = served.value("stoa_circuit_open_seconds", tenant="ioi", contract="nowhere")
        assert seconds is not None
        assert seconds >= 0
        assert served.value("stoa_backend_calls_total", outcome="backend-unreachable") == 2
        assert served.value("stoa_backend_calls_total", outcome="backend-circuit") == 1
        shop = issuer.token(azp="ioi.shop")
        for _ in range(3):
            seen.call("ioi_inventory_list_items", token=shop)
        refused = served.value("stoa_limits_refused_total", tenant="ioi", limit="rate-plan")
        assert refused is not None
        assert refused >= 1
        seen.call("ioi_billing_delete_invoice", {"id": "1"})
        approvals = [k for k in served.samples() if k[0] == "stoa_approvals_total"]
        assert [dict(labels)["rule"].startswith("approval-") for _, labels in approvals] == [True]


def test_a_bundle_that_is_refused_shows_and_so_does_its_successor(metered: Watched) -> None:
    tenants = metered.seen.tenants
    assert metered.value("stoa_bundle_info", digest=metered.seen.digest, environment="dev", sequence="") == 1
    assert metered.value("stoa_bundle_refused") == 0
    metered.exchange(tenants, broken=True)
    eventually(lambda: metered.value("stoa_bundle_refused") == 1)
    assert "refused" in httpx2.get(f"{metered.seen.url}/readyz").json()
    assert metered.value("stoa_reloads_total", outcome="refused") == 1
    assert metered.value("stoa_bundle_info", digest=metered.seen.digest) == 1
    digest = metered.exchange({"ioi": tenants["ioi"]})
    eventually(lambda: metered.value("stoa_bundle_info", digest=digest) == 1)
    eventually(lambda: metered.value("stoa_bundle_refused") == 0)
    assert metered.value("stoa_reloads_total", outcome="served") == 1
    assert metered.value("stoa_bundle_info", digest=metered.seen.digest) is None


def test_what_the_process_holds_is_looked_at(metered: Watched, issuer: world.Issuer) -> None:
    first, second = issuer.token(), issuer.token(sub="other")
    for token in (first, first, second):
        metered.seen.post("tools/list", {}, token=token)
    assert metered.value("stoa_tokens_remembered") == 2
    assert metered.value("stoa_tokens_checked_total") == 2
    assert metered.value("stoa_audit_works") == 1
    assert metered.value("stoa_audit_lines_behind") == 0
    assert metered.value("stoa_limits_store_works") == 1
    assert metered.value("stoa_streams_open") == 0
    if sys.platform == "linux":
        resident = metered.value("process_resident_memory_bytes")
        assert resident is not None
        assert resident > 1_000_000


def test_an_address_that_is_taken_is_told_in_words(metered: Watched) -> None:
    port = int(metered.page.removesuffix("/metrics").rpartition(":")[2])
    with pytest.raises(TelemetryUnusable, match=rf"metrics cannot be served at 127.0.0.1:{port}: "):
        open_telemetry(TelemetrySettings(metrics=("127.0.0.1", port)))


# Traces


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_call_has_one_span_and_its_backend_one_below_it(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, collector: Collector
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(traces=collector.url)) as served:
        meta = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        with served.seen.recording() as got:
            served.seen.post(
                "tools/call",
                {"name": INVOICE, "arguments": {"id": SENTINEL}, "_meta": meta},
                token=issuer.token(),
                headers={"traceparent": f"00-{'9' * 32}-{'8' * 16}-01"},
            )
        [line] = served.seen.audit_lines()
    assert collector.paths == ["/v1/traces"]
    below, call = collector.spans
    assert (call.name, call.kind) == ("tools/call", Span.SPAN_KIND_SERVER)
    assert (below.name, below.kind) == ("ioi:billing", Span.SPAN_KIND_CLIENT)
    assert call.trace_id.hex() == below.trace_id.hex() == line["trace_id"] == TRACE
    assert call.parent_span_id.hex() == PARENT
    assert below.parent_span_id == call.span_id
    assert dict(got[0]["headers"])["traceparent"] == f"00-{TRACE}-{below.span_id.hex()}-01"
    assert attributes(call) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "mcp.method.name": "tools/call",
        "stoa.bundle": served.seen.digest,
        "stoa.decision": "allowed",
        "stoa.endpoint": "mcp",
        "stoa.rule": "granted",
        "stoa.tenant": "ioi",
        "stoa.tool": "ioi:billing:get_invoice",
    }
    assert attributes(below) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "stoa.contract": "billing",
        "stoa.outcome": "2xx",
        "stoa.tenant": "ioi",
    }
    assert call.start_time_unix_nano <= below.start_time_unix_nano
    assert below.end_time_unix_nano <= call.end_time_unix_nano
    for hidden in (SENTINEL, "parzival", world.SECRET, world.CLIENT):
        assert hidden.encode() not in collector.raw


@pytest.mark.anyio
async def test_requests_of_the_other_protocol_and_the_sdk_have_one_span_each(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, collector: Collector
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(traces=collector.url)) as served:
        async with served.seen.client(issuer.token(), "legacy") as client:
            await client.call_tool(INVOICE, {"id": "1"})
        served.seen.call("ioi_billing_delete_invoice", {"id": "1"})
        served.seen.post("tools/list", {}, token=None)
        httpx2.get(f"{served.seen.url}/readyz")
        lines = served.seen.audit_lines()
    decided = [s for s in collector.spans if "stoa.decision" in attributes(s)]
    assert sorted(s.trace_id.hex() for s in decided) == sorted(line["trace_id"] for line in lines)
    assert [attributes(s)["stoa.tool"] for s in decided if "stoa.tool" in attributes(s)] == [
        "ioi:billing:get_invoice",
        "ioi:billing:delete_invoice",
    ]
    assert {key for span in collector.spans for key in attributes(span)} <= ATTRIBUTES
    assert len({(s.trace_id, s.span_id) for s in collector.spans}) == len(collector.spans)
    assert "probe" not in {attributes(s).get("stoa.endpoint") for s in collector.spans}


def test_a_call_that_fails_is_marked(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, collector: Collector
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(traces=collector.url)) as served:
        served.seen.call("ioi_billing_crash")
        served.seen.call(INVOICE, {"id": 7})
    below, failed, refused = collector.spans
    assert below.status.code == failed.status.code == Status.STATUS_CODE_ERROR
    assert refused.status.code == Status.STATUS_CODE_UNSET
    assert attributes(refused)["stoa.rule"] == "arguments"


@pytest.mark.parametrize(("ratio", "flags", "kept"), [(1.0, "00", 0), (0.0, "01", 0), (1.0, "01", 2)])
def test_a_trace_is_kept_whole_or_not_at_all(
    tmp_path: Path,
    issuer: world.Issuer,
    backend: world.Recorder,
    collector: Collector,
    ratio: float,
    flags: str,
    kept: int,
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(traces=collector.url, traces_ratio=ratio)) as served:
        meta = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
        params = {"name": INVOICE, "arguments": {"id": "1"}, "_meta": meta}
        with served.seen.recording() as got:
            served.seen.post("tools/call", params, token=issuer.token())
    assert len(collector.spans) == kept
    assert dict(got[0]["headers"])["traceparent"].endswith("-01" if kept else "-00")


def test_a_collector_that_is_down_changes_no_answer(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    with watched(tmp_path, issuer, backend, TelemetrySettings(traces="http://127.0.0.1:9")) as served:
        for _ in range(5):
            assert served.seen.call(INVOICE, {"id": "1"})["structuredContent"]["id"] == "1"


@pytest.mark.parametrize("collector", ["localhost:4318", "ftp://a", "http://user:secret-7@a", "http://"])
def test_a_collector_that_is_no_url_is_refused(collector: str) -> None:
    with pytest.raises(TelemetryUnusable) as refused:
        open_telemetry(TelemetrySettings(traces=collector))
    assert "secret-7" not in str(refused.value)


# Off


def test_nothing_of_it_is_loaded_unless_it_is_asked_for() -> None:
    code = "import sys, stoa_runtime.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [m for m in loaded if m.startswith(("prometheus_client", "opentelemetry.sdk", "opentelemetry.exporter"))]
    own = {m for m in loaded if m.startswith("stoa_runtime.telemetry.")}
    assert own == {"stoa_runtime.telemetry.sockets", "stoa_runtime.telemetry.watching"}
    assert open_telemetry(TelemetrySettings()) is None

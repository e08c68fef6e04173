"""What is counted, for Prometheus.

Labels are chosen so that their values are few: rules and outcomes are the code's own, tenants and contracts the
bundle's. No person, no client, no argument is one; tools are only where the operator asks for them.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from stoa_runtime.audit import Event
from stoa_runtime.backends import State
from stoa_runtime.telemetry.watching import BackendCall, Observed, Request

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the histograms' buckets."""


class Metrics:
    """Counts what it is told, and looks at the process when it is asked."""

    def __init__(self, *, worker: int | None = None, tools: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each counter, which nobody asked for.
        self._registry = registry = CollectorRegistry()
        self._worker = worker
        self._requests = Counter(
            "stoa_requests",
            "Requests that were answered.",
            ["endpoint", "method", "asked", "status"],
            registry=registry,
        )
        self._in_flight = Gauge("stoa_requests_in_flight", "Requests, and open streams.", registry=registry)
        self._calls = Counter("stoa_calls", "Calls of tools.", ["tenant", "decision", "rule"], registry=registry)
        self._tools = (
            Counter("stoa_tool_calls", "Calls by tool.", ["tool", "decision"], registry=registry) if tools else None
        )
        self._seconds = Histogram(
            "stoa_call_seconds", "How long calls took.", ["decision"], registry=registry, buckets=SECONDS
        )
        self._refused = Counter(
            "stoa_requests_refused", "Requests that ended before any tool was looked for.", ["rule"], registry=registry
        )
        self._limits = Counter(
            "stoa_limits_refused", "Requests and calls beyond a limit.", ["tenant", "limit"], registry=registry
        )
        self._approvals = Counter(
            "stoa_approvals", "Calls that needed an approval, and decisions on them.", ["tenant", "rule"],
            registry=registry,
        )  # fmt: skip
        self._backends = Counter("stoa_backend_calls", "Calls of backends.", ["tenant", "outcome"], registry=registry)
        self._backend_seconds = Histogram(
            "stoa_backend_seconds", "How long backends took, retries included.", ["outcome"], registry=registry,
            buckets=SECONDS,
        )  # fmt: skip
        ProcessCollector(registry=registry)
        # Finding a metric by its labels costs more than counting: what was found is kept.
        self._by_request: dict[tuple[str, str, str, int], Counter] = {}
        self._by_call: dict[tuple[str | None, str, str], Counter] = {}
        self._by_decision: dict[str, Histogram] = {}
        self._by_backend: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def look_at(self, process: Observed) -> None:
        """From now on the page tells of this process."""
        self._registry.register(_Looks(process))

    def text(self) -> bytes:
        """The page; each series names the worker where there are several."""
        if self._worker is None:
            return generate_latest(self._registry)
        return generate_latest(_OfWorker(self._registry, str(self._worker)))

    def began(self, request: Request) -> None:
        """A request has come."""
        self._in_flight.inc()

    def ended(self, request: Request) -> None:
        """A request is answered."""
        self._in_flight.dec()
        key = (request.endpoint, request.method, request.asked, request.status)
        found = self._by_request.get(key)
        if found is None:
            found = self._by_request[key] = self._requests.labels(*map(str, key))
        found.inc()

    def decided(self, event: Event) -> None:
        """A decision is made: about a call where a tool is named, else about a request."""
        tenant = event.tenant or ""
        if event.limit is not None:
            self._limits.labels(tenant, event.limit).inc()
        if event.approval is not None or event.rule.startswith("approval"):
            self._approvals.labels(tenant, event.rule).inc()
        if event.tool is None and event.asked is None:
            self._refused.labels(event.rule).inc()
            return
        key = (event.tenant, event.decision, event.rule)
        found = self._by_call.get(key)
        if found is None:
            found = self._by_call[key] = self._calls.labels(tenant, event.decision, event.rule)
        found.inc()
        seconds = self._by_decision.get(event.decision)
        if seconds is None:
            seconds = self._by_decision[event.decision] = self._seconds.labels(event.decision)
        seconds.observe(event.duration_ms / 1000)
        if self._tools is not None and event.tool is not None:  # A name that a caller made up is none.
            self._tools.labels(event.tool, event.decision).inc()

    def called(self, call: BackendCall) -> None:
        """A backend was called."""
        key = (call.tenant, call.outcome)
        found = self._by_backend.get(key)
        if found is None:
            found = self._by_backend[key] = (self._backends.labels(*key), self._backend_seconds.labels(call.outcome))
        found[0].inc()
        found[1].observe(call.seconds)


class _Looks(Collector):
    """What is not counted but looked at, when somebody asks."""

    def __init__(self, process: Observed) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are now."""
        process = self._process
        yield _gauge("stoa_audit_works", "Whether decisions can be recorded as promised.", process.audit.works)
        yield _gauge(
            "stoa_audit_lines_behind", "Lines of the audit log whose promise is not kept yet.", process.audit.behind
        )
        yield _gauge(
            "stoa_limits_store_works", "Whether limits are counted where they should be.", process.limits.works
        )
        yield _gauge("stoa_streams_open", "Streams of subscribers.", process.streams)
        yield _gauge(
            "stoa_bundle_refused", "Whether the folder holds a bundle that is not served.", process.refused is not None
        )
        reloads = CounterMetricFamily("stoa_reloads", "Bundles that came after the first.", labels=["outcome"])
        reloads.add_metric(["served"], process.reloads)
        reloads.add_metric(["refused"], process.refusals)
        yield reloads
        serving = process.now
        if serving is None:
            return
        snapshot = serving.snapshot
        info = GaugeMetricFamily(
            "stoa_bundle_info", "The bundle that is served.", labels=["platform", "environment", "digest", "sequence"]
        )
        sequence = snapshot.signature.sequence if snapshot.signature is not None else None
        place = [snapshot.index.name, snapshot.index.environment, snapshot.digest]
        info.add_metric([*place, "" if sequence is None else str(sequence)], 1)
        yield info
        yield _gauge("stoa_tokens_remembered", "Verified tokens that are remembered.", serving.verifier.remembered)
        checked = CounterMetricFamily("stoa_tokens_checked", "Tokens whose signature was checked.")
        checked.add_metric([], serving.verifier.checked)
        yield checked
        yield from _circuits(serving.backends.states())


def _circuits(states: Mapping[tuple[str, str], State]) -> Iterator[Metric]:
    counted = {"closed": 0, "open": 0, "probing": 0}
    opened = GaugeMetricFamily(
        "stoa_circuit_open_seconds", "How long a backend has been left alone.", labels=["tenant", "contract"]
    )
    for (tenant, contract), state in states.items():
        counted["closed" if state.open_seconds is None else "probing" if state.probing else "open"] += 1
        if state.open_seconds is not None:
            opened.add_metric([tenant, contract], state.open_seconds)
    circuits = GaugeMetricFamily("stoa_circuits", "Backends that were called, by their circuit.", labels=["state"])
    for name, count in counted.items():
        circuits.add_metric([name], count)
    yield circuits
    yield opened


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


class _OfWorker:
    """The same metrics, each with the number of the worker that counted."""

    def __init__(self, registry: CollectorRegistry, worker: str) -> None:
        self._registry = registry
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, "worker": self._worker}) for sample in metric.samples
            ]
            yield metric

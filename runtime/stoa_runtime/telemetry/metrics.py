"""What is counted, for Prometheus.

Labels are chosen so that their values are few: rules and outcomes are the code's own, tenants and contracts the
bundle's. No person, no client, no argument is one; tools are only where the operator asks for them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from stoa_runtime.audit import Event
from stoa_runtime.backends import State
from stoa_runtime.telemetry.watching import BackendCall, Observed, Request

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the histograms' buckets."""


class _Count:
    """How often something happened, by labels; all on the event loop, so that there is nothing to lock."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        self.seen: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str) -> None:
        """It happened once more."""
        self.seen[labels] = self.seen.get(labels, 0) + 1

    def collect(self) -> Metric:
        """The metric."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in list(self.seen.items()):
            family.add_metric(labels, count)
        return family


class _Seconds:
    """How long something took, by one label, in buckets."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._name, self._text, self._label = name, text, label
        self._seen: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, label: str, seconds: float) -> None:
        """It took so long."""
        seen = self._seen.get(label)
        if seen is None:
            seen = self._seen[label] = ([0] * (len(SECONDS) + 1), [0.0])
        seen[0][bisect_left(SECONDS, seconds)] += 1
        seen[1][0] += seconds

    def collect(self) -> Metric:
        """The metric."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for label, (counts, total) in list(self._seen.items()):
            up_to = list(accumulate(counts))
            ends = [*map(floatToGoString, SECONDS), "+Inf"]
            family.add_metric([label], list(zip(ends, up_to, strict=True)), total[0])
        return family


class Metrics:
    """Counts what it is told, and looks at the process when it is asked.

    Counting is between a call and its answer, so it is done in plain dictionaries: the library's own counters cost ten
    times as much. What is read is the library's.
    """

    def __init__(self, *, worker: int | None = None, tools: bool = False) -> None:
        self._registry = registry = CollectorRegistry()
        self._worker = worker
        self._in_flight = 0
        self._requests = _Count(
            "stoa_requests", "Requests that were answered.", "endpoint", "method", "asked", "status"
        )
        self._calls = _Count("stoa_calls", "Calls of tools.", "tenant", "decision", "rule")
        self._tools = _Count("stoa_tool_calls", "Calls by tool.", "tool", "decision") if tools else None
        self._seconds = _Seconds("stoa_call_seconds", "How long calls took.", "decision")
        self._refused = _Count("stoa_requests_refused", "Requests that ended before any tool was looked for.", "rule")
        self._limits = _Count("stoa_limits_refused", "Requests and calls beyond a limit.", "tenant", "limit")
        self._approvals = _Count(
            "stoa_approvals", "Calls that needed an approval, and decisions on them.", "tenant", "rule"
        )
        self._backends = _Count("stoa_backend_calls", "Calls of backends.", "tenant", "outcome")
        self._backend_seconds = _Seconds("stoa_backend_seconds", "How long backends took, with retries.", "outcome")
        registry.register(_Tells(self._counted))
        ProcessCollector(registry=registry)

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
        self._in_flight += 1

    def ended(self, request: Request) -> None:
        """A request is answered."""
        self._in_flight -= 1
        self._requests.add(request.endpoint, request.method, request.asked, str(request.status))

    def decided(self, event: Event) -> None:
        """A decision is made: about a call where a tool is named, else about a request."""
        tenant = event.tenant or ""
        if event.limit is not None:
            self._limits.add(tenant, event.limit)
        if event.approval is not None or event.rule.startswith("approval"):
            self._approvals.add(tenant, event.rule)
        if event.tool is None and event.asked is None:
            self._refused.add(event.rule)
            return
        self._calls.add(tenant, event.decision, event.rule)
        self._seconds.add(event.decision, event.duration_ms / 1000)
        if self._tools is not None and event.tool is not None:  # A name that a caller made up is none.
            self._tools.add(event.tool, event.decision)

    def called(self, call: BackendCall) -> None:
        """A backend was called."""
        self._backends.add(call.tenant, call.outcome)
        self._backend_seconds.add(call.outcome, call.seconds)

    def _counted(self) -> Iterator[Metric]:
        yield _gauge("stoa_requests_in_flight", "Requests, and open streams.", self._in_flight)
        for each in (
            self._requests, self._calls, self._tools, self._seconds, self._refused, self._limits, self._approvals,
            self._backends, self._backend_seconds,
        ):  # fmt: skip
            if each is not None:
                yield each.collect()


class _Tells(Collector):
    """What is counted."""

    def __init__(self, counted: Callable[[], Iterator[Metric]]) -> None:
        self._counted = counted

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are now."""
        return self._counted()


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

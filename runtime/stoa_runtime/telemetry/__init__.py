"""What a process tells about itself while it serves: metrics for Prometheus, and traces for OpenTelemetry.

Both are off unless they are asked for, and cost nothing then. What is counted and which attributes a span has is
chosen in `metrics.py` and `traces.py`; neither holds a subject, an argument, an address or a token.
"""

import importlib

from stoa_runtime.settings import TelemetrySettings
from stoa_runtime.telemetry.sockets import Sockets, bound
from stoa_runtime.telemetry.watching import Observed, Telemetry, Watcher

EXTRA = "`{}` is not installed; `pip install 'stoa-platform[telemetry]'` brings it"


class TelemetryUnusable(Exception):
    """What was asked for cannot be had; the message is for the operator."""


def open_telemetry(
    settings: TelemetrySettings, sockets: Sockets | None = None, worker: int | None = None
) -> Telemetry | None:
    """Metrics and traces as they are asked for; None where neither is.

    `worker` is this process's number where it is one of several; `sockets` are those that it has in common with them.
    To be called after any fork.
    """
    if settings.metrics is None and settings.traces is None:
        return None
    watchers: list[Watcher] = []
    metrics = traces = None
    try:
        if settings.metrics is not None:
            metrics = importlib.import_module("stoa_runtime.telemetry.metrics").Metrics(
                worker=worker, tools=settings.metrics_tools
            )
            watchers.append(metrics)
            if sockets is None:
                sockets = bound(settings.metrics)
        if settings.traces is not None:
            traces = importlib.import_module("stoa_runtime.telemetry.traces").Traces(
                settings.traces, settings.traces_ratio
            )
            watchers.append(traces)
    except ModuleNotFoundError as missing:
        raise TelemetryUnusable(EXTRA.format(missing.name)) from None
    except ValueError as error:
        raise TelemetryUnusable(str(error)) from None
    return Telemetry(watchers, metrics, traces, sockets, worker)


__all__ = ["Observed", "Sockets", "Telemetry", "TelemetryUnusable", "Watcher", "bound", "open_telemetry"]

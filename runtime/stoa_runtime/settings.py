"""What the operator of one process decides; everything else comes from the bundle."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stoa_runtime.audit import KafkaTopic
from stoa_runtime.vault import VaultSettings


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where the audit log goes besides what the bundle declares of it."""

    rotate_bytes: int = 0
    """Size at which the file is put aside and a new one begun; 0: never."""
    key: Path | None = None
    """A file with the secret that seals each line; absent: lines are chained and not sealed."""
    kafka: KafkaTopic | None = None
    """A topic instead of the file."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What the process tells about itself while it serves; nothing, unless one of these is set."""

    metrics: tuple[str, int] | None = None
    """Address and port of the page of metrics; port 0 takes a free one."""
    metrics_tools: bool = False
    """Whether calls are counted by tool too: one series more for each tool that is called."""
    traces: str | None = None
    """The collector that spans go to, by OTLP over HTTP: `http://HOST:4318`."""
    traces_ratio: float = 1.0
    """The share of traces that are recorded of those that nobody decided about before."""


class SettingsRefused(Exception):
    """Settings that do not go together; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one process serves one bundle."""

    bundle: Path
    """The bundle's folder."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    workers: int = 1
    """Processes that serve. More than one need a store to share limits in."""
    audit: Path = Path(".stoa/audit.jsonl")
    """The audit log; its folder is made."""
    auditing: AuditSettings = field(default_factory=AuditSettings)
    """More about the audit log."""
    state: Path | None = None
    """The folder of approvals, their key and the pinned sequence; absent: that of the audit log."""
    store_url: str | None = None
    """The Valkey or Redis that processes share limits and approvals in (`redis://`, `rediss://`, `unix://`).

    Absent: limits are counted in this process, and approvals are kept in the state folder."""
    approvals_key: Path | None = None
    """The file of the key that seals the states of approvals, the same for all machines; absent: one is made in the
    state folder."""
    keys: tuple[Path, ...] = ()
    """Public keys, one of which must have signed the bundle; without any, no signature is asked for."""
    allow_rollback: bool = False
    """Whether a signed bundle may be served that is older than one that was."""
    reload_seconds: float = 1.0
    """How often the folder is looked at for another bundle; 0: never."""
    allowed_hosts: tuple[str, ...] = ()
    """`Host` headers that are taken besides that of the MCP URL; `name:*` takes any port."""
    allowed_origins: tuple[str, ...] = ()
    """`Origin` headers that are taken besides that of the MCP URL; `scheme://name:*` takes any port."""
    secrets: Literal["file", "environment", "vault"] = "environment"
    """Where backends' credentials come from: `STOA_SECRET_...` variables, files, or Vault."""
    secrets_folder: Path | None = None
    """The folder that mirrors secret paths: `<folder>/<path>/<key>`."""
    vault: VaultSettings | None = None
    """Where Vault is."""
    allow_development: bool = False
    """Whether a bundle of a development environment may be served."""
    body_limit: int = 1_048_576
    """Bytes that a request's body may have."""
    body_deadline: float = 10.0
    """Seconds that a request's body may take to arrive."""
    drain_seconds: int = 20
    """Seconds that calls in flight may take to end when the process is asked to stop, or serves another bundle."""
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    """Metrics and traces."""

    def __post_init__(self) -> None:
        if self.workers < 2:
            return
        if self.store_url is None:
            raise SettingsRefused(
                f"{self.workers} workers without a store would each count the limits for itself, so that every limit"
                f" counts {self.workers} times: name a Valkey or Redis that they share (`--store`), or serve with one"
            )
        if not hasattr(os, "fork"):
            raise SettingsRefused("several workers need a system that can fork processes; serve with one here")

    @property
    def state_folder(self) -> Path:
        """Where what must outlive the process is kept."""
        return self.state or self.audit.parent

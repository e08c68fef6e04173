"""What the operator of one process decides; everything else comes from the bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Settings:
    """How one process serves one bundle."""

    bundle: Path
    """The bundle's folder."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    audit: Path = Path(".stoa/audit.jsonl")
    """The audit log; its folder is made."""
    approvals: Path | None = None
    """The folder of approvals and of the key that seals their `requestState`; absent: that of the audit log."""
    limits_url: str | None = None
    """The Valkey or Redis that processes share limits in (`redis://`, `rediss://`, `unix://`); absent: each its own."""
    allowed_hosts: tuple[str, ...] = ()
    """`Host` headers that are taken besides that of the MCP URL; `name:*` takes any port."""
    allowed_origins: tuple[str, ...] = ()
    """`Origin` headers that are taken besides that of the MCP URL; `scheme://name:*` takes any port."""
    secrets: Literal["file", "environment"] = "environment"
    """Where backends' credentials come from: files below `secrets_folder`, or `STOA_SECRET_...` variables."""
    secrets_folder: Path | None = None
    """The folder that mirrors secret paths: `<folder>/<path>/<key>`."""
    allow_development: bool = False
    """Whether a bundle of a development environment may be served."""
    body_limit: int = 1_048_576
    """Bytes that a request's body may have."""
    body_deadline: float = 10.0
    """Seconds that a request's body may take to arrive."""
    drain_seconds: int = 20
    """Seconds that calls in flight may take to end when the process is asked to stop."""

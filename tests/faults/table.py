"""All faults, and their table."""

from pathlib import Path

from tests.faults import approvals, backends, brokers, disks, issuers, memory, processes, reloads, stores
from tests.faults.rows import Fault, Row, Size

FAULTS = (
    Fault("kill -9, durability system", processes.killed(audit_durability="system")),
    Fault("kill -9, durability second", processes.killed(audit_durability="second")),
    Fault("kill -9, durability event", processes.killed(audit_durability="event")),
    Fault("SIGTERM", processes.terminated),
    Fault("disk full, refuse", disks.full("refuse")),
    Fault("disk full, wait", disks.full("wait")),
    Fault("disk full, refuse, durability event", disks.full("refuse", audit_durability="event")),
    Fault("file too large, refuse", disks.full("refuse", tmpfs=False)),
    Fault("file too large, wait, durability event", disks.full("wait", tmpfs=False, audit_durability="event")),
    Fault("issuer dead, then with another key", issuers.gone(hangs=False)),
    Fault("issuer hangs, then with another key", issuers.gone(hangs=True)),
    *(
        Fault(f"backend: {name}", backends.misbehaving(name))
        for name in (
            "hangs in the body",
            "resets in the body",
            "Content-Length too long",
            "10 GB, streamed",
            "gzip bomb",
        )
    ),
    Fault("another bundle, again and again", reloads.swapped),
    Fault("approvals locked", approvals.harmed(approvals.locked)),
    Fault("approvals moved away", approvals.harmed(approvals.removed)),
    Fault("approvals on a full disk", approvals.harmed(approvals.full)),
    Fault("many calls", memory.flat),
    Fault("kill -9 of one of two workers", processes.worker_killed, engine=True),
    Fault("two processes, one Valkey", stores.shared, engine=True),
    Fault("Valkey killed, refuse", stores.gone("refuse"), engine=True),
    Fault("Valkey killed, local", stores.gone("local"), engine=True),
    Fault("Valkey hangs, refuse", stores.gone("refuse", hangs=True), engine=True),
    Fault("Valkey hangs, local", stores.gone("local", hangs=True), engine=True),
    Fault("Kafka killed, durability second", brokers.killed("second"), engine=True),
    Fault("Kafka killed, durability event", brokers.killed("event"), engine=True),
)


async def row(fault: Fault, folder: Path, size: Size) -> Row:
    """What became of the calls under this fault."""
    folder.mkdir(parents=True, exist_ok=True)
    made = await fault.story(folder, size)
    made.fault = fault.name
    return made


_COLUMNS = ("answered", "refused", "failed", "unknown")


def heading() -> str:
    """The table's first two lines, as Markdown."""
    return (
        f"| fault | calls | {' | '.join(_COLUMNS)} | lines | backend | promises | |\n"
        f"|---|{'---:|' * (len(_COLUMNS) + 3)}---|---|"
    )


def shown(made: Row) -> str:
    """A row as Markdown."""
    v = made.verdict
    numbers = (v.calls, *(v.seen[c] for c in _COLUMNS), v.logged, v.reached)
    kept = "; ".join(v.broken) or "kept"
    return f"| {made.fault} | {' | '.join(map(str, numbers))} | {kept} | {'; '.join(made.notes)} |"

"""What a fault is, how much load it is under, and what became of the calls."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.judge import Verdict
from tests.faults.load import Seen


@dataclass(frozen=True)
class Size:
    """How much load."""

    callers: int = 16
    calls: int = 150
    """Calls of each phase: before the fault, during it, after it."""
    rounds: int = 1
    """How often a fault that can be repeated is."""
    swaps: int = 50
    memory_calls: int = 3_000


@dataclass
class Row:
    """One row of the table."""

    fault: str
    verdict: Verdict
    notes: list[str] = field(default_factory=list)

    def expect(self, holds: bool, text: str) -> None:
        """Counts as a broken promise where it does not hold."""
        if not holds:
            self.verdict.broken.append(text)


Story = Callable[[Path, Size], Awaitable[Row]]
"""Brings a fault about under load, in a folder of its own."""


@dataclass(frozen=True)
class Fault:
    """A fault and how it is brought about."""

    name: str
    story: Story
    engine: bool = False
    """Whether it needs a real engine."""


def milliseconds(seen: Sequence[Seen], share: float = 0.5) -> float:
    """The time that this share of the calls did not exceed."""
    took = sorted(s.took for s in seen)
    return 1000 * took[min(int(len(took) * share), len(took) - 1)] if took else 0.0


def times(seen: Sequence[Seen]) -> str:
    """Half of the calls, and the longest, in words."""
    return f"half within {milliseconds(seen):.0f} ms, the longest {milliseconds(seen, 1):.0f} ms"

"""Ahead: a child gets ready for the work while its parent finds out whether there is any, and then does it instead.

Importing the compiler takes as long as looking at twelve thousand files; side by side, nobody waits for it.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from stoa_compiler.records import record


@record
class Ahead:
    """The two ends: in the child, `child` is 0."""

    child: int
    descriptor: int

    @property
    def is_here(self) -> bool:
        """Whether this process is the one that is ready."""
        return self.child == 0

    def awaited(self) -> bytes:
        """In the child: what the parent hands over; ends the process where it needs nobody, or is gone."""
        with open(self.descriptor, "rb") as stream:  # noqa: PTH123
            told = stream.read()
        if not told:
            os._exit(0)
        return told[1:]

    def dismiss(self) -> None:
        """In the parent: there is nothing to do."""
        os.close(self.descriptor)
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)

    def hand_over(self, told: bytes) -> NoReturn:
        """In the parent: the child goes on with what it is told, and this process ends as it does."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Both get it from a terminal: the child answers.
        with open(self.descriptor, "wb") as stream:  # noqa: PTH123
            stream.write(b"=" + told)
        _, status = os.waitpid(self.child, 0)
        code = os.waitstatus_to_exitcode(status)
        sys.exit(code if code >= 0 else 128 - code)


def begun(get_ready: Callable[[], None]) -> Ahead | None:
    """Forks a child that gets ready, and returns in both; None where the system does not end a child with its parent.

    Only for processes without other threads.
    """
    if sys.platform != "linux" or (os.cpu_count() or 1) == 1:
        return None
    parent = os.getpid()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(reading)
        return Ahead(child, writing)
    os.close(writing)
    _end_with(parent)
    get_ready()
    return Ahead(0, reading)


def _end_with(parent: int) -> None:
    """Whoever kills the command kills all of it (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    die_with_parent = 1
    if ctypes.CDLL(None).prctl(die_with_parent, signal.SIGKILL) != 0 or os.getppid() != parent:
        os._exit(1)

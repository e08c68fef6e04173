"""Work beside the process: a forked child does it, and sends back what it found.

A child has everything that its parent had when it was forked, without a copy; only results are sent.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

MANY_DOCUMENTS = 600
"""From so many documents on, a child saves more than it costs."""

T = TypeVar("T")


def beside(work: Callable[[], T], dump: Callable[[T], bytes], load: Callable[[bytes], T]) -> Callable[[], T]:
    """Begins `work` in a child; what is returned waits for its result. What it raises is raised there.

    Only for processes without other threads: a child of one that has some could wait for ever.
    """
    channel = _channel()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, dump, channel, writing)
    os.close(writing)

    def result() -> T:
        try:
            with open(reading, "rb", buffering=0) as stream:  # noqa: PTH123
                kind = stream.read(1)
            os.lseek(channel, 0, os.SEEK_SET)
            with open(channel, "rb", buffering=0) as stream:  # noqa: PTH123
                sent = stream.read() if kind else b""
            if kind == b"=":
                return load(sent)
            if kind == b"!":
                import pickle

                raise pickle.loads(sent)
            raise RuntimeError("a process that worked beside this one was killed; was there too little memory?")
        finally:
            os.waitpid(child, 0)  # Only now: a child that has told all takes a while to give back its memory.

    return result


def _channel() -> int:
    """A file without a name, which holds a result until it is asked for: nobody waits for a reader, as at a pipe."""
    if sys.platform == "linux":
        return os.memfd_create("stoa")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _work(work: Callable[[], Any], dump: Callable[[Any], bytes], channel: int, writing: int) -> NoReturn:
    """Does the work, leaves its result or what it raised, tells that it is there, and ends the child."""
    try:
        try:
            kind, sent = b"=", dump(work())
        except BaseException as error:
            import pickle

            kind, sent = b"!", pickle.dumps(error)
        with open(channel, "wb", buffering=0) as stream:
            left = memoryview(sent)
            while left:
                left = left[stream.write(left) :]
        os.write(writing, kind)
    finally:
        os._exit(0)

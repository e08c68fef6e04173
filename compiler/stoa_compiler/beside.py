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
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, dump, writing)
    os.close(writing)

    def result() -> T:
        with open(reading, "rb") as stream:  # noqa: PTH123
            sent = stream.read()
        os.waitpid(child, 0)
        if sent[:1] == b"=":
            return load(sent[1:])
        if sent[:1] == b"!":
            import pickle

            raise pickle.loads(sent[1:])
        raise RuntimeError("a process that worked beside this one was killed; was there too little memory?")

    return result


def _work(work: Callable[[], Any], dump: Callable[[Any], bytes], writing: int) -> NoReturn:
    """Does the work, sends its result or what it raised, and ends the child."""
    try:
        try:
            sent = b"=" + dump(work())
        except BaseException as error:
            import pickle

            sent = b"!" + pickle.dumps(error)
        with open(writing, "wb") as stream:
            stream.write(sent)
    finally:
        os._exit(0)

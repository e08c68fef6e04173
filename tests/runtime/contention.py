"""One of several processes that try to use up the same approval; it imports little, since each starts anew."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stoa_runtime.approvals.records import Approval, State, Store

TRIES = 20


def contend(opened: Callable[[Any], Store], where: Any, given: Approval, by_id: bool, barrier: Any, won: Any) -> None:
    """Puts into `won` how many of `TRIES` tries at once used up the approval that was given."""
    fresh = replace(given, state=State.PENDING, decision=None)

    async def tries() -> int:
        store = opened(where)
        barrier.wait()
        used = await asyncio.gather(
            *(
                store.use(given.id, given.binding, given.created + 1)
                if by_id
                else store.enter(replace(fresh, id=f"{os.getpid()}-{n}"), given.created + 1, 10**6)
                for n in range(TRIES)
            )
        )
        await store.close()
        return sum(entry is not None and entry.taken for entry in used)

    won.put(asyncio.run(tries()))

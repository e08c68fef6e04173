"""Approvals in a Valkey or Redis, which several machines share. Each step is one run of one script.

A lost answer is never asked for again, since the step may have been made: the call is refused, and at worst an
approval is spent on nothing. All keys have one hash tag, so a cluster keeps them in one slot.
"""

import hashlib
from dataclasses import asdict, replace
from importlib import resources
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from stoa_runtime.approvals.records import (
    KEPT_MS,
    UNDECIDED_KEPT_MS,
    Approval,
    ApprovalsUnavailable,
    Binding,
    Decision,
    Entry,
    Requester,
    State,
    TooManyPending,
)

SECONDS = 1.0
"""How long a step may take."""
PREFIX = "{stoa:approvals}:"
SCANNED = 1_000
"""Newest approvals that a list looks at."""

_SCRIPT = resources.files(__package__).joinpath("steps.lua").read_text(encoding="utf-8")


class ValkeyStore:
    """A `Store` in a server. `ValueError` where `url` is not well formed."""

    def __init__(self, url: str) -> None:
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=30,
            decode_responses=True,
            protocol=2,
        )
        self._script = self._client.register_script(_SCRIPT)

    async def enter(self, new: Approval, now: int, cap: int) -> Entry:
        """See `Store`."""
        keys = [
            _key(new.id),
            f"{PREFIX}call:{_call(new.binding)}",
            _requested(new.binding.requester.subject, new.binding.requester.tenant),
            f"{PREFIX}tenant:{new.tenant}",
            f"{PREFIX}all",
        ]
        arguments = [_call(new.binding), new.id, _data(new), new.expires, new.window + UNDECIDED_KEPT_MS]
        listed = 2 * new.window + KEPT_MS
        identity, taken, asked = await self._step("enter", now, keys, [*arguments, cap, _key(""), listed])
        if not identity:
            raise TooManyPending
        if asked:
            return Entry(new, taken=False, asked=True)
        return Entry(await self._known(identity), taken=bool(taken), asked=False)

    async def use(self, identity: str, binding: Binding, now: int) -> Entry | None:
        """See `Store`."""
        taken = await self._step("use", now, [_key(identity)], [_call(binding)])
        return None if taken < 0 else Entry(await self._known(identity), taken=bool(taken), asked=False)

    async def decide(self, identity: str, state: State, decision: Decision, now: int) -> tuple[Approval, bool] | None:
        """See `Store`."""
        found = await self.find(identity)
        if found is None:
            return None
        arguments = [state.value, orjson.dumps(asdict(decision)), now + found.window, found.window + KEPT_MS]
        counts = await self._step("decide", now, [_key(identity)], arguments)
        return None if counts < 0 else (await self._known(identity), bool(counts))

    async def withdraw(self, identity: str, binding: Binding, now: int) -> bool:
        """See `Store`."""
        return bool(await self._step("withdraw", now, [_key(identity)], [_call(binding)]))

    async def find(self, identity: str) -> Approval | None:
        """See `Store`."""
        [found] = await self._read([identity])
        return found

    async def listed(
        self, tenants: frozenset[str] | None, requester: tuple[str, str], waiting: bool, now: int, limit: int
    ) -> list[Approval]:
        """See `Store`."""
        sets = [f"{PREFIX}all"] if tenants is None else [f"{PREFIX}tenant:{name}" for name in sorted(tenants)]
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for key in [*sets, _requested(*requester)]:
                    pipeline.zrevrange(key, 0, SCANNED - 1)
                identities = {identity for found in await pipeline.execute() for identity in found}
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        found = [a for a in await self._read(sorted(identities)) if a is not None]
        if waiting:
            found = [a for a in found if a.standing(now) is State.PENDING]
        return sorted(found, key=lambda a: (-a.created, a.id))[:limit]

    async def close(self) -> None:
        """See `Store`."""
        await self._client.aclose()

    async def _step(self, step: str, now: int, keys: list[str], arguments: list[Any]) -> Any:
        try:
            return await self._script(keys=keys, args=[step, now, *arguments])
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    async def _known(self, identity: str) -> Approval:
        found = await self.find(identity)
        if found is None:
            raise ApprovalsUnavailable("an approval vanished while it was used")
        return found

    async def _read(self, identities: list[str]) -> list[Approval | None]:
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for identity in identities:
                    pipeline.hgetall(_key(identity))
                return [_approval(fields) if fields else None for fields in await pipeline.execute()]
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> ApprovalsUnavailable:
    return ApprovalsUnavailable(f"approvals cannot be kept: {type(error).__name__}")


def _key(identity: str) -> str:
    return f"{PREFIX}approval:{identity}"


def _requested(subject: str, tenant: str) -> str:
    """The key of what a person asked for; a digest, since a subject can hold anything."""
    return f"{PREFIX}requester:{hashlib.sha256(orjson.dumps([subject, tenant])).hexdigest()}"


def _call(binding: Binding) -> str:
    return hashlib.sha256(orjson.dumps(asdict(binding), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _data(approval: Approval) -> bytes:
    """What never changes."""
    return orjson.dumps(asdict(replace(approval, decision=None, used=None)))


def _approval(fields: dict[str, str]) -> Approval:
    data = orjson.loads(fields["data"])
    binding = data["binding"]
    decision = None
    if "decision" in fields:
        made = orjson.loads(fields["decision"])
        decision = Decision(made["subject"], tuple(made["roles"]), made["reason"], made["at"])
    return Approval(
        **{
            **data,
            "binding": Binding(**{**binding, "requester": Requester(**binding["requester"])}),
            "state": State(fields["state"]),
            "expires": int(fields["expires"]),
            "decision": decision,
            "used": int(fields["used"]) if "used" in fields else None,
        }
    )

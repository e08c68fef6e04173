"""Approvals in one SQLite file, which all processes of a machine share.

Each step is one transaction that takes the write lock at its beginning, so that of many processes that try to use
an approval exactly one does. It runs on a thread of its own: a lock that another process holds, or a slow disk,
stops no other call. `synchronous=FULL`: an approval that was used stays used after a loss of power.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import orjson

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

BUSY_MS = 2_000
"""How long a step waits for its turn and for another process's lock."""

_T = TypeVar("_T")

_SCHEMA = """
create table if not exists approvals (
    id text primary key, tenant text not null, name text not null, title text not null, side_effects text not null,
    subject text not null, requester_tenant text not null, client text not null,
    tool text not null, digest text not null, bundle text not null,
    arguments text not null, created integer not null, expiry integer not null, state text not null,
    expires integer not null, decided_by text, decided_roles text, reason text, decided integer, used integer
) strict, without rowid;
create index if not exists approvals_calls on approvals (subject, requester_tenant, tool, digest);
create index if not exists approvals_tenants on approvals (tenant, created);
create index if not exists approvals_ends on approvals (expires);
"""
_COLUMNS = (
    "id, tenant, name, title, side_effects, subject, requester_tenant, client, tool, digest, bundle, arguments,"
    " created, expiry, state, expires, decided_by, decided_roles, reason, decided, used"
)
_SELECT = f"select {_COLUMNS} from approvals "
_UNDECIDED = "('pending', 'withdrawn')"


class SqliteStore:
    """A `Store` in a file. It must be opened in the process that uses it, after any fork."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="approvals")
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(
                path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            _persistently(lambda: self._db.execute("pragma journal_mode = wal"))
            self._db.execute("pragma synchronous = full")
            self._file = _file(path)
            self._db.execute("pragma trusted_schema = off")
            _persistently(lambda: self._db.executescript(_SCHEMA))
        except (OSError, sqlite3.Error) as error:
            raise ApprovalsUnavailable(f"{path} cannot be used to keep approvals: {error}") from error

    async def enter(self, new: Approval, now: int, cap: int) -> Entry:
        """See `Store`."""

        def step() -> Entry:
            self._forget(now)
            found = self._blocking(new.binding, now)
            if found is not None:
                return self._taken(found, now)
            [undecided] = self._db.execute(
                f"select count(*) from approvals where subject = ? and requester_tenant = ? and expires > ?"
                f" and state in {_UNDECIDED}",
                (new.binding.requester.subject, new.binding.requester.tenant, now),
            ).fetchone()
            if undecided >= cap:
                raise TooManyPending
            self._write(new)
            return Entry(new, taken=False, asked=True)

        return await self._run(step)

    async def use(self, identity: str, binding: Binding, now: int) -> Entry | None:
        """See `Store`."""

        def step() -> Entry | None:
            found = self._one(identity)
            return self._taken(found, now) if found is not None and found.binding == binding else None

        return await self._run(step)

    async def decide(self, identity: str, state: State, decision: Decision, now: int) -> tuple[Approval, bool] | None:
        """See `Store`."""

        def step() -> tuple[Approval, bool] | None:
            found = self._one(identity)
            if found is None or found.standing(now) is not State.PENDING:
                return None if found is None else (found, False)
            decided = replace(found, state=state, decision=decision, expires=now + found.window)
            self._write(decided)
            return decided, True

        return await self._run(step)

    async def withdraw(self, identity: str, binding: Binding, now: int) -> bool:
        """See `Store`."""

        def step() -> bool:
            found = self._one(identity)
            if found is None or found.binding != binding:
                return False
            if found.standing(now) not in (State.PENDING, State.APPROVED):
                return False
            self._write(replace(found, state=State.WITHDRAWN))
            return True

        return await self._run(step)

    async def find(self, identity: str) -> Approval | None:
        """See `Store`."""
        return await self._run(lambda: self._one(identity))

    async def listed(
        self, tenants: frozenset[str] | None, requester: tuple[str, str], waiting: bool, now: int, limit: int
    ) -> list[Approval]:
        """See `Store`."""
        names = sorted(tenants or ())
        reach = "true" if tenants is None else f"tenant in ({', '.join('?' * len(names))})"
        where = f"where ({reach} or (subject = ? and requester_tenant = ?))"
        values: list[Any] = [*names, *requester]
        if waiting:
            where += " and state = 'pending' and expires > ?"
            values.append(now)
        statement = f"{_SELECT}{where} order by created desc, id limit ?"
        return await self._run(lambda: [_read(row) for row in self._db.execute(statement, [*values, limit])])

    async def close(self) -> None:
        """See `Store`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown(wait=False)

    async def _run(self, step: Callable[[], _T]) -> _T:
        """One step as one transaction, on the store's thread."""
        until = time.monotonic() + BUSY_MS / 1000

        def transaction() -> _T:
            left = until - time.monotonic()
            if left <= 0:  # Those before it waited for the lock in vain. To wait as long again helps nobody.
                raise ApprovalsUnavailable("approvals cannot be kept: others wait for their file already")
            if _file(self._path) != self._file:
                # What is written now, no other process would see, and none that starts later.
                raise ApprovalsUnavailable(f"approvals cannot be kept: {self._path} was removed or replaced")
            try:
                self._db.execute(f"pragma busy_timeout = {int(left * 1000) + 1}")
                self._db.execute("begin immediate")
                try:
                    result = step()
                    self._db.execute("commit")
                except BaseException:
                    self._undo()
                    raise
            except sqlite3.Error as error:
                raise ApprovalsUnavailable(f"approvals cannot be kept: {error}") from error
            return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    def _undo(self) -> None:
        """Ends a transaction that failed; some failures, a full disk among them, have ended it already."""
        if self._db.in_transaction:
            self._db.execute("rollback")

    def _forget(self, now: int) -> None:
        """Removes what expired long ago."""
        self._db.execute(
            f"delete from approvals where expires < ? or (expires < ? and state in {_UNDECIDED})",
            (now - KEPT_MS, now - UNDECIDED_KEPT_MS),
        )

    def _one(self, identity: str) -> Approval | None:
        row = self._db.execute(_SELECT + "where id = ?", (identity,)).fetchone()
        return None if row is None else _read(row)

    def _blocking(self, binding: Binding, now: int) -> Approval | None:
        """The newest approval that the call of `binding` gets."""
        who = binding.requester
        rows = self._db.execute(
            _SELECT + "where subject = ? and requester_tenant = ? and client = ? and tool = ? and digest = ?"
            " and bundle = ? and expires > ? order by created desc, id",
            (who.subject, who.tenant, who.client, binding.tool, binding.digest, binding.bundle, now),
        )
        return next((found for found in map(_read, rows) if found.blocks(now)), None)

    def _taken(self, found: Approval, now: int) -> Entry:
        """`found`, used up where it can be."""
        if found.standing(now) is not State.APPROVED:
            return Entry(found, taken=False, asked=False)
        used = replace(found, state=State.USED, used=now)
        self._write(used)
        return Entry(used, taken=True, asked=False)

    def _write(self, approval: Approval) -> None:
        values = _row(approval)
        self._db.execute(
            f"insert or replace into approvals ({_COLUMNS}) values ({', '.join('?' * len(values))})", values
        )


def _file(path: Path) -> tuple[int, int] | None:
    """Which file is there; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _persistently(step: Callable[[], object]) -> None:
    """`step`, again while another process holds the lock: changing the journal does not wait by itself."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            step()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _row(approval: Approval) -> tuple[Any, ...]:
    who, decision = approval.binding.requester, approval.decision
    return (
        approval.id,
        approval.tenant,
        approval.name,
        approval.title,
        approval.side_effects,
        who.subject,
        who.tenant,
        who.client,
        approval.binding.tool,
        approval.binding.digest,
        approval.binding.bundle,
        approval.arguments,
        approval.created,
        approval.window,
        approval.state.value,
        approval.expires,
        None if decision is None else decision.subject,
        None if decision is None else orjson.dumps(decision.roles).decode(),
        None if decision is None else decision.reason,
        None if decision is None else decision.at,
        approval.used,
    )


def _read(row: tuple[Any, ...]) -> Approval:
    decision = None if row[16] is None else Decision(row[16], tuple(orjson.loads(row[17])), row[18], row[19])
    return Approval(
        id=row[0],
        binding=Binding(Requester(row[5], row[6], row[7]), row[8], row[9], row[10]),
        tenant=row[1],
        name=row[2],
        title=row[3],
        side_effects=row[4],
        arguments=row[11],
        created=row[12],
        window=row[13],
        state=State(row[14]),
        expires=row[15],
        decision=decision,
        used=row[20],
    )

"""Lines that each carry the hash of the one before, so that none can be changed or taken out unseen."""

import secrets
import time
from collections.abc import Mapping
from typing import Any

import orjson

from stoa_runtime.audit.events import Event, recorded
from stoa_schemas.audit import DECISION, GENESIS, MARK, SCHEMA_URL, SOURCE, Place, fingerprint, seal


class Chain:
    """The writer's end of a chain. It is used under its owner's lock."""

    def __init__(self, source: str, key: bytes | None, after: Place | None = None) -> None:
        self.name = after.chain if after else secrets.token_hex(16)
        self.sequence = after.sequence if after else 0
        self.hash = after.hash if after else GENESIS
        self.key = key
        if not SOURCE.fullmatch(source):
            raise ValueError(f"{source!r} is no source of events")
        self._source = f"{source}/{self.name}"
        self._second = 0
        self._clock = ""

    @property
    def head(self) -> str:
        """The last line's `<sequence>:<hash> <chain>`."""
        return f"{self.sequence}:{self.hash} {self.name}"

    def decision(self, event: Event) -> bytes:
        """The next line, about a decision."""
        line, data = self._envelope(DECISION), recorded(event)
        # A tool that somebody may not see and one that does not exist make lines of nearly one length, in one time.
        if subject := data["tool"] or data["asked"]:
            line["subject"] = subject
        if event.traceparent:
            line["traceparent"] = event.traceparent
        line["data"] = data
        return self._sealed(line)

    def mark(self, action: str, file: str, details: Mapping[str, Any]) -> bytes:
        """The next line, about the log itself."""
        line = self._envelope(MARK)
        line["data"] = {
            "action": action,
            "file": file,
            "algorithm": "sha256" if self.key is None else "hmac-sha256",
            "key": fingerprint(self.key),
            "previous_file": None,
            "head": None,
            "torn": None,
            "late": None,
            "lost": 0,
            **details,
        }
        return self._sealed(line)

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "source": self._source,
            "id": str(self.sequence + 1),
            "previoushash": self.hash,
            "type": kind,
            "dataschema": SCHEMA_URL,
            "datacontenttype": "application/json",
            "time": self._now(),
        }

    def _now(self) -> str:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._clock}.{rest // 1_000_000:03}Z"

    def _sealed(self, line: Mapping[str, Any]) -> bytes:
        body = orjson.dumps(line)[:-1]
        self.hash = seal(body, self.key)
        self.sequence += 1
        return b'%b,"hash":"%b"}\n' % (body, self.hash.encode())

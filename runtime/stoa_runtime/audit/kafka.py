"""A Kafka topic as the audit log: each line is a message, acknowledged by all replicas that are in step.

Lines stay in memory until they are acknowledged. One producer sends them, idempotent, so that the broker keeps their
order within a tenant and drops what a retry sent twice. When the producer gives up a message, it is replaced, and
everything not acknowledged is sent again in order; a reader then drops repeats by `source` and `id`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stoa_runtime.audit.log import Durability, Log
from stoa_runtime.audit.promises import AuditUnavailable

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

log = logging.getLogger("stoa")

QUEUE = 20_000
"""Lines that may wait to be acknowledged."""
SPARE = 2_000
"""How many of those are kept for calls that are under way when no new ones are admitted any more."""
FLUSH_SECONDS = 10.0
"""What the end of the process waits for at most."""
_LATEST = 1.0
_POLL = 0.1
_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """Where messages go."""

    servers: str
    """`host:port`, several with commas."""
    topic: str
    """The topic's name. It must exist, or the brokers must make topics by themselves."""
    options: Mapping[str, str] = field(default_factory=dict)
    """librdkafka's properties: `security.protocol`, `sasl.mechanisms`, `ssl.ca.location`, ..."""


@dataclass(slots=True)
class _Pending:
    line: bytes
    key: str | None
    since: float


class KafkaSink:
    """Sends lines to a topic; a thread of its own hears of acknowledgements and replaces a producer that gave up."""

    def __init__(self, topic: KafkaTopic, *, durability: Durability = "system", queue: int = QUEUE) -> None:
        self._topic = topic
        self._durability = durability
        self._queue = queue
        self._spare = min(SPARE, queue // 10)
        self._pending: dict[int, _Pending] = {}
        """What is not acknowledged, in order."""
        self._last = 0
        self._heard = False
        """Whether the topic ever took a line: before that, nobody knows whether it can."""
        self._gave_up: str | None = None
        self._late: int | None = None
        self._said = False
        self._stopping = False

    def open(self, audit: Log) -> None:
        """Makes a producer and a chain; whether the brokers can be reached shows when they acknowledge."""
        self._log = audit
        try:
            self._producer = self._made()
        except ModuleNotFoundError as missing:
            raise AuditUnavailable(
                f"`{missing.name}` is not installed; `pip install 'stoa-platform[kafka]'` brings it"
            ) from None
        except ValueError as error:
            raise AuditUnavailable(f"Kafka: {error}") from None
        audit.begin(None)
        self._mark("opened", {})
        self._thread = threading.Thread(target=self._listen, name="stoa-audit-kafka", daemon=True)
        self._thread.start()

    def put(self, sequence: int, line: bytes, key: str | None = None) -> bool:
        """Queues the line; its last byte, the line feed, is the file's and is left out."""
        self._pending[sequence] = pending = _Pending(line[:-1], key, time.monotonic())
        self._last = sequence
        if self._gave_up is None:
            self._send(sequence, pending)
        return True

    @property
    def is_full(self) -> bool:
        """Whether the queue has no room at all."""
        return len(self._pending) >= self._queue

    @property
    def works(self) -> bool:
        """Whether there is room for calls to come, and acknowledgements arrive in the time that is promised."""
        if not self._heard or self._gave_up is not None or len(self._pending) >= self._queue - self._spare:
            return False
        return self._durability == "system" or time.monotonic() - self._oldest() <= _LATEST

    @property
    def handed_on(self) -> int:
        """The last line that is in the queue."""
        return self._last

    @property
    def confirms(self) -> bool:
        """Whether an answer waits until its line is acknowledged."""
        return self._durability == "event"

    def hurry(self) -> None:
        """Nothing is held back: the producer sends at once."""

    def close(self) -> None:
        """Sends the last mark, and waits a while for what is not acknowledged."""
        with self._log.lock:
            self._mark("closed", {})
        end = time.monotonic() + FLUSH_SECONDS
        while self._pending and time.monotonic() < end:
            time.sleep(0.02)
        self._stopping = True
        self._thread.join()
        if self._pending:
            log.error("audit: %d lines were not acknowledged by Kafka before the process ended", len(self._pending))
        self._producer.purge()
        self._producer.flush(0)

    def _made(self) -> "Producer":
        from confluent_kafka import KafkaException, Producer

        settings: dict[str, Any] = {
            "client.id": "stoa-audit",
            "linger.ms": 0 if self._durability == "event" else 5,
            "compression.type": "lz4",
            **self._topic.options,
            "bootstrap.servers": self._topic.servers,
            "enable.idempotence": True,
            "acks": "all",
            # The log decides how long lines wait and how many; here they wait as long as it takes.
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": self._queue + 1000,
            "queue.buffering.max.kbytes": 2_097_151,
            "error_cb": self._error,
        }
        try:
            return Producer(settings, logger=log)
        except KafkaException as error:
            raise ValueError(error.args[0].str()) from None

    def _mark(self, action: str, details: Mapping[str, Any]) -> None:
        line = self._log.mark(action, f"kafka:{self._topic.topic}", details)
        self.put(self._log.chain.sequence, line)

    def _send(self, sequence: int, pending: _Pending) -> None:
        from confluent_kafka import KafkaException

        try:
            self._producer.produce(
                self._topic.topic,
                value=pending.line,
                key=pending.key,
                headers=_HEADERS,
                on_delivery=self._delivered(sequence, self._producer),
            )
        except (BufferError, KafkaException) as error:
            self._give_up(str(error), sequence)

    def _delivered(self, sequence: int, producer: "Producer") -> Callable[["KafkaError | None", object], None]:
        def heard(error: "KafkaError | None", _message: object) -> None:
            with self._log.lock:
                if error is None:
                    self._acknowledged(sequence)
                elif producer is self._producer:
                    self._give_up(error.str(), sequence)

        return heard

    def _acknowledged(self, sequence: int) -> None:
        self._pending.pop(sequence, None)
        self._heard = True
        self._log.promises.keep(next(iter(self._pending), self._last + 1) - 1)

    def _give_up(self, why: str, sequence: int) -> None:
        if self._gave_up is None:
            log.error("audit: Kafka does not take a line (%s); nothing is called until it does", why)
        self._gave_up = why
        self._late = min(sequence, self._late or sequence)

    def _error(self, error: "KafkaError") -> None:
        if error.fatal():
            with self._log.lock:
                self._give_up(error.str(), next(iter(self._pending), self._last))

    def _oldest(self) -> float:
        """When the first line that is not acknowledged came."""
        with self._log.lock:
            return next((pending.since for pending in self._pending.values()), time.monotonic())

    def _listen(self) -> None:
        while not self._stopping:
            self._producer.poll(_POLL)
            self._say()
            if self._gave_up is not None:
                self._start_again()

    def _say(self) -> None:
        """Tells the operator once, and the log afterwards, that acknowledgements are late or there is no room."""
        if self.works:
            if self._said:
                log.warning("audit: Kafka takes lines again")
                self._said = False
                with self._log.lock:
                    if self._late is not None:
                        late, self._late = self._late, None
                        self._mark("recovered", {"late": late})
        elif not self._said and (self._heard or time.monotonic() - self._oldest() > _LATEST):
            self._said = True
            log.error("audit: Kafka does not acknowledge; nothing is called until it does")
            with self._log.lock:
                if self._heard and self._late is None:
                    self._late = next(iter(self._pending), None)

    def _start_again(self) -> None:
        """A new producer, to which everything not acknowledged is given again, in order."""
        time.sleep(_POLL * 5)
        with self._log.lock:
            old, self._producer = self._producer, self._made()
            self._gave_up = None
            for sequence, pending in list(self._pending.items()):
                if self._gave_up is None:
                    self._send(sequence, pending)
        old.purge()
        old.flush(0)


__all__ = ["KafkaSink", "KafkaTopic"]

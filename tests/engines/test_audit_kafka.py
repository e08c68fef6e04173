"""The audit log on a real Kafka: in order, and nothing that was acknowledged is lost when the broker is killed."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.auditlog import verify
from stoa_runtime.audit import Audit, AuditUnavailable, Event, KafkaTopic, open_audit
from stoa_runtime.audit.kafka import KafkaSink
from stoa_schemas.audit import DECISION
from tests.engines.kafka import Kafka, running

confluent_kafka = pytest.importorskip("confluent_kafka", reason="the extra `kafka` is not installed")

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with running(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


def topic(kafka: Kafka, name: str) -> KafkaTopic:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka.servers})
    for made in admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)]).values():
        made.result(60)
    return KafkaTopic(kafka.servers, name)


def messages(where: KafkaTopic) -> list[Any]:
    """Every message of the topic, by partition and offset."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": where.servers, "group.id": "reader", "enable.auto.commit": False}
    )
    parts = [confluent_kafka.TopicPartition(where.topic, number, 0) for number in range(3)]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=30)[1] for p in parts}
    consumer.assign(parts)
    found: list[Any] = []
    while len(found) < sum(ends.values()):
        message = consumer.poll(30)
        assert message is not None, f"{len(found)} of {sum(ends.values())} messages came"
        assert message.error() is None
        found.append(message)
    consumer.close()
    return found


def event(number: int, tenant: str) -> Event:
    return Event("allowed", "granted", f"{number:032x}", "sha256:" + "b" * 64, "parzival", tenant)


async def ready(log: Audit) -> None:
    end = time.monotonic() + 60
    while not log.works:
        assert time.monotonic() < end, "the log does not work again"
        await asyncio.sleep(0.05)


def test_events_arrive_in_order_and_as_one_chain(kafka: Kafka, tmp_path: Path) -> None:
    where = topic(kafka, "order")

    async def main() -> None:
        log = open_audit(tmp_path / "unused.jsonl", kafka=where, source="/stoa/oasis/dev")
        await ready(log)
        for number in range(3000):
            log.write(event(number, ("ioi", "greg", "aech")[number % 3]))
            await log.settled()
        await log.aclose()

    asyncio.run(main())
    found = messages(where)
    for tenant in ("ioi", "greg", "aech"):
        mine = [m for m in found if m.key() == tenant.encode()]
        assert len({m.partition() for m in mine}) == 1
        assert len(mine) == 1000
        traces = [json.loads(m.value())["data"]["trace_id"] for m in sorted(mine, key=lambda m: m.offset())]
        assert traces == sorted(traces)
    assert ("content-type", b"application/cloudevents+json; charset=UTF-8") in found[0].headers()
    lines = sorted((m.value() for m in found), key=lambda value: int(json.loads(value)["id"]))
    saved = tmp_path / "saved.jsonl"
    saved.write_bytes(b"".join(line + b"\n" for line in lines))
    result = verify([saved])
    assert result.findings == []
    assert result.lines == 3002
    assert not (tmp_path / "unused.jsonl").exists()


def test_a_killed_broker_loses_nothing_that_was_acknowledged(kafka: Kafka, tmp_path: Path) -> None:
    where = topic(kafka, "killed")
    acknowledged: list[int] = []
    withheld: list[int] = []

    async def main() -> None:
        log = open_audit(tmp_path / "unused.jsonl", kafka=where, durability="event", wait_seconds=1.5)
        await ready(log)
        number, refused = 0, 0

        async def call() -> None:
            nonlocal number, refused
            try:
                await log.admitted()
            except AuditUnavailable:
                refused += 1
                await asyncio.sleep(0.05)
                return
            number, mine = number + 1, number
            log.write(event(mine, "ioi"))
            try:
                await log.settled()
            except AuditUnavailable:
                withheld.append(mine)
            else:
                acknowledged.append(mine)

        async def calls(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await call()

        going = [asyncio.create_task(calls(6.0)) for _ in range(8)]
        await asyncio.sleep(1.5)
        kafka.kill()
        await asyncio.gather(*going)
        assert refused > 0, "calls went on to backends while Kafka was dead"
        assert not log.works
        before = len(acknowledged)
        await asyncio.to_thread(kafka.start)
        await ready(log)
        await calls(1.0)
        assert len(acknowledged) > before
        await log.aclose()

    asyncio.run(main())
    assert acknowledged
    lines = {(e["source"], int(e["id"])): e for e in (json.loads(m.value()) for m in messages(where))}
    ordered = [lines[key] for key in sorted(lines)]
    numbers = [int(e["data"]["trace_id"], 16) for e in ordered if e["type"] == DECISION]
    assert set(acknowledged) <= set(numbers)
    assert set(withheld) <= set(numbers), "what a backend may have done is on record too"
    assert numbers == sorted(numbers)
    assert "recovered" in [e["data"].get("action") for e in ordered]
    assert [int(e["id"]) for e in ordered] == list(range(1, len(ordered) + 1))


def test_a_full_queue_admits_nothing_more(kafka: Kafka) -> None:
    where = topic(kafka, "full")

    async def main() -> int:
        log = Audit(KafkaSink(where, queue=200), when_full="refuse")
        await ready(log)
        kafka.kill()
        taken = 0
        while log.works:
            log.write(event(taken, "ioi"))
            taken += 1
        assert 150 <= taken <= 200
        with pytest.raises(AuditUnavailable):
            await log.admitted()
        for _ in range(19):  # Calls that were under way still have room.
            log.write(event(taken, "ioi"))
            taken += 1
        refused = 0
        while not refused:
            try:
                log.write(event(taken, "ioi"))
                taken += 1
            except AuditUnavailable:
                refused += 1
            assert taken <= 201
        await asyncio.to_thread(kafka.start)
        await ready(log)
        await log.aclose()
        return taken

    taken = asyncio.run(main())
    events = [json.loads(m.value()) for m in messages(where)]
    assert sorted(int(e["data"]["trace_id"], 16) for e in events if e["type"] == DECISION) == list(range(taken))
    assert sum(e["data"].get("lost", 0) for e in events) == 1


def test_what_the_broker_does_not_take_is_sent_again_until_it_does(kafka: Kafka) -> None:
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

    where = topic(kafka, "small")
    admin = AdminClient({"bootstrap.servers": kafka.servers})

    def limit(size: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        change = ConfigResource(ConfigResource.Type.TOPIC, where.topic, incremental_configs=[entry])
        for made in admin.incremental_alter_configs([change]).values():
            made.result(30)

    async def main() -> None:
        log = open_audit(Path("unused"), kafka=where, durability="event", wait_seconds=1.0)
        await ready(log)
        limit(100)
        log.write(event(1, "ioi"))
        log.write(event(2, "ioi"))
        with pytest.raises(AuditUnavailable):
            await log.settled()
        assert not log.works
        limit(1_000_000)
        await ready(log)
        log.write(event(3, "ioi"))
        await log.settled(30)
        await log.aclose()

    asyncio.run(main())
    events = {(e["source"], int(e["id"])): e for e in (json.loads(m.value()) for m in messages(where))}
    ordered = [events[key] for key in sorted(events)]
    assert [int(e["data"]["trace_id"], 16) for e in ordered if e["type"] == DECISION] == [1, 2, 3]
    assert "recovered" in [e["data"].get("action") for e in ordered]


def test_a_broker_that_is_not_there_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoa_runtime.audit.kafka.FLUSH_SECONDS", 0.2)
    log = Audit(KafkaSink(KafkaTopic("127.0.0.1:9", "none")))
    assert not log.works
    with pytest.raises(AuditUnavailable):
        asyncio.run(log.admitted())
    log.close()


def test_options_that_the_client_does_not_know_are_refused() -> None:
    with pytest.raises(AuditUnavailable, match=r"no\.such\.option"):
        Audit(KafkaSink(KafkaTopic("127.0.0.1:9", "none", {"no.such.option": "1"})))

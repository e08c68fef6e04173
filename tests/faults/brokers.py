"""The log is a Kafka topic, and its broker is killed and started again."""

import asyncio
import json
import time
from pathlib import Path

from tests.engines.kafka import running
from tests.faults.judge import judge, logged
from tests.faults.load import Load
from tests.faults.rows import Row, Size, Story, times
from tests.faults.stage import staged, until


def killed(durability: str) -> Story:
    """Nothing is called while the broker is away; every line is there in the end."""

    async def story(folder: Path, size: Size) -> Row:
        from tests.engines.test_audit_kafka import messages, topic

        with running(folder) as broker:
            async with staged(folder) as stage:
                where = topic(broker, "audit")
                stage.write(stage.bundle, stage.catalogs(), audit_durability=durability)
                process = stage.serve("--audit-kafka-servers", where.servers, "--audit-kafka-topic", where.topic)
                await process.start()
                load = Load([process.url], [stage.token()], size.callers)
                async with load.running():
                    await load.answers(size.calls)
                    gone = time.monotonic()
                    await asyncio.to_thread(broker.kill)
                    # A line may be late by a second before the log counts as not working.
                    await until(lambda: any(s.outcome == "refused" for s in load.since(gone)), 90)
                    await load.more(size.calls)
                    reached = len(stage.backend.got)
                    await load.more(size.calls)
                    called = len(stage.backend.got) - reached
                    unready = await process.ready()
                    back = time.monotonic()
                    await asyncio.to_thread(broker.start)
                    await load.answers(size.calls)
                await stage.stop()
                lines = {(e["source"], int(e["id"])): m for m in messages(where) if (e := json.loads(m.value()))}
                saved = folder / "saved.jsonl"
                saved.write_bytes(b"".join(lines[key].value() + b"\n" for key in sorted(lines)))
                verdict = judge(load.seen, logged([saved]), stage.backend.got)
                withheld = sum("answer is withheld" in s.text for s in load.seen)
                during = [s for s in load.seen if gone < s.began < back]
                row = Row("", verdict, [f"{withheld} answers withheld", f"calls while it was away: {times(during)}"])
                row.expect(called == 0, f"{called} calls of the backend while nothing could be recorded")
                row.expect(unready == 503, f"ready while nothing could be recorded ({unready})")
                row.expect(verdict.marks["recovered"] > 0, "the log does not tell of its trouble")
                return row

    return story

"""The lines: CloudEvents that hold the allowed fields and nothing that a caller could forge or hide in them."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_runtime.audit import Audit, AuditUnavailable, Event, FileSink, open_audit
from stoa_runtime.audit.chain import Chain
from stoa_schemas.audit import DECISION, LINE, LINE_LIMIT, SCHEMA_FILE, place, schema

WRITTEN = Path(__file__).parents[3] / "schemas" / SCHEMA_FILE
EVENT = Event(
    decision="allowed",
    rule="granted",
    trace_id="a" * 32,
    bundle="sha256:" + "b" * 64,
    subject="parzival",
    tenant="ioi",
    client="claude",
    tool="ioi:billing:get_invoice",
    arguments="sha256:" + "c" * 64,
    backend_status=200,
    duration_ms=12.3456,
    actors=("agent-7", "orchestrator"),
    approval="apr-1",
    approver="halliday",
    limit="plan",
    protocol="2026-07-28",
    traceparent=f"00-{'a' * 32}-{'d' * 16}-01",
)


def test_the_schema_is_current() -> None:
    assert json.loads(WRITTEN.read_text()) == schema(), f"run `python -m stoa_schemas.audit > schemas/{SCHEMA_FILE}`"


def test_each_line_is_a_cloud_event_of_the_schema(tmp_path: Path) -> None:
    log = open_audit(tmp_path / "audit.jsonl", source="/stoa/oasis/dev")
    log.write(EVENT)
    log.write(Event("refused", "token", "a" * 32, "sha256:" + "b" * 64))
    log.close()
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    judge = jsonschema_rs.validator_for(schema())
    events = [from_event(line) for line in lines]
    for line in lines:
        judge.validate(json.loads(line))
        LINE.validate_json(line)
    opened, allowed, refused, closed = events
    assert len({(e.get_source(), e.get_id()) for e in events}) == 4
    assert [opened.get_data()["action"], closed.get_data()["action"]] == ["opened", "closed"]
    assert allowed.get_type() == DECISION
    assert allowed.get_source().startswith("/stoa/oasis/dev/")
    assert allowed.get_subject() == "ioi:billing:get_invoice"
    assert allowed.get_time() is not None
    assert allowed.get_extension("traceparent") == EVENT.traceparent
    assert allowed.get_data() == {
        "decision": "allowed",
        "rule": "granted",
        "subject": "parzival",
        "tenant": "ioi",
        "client": "claude",
        "actors": ["agent-7", "orchestrator"],
        "tool": "ioi:billing:get_invoice",
        "asked": None,
        "arguments": "sha256:" + "c" * 64,
        "backend_status": 200,
        "answer_deviates": False,
        "approval": "apr-1",
        "approver": "halliday",
        "limit": "plan",
        "protocol": "2026-07-28",
        "duration_ms": 12.346,
        "trace_id": "a" * 32,
        "bundle": "sha256:" + "b" * 64,
    }
    assert refused.get_subject() is None
    assert refused.get_data()["subject"] is None


def from_event(line: bytes) -> Any:
    """The event as the CloudEvents SDK reads it, from a message whose body is the line."""
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=line)
    return from_structured(message, JSONFormat())


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=300), st.text(alphabet=st.characters(), max_size=300))
def test_no_text_of_a_caller_breaks_out_of_its_field(one: str, two: str) -> None:
    chain = Chain("/stoa/audit", None)
    hostile = Event("refused", "tool-unknown", "a" * 32, "s", one, one, one, None, one, actors=(two,) * 20)
    line = chain.decision(hostile)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert len(line) < LINE_LIMIT
    data = orjson.loads(line)["data"]
    assert data["subject"].isprintable()
    if len(one) <= 128:
        assert data["subject"].encode().decode("unicode_escape") == one
    assert (one == two) == (data["subject"] == data["actors"][0]) or max(len(one), len(two)) > 128
    found = place(line[:-1])
    assert found is not None
    assert found.hash == chain.hash


@pytest.mark.parametrize("text", ['x"}\n{"a":1}', "\ud800", "\x1b[31m", "\u2028", "a\\nb", "\x7f"])
def test_known_tricks(text: str) -> None:
    line = Chain("/stoa/audit", None).decision(Event("refused", "r", "a" * 32, "s", asked=text * 100))
    asked = orjson.loads(line)["data"]["asked"]
    assert asked.isascii()
    assert asked.isprintable()
    cut = len(text) * 100 > 128
    assert asked.endswith(f"...({len(text) * 100} characters)") == cut


def test_nobody_waits_for_a_log_that_does_not_work_unless_it_waits_when_it_is_full(tmp_path: Path) -> None:
    """A broker that is away: it acknowledges nothing, and says so."""

    class Away(FileSink):
        confirms = True
        works = False

    async def story(audit: Audit) -> str:
        with suppress(AuditUnavailable):
            audit.write(EVENT)
        try:
            await asyncio.wait_for(audit.settled(), 20)
        except AuditUnavailable:
            return "refused"
        except TimeoutError:
            return "waits"
        return "settled"

    refuses = Audit(Away(tmp_path / "a.jsonl"), wait_seconds=3600)
    waits = Audit(Away(tmp_path / "b.jsonl"), wait_seconds=1.0, when_full="wait")
    assert asyncio.run(story(refuses)) == "refused"
    assert asyncio.run(story(waits)) == "refused"
    assert refuses.behind > 0
    refuses.close()
    waits.close()

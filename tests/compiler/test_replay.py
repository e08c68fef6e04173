"""`stoa replay` as a command: which files it takes, what it says of the chain, and its forms."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli.replay import command
from stoa_compiler.replay.callers import Callers, PeopleUnreadable
from stoa_compiler.replay.limits import peak
from stoa_runtime.audit import Event, open_audit
from stoa_schemas import bundle
from tests.compiler.sources import stoa
from tests.runtime import world

Log = Callable[..., Path]
READS = {"tenant": "ioi", "client": "claude", "tool": "ioi:billing:get", "arguments": "sha256:0"}


@pytest.fixture
def against(tmp_path: Path) -> Path:
    """A bundle in which `parzival` holds a role, `art3mis` none, and `billing` has two tools."""
    tools = [
        world.tool("ioi", "billing", "get", "GET", "/x"),
        world.tool("ioi", "billing", "drop", "DELETE", "/x", side_effects="destructive", approval=True),
    ]
    made = {"ioi": world.catalog("ioi", [world.contract("billing", "http://127.0.0.1:9")], tools)}
    folder = world.write_bundle(tmp_path / "bundle", world.index("http://127.0.0.1:9/jwks", made), made)
    group = {"name": "ops", "realmRoles": ["devops"], "attributes": {"stoa.members": ["declared"]}}
    idle = {"name": "idle", "realmRoles": [], "attributes": {"stoa.members": ["declared"]}}
    realm = {
        "realm": "stoa",
        "groups": [{"name": "ioi", "subGroups": [group, idle]}],
        "users": [
            {"username": "parzival", "groups": ["/ioi", "/ioi/ops"]},
            {"username": "art3mis", "groups": ["/ioi", "/ioi/idle"]},
        ],
        "clients": [],
    }
    data = json.dumps(realm).encode()
    (folder / "keycloak").mkdir()
    (folder / "keycloak" / "stoa-realm.json").write_bytes(data)
    listing = bundle.Bundle.model_validate_json((folder / bundle.BUNDLE_FILE).read_bytes())
    entry = bundle.Artifact(
        path="keycloak/stoa-realm.json", media_type="application/json", sha256=bundle.sha256(data), bytes=len(data)
    )
    whole = listing.model_copy(update={"artifacts": [*listing.artifacts, entry]})
    (folder / bundle.BUNDLE_FILE).write_bytes(whole.encode())
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Writes decisions as the runtime does."""

    def write(*events: Event, name: str = "audit.jsonl") -> Path:
        path = tmp_path / name
        audit = open_audit(path, source="/stoa/demo/dev")
        for event in events:
            audit.write(event)
        audit.close()
        return path

    return write


def replay(*arguments: str) -> Result:
    """The command in this process. An exception that is none of ours is raised, not told."""
    return CliRunner().invoke(command, [*arguments], catch_exceptions=False)


def event(decision: Any = "allowed", rule: str = "granted", **more: Any) -> Event:
    given: dict[str, Any] = {"subject": "parzival", **READS, **more}
    return Event(decision, rule, "a" * 32, "sha256:" + "b" * 64, **given)


def replayed(against: Path, *arguments: str | Path) -> dict[str, Any]:
    done = replay(*map(str, arguments), "--against", str(against), "--format", "json")
    assert done.exit_code == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def changes(facts: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    return [(g["change"], g["who"], g["code"], g["calls"]) for g in facts["groups"]]


def test_every_kind_of_change(against: Path, log: Log) -> None:
    drop = {"tool": "ioi:billing:drop"}
    path = log(
        event(),
        event(subject="art3mis"),
        event(subject="art3mis"),
        event(subject="9f6d"),
        event(tool="ioi:billing:gone"),
        event(tenant="greg", tool="greg:oasis:get"),
        event(client="ioi.shop"),
        event(**drop),
        event(**drop, approver="halliday", approval="1"),
        event(approver="halliday", approval="2"),
        event("refused", "tool-not-visible", asked="ioi_billing_get"),
        event("refused", "tool-unknown", tool=None, asked="ioi_billing_drop"),
        event("refused", "approval-demanded"),
        event("refused", "limit", limit="rate-tool"),
        event("refused", "arguments"),
        event("refused", "audit-unavailable"),
        event("refused", "limit", tool=None, arguments=None, limit="rate-tenant"),
        event(tool=None, arguments=None, asked="GET /api/v1/bundle"),
        event("refused", "token", subject=None, tenant=None, client=None, tool=None, arguments=None),
    )
    facts = replayed(against, path)
    assert changes(facts) == [
        ("refused", "art3mis", "role", 2),
        ("refused", "parzival", "other-tenant", 1),
        ("refused", "parzival", "client-gone", 1),
        ("refused", "parzival", "tool-gone", 1),
        ("approval", "parzival", "approval", 1),
        ("unapproved", "parzival", "granted", 1),
        ("allowed", "parzival", "granted", 1),  # An approval that is not demanded any more,
        ("allowed", "parzival", "granted", 1),  # a limit that leaves room,
        ("allowed", "parzival", "granted", 1),  # and a tool that was not there.
        ("askable", "parzival", "approval", 1),
        ("unjudged", "9f6d", "roles", 1),
        ("unjudged", "parzival", "request", 1),
    ]
    assert facts["log"]["controlPlane"] == facts["log"]["withoutCaller"] == facts["log"]["refusedByArguments"] == 1


def test_rotated_and_packed_files_in_any_order_are_one_log(against: Path, log: Log, tmp_path: Path) -> None:
    whole = log(*[event() for _ in range(30)])
    lines = whole.read_bytes().splitlines(keepends=True)
    first, second = tmp_path / "audit.1.jsonl.gz", tmp_path / "audit.2.jsonl"
    first.write_bytes(gzip.compress(b"".join(lines[:12])))
    second.write_bytes(b"".join(lines[12:]))
    facts = replayed(against, second, first)
    assert (facts["log"]["calls"], facts["counts"]["unchanged"]) == (30, 30)
    # The second file has no opening mark of its own, as a file that was cut by hand has none: so it is said.
    assert facts["log"]["chain"]["verified"]
    assert facts == replayed(against, first, second) | {"log": facts["log"]}


def test_a_topics_messages_count_once_in_any_order(against: Path, log: Log, tmp_path: Path) -> None:
    lines = log(*[event(subject=s) for s in ("parzival", "art3mis") * 4]).read_bytes().splitlines(keepends=True)
    export = tmp_path / "topic.jsonl"
    export.write_bytes(b"".join([*reversed(lines), *lines[2:5]]))
    facts = replayed(against, export)
    assert changes(facts) == [("refused", "art3mis", "role", 4)]
    assert (facts["log"]["repeats"], facts["log"]["chain"]["verified"]) == (3, True)
    assert facts["log"]["chain"]["notes"] == [
        "lines stood in another order or twice; sorted by source and id, they are one chain"
    ]
    wrapped = tmp_path / "wrapped.jsonl"
    wrapped.write_text("".join(json.dumps({"offset": n, "value": x.decode()}) + "\n" for n, x in enumerate(lines)))
    facts = replayed(against, wrapped)
    assert changes(facts) == [("refused", "art3mis", "role", 4)]
    assert not facts["log"]["chain"]["verified"]


def test_a_changed_line_is_told(against: Path, log: Log) -> None:
    path = log(event(), event(), event())
    path.write_bytes(path.read_bytes().replace(b"parzival", b"art3mis_", 1))
    done = replay(str(path), "--against", str(against))
    assert "the log is not as it was written, so nothing here is certain:" in done.stdout
    assert ":2: this line was changed: its bytes do not give the hash that it carries" in done.stdout


def test_what_is_no_event_is_told(against: Path, log: Log, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    far = '{"specversion":"1.0","type":"dev.gostoa.decision.v1","source":"x","id":"1","time":"%s","data":%s}\n'
    data = json.dumps(
        dict.fromkeys(["subject", "tenant", "client", "asked", "arguments", "limit", "decision", "rule", "bundle"], "x")
    )
    full = data[:-1] + ', "tool": null, "approver": null, "duration_ms": %s}'
    times = [("2026-01-01T00:00:00", "1"), ("0001-01-01T00:00:00Z", "1"), ("2026-01-01T00:00:00Z", "1e300")]
    times += [("9999-12-31T23:59:59Z", "-1e9"), ("2026-01-01T00:00:00Z", '"1"'), ("now", "1")]
    odd = [(far % (time, full % took)).encode() for time, took in times]
    odd += [b"[]\n", b'{"specversion":"1.0"}\n', b"{\n", b'{"value":7}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n"]
    path.write_bytes(b"".join(odd) + log(event(subject="art3mis")).read_bytes())
    facts = replayed(against, path)
    assert facts["log"]["unreadable"]["lines"] == len(facts["log"]["unreadable"]["first"]) == len(odd)
    assert changes(facts) == [("refused", "art3mis", "role", 1)]


def test_a_span_of_time(against: Path, log: Log) -> None:
    path = log(event(), event())
    day = json.loads(path.read_bytes().splitlines()[1])["time"][:10]
    assert replayed(against, path, "--since", day)["log"]["calls"] == 2
    facts = replayed(against, path, "--until", f"{day}T00:00:00Z")
    assert (facts["log"]["calls"], facts["log"]["outside"]) == (0, 2)
    wrong = replay(str(path), "--against", str(against), "--since", "last week")
    assert (wrong.exit_code, "`last week` is no time" in wrong.stderr) == (2, True)


def test_calls_before_the_span_use_up_limits(against: Path, tmp_path: Path) -> None:
    """600 a minute: the 601st of a minute is refused though only it is looked at."""
    data = {"decision": "allowed", "rule": "granted", "subject": "parzival", "tenant": "ioi", "client": "claude"}
    data |= {"tool": "ioi:billing:get", "asked": None, "arguments": "x", "approver": None, "limit": None}
    line = {"specversion": "1.0", "type": "dev.gostoa.decision.v1", "source": "/stoa/demo/dev/x"}
    path = tmp_path / "many.jsonl"
    with path.open("w") as log:
        for number in range(1, 602):
            seconds = "30.000" if number == 601 else "10.000"
            whole = {**line, "id": str(number), "time": f"2026-01-01T00:00:{seconds}Z"}
            log.write(json.dumps(whole | {"data": data | {"duration_ms": 0, "bundle": "x"}}) + "\n")
    facts = replayed(against, path, "--since", "2026-01-01T00:00:20Z")
    assert (facts["log"]["calls"], facts["log"]["outside"], changes(facts)) == (1, 600, [])
    with path.open("a") as log:
        for number in range(602, 802):
            whole = {**line, "id": str(number), "time": "2026-01-01T00:00:30.000Z"}
            log.write(json.dumps(whole | {"data": data | {"duration_ms": 0, "bundle": "x"}}) + "\n")
    # 600 at once, then 200 come free in 20 seconds: the last of 201 is one too many.
    facts = replayed(against, path, "--since", "2026-01-01T00:00:20Z")
    assert changes(facts) == [("refused", "parzival", "rate-tool", 1)]
    assert facts["groups"][0]["peak"] == 801


def test_a_list_of_people_ties_ids_to_names(against: Path, log: Log, tmp_path: Path) -> None:
    path = log(event(subject="id-1"), event(subject="id-2"), event(subject="id-3"))
    assert [c[:3] for c in changes(replayed(against, path))] == [("unjudged", f"id-{n}", "roles") for n in (1, 2, 3)]
    people = tmp_path / "people.json"
    named = [{"id": "id-1", "username": "parzival"}, {"id": "id-2", "username": "art3mis"}]
    people.write_text(json.dumps(named))
    # Everybody whom the bundle declares is known by an id now, so a third one holds no role.
    assert [c[:3] for c in changes(replayed(against, path, "--people", people))] == [
        ("refused", "art3mis", "role"),
        ("refused", "id-3", "role"),
    ]
    people.write_text(json.dumps({"users": [*named, {"id": "id-3", "username": "aech", "groups": ["/ioi/ops"]}]}))
    assert [c[:3] for c in changes(replayed(against, path, "--people", people))] == [("refused", "art3mis", "role")]
    for wrong in ("[7]", "{}", "[", '[{"id": 1, "username": "x"}]'):
        people.write_text(wrong)
        done = replay(str(path), "--against", str(against), "--people", str(people))
        assert done.exit_code == 2, wrong


def test_names_of_a_foreign_log_command_no_terminal_and_no_markdown(against: Path, tmp_path: Path) -> None:
    line = {
        "specversion": "1.0", "type": "dev.gostoa.decision.v1", "source": "/stoa/demo/dev/x", "id": "1",
        "time": "2026-01-01T00:00:00.000Z",
        "data": {
            "decision": "allowed", "rule": "granted", "subject": "\x1b[2J|<img src=x>`\n# h\u202e", "tenant": "gone",
            "client": "claude", "tool": None, "asked": "a|b`c", "arguments": "x", "approver": None, "limit": None,
            "duration_ms": 1, "bundle": "\x1b]0;x\x07",
        },
    }  # fmt: skip
    path = tmp_path / "foreign.jsonl"
    path.write_text(json.dumps(line) + "\n")
    for form in ("text", "json", "markdown"):
        done = replay(str(path), "--against", str(against), "--format", form)
        assert done.exit_code == 0, done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout), form
        if form == "markdown":
            (row,) = [x for x in done.stdout.splitlines() if x.startswith("| `")]
            assert len(re.findall(r"(?<!\\)\|", row)) == 6


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        (["missing.jsonl"], 3, "cannot be read"),
        (["broken.gz"], 3, "cannot be unpacked"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(
    against: Path, tmp_path: Path, files: list[str], code: int, words: str
) -> None:
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    done = replay(*(str(tmp_path / f) for f in files), "--against", str(against))
    assert done.exit_code == code
    assert words in done.stderr


def test_a_bundle_that_is_not_whole_is_refused(against: Path, log: Log) -> None:
    (against / "mcp" / "platform.json").write_text("{}")
    done = replay(str(log(event())), "--against", str(against))
    assert done.exit_code == 2
    assert "is not what its digest names" in done.stderr


def test_two_runs_say_the_same_in_every_form(against: Path, log: Log) -> None:
    path = log(*[event(subject=s, tool=t) for s in ("parzival", "art3mis") for t in ("ioi:billing:get", "ioi:x:y")])
    for form in ("text", "json", "markdown"):
        options = (str(path), "--against", str(against), "--format", form)
        assert stoa("replay", *options, PYTHONHASHSEED="7").stdout == replay(*options).stdout, form


def test_the_peak_is_of_the_fullest_window() -> None:
    assert peak([0.0, 1.0, 2.0, 10.0, 10.5, 11.0, 11.9], 2.0) == 4
    assert peak([], 2.0) == 0


def test_two_realms_people_of_one_name_are_two(tmp_path: Path) -> None:
    (tmp_path / "keycloak").mkdir()
    for tenant, role in (("ioi", "devops"), ("greg", "viewer")):
        group = {"name": "g", "realmRoles": [role], "attributes": {"stoa.members": ["declared"]}}
        realm = {
            "groups": [{"name": tenant, "subGroups": [group]}],
            "users": [{"username": "sam", "groups": [f"/{tenant}", f"/{tenant}/g"]}],
        }
        (tmp_path / "keycloak" / f"{tenant}-realm.json").write_text(json.dumps(realm))
    index = world.index("http://127.0.0.1:9/jwks", {})
    callers = Callers(tmp_path, index)
    for tenant, role in (("ioi", "devops"), ("greg", "viewer")):
        found = callers.of("sam", "claude", tenant)
        assert found is not None
        assert (found.tenant, found.roles) == (tenant, {role})
    (tmp_path / "keycloak" / "ioi-realm.json").write_text("{")
    with pytest.raises(PeopleUnreadable):
        Callers(tmp_path, index)

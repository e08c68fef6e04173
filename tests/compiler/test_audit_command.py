"""`stoa audit verify`: every change of a log is found, and named by file and line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.auditlog import verify
from stoa_compiler.cli import main
from stoa_runtime.audit import Event, open_audit
from stoa_schemas.audit import SEAL_LENGTH, place, seal

KEY = b"a key that only the runtime and the auditor have"


def event(number: int) -> Event:
    return Event("allowed", "granted", f"{number:032x}", "sha256:" + "b" * 64, "parzival", "ioi", "claude", "ioi:a:b")


def write(folder: Path, count: int, *, rotate: int = 0, key: bytes | None = None) -> Path:
    path = folder / "audit.jsonl"
    log = open_audit(path, rotate_bytes=rotate, key=key)
    for number in range(count):
        log.write(event(number))
    log.close()
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["audit", "verify", *map(str, arguments)])


def mutations(lines: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Every way to change, take out, put in or swap one line. The end cut off is for the head to find."""
    for at, line in enumerate(lines):
        for byte in (0, 60, len(line) // 2, len(line) - 70, len(line) - 10, len(line) - 2):
            flipped = line[:byte] + bytes([line[byte] ^ 1]) + line[byte + 1 :]
            yield f"byte {byte} of line {at + 1} changed", [*lines[:at], flipped, *lines[at + 1 :]]
        yield f"a byte of line {at + 1} gone", [*lines[:at], line[:100] + line[101:], *lines[at + 1 :]]
        yield f"line {at + 1} empty", [*lines[:at], b"\n", *lines[at + 1 :]]
        yield f"line {at + 1} twice", [*lines[: at + 1], line, *lines[at + 1 :]]
        yield f"line {at + 1} again at the end", [*lines, line]
        yield f"a foreign line before line {at + 1}", [*lines[:at], b'{"decision":"allowed"}\n', *lines[at:]]
        if at + 1 < len(lines):
            yield f"line {at + 1} gone", [*lines[:at], *lines[at + 1 :]]
            yield f"line {at + 1} and the next joined", [*lines[:at], line[:-1] + lines[at + 1], *lines[at + 2 :]]
        for other in range(at + 1, len(lines)):
            swapped = [*lines]
            swapped[at], swapped[other] = lines[other], line
            yield f"lines {at + 1} and {other + 1} swapped", swapped


@pytest.mark.parametrize("key", [None, KEY], ids=["unkeyed", "keyed"])
def test_every_change_of_one_line_is_found(tmp_path: Path, key: bytes | None) -> None:
    path = write(tmp_path, 12, key=key)
    lines = path.read_bytes().splitlines(keepends=True)
    assert verify([path], key).findings == []
    path.with_name("audit.jsonl.head").unlink()  # Without its help.
    missed, count = [], 0
    for what, changed in mutations(lines):
        count += 1
        path.write_bytes(b"".join(changed))
        if not verify([path], key).findings:
            missed.append(what)
    assert missed == []
    assert count > 250


def test_what_was_done_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, 8)
    lines = path.read_bytes().splitlines(keepends=True)

    def said(changed: list[bytes]) -> list[tuple[int, str]]:
        path.write_bytes(b"".join(changed))
        return [(finding.line, finding.message.partition(":")[0]) for finding in verify([path]).findings]

    assert said([*lines[:4], lines[4].replace(b"parzival", b"sorrento"), *lines[5:]]) == [(5, "this line was changed")]
    assert said([*lines[:4], *lines[5:]]) == [(5, "line 5 of the log is missing before this one")]
    assert said([*lines[:3], *lines[6:]]) == [(4, "lines 4 to 6 are missing before this one")]
    assert said([*lines[:4], lines[2], *lines[4:]]) == [(5, "this line repeats line 3")]
    assert said([*lines[:4], lines[5], lines[4], *lines[6:]]) == [
        (5, "this line was moved"),
        (6, "this line was moved"),
    ]
    assert said([*lines[:4], b"allowed\n", *lines[4:]]) == [(5, "this line was put in")]
    body = lines[4].replace(b"parzival", b"sorrento")[: -SEAL_LENGTH - 1]
    sealed = body + b',"hash":"' + seal(body, None).encode() + b'"}\n'
    assert said([*lines[:4], sealed, *lines[5:]]) == [
        (6, "this line does not follow the one before"),
    ]
    assert said(lines[1:]) == [
        (1, "the beginning of the file is missing"),
    ]


def test_the_end_cut_off_is_found_by_the_head(tmp_path: Path) -> None:
    path = write(tmp_path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    last = place(lines[-1][:-1])
    assert last is not None
    head = f"{last.sequence}:{last.hash}"
    assert run(path, "--head", head).exit_code == 0
    path.write_bytes(b"".join(lines[:-2]))
    cut = run(path)
    assert cut.exit_code == 1
    assert "audit.jsonl: error: the end is missing: the log ends with line 5, and had reached line 7" in cut.stderr
    path.with_name("audit.jsonl.head").unlink()
    assert run(path).exit_code == 0
    assert run(path, "--head", head).exit_code == 1
    assert run(path, "--head", f"3:{'0' * 64}").exit_code == 1


def test_a_log_over_several_files_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, 60, rotate=9000)
    files = sorted(tmp_path.glob("audit*.jsonl"))
    assert len(files) > 3
    good = run(*reversed(files))
    assert (good.exit_code, good.stderr) == (0, "")
    assert run(path).exit_code == 0
    assert "the lines before are in another file, moved to audit." in run(path).stderr
    without = [*files[:1], *files[2:]]
    assert "are missing" in run(*without).stderr
    assert run(*without).exit_code == 1


def test_a_key_makes_forging_impossible(tmp_path: Path) -> None:
    path = write(tmp_path, 4, key=KEY)
    right, wrong = tmp_path / "key", tmp_path / "other"
    right.write_bytes(KEY + b"\n")
    wrong.write_bytes(b"another")
    assert run(path, "--key-file", right).exit_code == 0
    for given in ([], ["--key-file", wrong]):
        result = run(path, *given)
        assert result.exit_code == 1
        assert "is sealed with the key" in result.stderr
    lines = path.read_bytes().splitlines(keepends=True)
    body = lines[-1][: -SEAL_LENGTH - 1]
    path.write_bytes(b"".join(lines[:-1]) + body + b',"hash":"' + seal(body, None).encode() + b'"}\n')
    assert run(path, "--key-file", right).exit_code == 1


def test_json_and_exit_codes(tmp_path: Path) -> None:
    path = write(tmp_path, 3)
    good = json.loads(run(path, "--format", "json").stdout)
    assert good["findings"] == []
    assert good["files"][0] | {"chain": "", "hash": ""} == {
        "file": str(path), "chain": "", "lines": 5, "first": 1, "last": 5, "hash": ""
    }  # fmt: skip
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    bad = run(path, "--format", "json")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["findings"] == [
        {"file": str(path), "line": 2, "message": "line 2 of the log is missing before this one"}
    ]
    assert run(path, "--head", "7").exit_code == 2
    assert run().exit_code == 2
    assert run(tmp_path / "none.jsonl").exit_code == 3
    other = tmp_path / "other.jsonl"
    other.write_text('{"a": 1}\n')
    assert "other.jsonl:1: error: this is not a line of an audit log" in run(other).stderr
    assert run(other).exit_code == 1


def test_hostile_files_end(tmp_path: Path) -> None:
    """Numbers beyond counting, a line without an end, and nothing but changed lines: each in linear time."""
    path = write(tmp_path, 2000)
    path.with_name("audit.jsonl.head").unlink()
    lines = path.read_bytes().splitlines(keepends=True)
    body = lines[5][: -SEAL_LENGTH - 1].replace(b'"id":"6"', b'"id":"999999999999999999"')
    far = body + b',"hash":"' + seal(body, None).encode() + b'"}\n'
    path.write_bytes(b"".join([*lines[:5], far, *lines[5:]]))
    [finding] = verify([path]).findings
    assert (finding.line, finding.message.partition(":")[0]) == (6, "this line was put in")
    path.write_bytes(b"".join([*lines, far]))
    [finding] = verify([path]).findings
    assert finding.message == "lines 2003 to 999999999999999998 are missing before this one"
    path.write_bytes(
        b"".join(line if at % 2 else line.replace(b"granted", b"Granted") for at, line in enumerate(lines))
    )
    assert len(verify([path]).findings) == 1000
    path.write_bytes(b"x" * 3_000_000)
    assert [finding.line for finding in verify([path]).findings] == [1]
    path.write_bytes(b"\n" * 50_000)
    assert verify([path]).findings

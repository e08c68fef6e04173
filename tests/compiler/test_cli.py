"""The command line as a person or a pipeline meets it: exit codes, streams, formats, and nothing written on error."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoa_compiler.cli import COMMANDS, main
from stoa_compiler.rules import RULES
from stoa_schemas.bundle import BUNDLE_FILE
from tests.compiler.sources import (
    CONSUMER,
    ORDERS,
    PLAN,
    PLATFORM,
    SUBSCRIPTION,
    TENANT,
    Copy,
    bare_environment,
    command_line,
    copy_of_base,
    stoa,
)


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Exit codes.


def test_a_good_source(source: Copy, tmp_path: Path) -> None:
    checked = stoa("check", cwd=tmp_path)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "9 documents: no errors\n", "")
    compiled = stoa("compile", "--env", "prod", "--out", "out", cwd=tmp_path)
    assert compiled.returncode == 0
    assert re.match(
        r"9 documents, 2 tenants, 3 tools -> \d+ artifacts in \d+ ms\nout: written, sha256:", compiled.stdout
    )
    verified = stoa("verify", "out", cwd=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_warnings_alone_are_no_failure(source: Copy, tmp_path: Path) -> None:
    source.change(ORDERS, "status: published", "status: draft")
    checked = stoa("check", cwd=tmp_path)
    assert checked.returncode == 0
    assert checked.stdout == "9 documents: no errors\n"
    assert "\n1 warning" in checked.stderr


@pytest.mark.parametrize("command", [["check"], ["compile", "--env", "prod", "--out", "out"]])
def test_findings_are_exit_code_1_and_go_to_stderr(source: Copy, tmp_path: Path, command: list[str]) -> None:
    source.change(PLAN, "rate:", "rat:")
    done = stoa(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tenants/acme/plans/basic.yaml:8:3: error[STOA201]: the key `rat` is not known" in done.stderr
    assert "\n1 error" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "nowhere"],
        ["check", "tenants/platform.yaml"],
        ["check", "--format", "xml"],
        ["check", "--jobs", "0"],
        ["compile", "--env", "prod"],
        ["compile", "--out", "out"],
        ["compile", "--env", "staging", "--out", "out"],
        ["compile", "--env", "prod", "--out", "tenants"],
        ["compile", "--env", "prod", "--out", "."],
        ["explain", "STOA999"],
        ["verify", "nowhere"],
        ["nothing"],
        ["--nothing"],
    ],
)
def test_wrong_use_is_exit_code_2_and_changes_nothing(source: Copy, tmp_path: Path, arguments: list[str]) -> None:
    before = bytes_below(tmp_path)
    done = stoa(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert bytes_below(tmp_path) == before


def test_what_fails_outside_is_exit_code_3(source: Copy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = stoa("compile", "--env", "prod", "--out", "file/out", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: `file/out` cannot be written: ")


def test_a_mistake_of_ours_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    copy_of_base(tmp_path)
    broken = (
        "import stoa_compiler.pipeline as p, sys; from stoa_compiler.cli import run\n"
        "p.load = lambda *a, **b: {}['gone']\n"
        "sys.argv = ['stoa', 'check']; run()"
    )

    def process(**variables: str) -> subprocess.CompletedProcess[str]:
        command, environment = [sys.executable, "-c", broken], bare_environment(**variables)
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = process()
    assert done.returncode == 3
    assert done.stderr.startswith("error: stoa failed: KeyError: 'gone'\n")
    assert "Traceback" not in done.stderr
    assert "Traceback" in process(STOA_DEBUG="1").stderr


def test_a_bundle_that_was_touched_is_found(source: Copy, tmp_path: Path) -> None:
    stoa("compile", "--env", "prod", "--out", "out", cwd=tmp_path)
    manifest = tmp_path / "out/mcp/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"harbour", b"harb0ur"))
    (tmp_path / "out/more.json").write_text("{}")
    done = stoa("verify", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: `more.json` is there but not listed",
        "error: `mcp/manifest.json` is not what its digest names",
    ]


# Four mistakes in four files.


def test_four_mistakes_in_four_files_are_four_findings_in_one_run(source: Copy, tmp_path: Path) -> None:
    """Each with its place, the offending text and what to do; and no output touched."""
    assert stoa("compile", "--env", "prod", "--out", "out", cwd=tmp_path).returncode == 0
    before = bytes_below(tmp_path / "out")
    source.change(CONSUMER, "  displayName: Web shop", "  displayNam: Web shop")
    source.change(SUBSCRIPTION, "plan: basic", "plan: bsic")
    source.change(TENANT, "  tier: small\n", "  tier: small\n  tier: large\n")
    source.change(ORDERS, "input: {order_id: AB1234}", "input: {order_id: AB1234")
    done = stoa("compile", "--env", "prod", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert bytes_below(tmp_path / "out") == before
    rest = done.stderr
    for headline, line, advice in FOUR_FINDINGS:
        for words in (headline, f" | {line}\n", advice):
            before_it, found, rest = rest.partition(words)
            assert found, f"{words!r} is missing or out of order"
            assert "error[" not in before_it, before_it
    assert "\n4 errors" in rest
    listed = json.loads(stoa("check", "--format", "json", cwd=tmp_path).stdout)
    assert [(d["file"], d["line"], d["column"], d["text"]) for d in listed["diagnostics"]] == [
        ("tenants/acme/consumers/shop.yaml", 7, 3, "displayNam"),
        ("tenants/acme/contracts/orders.yaml", 45, 18, "{"),
        ("tenants/acme/subscriptions/shop-orders.yaml", 9, 9, "bsic"),
        ("tenants/acme/tenant.yaml", 8, 3, "tier"),
    ]
    assert all(d["help"] for d in listed["diagnostics"])


FOUR_FINDINGS = (
    (
        "tenants/acme/consumers/shop.yaml:7:3: error[STOA201]: the key `displayNam` is not known in `spec`",
        "  displayNam: Web shop",
        "help: Did you mean `displayName`?",
    ),
    (
        "tenants/acme/contracts/orders.yaml:45:18: error[STOA101]: the bracket opened here is not closed",
        "          input: {order_id: AB1234",
        "help: Close the bracket.",
    ),
    (
        "tenants/acme/subscriptions/shop-orders.yaml:9:9: error[STOA301]: the plan `bsic` is not declared",
        "  plan: bsic",
        "help: Did you mean `basic`?",
    ),
    (
        "tenants/acme/tenant.yaml:8:3: error[STOA103]: the key `tier` stands twice, in lines 7 and 8",
        "  tier: large",
        "help: Keep one of them.",
    ),
)
"""Of each finding its headline, the offending line, and what to do."""


# Killed.


def test_a_compile_that_is_killed_leaves_the_old_bundle_whole(source: Copy, tmp_path: Path) -> None:
    """SIGKILL as soon as the new bundle begins to appear beside the old one, and a little later each time."""
    arguments = ("compile", "tenants", "--env", "prod", "--out", "out")
    whole = []
    for name in ("Acme", "Acme Trading"):
        source.change(TENANT, "displayName: Acme", f"displayName: {name}")
        assert stoa(*arguments, cwd=tmp_path).returncode == 0
        whole.append(bytes_below(tmp_path / "out"))
    for attempt in range(4):
        names = ("Acme Trading", "Acme") if attempt % 2 == 0 else ("Acme", "Acme Trading")
        source.change(TENANT, f"displayName: {names[0]}\n", f"displayName: {names[1]}\n")
        process = subprocess.Popen(command_line(*arguments), cwd=tmp_path, env=bare_environment())
        while process.poll() is None and not any(tmp_path.glob(".out.*.new")):
            time.sleep(0.001)
        time.sleep(attempt * 0.002)
        process.kill()
        process.wait()
        assert bytes_below(tmp_path / "out") in whole
        assert stoa("verify", "out", cwd=tmp_path).returncode == 0
    assert stoa(*arguments, cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tenants"]


# Formats.


def test_json_findings(source: Copy, tmp_path: Path) -> None:
    source.change(SUBSCRIPTION, "plan: basic", "plan: bsic").change(PLATFORM, "maxTools: 8", "maxTools: 0")
    done = stoa("check", "--format", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert (found["version"], found["errors"], found["warnings"]) == (1, 2, 0)
    only = found["diagnostics"][1]
    assert only.pop("fingerprint")
    assert only == {
        "code": "STOA206",
        "severity": "error",
        "title": RULES["STOA206"].title,
        "message": "`maxTools` is less than 1",
        "file": "tenants/platform.yaml",
        "line": 44,
        "column": 17,
        "endLine": 44,
        "endColumn": 18,
        "text": "0",
        "notes": [{"message": "`maxTools`: Tools over all contracts."}],
        "why": RULES["STOA206"].why,
        "help": "Write 1 or more.",
    }


def test_gitlab_code_quality(source: Copy, tmp_path: Path) -> None:
    source.change(PLAN, "rate: 10/second", "rate: fast").change(TENANT, "tier: small", "tier: huge")
    done = stoa("check", "--format", "gitlab", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert [(f["check_name"], f["location"], f["severity"]) for f in found] == [
        ("STOA205", {"path": "tenants/acme/plans/basic.yaml", "lines": {"begin": 8}}, "major"),
        ("STOA301", {"path": "tenants/acme/tenant.yaml", "lines": {"begin": 7}}, "major"),
    ]
    assert all(re.fullmatch(r"[0-9a-f]{64}", f["fingerprint"]) for f in found)
    assert len({f["fingerprint"] for f in found}) == 2


@pytest.mark.parametrize(
    ("form", "nothing"),
    [("json", {"version": 1, "errors": 0, "warnings": 0, "diagnostics": []}), ("gitlab", [])],
)
def test_no_findings_are_a_document_too(source: Copy, tmp_path: Path, form: str, nothing: object) -> None:
    done = stoa("check", "--format", form, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, nothing)


def test_compile_says_in_json_what_it_did(source: Copy, tmp_path: Path) -> None:
    first = json.loads(stoa("compile", "--env", "prod", "--out", "out", "--format", "json", cwd=tmp_path).stdout)
    again = json.loads(stoa("compile", "--env", "prod", "--out", "out", "--format", "json", cwd=tmp_path).stdout)
    assert (first["changed"], again["changed"]) == (True, False)
    listing = json.loads((tmp_path / "out" / BUNDLE_FILE).read_bytes())
    for said in (first, again):
        assert (said["documents"], said["tenants"], said["tools"]) == (9, 2, 3)
        assert (said["artifacts"], said["digest"]) == (len(listing["artifacts"]) + 1, listing["digest"])


def test_no_colour_without_a_terminal(source: Copy, tmp_path: Path) -> None:
    source.change(PLAN, "rate:", "rat:")
    assert "\x1b" not in stoa("check", cwd=tmp_path).stderr


def test_a_terminal_that_knows_only_ascii(source: Copy, tmp_path: Path) -> None:
    source.change(TENANT, "displayName: Acme", "displayName: 'Ac\u200bm\u00e9'")
    done = stoa("check", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 1
    assert "STOA111" in done.stderr
    assert stoa("explain", "STOA112", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C").returncode == 0


# Explanations.


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_rule_is_explained(code: str) -> None:
    rule = RULES[code]
    for asked in (code, code.lower()):
        done = CliRunner().invoke(main, ["explain", asked])
        assert done.exit_code == 0
        said = "".join(done.output.split())
        for words in (code, rule.severity, rule.title, rule.why, rule.help):
            assert "".join(words.split()) in said
    assert not rule.title.endswith(".")
    assert rule.why.endswith(".")
    assert rule.help.endswith(".")


def test_a_code_that_is_not_there() -> None:
    done = CliRunner().invoke(main, ["explain", "STOA999"])
    assert done.exit_code == 2
    assert "there is no diagnostic `STOA999`" in done.output


# Start-up.

HEAVY = ("mcp", "kubernetes", "keycloak", "hvac", "jinja2", "jsonschema", "git")


def imported(*arguments: str, cwd: Path) -> set[str]:
    """The modules that a process has imported when the command ends."""
    program = (
        "import sys\nfrom stoa_compiler.cli import main\n"
        "try: main(sys.argv[1:], prog_name='stoa')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('\\n', *sorted(sys.modules), sep='\\n')"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=cwd, env=bare_environment(), capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n"))


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    found = imported("--help", cwd=tmp_path)
    assert "click" in found
    assert not found & {*HEAVY, "pydantic", "yaml", "ruamel", "asyncio", "orjson", "jsonschema_rs", "starlette"}


def test_compile_imports_nothing_of_the_runtime_or_the_engines(source: Copy, tmp_path: Path) -> None:
    found = imported("compile", "--env", "prod", "--out", "out", cwd=tmp_path)
    assert "stoa_compiler.write" in found
    assert not found & {*HEAVY, "stoa_runtime", "starlette", "aiohttp", "asyncio"}


def test_a_check_without_findings_imports_nothing_that_only_others_need(source: Copy, tmp_path: Path) -> None:
    program = (
        "import sys; from stoa_compiler.cli import run\n"
        "sys.argv = ['stoa', 'check']\n"
        "try: run()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sorted(sys.modules), sep='\\n')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=bare_environment(), capture_output=True, text=True, check=True)
    found = set(done.stdout.split("\n"))
    assert {"pydantic", "jsonschema_rs", "stoa_compiler.pipeline"} <= found
    # `socket` and `random` are names there until something of them is used, which imports the first two.
    assert found & {"selectors", "_random", "difflib", "yaml", "ruamel", "stoa_compiler.reports.text"} == set()


def test_a_module_that_is_imported_when_used_is_the_module(tmp_path: Path) -> None:
    program = (
        "import sys, email; from stoa_compiler.cli import _import_when_used\n"
        "_import_when_used('email.utils', 'parsedate_to_datetime')\n"
        "import email.utils\n"
        "from email.utils import parsedate_to_datetime\n"
        "assert 'email._parseaddr' not in sys.modules\n"
        "date = 'Tue, 24 Nov 2026 10:00:00 GMT'\n"
        "hours = [parsedate_to_datetime(date).hour]\n"
        "whole = sys.modules['email.utils']\n"
        "hours += [parsedate_to_datetime(date).hour, whole.parsedate_to_datetime(date).hour]\n"
        "assert hours == [10, 10, 10], hours\n"
        "assert whole is sys.modules['email.utils'] is email.utils, 'loaded twice'\n"
        "from email.utils import formatdate\n"
        "assert formatdate is whole.formatdate and 'email._parseaddr' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=bare_environment(), check=True)


def test_help_lists_every_command() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line[:40])}", done.output, re.MULTILINE)

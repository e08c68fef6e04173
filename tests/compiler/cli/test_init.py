"""`stoa init`: a source that compiles, and a README whose commands do what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from stoa_compiler.cli import main
from stoa_compiler.starter import SCHEMAS
from stoa_schemas import emit

STOA = str(Path(sys.executable).with_name("stoa"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `stoa` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--name", "north", "--tenant", "harbour", "--domain", "port.example"),
        # What YAML would read as something other than a name.
        ("--name", "null", "--tenant", "true"),
        ("--name", "no", "--tenant", "off", "--domain", "1.5"),
        ("--name", "a", "--tenant", "b"),
        ("--name", "a" * 31, "--tenant", "b" * 31, "--domain", "c" * 60 + ".example"),
    ],
)
def test_new_source_is_good(run: Callable[..., Result], tmp_path: Path, options: tuple[str, ...]) -> None:
    made = run("init", "mine", *options)
    assert made.exit_code == 0, made.output
    checked = run("check", "mine")
    assert (checked.exit_code, checked.output) == (0, "3 documents: no errors\n")
    for environment in ("dev", "prod"):
        compiled = run("compile", "mine", "--env", environment, "--out", f"mine/.stoa/{environment}")
        assert compiled.exit_code == 0, compiled.output
    formatted = run("fmt", "mine", "--check")
    assert formatted.exit_code == 0, formatted.output
    assert run("check", "mine").exit_code == 0  # What was compiled is not taken for documents.


def test_names_come_from_the_folder(run: Callable[..., Result], tmp_path: Path) -> None:
    for folder, name in (("My Platform", "my-platform"), ("2026", "stoa"), (".", tmp_path.name.replace("_", "-"))):
        assert run("init", folder).exit_code == 0
        assert yaml.safe_load((tmp_path / folder / "platform.yaml").read_text())["metadata"]["name"] == name
        for left in tmp_path.glob("*"):
            left.rename(tmp_path.parent / f"{tmp_path.name}-{folder}-{left.name}")


def test_only_into_an_empty_folder(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    refused = run("init", "full")
    assert (refused.exit_code, refused.output) == (2, "error: `full` is not empty\n")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["note.txt"]
    (tmp_path / "fresh" / ".git").mkdir(parents=True)
    assert run("init", "fresh").exit_code == 0
    assert run("init", "fresh").exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--tenant", "Acme"),
        ("--tenant", "acme\n"),
        ("--tenant", "../up"),
        ("--tenant", "master"),
        ("--name", "a: b"),
        ("--name", '"x'),
        ("--domain", "localhost"),
        ("--domain", "acme.example\nkind: Tenant"),
        ("--domain", "-a.example"),
        ("--domain", "${x}.example"),
    ],
)
def test_refuses_what_is_no_name(run: Callable[..., Result], tmp_path: Path, options: tuple[str, ...]) -> None:
    refused = run("init", "mine", *options)
    assert refused.exit_code == 2
    assert refused.output.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_editors_find_the_schemas(run: Callable[..., Result], tmp_path: Path) -> None:
    """The first line of each document leads to its schema, from where the document lies; so do VS Code's settings."""
    run("init", "mine", "--tenant", "acme")
    source = tmp_path / "mine"
    assert {p.name: p.read_bytes() for p in (source / SCHEMAS).iterdir()} == dict(emit.files())
    documents = sorted(source.rglob("*.yaml"))
    for document in documents:
        modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", document.read_text())
        assert modeline
        schema = json.loads((document.parent / modeline[1]).read_text())
        assert schema["title"] == yaml.safe_load(document.read_text())["kind"]
    associated = json.loads((source / ".vscode/settings.json").read_text())["yaml.schemas"]
    assert {p.removeprefix("./") for p in associated} == {f"{SCHEMAS}/{n}" for n, _ in emit.files()}
    for document in documents:
        relative = document.relative_to(source)
        matching = [s for s, pattern in associated.items() if relative.match(pattern.removeprefix("**/"))]
        schema = json.loads((source / matching[0]).read_text())
        assert (len(matching), schema["title"]) == (1, yaml.safe_load(document.read_text())["kind"])


def test_schemas_are_renewed(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init", "mine")
    stale = tmp_path / "mine" / SCHEMAS / "plan.schema.json"
    stale.write_text("{}")
    assert run("schemas", f"mine/{SCHEMAS}").exit_code == 0
    assert stale.read_bytes() == dict(emit.files())["plan.schema.json"]


def test_editor_shows_what_check_finds(run: Callable[..., Result], tmp_path: Path) -> None:
    """VS Code's build task: the command that it runs, and the lines that it finds places in."""
    run("init", "mine", "--tenant", "acme")
    source = tmp_path / "mine"
    (task,) = json.loads((source / ".vscode/tasks.json").read_text())["tasks"]
    tenant = source / "acme/tenant.yaml"
    tenant.write_text(tenant.read_text().replace("tier: team", "tier: teem"))
    done = subprocess.run([STOA, *task["args"]], cwd=source, capture_output=True, text=True, check=False)
    pattern = task["problemMatcher"]["pattern"]
    (found,) = re.finditer(pattern["regexp"], done.stderr, re.MULTILINE)
    shown = {key: found[group] for key, group in pattern.items() if key != "regexp"}
    assert shown == {
        "file": "acme/tenant.yaml",
        "line": "9",
        "column": "9",
        "severity": "error",
        "code": "STOA301",
        "message": "the tier `teem` is not declared",
    }


def test_pipeline_is_well_formed(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init", "mine")
    judge = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.gitlab-ci"]
    pipeline = str(tmp_path / "mine" / ".gitlab-ci.yml")
    subprocess.run([*judge, "--data-transform", "gitlab-ci", pipeline], check=True, capture_output=True)


def test_readme(run: Callable[..., Result], tmp_path: Path) -> None:
    """Its commands in their order, its first change, and the mistake that it asks for."""
    run("init", "mine", "--tenant", "acme")
    source = tmp_path / "mine"
    readme = (source / "README.md").read_text(encoding="utf-8")
    blocks = _BLOCK.findall(readme)
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    assert commands[-1] == "stoa dev ."
    for line in commands[:-1]:
        words = [STOA if word == "stoa" else word for word in line.split()]
        done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)

    (change,) = (text for kind, text in blocks if kind == "yaml")
    contract = source / "acme/contracts/notes.yaml"
    contract.write_text(contract.read_text() + change)
    assert run("check", "mine").exit_code == 0
    assert run("fmt", "mine", "--check").exit_code == 0
    compiled = run("compile", "mine", "--env", "dev", "--out", "out")
    assert "5 tools" in compiled.output
    contract.write_text(contract.read_text().replace("sideEffects: write\n", "sideEffects: wirte\n"))
    broken = run("check", "mine")
    assert broken.exit_code == 1
    assert "STOA204" in broken.output
    assert "Did you mean `write`?" in broken.output

    for path in re.findall(r"^\| `([^`]+)`", readme, re.MULTILINE):
        assert (source / path).exists(), path


def test_dev_serves_it(run: Callable[..., Result], tmp_path: Path) -> None:
    run("init", "mine", "--tenant", "acme")
    served = subprocess.Popen(
        [STOA, "dev", ".", "--port", "0", "--format", "json"],
        cwd=tmp_path / "mine",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        assert served.stdout is not None
        line = served.stdout.readline()
        assert line.startswith(b"{"), line + (served.stdout.read() or b"")
        facts = json.loads(line)
        request = urllib.request.Request(f"{facts['backends']}/acme/notes/notes/n-104")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["title"] == "Office move"
        gateway = facts["mcp"].removesuffix("/mcp")
        with urllib.request.urlopen(f"{gateway}/.well-known/oauth-protected-resource/mcp", timeout=20) as answer:
            assert json.load(answer)["resource"] == facts["mcp"]
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(30)
    assert run("check", "mine").exit_code == 0

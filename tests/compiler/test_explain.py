"""`stoa explain` and the pages of `docs/rules`."""

import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from stoa_compiler.cli.explain import command
from stoa_compiler.examples import Example, Excerpt, examples
from stoa_compiler.explain import as_text, pages, write
from stoa_compiler.reports.terminal import columns
from stoa_compiler.rules import RULES

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs" / "rules"


def explain(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(command, arguments, env={"NO_COLOR": "1", **environment})
    assert done.exit_code == 0, done.output
    return done.output


def test_pages_are_written_by_a_command(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "stoa_compiler.explain", str(tmp_path / "rules")], check=True)
    assert sorted(p.name for p in (tmp_path / "rules").iterdir()) == sorted(pages())


def test_pages_of_rules_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "STOA999.md").write_text("gone")
    (tmp_path / "notes.md").write_text("mine")
    write(tmp_path)
    assert not (tmp_path / "STOA999.md").exists()
    assert (tmp_path / "notes.md").exists()


@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize("width", [60, 100])
def test_text_says_everything_in_the_width(code: str, width: int) -> None:
    rule, example = RULES[code], examples()[code]
    text = as_text(rule, example, width)
    assert text.startswith(f"{rule.severity}[{code}]: {rule.title}\n")
    said = text[: text.index("This fails")] if "This fails" in text else text
    assert " ".join(said.split()).endswith(f"{' '.join(rule.why.split())} help: {rule.help}")
    longest_word = max(len(w) for w in f"{rule.why} help: {rule.help}".replace("`", " ` ").split("`"))
    assert all(columns(line) <= max(width, longest_word + 12) for line in said.splitlines()[1:])
    for excerpt in (*example.bad, *example.good):
        assert excerpt.file is None or f"in {excerpt.file}:" in text


def test_text_of_one_rule() -> None:
    rule = RULES["STOA103"]
    example = Example(
        (Excerpt("a.yaml", "spec:\n  tier: x\n  tier: \x1b[31my\n"),), (Excerpt("a.yaml", "spec:\n"),), "a.yaml:3:3\n"
    )
    assert as_text(rule, example, 80) == (
        "error[STOA103]: the key stands twice\n"
        "\n"
        "Readers of YAML disagree on which of two equal keys counts, so a reviewer may\n"
        "read the one that does not.\n"
        "\n"
        "help: Keep one of them.\n"
        "\n"
        "This fails, in a.yaml:\n"
        "\n"
        "    spec:\n"
        "      tier: x\n"
        "      tier: \\x1b[31my\n"
        "\n"
        "This passes, in a.yaml:\n"
        "\n"
        "    spec:\n"
        "\n"
        "What is said of it:\n"
        "\n"
        "    a.yaml:3:3\n"
    )


def test_command() -> None:
    assert explain("STOA301") == explain("stoa301")
    assert explain("STOA301", COLUMNS="50") != explain("STOA301", COLUMNS="90")
    assert "\x1b[" in explain("STOA301", NO_COLOR="", FORCE_COLOR="1")
    assert explain("STOA301", "--format", "markdown") == (PAGES / "STOA301.md").read_text(encoding="utf-8")
    page = orjson.loads(explain("STOA301", "--format", "json"))
    assert page["code"] == "STOA301"
    assert page["example"]["bad"][0]["file"].endswith(".yaml")
    assert [p["code"] for p in orjson.loads(explain("--format", "json"))] == sorted(RULES)
    assert explain().splitlines()[0] == "STOA001  error    there is no source here"
    assert explain("--format", "markdown") == (PAGES / "README.md").read_text(encoding="utf-8")


def test_command_for_a_code_that_is_not_there() -> None:
    done = CliRunner().invoke(command, ["STOA31"])
    assert done.exit_code == 2
    assert "there is no diagnostic `STOA31`; did you mean `STOA" in done.output


def test_the_wheel_carries_the_examples(tmp_path: Path) -> None:
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        assert "stoa_compiler/examples.json" in wheel.namelist()

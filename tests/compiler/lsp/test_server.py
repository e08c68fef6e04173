"""`stoa lsp`, as an editor meets it: over stdio, in the units of the protocol."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compiler.lsp.editor import Editor

DEMO = Path(__file__).parents[3] / "tenants"
TENANT = "ioi/tenant.yaml"
BILLING = "ioi/contracts/billing.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo source, in a folder whose name needs escaping in a URI."""
    return Path(shutil.copytree(DEMO, tmp_path / "my tenants é"))


@pytest.fixture
def editor(folder: Path) -> Iterator[Editor]:
    """An editor with the server running; at the end it says goodbye."""
    made = Editor(folder)
    yield made
    assert made.leave() == 0
    assert b"Traceback" not in made.errors, made.errors.decode()


def place(text: str, word: str, offset: int = 0) -> tuple[int, int]:
    """Line and column of a word."""
    index = text.index(word) + offset
    return text.count("\n", 0, index), index - text.rfind("\n", 0, index) - 1


def marked(text: str, range: dict[str, Any]) -> str:
    """What stands in a range on one line, in UTF-16 units."""
    assert range["start"]["line"] == range["end"]["line"]
    units = text.split("\n")[range["start"]["line"]].encode("utf-16-le")
    return units[2 * range["start"]["character"] : 2 * range["end"]["character"]].decode("utf-16-le")


def test_a_session(editor: Editor, folder: Path) -> None:
    """Open, type a mistake, read about it, follow it, complete it, close."""
    text = (folder / TENANT).read_text()
    editor.open(TENANT)
    broken = text.replace("tier: enterprise", "tier: enterprize")
    editor.type(TENANT, broken)
    (problem,) = editor.until(TENANT, ["STOA301"])
    assert marked(broken, problem["range"]) == "enterprize"
    assert (problem["severity"], problem["source"]) == (1, "stoa")
    assert "the tier `enterprize` is not declared" in problem["message"]
    assert "Did you mean `enterprise`?" in problem["message"]

    said = editor.at("hover", TENANT, *place(broken, "enterprize", 3))
    assert said["contents"]["kind"] == "markdown"
    assert "A tier of the platform: the caps that hold." in said["contents"]["value"]
    assert marked(broken, said["range"]) == "enterprize"

    offered = editor.at("completion", TENANT, *place(broken, "enterprize", 3))
    assert [i["label"] for i in offered["items"]] == ["enterprise", "starter", "team"]
    edit = offered["items"][0]["textEdit"]
    assert (marked(broken, edit["range"]), edit["newText"]) == ("enterprize", "enterprise")

    editor.type(TENANT, text)
    editor.until(TENANT, [])
    leads = editor.at("definition", TENANT, *place(text, "enterprise", 3))
    platform = (folder / "platform.yaml").read_text()
    assert leads["uri"] == editor.uri("platform.yaml")
    assert marked(platform, leads["range"]) == "enterprise"
    editor.close(TENANT)


def test_columns_count_utf16_units(editor: Editor, folder: Path) -> None:
    """A character beyond the basic plane takes two; what follows it in the line is still marked exactly."""
    text = (folder / TENANT).read_text()
    broken = text.replace("displayName: IOI", 'displayName: IOI\n  x🙂y: {tier: "🙂", "🙂z": 1}')
    editor.open(TENANT, broken)
    (problem,) = editor.until(TENANT, ["STOA201"])
    assert marked(broken, problem["range"]) == "x🙂y"
    flow = text.replace("environments: [dev, staging, prod]", 'environments: ["🙂", stagin]')
    editor.type(TENANT, flow)
    problems = editor.until(TENANT, ["STOA204", "STOA204"])
    assert sorted(marked(flow, p["range"]) for p in problems) == ['"🙂"', "stagin"]
    line, column = place(flow, "stagin", 2)
    offered = editor.at("completion", TENANT, line, column + 1)  # One unit more than characters.
    assert marked(flow, offered["items"][0]["textEdit"]["range"]) == "stagin"


def test_a_client_that_counts_bytes(folder: Path) -> None:
    editor = Editor(folder, encodings=["utf-8", "utf-16"])
    assert editor.capabilities["positionEncoding"] == "utf-8"
    broken = (folder / TENANT).read_text().replace("environments: [dev, staging, prod]", 'environments: ["🙂", stagin]')
    editor.open(TENANT, broken)
    problems = editor.until(TENANT, ["STOA204", "STOA204"])
    line = broken.encode().split(b"\n")[problems[1]["range"]["start"]["line"]]
    ranges = [p["range"] for p in problems]
    shown = {line[r["start"]["character"] : r["end"]["character"]].decode() for r in ranges}
    assert shown == {'"🙂"', "stagin"}
    assert editor.leave() == 0


def test_findings_of_files_that_are_not_open(editor: Editor, folder: Path) -> None:
    platform = (folder / "platform.yaml").read_text()
    editor.open("platform.yaml", platform.replace("    devops:\n", "    dev-ops:\n"))
    problems = editor.until("ioi/tenant.yaml", ["STOA301"] * 3)
    assert all("`devops`" in p["message"] for p in problems)
    editor.close("platform.yaml")  # Not saved: what is on disk counts again.
    editor.until("ioi/tenant.yaml", [])
    editor.until("platform.yaml", [])


def test_the_other_end(editor: Editor, folder: Path) -> None:
    text = (folder / TENANT).read_text()
    twice = text.replace("  tier: enterprise\n", "  tier: enterprise\n  tier: team\n")
    editor.open(TENANT, twice)
    (problem,) = editor.until(TENANT, ["STOA103"])
    (related,) = problem["relatedInformation"]
    assert related["location"]["uri"] == editor.uri(TENANT)
    assert marked(twice, related["location"]["range"]) == "tier"
    assert related["location"]["range"]["start"]["line"] == problem["range"]["start"]["line"] - 1


def test_files_on_disk(editor: Editor, folder: Path) -> None:
    editor.open(TENANT)
    stray = folder / "ioi" / "plan"
    stray.mkdir()
    (stray / "gold.yaml").write_text("a: 1\n")
    watched = {"uri": editor.uri("ioi/plan/gold.yaml"), "type": 1}
    editor.tell("workspace/didChangeWatchedFiles", {"changes": [watched]})
    editor.until("ioi/plan/gold.yaml", ["STOA002"])
    (stray / "gold.yaml").unlink()
    editor.tell("workspace/didChangeWatchedFiles", {"changes": [{**watched, "type": 3}]})
    editor.until("ioi/plan/gold.yaml", [])


def test_a_new_document(editor: Editor, folder: Path) -> None:
    """It is not on disk yet: its path already says what it is, and completion writes it."""
    path = "ioi/plans/gold.yaml"
    editor.open(path, "")
    editor.until(path, ["STOA108"])
    offered = editor.at("completion", path, 0, 0)
    assert [i["label"] for i in offered["items"]] == ["apiVersion", "kind", "metadata", "spec"]
    text = (
        "apiVersion: gostoa.dev/v2\nkind: Plan\nmetadata:\n  name: gold\n  tenant: ioi\nspec:\n  displayName: Gold\n  "
    )
    editor.type(path, text)
    editor.until(path, ["STOA202"])
    offered = editor.at("completion", path, 7, 2)
    assert [i["label"] for i in offered["items"]] == ["rate", "description", "burst", "quota"]
    editor.type(path, text + "rate: 60/minute\n")
    editor.until(path, [])


def test_quick_fixes(editor: Editor, folder: Path) -> None:
    text = (folder / TENANT).read_text()
    broken = text.replace("displayName: IOI", "displayName: I\u200bOI")
    editor.open(TENANT, broken)
    (problem,) = editor.until(TENANT, ["STOA111"])
    asked = {
        "textDocument": {"uri": editor.uri(TENANT)},
        "range": problem["range"],
        "context": {"diagnostics": [problem]},
    }
    (action,) = editor.ask("textDocument/codeAction", asked)
    (edit,) = action["edit"]["changes"][editor.uri(TENANT)]
    start, end = edit["range"]["start"], edit["range"]["end"]
    lines = broken.split("\n")
    assert start["line"] == end["line"]
    line = lines[start["line"]]
    lines[start["line"]] = line[: start["character"]] + edit["newText"] + line[end["character"] :]
    assert "\n".join(lines) == text


def test_formatting(editor: Editor, folder: Path) -> None:
    text = (folder / TENANT).read_text()
    untidy = text.replace("  tier: enterprise\n", "  tier:    'enterprise'\n")
    editor.open(TENANT, untidy)
    asked = {"textDocument": {"uri": editor.uri(TENANT)}, "options": {"tabSize": 2, "insertSpaces": True}}
    (edit,) = editor.ask("textDocument/formatting", asked)
    assert edit["newText"] == text
    editor.type(TENANT, text)
    assert editor.ask("textDocument/formatting", asked) is None
    editor.type(TENANT, text + "[")
    assert editor.ask("textDocument/formatting", asked) is None


def test_half_typed(editor: Editor, folder: Path) -> None:
    """The contract typed anew, a stretch at a time: each request is answered."""
    text = (folder / BILLING).read_text()
    editor.open(BILLING, "")
    for cut in range(0, len(text), 900):
        editor.type(BILLING, text[:cut])
        line, column = text.count("\n", 0, cut), cut - text.rfind("\n", 0, cut) - 1
        for method in ("completion", "hover", "definition"):
            editor.at(method, BILLING, line, column)
            editor.at(method, BILLING, line + 5, column + 100)
    editor.type(BILLING, text)
    editor.until(BILLING, [])


def test_odd_text(editor: Editor) -> None:
    for odd in (
        "\t",
        "a: [",
        "{",
        "- - -",
        ": :",
        "a: &x *x",
        "%TAG",
        "---\n---\n",
        "\ud800",
        "\x00",
        "\r\r",
        "?" * 500,
    ):
        if TENANT not in editor.versions:
            editor.open(TENANT, odd)
        editor.type(TENANT, odd)
        editor.at("hover", TENANT, 0, 1)
        editor.at("completion", TENANT, 0, len(odd))
    editor.close(TENANT)


def test_files_of_no_source(editor: Editor, folder: Path) -> None:
    """Other YAML on the machine is none of the server's business."""
    (folder.parent / "other").mkdir()
    uri = (folder.parent / "other" / "values.yaml").as_uri()
    item = {"uri": uri, "languageId": "yaml", "version": 1, "text": "a: b\n"}
    editor.tell("textDocument/didOpen", {"textDocument": item})
    place = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 1}}
    assert editor.ask("textDocument/hover", place) is None
    item = {**item, "uri": "untitled:Untitled-1"}
    editor.tell("textDocument/didOpen", {"textDocument": item})
    place = {"textDocument": {"uri": "untitled:Untitled-1"}, "position": {"line": 0, "character": 1}}
    assert editor.ask("textDocument/completion", place) is None
    editor.open(TENANT)
    assert editor.at("hover", TENANT, *place_of_tier(folder)) is not None


def place_of_tier(folder: Path) -> tuple[int, int]:
    return place((folder / TENANT).read_text(), "tier:", 1)

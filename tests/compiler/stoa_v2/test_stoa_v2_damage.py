"""Files that are broken anywhere: findings with a place, an account of what is left, never a trace."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler.source import SourceFile
from stoa_compiler.stoa_v2 import Imported, Wishes, import_stoa_v2
from stoa_compiler.stoa_v2.report import as_json, as_markdown, as_text
from tests.compiler.stoa_v2.accounted import check_inputs, check_outputs, errors, leaf_paths, write

GOLDEN = Path(__file__).parent / "golden"
STOCK = json.loads((GOLDEN / "bookshop/in/stock.json").read_text("utf-8"))
FERRY = yaml.safe_load((GOLDEN / "ferry/in/ferry.uac.yaml").read_text("utf-8"))
ODD: list[Any] = [
    None,
    True,
    False,
    7,
    -1,
    0.5,
    1e300,
    "",
    "x",
    "${X} {{y}} $(z)",
    "a\u0301" + "\u00e9" * 2500,
    "GET",
    "../..",
    "https://user:secret@host.example/a b?c#d",
    "[::1]",
    [],
    {},
    [None],
    ["GET", "GET"],
    {"": {"": 1}},
    {"$ref": "#"},
    [{"name": "x"}],
]


def carried(data: Any, root: Path, name: str = "file.json") -> Imported:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    return import_stoa_v2([SourceFile(name, name, content)], root, Wishes(tenant="stand-in"))


def sound(imported: Imported, root: Path) -> None:
    """Everything is accounted for, the reports can be printed, and what came in compiles."""
    write(imported, root)
    check_inputs(imported, root)
    check_outputs(imported)
    assert as_text(imported)
    assert as_markdown(imported)
    json.dumps(as_json(imported, [], None))
    for d in imported.report.found:
        assert d.span.line >= 1
        assert d.span.column >= 1
    if imported.files:
        assert errors(root) == []


def every_place(data: Any) -> list[tuple[str | int, ...]]:
    found = {loc[:n] for loc in leaf_paths(data) for n in range(1, len(loc) + 1)}
    return sorted(found, key=repr)


def replaced(data: Any, loc: tuple[str | int, ...], value: Any) -> Any:
    result = copy.deepcopy(data)
    node = result
    for step in loc[:-1]:
        node = node[step]
    if value is ODD:
        del node[loc[-1]]
    else:
        node[loc[-1]] = value
    return result


@pytest.mark.parametrize("data", [STOCK, FERRY], ids=["contract", "bundle"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.randoms(use_true_random=False))
def test_one_value_replaced(data: Any, choice: random.Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = data
    for _ in range(choice.choice((1, 1, 3))):
        broken = replaced(broken, choice.choice(every_place(broken) or [()]), choice.choice([*ODD, ODD]))
        if not isinstance(broken, dict) or not broken:
            return
    root = tmp_path_factory.mktemp("source")
    sound(carried(broken, root), root)


@pytest.mark.parametrize("name", ["bookshop/in/stock.json", "ferry/in/ferry.uac.yaml"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.randoms(use_true_random=False))
def test_some_bytes_replaced(name: str, choice: random.Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray((GOLDEN / name).read_bytes())
    for _ in range(choice.randint(1, 4)):
        at = choice.randrange(len(content))
        length = choice.choice((0, 1, 1, 40))
        content[at : at + length] = choice.choice(
            (b"", b"\t", b"\n", b'"', b"{", b"- ", b"\xff", b"\xe2\x80\x8b", b": ")
        )
    root = tmp_path_factory.mktemp("source")
    sound(carried(bytes(content), root, name.rpartition("/")[2]), root)


@pytest.mark.parametrize(
    ("content", "name", "place"),
    [
        (b"", "a.json", "1:1"),
        (b"", "a.yaml", "1:1"),
        (b'{"name": "a",\n "endpoints": [}', "a.json", "2:16"),
        (b'{"name": "a",\n "endpoints": []', "a.json", "2:17"),
        (b"name: a\nendpoints:\n\t- path: /\n", "a.yaml", "3:1"),
        (b"name: a\nname: b\nendpoints: []\n", "a.yaml", "2:1"),
        (b"base: &b {}\nendpoints: [*b]\n", "a.yaml", "1:7"),
        (b"\xff\xfe{\x00}\x00", "a.json", "1:1"),
        (b"[" * 100_000, "a.json", "1:1"),
        (b"- just\n- a list\n", "a.yaml", "1:1"),
        (b"42", "a.json", "1:1"),
        (b"kind: Deployment\nmetadata: {}\nspec: {}\n", "a.yaml", "1:1"),
        (b"apiVersion: gostoa.dev/v2\nkind: UniversalAPIContract\nmetadata: {}\nspec: {}\n", "a.yaml", "1:1"),
        (b'{"endpoints": [{"backend_url": "\\ud83d"}]}', "a.json", "1:3"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(content: bytes, name: str, place: str, tmp_path: Path) -> None:
    imported = carried(content, tmp_path, name)
    assert not imported.files
    assert [s.file for s in imported.skipped] == [name]
    first = imported.report.sorted()[0]
    assert f"{first.span.line}:{first.span.column}".startswith(place)
    assert first.rule.severity == "error"


def test_findings_stand_at_the_words(tmp_path: Path) -> None:
    data = copy.deepcopy(STOCK)
    data["endpoints"][0]["llm"]["side_effects"] = "some"
    data["endpoints"][1]["backend_url"] = 7
    text = json.dumps(data, indent=1)
    imported = carried(text.encode(), tmp_path)
    lines = text.split("\n")
    marked = {lines[d.span.line - 1][d.span.column - 1 : d.span.end_column - 1] for d in imported.report.found}
    assert marked == {'"some"', "7"}


def test_hidden_characters_are_left_out_and_told(tmp_path: Path) -> None:
    data = copy.deepcopy(STOCK)
    data["display_name"] = "Stock\u202eroom"
    imported = carried(json.dumps(data, ensure_ascii=False).encode(), tmp_path)
    assert [(d.rule.code, d.rule.severity) for d in imported.report.found] == [("STOA805", "warning")]
    assert all(b"\xe2\x80\xae" not in content for content in imported.files.values())


def test_characters_beyond_the_basic_plane(tmp_path: Path) -> None:
    data = {**STOCK, "display_name": "Stock \U0001f4d6 \\ud83d\\ude00"}
    imported = carried(json.dumps(data).encode(), tmp_path)
    assert imported.accounts[0].document.data["display_name"] == data["display_name"]


def test_a_literal_credential_is_never_repeated(tmp_path: Path) -> None:
    token = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5"
    data = copy.deepcopy(STOCK)
    data["endpoints"][0]["llm"]["intent"] = f"Use it with {token}."
    data["endpoints"][1]["backend_url"] = "https://desk:hunter2hunter2@orders.bookshop.example"
    imported = carried(data, tmp_path)
    written = b"".join(imported.files.values()).decode()
    reports = as_text(imported) + as_markdown(imported) + json.dumps(as_json(imported, [], None))
    for secret in (token, "hunter2"):
        assert secret not in written
        assert secret not in reports
    assert {d.rule.code for d in imported.report.found} >= {"STOA806"}

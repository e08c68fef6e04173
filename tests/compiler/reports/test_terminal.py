"""Colour and width: what the environment asks for."""

import io

import pytest

from stoa_compiler.reports.terminal import WIDTH_OF_A_LOG, columns, visible, wants_color, width_of, wrapped


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_a_terminal", "in_a_file"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_color(environment: dict[str, str], on_a_terminal: bool, in_a_file: bool) -> None:
    assert wants_color(Terminal(), environment) is on_a_terminal
    assert wants_color(io.StringIO(), environment) is in_a_file


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert width_of(io.StringIO()) == WIDTH_OF_A_LOG
    monkeypatch.setenv("COLUMNS", "72")
    assert width_of(io.StringIO()) == width_of(Terminal()) == 72
    monkeypatch.setenv("COLUMNS", "5")
    assert width_of(Terminal()) == 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("\uff46", 2), ("한", 2), ("\u1112\u1161\u11ab", 2), ("a\u20dd", 1)],
)
def test_columns(text: str, expected: int) -> None:
    assert columns(text) == expected


def test_visible() -> None:
    assert visible("plain ü 日本") == "plain ü 日本"
    assert visible("\x1b[0m\n\t\x7f\u202e\U000e0001\udcff\u00a0") == "\\x1b[0m\\n\\t\\x7f\\u202e\\U000e0001\\udcff\\xa0"


def test_wrapped_loses_nothing() -> None:
    text = "one two  three `four five six` seven ` eight nine ten eleven twelve"
    for width in (10, 20, 40, 200):
        lines = list(wrapped(text, "> ", width))
        assert " ".join(line[2:] for line in lines) == text
        assert lines[0].startswith("> ")

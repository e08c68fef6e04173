"""What a person sees: the words, the lines that they are about, marks below the right columns."""

import re

from hypothesis import given
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Diagnostic, Note
from stoa_compiler.reports.terminal import columns
from stoa_compiler.reports.text import counted, render
from stoa_compiler.source import SourceFile, Span
from tests.compiler.reports.reporting import ERROR, WARNING, files_of, source, span_of


def shown(d: Diagnostic, *files: SourceFile, width: int = 100, color: bool = False) -> str:
    return render([d], files_of(*files), color=color, width=width)


def test_one_line() -> None:
    file = source("spec:\n  tier: small\n")
    assert shown(Diagnostic(ERROR, span_of(file, "small"), "wrong"), file) == (
        "tenants/acme/plans/a.yaml:2:9: error[STOA999]: wrong\n"
        "   |\n"
        " 2 |   tier: small\n"
        "   |         ^^^^^\n"
        "   = help: Mend it.\n"
    )


def test_a_place_in_the_same_file_is_shown_in_order_and_labelled() -> None:
    file = source("a: 1\nb: 2\nc: 3\nd: 4\na: 5\n")
    for first, gap in ((1, "...\n"), (3, " 4 | d: 4\n"), (4, "")):
        text = shown(
            Diagnostic(ERROR, file.span(5, 1, 1), "twice", (Note("first here", file.span(first, 1, 1)),)), file
        )
        assert text == (
            "tenants/acme/plans/a.yaml:5:1: error[STOA999]: twice\n"
            "   |\n"
            f" {first} | {file.lines[first - 1]}\n"
            "   | - first here\n"
            f"{gap}"
            " 5 | a: 5\n"
            "   | ^\n"
            "   = help: Mend it.\n"
        )


def test_two_places_in_one_line() -> None:
    file = source("{a: 1, a: 2}\n")
    text = shown(Diagnostic(ERROR, file.span(1, 8, 1), "twice", (Note("first here", file.span(1, 2, 1)),)), file)
    assert " 1 | {a: 1, a: 2}\n   |  - first here\n   |        ^\n" in text
    assert text.count("{a: 1") == 1


def test_a_place_in_another_file_is_shown_with_its_path() -> None:
    file, other = source("plan: gold\n"), source("\n" * 9 + "kind: Plan\n", "tenants/b.yaml")
    d = Diagnostic(ERROR, span_of(file, "gold"), "wrong", (Note("declared here", span_of(other, "Plan")),))
    assert shown(d, file, other) == (
        "tenants/acme/plans/a.yaml:1:7: error[STOA999]: wrong\n"
        "    |\n"
        "  1 | plan: gold\n"
        "    |       ^^^^\n"
        "   ::: tenants/b.yaml:10:7\n"
        " 10 | kind: Plan\n"
        "    |       ---- declared here\n"
        "    = help: Mend it.\n"
    )


def test_a_note_without_words_to_mark_stands_below() -> None:
    file = source("plan: gold\n")
    notes = (Note("said aloud"), Note("this file", file.span()), Note("no such file", Span("gone.yaml", 3, 1, 3, 4)))
    text = shown(Diagnostic(WARNING, file.span(), "about the file", notes, "Do this."), file)
    assert text == (
        "tenants/acme/plans/a.yaml:1:1: warning[STOA998]: about the file\n"
        "   = note: said aloud\n"
        "   = note: tenants/acme/plans/a.yaml:1:1: this file\n"
        "   = note: gone.yaml:3:1: no such file\n"
        "   = help: Do this.\n"
    )


def test_a_short_block_is_shown_whole() -> None:
    file = source("a:\n  b: 1\n  c: 2\nd: 3\n")
    assert " 2 | /   b: 1\n 3 | |   c: 2\n   | |______^\n" in shown(
        Diagnostic(ERROR, Span(file.shown, 2, 3, 3, 7), "wrong"), file
    )
    assert " 1 |   a:\n   |  __^\n 2 | |   b: 1\n   | |______^\n" in shown(
        Diagnostic(ERROR, Span(file.shown, 1, 2, 2, 7), "wrong"), file
    )


def test_of_a_long_block_beginning_and_end_are_shown() -> None:
    file = source("a:\n" + "".join(f"  - {n}\n" for n in range(20)) + "b: 1\n")
    text = shown(Diagnostic(ERROR, Span(file.shown, 2, 3, 21, 7), "wrong", (Note("it", file.span(22, 1, 1)),)), file)
    assert text.split("\n", 1)[1] == (
        "    |\n"
        "  2 | /   - 0\n"
        "  3 | |   - 1\n"
        "  4 | |   - 2\n"
        "... | |\n"
        " 21 | |   - 19\n"
        "    | |______^\n"
        " 22 | b: 1\n"
        "    | - it\n"
        "    = help: Mend it.\n"
    )


def test_a_whole_document_is_not_marked() -> None:
    file = source("a: 1\nb: 2\n\n")
    assert "|" not in shown(Diagnostic(ERROR, Span(file.shown, 1, 1, 2, 5), "wrong"), file)


def test_wide_and_joining_characters_and_tabs_are_measured() -> None:
    for before, place in (("日本", 4), ("e\u0301", 1), ("\t", 4), ("\x1b", 1), ("ᄀ\u1161", 2), ("🙂\ufe0f", 2)):
        file = source(f"{before}X\n")
        line, marks = shown(Diagnostic(ERROR, span_of(file, "X"), "wrong"), file).splitlines()[2:4]
        assert marks == f"   | {' ' * place}^"
        assert columns(line) == len(marks)


def test_a_long_line_is_cut_around_the_words() -> None:
    file = source(f"{'left ' * 60}日本MARK{' right' * 60}\n")
    text = shown(Diagnostic(ERROR, span_of(file, "MARK"), "wrong"), file, width=60)
    line, marks = text.splitlines()[2:4]
    assert columns(line) <= 60
    assert line.startswith(" 1 | ...")
    assert line.endswith("...")
    assert line.index("MARK") + 2 == marks.index("^^^^")


def test_places_that_one_cut_of_a_line_cannot_show_have_one_each() -> None:
    """The line may be the whole file."""
    file = source(f"{'日1, ' * 90_000}MARK{', 日1' * 90_000} end\n")
    note = Note("and there", span_of(file, "end"))
    text = shown(Diagnostic(ERROR, span_of(file, "MARK"), "wrong", (note,)), file, width=60)
    lines = text.splitlines()[2:6]
    for line, under, words, mark in ((*lines[:2], "MARK", "^^^^"), (*lines[2:], "end", "---")):
        assert columns(line) <= 60
        assert line.startswith(" 1 | ...")
        assert columns(line[: line.index(words)]) == under.index(mark)
    assert text.splitlines()[6].removeprefix("   |").strip() == "and there"


@given(
    st.text(st.sampled_from("ab 日本\u0301\t🙂\x1b"), max_size=200),
    st.text(st.sampled_from("x日"), min_size=1, max_size=90),
    st.text(st.sampled_from("ab 日本\u0301\t🙂"), max_size=200),
    st.integers(40, 160),
)
def test_marks_stand_below_the_words_in_every_line(before: str, words: str, after: str, width: int) -> None:
    file = source(f"k{before}{words}{after}\n")
    span = file.span(1, len(before) + 2, len(words))
    _, _, line, marks, *_ = shown(Diagnostic(ERROR, span, "wrong"), file, width=width).splitlines()
    assert columns(line) <= width
    assert columns(marks) <= width
    start, end = marks.index("^"), marks.rindex("^") + 1
    at, under = 0, ""
    for c in line:
        if start <= at < end and columns(c):
            under += c
        at += columns(c)
    assert under.replace(".", "").strip() in words
    assert under.strip(". ")


def test_what_an_author_wrote_is_no_command_to_the_terminal() -> None:
    hostile = "\x1b]0;gone\x07\x9b2J\r\u202e\ufeff\U000e0041"
    file = source(f"a: {hostile} b\n")
    d = Diagnostic(
        ERROR, span_of(file, hostile), f"`{hostile}`", (Note(hostile, file.span(1, 1, 1)), Note(hostile)), hostile
    )
    for text in (shown(d, file), re.sub(r"\x1b\[[0-9;]*m", "", shown(d, file, color=True))):
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "\\x1b]0;gone\\x07\\x9b2J\\r\\u202e\\ufeff\\U000e0041" in shown(d, file)


def test_what_may_be_a_secret_is_not_shown() -> None:
    file = source("password: correct horse\nx: |\n  battery\n  staple\n")
    for span in (file.span(1, 1, 8), Span(file.shown, 3, 3, 4, 9)):
        text = shown(Diagnostic(ERROR, span, "wrong", (Note("see", file.span(1, 1, 8)),), private=True), file)
        assert not re.search("horse|battery|staple", text)
    file = source("key: AKIAIOSFODNN7EXAMPLE\n")
    text = shown(Diagnostic(ERROR, file.span(1, 1, 3), "wrong"), file)
    assert " 1 | key: ********************\n" in text


def test_words_are_wrapped_outside_backticks() -> None:
    file = source("a: 1\n")
    mend = "Write this long text instead of it: `the whole of it, on one line`, and then run it again."
    text = shown(Diagnostic(ERROR, file.span(1, 1, 1), "wrong", (), mend), file, width=50)
    assert text.endswith(
        "   = help: Write this long text instead of it:\n"
        "           `the whole of it, on one line`, and\n"
        "           then run it again.\n"
    )
    note = Note("a label that is too long for the rest of its line", file.span(1, 1, 1))
    text = shown(Diagnostic(ERROR, file.span(1, 4, 1), "wrong", (note,)), file, width=44)
    assert "   | -\n   | a label that is too long for the rest\n   | of its line\n   |    ^\n" in text


def test_colours() -> None:
    file = source("a: 1\n")
    error, warning = (shown(Diagnostic(r, file.span(1, 1, 1), "wrong"), file, color=True) for r in (ERROR, WARNING))
    assert "\x1b[1;31merror[STOA999]\x1b[0m" in error
    assert "\x1b[1;33mwarning[STOA998]\x1b[0m" in warning
    assert re.sub(r"\x1b\[[0-9;]*m", "", error) == shown(Diagnostic(ERROR, file.span(1, 1, 1), "wrong"), file)


def test_of_one_rule_in_one_file_no_more_than_the_limit_is_shown() -> None:
    one, two = source("x\n" * 30), source("x\n" * 3, "tenants/b.yaml")
    found = [Diagnostic(ERROR, one.span(n, 1, 1), "wrong") for n in range(1, 31)]
    found += [Diagnostic(WARNING, one.span(30, 1, 1), "odd")]
    found += [Diagnostic(ERROR, two.span(n, 1, 1), "wrong") for n in range(1, 4)]
    text = render(found, files_of(one, two), limit=3)
    assert text.count("error[STOA999]") == 6
    assert text.count("warning[STOA998]") == 1
    assert text.count("more of") == 1
    assert "\n\ntenants/acme/plans/a.yaml: 27 more of STOA999; `--limit 0` shows all\n\ntenants/b.yaml:1:1" in text
    assert render(found, files_of(one, two)).count("error[STOA999]") == 33


def test_counts_in_words() -> None:
    file = source("a: 1\n")
    error, warning = (Diagnostic(r, file.span(), "wrong") for r in (ERROR, WARNING))
    elsewhere = Diagnostic(ERROR, Span("b.yaml", 1, 1, 1, 1), "wrong")
    assert counted([error]) == "1 error in 1 file"
    assert counted([warning, warning]) == "2 warnings in 1 file"
    assert counted([error, elsewhere, warning]) == "2 errors and 1 warning in 2 files"
    assert render([], {}) == ""

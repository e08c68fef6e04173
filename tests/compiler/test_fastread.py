"""The fast reader gives what the reference reader gives, or leaves the document to it."""

import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Report
from stoa_compiler.fastread import fast_read
from stoa_compiler.reader import compose
from stoa_compiler.source import SourceFile

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY / "tests" / "bench"))

from generate import tenant_files  # noqa: E402

PLAIN = [path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "tenants").rglob("*/*/*.yaml"))]
PLAIN += list(tenant_files(1).values())
LINES = sorted({line for text in PLAIN for line in text.split("\n")})
MARKS = [
    *" #:-'\"[]{},|>&*!?%@`\\0\n\t\r~+=",
    "- ",
    ": ",
    " #",
    "\n\n",
    "|-",
    ">-",
    "&a ",
    "*a",
    "!x ",
    "<<: ",
    "---\n",
]
MARKS += ["null", "true", ".5", "1e5", "0x1f", "-1", "1.5", "10_0", "''", '""', "\u00e9", "e\u0301", "\u200b", "..."]


def agreed(content: bytes) -> bool:
    """Whether the document was read fast; then both readers agree on it, and nothing was to be reported."""
    value = fast_read(content)
    if value is None:
        return False
    report = Report()
    root = compose(SourceFile("a.yaml", "a.yaml", content), report)
    assert root is not None
    assert repr(root.data) == repr(value)
    assert not report.found
    return True


@pytest.mark.parametrize("root", ["tenants", "tests/bad", "tests/fixes", "tests/compiler"])
def test_files_are_read_alike(root: str) -> None:
    files = [p for p in (REPOSITORY / root).rglob("*.yaml") if p.is_file()]
    fast = [agreed(p.read_bytes()) for p in files]
    assert any(fast)


def test_the_documents_of_the_demo_and_of_the_benchmark_are_read_fast() -> None:
    assert all(agreed(text.encode()) for text in PLAIN if not text.startswith("openapi"))


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A stretch of a document with a few marks put in, taken out, or moved."""
    lines = draw(st.sampled_from(PLAIN)).split("\n")
    start = draw(st.integers(0, max(0, len(lines) - 3)))
    part = lines[start : start + draw(st.integers(2, 24))]
    indent = min((len(line) - len(line.lstrip(" ")) for line in part if line.strip()), default=0)
    text = "\n".join(line[indent:] for line in part) + "\n"
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        what = draw(st.sampled_from(("put", "take", "line", "shift")))
        if what == "put":
            text = text[:at] + draw(st.sampled_from(MARKS)) + text[at:]
        elif what == "take":
            text = text[:at] + text[at + draw(st.integers(1, 3)) :]
        elif what == "line":
            text = text[:at] + "\n" + " " * draw(st.integers(0, 6)) + draw(st.sampled_from(LINES)).strip() + text[at:]
        else:
            text = text[:at] + " " * draw(st.integers(1, 3)) + text[at:]
    return text


@settings(max_examples=600, deadline=None)
@example("a: 1\na: 2\n")
@example("a: b\n  c: d\n")
@example("a:\n- b\n- c: 1\n  d: [x, {y: z}]\n")
@example("a: |\n  b\n\n   c\n\n\nd: >-\n  e\n  f\n\n  g\n# h\n")
@example("a: b # c\n  d\n")
@example("a: b\n\n  c\n")
@example("- a\n")
@example("a: [b, ]\n")
@example("a: {b: , c: d}\n")
@example("a: [http://b:1/c, d:e, f: g]\n")
@example("a: 'b''c' # d\n")
@example("~: a\n")
@example("a: 0777\nb: 1_000\nc: .inf\nd: +1\n")
@example("%YAML 1.1\n---\na: b\n")
@given(changed())
def test_what_is_read_fast_is_what_the_reference_reads(text: str) -> None:
    agreed(text.encode("utf-8", "replace"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"ab1 :-#'\"[]{},|>.~\n", "  ", ": ", "- "]), max_size=30).map("".join))
def test_short_texts_are_read_alike(text: str) -> None:
    agreed(f"{text}\n".encode())


def test_values_of_two_documents_are_apart() -> None:
    content = b"a: {b: [1]}\n"
    first, second = fast_read(content), fast_read(content)
    first["a"]["b"].append(2)
    assert second == {"a": {"b": [1]}}

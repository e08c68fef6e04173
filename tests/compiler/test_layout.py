"""Layout: what is said never changes, comments stay, and a second run changes nothing."""

import itertools
import re
import string
from collections import Counter
from pathlib import Path
from textwrap import dedent

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler import layout
from stoa_compiler.diagnostics import Report
from stoa_compiler.layout import NotKept, lay_out
from stoa_compiler.load import load
from stoa_compiler.parse import parse_file
from stoa_compiler.source import SourceFile

ROOT = Path(__file__).parents[2]


def laid_out(text: str, kind: str = "Plan") -> str:
    report = Report()
    after = lay_out(SourceFile("x.yaml", "x.yaml", text.encode()), kind, report)
    assert after is not None, report.found
    return after


def said(text: str) -> bytes:
    document = parse_file(SourceFile("x.yaml", "x.yaml", text.encode()), Report())
    assert document is not None
    return orjson.dumps(document.data, option=orjson.OPT_SORT_KEYS)


def same(before: str, after: str, kind: str = "Plan") -> None:
    """`before` is laid out as `after`, which stays."""
    before, after = dedent(before).lstrip("\n"), dedent(after).lstrip("\n")
    assert laid_out(before, kind) == after
    assert laid_out(after, kind) == after


@pytest.mark.parametrize("source", ["tenants", "tests/bad/base"])
def test_the_sources_of_this_repository_are_canonical(source: str) -> None:
    for place in load(ROOT / source, Report()).placed:
        assert laid_out(place.file.content.decode(), place.kind) == place.file.content.decode(), place.file.path


def test_keys_stand_in_the_order_of_the_model_with_their_comments() -> None:
    same(
        """
        # yaml-language-server: $schema=plan.json

        # What it is.
        kind: Plan   # always
        spec:
          # How fast.
          rate: 60/minute

          # How it is called.
          displayName: Gold
          zebra: unknown keys come last
          # End of spec.
        # Who it is.
        metadata: {tenant: acme,   name: gold}
        apiVersion: gostoa.dev/v2
        # The end.
        """,
        """
        # yaml-language-server: $schema=plan.json

        apiVersion: gostoa.dev/v2

        # What it is.
        kind: Plan  # always
        # Who it is.
        metadata: {name: gold, tenant: acme}
        spec:
          # How it is called.
          displayName: Gold
          # How fast.
          rate: 60/minute
          zebra: unknown keys come last
          # End of spec.
        # The end.
        """,
    )


def test_the_authors_own_schemas_and_values_keep_their_order() -> None:
    same(
        """
        spec:
          operations:
            zig:
              output: {type: string, description: d}
              input:
                type: object
                properties:
                  name: {type: string}
                  kind: {type: string}
                additionalProperties: false
              method: GET
            alpha:
              path: /a
              method: GET
        """,
        """
        spec:
          operations:
            zig:
              method: GET
              input:
                type: object
                properties:
                  name: {type: string}
                  kind: {type: string}
                additionalProperties: false
              output: {type: string, description: d}
            alpha:
              method: GET
              path: /a
        """,
        "UniversalAPIContract",
    )


def test_a_union_takes_the_order_of_the_chosen_model() -> None:
    same(
        "spec:\n  backend:\n    auth:\n      secret: s\n      username: u\n      type: basic\n",
        "spec:\n  backend:\n    auth:\n      type: basic\n      username: u\n      secret: s\n",
        "UniversalAPIContract",
    )


def test_indentation_blank_lines_and_line_ends() -> None:
    same(
        "\n\na:   \r\n- x\r\n\r\n\r\n\r\n-   z:   1\r\n    w: 2   \r\nb:\r\n        c: 1\r\n\r\n\r\n",
        "a:\n  - x\n\n  - z: 1\n    w: 2\nb:\n  c: 1\n",
    )
    same("---\n%A: 1\n...\n".replace("%A", "a"), "a: 1\n")
    same("a: 1", "a: 1\n")


def test_brackets_stay_where_they_hold_scalars_and_fit() -> None:
    same("a: [ x,z , 1 ]\nb: { c: 1,d : 'e' }\n", "a: [x, z, 1]\nb: {c: 1, d: e}\n")
    same("a: [\n  x,\n  z\n]\n", "a: [x, z]\n")
    same("a: [[x], {z: 1}]\n", "a:\n  - [x]\n  - {z: 1}\n")
    same("a: [{}, []]\nb: {}\n", "a: [{}, []]\nb: {}\n")
    same("a: {b, c: }\n", "a: {b: null, c: null}\n")
    long = [f"item{i:02}" for i in range(20)]
    same(f"a: [{', '.join(long)}]\n", "a:\n" + "".join(f"  - {i}\n" for i in long))
    same("a:\n  - x\n", "a:\n  - x\n")
    same(
        "a: [x, # first\n  # above\n  z\n  # last\n] # all\n",
        "a:  # all\n  - x  # first\n  # above\n  - z\n  # last\n",
    )


def test_quotes_stand_where_any_reader_needs_them() -> None:
    same(
        """
        a: 'plain text'
        b: no
        c: "on"
        d: 1:30
        e: '017'
        f: 2026-11-24
        g: 'it''s'
        h: "a: b"
        i: '^\\d+$'
        j: "60/minute"
        k: '1.10'
        l: '*:*:*'
        m: "say \\"no\\""
        nn: "two\\nlines"
        o: ''
        p: 'null'
        q: ~
        r: True
        s: 017
        t: 0x1F
        u: 1_000
        """,
        """
        a: plain text
        b: "no"
        c: "on"
        d: "1:30"
        e: "017"
        f: "2026-11-24"
        g: it's
        h: "a: b"
        i: '^\\d+$'
        j: 60/minute
        k: "1.10"
        l: "*:*:*"
        m: say "no"
        nn: "two\\nlines"
        o: ""
        p: "null"
        q: null
        r: true
        s: 17
        t: 0x1F
        u: "1_000"
        """,
    )
    same("a: ['b', 'c,d', \"e:f\", \"g h\"]\n", 'a: [b, "c,d", "e:f", g h]\n')
    same("'a': 1\n'on': 2\nno: 3\n? b\n: 4\n", 'a: 1\n"on": 2\n"no": 3\nb: 4\n')


def test_texts_over_several_lines() -> None:
    same("a: one\n  two\n  three\n", "a: one two three\n")
    words = " ".join(["word"] * 60)
    wrapped = laid_out(f"a: '{words[:150]}\n  {words[150:]}'\n")
    assert wrapped.startswith("a: >-\n  word")
    assert max(map(len, wrapped.split("\n"))) <= 120
    assert laid_out(wrapped) == wrapped
    same(f"a: {words}\n", f"a: {words}\n")
    same('a: "one\n\n  two"\n', 'a: "one\\ntwo"\n')
    same(
        "a: |   # why\n      x\n        y\n\n\nb: >+\n    z\n\n\nc: 1\n",
        "a: |  # why\n  x\n    y\n\nb: >+\n  z\n\n\nc: 1\n",
    )
    same("a: |2-\n    x\n  y\n", "a: |2-\n    x\n  y\n")
    same("a: >1\n   x\n  y\n", "a: |2\n    x\n   y\n")
    same("a: |\n  x", "a: |-\n  x\n")
    same("b: |1-\n no\n  \nc: 1\na: 1\n", "b: |-\n  no\n   \nc: 1\na: 1\n")
    same("- |\n  x\n\n- >-\n    y\n    z\n", "- |\n  x\n\n- >-\n  y\n  z\n")
    same("a: |\n\nb: |+\n\nc: 1\n", 'a: ""\n\nb: "\\n"\n\nc: 1\n')


def test_comments_stay_with_what_they_are_about() -> None:
    same(
        """
        a:   # on the key
            # above b
            b: 1   # behind b

            # end of a
        # above c
        c:
        -   # on a dash
          d: 1
        # above the second
        - e   # behind e
          # end of the list
        f:
          # above a scalar
          g
        """,
        """
        a:  # on the key
          # above b
          b: 1  # behind b

          # end of a
        # above c
        c:
          # on a dash
          - d: 1
          # above the second
          - e  # behind e
          # end of the list
        # above a scalar
        f: g
        """,
    )


def test_a_comment_of_a_key_that_moves_to_the_front_of_an_item_stands_above_the_item() -> None:
    same(
        "spec:\n  grants:\n    - tools: [x]\n      # whose\n      role: r\n",
        "spec:\n  grants:\n    # whose\n    - role: r\n      tools: [x]\n",
        "Tenant",
    )


def test_what_is_not_well_formed_is_reported_and_left_alone() -> None:
    report = Report()
    assert lay_out(SourceFile("x.yaml", "x.yaml", b"a: [1\n"), "Plan", report) is None
    assert [d.rule.code for d in report.found] == ["STOA101"]


def test_a_layout_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_laid_out", lambda reader, document, kind: "a: 2\n# c\n")
    with pytest.raises(NotKept):
        laid_out("a: 1\n# c\n")
    monkeypatch.setattr(layout, "_laid_out", lambda reader, document, kind: "a: 1\n")
    with pytest.raises(NotKept):
        laid_out("a: 1\n# c\n")


# Any document at all.

SIGNS = (
    "no|on|y|1:30|017|2026-11-24|null|~|true|1e3|0x1f|=|<<|- x|a: b|a #b|#|'|\"|it's|a,b|[x]|{y|*:*|&a|!t|%|@|`|?|:|-"
)
TEXTS = [
    "word " * 40,
    "\u00e9t\u00e9",
    "a\nb",
    "a\n\nb\n",
    "\n",
    " ",
    " lead",
    "trail ",
    "a\tb",
    "a\\d",
    "\u00a0",
    "x\n  y\n z\n\n",
]
WORDS = st.one_of(
    st.sampled_from([*SIGNS.split("|"), *TEXTS]),
    st.text(st.sampled_from(string.ascii_letters + " \n:#-,'\"\\{}[]"), max_size=30),
)
SCALARS = st.one_of(WORDS, st.booleans(), st.none(), st.integers(-(2**63), 2**64 - 1), st.floats(-1e9, 1e9))
KEYS = st.one_of(
    st.sampled_from(
        ["apiVersion", "kind", "metadata", "name", "spec", "rate", "displayName", "quota", "on", "a b", "'"]
    ),
    st.text(string.ascii_lowercase, min_size=1, max_size=4),
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(KEYS, v, max_size=4), max_leaves=12)


REMARK = re.compile(r"# ?c[0-9]+")


class Scribe:
    """Writes a value as an author might: any style that YAML has, comments and blank lines anywhere."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.pick = lambda *choices: draw(st.sampled_from(choices))
        self.number = itertools.count()

    def remark(self) -> str:
        return f"#{self.pick(' ', '')}c{next(self.number)} {self.pick('', '- x: [', 'it' + chr(39) + 's')}"

    def between(self, indent: int) -> str:
        """Blank lines and comments before an entry."""
        text = ""
        for _ in range(self.pick(0, 0, 0, 1, 2)):
            text += self.pick("\n", "  \n", " " * self.pick(indent, indent + 1, 0) + self.remark() + "\n")
        return text

    def behind(self) -> str:
        return self.pick("", "", "", "  ") + self.pick("\n", "\n", "\n", f" {self.remark()}\n")

    def flow(self, value: object) -> str:
        gap = self.pick("", " ", "")
        match value:
            case dict():
                return "{" + f",{gap} ".join(f"{self.scalar(k)}: {self.flow(v)}" for k, v in value.items()) + gap + "}"
            case list():
                return "[" + f",{gap} ".join(self.flow(v) for v in value) + gap + "]"
            case _:
                return self.scalar(value)

    def scalar(self, value: object) -> str:
        if not isinstance(value, str):
            return orjson.dumps(value).decode()
        if value.isalpha() and value.isascii() and value not in ("true", "null") and self.pick(True, False):
            return value
        if "\n" not in value and self.pick(True, False):
            return "'" + value.replace("'", "''") + "'"
        return orjson.dumps(value).decode()

    def block_text(self, value: str, indent: int) -> str:
        """A literal block of any text that one can hold."""
        breaks = len(value) - len(value.rstrip("\n"))
        step = self.pick(1, 2, 4)
        lines = value.rstrip("\n").split("\n")
        header = f"|{step if self.pick(True, False) or lines[0][:1] in ' ' else ''}{('-', '', '+')[min(breaks, 2)]}"
        body = "".join(" " * (indent + step) + line + "\n" if line else "\n" for line in lines)
        return f"{header}{self.behind()}{body}" + "\n" * (breaks - 1)

    def entries(self, value: object, indent: int) -> str:
        """Block entries at `indent`, each in lines of its own."""
        text = ""
        pairs = value.items() if isinstance(value, dict) else [(None, v) for v in value]  # type: ignore[attr-defined]
        for key, below in pairs:
            lead = "-" if key is None else f"{self.scalar(key)}:"
            text += self.between(indent) + " " * indent + lead + self.value(below, indent, key is None)
        return text + self.between(indent)

    def value(self, value: object, indent: int, in_list: bool) -> str:
        if isinstance(value, (dict, list)) and value and self.pick(True, True, False):
            deeper = (
                indent
                if isinstance(value, list) and not in_list and self.pick(True, False)
                else indent + self.pick(1, 2, 4)
            )
            return self.behind() + self.entries(value, deeper)
        is_text = isinstance(value, str) and value.strip() and "\t" not in value and not value.startswith("\n")
        if is_text and isinstance(value, str) and self.pick(True, False, False):
            return " " + self.block_text(value, indent)
        return " " + self.flow(value) + self.behind()


@st.composite
def documents(draw: st.DrawFn) -> str:
    value = draw(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
    scribe = Scribe(draw)
    text = scribe.between(0) + scribe.pick("", "", "---\n") + scribe.entries(value, 0)
    return text.replace("\n", "\r\n") if scribe.pick(True, False, False, False) else text


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(), st.sampled_from(["Plan", "UniversalAPIContract", "Tenant", "Platform"]))
def test_any_document(text: str, kind: str) -> None:
    report = Report()
    document = parse_file(SourceFile("x.yaml", "x.yaml", text.encode()), report)
    if document is None or report.found:
        return
    after = laid_out(text, kind)
    assert said(after) == said(text)
    assert laid_out(after, kind) == after
    assert "\r" not in after
    assert after.endswith("\n")
    assert Counter(REMARK.findall(after)) == Counter(REMARK.findall(text))

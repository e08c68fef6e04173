"""A second opinion on breaking changes: oasdiff on pairs of OpenAPI files, beside our own verdict on what they become.

    python -m tests.engines.oasdiff [--update docs/compatibility.md]

Every pair is one description and the same with a single change, in both directions. The table says where the two
agree, and why they do not where they do not.
"""

# ruff: noqa: E501

import argparse
import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stoa_compiler.compatibility import compare_contracts  # noqa: E402
from tests.compiler.compatibility.pairs import Sources, from_source  # noqa: E402
from tests.engines import golang  # noqa: E402

VERSION = "1.36.0"
BEGIN, END = "<!-- the second opinion begins -->\n", "<!-- the second opinion ends -->\n"

Description = dict[str, Any]
Edit = Callable[[Description], None]


def oasdiff() -> Path:
    """The program; skips the test where it cannot be had."""
    binary = golang.ENGINES / f"oasdiff-{VERSION}" / "oasdiff"

    def build(target: Path) -> None:
        folder = target.parent / "build"
        folder.mkdir(exist_ok=True)
        (folder / "go.mod").write_text("module stoa.example/engine\n")
        golang.go(folder, "get", f"github.com/oasdiff/oasdiff@v{VERSION}")
        golang.go(folder, "build", "-mod=mod", "-o", str(target), "github.com/oasdiff/oasdiff")
        shutil.rmtree(folder)

    return golang.built(binary, f"oasdiff {VERSION}", 2, build)


DESCRIPTION: Description = {
    "openapi": "3.1.0",
    "info": {"title": "Parcels", "version": "1"},
    "paths": {
        "/depots/{depot}/parcels": {
            "get": {
                "operationId": "listParcels",
                "parameters": [
                    {"name": "depot", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "state", "in": "query", "schema": {"type": "string", "enum": ["held", "sent", "lost"]}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
                    {"name": "tags", "in": "query", "explode": True, "schema": {"type": "array", "items": {"type": "string"}, "maxItems": 5}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string", "maxLength": 40}},
                ],
                "responses": {
                    "200": {
                        "description": "Found",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "properties": {
                                        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Parcel"}, "maxItems": 100},
                                        "next": {"type": "string"},
                                    },
                                    "required": ["items"],
                                }
                            }
                        },
                    }
                },
            },
            "post": {
                "operationId": "addParcel",
                "parameters": [{"name": "depot", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {
                                    "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 10},
                                    "weight": {"type": "number", "minimum": 0, "maximum": 50},
                                    "count": {"type": "integer", "multipleOf": 2},
                                    "day": {"type": "string", "format": "date"},
                                    "note": {"type": ["string", "null"]},
                                    "kind": {"type": "string", "enum": ["box", "bag"]},
                                    "size": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
                                    "marks": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4},
                                    "sender": {
                                        "type": "object",
                                        "properties": {"name": {"type": "string"}, "zip": {"type": "string"}},
                                        "required": ["name"],
                                    },
                                },
                                "required": ["code"],
                            }
                        }
                    },
                },
                "responses": {
                    "200": {
                        "description": "Added",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Parcel"}}},
                    }
                },
            },
        },
        "/parcels/{id}": {
            "delete": {
                "operationId": "dropParcel",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                "responses": {"204": {"description": "Gone"}},
            }
        },
    },
    "components": {
        "schemas": {
            "Parcel": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^[0-9]+$"},
                    "state": {"type": "string", "enum": ["held", "sent"]},
                    "weight": {"type": "number", "minimum": 0, "maximum": 50},
                    "day": {"type": "string", "format": "date"},
                    "note": {"type": "string", "maxLength": 200},
                    "size": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
                    "marks": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
                },
                "required": ["id", "state"],
            }
        }
    },
}  # fmt: skip

LIST = ("paths", "/depots/{depot}/parcels", "get")
ADD = ("paths", "/depots/{depot}/parcels", "post")
BODY = (*ADD, "requestBody", "content", "application/json", "schema")
PARCEL = ("components", "schemas", "Parcel")


def at(description: Description, *steps: str | int) -> Any:
    """What lies there."""
    node: Any = description
    for step in steps:
        node = node[step]
    return node


def put(*path: Any) -> Edit:
    """Sets the last of `path` at the place before it."""
    *home, key, value = path

    def edit(description: Description) -> None:
        at(description, *home)[key] = value

    return edit


def drop(*path: str | int) -> Edit:
    """Takes the key or item out."""
    *home, key = path

    def edit(description: Description) -> None:
        del at(description, *home)[key]

    return edit


def add(*path: Any) -> Edit:
    """Appends to a list."""
    *home, value = path

    def edit(description: Description) -> None:
        at(description, *home).append(value)

    return edit


def moved(old: str, new: str) -> Edit:
    """Moves a path."""

    def edit(description: Description) -> None:
        description["paths"][new] = description["paths"].pop(old)

    return edit


def method(old: str, new: str) -> Edit:
    """Moves an operation to another method of its path."""

    def edit(description: Description) -> None:
        item = description["paths"]["/parcels/{id}"]
        item[new] = item.pop(old)

    return edit


def media(new: str) -> Edit:
    """Gives the body another media type."""

    def edit(description: Description) -> None:
        content = at(description, *ADD, "requestBody", "content")
        content[new] = content.pop("application/json")

    return edit


IN = (*BODY, "properties")
OUT = (*PARCEL, "properties")
QUERY = (*LIST, "parameters")

EDITS: Mapping[str, Edit] = {
    "operation taken out": drop("paths", "/parcels/{id}"),
    "path moved": moved("/parcels/{id}", "/packets/{id}"),
    "method changed": method("delete", "put"),
    "summary added": put(*LIST, "summary", "List parcels"),
    "query argument taken out": drop(*QUERY, 1),
    "query argument required": put(*QUERY, 1, "required", True),
    "query value taken out": drop(*QUERY, 1, "schema", "enum", 2),
    "query bound lowered": put(*QUERY, 2, "schema", "maximum", 50),
    "query bound taken out": drop(*QUERY, 2, "schema", "minimum"),
    "query type to number": put(*QUERY, 2, "schema", "type", "number"),
    "query default changed": put(*QUERY, 2, "schema", "default", 10),
    "query default taken out": drop(*QUERY, 2, "schema", "default"),
    "query explode off": put(*QUERY, 3, "explode", False),
    "query items fewer": put(*QUERY, 3, "schema", "maxItems", 3),
    "header length lowered": put(*QUERY, 4, "schema", "maxLength", 20),
    "argument from header to query": put(*QUERY, 4, "in", "query"),
    "optional argument added": add(*QUERY, {"name": "page", "in": "query", "schema": {"type": "integer"}}),
    "required argument added": add(
        *QUERY, {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}}
    ),
    "body optional": put(*ADD, "requestBody", "required", False),
    "body media type changed": media("application/x-www-form-urlencoded"),
    "body property taken out": drop(*IN, "day"),
    "body property added": put(*IN, "colour", {"type": "string"}),
    "body property required": add(*BODY, "required", "weight"),
    "body pattern narrowed": put(*IN, "code", "pattern", "^[a-f]+$"),
    "body pattern taken out": drop(*IN, "code", "pattern"),
    "body length raised": put(*IN, "code", "maxLength", 20),
    "body length from below": put(*IN, "code", "minLength", 3),
    "body bound raised": put(*IN, "weight", "maximum", 80),
    "body multiple of 4": put(*IN, "count", "multipleOf", 4),
    "body format changed": put(*IN, "day", "format", "date-time"),
    "body format taken out": drop(*IN, "day", "format"),
    "body null refused": put(*IN, "note", "type", "string"),
    "body value added": add(*IN, "kind", "enum", "roll"),
    "body type to string": put(*IN, "weight", {"type": "string"}),
    "body arm taken out": drop(*IN, "size", "oneOf", 1),
    "body items fewer": put(*IN, "marks", "maxItems", 3),
    "body items from below": put(*IN, "marks", "minItems", 2),
    "body items unique": put(*IN, "marks", "uniqueItems", True),
    "body nested property taken out": drop(*IN, "sender", "properties", "zip"),
    "body nested property required": add(*IN, "sender", "required", "zip"),
    "body nested closed": put(*IN, "sender", "additionalProperties", False),
    "answer property taken out": drop(*OUT, "note"),
    "answer property required": add(*PARCEL, "required", "day"),
    "answer required property taken out": drop(*LIST, "responses", "200", "content", "application/json", "schema", "required"),
    "answer value added": add(*OUT, "state", "enum", "lost"),
    "answer bound raised": put(*OUT, "weight", "maximum", 80),
    "answer bound taken out": drop(*OUT, "weight", "maximum"),
    "answer type to string": put(*OUT, "weight", {"type": "string"}),
    "answer type to integer": put(*OUT, "weight", "type", "integer"),
    "answer null possible": put(*OUT, "note", "type", ["string", "null"]),
    "answer format changed": put(*OUT, "day", "format", "date-time"),
    "answer pattern changed": put(*OUT, "id", "pattern", "^[0-9a-f]+$"),
    "answer length raised": put(*OUT, "note", "maxLength", 400),
    "answer arm added": add(*OUT, "size", "oneOf", {"type": "boolean"}),
    "answer items more": put(*OUT, "marks", "maxItems", 8),
    "answer closed": put(*PARCEL, "additionalProperties", False),
    "answer media type changed": put(
        *ADD, "responses", "200", "content", {"text/plain": {"schema": {"type": "string"}}}
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opinion:
    """What both say of one change."""

    name: str
    back: bool
    """Whether the change is undone: the changed description is the base."""
    theirs: str
    their_ids: tuple[str, ...]
    ours: str
    our_codes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The change and its direction."""
        return f"{self.name}, undone" if self.back else self.name

    @property
    def agree(self) -> bool:
        """Whether both come to the same verdict."""
        return self.theirs == self.ours


_CLOSED = (
    "A tool's arguments are closed: the runtime refuses one that is not named. OpenAPI leaves that to the server, so "
    "oasdiff warns."
)
_DEFAULT = "oasdiff holds it to be no break; a call without the argument now means something else."
_STYLE = "oasdiff does not look at `explode`; a client that writes the list as before is misread."
_PLACE = (
    "oasdiff sees an argument taken out and an optional one added; here it is one argument, which clients must move."
)
_PATTERN = "oasdiff does not compare patterns, and warns of each change; here they are compared as automata."
EXPLAINED: dict[str, str] = {
    "query argument taken out": _CLOSED,
    "optional argument added, undone": _CLOSED,
    "required argument added, undone": _CLOSED,
    "body property taken out": _CLOSED,
    "body property added, undone": _CLOSED,
    "query default changed": _DEFAULT,
    "query default changed, undone": _DEFAULT,
    "query default taken out": _DEFAULT,
    "query explode off": _STYLE,
    "query explode off, undone": _STYLE,
    "argument from header to query": _PLACE,
    "argument from header to query, undone": _PLACE,
    "body pattern narrowed": _PATTERN,
    "body pattern narrowed, undone": _PATTERN,
    "answer pattern changed": _PATTERN,
    "answer pattern changed, undone": _PATTERN,
    "body nested property taken out, undone": "The nested object is open, so callers may have sent anything under that "
    "name; oasdiff holds that to be unlikely.",
    "body nested closed": "oasdiff does not look at `additionalProperties` here; what callers sent beside is refused.",
    "answer closed, undone": "oasdiff does not look at `additionalProperties` here; who checks answers by the old schema "
    "refuses the new ones.",
    "answer property taken out": "oasdiff says nothing of optional properties of answers; who reads it loses it.",
}
"""Why the verdicts differ, by change and direction."""


def opinions(program: Path, scratch: Path, names: Sequence[str] = tuple(EDITS)) -> list[Opinion]:
    """Both verdicts on every change, done and undone."""
    sources = Sources(scratch)
    base_file = scratch / "base.json"
    base_file.write_text(json.dumps(DESCRIPTION))
    base = from_source(sources, DESCRIPTION)
    found = []
    for number, name in enumerate(names):
        changed = copy.deepcopy(DESCRIPTION)
        EDITS[name](changed)
        assert changed != DESCRIPTION, name
        file = scratch / f"changed-{number}.json"
        file.write_text(json.dumps(changed))
        contract = from_source(sources, changed)
        for back in (False, True):
            files = (file, base_file) if back else (base_file, file)
            theirs = judged(program, *files)
            ours = compare_contracts(*((contract, base) if back else (base, contract)))
            levels = {b.level for b in ours}
            verdict = "breaks" if "breaking" in levels else "may break" if levels else "fine"
            codes = tuple(sorted({b.code for b in ours}))
            found.append(Opinion(name, back, *theirs, verdict, codes))
    return found


def judged(program: Path, base: Path, revision: Path) -> tuple[str, tuple[str, ...]]:
    """oasdiff's verdict, and the ids of what it finds."""
    done = subprocess.run(
        [program, "breaking", base, revision, "--format", "json", "--allow-external-refs=false"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    entries = json.loads(done.stdout or "[]")
    levels = {e["level"] for e in entries}
    verdict = "breaks" if 3 in levels else "may break" if 2 in levels else "fine"
    return verdict, tuple(sorted({e["id"] for e in entries}))


def table(found: Sequence[Opinion]) -> str:
    """The opinions in Markdown."""
    agreed = sum(o.agree for o in found)
    lines = [
        f"oasdiff {VERSION} and STOA on {len(found)} pairs: {agreed} verdicts are the same, "
        f"{len(found) - agreed} differ.",
        "",
        "| change | oasdiff | STOA | |",
        "|---|---|---|---|",
    ]
    for one in found:
        theirs, ours = (
            f"{verdict}{': ' if ids else ''}{', '.join(f'`{i}`' for i in ids)}"
            for verdict, ids in ((one.theirs, one.their_ids), (one.ours, one.our_codes))
        )
        why = "" if one.agree else EXPLAINED.get(one.key, "**not explained**")
        lines.append(f"| {one.key} | {theirs} | {ours} | {why} |")
    return "\n".join(lines) + "\n"


def put_into(page: Path, text: str, begin: str, end: str) -> bool:
    """Puts the text between two marks of a page; whether they are there."""
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", old, flags=re.DOTALL)
    if count == 1:
        page.write_text(new, encoding="utf-8")
    return count == 1


def main() -> int:
    """The exit code: 1 where a disagreement is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table between the marks of this page")
    options = parser.parse_args()
    try:
        program = oasdiff()
    except pytest.skip.Exception as missing:
        print(missing.msg, file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="stoa-oasdiff-") as scratch:
        found = opinions(program, Path(scratch))
    print(table(found))
    if options.update and not put_into(options.update, table(found), BEGIN, END):
        print(f"error: {options.update} has no marks for the table", file=sys.stderr)
        return 2
    return 0 if all(o.agree or o.key in EXPLAINED for o in found) else 1


if __name__ == "__main__":
    sys.exit(main())

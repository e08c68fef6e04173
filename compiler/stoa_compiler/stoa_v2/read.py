"""Read: files of the earlier form, each with what its shape says it is."""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from stoa_compiler.characters import hidden_character
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.parse import parse_file
from stoa_compiler.records import record
from stoa_compiler.source import Document, SourceFile

MAX_BYTES = 5_000_000

NOT_RECOGNISED = Rule(
    code="STOA801",
    title="neither a contract nor a tenant's bundle",
    why="What cannot be told apart cannot be carried over.",
    help="A contract has `name`, `tenant_id` and `endpoints`; a bundle has `kind: UniversalAPIContract` and `spec`.",
)
MALFORMED = Rule(
    code="STOA802",
    title="the value is not what its key asks for",
    why="Guessing what was meant could open what was closed.",
    help="Correct the value, or remove it, and import again.",
)
NOT_JSON = Rule(
    code="STOA803",
    title="not well-formed JSON",
    why="The file ends or turns where JSON expects something else, so nothing in it can be trusted.",
    help="Mend the syntax at the marked place.",
)
FILE_TOO_LARGE = Rule(
    code="STOA804",
    title="the file is too large to import",
    why=f"A file may have {MAX_BYTES:,} bytes, so that none can exhaust the importer.",
    help="Split the file.",
)
HIDDEN = Rule(
    code="STOA805",
    title="characters that cannot be seen are left out",
    why="They let a text say one thing to a reviewer and another to an agent.",
    help="Compare the text with what was meant.",
    severity="warning",
)
LITERAL = Rule(
    code="STOA806",
    title="a credential is written out in the file",
    why="Whoever has the file has the credential. It is not carried over.",
    help="Revoke it now, keep its successor in Vault, and name it by `env_var`.",
    severity="warning",
)

RULES = (NOT_RECOGNISED, MALFORMED, NOT_JSON, FILE_TOO_LARGE, HIDDEN, LITERAL)

Form = Literal["contract", "bundle"]

_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@record
class Input:
    """One file that can be carried over."""

    document: Document
    form: Form

    @property
    def data(self) -> dict[str, Any]:
        """Its root."""
        data: dict[str, Any] = self.document.data
        return data


@record
class Skipped:
    """A file that is not carried over, and why."""

    file: str
    reason: str


def read(files: Sequence[SourceFile], report: Report) -> tuple[list[Input], list[Skipped]]:
    """The files that can be carried over, and those that cannot; what is wrong with these is reported."""
    inputs: list[Input] = []
    skipped: list[Skipped] = []
    for file in files:
        before = report.errors
        document = _document(file, report)
        form = None if document is None else _form(document.data)
        if document is not None and form is not None:
            inputs.append(Input(document, form))
        elif document is not None and _is_json_schema(document.data):
            skipped.append(Skipped(file.shown, "a JSON Schema: it describes contracts and is none"))
        else:
            if document is not None:
                report.add(NOT_RECOGNISED, document.span(), _what_is_missing(document.data))
            found = next((d for d in report.sorted() if d.span.file == file.shown), None)
            said = f"{found.span.line}:{found.span.column}: {found.message}" if found else "it could not be read"
            skipped.append(Skipped(file.shown, said))
            assert report.errors > before
    return inputs, skipped


def _document(file: SourceFile, report: Report) -> Document | None:
    if len(file.content) > MAX_BYTES:
        report.add(FILE_TOO_LARGE, file.span(), f"`{file.path}` has {len(file.content):,} bytes")
        return None
    visible = _visible(file, report)
    checked = _json(visible, report) if file.path.lower().endswith(".json") else visible
    return None if checked is None else parse_file(checked, report)


def _visible(file: SourceFile, report: Report) -> SourceFile:
    """The file without characters that nobody sees and with its text composed: remarks of people often hold some."""
    try:
        text = file.content.decode("utf-8")
    except UnicodeDecodeError:
        return file
    if text.startswith("\ufeff"):
        text = text[1:]
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        visible = line.replace("\t", "")
        if not visible.isascii() and (found := hidden_character(visible)):
            at = line.index(found[0])
            report.add(HIDDEN, file.span(number, at + 1, len(found[0])), f"U+{ord(found[0][0]):04X} is left out")
            lines[number - 1] = "".join(c for c in line if c == "\t" or c < " " or not hidden_character(c))
    return SourceFile(file.path, file.shown, "\n".join(lines).encode())


def _json(file: SourceFile, report: Report) -> SourceFile | None:
    """The file for a reader of YAML, if it is JSON: YAML's flow style takes much that is broken JSON."""
    try:
        text = file.content.decode("utf-8")
        json.loads(text)
    except json.JSONDecodeError as error:
        report.add(NOT_JSON, file.span(error.lineno, error.colno, 1), error.msg.lower())
        return None
    except UnicodeDecodeError:
        return file
    except (RecursionError, ValueError):
        report.add(NOT_JSON, file.span(), "nested too deep, or a number too long")
        return None
    # A pair of escapes for one character is JSON's way alone.
    text = _SURROGATES.sub(lambda found: f"{found[1]}\\U{_code_point(found):08x}", text)
    return SourceFile(file.path, file.shown, text.encode())


def _code_point(found: re.Match[str]) -> int:
    return 0x10000 + ((int(found[2], 16) - 0xD800) << 10) + (int(found[3], 16) - 0xDC00)


def _form(data: Any) -> Form | None:
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("spec"), dict) and ("kind" in data or "metadata" in data):
        version = data.get("apiVersion")
        return "bundle" if data.get("kind") == "UniversalAPIContract" and version != "gostoa.dev/v2" else None
    return "contract" if "endpoints" in data or {"name", "tenant_id"} <= data.keys() else None


def _is_json_schema(data: Any) -> bool:
    return isinstance(data, dict) and "$schema" in data and "endpoints" not in data


def _what_is_missing(data: Any) -> str:
    if not isinstance(data, dict):
        return "the file holds no mapping"
    if data.get("apiVersion") == "gostoa.dev/v2":
        return "the file is a document of the language already"
    if "kind" in data and data["kind"] != "UniversalAPIContract":
        return f"`{str(data['kind'])[:60]}` is not a kind that can be carried over"
    if "kind" in data:
        return "the bundle has no `spec` with keys"
    return "the file has neither `endpoints` nor `kind` and `spec`"

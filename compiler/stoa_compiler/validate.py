"""Validate: each document against its kind's model, closed at every level."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stoa_compiler import fixes
from stoa_compiler.diagnostics import Fix, Note, Report, Rule, listed, lookalikes, nearest
from stoa_compiler.load import Placed
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc
from stoa_schemas import base, names
from stoa_schemas.base import API_VERSION, pattern_of
from stoa_schemas.documents import KINDS, AnyDocument

UNKNOWN_KEY = Rule(
    code="STOA201",
    title="the key is not known",
    why="A key that nothing reads would be declared and never enforced.",
    help="Remove the key, or use one that is known here.",
)
MISSING_KEY = Rule(
    code="STOA202",
    title="a key is missing",
    why="Without it the document does not say enough to be enforced.",
    help="Add the key.",
)
WRONG_TYPE = Rule(
    code="STOA203",
    title="the value is of another type",
    why="Values are never converted: what is written is what is meant.",
    help="Write a value of the type that is asked for; text that looks like a number needs quotes.",
)
NOT_A_CHOICE = Rule(
    code="STOA204",
    title="the value is none of those that are possible",
    why="The key takes a fixed set of values; another would mean nothing to what reads it.",
    help="Use one of the values listed.",
)
MALFORMED = Rule(
    code="STOA205",
    title="the value is not well formed",
    why="Names, versions, URLs, durations and references have one form each, so that every reader takes them alike.",
    help="Write the value in the form that is described.",
)
OUT_OF_BOUNDS = Rule(
    code="STOA206",
    title="too small, too large, too short or too long",
    why="Bounds keep one tenant's document from costing all others.",
    help="Stay within the bounds.",
)
WRONG_KIND = Rule(
    code="STOA207",
    title="`apiVersion` or `kind` is not what lies here",
    why="What a document is follows from where it lies, and must agree with what it says.",
    help="Correct the line, or move the file.",
)
WRONG_NAME = Rule(
    code="STOA208",
    title="`metadata` disagrees with the path",
    why="A document copied from elsewhere could speak in another's name: identity comes from the path.",
    help="Correct `metadata`, or move the file.",
)
NULL = Rule(
    code="STOA209",
    title="the key has no value",
    why="Left out means «not managed here», an empty list means «none»; null would mean either.",
    help="Remove the key, or give it a value.",
)
PLACEHOLDER = Rule(
    code="STOA210",
    title="placeholder syntax in text",
    why="`${...}`, `{{...}}` and `$(...)` are filled in by Keycloak, Helm, Vault and shells: text that a tenant writes "
    "must never be one.",
    help="Write the text without the placeholder.",
)

RULES = (
    UNKNOWN_KEY,
    MISSING_KEY,
    WRONG_TYPE,
    NOT_A_CHOICE,
    MALFORMED,
    OUT_OF_BOUNDS,
    WRONG_KIND,
    WRONG_NAME,
    NULL,
    PLACEHOLDER,
)

_FREE_FORM = frozenset({"input", "output"})
"""Keys of an operation and of its examples below which the author's own schemas and values stand."""
_PLACEHOLDERS = ("${", "{{", "$(")
_NULLS = (":null", ",null", "[null")
"""How JSON writes a value that is null."""


@record(slots=False)
class Valid:
    """A document that fits its kind's model."""

    place: Placed
    document: Document
    value: AnyDocument


def validate(parsed: Iterable[tuple[Placed, Document]], report: Report) -> list[Valid]:
    """The documents that fit their models; what does not is reported, every mistake of it."""
    valid = []
    for place, document in parsed:
        value = validate_document(place, document, report)
        if value is not None:
            valid.append(Valid(place, document, value))
    return valid


def validate_document(place: Placed, document: Document, report: Report) -> AnyDocument | None:
    """The typed document, or None where there is a finding in it or was one while it was parsed."""
    before, doubts = report.errors, document.doubts
    if not isinstance(document.data, dict):
        report.add(
            WRONG_TYPE,
            document.span(),
            f"a document is a mapping, not {_type_name(document.data)}",
            help="Begin with `apiVersion:`, `kind:`, `metadata:` and `spec:`.",
        )
        return None
    if not _check_header(place, document, report):
        return None
    for loc, text in _texts(document.data, ()) if document.may_hold(*_PLACEHOLDERS, *_NULLS) else ():
        if doubts is not None and doubts.hide(loc):
            continue
        if text is None:
            fix = None if _is_required(place, document, loc) else fixes.without_null(document, loc)
            report.add(NULL, document.span(loc, "key"), f"`{_key(loc)}` has no value", fix=fix)
        elif (found := placeholder_in(text)) is not None:
            at = document.find(loc, found)
            report.add(PLACEHOLDER, at, f"`{_key(loc)}` holds the placeholder syntax `{found}`")
    value: AnyDocument | None = None
    try:
        value = KINDS[place.kind].model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        exact: dict[Loc, str] = {("apiVersion",): API_VERSION, ("kind",): place.kind}
        exact |= {("metadata", "name"): place.name, ("metadata", "tenant"): place.tenant or ""}
        _Described(document, _schema(place.kind), exact, report).explain_all(error.errors(include_url=False))
    _check_identity(place, document, report)
    return value if report.errors == before and doubts is None else None


def placeholder_in(text: str) -> str | None:
    """The placeholder syntax that `text` holds."""
    return next((p for p in _PLACEHOLDERS if p in text), None)


def _check_header(place: Placed, document: Document, report: Report) -> bool:
    """Whether `apiVersion` and `kind` are those of the place; what else is wrong would only be noise."""
    fine = True
    for key, wanted in (("apiVersion", API_VERSION), ("kind", place.kind)):
        found = document.data.get(key)
        if found is None or found == wanted:
            continue
        fine = False
        if document.doubts is not None and document.doubts.hide((key,)):
            continue
        said = f"`{found}`" if isinstance(found, str) else _type_name(found)
        close = key == "kind" and isinstance(found, str) and found in KINDS
        report.add(
            WRONG_KIND,
            document.span((key,)),
            f"`{key}` is {said}, but `{place.file.path}` holds `{wanted}`",
            help=f"Write `{key}: {wanted}`" + (f", or move the file to where a {found} lies." if close else "."),
            fix=None if close or not isinstance(found, str) else fixes.put(document.span((key,)), wanted),
        )
    return fine


def _check_identity(place: Placed, document: Document, report: Report) -> None:
    metadata = document.data.get("metadata")
    if not isinstance(metadata, dict):
        return
    for key, wanted in (("name", place.name), ("tenant", place.tenant)):
        if key == "name" and place.kind == "Platform":
            continue
        if key == "tenant" and place.kind in ("Platform", "Tenant"):
            continue
        if document.doubts is not None and document.doubts.hide(("metadata", key)):
            continue
        found = metadata.get(key)
        if isinstance(found, str) and names.is_id(found) and found != wanted:
            report.add(
                WRONG_NAME,
                document.span(("metadata", key)),
                f"`{key}` is `{found}`, but the path says `{wanted}`",
                help=f"Write `{key}: {wanted}`, or move the file.",
                fix=fixes.put(document.span(("metadata", key)), wanted) if wanted else None,
            )


def _texts(data: Any, loc: Loc) -> Iterator[tuple[Loc, str | None]]:
    """Every string and null outside the author's own schemas and values."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if _is_free_form((*loc, key)) and (value is not None or len(loc) > 3):
                continue
            yield from _texts(value, (*loc, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*loc, index))
    elif data is None or isinstance(data, str):
        yield loc, data


_ID_FORM = "1 to 31 lower-case ASCII letters, digits and inner hyphens, beginning with a letter"
_FORMS: Mapping[str, str] = {
    names.ID: f"An id is {_ID_FORM}.",
    names.OPERATION: "An operation's name is lower-case ASCII letters, digits and underscores, beginning with a "
    "letter, 63 at the most.",
    names.USERNAME: "A user name is lower-case ASCII letters, digits, `.`, `_` and `-`, beginning with a letter.",
    pattern_of(base.Title): "A title is one line without white space at its ends.",
    pattern_of(base.Email): "Write an address such as `team@example.com`.",
    pattern_of(base.SemVer): "Write a version such as `1.4.0` (Semantic Versioning 2.0.0).",
    pattern_of(base.Sha256): "Write the 64 hexadecimal digits that `sha256sum` prints, in lower case.",
    pattern_of(base.Duration): "Write a whole number with `ms`, `s`, `m` or `h`: `500ms`, `2s`.",
    pattern_of(base.Rate): "Write a whole number per `second`, `minute`, `hour` or `day`: `60/minute`.",
    pattern_of(base.Day): "Write a day as `YYYY-MM-DD`: `2027-03-31`.",
    pattern_of(base.Url): "Write an absolute http or https URL without user, query or fragment: "
    "`https://api.example.com/v1`.",
    pattern_of(
        base.DnsName
    ): "Write a DNS name in lower case: labels of letters, digits and inner hyphens, each at most "
    "63 characters, with dots between them.",
    pattern_of(base.HostPattern): "Write a host name in lower case, or `*.` and a host name for every name below it.",
    pattern_of(base.Cidr): "Write a range in CIDR form: `10.20.0.0/16`.",
    r"^sources/[a-z0-9][A-Za-z0-9._-]*\.(json|yaml|yml)$": "Write `sources/` and the name of a file that lies right in "
    "that folder of the tenant.",
    r"^/[^\s?#]*$": "Write a path that begins with `/`, without white space, query or fragment: `/orders/{order_id}`.",
    pattern_of(base.SecretRef): "Write where the secret is kept, `vault:<path>#<key>`; never the secret itself.",
    pattern_of(base.ToolPattern): "Write `tenant:contract:operation`, with `*` only for one whole segment: "
    "`ioi:billing:*`.",
}
"""What each form of text asks for, by its pattern."""
_SECRET = pattern_of(base.SecretRef)
_WANTED: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
"""What pydantic asked for, in words."""


def _is_free_form(loc: Loc) -> bool:
    """Whether the author's own schema or value begins at `loc`."""
    in_operation = len(loc) == 4 or (len(loc) == 6 and loc[3] == "examples")
    return in_operation and loc[:2] == ("spec", "operations") and loc[-1] in _FREE_FORM


@cache
def _schema(kind: str) -> dict[str, Any]:
    """The kind's JSON Schema, for the words of messages."""
    return KINDS[kind].model_json_schema(by_alias=True)


@record(slots=False)
class _Described:
    """Turns pydantic's errors into findings at the author's own words."""

    document: Document
    schema: dict[str, Any]
    exact: Mapping[Loc, str]
    """Values that the place decides."""
    report: Report

    def explain_all(self, errors: Sequence[ErrorDetails]) -> None:
        """Adds the findings. A required key that is only misspelt is not reported as missing too."""
        errors = [e for e in errors if not self._doubted(e)]
        missing = {self._real(e["loc"])[0] for e in errors if e["type"] == "missing"}
        misspelt: set[Loc] = set()
        for error in errors:
            if error["type"] == "extra_forbidden":
                loc, _ = self._real(error["loc"])
                close = self._meant(loc)
                if close and (*loc[:-1], close) in missing:
                    misspelt.add((*loc[:-1], close))
        for error in errors:
            if error["type"] != "missing" or self._real(error["loc"])[0] not in misspelt:
                self.explain(error)

    def _doubted(self, error: ErrorDetails) -> bool:
        """Whether the error only follows from what the YAML does not tell."""
        doubts = self.document.doubts
        if doubts is None:
            return False
        loc, _ = self._real(error["loc"])
        if error["type"] == "missing" and loc[:-1] in doubts.mappings:
            return True
        unions = (loc[:length] for length, step in enumerate(loc, start=1) if step == "auth")
        if any(doubts.hide((*union, "type")) for union in unions):
            return True  # What else a union may hold follows from its `type`.
        lacks = error["type"].endswith(("too_short", "union_tag_not_found"))
        return doubts.hide(loc) or (lacks and loc in doubts.mappings)

    def explain(self, error: ErrorDetails) -> None:
        """Adds the finding for one error."""
        loc, in_key = self._real(error["loc"])
        kind = error["type"]
        name = _key(loc)
        if kind == "extra_forbidden":
            self._unknown(loc)
        elif kind == "missing":
            parent = loc[:-1]
            at = self.document.span(parent, "key") if parent else self.document.span()
            where = f" in `{_key(parent)}`" if parent else ""
            exact = self.exact.get(loc)
            advice = f"Add `{name}: {exact}`." if exact else f"Add `{name}:`."
            fix = fixes.added(self.document, loc, exact) if exact else None
            self._add(MISSING_KEY, at, loc, f"`{name}` is missing{where}", help=advice, fix=fix)
        elif kind in ("literal_error", "enum", "union_tag_invalid"):
            self._choice(loc, error, in_key)
        elif kind == "union_tag_not_found" and (typo := next((k for k in error["input"] if nearest(k, ["type"])), "")):
            said = f"the key `{typo}` is not known in `{name}`"
            self.report.add(
                UNKNOWN_KEY, self.document.span((*loc, typo), "key"), said, lookalikes(typo), "Did you mean `type`?"
            )
        elif kind == "union_tag_not_found":
            self._add(
                MISSING_KEY,
                self.document.span(loc, "key"),
                loc,
                f"`type` is missing in `{name}`",
                help="Add `type: bearer`, `header` or `basic`.",
            )
        elif kind == "string_pattern_mismatch":
            self._malformed(loc, error, in_key)
        elif kind.endswith(("too_short", "too_long", "_than", "_than_equal")):
            self._bounds(loc, error)
        else:
            if error["input"] is None and not (len(loc) == 6 and _is_free_form(loc)):
                return  # Reported as a key without a value.
            self._wrong_type(loc, error)

    def _exactly(self, loc: Loc) -> Fix | None:
        """The value that the place decides, in place of the author's."""
        exact = self.exact.get(loc)
        if not exact or not isinstance(self._data(loc), (str, int, float)):
            return None
        return fixes.put(self.document.span(loc), exact)

    def _bounds(self, loc: Loc, error: ErrorDetails) -> None:
        name, value = _key(loc), error["input"]
        context = {k: f"{v:g}" if isinstance(v, float) else v for k, v in error.get("ctx", {}).items()}
        unit = "characters" if error["type"].startswith("string") else "entries"
        said, advice = {
            "too_short": ("empty", f"Give it at least {context.get('min_length')}."),
            "too_long": (
                f"longer than {context.get('max_length')} {unit}",
                f"Leave out {_surplus(value, error.get('ctx', {}).get('max_length'))}.",
            ),
            "greater_than": (f"not greater than {context.get('gt')}", f"Write more than {context.get('gt')}."),
            "greater_than_equal": (f"less than {context.get('ge')}", f"Write {context.get('ge')} or more."),
            "less_than": (f"not less than {context.get('lt')}", f"Write less than {context.get('lt')}."),
            "less_than_equal": (f"greater than {context.get('le')}", f"Write {context.get('le')} or less."),
        }[error["type"].removeprefix("string_")]
        self._add(OUT_OF_BOUNDS, self.document.span(loc), loc, f"`{name}` is {said}", advice)

    def _wrong_type(self, loc: Loc, error: ErrorDetails) -> None:
        name, value, kind = _key(loc), error["input"], error["type"]
        wanted = _WANTED.get(kind, "something else")
        found = "a fraction" if isinstance(value, float) and wanted == "a whole number" else _type_name(value)
        own, fix = str(loc[-1]), self._exactly(loc)
        match wanted, value:
            case "a string", bool() | int() | float() if self._form_at(loc):
                advice = self._form_at(loc)
            case "a string", bool() | int() | float():
                advice = f'Put it in quotes: `{own}: "{self._written(loc)}"`.'
                fix = fix or fixes.in_quotes(self.document, loc)
            case "true or false", str():
                advice = "Write `true` or `false`; every other word is a string."
            case "a whole number" | "a number", str() if value.isascii() and value.isdigit():
                advice = f"Remove the quotes: `{own}: {value}`."
                fix = fixes.without_quotes(self.document, loc, value)
            case "a list", str():
                advice = f"Write a list: `{own}: [{value[:40]}]`."
            case _:
                advice = f"Write {wanted}."
        said = f"`{name}` must be {wanted}, not {found}"
        self._add(WRONG_TYPE, self.document.span(loc), loc, said, advice, fix=fix)

    def _form_at(self, loc: Loc) -> str:
        """What the form at `loc` asks for, where the value in quotes would not have it."""
        pattern = self._at(loc).get("pattern", "")
        return "" if re.search(pattern, self._written(loc)) else _FORMS.get(pattern, "")

    def _written(self, loc: Loc) -> str:
        """The value as the author typed it."""
        span = self.document.span(loc)
        return self.document.file.lines[span.line - 1][span.column - 1 : span.end_column - 1]

    def _malformed(self, loc: Loc, error: ErrorDetails, in_key: bool) -> None:
        pattern = error.get("ctx", {}).get("pattern", "")
        form = _FORMS.get(pattern, "")
        if pattern == _SECRET:
            at = self.document.span(loc, "key")
            said = f"`{_key(loc)}` is no reference to a secret"
            self.report.add(MALFORMED, at, said, help=form, private=True)
            return
        text = str(loc[-1] if in_key else error["input"])
        shown = text.replace("\n", "\\n").replace("\t", "\\t")[:80]
        self._add(
            MALFORMED,
            self.document.span(loc, "key" if in_key else "value"),
            loc,
            f"`{shown}` is not well formed",
            form,
            in_key,
            lookalikes(text) if pattern != pattern_of(base.Title) else (),
            None if in_key else self._exactly(loc) or fixes.trimmed(self.document, loc, pattern),
        )

    def _add(
        self,
        rule: Rule,
        span: Any,
        loc: Loc,
        message: str,
        help: str = "",
        in_key: bool = False,
        notes: Sequence[Note] = (),
        fix: Fix | None = None,
    ) -> None:
        described = self._at(loc[:-1] if in_key else loc).get("description")
        if in_key and described:
            notes = [*notes, Note(f"keys of `{_key(loc[:-1])}`: {described}")]
        elif described and loc:
            notes = [*notes, Note(f"`{_key(loc)}`: {described}")]
        self.report.add(rule, span, message, notes, help, fix=fix)

    def _meant(self, loc: Loc) -> str | None:
        """The known key that is not there yet and that an unknown one was probably meant to be."""
        return nearest(str(loc[-1]), [k for k in self._known(loc) if k not in self._data(loc[:-1])])

    def _known(self, loc: Loc) -> list[str]:
        return sorted(self._at(loc[:-1]).get("properties", {}))

    def _data(self, loc: Loc) -> Any:
        data = self.document.data
        for step in loc:
            data = data[step]
        return data

    def _unknown(self, loc: Loc) -> None:
        known, key, close = self._known(loc), str(loc[-1]), self._meant(loc)
        there = nearest(key, known)
        self.report.add(
            UNKNOWN_KEY,
            self.document.span(loc, "key"),
            f"the key `{key}` is not known" + (f" in `{_key(loc[:-1])}`" if len(loc) > 1 else ""),
            notes=[*lookalikes(key), *([Note(f"known here: {listed(known, 30)}")] if known else [])],
            help=f"Did you mean `{close}`?"
            if close
            else f"Remove the key; `{there}` is there already."
            if there
            else "",
            fix=fixes.meant(self.document, loc, [k for k in known if k not in self._data(loc[:-1])], in_key=True),
        )

    def _choice(self, loc: Loc, error: ErrorDetails, in_key: bool) -> None:
        if error["input"] is None:
            return
        found = loc[-1] if in_key else error["input"]
        if error["type"] == "union_tag_invalid":
            if error["input"].get("type") is None:
                return
            loc = (*loc, "type")
            found = error["ctx"]["tag"]
            allowed = [t.strip("' ") for t in str(error["ctx"]["expected_tags"]).split(",")]
        else:
            node = self._at(loc[:-1]).get("propertyNames", {}) if in_key else self._at(loc)
            node = self._deref(node)
            allowed = [str(c) for c in node.get("enum", [node["const"]] if "const" in node else [])]
        close = nearest(str(found), allowed)
        where = f"`{_key(loc[:-1] if in_key else loc)}`"
        self.report.add(
            NOT_A_CHOICE,
            self.document.span(loc, "key" if in_key else "value"),
            f"`{str(found)[:80]}` is not possible for {where}",
            notes=[Note(f"possible: {listed(allowed, 20)}")] if allowed else [],
            help=f"Did you mean `{close}`?" if close else "",
            fix=fixes.meant(self.document, loc, allowed, in_key),
        )

    def _real(self, loc: Sequence[str | int]) -> tuple[Loc, bool]:
        """The part of pydantic's path that exists in the document, and whether its end is a key.

        Unions put their tags into the path; a bad key of a mapping ends with `[key]`.
        """
        in_key = bool(loc) and loc[-1] == "[key]"
        steps = list(loc[:-1] if in_key else loc)
        real: list[str | int] = []
        data = self.document.data
        for index, step in enumerate(steps):
            inside = (isinstance(data, Mapping) and step in data) or (
                isinstance(data, list) and isinstance(step, int) and step < len(data)
            )
            is_tag = bool(real) and real[-1] == "auth" and isinstance(data, Mapping) and data.get("type") == step
            if inside and not is_tag:
                data = data[step]
                real.append(step)
            elif index == len(steps) - 1:
                real.append(step)
        return tuple(real), in_key

    def _at(self, loc: Loc) -> dict[str, Any]:
        """The JSON Schema that holds at `loc`."""
        node = self._deref(self.schema)
        data = self.document.data
        for step in loc:
            described = {k: v for k, v in node.items() if k == "description"} if step not in node else {}
            node = self._variant(node, data)
            if isinstance(step, int):
                node = node.get("items", {})
            else:
                by_pattern: dict[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
                node = node.get("properties", {}).get(step) or node.get("additionalProperties") or by_pattern
                if not node:
                    return described
            node = self._deref(node if isinstance(node, dict) else {})
            try:
                data = data[step]
            except (KeyError, IndexError, TypeError):
                data = None
        return self._variant(node, data)

    def _variant(self, node: dict[str, Any], data: Any) -> dict[str, Any]:
        """The branch of a union that `data` chose by its `type`; `node` itself where it is no union."""
        if "oneOf" not in node or "discriminator" not in node or not isinstance(data, Mapping):
            return node
        tag = node["discriminator"]["mapping"].get(str(data.get("type")))
        return self._deref({"$ref": tag}) if tag else node

    def _deref(self, node: dict[str, Any]) -> dict[str, Any]:
        """`node` with its reference, or the only branch that is not null, taken in; its own words win."""
        for branch in node.get("anyOf", []):
            if branch.get("type") != "null":
                return self._deref({**branch, **{k: v for k, v in node.items() if k == "description"}})
        if "$ref" in node:
            target = self.schema["$defs"][node["$ref"].rpartition("/")[2]]
            return self._deref({**target, **{k: v for k, v in node.items() if k != "$ref"}})
        return node


def _is_required(place: Placed, document: Document, loc: Loc) -> bool:
    """Whether the document cannot do without what stands at `loc`, or the author alone knows."""
    if not loc or isinstance(loc[-1], int):
        return False
    if _is_free_form(loc):
        return True
    node = _Described(document, _schema(place.kind), {}, Report())._at(loc[:-1])
    return loc[-1] not in node.get("properties", {}) or loc[-1] in node.get("required", ())


def _key(loc: Loc) -> str:
    """How a place is named in a message: its last key, with the index of a list's item."""
    if not loc:
        return "the document"
    if isinstance(loc[-1], int):
        return f"{_key(loc[:-1])}[{loc[-1]}]"
    return str(loc[-1])


def _surplus(value: Any, limit: int | None) -> str:
    """How much of a value is too much."""
    if limit is None:
        return "nothing"
    more = len(value) - limit
    return f"{more} character{'s' * (more != 1)}" if isinstance(value, str) else f"{more} of them"


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "a mapping"

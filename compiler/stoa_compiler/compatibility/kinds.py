"""The kinds of breaking changes: what each is called, whom it hits, and how sure it is."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from stoa_compiler.compatibility.subschema import Family
from stoa_compiler.records import record

Category: TypeAlias = Literal["wire", "agent", "source"]
"""`wire`: a call over HTTP or MCP that worked fails; `agent`: what a model reads or plans with changes; `source`:
generated code or names in it change."""
Level: TypeAlias = Literal["breaking", "possible"]
"""`possible`: nobody can tell from the contract alone whether a caller is hit."""


@record
class Kind:
    """One kind of breaking change."""

    code: str
    categories: tuple[Category, ...]
    title: str
    """What happened, in a few words."""
    level: Level = "breaking"


_ALL: tuple[Category, ...] = ("wire", "agent", "source")
_CALL: tuple[Category, ...] = ("wire", "agent")
_HTTP: tuple[Category, ...] = ("wire", "source")

_KINDS = (
    Kind("contract-removed", _ALL, "the contract is gone"),
    Kind("contract-unpublished", _ALL, "the contract is a draft again, which exposes nothing"),
    Kind("operation-removed", _ALL, "the operation is gone"),
    Kind("operation-renamed", _ALL, "the operation, and with it the tool, has another name"),
    Kind("agents-excluded", _CALL, "agents may no longer call the operation"),
    Kind("protocol-removed", _ALL, "the operation is no longer exposed on a protocol"),
    Kind("side-effects-raised", _CALL, "calling may do more than before: roles lose the tool, agents must plan anew"),
    Kind("approval-demanded", _CALL, "each call now needs a second person"),
    Kind("method-changed", _HTTP, "the HTTP method is another"),
    Kind("path-changed", _HTTP, "the path is another"),
    Kind("base-path-changed", ("wire",), "the backend's base path is another", "possible"),
    Kind("argument-place-changed", _HTTP, "an argument goes to another part of the request"),
    Kind("argument-name-changed", _HTTP, "an argument has another name in the request"),
    Kind("argument-style-changed", _HTTP, "an argument is written otherwise in the request"),
    Kind("request-body-changed", _HTTP, "the body is made otherwise"),
    Kind("answer-media-type-changed", _HTTP, "answers of another media type are taken"),
    Kind("answer-schema-removed", _ALL, "nothing is promised of the answer any more"),
    Kind("answer-field-left-out", _ALL, "`answer.fields` no longer passes a member on"),
    Kind("answer-property-removed", ("agent", "source"), "the answer no longer names a property"),
    Kind("answer-unchecked", ("agent",), "answers outside the schema are passed on", "possible"),
    Kind("answer-truncated", ("agent",), "long answers are cut where they were refused", "possible"),
    Kind("answer-limit-lowered", _CALL, "answers may be less long", "possible"),
    Kind("default-changed", ("agent",), "a call without the argument means something else"),
    Kind("request-required-added", _ALL, "an argument or property is required that was not"),
    Kind("request-property-removed", _ALL, "an argument or property is no longer taken"),
    Kind("request-property-ignored", ("agent", "source"), "a property is no longer named, and still taken", "possible"),
    Kind("request-property-claimed", ("wire",), "a name that took anything takes only some values", "possible"),
    Kind("request-type-narrowed", _ALL, "fewer types are taken"),
    Kind("request-enum-narrowed", _ALL, "fewer values are taken"),
    Kind("request-bound-narrowed", _CALL, "a number has a narrower bound"),
    Kind("request-length-narrowed", _CALL, "a text has a narrower bound"),
    Kind("request-pattern-narrowed", _CALL, "fewer texts match"),
    Kind("request-format-narrowed", _CALL, "a text must have another format"),
    Kind("request-items-narrowed", _CALL, "items must fulfil more"),
    Kind("request-size-narrowed", _CALL, "there may be fewer items or properties, or must be more"),
    Kind("request-names-narrowed", _CALL, "fewer names of properties are taken"),
    Kind("request-closed", _CALL, "properties that are not named are no longer taken"),
    Kind("request-dependency-added", _CALL, "one property now demands another"),
    Kind("request-union-narrowed", _ALL, "no arm of the union takes what was taken"),
    Kind("request-exclusion-added", _CALL, "values are excluded that were taken"),
    Kind("request-condition-added", _CALL, "a condition refuses what was taken"),
    Kind("request-unproven", _CALL, "it is not proved that all that was taken still is", "possible"),
    Kind("answer-required-dropped", _ALL, "a property may be missing that never was"),
    Kind("answer-property-added", _ALL, "a property may come that the schema excluded"),
    Kind("answer-type-widened", _ALL, "more types may come"),
    Kind("answer-enum-widened", _ALL, "more values may come"),
    Kind("answer-bound-widened", _CALL, "a number has a wider bound"),
    Kind("answer-length-widened", _CALL, "a text has a wider bound"),
    Kind("answer-pattern-widened", _CALL, "more texts match"),
    Kind("answer-format-widened", _CALL, "a text may have another format"),
    Kind("answer-items-widened", _CALL, "items fulfil less"),
    Kind("answer-size-widened", _CALL, "more items or properties may come, or fewer"),
    Kind("answer-names-widened", _CALL, "more names of properties may come"),
    Kind("answer-opened", _CALL, "properties may come that are not named"),
    Kind("answer-dependency-dropped", _CALL, "a property may come without another"),
    Kind("answer-union-widened", _ALL, "something may come that no arm of the union had"),
    Kind("answer-exclusion-dropped", _CALL, "values may come that were excluded"),
    Kind("answer-condition-dropped", _CALL, "a condition no longer holds"),
    Kind("answer-unproven", _CALL, "it is not proved that answers still fit what was promised", "possible"),
)

KINDS: Mapping[str, Kind] = {kind.code: kind for kind in _KINDS}
"""Every kind by its code."""

OF_REQUEST: Mapping[Family, str] = {
    "bound": "request-bound-narrowed",
    "claimed": "request-property-claimed",
    "closed": "request-closed",
    "condition": "request-condition-added",
    "dependency": "request-dependency-added",
    "enum": "request-enum-narrowed",
    "excluded": "request-exclusion-added",
    "format": "request-format-narrowed",
    "items": "request-items-narrowed",
    "length": "request-length-narrowed",
    "names": "request-names-narrowed",
    "pattern": "request-pattern-narrowed",
    "property": "request-property-removed",
    "required": "request-required-added",
    "size": "request-size-narrowed",
    "type": "request-type-narrowed",
    "union": "request-union-narrowed",
    "unproven": "request-unproven",
}
OF_ANSWER: Mapping[Family, str] = {
    "bound": "answer-bound-widened",
    "claimed": "answer-property-removed",
    "closed": "answer-opened",
    "condition": "answer-condition-dropped",
    "dependency": "answer-dependency-dropped",
    "enum": "answer-enum-widened",
    "excluded": "answer-exclusion-dropped",
    "format": "answer-format-widened",
    "items": "answer-items-widened",
    "length": "answer-length-widened",
    "names": "answer-names-widened",
    "pattern": "answer-pattern-widened",
    "property": "answer-property-added",
    "required": "answer-required-dropped",
    "size": "answer-size-widened",
    "type": "answer-type-widened",
    "union": "answer-union-widened",
    "unproven": "answer-unproven",
}

"""Provenance as text and JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from stoa_compiler.matrix.forms import Style
from stoa_compiler.provenance import Provenance
from stoa_compiler.provenance.model import Cause, Place, Traced
from stoa_compiler.provenance.reading import written
from stoa_compiler.reports.terminal import visible, wrapped

VERSION = "gostoa.dev/provenance/v1"
_SHOWN = 160


def as_text(provenance: Provenance, values: Sequence[Traced], style: Style, limit: int) -> str:
    """Each value, the rule that made it, and the places that it comes from."""

    def lines() -> Iterator[str]:
        for number, traced in enumerate(values[:limit] if limit else values):
            if number:
                yield ""
            yield from _value(provenance, traced, style)
        if limit and len(values) > limit:
            yield ""
            yield f"and {len(values) - limit} values more: --limit 0 shows all"

    return "\n".join(lines()) + "\n"


def _value(provenance: Provenance, traced: Traced, style: Style) -> Iterator[str]:
    yield style.paint("1", visible(f"{traced.path}:{written(traced.pointer)}"))
    text = orjson.dumps(traced.value).decode()
    yield f"  {visible(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...')}"
    assert traced.emission is not None
    kind = "constant" if traced.emission.constant else "rule"
    yield from wrapped(f"{traced.emission.name}: {traced.emission.sentence}", f"  {kind}: ", style.width)
    for cause in traced.causes:
        yield from _cause(cause)
    if traced.within:
        files = list(dict.fromkeys(path for path, _ in traced.within))
        named = ", ".join(f"`{visible(f)}`" for f in files)
        places = {p.key for c in provenance.causes(traced) for p in c.places}
        documents = len({file for file, _, _ in places})
        said = f"{named}: {_count(len(places), 'place')} in {_count(documents, 'file')}"
        yield from wrapped(
            f"{said}; `stoa explain` tells of each value there", "    made of the values of ", style.width
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _cause(cause: Cause) -> Iterator[str]:
    for number, place in enumerate(cause.places):
        lead = "from" if number == 0 else "or, just as well," if cause.together else "or"
        said = "" if place.there else ", which is left out: the default holds"
        yield f"    {lead} {visible(str(place.span))}  {visible(shown(place))}{said}"


def shown(place: Place) -> str:
    """The place's path in its document, as a person writes it."""
    text = ""
    for step in place.loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return f"the name `{text}`" if place.part == "key" else f"`{text}`" if text else "the document"


def as_json(environment: str, values: Sequence[Traced]) -> bytes:
    """The same as one JSON object, as `schemas/provenance.v1.schema.json` says."""
    document = {"version": VERSION, "environment": environment, "values": [_json(t) for t in values]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _json(traced: Traced) -> dict[str, Any]:
    assert traced.emission is not None
    return {
        "artifact": traced.path,
        "pointer": written(traced.pointer),
        "value": traced.value,
        "rule": traced.emission.name,
        "sentence": traced.emission.sentence,
        "constant": traced.emission.constant,
        "causes": [{"together": c.together, "places": [_place(p) for p in c.places]} for c in traced.causes],
        "within": [{"artifact": path, "pointer": written(pointer)} for path, pointer in traced.within],
    }


def _place(place: Place) -> dict[str, Any]:
    span = place.span
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "pointer": written(place.loc),
        "part": place.part,
        "declared": place.there,
    }

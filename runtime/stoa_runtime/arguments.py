"""Arguments checked against a tool's schema: what is wrong, worded so that the caller can mend it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jsonschema_rs

PROBLEMS = 8
"""Problems told at once."""
_LENGTH = 300


def problems(
    validator: jsonschema_rs.Validator, known: Sequence[str], schema: Mapping[str, Any], arguments: Mapping[str, Any]
) -> list[str]:
    """Everything that is wrong with `arguments`, a sentence each; empty where a call may be made."""
    unknown = [name for name in arguments if name not in known]
    if not unknown and validator.is_valid(arguments):
        return []
    found = [_unknown(name, known) for name in unknown]
    for error in validator.iter_errors(arguments):
        if len(found) >= PROBLEMS:
            found.append("There may be more.")
            break
        found += [text for text in _worded(error, schema) if text not in found]
    return found[: PROBLEMS + 1]


def _unknown(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    hint = f"; did you mean `{near}`?" if near else f"; it takes {listed(known)}."
    return f"There is no argument `{_cut(name, 64)}`{hint}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely stands for."""
    names = {k.lower().replace("-", "_"): k for k in known}
    close = difflib.get_close_matches(name[:64].lower().replace("-", "_"), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def listed(known: Sequence[str]) -> str:
    """Names as a reader sees them: `a`, `b`, and so on."""
    if not known:
        return "no arguments"
    shown = ", ".join(f"`{name}`" for name in known[:20])
    return shown + (f" and {len(known) - 20} more" if len(known) > 20 else "")


def _worded(error: jsonschema_rs.ValidationError, schema: Mapping[str, Any]) -> list[str]:
    kind = error.kind
    at = _path(error.instance_path)
    here = f"`{at}`" if at else "The arguments"
    match kind.name:
        case "required":
            missing = _path([*error.instance_path, str(kind.value)])
            return [f"`{missing}` is missing{_expected(schema, error.instance_path, str(kind.value))}."]
        case "additionalProperties" | "unevaluatedProperties":
            names = kind.value if isinstance(kind.value, list) else []
            if not error.instance_path:
                return []  # Told already, with the nearest name.
            return [f"{here} has no property `{_cut(str(name), 64)}`." for name in names[:PROBLEMS]]
        case "falseSchema":
            return [f"{here} is not allowed."] if len(error.instance_path) > 1 else []
        case "type":
            return [f"{here} must be {_types(kind.value)}, not {_type_of(error.instance)}."]
        case "enum":
            options = kind.value if isinstance(kind.value, list) else []
            shown = ", ".join(_literal(o) for o in options[:20])
            return [f"{here} must be one of {shown}{' or others' if len(options) > 20 else ''}."]
        case "format":
            return [f"{here} must be well-formed: {kind.value}."]
        case "pattern":
            return [f"{here} must match the pattern {_cut(str(kind.value), 120)}."]
        case _:
            return [_cut(f"{here}: {error.message}", _LENGTH) + "."]


def _expected(schema: Mapping[str, Any], path: Sequence[str | int], name: str) -> str:
    """What a missing argument is, where the schema says it plainly."""
    declared = schema.get("properties", {}).get(name) if not path else None
    if not isinstance(declared, Mapping):
        return ""
    kind = f" ({_types(declared['type'])})" if "type" in declared else ""
    text = declared.get("description")
    return kind + (f": {_cut(' '.join(text.split()), 120).rstrip('.')}" if isinstance(text, str) else "")


def _types(value: Any) -> str:
    names = value if isinstance(value, list) else [value]
    articles = {"array": "an array", "integer": "a whole number", "object": "an object", "null": "null"}
    return " or ".join(articles.get(str(name), f"a {name}") for name in names)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _literal(value: Any) -> str:
    return f"`{_cut(value, 64)}`" if isinstance(value, str) else _cut(str(value), 64)


def _path(parts: Sequence[str | int]) -> str:
    """Where in the arguments, as people write it: `items[2].name`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return _cut(text, 200)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

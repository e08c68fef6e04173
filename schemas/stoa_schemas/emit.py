"""JSON Schemas of the documents, as editors read them: `python -m stoa_schemas.emit schemas` writes them.

They are draft 2020-12, and keep to keywords that draft 7 has with the same meaning, since editors know that one best.
What they judge is what the models judge, but for what no schema can see; `tests/schemas/test_emit.py` names it.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stoa_schemas.documents import KINDS

_BASE = "https://gostoa.dev/schemas/v2"
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")

Schema = dict[str, Any]


def schema_file(kind: str) -> str:
    """The file's name for one kind: `universal-api-contract.schema.json`."""
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z][a-z]*", kind)
    return "-".join(parts).lower() + ".schema.json"


def schema_of(kind: str) -> Schema:
    """The JSON Schema of one kind of document."""
    made = KINDS[kind].model_json_schema(by_alias=True)
    definitions = {name: _tidy(node) for name, node in made.pop("$defs").items()}
    for name, node in definitions.items():
        node["title"] = _WORDS.sub(" ", name).capitalize()
    root = _tidy(made)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{_BASE}/{schema_file(kind)}",
        "title": kind,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def files() -> Iterator[tuple[str, bytes]]:
    """Every schema's file name and bytes."""
    for kind in KINDS:
        text = json.dumps(schema_of(kind), indent=2, ensure_ascii=False)
        yield schema_file(kind), (text + "\n").encode()


def _tidy(node: Mapping[str, Any]) -> Schema:
    """A schema without pydantic's own words: closed where it is closed, and null nowhere."""
    branches = [b for b in node.get("anyOf", ()) if b != {"type": "null"}]
    if "anyOf" in node:
        (only,) = branches
        node = {**only, **{k: v for k, v in node.items() if k != "anyOf"}}
    tidy = {k: v for k, v in node.items() if k not in ("title", "discriminator")}
    if "default" in tidy:
        tidy["default"] = _without_null(tidy["default"])
        if tidy["default"] is None:
            del tidy["default"]
    for key in ("properties", "patternProperties"):
        if key in tidy:
            tidy[key] = {name: _tidy(child) for name, child in tidy[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(tidy.get(key), Mapping):
            tidy[key] = _tidy(tidy[key])
    if "oneOf" in tidy:
        tidy["oneOf"] = [_tidy(branch) for branch in tidy["oneOf"]]
    names = tidy.pop("propertyNames", {}).get("enum")
    if names:
        # An editor completes what is a property, not what a name may be.
        tidy["properties"] = dict.fromkeys(names, tidy["additionalProperties"])
    if names or "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return tidy


def _without_null(value: Any) -> Any:
    """A default as an author would write it: keys without a value are left out."""
    return {k: _without_null(v) for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


def write(folder: Path) -> None:
    """Writes every schema into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

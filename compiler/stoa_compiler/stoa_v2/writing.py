"""Documents as bytes: YAML that reads as if written by hand, and that says what is meant, which is checked."""

import io
import json
from collections.abc import Mapping
from typing import Any

from stoa_compiler.diagnostics import Report
from stoa_compiler.layout import NotKept, lay_out
from stoa_compiler.openapi.text import folded
from stoa_compiler.parse import parse_file
from stoa_compiler.source import SourceFile


def document_yaml(document: Mapping[str, Any], head: str) -> bytes:
    """The document with `head`, its comment, before it; in JSON's layout where a writer of YAML would change it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(_folded(document), out)
    written = (head + out.getvalue()).encode()
    again = parse_file(SourceFile("", "", written), Report())
    if again is not None and _exact(again.data) == _exact(document):
        try:
            laid_out = lay_out(SourceFile("", "", written), str(document["kind"]), Report())
        except NotKept:
            return written
        return written if laid_out is None else laid_out.encode()
    return f"{head}{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode()


def _exact(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def _folded(data: Any) -> Any:
    """The same with long texts as folded blocks."""
    if isinstance(data, Mapping):
        return {k: _folded(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_folded(v) for v in data]
    if not isinstance(data, str) or len(data) <= 100 or "\n" in data or "  " in data or data != data.strip():
        return data
    return folded(data)

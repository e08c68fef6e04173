"""What is sent is there again; what nobody sends is refused, and nothing of it is run."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.pipeline import compiled
from stoa_compiler.sending import receive, send
from tests.compiler.sources import copy_of_base


def call(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls `module.name` with the arguments, as a forger writes it."""
    words = pickle.dumps(arguments, protocol=0)
    return f"c{module}\n{name}\n".encode() + words.rstrip(b".") + b"R."


def by_stack(module: str, name: str, *arguments: Any) -> bytes:
    """The same in the newer protocols, whose names may lead through other names."""
    words = pickle.dumps(arguments, protocol=0)
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + texts + b"\x93" + words.rstrip(b".") + b"R."


@pytest.mark.parametrize("forge", [call, by_stack])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        ("stoa_compiler.plan.revisions", "subprocess.Popen"),
        ("stoa_compiler.beside", "os.system"),
        ("stoa_compiler.load", "Path"),
        ("stoa_compiler.diagnostics", "masked"),
        ("stoa_compiler.graph", "Graph.environment"),
        ("stoa_compiler.graph", "Any"),
        ("stoa_compiler.source", "UnreadFile"),
        ("stoa_compiler.shares", "partial"),
        ("stoa_compiler.cache", "Cache"),
        ("stoa_schemas.bundle", "hashlib.sha256"),
        ("stoa_schemas.documents.platform", "TypeAdapter"),
    ],
)
def test_what_nobody_sends_is_refused(forge: Any, module: str, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(pickle.UnpicklingError):
        receive(forge(module, name, f"touch {mark}"), {}.__getitem__)
    assert not mark.exists()


def test_a_graph_is_there_again(tmp_path: Path) -> None:
    result = compiled(copy_of_base(tmp_path).root, Report())
    assert result.graph is not None
    again = receive(send(result.graph), result.source.at.__getitem__)
    assert isinstance(again, Graph)
    assert [t.name for t in again.tenants] == [t.name for t in result.graph.tenants]
    for before, after in zip(result.graph.tenants, again.tenants, strict=True):
        assert after.declared == before.declared
        assert after.access == before.access
        assert [o.input_schema for o in after.operations] == [o.input_schema for o in before.operations]
        assert after.origin.document.span(("metadata", "name")) == before.origin.document.span(("metadata", "name"))
        assert after.origin.document.data == before.origin.document.data

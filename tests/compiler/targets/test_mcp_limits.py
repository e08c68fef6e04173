"""What a source declares about limits stands in the catalog, in the units that the runtime counts in."""

from pathlib import Path

import orjson

from stoa_compiler.targets import mcp
from tests.compiler.sources import ORDERS, Copy, copy_of_base


def catalog(source: Copy) -> dict[str, object]:
    checked, found = source.read()
    assert found == []
    assert checked.graph is not None
    artifacts = {a.path: a for a in mcp.TARGET.emit(checked.graph, "prod", {})}
    content: dict[str, object] = orjson.loads(artifacts["mcp/tenants/acme.json"].content)
    return content


def test_a_backends_concurrency_is_rendered(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    (before,) = catalog(source)["contracts"]  # type: ignore[misc]
    assert "concurrency" not in before["backend"]
    source.change(ORDERS, "  backend:\n", "  backend:\n    concurrency: 8\n")
    (after,) = catalog(source)["contracts"]  # type: ignore[misc]
    assert after["backend"]["concurrency"] == 8


def test_a_backends_concurrency_is_a_number_within_bounds(tmp_path: Path) -> None:
    for value, code in (("0", "STOA206"), ("10001", "STOA206"), ("many", "STOA203")):
        source = copy_of_base(tmp_path / value)
        source.change(ORDERS, "  backend:\n", f"  backend:\n    concurrency: {value}\n")
        assert source.codes() == [code]

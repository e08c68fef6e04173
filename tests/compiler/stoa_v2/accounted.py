"""What must hold of every import: each value that went in is told, and each that came out is accounted for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.parse import parse_file
from stoa_compiler.pipeline import read, render
from stoa_compiler.source import Loc, SourceFile
from stoa_compiler.stoa_v2.importer import Imported
from stoa_compiler.stoa_v2.report import as_json


def leaf_paths(data: Any, loc: Loc = ()) -> Iterator[Loc]:
    """Places of all values that hold no other."""
    children = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    if not children:
        yield loc
    for step, child in children:
        yield from leaf_paths(child, (*loc, step))


def check_inputs(imported: Imported, root: Path) -> int:
    """Asserts that each value of each input is told once, and stands at `root` where that says; gives their number.

    The file is read again by a reader that the importer does not use, so that none is overlooked by both.
    """
    documents: dict[str, Any] = {}
    reported = as_json(imported, [], None)
    number = 0
    for item, account, shown in zip(imported.inputs, imported.accounts, reported["files"], strict=True):
        expected = list(leaf_paths(yaml.load(item.document.file.content, Loader=yaml.CBaseLoader)))
        fates = account.fates()
        assert [f.loc for f in fates] == expected
        assert len(shown["values"]) == len(expected)
        assert all(v["outcome"] and v["reason"] and v["line"] >= 1 and v["column"] >= 1 for v in shown["values"])
        for fate in fates:
            if fate.entry.outcome in ("mapped", "changed", "held back"):
                assert fate.places, fate
            for place in fate.places:
                if place.path not in documents:
                    documents[place.path] = parsed((root / place.path).read_bytes())
                found = resolve(documents[place.path], place.loc)
                if fate.entry.outcome == "mapped":
                    assert fate.value in (found, place.loc[-1]), (fate, found)
        number += len(expected)
    return number


def check_outputs(imported: Imported) -> int:
    """Asserts that each value of each document comes from a file or is told as assumed; gives their number."""
    sources: set[tuple[str, Loc]] = set()
    for account in imported.accounts:
        sources |= {(p.path, p.loc) for f in account.fates() for p in f.places}
    sources |= {(a.place.path, a.place.loc) for a in imported.assumptions}
    # That an operation is called so says nothing of what stands in it.
    sources = {(path, loc) for path, loc in sources if len(loc) > 3 or loc[:2] != ("spec", "operations")}
    exact = {(p.path, p.loc) for account in imported.accounts for e in account.entries.values() for p in e.places}
    number = 0
    for path, content in imported.files.items():
        document = parsed(content)
        for loc in leaf_paths(document):
            if resolve(document, loc) == {}:
                continue  # It holds nothing: what stood there is no keyword, and told as such.
            number += 1
            header = loc[0] in ("apiVersion", "kind")
            assert header or (path, loc) in exact or any((path, loc[:n]) in sources for n in range(1, len(loc) + 1)), (
                path,
                loc,
            )
    return number


def write(imported: Imported, root: Path) -> None:
    """Writes what came in, with the platform's document."""
    for path, content in imported.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    if imported.platform is not None:
        (root / "platform.yaml").write_bytes(imported.platform)


def errors(root: Path) -> list[str]:
    """What `stoa check` would call an error."""
    report = Report()
    checked = read(root, report)
    if checked.graph is not None and not report.errors:
        for environment in checked.graph.platform.spec.environments:
            try:
                render(checked.graph, environment, report)
            except Stop:
                continue
    return [f"{d.span}: {d.rule.code}: {d.message}" for d in report.sorted() if d.rule.severity == "error"]


def parsed(content: bytes) -> Any:
    """The document in `content`."""
    report = Report()
    document = parse_file(SourceFile("x.yaml", "x.yaml", content), report)
    assert document is not None, report.found
    return document.data


def resolve(data: Any, loc: Loc) -> Any:
    """The value at `loc`, which must be there."""
    for step in loc:
        data = data[step]
    return data

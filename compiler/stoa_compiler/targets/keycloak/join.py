"""Join: a tenant's share of the realm, and the realm's file from all shares.

A share holds text: the lines of each entry between its braces, as they stand in the file. So the realm of all tenants
is put together without making any entry again.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from stoa_compiler.graph import Graph, TenantNode
from stoa_compiler.target import Artifact, Artifacts, Part, PartsOf
from stoa_compiler.targets.keycloak.emit import (
    PLACES,
    Entry,
    Lists,
    artifact,
    frame,
    of_tenant,
    order,
    origins,
    own,
    realm,
    text,
)
from stoa_compiler.targets.keycloak.strategy import platforms, realm_of

Lines = tuple[list[str], list[str]]
"""What each entry is sorted by, and its lines."""


def emit_part(graph: Graph, environment: str, tenant: TenantNode, carried: Artifacts) -> Part:
    """The tenant's own realm, or its entries in the realm of all: by list, each with what it is sorted by."""
    if graph.platform.spec.identity.strategy == "realm-per-tenant":
        return Part((realm(realm_of(graph, environment, tenant), environment),))
    return Part(shared=_lines(of_tenant(graph, tenant)))


def join(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts) -> Sequence[Artifact]:
    """The file of each realm."""
    part = platforms(graph, environment)
    there = [parts[t.name] for t in graph.facts_in(environment) if t.name in parts]
    lines = _lines(own(part, environment))
    for given in there:
        for name, (by, texts) in (given.shared or {}).items():
            if name in PLACES:
                all_by, all_texts = lines.setdefault(name, ([], []))
                all_by += by
                all_texts += texts
    title = graph.platform.spec.display_name
    skeleton = text(frame(part, environment, title, {name: [] for name in lines})).decode()
    pieces, at = list[str](), 0
    for name in PLACES:  # In the order of the file.
        by, texts = lines.get(name, ([], []))
        if texts:
            indent, key, _ = PLACES[name]
            # A line of the file: a text within it holds no line break.
            mark = f'\n{" " * indent}"{key}": ['
            end = skeleton.index(mark + "]", at) + len(mark)
            pieces += [
                skeleton[at:end],
                *_pasted(indent, [texts[at] for at in sorted(range(len(by)), key=by.__getitem__)]),
            ]
            at = end
    # Each list by itself: one that is all ASCII is encoded at once, whatever letters another has.
    content = b"".join([piece.encode() for piece in (*pieces, skeleton[at:])])
    shared = artifact(part, content, origins(graph, ()))
    return sorted([shared, *(a for given in there for a in given.artifacts)], key=lambda a: a.path)


def _pasted(indent: int, texts: Sequence[str]) -> Iterable[str]:
    """The entries as they stand between a list's brackets."""
    beside = " " * (indent + 2)
    return (
        f"\n{beside}{{\n",
        f"\n{beside}}},\n{beside}{{\n".join(texts),
        f"\n{beside}}}\n{' ' * indent}",
    )


def _lines(lists: Lists) -> dict[str, Lines]:
    return {name: _of_list(name, sorted(entries, key=partial(order, name))) for name, entries in lists.items()}


def _of_list(name: str, entries: Sequence[Entry]) -> Lines:
    if not entries:
        return [], []
    indent = PLACES[name][0]
    nested: Sequence[object] = entries
    for _ in range(indent // 2):
        nested = [nested]
    written = text(nested).decode()
    beside = " " * (indent + 2)
    inside = written[written.index("{") + 2 : written.rindex("}") - len(beside) - 1]
    return [order(name, entry) for entry in entries], inside.split(f"\n{beside}}},\n{beside}{{\n")

"""Hover: what a key or value means, what it refers to, and what the platform makes of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stoa_compiler.access import matches
from stoa_compiler.graph import Graph, OperationNode, TenantNode
from stoa_compiler.lsp.cursor import Cursor
from stoa_compiler.lsp.meaning import Node, choices, meaning, type_words
from stoa_compiler.lsp.references import At, Declared, What, declared, inside, reference, tool
from stoa_compiler.source import Loc, Part

SHOWN = 12
"""Tools, roles and values that a hover lists."""


def hover(at: At, cursor: Cursor) -> str | None:
    """What there is to say, as Markdown; None where there is nothing."""
    loc, part = cursor.loc, cursor.part
    parts = [*_meaning(at, loc, part), *_provenance(at, loc, part, cursor.text)]
    return "\n\n".join(parts) if parts else None


def target(at: At, cursor: Cursor) -> Declared | None:
    """Where the name at the cursor is declared."""
    what = reference(at.kind, cursor.loc, cursor.part)
    if what is None:
        return None
    if what == "tool":
        # The segment that the cursor is in, and those before it, name one thing.
        segments = cursor.text.split(":")
        return tool(":".join(segments[: cursor.typed.count(":") + 1]), at)
    if what == "secret":
        return None
    if what == "digest":
        name = inside(at.data, "spec", "source", "file")
        return declared("file", at, cursor.loc).get(str(name))
    return declared(what, at, cursor.loc).get(cursor.text)


def _meaning(at: At, loc: Loc, part: Part) -> Iterator[str]:
    node = meaning(at.kind, loc, at.data)
    if not loc or (not node.get("description") and not node.get("type")):
        return
    name = loc[-1] if isinstance(loc[-1], str) else f"{loc[-2]}[{loc[-1]}]" if len(loc) > 1 else str(loc[-1])
    required = isinstance(loc[-1], str) and loc[-1] in meaning(at.kind, loc[:-1], at.data).get("required", ())
    yield f"**{name}**: {type_words(node)}{', required' if required else ''}"
    if node.get("description"):
        yield str(node["description"])
    facts = list(_facts(node, part))
    if facts:
        yield "  \n".join(facts)


def _facts(node: Node, part: Part) -> Iterator[str]:
    possible = choices(node)
    if len(possible) > 1 and node.get("type") != "boolean":
        yield "One of " + _listed([f"`{c}`" for c in possible])
    if "default" in node:
        yield f"Where left out: `{json.dumps(node['default'], ensure_ascii=False)}`"
    if node.get("examples") and part == "key":
        yield "For example " + ", ".join(f"`{e}`" for e in node["examples"])


def _provenance(at: At, loc: Loc, part: Part, text: str) -> Iterator[str]:
    what = reference(at.kind, loc, part)
    if what == "tool":
        yield from _pattern(at, loc, text)
    elif what is not None:
        found = declared(what, at, loc).get(text)
        if found is not None:
            yield _declaration(what, found)
        elif what not in ("digest", "secret"):
            yield f"No {what} `{text}` is declared."
    graph = at.analysis.graph
    if graph is None:
        return
    if at.kind == "UniversalAPIContract" and len(loc) == 3 and loc[:2] == ("spec", "operations") and part == "key":
        yield from _operation(graph, at, str(loc[2]))
    if what == "person" or (len(loc) == 3 and loc[:2] == ("spec", "people") and part == "key"):
        yield from _person(graph, at, text if what == "person" else str(loc[2]))


def _declaration(what: What, found: Declared) -> str:
    said = f"{what.capitalize()} `{found.name}`, declared in `{found.file.path}:{found.span.line}`."
    return f"{said}\n\n{found.words}" if found.words else said


def _operation(graph: Graph, at: At, name: str) -> Iterator[str]:
    """What the platform makes of an operation: its tool, and who may call it."""
    contract_name = at.path.rpartition("/")[2].removesuffix(".yaml")
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            if (tenant.name, contract.name) == (at.tenant, contract_name):
                for operation in contract.operations:
                    if operation.name == name:
                        yield from _tool(tenant, operation, contract.exposed)


def _tool(tenant: TenantNode, operation: OperationNode, published: bool) -> Iterator[str]:
    yield (
        f"Tool `{operation.tool_id}`; MCP clients see it as `{operation.wire_name}`.  \n"
        f"`{operation.request.method} {operation.request.path}`, side effects `{operation.declared.side_effects}`, "
        f"{'needs the approval of a second person' if operation.approval else 'no approval'}, {operation.rate}."
    )
    if not published:
        yield "Not exposed: the contract is a draft."
    elif not operation.exposed:
        yield "Not exposed to agents."
    else:
        roles = [role for role, tools in sorted(tenant.access.items()) if operation.tool_id in tools]
        yield f"May be called by {_listed([f'`{r}`' for r in roles])}." if roles else "No role may call it."


def _pattern(at: At, loc: Loc, pattern: str) -> Iterator[str]:
    """What a grant's pattern gives or denies, after the role's permissions."""
    graph = at.analysis.graph
    if graph is None or pattern.count(":") != 2:
        return
    grant: Mapping[str, Any] = inside(at.data, *loc[:3]) or {}
    role = str(grant.get("role", ""))
    tenants = [t for t in graph.tenants if at.kind == "Platform" or t.name == at.tenant]
    named = sorted(o.tool_id for t in tenants for o in t.operations if matches(pattern, o.tool_id))
    if not named:
        yield f"`{pattern}` names no tool that is exposed."
        return
    word = "tool" if len(named) == 1 else "tools"
    yield f"`{pattern}` names {len(named)} {word}: {_listed([f'`{n}`' for n in named])}."
    allowed = {tool_id for t in tenants for tool_id in t.access.get(role, ())}
    if grant.get("effect", "allow") == "allow" and role in graph.platform.spec.roles:
        without = [n for n in named if n not in allowed]
        if without:
            listed = _listed([f"`{n}`" for n in without])
            yield f"`{role}` may still not call {listed}: its permissions do not cover it, or a `deny` takes it away."


def _person(graph: Graph, at: At, username: str) -> Iterator[str]:
    people = graph.people if at.kind == "Platform" else ()
    access: list[TenantNode] = list(graph.tenants) if at.kind == "Platform" else []
    for tenant in graph.tenants:
        if at.kind == "Tenant" and tenant.name == at.tenant:
            people, access = tenant.people, [tenant]
    for person in people:
        if person.username == username:
            tools = {tool_id for t in access for role in person.roles for tool_id in t.access.get(role, ())}
            roles = _listed([f"`{r}`" for r in person.roles]) or "no role"
            yield f"`{username}` holds {roles}, and may call {len(tools)} tool{'' if len(tools) == 1 else 's'}."


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more

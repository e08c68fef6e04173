"""The matrix as one HTML file that loads nothing: data, style and script are inside, the policy names their digests.

Data travels as JSON and enters the page as text, so whatever an author wrote is shown and never read as HTML.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from stoa_compiler.matrix.forms import By
from stoa_compiler.matrix.model import KINDS, Holder, Kind, Matrix, Tool
from stoa_compiler.reports.terminal import visible
from stoa_schemas.names import PLATFORM_TENANT, PLATFORM_TOOL_PREFIX

_NOUNS: dict[Kind, tuple[str, str]] = {
    "person": ("person", "people"),
    "role": ("role", "roles"),
    "consumer": ("application", "applications"),
}
_PLATFORM_SECTION = "The platform's own tools"


def as_html(matrix: Matrix, by: By) -> str:
    """The page; the same bytes for the same matrix."""
    style, script = _part("page.css"), _part("page.js")
    where = f" in {matrix.environment}" if matrix.environment else ""
    data = json.dumps(_data(matrix, by), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # Nothing in the data can end its element.
        data = data.replace(character, f"\\u{ord(character):04x}")
    parts = {
        "STYLE_HASH": _digest(style),
        "SCRIPT_HASH": _digest(script),
        "TITLE": escape(f"Who may call what{where}"),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": data,
    }
    page = _part("page.html")
    made = []
    for piece in page.split("@"):  # Put together piece by piece: no part is looked through for another's mark.
        made.append(parts.get(piece, piece))
    return "".join(made)


def _part(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(matrix: Matrix, by: By) -> dict[str, Any]:
    tenants = matrix.tenants
    holders: dict[str, list[Holder]] = {t: [] for t in (PLATFORM_TENANT, *tenants)}
    for holder in matrix.holders:
        holders[holder.tenant].append(holder)
    tools: dict[str, list[Tool]] = {t: [] for t in ("", *tenants)}
    for tool in matrix.tools.values():
        tools[tool.tenant].append(tool)
    crossing = holders[PLATFORM_TENANT]
    sections = [_own(tools[""], matrix.holders)] if tools[""] else []
    sections += [_section(t, tools[t], [*holders[t], *crossing]) for t in tenants if tools[t]]
    counts = (
        f"{len(tenants):,} tenants, {len(matrix.tools):,} tools, {len(matrix.of('person')):,} people, "
        f"{len({h.name for h in matrix.of('role')}):,} roles, "
        f"{len({h.name for h in matrix.of('consumer')}):,} applications"
    )
    return {
        "kind": by if by in KINDS else "person",
        "counts": counts,
        "remarks": [visible(r) for r in matrix.remarks],
        "sections": sections,
    }


def _own(tools: Sequence[Tool], holders: Sequence[Holder]) -> dict[str, Any]:
    """The platform's tools: a permission opens them, so people are shown by what they may call, and not one by one."""
    columns: dict[str, list[list[str]]] = {}
    for kind in KINDS:
        together: dict[tuple[str, ...], list[str]] = {}
        for holder in (h for h in holders if h.kind == kind):
            key = (_bits(tools, holder), *holder.roles)
            together.setdefault(key, []).append(holder.name)
        made = []
        for (bits, *roles), names in sorted(together.items(), key=lambda item: item[0][1:]):
            shown = ", ".join(visible(r) for r in roles) or "no role"
            one, many = _NOUNS[kind]
            whose = "" if kind == "role" else f"{len(names):,} {one if len(names) == 1 else many}"
            if "1" in bits:
                made.append([shown, whose, bits])
        columns[kind] = made
    return {
        "name": _PLATFORM_SECTION,
        "groups": [f"{PLATFORM_TOOL_PREFIX}*"],
        "tools": _tools(tools),
        "columns": columns,
    }


def _section(tenant: str, tools: Sequence[Tool], holders: Sequence[Holder]) -> dict[str, Any]:
    columns: dict[str, list[list[str]]] = {}
    for kind in KINDS:
        made = []
        for holder in (h for h in holders if h.kind == kind):
            bits = _bits(tools, holder)
            if "1" in bits or holder.tenant == tenant:
                made.append([visible(holder.name), _below(holder), bits])
        columns[kind] = made
    return {"name": tenant, "groups": _groups(tools), "tools": _tools(tools), "columns": columns}


def _below(holder: Holder) -> str:
    """What stands below a name."""
    whose = " (platform)" if holder.tenant == PLATFORM_TENANT else ""
    if holder.kind == "role":
        return whose.strip()
    if holder.kind == "consumer":
        return visible(", ".join([holder.title, holder.acts, *holder.remarks]))
    return visible(f"{holder.title}, {' '.join(holder.roles) or 'no role'}{whose}")


def _groups(tools: Sequence[Tool]) -> list[str]:
    return list(dict.fromkeys(t.group for t in tools))


def _tools(tools: Sequence[Tool]) -> list[list[Any]]:
    groups = {g: n for n, g in enumerate(_groups(tools))}
    return [
        [
            groups[t.group],
            t.operation,
            visible(t.title),
            t.side_effects,
            int(t.approval),
            t.classification,
            int(t.deprecated),
        ]
        for t in tools
    ]


def _bits(tools: Sequence[Tool], holder: Holder) -> str:
    held = set(holder.tools)
    return "".join("1" if t.id in held else "0" for t in tools)

"""Who sees and calls which tools: one table, read by listing and by calling."""

import base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import mcp_types

from stoa_runtime.bundles import PreparedTool, Snapshot
from stoa_runtime.platform_tools import PLATFORM_TOOLS, PlatformTool
from stoa_runtime.principals import Principal
from stoa_schemas import bundle

ID_KEY = "dev.gostoa/id"
"""The key below a tool's `_meta` that holds its canonical id."""
BUNDLE_KEY = "dev.gostoa/bundle"
"""The key below an answer's `_meta` that holds the bundle's digest."""
VIEWS = 1024
"""Views kept: one for each set of roles that has called lately."""
PAGE = 1000
"""Tools on one page of a list."""

AnyTool = PreparedTool | PlatformTool


class UnknownCursor(Exception):
    """A cursor that this list did not give; the message is for the client."""


@dataclass(frozen=True, slots=True)
class View:
    """What one kind of caller sees, and so may call: everything else does not exist for it."""

    tools: Mapping[str, AnyTool]
    """By wire name, in the order of the list."""
    modern: tuple[mcp_types.ListToolsResult, ...]
    """The list's pages for protocol 2026-07-28."""
    legacy: tuple[mcp_types.ListToolsResult, ...]
    """The list's pages for 2025-11-25 and older, where an output schema must have an object at its root."""
    mirrored: frozenset[str]
    """Names of the tools whose clients send some arguments as headers besides (`x-mcp-header`)."""
    prepared: dict[str, bytes] = field(default_factory=dict, compare=False)
    """The first page as JSON by protocol version, once somebody has asked for it."""

    def page(self, cursor: str | None, *, legacy: bool) -> mcp_types.ListToolsResult:
        """The page that `cursor` names, the first without one; `UnknownCursor` for any other."""
        pages = self.legacy if legacy else self.modern
        if cursor is None:
            return pages[0]
        for number, before in enumerate(pages, 1):
            if before.next_cursor == cursor and number < len(pages):
                return pages[number]
        raise UnknownCursor("Unknown cursor: begin again without one. The list may have changed since it was given.")


class Access:
    """The views of one snapshot, each made when it is first asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._views: OrderedDict[tuple[str, frozenset[str], frozenset[str] | None], View] = OrderedDict()
        self._modern: dict[str, mcp_types.Tool] = {}
        self._legacy: dict[str, mcp_types.Tool] = {}

    def view(self, principal: Principal) -> View:
        """What `principal` sees. Two principals share a view only when tenant, roles and contracts are the same."""
        key = (principal.tenant, principal.roles, principal.contracts)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = self._build(principal)
            if len(self._views) > VIEWS:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(key)
        return view

    def _build(self, principal: Principal) -> View:
        tools: dict[str, AnyTool] = {}
        if principal.contracts is None:
            held = principal.permissions
            tools |= {tool.name: tool for tool in PLATFORM_TOOLS if tool.opens_to(held)}
        reachable = self._snapshot.tenants if principal.is_platform else [principal.tenant]
        for name in sorted(reachable):
            tenant = self._snapshot.tenants[name]
            granted = frozenset[str]().union(*(tenant.access.get(role, frozenset()) for role in principal.roles))
            for wire, tool in tenant.tools.items():
                if wire in granted and (principal.contracts is None or tool.declared.contract in principal.contracts):
                    tools[wire] = tool
        return View(
            tools=MappingProxyType(tools),
            mirrored=frozenset(name for name, tool in tools.items() if _is_mirrored(tool)),
            modern=self._list(tools.values(), self._modern, legacy=False),
            legacy=self._list(tools.values(), self._legacy, legacy=True),
        )

    def _list(
        self, tools: Iterable[AnyTool], made: dict[str, mcp_types.Tool], *, legacy: bool
    ) -> tuple[mcp_types.ListToolsResult, ...]:
        listed = [self._listed(tool, made, legacy) for tool in tools]
        starts = range(0, max(len(listed), 1), PAGE)
        return tuple(
            mcp_types.ListToolsResult(
                tools=listed[start : start + PAGE],
                next_cursor=self._cursor(start + PAGE) if start + PAGE < len(listed) else None,
                meta={BUNDLE_KEY: self._snapshot.digest},
            )
            for start in starts
        )

    def _cursor(self, start: int) -> str:
        """Names a place in this bundle's list; it says nothing of what stands before it."""
        return base64.urlsafe_b64encode(f"{self._snapshot.digest[7:23]}.{start}".encode()).decode().rstrip("=")

    def _listed(self, tool: AnyTool, made: dict[str, mcp_types.Tool], legacy: bool) -> mcp_types.Tool:
        name = tool.declared.name if isinstance(tool, PreparedTool) else tool.name
        if name not in made:
            made[name] = _declared(tool.declared, legacy) if isinstance(tool, PreparedTool) else _platform(tool)
        return made[name]


def _is_mirrored(tool: AnyTool) -> bool:
    """Whether clients send some of the tool's arguments as headers besides (`x-mcp-header`)."""
    schema = tool.declared.input_schema if isinstance(tool, PreparedTool) else tool.input_schema
    return _mirrors(schema.get("properties"))


def _mirrors(properties: Any) -> bool:
    if not isinstance(properties, Mapping):
        return False
    return any(
        isinstance(schema, Mapping) and ("x-mcp-header" in schema or _mirrors(schema.get("properties")))
        for schema in properties.values()
    )


def _declared(tool: bundle.Tool, legacy: bool) -> mcp_types.Tool:
    hints = tool.annotations
    output = tool.output_schema
    if legacy and tool.answer.wrap:
        output = tool.legacy_output_schema
    if legacy and output is not None and output.get("type") != "object":
        output = None  # One such schema would make older clients refuse the whole list.
    return mcp_types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=output,
        annotations=mcp_types.ToolAnnotations(
            title=hints.title,
            read_only_hint=hints.read_only_hint,
            destructive_hint=hints.destructive_hint,
            idempotent_hint=hints.idempotent_hint,
            open_world_hint=hints.open_world_hint,
        ),
        meta={ID_KEY: tool.id},
    )


def _platform(tool: PlatformTool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        output_schema=dict(tool.output_schema),
        annotations=mcp_types.ToolAnnotations(
            title=tool.title,
            read_only_hint=not tool.changes,
            destructive_hint=tool.changes,
            idempotent_hint=not tool.changes,
            open_world_hint=False,
        ),
        meta={ID_KEY: tool.name},
    )

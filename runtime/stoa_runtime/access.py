"""Who sees and calls which tools: one table, read by listing and by calling."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

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

AnyTool = PreparedTool | PlatformTool


@dataclass(frozen=True, slots=True)
class View:
    """What one kind of caller sees, and so may call: everything else does not exist for it."""

    tools: Mapping[str, AnyTool]
    """By wire name, in the order of the list."""
    modern: mcp_types.ListToolsResult
    """The list for protocol 2026-07-28."""
    legacy: mcp_types.ListToolsResult
    """The list for 2025-11-25 and older, where an output schema must have an object at its root."""


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
            tools |= {tool.name: tool for tool in PLATFORM_TOOLS if tool.permission in held}
        reachable = self._snapshot.tenants if principal.is_platform else [principal.tenant]
        for name in sorted(reachable):
            tenant = self._snapshot.tenants[name]
            granted = frozenset[str]().union(*(tenant.access.get(role, frozenset()) for role in principal.roles))
            for wire, tool in tenant.tools.items():
                if wire in granted and (principal.contracts is None or tool.declared.contract in principal.contracts):
                    tools[wire] = tool
        return View(
            tools=MappingProxyType(tools),
            modern=self._list(tools.values(), self._modern, legacy=False),
            legacy=self._list(tools.values(), self._legacy, legacy=True),
        )

    def _list(
        self, tools: Iterable[AnyTool], made: dict[str, mcp_types.Tool], *, legacy: bool
    ) -> mcp_types.ListToolsResult:
        listed = [self._listed(tool, made, legacy) for tool in tools]
        return mcp_types.ListToolsResult(tools=listed, meta={BUNDLE_KEY: self._snapshot.digest})

    def _listed(self, tool: AnyTool, made: dict[str, mcp_types.Tool], legacy: bool) -> mcp_types.Tool:
        name = tool.declared.name if isinstance(tool, PreparedTool) else tool.name
        if name not in made:
            made[name] = _declared(tool.declared, legacy) if isinstance(tool, PreparedTool) else _platform(tool)
        return made[name]


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
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
        meta={ID_KEY: tool.name},
    )

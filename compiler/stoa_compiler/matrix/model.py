"""What the matrix holds: tools, those who may call them, and the part of it that somebody asks for."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Literal

from stoa_compiler.records import record
from stoa_compiler.source import Span
from stoa_schemas import names

Kind = Literal["person", "role", "consumer"]
KINDS: tuple[Kind, ...] = ("person", "role", "consumer")

Place = Callable[[], Span]
"""Where something is declared, looked up when somebody wants to know: finding a line costs more than the rest."""


@record
class Tool:
    """A tool as the matrix shows it."""

    id: str
    """`tenant:contract:operation`, or the name of one of the platform's own."""
    tenant: str
    """Empty for the platform's own tools."""
    contract: str
    """Likewise."""
    title: str
    side_effects: str
    approval: bool
    """Whether a second person must approve each call."""
    classification: str
    """Likewise empty."""
    deprecated: bool
    place: Place | None = None
    """None where the matrix was read from a bundle, and for the platform's own tools."""

    @property
    def operation(self) -> str:
        """The last part of its id."""
        return self.id.rpartition(":")[2]

    @property
    def group(self) -> str:
        """The pattern that names it and its neighbours: `ioi:billing:*`, or `stoa_*`."""
        return f"{self.tenant}:{self.contract}:*" if self.tenant else f"{names.PLATFORM_TOOL_PREFIX}*"


@record
class Holder:
    """A person, a tenant's role or a consumer, with the tools that it may call."""

    kind: Kind
    name: str
    title: str
    """As people see it."""
    tenant: str
    """A tenant's name, or `platform`."""
    roles: tuple[str, ...]
    tools: tuple[str, ...]
    """Ids, the platform's own first."""
    acts: str = ""
    """Of a consumer: with whose roles it calls."""
    remarks: tuple[str, ...] = ()
    """What the source cannot tell, and what ends."""
    place: Place | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others."""
        return (self.kind, self.tenant, self.name, self.acts)


@record
class Matrix:
    """Tools by id, and everyone who may call any, sorted."""

    environment: str | None
    """None: all of them together."""
    tools: Mapping[str, Tool]
    holders: tuple[Holder, ...]
    remarks: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many tools each group has, those that are cut away included."""
    by_tenant: Mapping[str, Sequence[Tool]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Tool]] = {}
        for tool in self.tools.values():
            found.setdefault(tool.tenant, []).append(tool)
        object.__setattr__(self, "by_tenant", found)

    @classmethod
    def sorted(
        cls,
        environment: str | None,
        tools: Mapping[str, Tool],
        holders: Sequence[Holder],
        remarks: Sequence[str] = (),
    ) -> "Matrix":
        """The whole matrix: the platform's tools first, and the platform's people after the tenants'."""
        return cls(
            environment=environment,
            tools=dict(sorted(tools.items(), key=lambda item: (":" in item[0], item[0]))),
            holders=tuple(sorted(holders, key=_order)),
            remarks=tuple(remarks),
            sizes=Counter(t.group for t in tools.values()),
        )

    def of(self, kind: Kind) -> tuple[Holder, ...]:
        """The holders of one kind."""
        return tuple(h for h in self.holders if h.kind == kind)

    def reach(self, holder: Holder) -> list[Tool]:
        """The tools that are not another tenant's: of all others nobody need ask."""
        if holder.tenant == names.PLATFORM_TENANT:
            return list(self.tools.values())
        return [*self.by_tenant.get("", ()), *self.by_tenant.get(holder.tenant, ())]

    @property
    def tenants(self) -> tuple[str, ...]:
        """Names of the tenants that have tools or holders."""
        named = {t.tenant for t in self.tools.values()} | {h.tenant for h in self.holders}
        return tuple(sorted(named - {"", names.PLATFORM_TENANT}))


def _order(holder: Holder) -> tuple[str, bool, str, str, str]:
    return (holder.kind, holder.tenant == names.PLATFORM_TENANT, holder.tenant, holder.name, holder.acts)


@record
class Cut:
    """The part of a matrix that somebody asks for; None is everything."""

    person: str | None = None
    role: str | None = None
    tenant: str | None = None
    tool: str | None = None
    consumer: str | None = None

    def of(self, matrix: Matrix) -> Matrix:
        """That part."""
        tools = {i: t for i, t in matrix.tools.items() if self._has_tool(t)}
        holders = [
            replace(h, tools=tuple(i for i in h.tools if i in tools)) for h in matrix.holders if self._has_holder(h)
        ]
        if self.tool is not None:
            holders = [h for h in holders if h.tools]
        return replace(matrix, tools=tools, holders=tuple(holders))

    def _has_tool(self, tool: Tool) -> bool:
        if self.tenant is not None and tool.tenant not in ("", self.tenant):
            return False
        return self.tool is None or names_tool(self.tool, tool.id)

    def _has_holder(self, holder: Holder) -> bool:
        if self.tenant is not None and holder.tenant not in (names.PLATFORM_TENANT, self.tenant):
            return False
        if self.role is not None and self.role not in holder.roles:
            return False
        if self.person is not None and (holder.kind, holder.name) != ("person", self.person):
            return False
        return self.consumer is None or (holder.kind, holder.name) == ("consumer", self.consumer)


def names_tool(pattern: str, tool: str) -> bool:
    """Whether the pattern names the tool: segment by segment as in grants; `stoa_*` names the platform's own."""
    if ":" not in pattern:
        return pattern in (tool, "*") or (pattern.endswith("*") and ":" not in tool and tool.startswith(pattern[:-1]))
    wanted, given = pattern.split(":"), tool.split(":")
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))

"""Which tools a recorded caller reaches by a bundle: the runtime's decision, made from the same files.

Compiler and runtime meet only in the bundle, so the rule stands here a second time; a test runs both on generated
bundles and callers, and holds every answer equal.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from stoa_compiler.matrix.platform import PLATFORM_TOOLS, opened
from stoa_compiler.records import record
from stoa_compiler.replay.callers import Person
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT, PLATFORM_TOOL_PREFIX

_Part = TypeVar("_Part", bound=bundle.Part)


class NoBundle(Exception):
    """The folder holds no bundle that the runtime could serve; the message is for people."""


class Caller(NamedTuple):
    """Who calls, as the runtime would take it from a token."""

    tenant: str
    subject: str
    client: str
    roles: frozenset[str]
    """Those that count."""
    contracts: frozenset[str] | None
    """Those that the client's subscriptions reach; None: all."""


class Refusal(NamedTuple):
    """Why a call is refused."""

    code: str
    """`tenant-gone`, `client-gone`, `tool-gone`, `role`, `permission`, `subscription` or `other-tenant`."""
    words: str


@record(slots=False)
class Tenant:
    """A tenant's catalog, by what is asked for."""

    catalog: bundle.Catalog

    @cached_property
    def tools(self) -> dict[str, bundle.Tool]:
        """By wire name."""
        return {t.name: t for t in self.catalog.tools}

    @cached_property
    def access(self) -> dict[str, frozenset[str]]:
        """Wire names by role."""
        return {role: frozenset(tools) for role, tools in self.catalog.access.items()}

    @cached_property
    def contracts(self) -> dict[str, bundle.ContractEntry]:
        """By name."""
        return {c.name: c for c in self.catalog.contracts}

    @cached_property
    def consumers(self) -> dict[str, bundle.ConsumerEntry]:
        """By client."""
        return {c.client_id: c for c in self.catalog.consumers}


class Access:
    """The decisions of one bundle. Only the catalogs that the log names are read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.index = _read(folder, bundle.PLATFORM_INDEX, bundle.PlatformIndex)
        self._paths = {t.name: t.catalog for t in self.index.tenants}
        self._tenants: dict[str, Tenant] = {}

    def tenant(self, name: str) -> Tenant | None:
        """The tenant's catalog; None where the bundle has no such tenant."""
        if name not in self._paths:
            return None
        if name not in self._tenants:
            self._tenants[name] = Tenant(_read(self._folder, self._paths[name], bundle.Catalog))
        return self._tenants[name]

    def caller(self, tenant: str, subject: str, client: str, roles: Iterable[str], day: str) -> Caller | Refusal:
        """Who calls on that day, or why a token that says so is refused."""
        if tenant != PLATFORM_TENANT and tenant not in self._paths:
            return Refusal("tenant-gone", f"the bundle has no tenant `{tenant}`")
        scope = "platform" if tenant == PLATFORM_TENANT else "tenant"
        table = self.index.roles
        counted = frozenset(r for r in roles if r in table and table[r].scope == scope)
        contracts: frozenset[str] | None = None
        if client not in self.index.clients:
            own = self.tenant(tenant)
            consumer = own.consumers.get(client) if own is not None else None
            if consumer is None:
                return Refusal("client-gone", f"the client `{client}` is not registered for `{tenant}`")
            contracts = frozenset(s.contract for s in consumer.subscriptions if s.expires is None or day <= s.expires)
        return Caller(tenant, subject, client, counted, contracts)

    def permissions(self, caller: Caller) -> frozenset[str]:
        """What the caller's roles may do at all."""
        return frozenset(p for role in caller.roles for p in self.index.roles[role].permissions)

    def tool(self, caller: Caller, name: str, day: str) -> bundle.Tool | str | Refusal:
        """The tool of this wire name that the caller may call, a platform tool's name, or why there is none for it."""
        if name.startswith(PLATFORM_TOOL_PREFIX):
            return self._platform_tool(caller, name)
        owner, _, rest = name.partition("_")
        if caller.tenant not in (PLATFORM_TENANT, owner):
            return Refusal("other-tenant", f"it is `{owner}`'s, and the caller is of `{caller.tenant}`")
        tenant = self.tenant(owner)
        if tenant is None:
            return Refusal("tenant-gone", f"the bundle has no tenant `{owner}`")
        tool = tenant.tools.get(name)
        if tool is None:
            contract = rest.partition("_")[0]
            if contract not in tenant.contracts:
                return Refusal("tool-gone", f"`{owner}` has no contract `{contract}` with tools")
            return Refusal("tool-gone", f"the contract `{owner}:{contract}` has no such tool")
        if not any(name in tenant.access.get(role, ()) for role in caller.roles):
            return Refusal("role", self._not_granted(caller, name))
        if caller.contracts is not None and tool.contract not in caller.contracts:
            consumer = self._consumer(caller)
            ended = [s for s in consumer.subscriptions if s.contract == tool.contract] if consumer else []
            if ended:
                last = max(s.expires or "" for s in ended)
                return Refusal("subscription", f"the subscription `{ended[0].name}` ended on {last}")
            words = f"the client `{caller.client}` has no subscription to `{owner}:{tool.contract}`"
            return Refusal("subscription", words)
        return tool

    def roles_that_give(self, name: str) -> list[str]:
        """Roles that give the tool of this wire name."""
        if name.startswith(PLATFORM_TOOL_PREFIX):
            return sorted(r for r, entry in self.index.roles.items() if name in opened(entry.permissions))
        tenant = self.tenant(name.partition("_")[0])
        return sorted(r for r, tools in tenant.access.items() if name in tools) if tenant is not None else []

    def _not_granted(self, caller: Caller, name: str) -> str:
        scope = "platform" if caller.tenant == PLATFORM_TENANT else "tenant"
        giving = [r for r in self.roles_that_give(name) if self.index.roles[r].scope == scope]
        given = ", ".join(f"`{r}`" for r in giving) or "no role of its kind"
        words = f"{_roles(caller)}, to which no grant gives it" if caller.roles else _roles(caller)
        return f"{words}; it is given to {given}"

    def _consumer(self, caller: Caller) -> bundle.ConsumerEntry | None:
        tenant = self.tenant(caller.tenant)
        return tenant.consumers.get(caller.client) if tenant is not None else None

    def _platform_tool(self, caller: Caller, name: str) -> str | Refusal:
        if name not in PLATFORM_TOOLS:
            return Refusal("tool-gone", "the platform has no tool of its own with this name")
        if caller.contracts is not None:
            return Refusal("permission", "the platform's own tools are not for consumers' clients")
        if name not in opened(self.permissions(caller)):
            needed = " or ".join(f"`{p}`" for p in PLATFORM_TOOLS[name].opened_by)
            return Refusal("permission", f"{_roles(caller)} without the permission {needed}")
        return name


def _roles(caller: Caller) -> str:
    if not caller.roles:
        return "the caller has no role"
    plural = "s" if len(caller.roles) > 1 else ""
    return f"the caller has the role{plural} {', '.join(f'`{r}`' for r in sorted(caller.roles))}"


def person_tenant(person: Person | None, recorded: str) -> str:
    """The tenant that a token would name now."""
    return person.tenant if person is not None else recorded


def _read(folder: Path, path: str, part: type[_Part]) -> _Part:
    try:
        return part.model_validate_json((folder / path).read_bytes())
    except OSError as error:
        raise NoBundle(f"`{folder / path}` cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise NoBundle(f"`{folder / path}` is not what a bundle holds there: {error.errors()[0]['msg']}") from error

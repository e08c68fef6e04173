"""Who calls: tenant, roles and client, taken from a verified token's claims and nothing else."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoa_runtime.bundles import Snapshot
from stoa_schemas import bundle, names


class PrincipalRefused(Exception):
    """A verified token that names no caller whom this platform knows; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller."""

    subject: str
    tenant: str
    """A tenant's name, or `platform`."""
    roles: frozenset[str]
    """The roles that count: those of the token whose scope fits its tenant."""
    permissions: frozenset[str]
    """What those roles may do at all."""
    client: str
    """The OAuth client that the token was issued to."""
    contracts: frozenset[str] | None
    """The contracts that the client's subscriptions reach; None for the platform's own clients, which reach all."""
    actors: tuple[str, ...] = ()
    """The agents and services behind a tenant's own client, as its consumer declares them."""

    @property
    def is_platform(self) -> bool:
        """Whether the caller is one of the platform's own people, whose roles may cross tenants."""
        return self.tenant == names.PLATFORM_TENANT


def principal(claims: Mapping[str, Any], snapshot: Snapshot, today: datetime.date) -> Principal:
    """The caller whom `claims` name; `PrincipalRefused` where that is not exactly one known to the bundle."""
    rules = snapshot.index.token
    tenant = _tenant(claims.get(rules.tenant_claim), snapshot)
    roles = _roles(claims.get(rules.roles_claim), snapshot.index, tenant)
    client = _client(claims)
    contracts: frozenset[str] | None = None
    actors: tuple[str, ...] = ()
    if client not in snapshot.index.clients:
        owner, consumer = snapshot.consumers.get(client, ("", None))
        if consumer is None or owner != tenant:
            raise PrincipalRefused("the token's client is not registered for its tenant")
        actors = tuple(consumer.actors)
        contracts = frozenset(s.contract for s in consumer.subscriptions if _active(s, today))
    return Principal(
        subject=claims["sub"],
        tenant=tenant,
        roles=roles,
        permissions=frozenset(p for role in roles for p in snapshot.index.roles[role].permissions),
        client=client,
        contracts=contracts,
        actors=actors,
    )


def _tenant(claim: Any, snapshot: Snapshot) -> str:
    if isinstance(claim, list):
        claim = claim[0] if len(claim) == 1 else None
    if not isinstance(claim, str) or (claim != names.PLATFORM_TENANT and claim not in snapshot.tenants):
        raise PrincipalRefused("the token does not name exactly one tenant of this platform")
    return claim


def _roles(claim: Any, index: bundle.PlatformIndex, tenant: str) -> frozenset[str]:
    """The known roles of the token whose scope fits: the platform's own people hold no tenant's roles."""
    if claim is None:
        return frozenset()
    if not isinstance(claim, list) or not all(isinstance(role, str) for role in claim):
        raise PrincipalRefused("the token's roles are not a list of names")
    scope = "platform" if tenant == names.PLATFORM_TENANT else "tenant"
    return frozenset(role for role in claim if role in index.roles and index.roles[role].scope == scope)


def _client(claims: Mapping[str, Any]) -> str:
    """The client's id: `azp` (OpenID Connect), or `client_id` (RFC 9068); two that differ are none."""
    named = {claims[key] for key in ("azp", "client_id") if isinstance(claims.get(key), str)}
    if len(named) != 1:
        raise PrincipalRefused("the token does not name the one client that it was issued to")
    return str(named.pop())


def _active(subscription: bundle.SubscriptionEntry, today: datetime.date) -> bool:
    return subscription.expires is None or today <= datetime.date.fromisoformat(subscription.expires)

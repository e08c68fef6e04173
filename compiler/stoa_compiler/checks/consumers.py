"""Rules on consumers and subscriptions: OAuth clients that are exact and consistent."""

from collections.abc import Sequence
from datetime import date
from typing import Literal
from urllib.parse import urlsplit

from stoa_compiler.checks.addresses import is_loopback_host
from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import ConsumerNode, Graph, SubscriptionNode
from stoa_compiler.source import Document, Loc, Span

GrantType = Literal["authorization_code", "refresh_token", "client_credentials"]

REDIRECT = Rule(
    code="STOA461",
    title="not an exact redirect URI",
    why="The identity provider sends codes there: a wildcard, a fragment or plain HTTP hands them to others "
    "(RFC 9700, 2.1; RFC 8252, 7.3).",
    help="Write the exact https URL; http only to a loopback address.",
)
GRANT_TYPES = Rule(
    code="STOA462",
    title="the client's parts do not fit together",
    why="A client that cannot use what it declares is either broken or wider than it looks.",
    help="`authorization_code` needs `redirectUris`, `client_credentials` needs `client: confidential` and `roles`, "
    "`refresh_token` needs `authorization_code`.",
)
TWO_SUBSCRIPTIONS = Rule(
    code="STOA463",
    title="two subscriptions of one consumer to one contract",
    why="Nothing says which plan's limits hold.",
    help="Keep one of them.",
)
UNEXPOSED_CONTRACT = Rule(
    code="STOA464",
    title="the subscribed contract is a draft",
    why="A draft is not exposed, so the subscription gives nothing.",
    help="Publish the contract, or suspend the subscription.",
    severity="warning",
)
EXPIRY_DAY = Rule(
    code="STOA465",
    title="the day does not exist",
    why="A subscription that ends on no day would never end.",
    help="Write a day of the calendar, `YYYY-MM-DD`.",
)

RULES = (REDIRECT, GRANT_TYPES, TWO_SUBSCRIPTIONS, UNEXPOSED_CONTRACT, EXPIRY_DAY)


def check(graph: Graph, report: Report) -> None:
    """Adds clients that are inexact, and subscriptions that contradict each other."""
    for tenant in graph.tenants:
        drafts = {c.name for c in tenant.contracts if not c.exposed}
        for consumer in tenant.consumers:
            document = consumer.origin.document
            check_redirects(consumer.declared.spec.redirect_uris, document, ("spec", "redirectUris"), report)
            _grant_types(consumer, report)
            _subscriptions(consumer.subscriptions, drafts, report)


def check_redirects(uris: Sequence[str], document: Document, loc: Loc, report: Report) -> None:
    """Adds redirect URIs that are not exact."""
    for index, uri in enumerate(uris):
        try:
            parts = urlsplit(uri)
            host = parts.hostname or ""
            port = parts.port
        except ValueError:
            report.add(REDIRECT, document.span((*loc, index)), f"`{uri[:80]}` is not a URL")
            continue
        problem = ""
        if "*" in uri or "+" in parts.netloc:
            problem = "holds a wildcard"
        elif "#" in uri:
            problem = "has a fragment"
        elif "@" in parts.netloc:
            problem = "names a user"
        elif any(c.isspace() or c in '\\<>"' for c in uri) or ".." in parts.path:
            problem = "holds a character or segment that readers take differently"
        elif not host:
            problem = "names no host"
        elif parts.scheme != "https" and not (parts.scheme == "http" and is_loopback_host(host)):
            problem = "is not https"
        elif port == 0:
            problem = "has port 0"
        if problem:
            report.add(REDIRECT, document.span((*loc, index)), f"`{uri[:80]}` {problem}")


def _grant_types(consumer: ConsumerNode, report: Report) -> None:
    spec, document = consumer.declared.spec, consumer.origin.document
    types = set(spec.grant_types)

    def at(kind: GrantType) -> Span:
        return document.span(("spec", "grantTypes", spec.grant_types.index(kind)))

    if "authorization_code" in types and not spec.redirect_uris:
        report.add(
            GRANT_TYPES,
            at("authorization_code"),
            "`authorization_code` without `redirectUris`",
            help="Add `redirectUris:`.",
        )
    if spec.redirect_uris and "authorization_code" not in types:
        where = document.span(("spec", "redirectUris"), "key")
        said = "`redirectUris` without `authorization_code`"
        report.add(GRANT_TYPES, where, said, help="Remove the redirect URIs, or add `authorization_code`.")
    if "refresh_token" in types and "authorization_code" not in types:
        report.add(
            GRANT_TYPES,
            at("refresh_token"),
            "`refresh_token` without `authorization_code`",
            help="Remove `refresh_token`, or add `authorization_code`.",
        )
    if "client_credentials" in types and spec.client == "public":
        where = document.span(("spec", "client"))
        said = "`client_credentials` for a client that cannot keep a secret"
        report.add(GRANT_TYPES, where, said, help="Write `client: confidential`, or remove `client_credentials`.")
    if "client_credentials" in types and not spec.roles:
        report.add(GRANT_TYPES, at("client_credentials"), "`client_credentials` without `roles`", help="Add `roles:`.")
    if spec.roles and "client_credentials" not in types:
        where = document.span(("spec", "roles"), "key")
        said = "`roles` without `client_credentials`"
        report.add(GRANT_TYPES, where, said, help="Remove the roles, or add `client_credentials`.")


def _subscriptions(subscriptions: Sequence[SubscriptionNode], drafts: set[str], report: Report) -> None:
    seen: dict[str, SubscriptionNode] = {}
    for subscription in subscriptions:
        spec, document = subscription.declared.spec, subscription.origin.document
        if spec.expires is not None and not _is_day(spec.expires):
            report.add(EXPIRY_DAY, document.span(("spec", "expires")), f"`{spec.expires}` is no day of the calendar")
        if spec.status != "active":
            continue
        if spec.contract in drafts:
            where = document.span(("spec", "contract"))
            report.add(UNEXPOSED_CONTRACT, where, f"`{spec.contract}` is a draft")
        first = seen.setdefault(spec.contract, subscription)
        if first is not subscription:
            report.add(
                TWO_SUBSCRIPTIONS,
                document.span(("spec", "contract")),
                f"`{spec.consumer}` already has a subscription to `{spec.contract}`",
                [Note(f"`{first.name}` is declared here", first.origin.document.span(("spec", "contract")))],
            )


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True

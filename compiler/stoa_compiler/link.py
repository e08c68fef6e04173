"""Link: references between documents into one graph.

A reference to a document that exists but has mistakes of its own is not reported again: the author sees the
cause once, and nothing that only follows from it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import TypeVar

from stoa_compiler import fixes, openapi
from stoa_compiler.access import access
from stoa_compiler.diagnostics import Note, Report, Rule, listed, nearest
from stoa_compiler.graph import (
    ConsumerNode,
    ContractNode,
    Graph,
    GroupNode,
    Origin,
    PersonNode,
    PlanNode,
    SubscriptionNode,
    TenantNode,
)
from stoa_compiler.load import FOLDER_KINDS, Source
from stoa_compiler.operations import Lowering
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc
from stoa_compiler.validate import Valid
from stoa_schemas import calls
from stoa_schemas.base import milliseconds
from stoa_schemas.documents import (
    Consumer,
    Plan,
    Platform,
    Subscription,
    Tenant,
    UniversalAPIContract,
)
from stoa_schemas.documents.access import Groups, People
from stoa_schemas.documents.platform import Defaults
from stoa_schemas.names import PLATFORM_TENANT, client_id

UNKNOWN_REFERENCE = Rule(
    code="STOA301",
    title="the reference leads nowhere",
    why="What it should give would silently be missing from every output.",
    help="Declare what is meant, or use a name that is declared.",
)
FOREIGN_REFERENCE = Rule(
    code="STOA302",
    title="the reference leads into another tenant",
    why="Tenants do not trust each other: only what the platform declares crosses their border.",
    help="Name something of the tenant's own.",
)
SOURCE_MISSING = Rule(
    code="STOA303",
    title="the OpenAPI source is not there",
    why="The operations that come from it would have no method, path or schemas.",
    help="Put the file into the tenant's folder `sources/`, or correct the path.",
)
SOURCE_CHANGED = Rule(
    code="STOA304",
    title="the OpenAPI source is not the pinned one",
    why="The digest is what a reviewer agreed to. Another file could bring other operations, texts and hosts.",
    help="Review the file, then pin its digest.",
)
SOURCE_BROKEN = Rule(
    code="STOA305",
    title="the OpenAPI source cannot be read",
    why="Nothing can be taken from a description that is not well formed.",
    help="Mend the description, pin its new digest.",
)
SOURCE_UNUSED = Rule(
    code="STOA306",
    title="nothing reads the OpenAPI description",
    why="A description is read when a contract pins it. This one changes nothing, whatever it says.",
    help="Pin it with `source` in a contract's `spec`, or remove the file.",
    severity="warning",
)

RULES = (UNKNOWN_REFERENCE, FOREIGN_REFERENCE, SOURCE_MISSING, SOURCE_CHANGED, SOURCE_BROKEN, SOURCE_UNUSED)

D = TypeVar("D", Tenant, UniversalAPIContract, Consumer, Plan, Subscription)


def link(source: Source, valid: Sequence[Valid], report: Report) -> Graph | None:
    """The graph of what is sound; None where there is no sound platform document to build on."""
    documents = _Documents.of(source, valid)
    _check_subscriptions(documents, valid, report)
    _check_descriptions(source, documents, report)
    platform = next((v for v in valid if isinstance(v.value, Platform)), None)
    if platform is None or not isinstance(platform.value, Platform):
        return None
    linker = _Linker(source, documents, platform.value, report)
    origin = Origin(platform.document)
    linker.check_platform(platform.document)
    people, groups = linker.people(
        PLATFORM_TENANT, platform.document, platform.value.spec.people, platform.value.spec.groups
    )
    tenants = [linker.tenant(v.document, v.value) for v in valid if isinstance(v.value, Tenant)]
    for name in sorted(set(documents.tenants) - {t.name for t in tenants}):
        linker.without_tenant(name)
    return Graph(
        name=platform.value.metadata.name,
        platform=platform.value,
        people=people,
        groups=groups,
        tenants=tuple(sorted(tenants, key=lambda t: t.name)),
        origin=origin,
        known=frozenset(documents.tenants),
    )


@record(slots=False)
class _Documents:
    """Documents by tenant, kind and name; and the names of all that exist, sound or not."""

    sound: Mapping[tuple[str, str], Sequence[Valid]]
    declared: Mapping[tuple[str, str], Sequence[str]]

    @classmethod
    def of(cls, source: Source, valid: Iterable[Valid]) -> "_Documents":
        sound: dict[tuple[str, str], list[Valid]] = {}
        declared: dict[tuple[str, str], list[str]] = {}
        for place in source.placed:
            if place.tenant is not None:
                declared.setdefault((place.tenant, place.kind), []).append(place.name)
        for tenant, kind, name in source.elsewhere:
            declared.setdefault((tenant, kind), []).append(name)
        for v in valid:
            if v.place.tenant is not None:
                sound.setdefault((v.place.tenant, v.place.kind), []).append(v)
        return cls(sound, declared)

    def names(self, tenant: str, kind: str) -> Sequence[str]:
        """Names of the tenant's documents of one kind, sound or not."""
        return self.declared.get((tenant, kind), ())

    @cached_property
    def tenants(self) -> Collection[str]:
        """Names of all tenants, sound or not, sorted. They are keys: with many, each is looked up at least once."""
        return dict.fromkeys(sorted({tenant for tenant, _ in self.declared})).keys()

    def owners(self, kind: str, name: str) -> Sequence[str]:
        """The tenants that have a document of this kind and name."""
        return sorted(t for (t, k), names in self.declared.items() if k == kind and name in names)


def _check_subscriptions(documents: _Documents, valid: Sequence[Valid], report: Report) -> None:
    """What subscriptions name, whether or not the tenant's own document and the platform's are sound."""
    for v in valid:
        if isinstance(v.value, Subscription):
            for kind, key in (("Consumer", "consumer"), ("UniversalAPIContract", "contract"), ("Plan", "plan")):
                name = getattr(v.value.spec, key)
                _check_reference(documents, v.value.metadata.tenant, kind, name, v.document, ("spec", key), report)


def _check_descriptions(source: Source, documents: _Documents, report: Report) -> None:
    """OpenAPI descriptions that no contract of their tenant pins."""
    for path, file in source.descriptions.items():
        tenant, _, name = path.partition("/")
        contracts = documents.sound.get((tenant, "UniversalAPIContract"), ())
        if len(contracts) < len(documents.names(tenant, "UniversalAPIContract")):
            continue  # One with mistakes may pin it.
        pinned = {s.file for v in contracts if isinstance(v.value, UniversalAPIContract) and (s := v.value.spec.source)}
        if name in pinned or any(f"{tenant}/{p}" not in source.descriptions for p in pinned):
            continue  # A source that is not there may be this one by another name.
        digest = file.digest
        report.add(
            SOURCE_UNUSED,
            file.span(),
            f"no contract of `{tenant}` pins `{name}`, so nothing reads it",
            help=f"Write `source: {{file: {name}, sha256: {digest}}}` below `spec` of a contract, or remove the file.",
        )


@record(slots=False)
class _Linker:
    """Resolves references against one platform."""

    source: Source
    documents: _Documents
    platform: Platform
    report: Report
    _descriptions: dict[str, openapi.Description | None] = field(default_factory=dict)

    def check_platform(self, document: Document) -> None:
        """The platform's own references: roles of grants, tenants of hosts."""
        spec = self.platform.spec
        for index, grant in enumerate(spec.grants):
            self._known("role", grant.role, list(spec.roles), document, ("spec", "grants", index, "role"))
            for at, pattern in enumerate(grant.tools):
                self._pattern(pattern, document, ("spec", "grants", index, "tools", at))
        tenants = self.documents.tenants
        for index, allowed in enumerate(spec.backends.allowed_hosts):
            for at, tenant in enumerate(allowed.tenants):
                loc = ("spec", "backends", "allowedHosts", index, "tenants", at)
                self._known("tenant", tenant, tenants, document, loc)

    def people(
        self, tenant: str, document: Document, people: People, groups: Groups
    ) -> tuple[tuple[PersonNode, ...], tuple[GroupNode, ...]]:
        """People with the roles that their groups give, and the groups."""
        roles = list(self.platform.spec.roles)
        for name, group in groups.items():
            for index, role in enumerate(group.roles):
                self._known("role", role, roles, document, ("spec", "groups", name, "roles", index))
            for index, member in enumerate(group.members or ()):
                loc = ("spec", "groups", name, "members", index)
                self._known("person", member, list(people), document, loc)
        nodes = []
        for username, person in sorted(people.items()):
            mine = sorted(n for n, g in groups.items() if username in (g.members or ()))
            nodes.append(
                PersonNode(
                    username=username,
                    first_name=person.first_name,
                    last_name=person.last_name,
                    email=person.email,
                    tenant=tenant,
                    groups=tuple(mine),
                    roles=tuple(sorted({r for n in mine for r in groups[n].roles})),
                    origin=Origin(document, ("spec", "people", username)),
                )
            )
        group_nodes = tuple(
            GroupNode(
                name=name,
                roles=tuple(sorted(set(group.roles))),
                members=None if group.members is None else tuple(sorted(set(group.members))),
                origin=Origin(document, ("spec", "groups", name)),
            )
            for name, group in sorted(groups.items())
        )
        return tuple(nodes), group_nodes

    def tenant(self, document: Document, tenant: Tenant) -> TenantNode:
        """The tenant with all that is its own."""
        name, spec = tenant.metadata.name, tenant.spec
        declared = self.platform.spec
        self._known("tier", spec.tier, list(declared.tiers), document, ("spec", "tier"))
        for index, environment in enumerate(spec.environments):
            loc: Loc = ("spec", "environments", index)
            self._known("environment", environment, list(declared.environments), document, loc)
        people, groups = self.people(name, document, spec.people, spec.groups)
        contracts = tuple(
            self.contract(v.document, v.value, name)
            for v in self._sound(name, "UniversalAPIContract")
            if isinstance(v.value, UniversalAPIContract)
        )
        for index, grant in enumerate(spec.grants):
            self._known("role", grant.role, list(declared.roles), document, ("spec", "grants", index, "role"))
            for at, pattern in enumerate(grant.tools):
                loc = ("spec", "grants", index, "tools", at)
                owner = pattern.partition(":")[0]
                if owner != name:
                    said = "every tenant's" if owner == "*" else f"`{owner}`'s"
                    self.report.add(
                        FOREIGN_REFERENCE,
                        document.find(loc, owner),
                        f"`{pattern}` names {said} tools, but the grant is `{name}`'s",
                        help=f"Begin the pattern with `{name}:`.",
                    )
                else:
                    self._pattern(pattern, document, loc)
        tier = declared.tiers.get(spec.tier)
        grants = [*spec.grants, *declared.grants]
        return TenantNode(
            name=name,
            declared=tenant,
            people=people,
            groups=groups,
            contracts=contracts,
            consumers=self.consumers(name),
            plans=tuple(
                PlanNode(v.value.metadata.name, v.value, Origin(v.document))
                for v in self._sound(name, "Plan")
                if isinstance(v.value, Plan)
            ),
            access=access(declared.roles, grants, contracts),
            rate=spec.quotas.rate or (tier.max_rate if tier else "1/second"),
            origin=Origin(document),
        )

    def without_tenant(self, name: str) -> None:
        """Finds what is wrong in the other documents of a tenant whose own has mistakes."""
        for v in self._sound(name, "UniversalAPIContract"):
            if isinstance(v.value, UniversalAPIContract):
                self.contract(v.document, v.value, name)
        self.consumers(name)

    def contract(self, document: Document, contract: UniversalAPIContract, tenant: str) -> ContractNode:
        """The contract, its operations lowered and its backend's defaults filled in."""
        spec = contract.spec
        demanded = self.platform.spec.classifications.get(spec.classification)
        self._known(
            "classification",
            spec.classification,
            list(self.platform.spec.classifications),
            document,
            ("spec", "classification"),
        )
        lowering = Lowering(
            tenant=tenant,
            contract=contract,
            document=document,
            platform=self.platform,
            description=self._description(tenant, contract, document),
            report=self.report,
        )
        lowered = [lowering.lower(name, operation) for name, operation in sorted(spec.operations.items())]
        return ContractNode(
            name=contract.metadata.name,
            declared=contract,
            backends=_backends(contract, self.platform.spec.defaults),
            operations=tuple(o for o in lowered if o is not None),
            policies=tuple(sorted(demanded.demands)) if demanded else (),
            origin=Origin(document),
        )

    def consumers(self, tenant: str) -> tuple[ConsumerNode, ...]:
        """The tenant's applications with their subscriptions."""
        subscriptions = []
        for v in self._sound(tenant, "Subscription"):
            if isinstance(v.value, Subscription):
                subscriptions.append(SubscriptionNode(v.value.metadata.name, v.value, Origin(v.document)))
        nodes = []
        for v in self._sound(tenant, "Consumer"):
            if isinstance(v.value, Consumer):
                name = v.value.metadata.name
                for index, role in enumerate(v.value.spec.roles):
                    loc = ("spec", "roles", index)
                    self._known("role", role, list(self.platform.spec.roles), v.document, loc)
                mine = tuple(s for s in subscriptions if s.declared.spec.consumer == name)
                nodes.append(ConsumerNode(name, client_id(tenant, name), v.value, mine, Origin(v.document)))
        return tuple(nodes)

    def _sound(self, tenant: str, kind: str) -> Sequence[Valid]:
        return sorted(self.documents.sound.get((tenant, kind), ()), key=lambda v: v.place.name)

    def _description(
        self, tenant: str, contract: UniversalAPIContract, document: Document
    ) -> openapi.Description | None:
        """The contract's OpenAPI source, when it is there, the pinned one, and well formed."""
        declared = contract.spec.source
        if declared is None:
            return None
        loc: Loc = ("spec", "source")
        path = f"{tenant}/{declared.file}"
        file = self.source.descriptions.get(path)
        if file is None:
            here = [p.partition("/")[2] for p in self.source.descriptions if p.startswith(f"{tenant}/")]
            close = nearest(declared.file, here)
            self.report.add(
                SOURCE_MISSING,
                document.span((*loc, "file")),
                f"`{tenant}/{declared.file}` is not there",
                help=f"Did you mean `{close}`?" if close else "",
            )
            return None
        digest = file.digest
        if digest != declared.sha256:
            self.report.add(
                SOURCE_CHANGED,
                document.span((*loc, "sha256")),
                f"`{declared.file}` has another digest",
                notes=[Note("this file", file.span())],
                help=f"Review the file, then write `sha256: {digest}`.",
            )
            return None
        if path not in self._descriptions:
            self._descriptions[path] = None
            try:
                self._descriptions[path] = openapi.read(file.content, declared.file)
            except openapi.DescriptionError as error:
                notes = [Note("here", file.span(error.line, error.column))] if error.line else []
                self.report.add(SOURCE_BROKEN, document.span((*loc, "file")), error.message, notes)
        return self._descriptions[path]

    def _known(
        self, what: str, name: str, known: Collection[str], document: Document, loc: Loc, after: str = ""
    ) -> bool:
        """Whether `name` is among `known`; reports it at `loc`, where it follows `after`, where it is not."""
        if name in known:
            return True
        close = nearest(name, known)
        notes = [Note(f"{_plural(what)} declared: {listed(sorted(known))}")] if known else []
        self.report.add(
            UNKNOWN_REFERENCE,
            document.find(loc, name, after),
            f"the {what} `{name}` is not declared",
            notes,
            f"Did you mean `{close}`?" if close else f"Declare the {what}, or use one that is declared.",
            fix=fixes.meant(document, loc, known),
        )
        return False

    def _pattern(self, pattern: str, document: Document, loc: Loc) -> None:
        """Reports a tool pattern whose named segments do not exist."""
        tenant, contract, operation = pattern.split(":")
        if tenant == "*":
            return
        if not self._known("tenant", tenant, self.documents.tenants, document, loc) or contract == "*":
            return
        contracts = self.documents.names(tenant, "UniversalAPIContract")
        if not self._known("contract", contract, contracts, document, loc, f"{tenant}:") or operation == "*":
            return
        for v in self._sound(tenant, "UniversalAPIContract"):
            if v.place.name == contract and isinstance(v.value, UniversalAPIContract):
                operations, after = list(v.value.spec.operations), f"{tenant}:{contract}:"
                self._known("operation", operation, operations, document, loc, after)


def _check_reference(
    documents: _Documents, tenant: str, kind: str, name: str, document: Document, loc: Loc, report: Report
) -> None:
    """Reports a reference to a document that the tenant does not have."""
    if name in documents.names(tenant, kind):
        return
    what = _WORDS[kind]
    owners = documents.owners(kind, name)
    if owners:
        report.add(
            FOREIGN_REFERENCE,
            document.span(loc),
            f"the {what} `{name}` is not `{tenant}`'s",
            help=f"Use a {what} of `{tenant}`, or declare one in `{tenant}/{_FOLDERS[kind]}/`.",
        )
        return
    known = documents.names(tenant, kind)
    close = nearest(name, known)
    where = f"`{tenant}/{_FOLDERS[kind]}/{name}.yaml`"
    report.add(
        UNKNOWN_REFERENCE,
        document.span(loc),
        f"the {what} `{name}` is not declared",
        [Note(f"{_plural(what)} of `{tenant}`: {listed(sorted(known))}")] if known else [],
        f"Did you mean `{close}`?" if close else f"Declare it in {where}, or use one that is declared.",
        fix=fixes.meant(document, loc, known),
    )


_WORDS = {"Consumer": "consumer", "UniversalAPIContract": "contract", "Plan": "plan"}
_FOLDERS = {kind: folder for folder, kind in FOLDER_KINDS.items()}


def _plural(word: str) -> str:
    return "people" if word == "person" else f"{word}s"


def _backends(contract: UniversalAPIContract, defaults: Defaults) -> dict[str, calls.BackendRule]:
    """The backend by environment, with the platform's defaults where the contract says nothing."""
    backend = contract.spec.backend
    timeouts = backend.timeouts or defaults.timeouts
    retries = backend.retries or defaults.retries
    breaker = backend.circuit_breaker or defaults.circuit_breaker
    auth = backend.auth
    return {
        environment: calls.BackendRule(
            url=url.rstrip("/"),
            auth=calls.BackendAuthRule(
                type=auth.type,
                secret=auth.secret,
                header=auth.header if auth.type == "header" else None,
                username=auth.username if auth.type == "basic" else None,
            )
            if auth
            else None,
            connect_ms=milliseconds(timeouts.connect),
            read_ms=milliseconds(timeouts.read),
            total_ms=milliseconds(timeouts.total),
            retries=retries.attempts,
            backoff_ms=milliseconds(retries.backoff),
            retry_percent=retries.budget_percent,
            breaker=calls.Breaker(failures=breaker.failures, reset_ms=milliseconds(breaker.reset)) if breaker else None,
            concurrency=backend.concurrency,
        )
        for environment, url in sorted(backend.urls.items())
    }

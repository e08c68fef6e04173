"""Proof of a realm that was put together: each tenant's share among some tenants, and then the whole from the shares.

A share is proved by a realm of the platform and the share's tenants, which is read back as any other. That shows each
of its entries to be exactly what this tenant must have, by its name, its own consumers, people and groups and by the
platform, and by nothing of any other tenant (`exact.entries`). What the whole realm gives to anybody follows from its
entries, found by their names: an account's groups, a client's scopes, a scope's gate. So where the whole is exactly the
platform's own entries and these, each once and no two of one name, no entry leads anywhere else than it did in its
share, and no token says anything else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import orjson

from stoa_compiler.diagnostics import Report, Rule, listed
from stoa_compiler.graph import Graph, TenantFacts, TenantNode
from stoa_compiler.records import record
from stoa_compiler.target import Artifact, Artifacts, Part, PartsOf
from stoa_compiler.targets.keycloak.join import join
from stoa_compiler.targets.keycloak.rules import COLLISION, UNDECLARED, UNREADABLE
from stoa_compiler.targets.keycloak.strategy import RealmPart, path_of, platforms, realm_of
from stoa_compiler.targets.keycloak.verify import judge_identity, judge_names, judge_number, prove
from stoa_schemas.calls import sha256

_GATE = "stoa.gateway"
_STANDS: Mapping[str, tuple[bytes, bytes, tuple[str, ...]]] = {
    "clientScopeMappings": (b"    ", _GATE.encode(), ("clientScope",)),
    "clientScopes": (b"  ", b"clientScopes", ("name",)),
    "clients": (b"  ", b"clients", ("clientId",)),
    "groups": (b"  ", b"groups", ("name",)),
    "organizations": (b"  ", b"organizations", ("name",)),
    "roles": (b"      ", _GATE.encode(), ("name",)),
    "scopeMappings": (b"  ", b"scopeMappings", ("client", "clientScope")),
    "users": (b"  ", b"users", ("username",)),
}
"""Where each list begins in a realm's file, in the file's order, and what names an entry."""
_AFTER_MAPPINGS = b'\n    ]\n  },\n  "clientScopes": ['
_MAPPINGS = b'\n    ],\n    "stoa.gateway": []\n  },\n  "clientScopes": ['

_FEW = 20
"""Fewer tenants make a small realm."""

Entries = Mapping[str, list[str]]
"""By list, the lines of each entry between its braces."""
Lines = tuple[list[str], list[str]]
"""Entries as a part has them: the name of each, and its lines."""


def verify_parts(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts, report: Report) -> None:
    """Proves the parts of the graph's tenants: what they come to, and that each has its own tenant's entries only."""
    tenants = graph.tenants_in(environment)
    judge_identity(graph, report)
    if graph.platform.spec.identity.strategy == "realm-per-tenant":
        for tenant in tenants:
            _prove_own(realm_of(graph, environment, tenant), environment, parts.get(tenant.name, Part()), report)
        return
    own = RealmPart(graph, True)
    realm = next(a for a in join(graph, environment, parts, carried) if a.path == own.path)
    before = len(report.found)
    data = prove(own, environment, realm, report, small=len(tenants) < _FEW)
    if len(report.found) > before:
        return  # It has been said better.
    whole = _Whole(graph, environment, parts, report)
    order = whole.compare(realm, whole.base())
    if len(report.found) == before:
        _judge_names(whole, data, order, tenants)


def _prove_own(part: RealmPart, environment: str, given: Part, report: Report) -> None:
    """The tenant's own realm holds, and its part is that file alone."""
    (tenant,) = part.graph.tenants
    found = {a.path: a for a in given.artifacts}
    prove(part, environment, found.get(part.path), report)
    if list(found) != [part.path] or given.shared or any(sha256(a.content) != a.digest for a in found.values()):
        said = f"`{tenant.name}` does not give its own realm alone"
        report.add(UNREADABLE, tenant.origin.document.span(), said)


def _judge_names(
    whole: "_Whole", realm: Mapping[str, Any], order: Mapping[str, Sequence[str]], tenants: Sequence[TenantNode]
) -> None:
    """Entries are called in their parts what they are called in the realm, and belong to the part's tenant."""
    lists = {
        **realm,
        "roles": realm["roles"]["client"][_GATE],
        "clientScopeMappings": realm["clientScopeMappings"].get(_GATE, ()),
    }
    for name, names in order.items():
        if [_called(name, entry) for entry in lists.get(name, ())] != names:
            whole.say(UNREADABLE, f"entries of `{name}` stand under other names")
    for tenant in tenants:
        found = {name: sorted(names) for name, (names, _) in whole.lines(tenant.name).items()}
        own = _belonging(tenant, "organizations" in realm)
        more = any(found.get(name, []) != sorted(own.get(name, ())) for name in {*found, *own})
        if more or whole.parts[tenant.name].artifacts:
            where = tenant.origin.document.span()
            whole.report.add(UNDECLARED, where, f"`{tenant.name}` does not give its own entries alone")


def _belonging(tenant: TenantNode, organized: bool) -> Mapping[str, Sequence[str]]:
    """The names of a tenant's entries."""
    clients = [c.client_id for c in tenant.consumers]
    robots = [c.client_id for c in tenant.consumers if "client_credentials" in c.declared.spec.grant_types]
    gates = [tenant.name] if clients else []
    return {
        "clientScopeMappings": [f"stoa-tenant-{t}" for t in gates],
        "clientScopes": [f"stoa-tenant-{t}" for t in gates],
        "clients": clients,
        "groups": [tenant.name],
        "organizations": [tenant.name] if organized else [],
        "roles": gates,
        "scopeMappings": [f"{c}\0" for c in clients],
        "users": [*(p.username for p in tenant.people), *(f"service-account-{c}" for c in robots)],
    }


def verify_rest(graph: Graph, environment: str, parts: PartsOf, artifacts: Artifacts, report: Report) -> None:
    """Proves that the files are the platform's own and these parts, which were proved, and nothing else."""
    whole = _Whole(graph, environment, parts, report)
    facts = whole.facts
    if odd := sorted({f.name for f in facts} ^ parts.keys()):
        whole.say(UNREADABLE, f"{listed(odd)} and the parts of the realm do not belong together")
    judge_identity(graph, report)
    own = platforms(graph, environment)
    files = {path: a for path, a in artifacts.items() if path.startswith("keycloak/")}
    if graph.platform.spec.identity.strategy == "realm-per-tenant":
        judge_number(graph, len(facts), report)
        prove(own, environment, files.get(own.path), report, small=True)
        proved = {a.path: a.digest for part in parts.values() for a in part.artifacts}
        for fact in facts:
            path = path_of(graph, fact.name)
            if path not in files or path not in proved or files[path].digest != proved[path]:
                whole.say(UNREADABLE, f"`{path}` is not the realm of `{fact.name}`")
        expected = {own.path, *(path_of(graph, fact.name) for fact in facts)}
    else:
        base, expected = whole.base(), {own.path}
        prove(own, environment, base, report, small=True)
        whole.judge_people()
        if own.path not in files:
            whole.say(UNREADABLE, f"`{own.path}` is not there")
        elif not report.errors:  # Else it has been said better: here, or of a share.
            whole.judge_facts()
            whole.compare(files[own.path], base)
    if stray := sorted(files.keys() - expected):
        whole.say(UNDECLARED, f"{listed(stray)} are realms of nobody")


@record(slots=False)
class _Whole:
    """A realm of all tenants, beside the parts that it is put together from."""

    graph: Graph
    environment: str
    parts: PartsOf
    report: Report

    def say(self, rule: Rule, message: str) -> None:
        """Adds a finding that is about no tenant."""
        self.report.add(rule, self.graph.origin.document.span(("spec", "identity")), message)

    def lines(self, tenant: str) -> Mapping[str, Lines]:
        """What a tenant's part adds to each list."""
        part = self.parts.get(tenant)
        shared: Mapping[str, Lines] = part.shared if part is not None and part.shared else {}
        return shared

    @cached_property
    def given(self) -> Mapping[str, Lines]:
        """What all tenants add to each list."""
        given: dict[str, Lines] = {name: ([], []) for name in _STANDS}
        for fact in self.facts:
            for name, (names, texts) in self.lines(fact.name).items():
                all_names, all_texts = given.setdefault(name, ([], []))
                all_names += names
                all_texts += texts
        return given

    @cached_property
    def facts(self) -> Sequence[TenantFacts]:
        """The tenants."""
        return self.graph.facts_in(self.environment)

    def base(self) -> Artifact:
        """The realm of the platform alone."""
        (realm,) = join(replace(self.graph, tenants=()), self.environment, {}, {})
        return realm

    def judge_people(self) -> None:
        """No two people of the realm have one name."""
        own = [(p.username, p.email) for p in self.graph.people]
        everyone = [*own, *chain.from_iterable(fact.people for fact in self.facts)]
        clashing: set[tuple[str, str]] = set()
        for at in (0, 1):
            names = [person[at].lower() for person in everyone]
            if len(set(names)) != len(names):
                often = Counter(names)
                clashing.update(person for person, name in zip(everyone, names, strict=True) if often[name] > 1)
        if clashing:  # An error of an author, so that it may take a while to say whose.
            there = [self.graph.tenant(f.name) for f in self.facts if not clashing.isdisjoint(f.people)]
            judge_names([*self.graph.people, *(p for t in there for p in t.people)], self.report)

    def judge_facts(self) -> None:
        """What is given is of the tenants and people that are known."""
        tenants = [fact.name for fact in self.facts]
        people = sorted(name for name, _ in chain.from_iterable(fact.people for fact in self.facts))
        accounts = sorted(name for name in self.given["users"][0] if not name.startswith("service-account-"))
        organizations = tenants if self.graph.platform.spec.identity.tenants == "organizations" else []
        for kind, due in (("groups", tenants), ("organizations", organizations), ("users", people)):
            found = accounts if kind == "users" else self.given[kind][0]
            if found != due:
                odd = sorted({*(Counter(found) - Counter(due)), *(Counter(due) - Counter(found))})
                self.say(UNREADABLE, f"`{kind}` are not of those who are known: {listed(odd) or 'not in their order'}")

    def compare(self, realm: Artifact, base: Artifact) -> Mapping[str, Sequence[str]]:
        """The names of each list's entries, as they stand in the realm: it is what the base and the parts come to.

        No byte of the file is left out: it either stands in an entry, or frames the lists as in the base.
        """
        try:
            frame, found = _apart(realm.content)
        except ValueError as error:
            self.say(UNREADABLE, f"`{realm.path}` is not shaped like a realm: {error}")
            return {}
        own_frame, own = _apart(base.content)
        if self.given["clientScopeMappings"][0]:
            own_frame = own_frame.replace(_AFTER_MAPPINGS, _MAPPINGS, 1)
        if frame != own_frame:
            self.say(UNDECLARED, f"`{realm.path}` differs from the platform's own realm in more than tenants' entries")
        order: dict[str, Sequence[str]] = {}
        for name, (names, texts) in self.given.items():
            names = [*names, *(_called(name, _read(text)) for text in own.get(name, ()))]
            texts = [*texts, *own.get(name, ())]
            sequence = sorted(range(len(names)), key=names.__getitem__)
            order[name] = [names[at] for at in sequence]
            if len(set(names)) != len(names):
                twice = sorted(called for called, often in Counter(names).items() if often > 1)
                self.say(COLLISION, f"two entries of `{name}` are called {listed(twice)}")
            if [texts[at] for at in sequence] != found.get(name, []):
                self._differs(name, dict(zip(texts, names, strict=True)), found.get(name, []))
        return order

    def _differs(self, name: str, due: Mapping[str, str], found: Sequence[str]) -> None:
        """Says what is wrong with a list whose entries are not those that are due, named by their lines."""
        lost = sorted(due[text].strip("\0") for text in due.keys() - set(found))
        odd = sorted(_shown(name, text) for text in (Counter(found) - Counter(due.keys())).elements())
        if odd:
            self.say(UNDECLARED, f"the realm holds {listed(odd)} in `{name}`, or not as it was proved")
        if lost:
            self.say(UNDECLARED, f"the realm lacks {listed(lost)} in `{name}`, as it was proved")
        if not odd and not lost:
            self.say(UNREADABLE, f"the entries of `{name}` are not in their order")


def _apart(content: bytes) -> tuple[bytes, Entries]:
    """The file without the entries of its lists, and these. Raises `ValueError`.

    A text in JSON holds no line break: so what begins a line is structure, and its indent tells whose.
    """
    openings = {name: b'\n%b"%b": [' % (indent, key) for name, (indent, key, _) in _STANDS.items()}
    starts: dict[str, int] = {}
    at = 0
    for name, opening in openings.items():
        if (found := content.find(opening, at)) >= 0:  # What is missed shows in the frame.
            starts[name] = at = found + len(opening)
    frame, entries, at = list[bytes](), dict[str, list[str]](), 0
    # A list ends before the next one begins. That is looked for from there: it is near.
    for (name, start), before in zip(starts.items(), [*starts.values(), len(content)][1:], strict=True):
        frame.append(content[at:start])
        entries[name], at = [], start
        if not content.startswith(b"]", start):
            indent = _STANDS[name][0]
            first, last = b"\n%b  {\n" % indent, b"\n%b  }" % indent
            end = content.rfind(b"%b\n%b]" % (last, indent), start, before)
            if not content.startswith(first, start) or end < start + len(first):
                raise ValueError(f"`{name}` is no list of entries")
            entries[name] = content[start + len(first) : end].decode().split((last + b"," + first).decode())
            at = end + len(last) + 1 + len(indent)
    return b"".join([*frame, content[at:]]), entries


def _read(text: str) -> Mapping[str, Any]:
    entry: dict[str, Any] = orjson.loads("{" + text + "}")
    return entry


def _called(name: str, entry: Mapping[str, Any]) -> str:
    keys = _STANDS[name][2]
    return str(entry[keys[0]]) if len(keys) == 1 else "\0".join([str(entry.get(key, "")) for key in keys])


def _shown(name: str, text: str) -> str:
    """What to call an entry that should not be there."""
    try:
        return _called(name, _read(text)).strip("\0")
    except (LookupError, ValueError):
        return "something"

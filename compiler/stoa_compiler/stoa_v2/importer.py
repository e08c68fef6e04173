"""Import: files of the earlier form in, documents out that compile, and an account of every value.

What the checks refuse is left out and told, part by part, until the source compiles with what is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stoa_compiler import pipeline
from stoa_compiler.checks.backends import HOST_NOT_ALLOWED
from stoa_compiler.checks.contracts import DEMANDED
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.load import PLATFORM_FILE, TENANT_FILE, Placed, Source, load
from stoa_compiler.openapi.importer import ImportRefused as HostRefused
from stoa_compiler.openapi.importer import allow_host
from stoa_compiler.parse import parse_file
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, SourceFile, SpanTree
from stoa_compiler.stoa_v2 import backends, bundles, contracts, declared, naming
from stoa_compiler.stoa_v2.account import Account, Assumption, Place
from stoa_compiler.stoa_v2.drafts import Draft, Owner, Row, Scene, leave_out
from stoa_compiler.stoa_v2.proposal import propose
from stoa_compiler.stoa_v2.read import Input, Skipped, read
from stoa_compiler.stoa_v2.values import is_email, mapping
from stoa_compiler.stoa_v2.wishes import Decisions, ImportRefused, Part, Wishes
from stoa_compiler.stoa_v2.writing import document_yaml
from stoa_schemas.base import API_VERSION
from stoa_schemas.documents import Platform

HEAD = "# Imported from the earlier form of STOA: {files}\n# What was not carried over stands in the import's report.\n"
ROUNDS = 12
"""Each round leaves out what the one before found; what is left after so many is left out whole."""


@record(slots=False)
class Imported:
    """What an import makes; nothing of it is written yet."""

    files: Mapping[str, bytes]
    """By path from the source's folder; empty where nothing came in."""
    platform: bytes | None
    """The platform's document with the backends' hosts allowed, or a proposed one; None where it needs no change."""
    proposed: bool
    """Whether the source has no platform document yet."""
    hosts: tuple[tuple[str, str], ...]
    """Host and tenant that the platform's document does not allow yet."""
    inputs: tuple[Input, ...]
    accounts: tuple[Account, ...]
    """One for each input, closed."""
    skipped: tuple[Skipped, ...]
    rows: tuple[Row, ...]
    assumptions: tuple[Assumption, ...]
    report: Report
    """What is wrong with the files, and what the documents' checks found and nothing could be done about."""
    sources: Mapping[str, SourceFile]
    """Every file by its shown path, for diagnostics."""


@record(slots=False)
class _Standing:
    """The source as it is."""

    source: Source
    platform: Platform | None
    platform_text: str
    tenants: Mapping[str, Owner]
    found: frozenset[tuple[str, int, str]]
    """What is wrong with it already."""


def import_stoa_v2(files: Sequence[SourceFile], root: Path, wishes: Wishes) -> Imported:
    """The documents that the files become in the source at `root`, which need not exist.

    Raises `ImportRefused` where the source itself or what was asked does not allow an import.
    """
    backends.check(dict(wishes.backends))
    if wishes.owner is not None and not is_email(wishes.owner):
        raise ImportRefused(f"`{wishes.owner[:80]}` is not an address")
    reading = Report()
    inputs, skipped = read(files, reading)
    standing = _standing(root, wishes)
    decisions, tools = Decisions(), dict[str, str]()
    for turn in range(ROUNDS):
        run = _Run(inputs, standing, wishes, decisions, tools)
        if run.scene.renamed != tools:
            tools = run.scene.renamed
            run = _Run(inputs, standing, wishes, decisions, tools)
        left = run.judge(root)
        again = run.decide(left, whole=turn >= ROUNDS - 3)
        if again == decisions:
            break
        decisions = again
    report = Report([*reading.found, *run.report.found, *left])
    sources = {f.shown: f for f in files} | dict(run.sources)
    return Imported(
        files={p: c for p, c in run.files.items() if p != PLATFORM_FILE},
        platform=run.platform if run.files else None,
        proposed=standing.platform is None,
        hosts=tuple(run.hosts),
        inputs=tuple(inputs),
        accounts=tuple(run.accounts),
        skipped=tuple(skipped),
        rows=tuple(run.scene.rows),
        assumptions=tuple(run.scene.assumptions),
        report=report,
        sources=sources,
    )


def _standing(root: Path, wishes: Wishes) -> _Standing:
    """The source at `root`. A folder without a platform document is taken only where it is empty."""
    if not (root / PLATFORM_FILE).exists():
        if root.exists() and any(p.suffix in (".yaml", ".yml") for p in root.rglob("*")):
            raise ImportRefused(f"`{root}` has documents and no `{PLATFORM_FILE}`")
        return _Standing(Source((), {}), None, "", {}, frozenset())
    report = Report()
    source = load(root, report)
    checked = pipeline.judge(source, report)
    if checked.graph is None:
        raise ImportRefused(f"`{root / PLATFORM_FILE}` has mistakes of its own; `stoa check {root}` names them")
    tenants = {}
    for place in source.placed:
        if place.kind == "Tenant":
            tenants[place.name] = _owner(place, checked.graph.platform)
    text = (root / PLATFORM_FILE).read_text("utf-8")
    found = frozenset((d.rule.code, d.span.line, d.message) for d in report.found)
    return _Standing(source, checked.graph.platform, text, tenants, found)


def _owner(place: Placed, platform: Platform) -> Owner:
    document = parse_file(place.file, Report())
    spec = mapping(mapping(document.data if document else None).get("spec"))
    declared = spec.get("environments")
    known = [e for e in declared if e in platform.spec.environments] if isinstance(declared, list) else []
    prefix = mapping(spec.get("secrets")).get("prefix")
    contact = spec.get("contact")
    return Owner(
        name=place.name,
        contact=contact if is_email(contact) else f"owner@{place.name}.example",
        contact_assumed=False,
        environments=tuple(known) or tuple(platform.spec.environments),
        prefix=prefix if isinstance(prefix, str) else f"tenants/{place.name}",
        new=False,
    )


class _Run:
    """One mapping of all inputs under the decisions so far."""

    def __init__(
        self,
        inputs: Sequence[Input],
        standing: _Standing,
        wishes: Wishes,
        decisions: Decisions,
        tools: dict[str, str],
    ) -> None:
        self.inputs = inputs
        self.standing = standing
        self.decisions = decisions
        self.report = Report()
        self.accounts = [Account(i.document, self.report) for i in inputs]
        platform = standing.platform or Platform.model_validate(propose(inputs, {}), by_alias=True, by_name=False)
        self.scene = Scene(platform, wishes, decisions, tools)
        self.tenants: dict[str, dict[str, Any]] = {}
        """What bundles say of each new tenant."""
        self.named: list[str | None] = []
        self._map()
        self.files: dict[str, bytes] = {}
        self.places: dict[str, Draft] = {}
        self._write()
        self.scene.assumptions = [a for a in self.scene.assumptions if a.place.path in self.files]
        self.hosts: list[tuple[str, str]] = []
        self.platform = self._platform()
        self.sources: dict[str, SourceFile] = {}

    def _map(self) -> None:
        scene = self.scene
        originals = {i: name for i, f in enumerate(self.inputs) if (name := self._tenant_of(f))}
        tenants = naming.tenant_names(originals)
        self.named = [tenants.get(i) for i in range(len(self.inputs))]
        for index in self._order():
            tenant = self.named[index]
            if tenant is not None:
                self._own(tenant)
        chosen = self._contract_names()
        for index, _, _ in chosen:
            tenant = self.named[index]
            assert tenant is not None
            contracts_so_far, tools_so_far = scene.sizes.get(tenant, (0, 0))
            scene.sizes[tenant] = (contracts_so_far + 1, tools_so_far)
        for index, tenant in enumerate(self.named):
            if tenant is not None:
                size = scene.sizes.get(tenant, (0, 0))
                scene.sizes[tenant] = (size[0], size[1] + self._operations(index))
        for index in self._order():
            item, account, tenant = self.inputs[index], self.accounts[index], self.named[index]
            known = declared.known_keys if item.form == "bundle" else contracts.known_keys
            if tenant is None:
                said = "the file names no tenant"
                account.missing((), said, "Add the tenant's name, or name it with --tenant.")
                leave_out(account, (), said)
            elif (why := self.decisions.left_out.get(Part("", (tenant,)))) is not None:
                leave_out(account, (), f"the tenant's document cannot be: {why}")
            elif item.form == "bundle":
                mine = {loc[2]: n for (i, loc, _), n in chosen.items() if i == index and len(loc) == 3}
                said_of = bundles.map_bundle(scene, account, scene.owners[tenant], mine)  # type: ignore[arg-type]
                if said_of is not None:
                    self.tenants.setdefault(tenant, said_of)
            else:
                by_origin = {o: n for (i, _, o), n in chosen.items() if i == index}
                twin = self._twin(index)
                if twin is not None:
                    said = f"`{twin.file}` is the contract `{contracts.original_name(twin)}` of this tenant already"
                    same = twin.document.data == account.document.data
                    account.put((), "duplicate" if same else "left out", said)
                    if not same:
                        account.missing((), said, "Give one of them another name.")
                else:
                    contracts.map_contract(scene, account, scene.owners[tenant], by_origin)
            account.close(known)
        order = {account.file: i for i, account in enumerate(self.accounts)}
        scene.rows.sort(key=lambda row: order[row.file])

    def _operations(self, index: int) -> int:
        """How many operations the input asks for."""
        item, tenant = self.inputs[index], self.named[index] or ""
        if item.form == "bundle":
            listed = (api.get("operations") for _, api in bundles.apis_of(item.data))
            return sum(len(operations) for operations in listed if isinstance(operations, list))
        throwaway = Account(item.document, Report())
        return contracts.size(self.scene, throwaway, tenant)

    def _order(self) -> list[int]:
        """Bundles first: they say most about their tenants."""
        return sorted(range(len(self.inputs)), key=lambda i: (self.inputs[i].form != "bundle", i))

    def _tenant_of(self, item: Input) -> str | None:
        found = bundles.tenant_name(item.data) if item.form == "bundle" else item.data.get("tenant_id")
        return found if isinstance(found, str) and found.strip() else self.scene.wishes.tenant

    def _own(self, tenant: str) -> None:
        """Sets who owns what comes in for the tenant, from the source, a bundle, the command line or nothing."""
        if tenant in self.scene.owners:
            return
        standing = self.standing.tenants.get(tenant)
        wishes = self.scene.wishes
        if standing is not None:
            environments = tuple(wishes.environments) or standing.environments
            contact = wishes.owner or standing.contact
            self.scene.owners[tenant] = replace(standing, environments=environments, contact=contact)
            return
        mine = [f.data for i, f in enumerate(self.inputs) if f.form == "bundle" and self.named[i] == tenant]
        named = wishes.owner or next((c for b in mine if (c := bundles.contact_of(b))), None)
        prefix = next((p for b in mine if (p := bundles.prefix_of(b))), None)
        if prefix is None or prefix.rpartition("/")[2] != tenant:
            prefix = f"tenants/{tenant}"
        environments = tuple(wishes.environments) or tuple(self.scene.platform.spec.environments)
        self.scene.owners[tenant] = Owner(
            tenant, named or f"owner@{tenant}.example", named is None, environments, prefix, True
        )

    def _contract_names(self) -> dict[tuple[int, Loc, str], str]:
        """Every contract's name, by its input, place and the origin of its backend."""
        wanted: dict[str, dict[tuple[int, Loc, str], str]] = {}
        seen: set[tuple[str, str]] = set()
        for index in self._order():
            item, tenant = self.inputs[index], self.named[index]
            if tenant is None:
                continue
            mine = wanted.setdefault(tenant, {})
            if item.form == "bundle":
                for at, api in bundles.apis_of(item.data):
                    name = bundles.api_name(at, api)
                    if (tenant, name) not in seen:
                        seen.add((tenant, name))
                        mine[(index, ("spec", "apis", at), "")] = name
                continue
            name = contracts.original_name(self.accounts[index])
            if (tenant, name) in seen:
                continue
            seen.add((tenant, name))
            throwaway = Account(item.document, Report())
            for number, origin in enumerate(contracts.origins(self.scene, throwaway, tenant)):
                host = origin.partition("//")[2]
                mine[(index, (), origin)] = name if number == 0 else f"{name}-{host.partition('.')[0]}"
        result: dict[tuple[int, Loc, str], str] = {}
        for tenant, mine in wanted.items():
            result |= naming.contract_names(mine, tenant)
        return result

    def _twin(self, index: int) -> Account | None:
        """The input before this one that is the same contract of the same tenant."""
        name, tenant = contracts.original_name(self.accounts[index]), self.named[index]
        for other in self._order():
            if other == index:
                return None
            if self.named[other] != tenant:
                continue
            if self.inputs[other].form == "contract" and contracts.original_name(self.accounts[other]) == name:
                return self.accounts[other]
            if self.inputs[other].form == "bundle" and any(
                bundles.api_name(i, a) == name for i, a in bundles.apis_of(self.inputs[other].data)
            ):
                return self.accounts[other]
        return None

    def _write(self) -> None:
        by_tenant: dict[str, list[Draft]] = {}
        for draft in self.scene.drafts:
            by_tenant.setdefault(draft.tenant, []).append(draft)
            self.places[draft.path] = draft
            self.files[draft.path] = document_yaml(draft.document, HEAD.format(files=_base(draft.account.file)))
        for tenant, owner in self.scene.owners.items():
            if owner.new and (tenant in by_tenant or tenant in self.tenants):
                path = f"{tenant}/{TENANT_FILE}"
                files = sorted({_base(a.file) for i, a in enumerate(self.accounts) if self.named[i] == tenant})
                listed = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
                self.files[path] = document_yaml(self._tenant(owner, path), HEAD.format(files=listed))

    def _tenant(self, owner: Owner, path: str) -> dict[str, Any]:
        scene, said = self.scene, self.tenants.get(owner.name)
        if said is None:
            tier = scene.fitting_tier(owner.name)
            scene.assume(Place(path, ("spec", "tier")), tier, "the platform's smallest tier that is large enough")
            said = {"tier": tier, "quotas": {}}
            scene.assume(Place(path, ("metadata", "name")), owner.name, "the tenant of the contracts")
        scene.assume(Place(path, ("spec", "displayName")), owner.name, "the tenant's name; files had no other")
        if owner.contact_assumed:
            why = "no file names anybody: name the owner with --owner"
            scene.assume(Place(path, ("spec", "contact")), owner.contact, why)
        elif scene.wishes.owner == owner.contact:
            scene.assume(Place(path, ("spec", "contact")), owner.contact, "the command line says it")
        at = Place(path, ("spec", "environments"))
        scene.assume(at, list(owner.environments), "files had no environments")
        if not any(bundles.prefix_of(f.data) == owner.prefix for f in self.inputs if f.form == "bundle"):
            scene.assume(Place(path, ("spec", "secrets", "prefix")), owner.prefix, "after the tenant's name")
        spec: dict[str, Any] = {
            "displayName": owner.name,
            "tier": said["tier"],
            "contact": owner.contact,
            "environments": list(owner.environments),
        }
        admin = scene.platform.spec.roles.get("tenant-admin")
        exposed = any(
            d.spec["status"] != "draft" and any(o.get("agents", True) for o in d.spec["operations"].values())
            for d in scene.drafts
            if d.tenant == owner.name
        )
        if admin is not None and admin.scope == "tenant" and exposed:
            spec["grants"] = [{"role": "tenant-admin", "tools": [f"{owner.name}:*:*"]}]
            why = "nobody holds the role until you write `groups`; narrow it as you like"
            scene.assume(Place(path, ("spec", "grants")), spec["grants"], why)
        else:
            why = "nobody may call anything until you write `grants` and `groups`"
            scene.assume(Place(path, ("spec", "grants")), [], why)
        if said["quotas"]:
            spec["quotas"] = said["quotas"]
        spec["secrets"] = {"prefix": owner.prefix}
        return {"apiVersion": API_VERSION, "kind": "Tenant", "metadata": {"name": owner.name}, "spec": spec}

    def _platform(self) -> bytes | None:
        """The platform's document with every backend's host allowed."""
        hosts: dict[str, set[str]] = {}
        for draft in self.scene.drafts:
            hosts.setdefault(draft.host, set()).add(draft.tenant)
        if self.standing.platform is None:
            head = "# Proposed by the import, to begin with: name your domain, environments, roles and people.\n"
            listed = {h: sorted(t) for h, t in hosts.items()}
            return document_yaml(propose(self.inputs, listed), head)
        text = self.standing.platform_text
        for host, tenants in sorted(hosts.items()):
            for tenant in sorted(tenants):
                try:
                    edited = allow_host(text, host, tenant)
                except HostRefused:
                    self.hosts.append((host, tenant))
                    continue
                if edited != text:
                    self.hosts.append((host, tenant))
                text = edited
        return text.encode() if text != self.standing.platform_text else None

    def judge(self, root: Path) -> list[Diagnostic]:
        """The errors that the source has with what came in, and had not before."""
        placed = {p.file.path: p for p in self.standing.source.placed}
        for path, content in self.files.items():
            tenant, _, name = path.partition("/")
            file = SourceFile(path, str(root / path), content)
            stem = name.rpartition("/")[2].removesuffix(".yaml")
            kind = ("Tenant", tenant) if name == TENANT_FILE else ("UniversalAPIContract", stem)
            placed[path] = Placed(file, *kind, tenant)
        if self.platform is not None:
            file = SourceFile(PLATFORM_FILE, str(root / PLATFORM_FILE), self.platform)
            placed[PLATFORM_FILE] = Placed(file, "Platform", "", None)
        self.sources = {p.file.shown: p.file for p in placed.values()}
        report = Report()
        files = {**self.standing.source.files, **self.sources}
        source = Source(tuple(placed[p] for p in sorted(placed)), self.standing.source.descriptions, files)
        checked = pipeline.judge(source, report)
        if checked.graph is not None and not report.errors:
            for environment in checked.graph.platform.spec.environments:
                try:
                    pipeline.render(checked.graph, environment, report)
                except Stop:
                    continue
        allowed = {(h, t) for h, t in self.hosts}
        return [
            d
            for d in report.sorted()
            if d.rule.severity == "error"
            and (d.rule.code, d.span.line, d.message) not in self.standing.found
            and not (d.rule is HOST_NOT_ALLOWED and any(f"`{h}`" in d.message for h, _ in allowed))
        ]

    def decide(self, found: Sequence[Diagnostic], whole: bool) -> Decisions:
        """What must stay out so that what was found is gone; with `whole`, APIs instead of operations."""
        left_out, held = dict(self.decisions.left_out), dict(self.decisions.held)
        shown = {f.shown: path for path, f in ((s.path, s) for s in self.sources.values())}
        spans: dict[str, SpanTree] = {}
        elsewhere: list[tuple[str, str]] = []
        for d in found:
            path = shown.get(d.span.file, "")
            draft = self.places.get(path)
            reason = f"{d.rule.code}: {d.message}"
            if draft is None:
                elsewhere.append((path, reason))
                continue
            if path not in spans:
                document = _parsed(self.files[path])
                spans[path] = document.spans()
            operation = _operation_at(spans[path], d.span.line)
            part = draft.operations.get(operation) if operation else None
            if part is None or whole:
                left_out.setdefault(draft.part, reason)
            elif d.rule is DEMANDED and part not in self.decisions.held:
                held[part] = f"{held[part]}; {d.message}" if part in held else reason
            else:
                left_out.setdefault(part, reason)
        decided = Decisions(left_out, held)
        if decided != self.decisions:
            return decided
        # What is wrong with a tenant as a whole may be gone with one of its contracts; only now is it not.
        for path, reason in elsewhere:
            tenant = path.partition("/")[0]
            if path in self.files and not any(d.tenant == tenant for d in self.scene.drafts):
                left_out.setdefault(Part("", (tenant,)), reason)
            for other in self.scene.drafts:
                if other.tenant == tenant or path in ("", PLATFORM_FILE):
                    left_out.setdefault(other.part, reason)
        return Decisions(left_out, held)


def _parsed(content: bytes) -> Document:
    document = parse_file(SourceFile("", "", content), Report())
    assert document is not None
    return document


def _operation_at(root: SpanTree, line: int) -> str | None:
    """The operation whose lines hold `line`."""
    spec = root.children.get("spec")
    operations = spec.children.get("operations") if spec else None
    for name, node in (operations.children if operations else {}).items():
        if node.key is not None and node.key.line <= line <= node.value.end_line:
            return str(name)
    return None


def _base(path: str) -> str:
    return "".join(c for c in path.rpartition("/")[2] if c.isprintable())[:80]

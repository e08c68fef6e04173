"""Rules on what is rendered for clusters: tenants' namespaces, their resources, and where Argo CD finds it all."""

from collections.abc import Iterator

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph, TenantNode
from stoa_schemas import names
from stoa_schemas.documents.platform import Environment, EnvironmentName

LABEL_LIMIT = 63
"""Characters of a namespace's name (RFC 1123)."""

TENANT_SPACE = Rule(
    code="STOA414",
    title="a tenant's namespace would not be its own",
    why="A tenant's namespace is called `platform-tenant-environment`: it takes at most 63 characters, and nobody "
    "else's things may be in it.",
    help="Choose a shorter name, or rename the namespace that is there already.",
)
NOT_TOGETHER = Rule(
    code="STOA415",
    title="a section and the targets do not go together",
    why="A section that no target reads would do nothing, and a target without what it reads could render nothing.",
    help="Add what is missing to the environment, or leave out what is not used.",
)
TIER_RESOURCES = Rule(
    code="STOA416",
    title="a container's default is more than the tier has",
    why="Kubernetes refuses such limits, and no container could start.",
    help="Let `containerCpu` and `containerMemory` be at most `cpu` and `memory`.",
)
SAME_VARIABLE = Rule(
    code="STOA417",
    title="two secrets would share a variable",
    why="The runtime finds a secret by its path and key in capitals, with an underscore for every other sign: one of "
    "the two would be sent to the other's backend.",
    help="Rename one of the secrets, so that they differ in more than signs and capitals.",
)
PUBLISHED = Rule(
    code="STOA418",
    title="the bundle is published where Argo CD cannot take it",
    why="Each environment needs a place of its own that Argo CD reaches, and the runtime belongs into the DMZ.",
    help="Give each environment its own branch or path, a repository by https or ssh, and a namespace of zone `dmz`.",
)

RULES = (TENANT_SPACE, NOT_TOGETHER, TIER_RESOURCES, SAME_VARIABLE, PUBLISHED)


def check(graph: Graph, report: Report) -> None:
    """Adds what cannot be rendered for a cluster as it was meant."""
    spec, document = graph.platform.spec, graph.origin.document
    rendered = [n for n, e in spec.environments.items() if "kubernetes" in e.targets]
    zone = spec.zones.get("tenants")
    if zone is not None and not rendered:
        where = document.span(("spec", "zones", "tenants"), "key")
        report.add(NOT_TOGETHER, where, "the zone `tenants` is declared, and no environment renders `kubernetes`")
    if zone is not None and (zone.namespaces or zone.cidrs):
        where = document.span(("spec", "zones", "tenants"), "key")
        report.add(TENANT_SPACE, where, "the zone `tenants` holds the rendered namespaces, and no others")
    for index, flow in enumerate(spec.flows):
        if zone is None and "tenants" in (flow.from_, flow.to):
            where = document.span(("spec", "flows", index))
            report.add(NOT_TOGETHER, where, "the flow names the zone `tenants`, which is not declared")
    for name, environment in spec.environments.items():
        _sections(graph, name, environment, report)
        if environment.argocd is not None:
            _published(graph, name, environment, report)
    for name_of_tier, tier in spec.tiers.items():
        resources = tier.resources
        for key, part, whole in (
            ("containerCpu", _cpu(resources.container_cpu), _cpu(resources.cpu)),
            ("containerMemory", _bytes(resources.container_memory), _bytes(resources.memory)),
        ):
            if part > whole:
                where = document.span(("spec", "tiers", name_of_tier, "resources", key))
                report.add(TIER_RESOURCES, where, f"`{key}` of `{name_of_tier}` is more than all containers may have")


def check_tenants(graph: Graph, report: Report) -> None:
    """Adds what cannot be rendered of a tenant."""
    for name, environment in graph.platform.spec.environments.items():
        if "kubernetes" in environment.targets:
            _spaces(graph, name, report)
            for tenant in graph.tenants_in(name):
                _variables(tenant, name, report)


def _sections(graph: Graph, name: EnvironmentName, environment: Environment, report: Report) -> None:
    document, at = graph.origin.document, ("spec", "environments", name)
    targets = environment.targets
    if environment.kubernetes is not None and "kubernetes" not in targets:
        where = document.span((*at, "kubernetes"), "key")
        report.add(NOT_TOGETHER, where, f"`{name}` declares `kubernetes`, and does not render it")
    if environment.argocd is not None and "argocd" not in targets:
        where = document.span((*at, "argocd"), "key")
        report.add(NOT_TOGETHER, where, f"`{name}` declares `argocd`, and does not render it")
    if "argocd" in targets:
        entry = (*at, "targets", targets.index("argocd"))
        if environment.argocd is None:
            report.add(NOT_TOGETHER, document.span(entry), f"`{name}` renders `argocd`, but declares no `argocd`")
        if "kubernetes" not in targets:
            report.add(NOT_TOGETHER, document.span(entry), f"`{name}` renders `argocd` without `kubernetes`")
        if environment.argocd is not None and environment.argocd.runtime is not None and "helm" not in targets:
            where = document.span((*at, "argocd", "runtime"), "key")
            report.add(NOT_TOGETHER, where, f"`{name}` lets Argo CD install the runtime, and does not render `helm`")


def _spaces(graph: Graph, environment: EnvironmentName, report: Report) -> None:
    spec = graph.platform.spec
    argocd = spec.environments[environment].argocd
    taken = {n: f"zone `{zone}`" for zone, declared in spec.zones.items() for n in declared.namespaces}
    taken |= {argocd.namespace: "Argo CD"} if argocd is not None else {}
    for tenant in graph.tenants_in(environment):
        namespace = names.namespace(graph.name, tenant.name, environment)
        said = []
        if len(namespace) > LABEL_LIMIT:
            said.append(f"`{namespace}` has {len(namespace)} characters")
        if namespace in taken:
            said.append(f"`{namespace}` is a namespace of {taken[namespace]}")
        for words in said:
            report.add(TENANT_SPACE, tenant.origin.document.span(("metadata", "name")), words)


def _variables(tenant: TenantNode, environment: EnvironmentName, report: Report) -> None:
    seen: dict[str, str] = {}
    for contract in tenant.contracts:
        auth = contract.declared.spec.backend.auth
        if auth is None or environment not in contract.backends:
            continue
        folded = "".join(c if c.isalnum() else "_" for c in auth.secret.upper())
        first = seen.setdefault(folded, auth.secret)
        if first != auth.secret:
            where = contract.origin.document.span(("spec", "backend", "auth", "secret"))
            report.add(SAME_VARIABLE, where, f"`{auth.secret}` and `{first}` would share a variable")


def _published(graph: Graph, name: EnvironmentName, environment: Environment, report: Report) -> None:
    spec, document = graph.platform.spec, graph.origin.document
    at = ("spec", "environments", name, "argocd")
    argocd = environment.argocd
    assert argocd is not None
    for key, url in _repositories(environment):
        if url.startswith("file:") and not environment.development:
            report.add(
                PUBLISHED,
                document.span((*at, *key)),
                "a repository on a disk, in an environment that is no development",
            )
    if argocd.runtime is not None:
        zone = spec.zones.get("dmz")
        if zone is None or argocd.runtime.namespace not in zone.namespaces:
            where = document.span((*at, "runtime", "namespace"))
            report.add(PUBLISHED, where, f"`{argocd.runtime.namespace}` is no namespace of the zone `dmz`")
    for other, declared in spec.environments.items():
        if other == name:
            return
        theirs = declared.argocd
        if theirs is None or (theirs.repository, theirs.branch) != (argocd.repository, argocd.branch):
            continue
        mine, its = argocd.path or name, theirs.path or other
        if f"{mine}/".startswith(f"{its}/") or f"{its}/".startswith(f"{mine}/"):
            note = Note("here too", document.span(("spec", "environments", other, "argocd"), "key"))
            said = f"`{name}` and `{other}` are published to one place"
            report.add(PUBLISHED, document.span(at, "key"), said, [note])


def _repositories(environment: Environment) -> Iterator[tuple[tuple[str, ...], str]]:
    assert environment.argocd is not None
    yield ("repository",), environment.argocd.repository
    if environment.argocd.runtime is not None:
        yield ("runtime", "repository"), environment.argocd.runtime.repository


def _cpu(quantity: str) -> int:
    """Thousandths of a processor."""
    return int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1024**2, "Gi": 1024**3}[quantity[-2:]]

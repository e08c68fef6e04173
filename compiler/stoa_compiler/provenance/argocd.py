"""Where the values of Argo CD's projects and Applications come from."""

from collections.abc import Callable

from stoa_compiler.provenance.kubernetes import metadata
from stoa_compiler.provenance.model import Origins, Seen, Table, fixed, made
from stoa_compiler.targets.argocd import OWN_CLUSTER


def _env(*loc: str) -> Callable[[Seen], Origins]:
    return lambda seen: [seen.places.env("argocd", *loc)]


def _called(seen: Seen) -> Origins:
    """The platform's name is part of every name; a tenant's is called after its namespace."""
    name = str(seen.value)
    for tenant in seen.places.tenants:
        if name == seen.places.namespace(tenant.name):
            return [seen.places.platform_name, *seen.places.tenant_name(tenant.name)]
    return [seen.places.platform_name]


def _is_root(seen: Seen) -> bool:
    return seen.path == "argocd/root.yaml"


def _is_runtime(seen: Seen) -> bool:
    return seen.path.endswith("/runtime.yaml")


def _repository(seen: Seen) -> Origins:
    """The repositories that have this URL: of the bundle, of the runtime's chart, or both."""
    from stoa_compiler.provenance.model import Cause

    argocd = seen.places.graph.environment(seen.places.environment).argocd
    assert argocd is not None
    found = [seen.places.env("argocd", "repository")] if argocd.repository == seen.value else []
    if _is_runtime(seen) and argocd.runtime is not None and argocd.runtime.repository == seen.value:
        found.append(seen.places.env("argocd", "runtime", "repository"))
    return [Cause(tuple(found), together=True)]


def _destination(seen: Seen) -> Origins:
    if _is_root(seen):
        return [seen.places.env("argocd", "namespace")]
    if _is_runtime(seen):
        return [seen.places.env("argocd", "runtime", "namespace")]
    return seen.places.namespace_names(str(seen.value))


def _folder(seen: Seen) -> Origins:
    yield seen.places.env("argocd", "path")
    last = str(seen.value).rpartition("/")[2]
    if "/kubernetes/tenants/" in str(seen.value):
        yield from seen.places.tenant_name(last)


def _values(seen: Seen) -> Origins:
    if str(seen.value).startswith("$bundle/"):
        return [seen.places.env("argocd", "path")]
    listed = seen.places.env("argocd", "runtime", "values")
    return seen.places.items(listed, str(seen.value).partition("/")[2])


def _is_bundle(seen: Seen) -> bool:
    """Whether the source is the bundle's folder, and not the chart's."""
    return seen.near(1, "ref") is not None or seen.pointer[2] == "source"


_TABLE = (
    made("/*/metadata/namespace", "argocd.namespace", "Where Argo CD itself runs.", _env("namespace")),
    *metadata(_destination),
    made("/*/metadata/name", "argocd.name", "Called after platform, environment and what it is for.", _called),
    fixed("/*/metadata/annotations/*", "argocd.order", "In which order, and by which paths, Argo CD applies it."),
    fixed("/*/metadata/annotations", "argocd.order", "In which order, and by which paths, Argo CD applies it."),
    fixed("/*/metadata/finalizers/*", "argocd.finalizer", "What happens to objects when it is removed."),
    made("/*/spec/sourceRepos/*", "argocd.repositories", "Exactly the repositories that it reads.", _repository),
    fixed(
        "/*/spec/destinations/*/server",
        "argocd.own-cluster",
        "Where Argo CD itself runs.",
        when=lambda s: _is_root(s) and s.value == OWN_CLUSTER,
    ),
    made("/*/spec/destinations/*/server", "argocd.cluster", "The cluster's API server.", _env("cluster")),
    made(
        "/*/spec/destinations/*/namespace", "argocd.destinations", "Exactly the namespaces that it fills.", _destination
    ),
    fixed("/*/spec/clusterResourceWhitelist/**", "argocd.kinds", "Exactly the kinds that its folder holds."),
    fixed("/*/spec/namespaceResourceWhitelist/**", "argocd.kinds", "Exactly the kinds that its folder holds."),
    made("/*/spec/project", "argocd.name", "Called after platform, environment and what it is for.", _called),
    fixed(
        "/*/spec/destination/server",
        "argocd.own-cluster",
        "Where Argo CD itself runs.",
        when=lambda s: _is_root(s) and s.value == OWN_CLUSTER,
    ),
    made("/*/spec/destination/server", "argocd.cluster", "The cluster's API server.", _env("cluster")),
    made("/*/spec/destination/namespace", "argocd.destinations", "The namespace that it fills.", _destination),
    made("/*/spec/source/repoURL", "argocd.source", "Where the bundle is published.", _env("repository")),
    made("/*/spec/source/targetRevision", "argocd.source", "The environment's branch.", _env("branch")),
    made("/*/spec/source/path", "argocd.source", "The folder in the bundle.", _folder),
    made(
        "/*/spec/sources/*/repoURL",
        "argocd.source",
        "Where the bundle is published.",
        _env("repository"),
        when=_is_bundle,
    ),
    made(
        "/*/spec/sources/*/targetRevision",
        "argocd.source",
        "The environment's branch.",
        _env("branch"),
        when=_is_bundle,
    ),
    made("/*/spec/sources/*/repoURL", "argocd.chart", "Where the chart is.", _env("runtime", "repository")),
    made("/*/spec/sources/*/targetRevision", "argocd.chart", "The chart's revision.", _env("runtime", "revision")),
    made("/*/spec/sources/*/path", "argocd.chart", "The chart's folder.", _env("runtime", "path")),
    made(
        "/*/spec/sources/*/helm/valueFiles/*",
        "argocd.values",
        "The rendered values, then those that are named.",
        _values,
    ),
    fixed(
        "/*/spec/sources/*/helm/fileParameters/*/name",
        "argocd.signature.name",
        "The chart's value that is the signature.",
    ),
    made(
        "/*/spec/sources/*/helm/fileParameters/*/path",
        "argocd.signature",
        "The bundle's signature, beside its manifest.",
        lambda s: [s.places.env("argocd", "runtime", "signed"), s.places.env("argocd", "path")],
    ),
    fixed("/*/spec/sources/*/helm/releaseName", "argocd.release", "The release is called the same everywhere."),
    fixed("/*/spec/sources/*/ref", "argocd.reference", "How the chart's source names the bundle's."),
    fixed("/*/spec/source/directory/*", "argocd.directory", "The folder is taken for nothing else."),
    fixed("/*/spec/syncPolicy/**", "argocd.sync", "The cluster is kept as the folder says, and never emptied."),
)

TABLES = (Table("argocd/*.yaml", _TABLE),)
"""What is known of the target's artifacts; `*` in a shell's pattern goes over slashes as well."""

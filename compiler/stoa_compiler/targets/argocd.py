"""The target `argocd`: two AppProjects and Applications for each tenant, those of the platform, and their root.

One of a tenant's two is for what bounds it, the other for what is its own: that project takes exactly one repository,
one namespace, the kinds that the target `kubernetes` renders for a tenant, and nothing of the cluster. Applications and
projects are the platform's: no project of a tenant takes them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stoa_compiler import blockyaml, readback
from stoa_compiler.diagnostics import Report, Rule, listed
from stoa_compiler.graph import Graph, Origin
from stoa_compiler.target import Artifact, Artifacts, Target
from stoa_schemas import attestation, names
from stoa_schemas.documents.platform import ArgoCd

Object = dict[str, Any]

OWN_CLUSTER = "https://kubernetes.default.svc"
"""The cluster where Argo CD itself runs, by the name that it has there."""
ZONE_KINDS = (("networking.k8s.io", "NetworkPolicy"),)
BOUNDS_KINDS = (
    ("", "LimitRange"),
    ("", "ResourceQuota"),
    ("", "ServiceAccount"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
)
TENANT_KINDS = (
    ("", "ConfigMap"),
    ("external-secrets.io", "ExternalSecret"),
    ("external-secrets.io", "SecretStore"),
)
CHART_KINDS = (
    ("", "ConfigMap"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
)
"""What `charts/stoa-runtime` renders."""

_OURS = "This is a mistake of the compiler. Nothing was written; please report it."
_GROUP = "argoproj.io"
_VALUES = "helm/stoa-runtime.values.yaml"
_EVERY = "*.yaml"

UNREADABLE = Rule(
    code="STOA671",
    title="a rendered Argo CD object does not read back",
    why="Argo CD would refuse it, or read something else than was meant.",
    help=_OURS,
)
WRONG_OBJECT = Rule(
    code="STOA672",
    title="a rendered Application or project is not the declared one",
    why="Repository, branch, folder and destination decide what is applied, and where.",
    help=_OURS,
)
WRONG_BORDER = Rule(
    code="STOA673",
    title="a project permits something else than its folder holds",
    why="What a project permits beyond its own is a way out for whoever writes to the folder; what it lacks never "
    "syncs.",
    help=_OURS,
)


def emit(graph: Graph, environment: str, earlier: Artifacts) -> Sequence[Artifact]:
    """Projects and Applications of `environment`, sorted by path."""
    argocd = _declared(graph, environment)
    own = _Objects(graph, environment, argocd)
    at = (Origin(graph.origin.document, ("spec", "environments", environment)),)
    root = own.name("root")
    files: dict[str, tuple[list[Object], tuple[Origin, ...]]] = {
        "argocd/root.yaml": (
            [
                own.project(
                    root, [(OWN_CLUSTER, argocd.namespace)], kinds=((_GROUP, "AppProject"), (_GROUP, "Application"))
                ),
                own.application(root, None, own.folder("argocd/applications"), OWN_CLUSTER, argocd.namespace),
            ],
            at,
        )
    }
    zones = sorted(n for zone in graph.platform.spec.zones.values() for n in zone.namespaces)
    platform = own.name("platform")
    if any(path.startswith("kubernetes/platform/zone-") for path in earlier):
        files["argocd/applications/platform.yaml"] = (
            [
                own.project(platform, [(argocd.cluster, namespace) for namespace in zones], kinds=ZONE_KINDS),
                # Every object says its own namespace; Argo CD wants the Application's to be one that the project takes.
                own.application(
                    platform, 0, own.folder("kubernetes/platform", "zone-*.yaml"), argocd.cluster, zones[0]
                ),
            ],
            at,
        )
    for tenant in graph.tenants_in(environment):
        namespace = names.namespace(graph.name, tenant.name, environment)
        bounds = own.bounds(namespace)
        file = f"tenant-{tenant.name}.yaml"
        # An Application of its own: what waits for somebody's word there, or fails, holds up no other tenant.
        objects = [
            own.project(
                bounds,
                [(argocd.cluster, namespace)],
                kinds=BOUNDS_KINDS,
                cluster_kinds=(("", "Namespace"),),
                tenant=tenant.name,
            ),
            own.application(
                bounds, 0, own.folder("kubernetes/platform", file), argocd.cluster, namespace, tenant=tenant.name
            ),
        ]
        folder = f"kubernetes/tenants/{tenant.name}"
        if any(path.startswith(f"{folder}/") for path in earlier):
            objects += [
                own.project(namespace, [(argocd.cluster, namespace)], kinds=TENANT_KINDS, tenant=tenant.name),
                own.application(namespace, 1, own.folder(folder), argocd.cluster, namespace, tenant=tenant.name),
            ]
        files[f"argocd/applications/{file}"] = (objects, (*at, tenant.origin))
    if argocd.runtime is not None and _VALUES in earlier:
        chart, runtime = argocd.runtime, own.name("runtime")
        values = {"repoURL": argocd.repository, "targetRevision": argocd.branch, "ref": "bundle"}
        # A leading slash means the root of the repository that the chart is in.
        operators = [f"/{path}" for path in chart.values]
        helm: Object = {"releaseName": "stoa", "valueFiles": [f"$bundle/{own.path}/{_VALUES}", *operators]}
        if chart.signed:
            envelope = f"$bundle/{own.path}/{attestation.ATTESTATIONS}"
            helm["fileParameters"] = [{"name": "signature.envelope", "path": envelope}]
        source = {"repoURL": chart.repository, "targetRevision": chart.revision, "path": chart.path, "helm": helm}
        files["argocd/applications/runtime.yaml"] = (
            [
                own.project(
                    runtime, [(argocd.cluster, chart.namespace)], kinds=CHART_KINDS, repositories=(chart.repository,)
                ),
                own.application(runtime, 1, {"sources": [source, values]}, argocd.cluster, chart.namespace),
            ],
            at,
        )
    return [
        Artifact(path, "application/yaml", b"---\n".join(map(blockyaml.dump, objects)), origins)
        for path, (objects, origins) in sorted(files.items())
    ]


def _declared(graph: Graph, environment: str) -> ArgoCd:
    argocd = graph.environment(environment).argocd
    if argocd is None:
        raise ValueError("the target `argocd` is checked to have `argocd` before it is rendered")
    return argocd


class _Objects:
    """Objects of one environment. What Argo CD would fill in is left out: it would show as a difference for ever."""

    def __init__(self, graph: Graph, environment: str, argocd: ArgoCd) -> None:
        self._argocd = argocd
        self._platform = graph.name
        self._environment = environment
        self.path = argocd.path or environment

    def name(self, role: str) -> str:
        """The name of one of the platform's own; tenants' names end in the environment's, so none is the same."""
        return f"{self._platform}-{self._environment}-{role}"

    def bounds(self, namespace: str) -> str:
        """The name of what bounds a tenant."""
        return f"{namespace}-bounds"

    def folder(self, path: str, include: str = _EVERY) -> Object:
        """The source that is a folder of the bundle, or some of its files. Naming files keeps Argo CD from taking the
        folder for a chart or for Kustomize's because of a file in it."""
        argocd = self._argocd
        return {
            "source": {
                "repoURL": argocd.repository,
                "targetRevision": argocd.branch,
                "path": f"{self.path}/{path}",
                "directory": {"include": include},
            }
        }

    def project(
        self,
        name: str,
        destinations: Sequence[tuple[str, str]],
        kinds: Sequence[tuple[str, str]],
        cluster_kinds: Sequence[tuple[str, str]] = (),
        repositories: Sequence[str] = (),
        tenant: str | None = None,
    ) -> Object:
        """An AppProject with exact repositories, destinations and kinds."""
        metadata = self._metadata(name, tenant)
        if name != self.name("root"):
            metadata["annotations"] = {"argocd.argoproj.io/sync-wave": "-1"}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": metadata,
            "spec": {
                "sourceRepos": sorted({self._argocd.repository, *repositories}),
                "destinations": [{"server": server, "namespace": namespace} for server, namespace in destinations],
                "clusterResourceWhitelist": [{"group": group, "kind": kind} for group, kind in cluster_kinds],
                "namespaceResourceWhitelist": [{"group": group, "kind": kind} for group, kind in kinds],
            },
        }

    def application(
        self,
        name: str,
        wave: int | None,
        source: Object,
        server: str,
        namespace: str,
        tenant: str | None = None,
    ) -> Object:
        """An Application that keeps the cluster as the folder says, and never empties it: that is Argo CD's default."""
        metadata = self._metadata(name, tenant)
        annotations = {} if wave is None else {"argocd.argoproj.io/sync-wave": str(wave)}
        if "source" in source:
            files = source["source"]["directory"]["include"]
            annotations["argocd.argoproj.io/manifest-generate-paths"] = "." if files == _EVERY else files
        metadata["annotations"] = annotations
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": metadata,
            "spec": {
                "project": name,
                **source,
                "destination": {"server": server, "namespace": namespace},
                # `allowEmpty` is false where nobody says otherwise. Argo CD drops it whenever it writes the Application
                # back, so saying it would be a difference for ever.
                # What failed is tried again for ever, with what the branch has by then. Argo CD would else hold on to
                # the commit that failed, give up after five times, and never take a revocation that it missed.
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "retry": {"limit": -1, "refresh": True},
                },
            },
        }

    def _metadata(self, name: str, tenant: str | None) -> Object:
        labels = {
            "app.kubernetes.io/managed-by": "stoa",
            "app.kubernetes.io/part-of": self._platform,
            "gostoa.dev/environment": self._environment,
        }
        if tenant is not None:
            labels["gostoa.dev/tenant"] = tenant
        return {"name": name, "namespace": self._argocd.namespace, "labels": labels}


# Reading back


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Adds where projects and Applications are not what is declared, and where a project does not fit its folder."""
    span = graph.origin.document.span(("spec", "environments", environment, "argocd"), "key")
    read = {
        path: readback.objects(path, artifacts[path].content, UNREADABLE, span, report)
        for path in sorted(artifacts)
        if path.startswith(("argocd/", "kubernetes/"))
    }
    if report.errors:
        return
    found: dict[tuple[str, str], tuple[str, Object]] = {}
    for path in (p for p in read if p.startswith("argocd/")):
        for one in read[path]:
            metadata = one.get("metadata")
            kind, name = one.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None
            if not isinstance(kind, str) or not isinstance(name, str):
                report.add(UNREADABLE, span, f"`{path}` holds something without a kind and a name")
            elif (kind, name) in found:
                report.add(UNREADABLE, span, f"{kind} `{name}` is there twice")
            else:
                found[kind, name] = (path, one)
    wanted = {(kind, name): (path, one) for path, kind, name, one in _wanted(graph, environment, artifacts)}
    for kind, name in sorted(wanted.keys() - found.keys()):
        report.add(WRONG_OBJECT, span, f"{kind} `{name}` is missing")
    for kind, name in sorted(found.keys() - wanted.keys()):
        report.add(WRONG_OBJECT, span, f"{kind} `{name}` is declared nowhere")
    for kind, name in sorted(found.keys() & wanted.keys()):
        (path, rendered), (wanted_path, declared) = found[kind, name], wanted[kind, name]
        if path != wanted_path:
            report.add(WRONG_OBJECT, span, f"{kind} `{name}` is in `{path}`, not in `{wanted_path}`")
        differing = sorted(
            f"{part}.{key}"
            for part in ("metadata", "spec")
            for key in _keys(rendered.get(part)) | _keys(declared[part])
            if _text(_of(rendered.get(part), key)) != _text(declared[part].get(key))
        )
        if differing or rendered.keys() != declared.keys() or rendered["apiVersion"] != declared["apiVersion"]:
            what = listed(differing or ["apiVersion"])
            report.add(WRONG_OBJECT, span, f"{kind} `{name}` is not what is declared: {what}")
    projects = {name: one for (kind, name), (_, one) in found.items() if kind == "AppProject"}
    applications = [one for (kind, _), (_, one) in found.items() if kind == "Application"]
    for said in sorted(_border_problems(graph, environment, projects, applications, read)):
        report.add(WRONG_BORDER, span, said)


def _text(value: Any) -> str:
    """`value` as text that tells true from 1."""
    return json.dumps(value, sort_keys=True)


def _keys(value: Any) -> set[str]:
    return set(map(str, value)) if isinstance(value, dict) else {"?"}


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else value


def _wanted(graph: Graph, environment: str, artifacts: Artifacts) -> Iterator[tuple[str, str, str, Object]]:
    """File, kind, name and content of every object that must be there."""
    argocd = _declared(graph, environment)
    base = argocd.path if argocd.path is not None else environment
    ours = {
        "app.kubernetes.io/managed-by": "stoa",
        "app.kubernetes.io/part-of": graph.name,
        "gostoa.dev/environment": environment,
    }
    policies = {"networking.k8s.io": "NetworkPolicy"}
    bounds = {"": "LimitRange ResourceQuota ServiceAccount", "rbac.authorization.k8s.io": "Role RoleBinding"} | policies
    spaces = {names.namespace(graph.name, t.name, environment): t.name for t in graph.tenants_in(environment)}
    zones = {n for zone in graph.platform.spec.zones.values() for n in zone.namespaces}
    here = "https://kubernetes.default.svc"
    own_kinds = {"argoproj.io": "AppProject Application"}
    rows: list[tuple[str, str, str | None, int | None, str, list[str], Mapping[str, str], str]] = [
        ("root", "root", None, None, "argocd/applications", [argocd.namespace], own_kinds, "*"),
    ]
    shared = "kubernetes/platform"
    if [p for p in artifacts if p.startswith(f"{shared}/zone-")]:
        rows.append(("platform", "applications/platform", None, 0, shared, sorted(zones), policies, "zone-*"))
    for space, tenant in spaces.items():
        one, which = f"applications/tenant-{tenant}", f"tenant-{tenant}"
        rows.append((f"{space}-bounds", one, tenant, 0, shared, [space], bounds, which))
        folder = f"kubernetes/tenants/{tenant}"
        if [p for p in artifacts if p.rpartition("/")[0] == folder]:
            kinds = {"": "ConfigMap", "external-secrets.io": "ExternalSecret SecretStore"}
            rows.append((space, one, tenant, 1, folder, [space], kinds, "*"))
    if argocd.runtime is not None and "helm/stoa-runtime.values.yaml" in artifacts:
        kinds = {"": "ConfigMap Service ServiceAccount", "apps": "Deployment", "policy": "PodDisruptionBudget"}
        kinds |= {"autoscaling": "HorizontalPodAutoscaler"} | policies
        rows.append(("runtime", "applications/runtime", None, 1, "", [argocd.runtime.namespace], kinds, "*"))
    for role, file, owner, wave, folder, into, permitted, which in rows:
        name = role if owner else f"{graph.name}-{environment}-{role}"
        labels = ours | ({"gostoa.dev/tenant": owner} if owner else {})
        server = here if role == "root" else argocd.cluster
        repositories = {argocd.repository}
        source: Object
        if role == "runtime" and argocd.runtime is not None and not owner:
            chart = argocd.runtime
            repositories.add(chart.repository)
            files = ["$bundle/" + base + "/helm/stoa-runtime.values.yaml"] + ["/" + own for own in chart.values]
            reading: Object = {"valueFiles": files, "releaseName": "stoa"}
            if chart.signed:
                envelope = {"path": "$bundle/" + base + "/mcp/bundle.intoto.jsonl", "name": "signature.envelope"}
                reading["fileParameters"] = [envelope]
            of_chart = {"path": chart.path, "repoURL": chart.repository, "targetRevision": chart.revision}
            bundle = {"ref": "bundle", "repoURL": argocd.repository, "targetRevision": argocd.branch}
            source = {"sources": [{**of_chart, "helm": reading}, bundle]}
        else:
            of_folder = {"path": f"{base}/{folder}", "directory": {"include": f"{which}.yaml"}}
            source = {"source": {"repoURL": argocd.repository, "targetRevision": argocd.branch, **of_folder}}
        allowed = [{"group": g, "kind": k} for g, ks in sorted(permitted.items()) for k in ks.split()]
        project = {
            "sourceRepos": sorted(repositories),
            "destinations": [{"namespace": namespace, "server": server} for namespace in into],
            "clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}] if role.endswith("-bounds") else [],
            "namespaceResourceWhitelist": allowed,
        }
        first = {} if role == "root" and not owner else {"annotations": {"argocd.argoproj.io/sync-wave": "-1"}}
        about = {"name": name, "namespace": argocd.namespace, "labels": labels}
        version = {"apiVersion": "argoproj.io/v1alpha1"}
        yield (
            f"argocd/{file}.yaml",
            "AppProject",
            name,
            {**version, "kind": "AppProject", "metadata": {**about, **first}, "spec": project},
        )
        notes = {} if wave is None else {"argocd.argoproj.io/sync-wave": str(wave)}
        if "source" in source:
            notes["argocd.argoproj.io/manifest-generate-paths"] = "." if which == "*" else f"{which}.yaml"
        application = {
            "project": name,
            **source,
            "destination": {"server": server, "namespace": into[0]},
            "syncPolicy": {
                "automated": {"selfHeal": True, "prune": True},
                "retry": {"refresh": True, "limit": -1},
            },
        }
        yield (
            f"argocd/{file}.yaml",
            "Application",
            name,
            {**version, "kind": "Application", "metadata": {**about, "annotations": notes}, "spec": application},
        )


def _border_problems(
    graph: Graph,
    environment: str,
    projects: Mapping[str, Object],
    applications: Sequence[Object],
    read: Mapping[str, Sequence[Object]],
) -> Iterator[str]:
    """Decides as Argo CD does, whatever the objects say: each folder's objects must be permitted by the project of
    its Application, and the projects of tenants must permit nothing of anybody else."""
    argocd = _declared(graph, environment)
    base = f"{argocd.path if argocd.path is not None else environment}/"
    spaces = {names.namespace(graph.name, t.name, environment): t.name for t in graph.tenants_in(environment)}
    for name, project in projects.items():
        spec = project.get("spec")
        if not isinstance(spec, dict):
            yield f"`{name}` has no borders"
            continue
        if any(c in _text(spec) for c in "*?!"):
            yield f"`{name}` has a pattern where only exact words may stand"
        if name.removesuffix("-bounds") in spaces:
            into = {(d.get("server"), d.get("namespace")) for d in spec.get("destinations") or ()}
            if into != {(argocd.cluster, name.removesuffix("-bounds"))}:
                yield f"`{name}` permits another destination than its own namespace"
            if spec.get("sourceRepos") != [argocd.repository]:
                yield f"`{name}` permits another repository"
        if name in spaces:
            if spec.get("clusterResourceWhitelist"):
                yield f"`{name}` permits objects of the cluster"
            kinds = spec.get("namespaceResourceWhitelist") or ()
            if any(k.get("group") in ("argoproj.io", "rbac.authorization.k8s.io") for k in kinds):
                yield f"`{name}` permits Applications, or permissions"
    applied: set[tuple[str, str]] = set()
    for application in applications:
        spec, name = application.get("spec"), str(application["metadata"].get("name"))
        if not isinstance(spec, dict):
            continue
        permitted = projects.get(str(spec.get("project")), {}).get("spec")
        if not isinstance(permitted, dict):
            yield f"`{name}` has no project"
            continue
        source, server = spec.get("source"), _of(spec.get("destination"), "server")
        places = {(d.get("server"), d.get("namespace")) for d in permitted.get("destinations") or ()}
        if (server, _of(spec.get("destination"), "namespace")) not in places:
            yield f"`{spec.get('project')}` does not permit the destination of `{name}`"
        sources = [source] if isinstance(source, dict) else spec.get("sources") or ()
        if not {s.get("repoURL") for s in sources} <= set(permitted.get("sourceRepos") or ()):
            yield f"`{spec.get('project')}` does not permit a repository of `{name}`"
        if not isinstance(source, dict):
            continue
        path = str(source.get("path"))
        if not path.startswith(base):
            yield f"`{name}` has no folder of the bundle"
            continue
        of_cluster, of_namespace = (
            {(k.get("group"), k.get("kind")) for k in permitted.get(which) or ()}
            for which in ("clusterResourceWhitelist", "namespaceResourceWhitelist")
        )
        folder, which = path.removeprefix(base), str(_of(source.get("directory"), "include"))
        taken = [p for p in read if p.rpartition("/")[0] == folder and fnmatchcase(p.rpartition("/")[2], which)]
        applied.update((p, name) for p in taken)
        inside = [one for p in taken for one in read[p]]
        for one in inside:
            group, _, _ = str(one.get("apiVersion")).rpartition("/")
            namespace = _of(one.get("metadata"), "namespace")
            kind = (group, one.get("kind"))
            fits = kind in of_cluster if namespace is None else kind in of_namespace and (server, namespace) in places
            if not fits:
                yield f"`{spec.get('project')}` does not permit {kind[1]} `{_of(one.get('metadata'), 'name')}`"
            if kind == ("", "Namespace") and _of(one.get("metadata"), "name") != _of(
                spec.get("destination"), "namespace"
            ):
                yield f"`{name}` makes another namespace than its own"
        if not inside:
            yield f"`{path}` holds nothing"
    for path in read:
        times = sum(p == path for p, _ in applied)
        if path != "argocd/root.yaml" and times != 1:
            yield f"`{path}` is applied by {times} Applications"


TARGET = Target(
    name="argocd",
    emit=emit,
    verify=verify,
    rules=(UNREADABLE, WRONG_OBJECT, WRONG_BORDER),
    carries=("helm", "kubernetes"),
)

"""A Kubernetes cluster beside the manifests of a bundle, as its API server itself understands both.

The objects of each kind are listed by our labels. One that is not as declared, letter by letter, is sent to the server
as a dry run of server-side apply, and what would come of that is compared with what is there: so a quantity in another
spelling, or a default that the server filled in, is no difference.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
import yaml
from kubernetes import client
from kubernetes import config as _config
from kubernetes.client.exceptions import ApiException

from stoa_compiler.drift.model import Compared, Difference, Unreachable
from stoa_compiler.drift.objects import FIELDS, added, differences
from stoa_schemas import bundle

Object = Mapping[str, Any]
Key = tuple[str, str, str, str]
"""API version, kind, namespace and name."""

MANAGER = "stoa-drift"
PAGE = 500
CATALOG_PAGE = 50
"""Objects that are listed at once; a ConfigMap may have a megabyte."""
READERS = 8
_TIMEOUT = (10, 120)
_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/part-of", "gostoa.dev/environment")
OURS = (
    ("v1", "ConfigMap"),
    ("v1", "LimitRange"),
    ("v1", "Namespace"),
    ("v1", "ResourceQuota"),
    ("v1", "ServiceAccount"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("external-secrets.io/v1", "ExternalSecret"),
    ("external-secrets.io/v1", "SecretStore"),
    ("argoproj.io/v1alpha1", "Application"),
    ("argoproj.io/v1alpha1", "AppProject"),
)
"""Kinds that a bundle may hold: objects of ours that no bundle declares any more are looked for among them."""


def compare(folder: Path, listing: bundle.Bundle, kubeconfig: Path | None, context: str | None) -> Compared:
    """The cluster that the kubeconfig names beside the manifests of the bundle in `folder`."""
    declared = {_key(one): one for one in manifests(folder)}
    where, found, checked = context or "the current context", list[Difference](), 0
    try:
        server = _Server(kubeconfig, context)
        where = server.where
        kinds = _Kinds(server)
        labels = _labels(listing, declared.values())
        live = _listed(server, kinds, {k[:2] for k in declared} | set(OURS), labels)
        checked = len(declared)
        with ThreadPoolExecutor(READERS) as pool:
            for differs in pool.map(lambda k: _compared(server, kinds, declared[k], live.get(k)), sorted(declared)):
                found += [differs] if differs is not None else []
        for key in sorted(live.keys() - declared.keys()):
            if _whole_labels(live[key], labels):
                found.append(Difference("orphan", _name(key), note="it carries our labels, and the bundle has it not"))
    except Unreachable as error:
        return Compared("kubernetes", where, checked, tuple(found), str(error))
    return Compared("kubernetes", where, checked, tuple(found))


def manifests(folder: Path) -> Iterator[dict[str, Any]]:
    """Every object of the bundle."""
    for part in ("kubernetes", "argocd"):
        for path in sorted((folder / part).rglob("*.yaml")):
            yield from (one for one in yaml.load_all(path.read_bytes(), _LOADER) if one)


config: Any = _config
"""Its functions have no types."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _labels(listing: bundle.Bundle, declared: Iterable[Object]) -> dict[str, str]:
    """The labels that every object of this platform and environment carries."""
    for one in declared:
        labels = one["metadata"].get("labels", {})
        if all(key in labels for key in _LABELS):
            return {key: labels[key] for key in _LABELS}
    return dict(zip(_LABELS, ("stoa", listing.platform, listing.environment), strict=True))


def _whole_labels(live: Object, labels: Mapping[str, str]) -> bool:
    there = live["metadata"].get("labels", {})
    return "deletionTimestamp" not in live["metadata"] and all(there.get(k) == v for k, v in labels.items())


def _key(one: Object) -> Key:
    metadata = one["metadata"]
    return one["apiVersion"], one["kind"], metadata.get("namespace", ""), metadata["name"]


def _name(key: Key) -> str:
    _, kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _listed(
    server: "_Server", kinds: "_Kinds", wanted: Iterable[tuple[str, str]], labels: Mapping[str, str]
) -> dict[Key, Object]:
    """Every object with our labels, of all kinds that the cluster knows."""
    live: dict[Key, Object] = {}
    selector = ",".join(f"{k}={v}" for k, v in labels.items())
    for version, kind in sorted(wanted):
        path = kinds.path(version, kind, "")
        if path is None:
            continue
        follow, size = "", CATALOG_PAGE if kind == "ConfigMap" else PAGE
        while True:
            query = {"labelSelector": selector, "limit": str(size)} | ({"continue": follow} if follow else {})
            _, page = server.ask("GET", path, query)
            for item in page.get("items", []):
                one = {"apiVersion": version, "kind": kind, **item}
                live[_key(one)] = one
            follow = page.get("metadata", {}).get("continue", "")
            if not follow:
                break
    return live


def _compared(server: "_Server", kinds: "_Kinds", declared: Object, live: Object | None) -> Difference | None:
    """How one object differs; None where it does not."""
    key = _key(declared)
    version, kind, namespace, name = key
    path = kinds.path(version, kind, namespace)
    if path is None:
        return Difference("missing", _name(key), note=f"the cluster knows no `{kind}` of `{version}`")
    at = f"{path}/{quote(name)}"
    if live is None:  # Not there, or without our labels.
        status, answer = server.ask("GET", at, missing=True)
        if status == 404:
            return Difference("missing", _name(key))
        live = answer
    fields, note = list(differences(declared, live, declared)), ""
    if fields:
        query = {"dryRun": "All", "fieldManager": MANAGER, "force": "true"}
        status, answer = server.ask("PATCH", at, query, declared, refused=True)
        if status < 300:
            fields = list(differences(answer, live, declared))
        else:
            note = f"the server would not take it: {str(answer.get('message', status))[:200]}"
    more = list(added(declared, live))
    if more:
        defaults = _defaults(server, path, declared)
        for field, who in more:
            if field.live != _at(defaults, field.path):
                fields.append(field)
                note = note or f"set by `{who}`"
    if not fields:
        return None
    extra = all(f.declared is None for f in fields)
    return Difference("extra" if extra else "changed", _name(key), tuple(fields[:FIELDS]), note)


def _defaults(server: "_Server", path: str, declared: Object) -> Object:
    """The object as the server would make it anew, with its defaults: who creates one without server-side apply owns
    them, though nobody chose them."""
    name = f"{declared['metadata']['name'][:40]}-stoa-drift".replace("--", "-")
    fresh = {**declared, "metadata": {**declared["metadata"], "name": name}}
    query = {"dryRun": "All", "fieldManager": MANAGER, "force": "true"}
    status, answer = server.ask("PATCH", f"{path}/{quote(name)}", query, fresh, refused=True)
    return answer if status < 300 else {}


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


class _Kinds:
    """Where the cluster keeps each kind."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self._known: dict[str, dict[str, tuple[str, bool]]] = {}

    def path(self, version: str, kind: str, namespace: str) -> str | None:
        """The collection of a kind; None where the cluster does not know it."""
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._known:
            status, answer = self._server.ask("GET", base, missing=True)
            resources = answer.get("resources", []) if status < 300 else []
            self._known[version] = {r["kind"]: (r["name"], r["namespaced"]) for r in resources if "/" not in r["name"]}
        if kind not in self._known[version]:
            return None
        plural, namespaced = self._known[version][kind]
        return f"{base}/namespaces/{namespace}/{plural}" if namespaced and namespace else f"{base}/{plural}"


class _Server:
    """The API server that a kubeconfig names, or the one of the pod that we run in."""

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        try:
            if kubeconfig is None and context is None and "KUBECONFIG" not in os.environ and _in_cluster():
                config.load_incluster_config()
                self._api = client.ApiClient()
            else:
                self._api = config.new_client_from_config(
                    config_file=str(kubeconfig) if kubeconfig is not None else None,
                    context=context,
                    persist_config=False,
                )
        except (config.ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, KeyError) as error:
            raise Unreachable(f"the kubeconfig cannot be used: {_line(error)}") from error
        self._api.configuration.retries = False
        self._api = client.ApiClient(configuration=self._api.configuration)
        self.where = str(self._api.configuration.host)

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        missing: bool = False,
        refused: bool = False,
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer; `Unreachable` where it cannot be had or we are not let in.

        An object that is not there is an answer with `missing`, and one that is not taken with `refused`.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"
        data = json.dumps(body).encode() if body is not None else None
        try:
            request = self._api.param_serialize(
                method, path, header_params=headers, auth_settings=["BearerToken"], query_params=[]
            )
            verb, url, sent, _, form = request
            url += f"?{urlencode(query)}" if query else ""
            response: Any = self._api.call_api(verb, url, sent, data, form, _request_timeout=_TIMEOUT)
            response.read()
            answer = json.loads(response.data or b"{}")
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise Unreachable(f"{self.where} cannot be asked: {_line(error)}") from error
        except ValueError as error:
            raise Unreachable(f"{self.where} does not answer as Kubernetes does") from error
        status = int(response.status)
        said = _line(answer.get("message", "")) if isinstance(answer, dict) else ""
        if status in (401, 403):
            raise Unreachable(f"{self.where} does not let us in ({status}): {said or 'no reason given'}")
        if status < 300 or (status == 404 and (missing or refused)) or (refused and status < 500):
            return status, answer if isinstance(answer, dict) else {}
        raise Unreachable(f"{self.where} answers {status} to {method} {path}: {said}")


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _line(value: object) -> str:
    return " ".join(str(value).split())[:300]

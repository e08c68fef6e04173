"""A small source that renders the targets `mcp` and `helm`, and catalogs of any size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.target import Artifact
from stoa_compiler.targets import mcp
from stoa_schemas import bundle

HOSTILE = '{{ .Values.image }} {{- fail "x" }} ${HOME} $(id) %s \\n <b>&amp;</b> \'q\' "q" é \N{GRINNING FACE}'
"""Text that means something to Helm, Keycloak, shells, Go's fmt, HTML and YAML."""

ZONES: dict[str, Any] = {
    "external": {"trust": "untrusted", "cidrs": ["0.0.0.0/0"]},
    "dmz": {"trust": "semi-trusted", "namespaces": ["ingress", "mcp-gateway"]},
    "internal": {"trust": "trusted", "namespaces": ["identity", "data"], "cidrs": ["10.20.0.0/16"]},
}
FLOWS: list[dict[str, Any]] = [
    {"from": "external", "to": "dmz", "port": 443},
    {"from": "dmz", "to": "dmz", "port": 8080},
    {"from": "dmz", "to": "internal", "port": 8443},
    {"from": "dmz", "to": "external", "port": 443},
]
RUNTIME: dict[str, Any] = {"image": {"repository": "registry.stoa.example/stoa/runtime", "tag": "1.2.3"}}


def source(
    root: Path,
    tenants: tuple[str, ...] = ("acme",),
    runtime: Mapping[str, Any] = RUNTIME,
    zones: Mapping[str, Any] = ZONES,
    flows: list[dict[str, Any]] = FLOWS,
    environment: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the source below `root`; each tenant has one contract with one tool."""
    prod: dict[str, Any] = {
        "gateway": "https://mcp.stoa.example",
        "issuer": "https://id.stoa.example/realms/stoa",
        "targets": ["mcp", "helm"],
        "backendNetworks": ["10.30.0.0/16"],
        "runtime": dict(runtime),
    }
    spec = {
        "displayName": "STOA",
        "domain": "stoa.example",
        "environments": {"prod": prod | dict(environment or {})},
        "zones": dict(zones),
        "flows": flows,
        "tiers": {"team": {"maxContracts": 9, "maxTools": 99, "maxConsumers": 9, "maxRate": "900/minute"}},
        "classifications": {"H": {"maxRate": "600/minute"}},
        "roles": {"viewer": {"description": "Looks.", "permissions": ["catalog:read", "tools:read"]}},
        "backends": {"allowedHosts": [{"host": "*.stoa.example", "tenants": list(tenants)}]},
        "identity": {"realm": "stoa", "clients": {}},
    }
    write(root / "platform.yaml", "Platform", {"name": "stoa"}, spec)
    for tenant in tenants:
        write(
            root / tenant / "tenant.yaml",
            "Tenant",
            {"name": tenant},
            {
                "displayName": tenant.capitalize(),
                "tier": "team",
                "contact": f"ops@{tenant}.example",
                "environments": ["prod"],
                "grants": [{"role": "viewer", "tools": [f"{tenant}:orders:*"]}],
                "secrets": {"prefix": f"tenants/{tenant}"},
            },
        )
        write(
            root / tenant / "contracts" / "orders.yaml",
            "UniversalAPIContract",
            {"name": "orders", "tenant": tenant},
            {
                "displayName": "Orders",
                "version": "1.0.0",
                "classification": "H",
                "status": "published",
                "owner": f"orders@{tenant}.example",
                "backend": {"urls": {"prod": f"https://orders-{tenant}.stoa.example:9443/v1"}},
                "operations": {
                    "get_order": {
                        "method": "GET",
                        "path": "/orders/{id}",
                        "summary": "Gives one order",
                        "sideEffects": "read",
                        "input": {
                            "type": "object",
                            "properties": {"id": {"type": "string", "maxLength": 40}},
                            "required": ["id"],
                            "additionalProperties": False,
                        },
                        "output": {"type": "object", "properties": {"id": {"type": "string"}}},
                    }
                },
            },
        )
    return root


def write(path: Path, kind: str, metadata: dict[str, str], spec: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"apiVersion": "gostoa.dev/v2", "kind": kind, "metadata": metadata, "spec": spec}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def graph(root: Path, **changes: Any) -> Graph:
    """The graph of the source; it has no mistakes."""
    report = Report()
    checked = pipeline.read(source(root, **changes), report)
    assert checked.graph is not None
    assert report.errors == 0, [d.message for d in report.found]
    return checked.graph


def compiled(graph: Graph, texts: Mapping[str, str] | None = None, environment: str = "prod") -> dict[str, Artifact]:
    """What the target `mcp` emits; a tenant in `texts` gets that text into its catalog, and the manifest knows it."""
    files = {a.path: a for a in mcp.TARGET.emit(graph, environment, {})}
    for tenant, text in (texts or {}).items():
        path = f"mcp/tenants/{tenant}.json"
        catalog = bundle.Catalog.model_validate_json(files[path].content).model_copy(update={"description": text})
        files[path] = Artifact(path, "application/json", catalog.encode(), files[path].origins)
    manifest = bundle.RuntimeManifest.model_validate_json(files.pop(bundle.RUNTIME_MANIFEST).content)
    manifest = manifest.model_copy(update={"files": [files[path].listing for path in sorted(files)]})
    files[bundle.RUNTIME_MANIFEST] = Artifact(
        bundle.RUNTIME_MANIFEST, "application/json", manifest.encode(), (graph.origin,)
    )
    return files

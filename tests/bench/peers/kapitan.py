"""A kapitan inventory and components that do as much of our work as kapitan can: three artifacts for each tenant.

    python tests/bench/peers/kapitan.py SOURCE FOLDER && cd FOLDER && kapitan compile

A tenant is a target; its `tenant.yaml`, contracts, consumers, plans and subscriptions are classes, whose parameters are
the documents' own `spec`. One component, in Python (kadet, the fastest of kapitan's kinds of input here), renders
`catalog.json` (the tools with their schemas and the roles that may call them), `realm.json` (roles, groups, users,
clients) and `values.json` (backends and limits).

Done as we do: the files are read and merged, tools are named, grants are matched with tools, artifacts are written.
Not done, because kapitan has no such notion: closed schemas, references, spans, policies, checks of the authors' JSON
Schemas and examples, reading the artifacts back. Templates could fail on some mistakes, without a place.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

FOLDERS = ("contracts", "consumers", "plans", "subscriptions")

COMPONENT = '''\
"""The three artifacts of one tenant."""

from kapitan.inputs import kadet


def main(input_params):
    inventory = kadet.inventory(lazy=True)
    parameters = inventory.parameters
    name, tenant, platform = parameters.tenant_name, parameters.tenant, parameters.platform
    tools, backends = [], {}
    for contract, spec in parameters.contracts.items():
        backends[contract] = {"url": spec["backend"]["urls"]["prod"], "secret": spec["backend"]["auth"]["secret"]}
        for operation, what in spec["operations"].items():
            tools.append(
                {
                    "id": f"{name}:{contract}:{operation}",
                    "name": f"{name}_{contract}_{operation}",
                    "description": f"{what['summary']}. {what['intent']}",
                    "inputSchema": what["input"],
                    "outputSchema": what["output"],
                    "sideEffects": what["sideEffects"],
                    "backend": {"method": what["method"], "path": what["path"]},
                    "roles": allowed([*platform["grants"], *tenant["grants"]], name, contract, operation),
                }
            )
    output = kadet.BaseObj()
    output.root.catalog = {"tenant": name, "tools": tools}
    output.root.realm = {
        "roles": sorted(platform["roles"]),
        "groups": {group: what["roles"] for group, what in tenant["groups"].items()},
        "users": [
            {"username": user, **who, "groups": [g for g, what in tenant["groups"].items() if user in what["members"]]}
            for user, who in tenant["people"].items()
        ],
        "clients": [
            {"clientId": f"{name}-{client}", "roles": what["roles"], "grantTypes": what["grantTypes"]}
            for client, what in parameters.consumers.items()
        ],
    }
    output.root["values"] = {"backends": backends, "limits": dict(parameters.plans.items())}
    return output


def allowed(grants, tenant, contract, operation):
    """The roles that may call the tool."""
    given = {"allow": set(), "deny": set()}
    for grant in grants:
        for pattern in grant["tools"]:
            parts = zip(pattern.split(":"), (tenant, contract, operation))
            if all(wanted in ("*", found) for wanted, found in parts):
                given[grant.get("effect", "allow")].add(grant["role"])
    return sorted(given["allow"] - given["deny"])
'''


def prepare(source: Path, folder: Path) -> int:
    """Writes the inventory that stands for the source; gives the number of targets."""
    inventory = folder / "inventory"
    _write(folder / "components" / "tenant" / "__init__.py", COMPONENT)
    compiled = {
        "compile": [
            {
                "output_path": ".",
                "input_type": "kadet",
                "output_type": "json",
                "input_paths": ["components/tenant"],
            }
        ]
    }
    platform = _spec(source / "platform.yaml")
    hosts = {"allowedHosts": len(platform.pop("backends")["allowedHosts"])}
    _class(inventory, "platform", {"kapitan": compiled, "platform": platform | {"backends": hosts}})
    tenants = sorted(path.parent for path in source.glob("*/tenant.yaml"))
    for tenant in tenants:
        name = tenant.name
        classes = ["platform", f"{name}.tenant"]
        _class(inventory, f"{name}/tenant", {"tenant_name": name, "tenant": _spec(tenant / "tenant.yaml")})
        for kind in FOLDERS:
            for path in sorted((tenant / kind).glob("*.yaml")):
                _class(inventory, f"{name}/{kind}/{path.stem}", {kind: {path.stem: _spec(path)}})
                classes.append(f"{name}.{kind}.{path.stem}")
        target = {"classes": classes, "parameters": {"kapitan": {"vars": {"target": name}}}}
        _write(inventory / "targets" / f"{name}.yml", _yaml(target))
    return len(tenants)


def _class(inventory: Path, name: str, parameters: dict[str, Any]) -> None:
    _write(inventory / "classes" / f"{name}.yml", _yaml({"parameters": parameters}))


def _spec(path: Path) -> dict[str, Any]:
    document = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    spec = document["spec"]
    assert isinstance(spec, dict)
    return spec


def _yaml(value: object) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1]), Path(sys.argv[2])), "targets")

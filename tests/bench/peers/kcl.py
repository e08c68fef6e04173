"""KCL on the same source: schemas, rendering and artifacts in KCL, read and written by this process.

    python tests/bench/peers/kcl.py SOURCE OUT        (in an environment that has `kcl-lib`)

A KCL program declares closed schemas for contracts, operations, tenants, consumers, plans and subscriptions, with some
of our bounds as `check` blocks; reads the documents with `yaml.decode`; checks that a subscription's consumer, contract
and plan exist; matches grants with tools; and renders `catalog.json`, `realm.json` and `values.json` for each tenant.
The program is run for some tenants at a time, shared by as many processes as there are processors, since one run uses
one of them. This process then writes the files.

Not done, because KCL has no such notion: spans in the YAML files (an error names the program's line), several errors
in one run, checks of the authors' JSON Schemas and examples, reading the artifacts back.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

TENANTS_A_RUN = 25

PROGRAM = """\
import file
import json
import yaml

schema Backend:
    urls: {str:str}
    auth: {str:str}

    check:
        all _, url in urls { url.startswith("https://") }, "a backend has an https URL"

schema Operation:
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
    path: str
    summary: str
    intent: str
    sideEffects: "none" | "read" | "write" | "destructive"
    input: {str:}
    output: any
    examples?: [{str:}]
    limits?: {str:str}

    check:
        path.startswith("/"), "a path begins with a slash"
        0 < len(summary) <= 200, "a summary has 1 to 200 characters"
        sideEffects != "read" or method == "GET", "what reads is a GET"

schema Contract:
    displayName: str
    description: str
    version: str
    classification: "H" | "VH" | "VVH"
    status: "draft" | "published" | "deprecated"
    owner: str
    backend: Backend
    operations: {str:Operation}

schema Grant:
    role: str
    tools: [str]
    effect?: "allow" | "deny"

schema Tenant:
    displayName: str
    tier: str
    contact: str
    environments: [str]
    people: {str:{str:str}}
    groups: {str:{str:[str]}}
    grants: [Grant]
    secrets: {str:str}

    check:
        all _, group in groups { all member in group.members { member in people } }, "a member is one of the people"

schema Consumer:
    displayName: str
    client: "confidential" | "public"
    grantTypes: [str]
    roles: [str]
    actors: [{str:str}]

schema Plan:
    displayName: str
    rate: str
    burst: int
    quota: {str:}

    check:
        burst > 0, "a burst is positive"

schema Subscription:
    consumer: str
    contract: str
    plan: str
    status: "pending" | "active" | "suspended"
    expires: str

root = option("root")
platform = yaml.decode(option("platform")).spec

spec = lambda path: str {
    yaml.decode(file.read(path)).spec
}
stem = lambda path: str -> str {
    path.split("/")[-1].removesuffix(".yaml")
}
documents = lambda tenant: str, folder: str -> {str:} {
    {stem(path) = spec(path) for path in sorted(file.glob("${root}/${tenant}/${folder}/*.yaml"))}
}
matches = lambda pattern: str, owner: str, contract: str, operation: str -> bool {
    parts = pattern.split(":")
    parts[0] in ["*", owner] and parts[1] in ["*", contract] and parts[2] in ["*", operation]
}
allowed = lambda grants, owner: str, contract: str, operation: str -> [str] {
    denied = [g.role for g in grants if (g.effect or "allow") == "deny" and any p in g.tools {
        matches(p, owner, contract, operation)
    }]
    sorted([g.role for g in grants if (g.effect or "allow") == "allow" and g.role not in denied and any p in g.tools {
        matches(p, owner, contract, operation)
    }])
}
render = lambda owner: str {
    tenant = Tenant {**spec("${root}/${owner}/tenant.yaml")}
    contracts = {k = Contract {**v} for k, v in documents(owner, "contracts")}
    consumers = {k = Consumer {**v} for k, v in documents(owner, "consumers")}
    plans = {k = Plan {**v} for k, v in documents(owner, "plans")}
    subscriptions = {k = Subscription {**v} for k, v in documents(owner, "subscriptions")}
    assert all _, s in subscriptions {
        s.consumer in consumers and s.contract in contracts and s.plan in plans
    }, "a subscription names what exists"
    grants = platform.grants + tenant.grants
    {
        catalog = json.encode({
            tenant = owner
            tools = [{
                id = "${owner}:${c}:${o}"
                name = "${owner}_${c}_${o}"
                description = "${what.summary}. ${what.intent}"
                inputSchema = what.input
                outputSchema = what.output
                sideEffects = what.sideEffects
                backend = {method = what.method, path = what.path}
                roles = allowed(grants, owner, c, o)
            } for c, contract in contracts for o, what in contract.operations]
        }, indent=2)
        realm = json.encode({
            roles = sorted([role for role in platform.roles])
            groups = {k = group.roles for k, group in tenant.groups}
            users = [{
                username = user
                groups = [k for k, group in tenant.groups if user in group.members]
                **who
            } for user, who in tenant.people]
            clients = [{
                clientId = "${owner}-${k}"
                roles = consumer.roles
                grantTypes = consumer.grantTypes
            } for k, consumer in consumers]
        }, indent=2)
        values = json.encode({
            backends = {k = {
                url = contract.backend.urls.prod
                secret = contract.backend.auth.secret
            } for k, contract in contracts}
            limits = plans
        }, indent=2)
    }
}
rendered = {name = render(name) for name in option("tenants")}
"""


def run(source: Path, out: Path, jobs: int) -> int:
    """Renders every tenant; gives the number of files."""
    tenants = sorted(path.parent.name for path in source.glob("*/tenant.yaml"))
    parts = [(source, out, tenants[at : at + TENANTS_A_RUN]) for at in range(0, len(tenants), TENANTS_A_RUN)]
    with multiprocessing.get_context("fork").Pool(min(jobs, len(parts))) as pool:
        return sum(pool.starmap(_render, parts, chunksize=1))


def _render(source: Path, out: Path, tenants: Sequence[str]) -> int:
    from kcl_lib import api

    # The hosts of all tenants are of no use here, and would be read again in each run.
    platform = (source / "platform.yaml").read_text(encoding="utf-8").partition("  backends:\n")[0]
    arguments = {"root": str(source.resolve()), "platform": platform, "tenants": list(tenants)}
    options = [api.Argument(name=name, value=json.dumps(value)) for name, value in arguments.items()]
    result = api.API().exec_program(
        api.ExecProgramArgs(
            k_filename_list=["bench.k"], k_code_list=[PROGRAM], args=options, path_selector=["rendered"]
        )
    )
    if result.err_message:
        raise RuntimeError(result.err_message)
    count = 0
    for tenant, artifacts in json.loads(result.json_result).items():
        (out / tenant).mkdir(parents=True, exist_ok=True)
        for name, text in artifacts.items():
            (out / tenant / f"{name}.json").write_text(text, encoding="utf-8")
            count += 1
    return count


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), Path(sys.argv[2]), os.cpu_count() or 1), "files")

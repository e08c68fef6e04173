"""The main job on any OpenAPI description: made a tenant's, compiled, served, and called as a signed-in person.

What `make demo-openapi FILE=...` runs. The exit code is 0 only when three tools, or all that need no approval
where the description has fewer, answered without an error.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcp_types
from main_job import indented, shown, text_of, title
from mcp.shared.exceptions import MCPError
from person import Person, canonical_id, signed_in
from running import Failed, run_to_the_end, serving, stoa

from stoa_runtime.development.samples import NoSample, sample
from stoa_schemas.bundle import Tool

CALLS = 3
SECONDS = 110.0
_CONTRACT = ("--tenant", "demo", "--name", "api", "--all", "--backend", "https://backend.scratch.example")
_CAREFUL_FIRST = ("none", "read", "write", "destructive")

PLATFORM = """\
apiVersion: gostoa.dev/v2
kind: Platform
metadata:
  name: scratch
spec:
  displayName: Scratch
  domain: scratch.example
  environments:
    dev:
      gateway: http://127.0.0.1:8080
      issuer: http://127.0.0.1:8081
      development: true
      targets: [mcp]
  zones:
    external: {trust: untrusted}
    dmz: {trust: semi-trusted}
    internal: {trust: trusted}
  flows: []
  tiers:
    any: {maxContracts: 10, maxTools: 10000, maxConsumers: 10, maxRate: 100000/minute}
  classifications:
    H: {approval: [destructive], maxRate: 100000/minute}
  roles:
    operator:
      description: May use every tool of the tenant.
      permissions: [catalog:read, posture:read, tools:read, tools:write, tools:destructive]
  backends:
    allowedHosts:
      - {host: backend.scratch.example, tenants: [demo]}
  identity:
    realm: scratch
    clients:
      claude:
        displayName: Claude
        redirectUris: [https://claude.ai/api/mcp/auth_callback]
"""
TENANT = """\
apiVersion: gostoa.dev/v2
kind: Tenant
metadata:
  name: demo
spec:
  displayName: Demo
  tier: any
  contact: demo@scratch.example
  environments: [dev]
  people:
    alex: {firstName: Alex, lastName: Doe, email: alex@scratch.example}
  groups:
    operators: {roles: [operator], members: [alex]}
  grants:
    - {role: operator, tools: ["demo:*:*"]}
  secrets:
    prefix: demo
"""


async def any_openapi(file: Path, calls: int) -> int:
    """The exit code of the whole: 0 when `calls` tools, or all where there are fewer, answered without an error."""
    with tempfile.TemporaryDirectory(prefix="stoa-demo-") as folder:
        source, state = Path(folder) / "source", Path(folder) / "state"
        (source / "demo").mkdir(parents=True)
        (source / "platform.yaml").write_text(PLATFORM)
        (source / "demo" / "tenant.yaml").write_text(TENANT)
        title(f"Import {file.name}")
        imported = stoa("import", "openapi", file.resolve(), "--source", source, *_CONTRACT)
        print("\n".join(f"   {line}" for line in imported.splitlines()))
        title("Compile")
        out = Path(folder) / "bundle"
        facts = json.loads(stoa("compile", source, "--env", "dev", "--out", out, "--format", "json"))
        print(f"   {facts['tools']} tools, {facts['artifacts']} artifacts in {facts['milliseconds']} ms")
        print(f"   bundle {facts['digest']}")
        async with serving(source, state) as served, signed_in(served.mcp, "alex") as alex:
            declared = {tool.id: tool for catalog in served.catalogs() for tool in catalog.tools}
            return await use(alex, declared, calls)


async def use(alex: Person, declared: dict[str, Tool], calls: int) -> int:
    """Lists the tools and calls some of them; the exit code says whether all of that went well."""
    listed = {canonical_id(tool): tool for tool in await alex.tools()}
    title(f"{alex.claims['name']} sees {len(listed)} tools")
    own = [name for name in listed if name in declared]
    for name in own[:20]:
        print(f"   {listed[name].name:<64}  {declared[name].request.method} {declared[name].request.path}")
    if len(own) > 20:
        print(f"   ... and {len(own) - 20} more")
    title("Calls")
    if set(own) != set(declared) or not own:
        print(f"   FAILED  {len(declared)} tools were compiled, {len(own)} are listed")
        return 1
    chosen = choose([listed[name] for name in own], declared, calls)
    wanted = min(calls, len([tool for tool in declared.values() if not tool.approval]))
    answered = [await answers(alex, tool, arguments) for tool, arguments in chosen]
    print(f"\n   {sum(answered)} of {wanted} calls answered without an error")
    return 0 if sum(answered) == wanted == len(answered) else 1


def choose(
    tools: Sequence[mcp_types.Tool], declared: dict[str, Tool], calls: int
) -> list[tuple[mcp_types.Tool, dict[str, Any]]]:
    """Tools to call and arguments for them, those first that change nothing; none that needs an approval."""
    chosen: list[tuple[mcp_types.Tool, dict[str, Any]]] = []
    for tool in sorted(tools, key=lambda tool: _CAREFUL_FIRST.index(declared[canonical_id(tool)].side_effects)):
        if declared[canonical_id(tool)].approval:
            continue
        try:
            chosen.append((tool, sample(tool.input_schema, optional=False)))
        except NoSample as reason:
            print(f"   {tool.name} is left out: no arguments can be made up ({reason})")
        if len(chosen) == calls:
            break
    return chosen


async def answers(alex: Person, tool: mcp_types.Tool, arguments: dict[str, Any]) -> bool:
    """Whether the tool answers without an error."""
    print(f"   {tool.name} with {shown(arguments)}")
    try:
        result = await alex.client.call_tool(tool.name, arguments)
    except (MCPError, RuntimeError) as error:  # The SDK's client raises the latter for schemas that it cannot use.
        print(f"   FAILED\n{indented(str(error))}")
        return False
    if result.is_error:
        print(f"   FAILED\n{indented(text_of(result))}")
        return False
    print(
        f"   ok      {shown(result.structured_content if result.structured_content is not None else text_of(result))}"
    )
    return True


def main() -> int:
    """The exit code for the file that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="an OpenAPI 3.x description, JSON or YAML")
    parser.add_argument("--calls", type=int, default=CALLS, help="how many tools are called")
    options = parser.parse_args()
    file: Path = options.file
    if not file.is_file():
        raise Failed(f"{file} is not a file")
    return run_to_the_end(any_openapi(file, options.calls), seconds=SECONDS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        print(f"FAILED  {failure}", file=sys.stderr)
        sys.exit(2)

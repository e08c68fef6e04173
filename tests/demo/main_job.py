"""The main job, end to end: compile the demo source, serve it, and call tools as three people.

What `make demo` runs. Every expectation is compared with what came out; one that fails makes the exit code 1.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import mcp_types
from mcp.shared.exceptions import MCPError
from person import Person, canonical_id, signed_in
from running import REPOSITORY, Failed, Serving, run_to_the_end, serving, stoa

from stoa_runtime.development.samples import sample
from stoa_schemas.bundle import CallExample, Tool

PLATFORM_TOOLS = frozenset(
    {
        *("stoa_tenants", "stoa_catalog", "stoa_contract", "stoa_tools", "stoa_security_posture"),
        *("stoa_approvals_decide", "stoa_approvals_get", "stoa_approvals_list"),
    }
)
SEES = {
    "parzival": ("ioi:billing:*", "ioi:inventory:*"),
    "sorrento": ("greg:oasis:*", "greg:sixers:*"),
    "halliday": ("*:*:*",),
}
TRACE_KEY, BUNDLE_KEY = "dev.gostoa/trace-id", "dev.gostoa/bundle"
SECONDS = 55.0


@dataclass
class Checks:
    """What was expected, and what came out otherwise."""

    failed: list[str] = field(default_factory=list)
    held: int = 0

    def expect(self, what: str, held: bool, otherwise: object = "") -> None:
        """Prints whether the expectation held."""
        if held:
            self.held += 1
            print(f"   ok      {what}")
        else:
            self.failed.append(what)
            print(f"   FAILED  {what}" + (f": {otherwise}" if otherwise != "" else ""))


async def main_job(source: Path) -> int:
    """The exit code of the whole."""
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="stoa-demo-") as folder:
        compile_source(checks, source, Path(folder) / "bundle")
        async with serving(source, Path(folder) / "state") as served:
            title("Serve")
            print(f"   MCP endpoint    {served.mcp}")
            print(f"   issuer          {served.issuer}")
            print(f"   mock backends   {served.backends}, a process of their own")
            print(f"   bundle          {served.digest}")
            tools = {tool.id: tool for catalog in served.catalogs() for tool in catalog.tools}
            async with (
                signed_in(served.mcp, "parzival") as parzival,
                signed_in(served.mcp, "sorrento") as sorrento,
                signed_in(served.mcp, "halliday") as halliday,
            ):
                title("Who sees what")
                for person in (parzival, sorrento, halliday):
                    await look(checks, person, tools)
                await look_as_an_older_client(checks, served, parzival)
                await call(checks, served, parzival, tools)
                await call_across_tenants(checks, served, parzival, tools)
                await call_wrongly(checks, served, parzival, tools)
                await call_what_needs_approval(checks, served, parzival, tools)
    title("Result")
    if checks.failed:
        print(f"   {len(checks.failed)} of {checks.held + len(checks.failed)} expectations failed:")
        for what in checks.failed:
            print(f"   - {what}")
        return 1
    print(f"   all {checks.held} expectations held")
    return 0


def compile_source(checks: Checks, source: Path, out: Path) -> None:
    """The development bundle, compiled twice: the same source gives the same digest."""
    title("Compile")
    first, second = (
        json.loads(stoa("compile", source, "--env", "dev", "--out", out, "--format", "json")) for _ in "12"
    )
    print(
        f"   {first['documents']} documents of {first['tenants']} tenants -> {first['tools']} tools,"
        f" {first['artifacts']} artifacts in {first['milliseconds']} ms"
    )
    print(f"   bundle {first['digest']}")
    checks.expect("compiled again, the bundle has the same digest", first["digest"] == second["digest"])


async def look(checks: Checks, person: Person, tools: dict[str, Tool]) -> None:
    """The person's list of tools, compared with what the catalogs offer."""
    claims = person.claims
    listed = [canonical_id(tool) for tool in await person.tools()]
    print(f"   {claims['name']} ({person.username}) of {', '.join(claims['tenant'])}: {len(listed)} tools")
    for group, names in grouped(listed):
        print(f"      {group:<24}{wrapped(names, 33)}")
    mine = {tool for tool in tools if any(fnmatchcase(tool, pattern) for pattern in SEES[person.username])}
    expected = PLATFORM_TOOLS | mine
    checks.expect(
        f"that is stoa_* and {' and '.join(SEES[person.username])}, and nothing else",
        set(listed) == expected and len(listed) == len(expected),
        f"too many {sorted(set(listed) - expected)}, missing {sorted(expected - set(listed))}",
    )
    print()


async def look_as_an_older_client(checks: Checks, served: Serving, parzival: Person) -> None:
    """The same list over the protocol before the stateless one."""
    async with signed_in(served.mcp, parzival.username, mode="legacy") as older:
        listed = {canonical_id(tool) for tool in await older.tools()}
    now = {canonical_id(tool) for tool in await parzival.tools()}
    checks.expect("a client that still shakes hands (protocol 2025-11-25) is shown the same", listed == now)


async def call(checks: Checks, served: Serving, parzival: Person, tools: dict[str, Tool]) -> None:
    """One real call, from the client over HTTP to the backend's process, and its line in the audit log."""
    title("A call")
    tool, example = a_tool_with_an_answer(tools)
    print(f"   Parzival calls {tool.id} with {shown(example.input)}")
    result = await parzival.client.call_tool(tool.name, example.input)
    meta = result.meta or {}
    trace_id = meta.get(TRACE_KEY, "")
    print(f"   answer     {shown(result.structured_content)}")
    print(f"   trace id   {trace_id}")
    checks.expect(
        "the answer is the one of the contract's example",
        not result.is_error and result.structured_content == example.output,
        text_of(result),
    )
    checks.expect("the answer names the bundle that decided", meta.get(BUNDLE_KEY) == served.digest, meta)
    line = served.audit_line(trace_id)
    print(f"   audit log  {json.dumps(line)}")
    checks.expect(
        "its line is in the audit log, with person, tool and bundle",
        line is not None
        and (line["decision"], line["tool"], line["bundle"]) == ("allowed", tool.id, served.digest)
        and (line["subject"], line["tenant"]) == (parzival.claims["sub"], "ioi"),
        line,
    )


async def call_across_tenants(checks: Checks, served: Serving, parzival: Person, tools: dict[str, Tool]) -> None:
    """Another tenant's tool, and one that nobody has: the answers must not differ by a byte."""
    title("A call across tenants")
    foreign = next(tool for name, tool in tools.items() if fnmatchcase(name, "greg:*:*"))
    missing = f"{foreign.name}_x"
    print(f"   Parzival calls {foreign.name}, which is Sorrento's, and {missing}, which does not exist")
    answers = [await parzival.raw_call(name) for name in (foreign.name, missing)]
    print(f"   both get   {answers[0][0]} {answers[0][1].decode()}")
    checks.expect("the two answers are the same, byte for byte, headers included", answers[0] == answers[1], answers[1])
    errors = [await refusal(parzival, name) for name in (foreign.name, missing)]
    checks.expect(
        "the SDK's client sees an unknown tool both times",
        errors[0] is not None and errors[0] == errors[1] and errors[0][0] == mcp_types.INVALID_PARAMS,
        errors,
    )
    rules = [line["rule"] for line in served.decisions() if line["decision"] == "refused"][-2:]
    checks.expect("only the audit log tells them apart", rules == ["tool-not-visible", "tool-unknown"], rules)


async def call_wrongly(checks: Checks, served: Serving, parzival: Person, tools: dict[str, Tool]) -> None:
    """Arguments that do not fit: refused before the backend, in words that say how to mend them."""
    title("Wrong arguments")
    tool, example = a_tool_with_an_answer(tools)
    required = tool.input_schema["required"][0]
    wrong = {"colour": "blue", **{name: value for name, value in example.input.items() if name != required}}
    print(f"   Parzival calls {tool.id} with {shown(wrong)}")
    result = await parzival.client.call_tool(tool.name, wrong)
    text = text_of(result)
    print(indented(text))
    checks.expect("the call is refused, and nothing was called", bool(result.is_error) and "nothing was called" in text)
    checks.expect(
        "the message names what is missing and what is too much", f"`{required}`" in text and "`colour`" in text, text
    )
    line = served.audit_line((result.meta or {}).get(TRACE_KEY, ""))
    checks.expect(
        "the audit log has it as refused by its arguments, without a backend",
        line is not None and (line["decision"], line["rule"], line["backend_status"]) == ("refused", "arguments", None),
        line,
    )


async def call_what_needs_approval(checks: Checks, served: Serving, parzival: Person, tools: dict[str, Tool]) -> None:
    """A destructive call: its arguments are right, and still it stops."""
    title("A destructive call")
    mine = {canonical_id(tool) for tool in await parzival.tools()}
    tool = next(t for name, t in tools.items() if name in mine and t.side_effects == "destructive")
    arguments = tool.examples[0].input if tool.examples else sample(tool.input_schema)
    print(f"   Parzival calls {tool.id} with {shown(arguments)}")
    result = await parzival.client.call_tool(tool.name, arguments)
    text = text_of(result)
    print(indented(text))
    checks.expect("the call stops for a second person's approval", bool(result.is_error) and "approval" in text, text)
    line = served.audit_line((result.meta or {}).get(TRACE_KEY, ""))
    checks.expect(
        "the audit log has it as refused for want of approval, without a backend",
        line is not None
        and (line["decision"], line["rule"], line["backend_status"]) == ("refused", "approval-demanded", None),
        line,
    )


def a_tool_with_an_answer(tools: dict[str, Tool]) -> tuple[Tool, CallExample]:
    """The first of Parzival's reading tools that needs an argument and has an example with an answer."""
    for name, tool in tools.items():
        if fnmatchcase(name, "ioi:billing:*") and tool.side_effects == "read" and tool.input_schema.get("required"):
            for example in tool.examples:
                if example.output is not None:
                    return tool, example
    raise Failed("no reading tool of ioi:billing has an example with an answer")


async def refusal(person: Person, name: str) -> tuple[int, str] | None:
    """Code and message of the error that a call gets; None where it gets none."""
    try:
        await person.client.call_tool(name, {})
    except MCPError as error:
        return error.error.code, error.error.message
    return None


def grouped(ids: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Names of operations below their contract, platform tools first."""
    groups: dict[str, list[str]] = {"stoa_*": []}
    for name in sorted(ids):
        contract, _, operation = name.rpartition(":")
        groups.setdefault(contract or "stoa_*", []).append(operation)
    return [(contract, names) for contract, names in groups.items() if names]


def wrapped(words: Sequence[str], indent: int, width: int = 110) -> str:
    """The words in lines, separated by commas."""
    lines, line = [], ""
    for word in words:
        if line and indent + len(line) + len(word) + 2 > width:
            lines.append(f"{line},")
            line = word
        else:
            line = f"{line}, {word}" if line else word
    return ("\n" + " " * (indent - 3)).join([*lines, line])


def shown(value: object, limit: int = 300) -> str:
    """The value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[:limit]}…"


def text_of(result: mcp_types.CallToolResult) -> str:
    """What a model reads."""
    return "\n".join(block.text for block in result.content if isinstance(block, mcp_types.TextContent))


def indented(text: str) -> str:
    """The text set off from the rest."""
    return "\n".join(f"   | {line}" for line in text.splitlines())


def title(text: str) -> None:
    """Begins a part of the output."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, nargs="?", default=REPOSITORY / "tenants", help="the demo source")
    sys.exit(run_to_the_end(main_job(parser.parse_args().source), seconds=SECONDS))

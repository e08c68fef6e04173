"""The whole chain, from a commit to a tool that somebody sees, and from a second commit to one that is gone.

What `make chain` runs: Git, `stoa compile`, `stoa sign`, `stoa publish`, Argo CD on an API server, `stoa reconcile
keycloak`, `stoa serve` from what is found in the API server, and MCP clients with Keycloak's tokens. Every step is
printed with its time; every expectation is compared with what came out, and one that fails makes the exit code 1.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from stoa_schemas.bundle import PLATFORM_INDEX, Catalog, PlatformIndex
from tests.chain import place
from tests.chain.machine import STOA, Machine, Refused
from tests.chain.place import ENVIRONMENT, GATEWAY_NAMESPACE, Engines, Failed, Repositories, run
from tests.engines.conftest import FIRST_PASSWORD
from tests.engines.keycloak import free_port

CLAUDE = "https://claude.ai/api/mcp/auth_callback"
BUNDLE_KEY, ID_KEY = "dev.gostoa/bundle", "dev.gostoa/id"
ROOT_APPLICATION = f"stoa-{ENVIRONMENT}-root"
WHO_LOSES, WHAT = "aech", "ioi:billing:get_invoice"
BEFORE = '"ioi:billing:list_invoices", "ioi:billing:get_invoice", "ioi:inventory:*"'
AFTER = '"ioi:billing:list_invoices", "ioi:inventory:*"'
EFFECT_LIMIT, SYNC_LIMIT = 30.0, 120.0
"""Seconds."""


@dataclass
class Told:
    """What is printed, and which expectations did not hold."""

    failed: list[str] = field(default_factory=list)
    held: int = 0

    def title(self, text: str) -> None:
        """Begins a part."""
        print(f"\n{text}\n{'-' * len(text)}", flush=True)

    def took(self, what: str, seconds: float, note: str = "") -> None:
        """A step, with its time."""
        print(f"   {seconds:6.2f} s  {what:<26}{note}".rstrip(), flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Prints the step when it ends; what is appended to the list is its note."""
        note: list[str] = []
        started = time.monotonic()
        yield note
        self.took(what, time.monotonic() - started, "".join(note))

    def expect(self, what: str, held: bool, otherwise: object = "") -> None:
        """Prints whether the expectation held."""
        if held:
            self.held += 1
            print(f"   ok        {what}", flush=True)
        else:
            self.failed.append(what)
            print(f"   FAILED    {what}" + (f": {otherwise}" if otherwise != "" else ""), flush=True)


@dataclass
class Chain:
    """One delivery after the other on the same engines."""

    told: Told
    engines: Engines
    git: Repositories
    scratch: Path
    machine: Machine
    sequence: int = 0
    revision: str = ""
    """The commit on the branch that Argo CD reads."""

    @property
    def bundle(self) -> Path:
        """Where the pipeline compiles to."""
        return self.scratch / "build"

    def deliver(self, message: str) -> str:
        """Commits the source and brings it through the pipeline into the cluster; the bundle's digest."""
        with self.told.step("git commit") as note:
            commit = place.commit(self.git.source, message)
            note.append(f"{commit[:12]}  {message}")
        with self.told.step("stoa compile") as note:
            source = self.git.source / "tenants"
            facts = _stoa("compile", source, "--env", ENVIRONMENT, "--out", self.bundle, "--format", "json")
            note.append(f"{facts['documents']} documents, {facts['tools']} tools, {facts['artifacts']} artifacts")
        with self.told.step("stoa sign") as note:
            self.sequence += 1
            signing = ("--key", self.git.key, "--sequence", str(self.sequence), "--commit", commit)
            run(STOA, "sign", self.bundle, *signing)
            note.append(f"sequence {self.sequence}, {facts['digest'][:23]}…")
        with self.told.step("stoa publish") as note:
            whereto = ("--repo", f"file://{self.git.rendered}", "--branch", "rendered")
            origin = ("--source", self.git.source, "--source-commit", commit)
            published = _stoa("publish", self.bundle, *whereto, *origin, "--format", "json")
            note.append(f"{published['commit'][:12]}  {published['summary']}")
        self.revision = published["commit"]
        argo = self.engines.argo
        since = time.monotonic()
        if not argo.application(ROOT_APPLICATION):
            self._bootstrap()
        argo.refresh()
        # The pipeline goes on with the identities while Argo CD is at work.
        with self.told.step("stoa reconcile keycloak") as note:
            for realm in place.reconcile(self.engines, self.bundle, self.scratch):
                note.append(f"realm {realm['realm']}: {realm['made']} changes")
        argo.wait_synced(ROOT_APPLICATION, self.revision, healthy=False)
        names = sorted(argo.applications())
        argo.refresh(*names)
        digest = str(facts["digest"])
        self.machine.wait_for(digest, SYNC_LIMIT)
        self.told.took(
            "Argo CD", time.monotonic() - since, f"{len(names)} Applications; the Deployment names the bundle"
        )
        return digest

    def _bootstrap(self) -> None:
        """What is done once, by hand."""
        with self.told.step("namespaces of the zones") as note:
            note.append(", ".join(place.prepare(self.engines.cluster, self.bundle)))
        with self.told.step("kubectl apply root.yaml"):
            for one in yaml.safe_load_all((self.bundle / "argocd" / "root.yaml").read_text()):
                status, answer = self.engines.cluster.apply(one)
                if status not in (200, 201):
                    raise Failed(f"{one['kind']} {one['metadata']['name']}: {answer}")

    def settle(self) -> None:
        """Waits until Argo CD has nothing left to do: old ConfigMaps go when the new pod is ready."""
        with self.told.step("Argo CD: nothing left") as note:
            found = [
                self.engines.argo.wait_synced(name, self.revision) for name in sorted(self.engines.argo.applications())
            ]
            resources = sum(len(one["status"].get("resources", ())) for one in found)
            note.append(f"{resources} objects are as they are in Git, and healthy")


def _stoa(*arguments: str | Path) -> Any:
    return json.loads(run(STOA, *arguments))


@contextlib.asynccontextmanager
async def connected(mcp: str, token: str) -> AsyncIterator[Client]:
    """The official SDK's client."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30.0) as http,
        Client(streamable_http_client(mcp, http_client=http)) as client,
    ):
        yield client


async def seen(mcp: str, token: str) -> list[str]:
    """Ids of all tools that a token's bearer is shown."""
    async with connected(mcp, token) as client:
        listed = await client.list_tools()
        assert listed.next_cursor is None
        return sorted(str((tool.meta or {}).get(ID_KEY, tool.name)) for tool in listed.tools)


async def seen_by_all(mcp: str, tokens: Mapping[str, str]) -> dict[str, list[str]]:
    """The same for everybody."""
    return {name: await seen(mcp, token) for name, token in tokens.items()}


async def called(mcp: str, token: str, tool: str, arguments: Mapping[str, Any]) -> tuple[Any, str]:
    """The answer's content and the bundle that it names; the error's words where there is no such tool."""
    async with connected(mcp, token) as client:
        try:
            result = await client.call_tool(tool, dict(arguments))
        except MCPError as error:
            return error.error.message, ""
    return result.structured_content, str((result.meta or {}).get(BUNDLE_KEY))


async def until_gone(mcp: str, token: str, tool: str) -> None:
    """Returns when the tool is no longer shown."""
    async with asyncio.timeout(EFFECT_LIMIT), connected(mcp, token) as client:
        while any((t.meta or {}).get(ID_KEY) == tool for t in (await client.list_tools(cache_mode="bypass")).tools):
            await asyncio.sleep(0.05)


def people_of(git: Repositories) -> list[str]:
    """Everybody in the source, the platform's own first."""
    files = [git.source / "tenants" / "platform.yaml", *sorted((git.source / "tenants").glob("*/tenant.yaml"))]
    return [name for file in files for name in yaml.safe_load(file.read_text())["spec"].get("people", {})]


def example(bundle: Path, tool: str) -> tuple[str, dict[str, Any], Any]:
    """Wire name, arguments and answer of the first example of a tool."""
    index = PlatformIndex.model_validate_json((bundle / PLATFORM_INDEX).read_bytes())
    for entry in index.tenants:
        for one in Catalog.model_validate_json((bundle / entry.catalog).read_bytes()).tools:
            if one.id == tool:
                return one.name, dict(one.examples[0].input), one.examples[0].output
    raise Failed(f"there is no tool {tool}")


def chain(told_: Told, scratch: Path) -> None:
    """The whole of it."""
    told_.title("Engines")
    with place.engines(scratch / "engines", lambda what, seconds: told_.took(what, seconds)) as engines:
        git = place.repositories(scratch, engines.keycloak.issuer(place.REALM))
        machine = Machine(engines.cluster, GATEWAY_NAMESPACE, "stoa-stoa-runtime", scratch / "pod")
        one = Chain(told_, engines, git, scratch, machine)
        told_.title("The first commit")
        started = time.monotonic()
        digest = one.deliver("The demo source, delivered by Argo CD")
        with told_.step("volumes from ConfigMaps") as note:
            maps = machine.mount()
            note.append(f"{len(maps)} ConfigMaps that the Deployment names")
        served = contextlib.ExitStack()
        with served:
            served.enter_context(place.mock_backends(one.bundle, git.backends_port))
            with told_.step("stoa serve"):
                served.enter_context(machine.running(git.gateway_port))
            one.settle()
            asyncio.run(_first(one, digest, started))


async def _first(one: Chain, digest: str, started: float) -> None:
    """Everybody signs in, lists and calls; then the second commit takes one tool away."""
    told_, git, mcp = one.told, one.git, f"{one.git.gateway}/mcp"
    everybody = people_of(git)
    with told_.step("sign in") as note:
        desk = place.open_desk(one.engines.keycloak, everybody, FIRST_PASSWORD)
        tokens = {name: desk.sign_in(name, "claude", CLAUDE)["access_token"] for name in everybody}
        note.append(f"{len(tokens)} people, authorization code with PKCE, by Keycloak's form")
    with told_.step("tools/list") as note:
        before = await seen_by_all(mcp, tokens)
        note.append(", ".join(f"{name} {len(tools)}" for name, tools in before.items()))
    tool, arguments, wanted = example(one.bundle, WHAT)
    with told_.step("tools/call") as note:
        answer, bundle = await called(mcp, tokens[WHO_LOSES], tool, arguments)
        note.append(f"{WHO_LOSES} calls {WHAT}")
    told_.expect("the answer is the one of the contract's example", answer == wanted, answer)
    annotations = one.machine.found()["spec"]["template"]["metadata"]["annotations"]
    declared = annotations["gostoa.dev/bundle"]
    told_.expect("the bundle that decided is the compiled one", bundle == declared == digest, (bundle, declared))
    told_.took("from commit to first call", time.monotonic() - started)
    _expect_refusal_of_another_bundle(one)

    told_.title(f"The second commit: {WHO_LOSES}'s role loses {WHAT}")
    git.edit("ioi/tenant.yaml", BEFORE, AFTER)
    started = time.monotonic()
    second = await asyncio.to_thread(one.deliver, f"Viewers of ioi no longer call {WHAT}")
    with told_.step("volumes from ConfigMaps"):
        one.machine.mount()
    with told_.step("the running process"):
        await until_gone(mcp, tokens[WHO_LOSES], WHAT)
    told_.took("from commit to effect", time.monotonic() - started, "with the tokens that everybody had")
    one.machine.report_ready()
    await asyncio.to_thread(one.settle)
    after = await seen_by_all(mcp, tokens)
    _expect_one_loss(told_, before, after)
    words, _ = await called(mcp, tokens[WHO_LOSES], tool, arguments)
    told_.expect(f"{WHO_LOSES} cannot call it", "Unknown tool" in str(words), words)
    answer, bundle = await called(mcp, tokens["parzival"], tool, arguments)
    told_.expect("parzival still calls it", answer == wanted, answer)
    told_.expect("and the new bundle decided", bundle == second, bundle)


def _expect_one_loss(told_: Told, before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> None:
    lost = {name: sorted(set(before[name]) - set(after[name])) for name in before if before[name] != after[name]}
    told_.expect(f"{WHO_LOSES} lost {WHAT}, and nothing else", lost.get(WHO_LOSES) == [WHAT], lost)
    won = {name: sorted(set(after[name]) - set(before[name])) for name in before}
    unchanged = [name for name in before if before[name] == after[name]]
    told_.expect(
        f"the lists of {', '.join(unchanged)} are as before, tool by tool",
        set(lost) == {WHO_LOSES} and not any(won.values()),
        (lost, won),
    )


def _expect_refusal_of_another_bundle(one: Chain) -> None:
    """What was changed on its way is not served: one word of one catalog, in a copy of the volumes."""
    copy = Machine(one.machine.cluster, GATEWAY_NAMESPACE, one.machine.deployment, one.scratch / "other-pod")
    copy.mount()
    catalog = next((copy.folder / "bundle" / "mcp").resolve().rglob("ioi.json"))
    catalog.write_bytes(catalog.read_bytes().replace(b"invoice", b"invoicE", 1))
    try:
        with copy.running(free_port()):
            said = "it is served"
    except Refused as refusal:
        said = str(refusal)
    one.told.expect("a catalog that was changed on its way is not served", "digest" in said, said)
    shutil.rmtree(copy.folder)


def _stopped(number: int, _frame: object) -> None:
    raise Failed(f"stopped by {signal.Signals(number).name}")


def main() -> int:
    """The exit code of the whole."""
    parser = argparse.ArgumentParser(prog="python -m tests.chain", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder, and leave it")
    options = parser.parse_args()
    # However it is stopped, what it started is ended too.
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGINT, _stopped)
    told_ = Told()
    started = time.monotonic()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="stoa-chain-"))
    folder.mkdir(exist_ok=True)
    try:
        chain(told_, folder)
    except pytest.skip.Exception as missing:
        print(f"FAILED  {missing.msg}", file=sys.stderr)
        return 3
    except (Failed, Refused, AssertionError, TimeoutError) as failure:
        print(f"FAILED  {failure}", file=sys.stderr)
        return 1
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    told_.title("Result")
    told_.took("all of it", time.monotonic() - started)
    if told_.failed:
        print(f"   {len(told_.failed)} of {told_.held + len(told_.failed)} expectations failed:")
        for what in told_.failed:
            print(f"   - {what}")
        return 1
    print(f"   all {told_.held} expectations held")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The official inspector: every catalog is one that it finds no fault with, in both eras of the protocol."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from stoa_runtime.bundles import load
from tests.engines import node
from tests.engines.prism import Missing

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "demo"))

from any_openapi import PLATFORM, TENANT  # noqa: E402
from person import Person, signed_in  # noqa: E402
from running import serving, stoa  # noqa: E402

PACKAGE = ("@modelcontextprotocol/inspector", "2.12.0")
ERAS = ("modern", "legacy")
OWN = Path(__file__).parent / "descriptions" / "harbour.yaml"
OTHERS = ROOT.parent / "shared" / "data" / "openapi"
FILES = [OWN, *(sorted(OTHERS.glob("*")) if OTHERS.is_dir() else [])]
"""Our own description, and other people's where they are here."""

pytestmark = [pytest.mark.engine, pytest.mark.anyio]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    try:
        node.node()
        node.package(*PACKAGE)
    except Missing as missing:
        pytest.skip(str(missing))


async def inspected(person: Person, era: str, home: Path) -> tuple[int, list[str], str]:
    """The inspector's exit code, the names of the tools that it lists, and what it complains of."""
    program = node.package(*PACKAGE) / "clients" / "launcher" / "build" / "index.js"
    process = await asyncio.create_subprocess_exec(
        *(str(node.node()), str(program), "--cli", "--server-url", person.mcp, "--transport", "http"),
        *("--protocol-era", era, "--method", "tools/list", "--strict"),
        *("--header", f"Authorization: Bearer {person.token}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "PATH": str(node.node().parent)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    names = [tool["name"] for tool in json.loads(out)["tools"]] if out.strip() else []
    return process.returncode or 0, names, err.decode()


async def test_the_demo_for_each_of_its_people(tmp_path: Path) -> None:
    async with serving(ROOT / "tenants", tmp_path / "state") as served:
        development = load(served.bundle, allow_development=True).development
        assert development is not None
        assert len(development.people) >= 9
        for known in development.people:
            async with signed_in(served.mcp, known.username) as person:
                expected = [tool.name for tool in await person.tools()]
                assert expected
                for found in await asyncio.gather(*(inspected(person, era, tmp_path) for era in ERAS)):
                    assert found[:2] == (0, expected), (known.username, found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_catalogs_made_of_openapi_descriptions(file: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "demo").mkdir(parents=True)
    (source / "platform.yaml").write_text(PLATFORM)
    (source / "demo" / "tenant.yaml").write_text(TENANT)
    where = ("--tenant", "demo", "--name", "api", "--backend", "https://backend.scratch.example")
    stoa("import", "openapi", file, "--source", source, "--all", "--binary", "base64", *where)
    async with (
        serving(source, tmp_path / "state") as served,
        signed_in(served.mcp, "alex") as alex,
    ):
        expected = [tool.name for tool in await alex.tools()]
        assert len(expected) > len(["stoa_catalog", "stoa_contract", "stoa_security_posture", "stoa_tenants"])
        for found in await asyncio.gather(*(inspected(alex, era, tmp_path) for era in ERAS)):
            assert found[:2] == (0, expected), found

"""`stoa dev` follows what is saved: the runtime, the mocks and the issuer go on with the new bundle."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from person import signed_in
from running import REPOSITORY, serving


async def _eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not await holds():
        assert asyncio.get_running_loop().time() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("mistake", [False, True])
def test_what_is_saved_is_served(tmp_path: Path, mistake: bool) -> None:
    """A grant taken away is gone from the list; with a mistake in the file, what was served stays."""
    source = tmp_path / "source"
    shutil.copytree(REPOSITORY / "tenants", source)

    async def run() -> None:
        async with serving(source, tmp_path / "state") as dev, signed_in(dev.mcp, "parzival") as person:
            before = {tool.name for tool in await person.tools()}
            assert any(name.startswith("ioi_inventory_") for name in before)
            tenant = source / "ioi" / "tenant.yaml"
            text = tenant.read_text()
            if mistake:
                tenant.write_text(text.replace("kind: Tenant", "kind: Tenant\nkinds: Tenant"))
                await asyncio.sleep(2.0)
                assert {tool.name for tool in await person.tools()} == before
            tenant.write_text(_without_inventory(text))

            async def gone() -> bool:
                return not any(tool.name.startswith("ioi_inventory_") for tool in await person.tools())

            await _eventually(gone)

    asyncio.run(run())


def _without_inventory(text: str) -> str:
    return text.replace('"ioi:*:*"', '"ioi:billing:*"').replace(', "ioi:inventory:*"', "")

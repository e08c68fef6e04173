"""The fuzzer on the MCP endpoint, with few requests; tens of thousands by hand (docs/figures.md)."""

from pathlib import Path

import pytest

from tests.fuzz.fuzz_mcp import fuzz, told

REQUESTS = 2000


def test_no_request_breaks_a_promise() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from Linux's /proc")
    figures = fuzz(REQUESTS, seed=1)
    assert not figures.wrong, told(figures) + "\n" + "\n".join(figures.wrong[:5])
    assert figures.statuses.total() + figures.unanswered == REQUESTS
    # Otherwise it would not have reached what it is for.
    assert figures.statuses[200] > REQUESTS / 10
    assert {200, 202, 400, 401} <= figures.statuses.keys()

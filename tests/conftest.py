"""What all tests share: the option that rewrites golden files."""

import os

import pytest

os.environ["STOA_NO_CACHE"] = "1"
"""Every test does the work itself, and none writes into the user's own folder; tests of the cache name theirs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--update-golden`."""
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files; never in CI")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))

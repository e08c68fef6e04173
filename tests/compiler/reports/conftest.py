"""Findings, made once."""

from pathlib import Path

import pytest

from tests.compiler.reports.reporting import Found, awkward, of_the_corpus


@pytest.fixture(scope="session", params=["awkward", "corpus", "none"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Sorted findings, and the files that they are about."""
    if request.param == "awkward":
        return awkward()
    if request.param == "none":
        return [], awkward()[1]
    folder: Path = tmp_path_factory.mktemp("corpus")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    try:
        return of_the_corpus(Path())
    finally:
        patch.undo()

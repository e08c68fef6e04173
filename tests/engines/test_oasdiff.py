"""oasdiff and STOA on the same changes of one OpenAPI description: each disagreement has a reason that still holds."""

from pathlib import Path

import pytest

from tests.engines import oasdiff

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[oasdiff.Opinion]:
    return oasdiff.opinions(oasdiff.oasdiff(), tmp_path_factory.mktemp("oasdiff"))


def test_each_disagreement_is_explained_and_each_explanation_needed(found: list[oasdiff.Opinion]) -> None:
    assert {o.key: (o.theirs, o.ours) for o in found if not o.agree and o.key not in oasdiff.EXPLAINED} == {}
    assert oasdiff.EXPLAINED.keys() - {o.key for o in found if not o.agree} == set()


def test_what_oasdiff_calls_breaking_is_never_called_fine(found: list[oasdiff.Opinion]) -> None:
    assert [o.key for o in found if o.theirs == "breaks" and o.ours != "breaks"] == []


def test_the_page_has_the_table(found: list[oasdiff.Opinion]) -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert oasdiff.table(found) in page, "run `python -m tests.engines.oasdiff --update docs/compatibility.md`"

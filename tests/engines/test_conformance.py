"""The official conformance suite against the conformance source, compiled and served: what it requires of servers."""

from pathlib import Path

import pytest

from tests.engines import node
from tests.engines.conformance import suite
from tests.engines.conformance.served import served
from tests.engines.prism import Missing

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    try:
        node.node()
        node.package(*suite.PACKAGE)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.anyio
@pytest.mark.parametrize("revision", suite.REVISIONS)
async def test_every_check_is_fulfilled_or_has_its_reason(revision: str, tmp_path: Path) -> None:
    async with served(tmp_path) as url:
        found = await suite.run(revision, url, tmp_path)
    judged = suite.required(revision) | suite.ran_besides(revision)
    assert judged <= found.scenarios, "scenarios that did not run"
    failed = {check: said for check, said in found.failed.items() if check.partition(":")[0] in judged}
    excused = suite.baseline(revision)
    unexplained = {
        check: said for check, said in failed.items() if check not in excused and check.partition(":")[0] not in excused
    }
    assert unexplained == {}
    needed = failed.keys() | {check.partition(":")[0] for check in failed}
    assert [entry for entry in excused if entry not in needed] == [], "excused, and fulfilled"

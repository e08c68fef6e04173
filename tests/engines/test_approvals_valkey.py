"""Approvals in a real Valkey: all that holds for the file holds here, and its failures refuse calls."""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stoa_runtime import bundles
from stoa_runtime.approvals import Approvals, ApprovalsUnavailable, Granted, Refused, Retry
from stoa_runtime.approvals.records import KEPT_MS, UNDECIDED_KEPT_MS, Decision, State, Store
from stoa_runtime.approvals.sealing import Sealer
from stoa_runtime.approvals.valkey import PREFIX, SECONDS, ValkeyStore
from tests.engines.valkey import Missing, Valkey, serving
from tests.runtime.contention import contend
from tests.runtime.test_approvals import (  # noqa: F401  The same tests and fixtures, over another store.
    ART3MIS,
    KEY,
    WINDOW,
    Clock,
    approvals,
    call,
    clock,
    demanded,
    snapshot,
    test_a_client_is_asked_again_a_few_times_and_then_told,
    test_a_decision_is_made_once,
    test_a_key_can_be_changed_while_calls_wait,
    test_a_platform_persons_call_is_decided_in_the_tools_tenant,
    test_a_rejection_says_which_role_rejected_and_why_and_not_who,
    test_a_retry_with_its_state_goes_through_once,
    test_a_state_grows_old,
    test_a_state_is_good_for_its_own_call_only,
    test_an_approval_is_of_no_use_to_any_other_call,
    test_an_approval_of_an_earlier_bundle_does_not_count_and_cannot_be_given,
    test_approved_by_another_person_the_same_call_goes_through_once,
    test_asking_again_gives_the_same_approval_and_does_not_prolong_it,
    test_deciding_takes_the_permission_in_that_tenant,
    test_declining_takes_the_request_back_and_cancelling_does_not,
    test_expiry_before_the_decision_and_before_the_use,
    test_nobody_decides_about_his_own_call,
    test_states_that_are_forged_or_altered_are_refused,
    test_the_approver_sees_what_it_is_about,
    test_there_is_a_cap_on_what_one_person_may_wait_for,
    test_what_nobody_can_judge_or_decide_is_not_asked_for,
    test_with_or_without_its_state_the_approval_is_the_same,
)

pytestmark = [pytest.mark.engine, pytest.mark.anyio]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that nobody harms."""
    try:
        with serving(tmp_path_factory.mktemp("valkey"), "secret") as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    store = ValkeyStore(valkey.url)
    await store._client.flushdb()
    yield store
    await store.close()


@pytest.mark.parametrize("by_id", [True, False])
async def test_of_many_processes_exactly_one_uses_an_approval(
    valkey: Valkey,
    store: Store,
    approvals: Approvals,  # noqa: F811
    snapshot: bundles.Snapshot,  # noqa: F811
    by_id: bool,
) -> None:
    context = multiprocessing.get_context("spawn")
    identity = await demanded(approvals, call(snapshot))
    await approvals.decide(ART3MIS, snapshot, identity, approve=True, reason="")
    approved = await store.find(identity)
    assert approved is not None
    barrier, results = context.Barrier(4), context.Queue()
    started = [
        context.Process(target=contend, args=(ValkeyStore, valkey.url, approved, by_id, barrier, results))
        for _ in range(4)
    ]
    for process in started:
        process.start()
    won = [results.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    assert sorted(won) == [0, 0, 0, 1]


async def test_of_many_decisions_exactly_one_counts(
    valkey: Valkey,
    approvals: Approvals,  # noqa: F811
    snapshot: bundles.Snapshot,  # noqa: F811
    clock: Clock,  # noqa: F811
) -> None:
    identity = await demanded(approvals, call(snapshot))
    stores = [ValkeyStore(valkey.url) for _ in range(4)]
    decision = Decision("art3mis", ("tenant-admin",), "", clock.now)
    made = await asyncio.gather(
        *(
            s.decide(identity, state, decision, clock.now)
            for s in stores
            for state in (State.APPROVED, State.REJECTED)
            for _ in range(5)
        )
    )
    assert sum(decided[1] for decided in made if decided is not None) == 1
    for each in stores:
        await each.close()


async def test_everything_it_keeps_ends_by_itself(
    store: ValkeyStore,
    approvals: Approvals,  # noqa: F811
    snapshot: bundles.Snapshot,  # noqa: F811
) -> None:
    undecided = await demanded(approvals, call(snapshot, id="undecided"))
    decided = await demanded(approvals, call(snapshot, id="decided"))
    await approvals.decide(ART3MIS, snapshot, decided, approve=True, reason="")
    keys = await store._client.keys("*")
    left = {key: await store._client.pttl(key) for key in keys}
    assert all(key.startswith(PREFIX) and 0 < ms <= 2 * WINDOW + KEPT_MS for key, ms in left.items())
    assert left[f"{PREFIX}approval:{undecided}"] <= WINDOW + UNDECIDED_KEPT_MS
    assert left[f"{PREFIX}approval:{decided}"] > KEPT_MS


async def test_a_server_that_is_gone_or_hangs_stops_the_call_soon(
    tmp_path_factory: pytest.TempPathFactory,
    snapshot: bundles.Snapshot,  # noqa: F811
    clock: Clock,  # noqa: F811
) -> None:
    try:
        with serving(tmp_path_factory.mktemp("harmed")) as server:
            store = ValkeyStore(server.url)
            mine = Approvals(store, Sealer([KEY]), clock)
            identity = await demanded(mine, call(snapshot))
            server.hold()
            began = time.monotonic()
            with pytest.raises(ApprovalsUnavailable):
                await demanded(mine, call(snapshot, id="other"))
            assert time.monotonic() - began < 20 * SECONDS
            server.go_on()
            await mine.decide(ART3MIS, snapshot, identity, approve=True, reason="")
            server.kill()
            with pytest.raises(ApprovalsUnavailable):
                await demanded(mine, call(snapshot))
            with pytest.raises(ApprovalsUnavailable):
                await mine.listed(ART3MIS, snapshot)
            server.start()  # Empty: what was approved is forgotten, and nothing is granted.
            assert await demanded(mine, call(snapshot)) != identity
            await store.close()
    except Missing as missing:
        pytest.skip(str(missing))


async def test_several_machines_share_the_server_and_the_key(
    valkey: Valkey,
    store: ValkeyStore,
    snapshot: bundles.Snapshot,  # noqa: F811
    tmp_path: Path,
) -> None:
    one, two = (Approvals.open(tmp_path, valkey.url) for _ in range(2))
    refused = await one.admit(call(snapshot), Retry(can_ask=True))
    assert isinstance(refused, Refused)
    assert refused.approval is not None
    await two.decide(ART3MIS, snapshot, refused.approval.id, approve=True, reason="")
    granted = await two.admit(call(snapshot), Retry(True, refused.state, "accept"))
    assert isinstance(granted, Granted)
    assert isinstance(await one.admit(call(snapshot), Retry(True, refused.state, "accept")), Refused)
    assert [path.name for path in tmp_path.iterdir()] == ["approvals.key"]
    await one.close()
    await two.close()


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scheme"):
        Approvals.open(tmp_path, "valkey.example.test:6379")

"""B11: an approval used twice, for other arguments, by others, by the one who asked, or under another bundle."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.runtime.test_approvals_served import CAN_ASK, DELETE, ROLES
from tests.threats import wire
from tests.threats.process import Attacked, serving

Two = tuple[Attacked, Attacked]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder) -> Iterator[Two]:
    """Two processes with one folder of approvals."""
    folder: Path = tmp_path_factory.mktemp("approvals")
    secret = folder / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET)
    tenants = world.catalogs(backend.url)
    access = {"devops": [t.name for t in tenants["ioi"].tools], "viewer": []}
    tenants["ioi"] = tenants["ioi"].model_copy(update={"access": access})
    index = world.index(issuer.jwks_url, tenants, roles=ROLES)
    settings = Settings(
        bundle=world.write_bundle(folder / "bundle", index, tenants),
        port=0,
        state=folder / "state",
        secrets="file",
        secrets_folder=folder / "secrets",
    )
    with ExitStack() as stack:
        made = [
            stack.enter_context(
                serving(replace(settings, audit=folder / n / "a.jsonl"), issuer, backend, tenants, folder / f"p{n}")
            )
            for n in ("one", "two")
        ]
        yield made[0], made[1]
        assert not [m for m in made if "Traceback" in m.printed()]


def token(two: Two, subject: str, *roles: str, **claims: Any) -> str:
    return two[0].issuer.token(sub=subject, roles=list(roles or ("devops",)), **claims)


def call(at: Attacked, who: str, name: str, arguments: dict[str, Any], era: str = wire.MODERN, **more: Any) -> Any:
    answer = wire.asked(at.address, wire.call(who, name, arguments, era=era, **more)).json()
    return answer.get("result") or {"isError": True, "content": [{"text": json.dumps(answer["error"])}]}


def text(result: Any) -> str:
    return str(result["content"][0]["text"])


def approved(two: Two, who: str, arguments: dict[str, Any], era: str = wire.MODERN) -> str:
    """Asks at one process, and has another person approve it at the other; the approval's id."""
    said = text(call(two[0], who, DELETE, arguments, era))
    identity = "apr_" + said.partition("`apr_")[2][:16]
    decided = call(
        two[1], token(two, "art3mis", "judge"), "stoa_approvals_decide", {"id": identity, "decision": "approve"}
    )
    assert decided["structuredContent"]["state"] == "approved"
    return identity


@pytest.mark.parametrize("era", wire.ERAS)
def test_replay_at_either_process(two: Two, era: str) -> None:
    who, arguments = token(two, f"replayer {era}"), {"id": f"replay-{era}"}
    approved(two, who, arguments, era)
    with two[0].recording() as got:
        results = [call(two[n % 2], who, DELETE, arguments, era)["isError"] for n in range(4)]
    assert results == [False, True, True, True]
    assert len(got) == 1


@pytest.mark.parametrize("era", wire.ERAS)
def test_use_at_once_at_both_processes(two: Two, era: str) -> None:
    who, arguments = token(two, f"racer {era}"), {"id": f"race-{era}"}
    approved(two, who, arguments, era)
    with two[0].recording() as got, ThreadPoolExecutor(12) as threads:
        results = list(threads.map(lambda n: call(two[n % 2], who, DELETE, arguments, era)["isError"], range(24)))
    assert results.count(False) == 1
    assert len(got) == 1


@pytest.mark.parametrize("era", wire.ERAS)
def test_use_for_others(two: Two, era: str) -> None:
    """Other arguments, another person, client, tenant or spelling; the approval stands for the call that it is for."""
    who, arguments = token(two, f"asker {era}"), {"id": f"asked-{era}"}
    approved(two, who, arguments, era)
    with two[0].recording() as got:
        for other, given in (
            (who, {"id": "other"}),
            (who, {"id": f"asked-{era} "}),
            (token(two, "aech"), arguments),
            (token(two, f"asker {era}", azp="ioi.shop"), arguments),
            (token(two, f"asker {era}", "cpi-admin", tenant="platform"), arguments),
            (token(two, f"asker {era}", tenant="greg"), arguments),
            (token(two, f"asker {era}", "viewer"), arguments),
        ):
            assert call(two[1], other, DELETE, given, era)["isError"] is True
    assert got == []
    assert call(two[1], who, DELETE, arguments, era)["isError"] is False


def test_decision_by_the_requester_in_whatever_role(two: Two) -> None:
    asks = token(two, "ogden", "devops", "judge")
    identity = "apr_" + text(call(two[0], asks, DELETE, {"id": "own"})).partition("`apr_")[2][:16]
    for who in (
        asks,
        token(two, "ogden", "judge"),
        token(two, "ogden", "cpi-admin", tenant="platform"),
        token(two, "ogden", "judge", tenant="greg"),
        token(two, "aech", "devops"),
        token(two, "sorrento", "judge", tenant="greg"),
    ):
        assert call(two[1], who, "stoa_approvals_decide", {"id": identity, "decision": "approve"})["isError"] is True
    with two[0].recording() as got:
        assert call(two[0], asks, DELETE, {"id": "own"})["isError"] is True
    assert got == []


def test_forged_states(two: Two) -> None:
    """The state is the client's to keep and no more: changed, of another call, or made up, it opens nothing."""
    who = token(two, "stateful")
    asked = call(two[0], who, DELETE, {"id": "state"}, **CAN_ASK)
    state = asked["requestState"]
    said = json.dumps(asked)
    identity = "apr_" + said.partition("`apr_")[2][:16]
    call(two[1], token(two, "art3mis", "judge"), "stoa_approvals_decide", {"id": identity, "decision": "approve"})
    yes = {"inputResponses": {"approval": {"action": "accept", "content": {}}}}
    other = call(two[0], who, DELETE, {"id": "state2"}, **CAN_ASK)["requestState"]
    forged = [state[:-1], state + "A", state[::-1], state.swapcase(), other, identity, "", "e30", "." * 3, "A" * 5000]
    with two[0].recording() as got:
        for value in forged:
            assert call(two[0], who, DELETE, {"id": "state"}, requestState=value, **yes, **CAN_ASK).get("isError", True)
        assert call(two[0], who, DELETE, {"id": "state2"}, requestState=state, **yes, **CAN_ASK).get("isError", True)
        assert call(two[0], token(two, "aech"), DELETE, {"id": "state"}, requestState=state, **yes).get("isError", True)
    assert got == []
    with two[0].recording() as got:
        used = [call(two[n], who, DELETE, {"id": "state"}, requestState=state, **yes) for n in (1, 0)]
    assert [result.get("isError") for result in used] == [False, True]
    assert len(got) == 1


def test_the_list_shows_no_token_and_nothing_of_other_tenants(two: Two) -> None:
    who = token(two, "lister")
    call(two[0], who, DELETE, {"id": "listed"})
    shown = json.dumps(call(two[1], token(two, "art3mis", "judge"), "stoa_approvals_list", {}))
    assert "listed" in shown
    assert who not in shown
    assert world.SECRET not in shown
    theirs = call(two[1], token(two, "sorrento", "judge", tenant="greg"), "stoa_approvals_list", {})
    assert theirs["structuredContent"]["approvals"] == []

"""An older bundle is not served again, though its signature is good."""

import json
import multiprocessing
from pathlib import Path

import pytest

from stoa_runtime.bundles import BundleError, load
from stoa_runtime.sequence import PINNED, Pin, RollbackRefused
from stoa_runtime.signatures import Verified
from tests.runtime import world
from tests.runtime.signing import Signer


def said(sequence: int | None, environment: str = "prod") -> Verified:
    return Verified(sequence, "k", "demo", environment, False, None)


def pinned(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / PINNED).read_bytes())
    return found


def refusal(pin: Pin, verified: Verified, digest: str) -> str:
    with pytest.raises(RollbackRefused) as refused:
        pin.admit(verified, digest)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_sequence_only_rises(tmp_path: Path) -> None:
    state = tmp_path / "state"
    Pin(state).admit(said(7), "sha256:a")
    Pin(state).admit(said(7), "sha256:a")
    Pin(state).admit(said(9), "sha256:b")
    assert "its sequence is 8, and 9 was served" in refusal(Pin(state), said(8), "sha256:c")
    assert "another bundle of the same sequence" in refusal(Pin(state), said(9), "sha256:c")
    assert "gives no sequence" in refusal(Pin(state), said(None), "sha256:c")
    assert "demo/dev" in refusal(Pin(state), said(10, "dev"), "sha256:c")
    assert pinned(state) == {"platform": "demo", "environment": "prod", "sequence": 9, "digest": "sha256:b"}


def test_an_operator_may_go_back_and_it_is_recorded(tmp_path: Path) -> None:
    Pin(tmp_path).admit(said(9), "sha256:b")
    Pin(tmp_path, allow_rollback=True).admit(said(8), "sha256:a")
    assert (pinned(tmp_path)["sequence"], pinned(tmp_path)["rolledBackFrom"]) == (8, 9)
    Pin(tmp_path).admit(said(8), "sha256:a")
    Pin(tmp_path).admit(said(10), "sha256:c")
    assert "rolledBackFrom" not in pinned(tmp_path)


def test_a_damaged_memory_is_no_licence(tmp_path: Path) -> None:
    (tmp_path / PINNED).write_text('{"sequence": "9"}')
    assert "is not readable" in refusal(Pin(tmp_path), said(9), "sha256:a")
    Pin(tmp_path, allow_rollback=True).admit(said(9), "sha256:a")
    assert pinned(tmp_path)["sequence"] == 9


def test_without_a_place_to_remember_nothing_is_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be remembered" in refusal(Pin(tmp_path / "file" / "state"), said(9), "sha256:a")


def _admit(folder: Path, sequences: range) -> None:
    for sequence in sequences:
        try:
            Pin(folder).admit(said(sequence), f"sha256:{sequence}")
        except RollbackRefused:
            continue


def test_processes_share_the_memory(tmp_path: Path) -> None:
    """Whatever order they come in, the highest is what stays."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_admit, args=(tmp_path, range(first, 200, 4))) for first in range(4)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    assert pinned(tmp_path)["sequence"] == 199
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sequence.json", "sequence.lock"]


def test_a_bundle_that_is_rolled_back_is_refused(empty: Path, tmp_path: Path) -> None:
    tenants = world.catalogs("http://127.0.0.1:9")
    world.write_bundle(empty, world.index("http://127.0.0.1:9/jwks", tenants), tenants)
    signer, state = Signer(), tmp_path / "state"
    load(signer.sign(empty, 9), keys=[signer.public], pin=Pin(state))
    with pytest.raises(BundleError, match="its sequence is 8, and 9 was served"):
        load(signer.sign(empty, 8), keys=[signer.public], pin=Pin(state))
    load(empty, keys=[signer.public], pin=Pin(state, allow_rollback=True))
    assert pinned(state)["sequence"] == 8


def test_a_bad_bundle_does_not_raise_the_sequence(empty: Path, tmp_path: Path) -> None:
    tenants = world.catalogs("http://127.0.0.1:9")
    world.write_bundle(empty, world.index("http://127.0.0.1:9/jwks", tenants), tenants)
    signer, state = Signer(), tmp_path / "state"
    signer.sign(empty, 9)
    (empty / "mcp" / "platform.json").write_text("{}")
    with pytest.raises(BundleError):
        load(empty, keys=[signer.public], pin=Pin(state))
    assert not (state / PINNED).exists()

"""Caches that several machines share: what one made, the other takes, and nothing that another key sealed."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.beside import beside
from stoa_compiler.cache import Cache
from stoa_compiler.stores import KEY, SharedCache, StoreRefused
from tests.compiler.sources import ORDERS, Copy, copy_of_base, stoa

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed beside this Python (extra `distributed`)")
AsyncFileSystem = pytest.importorskip("fsspec.asyn").AsyncFileSystem

SECRET = "a key that is long enough"


def machine(folder: Path, name: str, url: str, monkeypatch: pytest.MonkeyPatch, key: str = SECRET) -> SharedCache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / name))
    monkeypatch.setenv(KEY, key)
    return SharedCache.at(url)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_what_one_machine_keeps_another_one_has(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{scheme}://{tmp_path}/store"
    one = machine(tmp_path, "one", url, monkeypatch)
    one.put("a", b"first", b" and last")
    one.put_many({"b": b"2", "c": b"3"})
    two = machine(tmp_path, "two", url, monkeypatch)
    assert two.get_many(["a", "b", "c", "d"]) == {"a": b"first and last", "b": b"2", "c": b"3"}
    own = Cache.open()
    assert own is not None
    assert own.get("a") == b"first and last"  # Asked for once: from now on it is here.


def test_a_forked_child_reaches_the_store_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filesystems that work in a thread of their own, as those of object stores do, refuse to work in a child."""
    fsspec.register_implementation("apart", _Apart, clobber=True)
    one = machine(tmp_path, "one", f"apart://{tmp_path}/store", monkeypatch)
    one.put("before", b"0")

    def work() -> dict[str, bytes]:
        one.put_many({"a": b"1"})
        return machine(tmp_path, "child", f"apart://{tmp_path}/store", monkeypatch).get_many(["before", "a"])

    assert beside(work, pickle.dumps, pickle.loads)() == {"before": b"0", "a": b"1"}
    two = machine(tmp_path, "two", f"apart://{tmp_path}/store", monkeypatch)
    assert two.get_many(["before", "a"]) == {"before": b"0", "a": b"1"}


class _Apart(AsyncFileSystem):  # type: ignore[misc]  # The package has no types.
    """Files of a folder, reached as an object store is."""

    protocol = "apart"

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        Path(path).mkdir(parents=True, exist_ok=exist_ok)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        return Path(path).read_bytes()

    async def _pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        Path(path).write_bytes(value)


def test_what_tells_of_a_machines_files_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{tmp_path}/store"
    machine(tmp_path, "one", url, monkeypatch).put("seen x", b"1")
    assert machine(tmp_path, "two", url, monkeypatch).get("seen x") is None


def test_an_entry_of_another_key_or_a_damaged_or_renamed_one_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, store = f"file://{tmp_path}/store", tmp_path / "store"
    machine(tmp_path, "forger", url, monkeypatch, "the key of somebody else").put("a", b"forged")
    assert machine(tmp_path, "two", url, monkeypatch).get("a") is None
    machine(tmp_path, "one", url, monkeypatch).put("b", b"good")
    entries = {p.name: p.read_bytes() for p in store.iterdir()}
    [good] = [name for name, content in entries.items() if content.endswith(b"good")]
    [other] = entries.keys() - {good}
    (store / other).write_bytes(entries[good])
    assert machine(tmp_path, "three", url, monkeypatch).get("a") is None
    (store / good).write_bytes(entries[good][:-1] + b"D")
    assert machine(tmp_path, "four", url, monkeypatch).get("b") is None


def test_a_store_without_a_key_or_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreRefused, match="needs a key of 16 characters"):
        machine(tmp_path, "one", f"file://{tmp_path}/store", monkeypatch, "short")
    with pytest.raises(StoreRefused, match="cannot be reached"):
        machine(tmp_path, "one", "nosuchscheme://x", monkeypatch)


def test_a_store_that_goes_away_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = machine(tmp_path, "one", f"file://{tmp_path}/store", monkeypatch)
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("in the way")
    cache.put("a", b"1")
    assert cache.get_many(["a", "b"]) == {"a": b"1"}


def test_a_second_machine_compiles_one_tenant_only(tmp_path: Path) -> None:
    """The bytes are those without any cache."""
    source: Copy = copy_of_base(tmp_path)
    url = f"file://{tmp_path}/store"
    words = ("compile", "--env", "prod", "--cache", url, "--timings", "--out")

    def run(name: str) -> str:
        surroundings = {"XDG_CACHE_HOME": str(tmp_path / "caches" / name), KEY: SECRET, "STOA_NO_CACHE": ""}
        done = stoa(*words, name, cwd=tmp_path, **surroundings)
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "the run is new" in run("one")
    assert "the run was made before" in run("two")
    source.change(ORDERS, "displayName: Orders", "displayName: All orders")
    said = run("three")
    assert "the run is new" in said
    assert "acme/contracts/orders.yaml" in said
    assert "umbra/" not in said.split("slowest documents")[1]  # It was not read.
    assert stoa("compile", "--env", "prod", "--out", "alone", "--no-cache", cwd=tmp_path).returncode == 0
    assert (tmp_path / "three" / "bundle.json").read_bytes() == (tmp_path / "alone" / "bundle.json").read_bytes()

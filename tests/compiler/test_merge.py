"""Parts that were compiled apart, and the bundle that they make together."""

from pathlib import Path

import orjson
import pytest

from tests.compiler.sources import ORDERS, Copy, copy_of_base, stoa

MERGE = ("merge", "p1", "p2", "p3", "--env", "prod", "--out")


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    made = copy_of_base(tmp_path)
    for number in (1, 2, 3):
        done = stoa("compile", "--env", "prod", "--shard", f"{number}/3", "--out", f"p{number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    return made


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_bytes_are_those_of_one_compile(source: Copy, tmp_path: Path) -> None:
    done = stoa(*MERGE, "merged", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert stoa("compile", "--env", "prod", "--out", "alone", cwd=tmp_path).returncode == 0
    assert bytes_below(tmp_path / "merged") == bytes_below(tmp_path / "alone")
    tenants = [orjson.loads((tmp_path / f"p{n}" / "part.json").read_bytes())["tenants"] for n in (1, 2, 3)]
    assert sorted(t for mine in tenants for t in mine) == ["acme", "umbra"]


def test_what_does_not_belong_together_is_refused(source: Copy, tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        done = stoa(*words, cwd=tmp_path)
        assert done.returncode == 2, (words, done.stderr)
        assert not (tmp_path / "o").exists()
        return done.stderr.strip()

    assert refused("merge", "p1", "p3", "--env", "prod", "--out", "o") == "error: part 2 missing"
    assert "is of the environment `prod`, not of `dev`" in refused("merge", "p1", "--env", "dev", "--out", "o")
    assert "is no part" in refused("merge", "tenants", "--env", "prod", "--out", "o")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "part.json").write_text('{"apiVersion": "gostoa.dev/part/v1", "shard": "1/1"}')
    assert "is no part" in refused("merge", "odd", "--env", "prod", "--out", "o")
    whole = ("compile", "--env", "prod", "--shard", "1/2", "--out", "q1")
    assert stoa(*whole, cwd=tmp_path).returncode == 0
    assert "wholes of 2 and 3 parts" in refused("merge", "p1", "q1", "--env", "prod", "--out", "o")
    source.change(ORDERS, "displayName: Orders", "displayName: Order")
    assert "no part tells of `acme` as `tenants` has it" in refused(*MERGE, "o")


def test_a_damaged_part_is_missed_and_not_believed(source: Copy, tmp_path: Path) -> None:
    for part in ("p1", "p2", "p3"):
        for entry in (tmp_path / part).iterdir():
            if entry.name != "part.json":
                entry.write_bytes(entry.read_bytes()[:-1] + b"X")
    done = stoa(*MERGE, "o", cwd=tmp_path)
    assert done.returncode == 2
    assert "no part tells of" in done.stderr


def test_mistakes_between_tenants_are_found_in_the_end(source: Copy, tmp_path: Path) -> None:
    source.change("umbra/tenant.yaml", "displayName: Umbra", "displayName: Acme")
    for number in (1, 2, 3):
        done = stoa("compile", "--env", "prod", "--shard", f"{number}/3", "--out", f"p{number}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = stoa(*MERGE, "o", cwd=tmp_path)
    assert done.returncode == 1
    assert "STOA424" in done.stderr


def test_a_part_with_errors_is_not_written(source: Copy, tmp_path: Path) -> None:
    source.change(ORDERS, "method: GET", "method: GOT")
    codes = [
        stoa("compile", "--env", "prod", "--shard", f"{n}/3", "--out", f"q{n}", cwd=tmp_path).returncode
        for n in (1, 2, 3)
    ]
    assert sorted(codes) == [0, 0, 1]
    assert not (tmp_path / f"q{codes.index(1) + 1}").exists()

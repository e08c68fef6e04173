"""The cache: what an earlier run gave is given again, and only where it is the same."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler import pipeline
from stoa_compiler.cache import Cache
from stoa_compiler.cli import main
from stoa_compiler.diagnostics import Report
from stoa_compiler.kept import Run
from stoa_compiler.reports.text import render
from stoa_compiler.snapshots import SOURCE, snapshot
from tests.bad.corpus import CASES, source_of
from tests.compiler.sources import REPOSITORY, bare_environment

HEAVY = ("pydantic", "yaml", "jsonschema_rs", "stoa_compiler.pipeline")
Stoa = Callable[..., Result]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the demo, whose files were written long ago."""
    copy = tmp_path / "tenants"
    shutil.copytree(REPOSITORY / "tenants", copy)
    age(copy)
    return copy


@pytest.fixture
def stoa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stoa:
    """Runs the command line in this process, with a cache of this test's own."""
    monkeypatch.delenv("STOA_NO_CACHE")
    monkeypatch.setenv("STOA_CACHE", str(tmp_path / "cache"))

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)

    return run


def age(folder: Path) -> None:
    """Gives every file a time that lies an hour back. The entry's own time (ctime) stays young."""
    for path in folder.rglob("*"):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 3_600_000_000_000))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def said(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


def without_times(result: Result) -> tuple[int, list[str], str]:
    lines = [line.partition(" artifacts in ")[0] for line in result.stdout.split("\n")]
    return result.exit_code, lines, result.stderr


def refuse_to_work(*_: object, **__: object) -> None:
    raise AssertionError("the source was compiled again")


MISTAKES = [
    ("ioi/contracts/billing.yaml", "sideEffects: read", "sideEffects: destructive"),
    ("ioi/contracts/billing.yaml", "summary:", "sumary:"),
    ("greg/tenant.yaml", "tier:", "tire:"),
    ("greg/contracts/oasis.yaml", "kind:", "kind: :"),
    ("platform.yaml", "displayName:", "displayname:"),
    ("ioi/plans/bulk.yaml", "rate:", "rate: x # "),
    ("ioi/tenant.yaml", "members:", "members: &a"),
    ("ioi/contracts/inventory.yaml", "intent:", "# intent:"),
    ("alderbrook/contracts/circulation.yaml", "sha256: ", "sha256: 0"),
]


EDITS = [
    ("ioi/contracts/billing.yaml", "summary: ", "summary: Also "),
    ("greg/contracts/oasis.yaml", "description: ", "description: Now "),
    ("greg/tenant.yaml", "displayName: ", "displayName: The "),
    ("ioi/plans/bulk.yaml", "rate: ", "rate: 1"),
    ("alderbrook/tenant.yaml", "contact: ", "contact: new-"),
    ("platform.yaml", "displayName: ", "displayName: The "),
]
"""Changes that are no mistakes: what other tenants came to is taken from the cache."""


@pytest.mark.parametrize("seed", range(6))
def test_tenants_that_did_not_change_come_from_the_cache(seed: int, source: Path, stoa: Stoa, tmp_path: Path) -> None:
    draw = random.Random(seed)
    before = files_of(source)
    for _ in range(4):
        path, old, new = draw.choice(EDITS)
        content = before[path] if draw.random() < 0.3 else (source / path).read_bytes()
        (source / path).write_bytes(content.replace(old.encode(), new.encode(), 1))
        if draw.random() < 0.2:  # A mistake that only both tenants together make.
            taken = b"displayName: " + before["ioi/tenant.yaml"].partition(b"displayName: ")[2].partition(b"\n")[0]
            old_name = (source / "greg" / "tenant.yaml").read_bytes()
            name = b"displayName: " + old_name.partition(b"displayName: ")[2].partition(b"\n")[0]
            (source / "greg" / "tenant.yaml").write_bytes(old_name.replace(name, taken))
        assert said(stoa("check", source)) == said(stoa("check", source, "--no-cache"))
        for environment in ("prod", "dev"):
            options = ("compile", source, "--env", environment)
            fresh = without_times(stoa(*options, "--out", tmp_path / "fresh", "--no-cache"))
            kept = without_times(stoa(*options, "--out", tmp_path / "kept"))
            assert (kept[0], kept[2]) == (fresh[0], fresh[2])
            if fresh[0] == 0:
                assert files_of(tmp_path / "kept") == files_of(tmp_path / "fresh")


@pytest.mark.parametrize("seed", range(6))
def test_over_edits_the_cache_changes_neither_findings_nor_bytes(
    seed: int, source: Path, stoa: Stoa, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    before = files_of(source)
    for step in range(5):
        path, old, new = draw.choice(MISTAKES)
        match draw.choice(("edit", "restore", "add", "remove", "touch")):
            case "edit":
                (source / path).write_bytes((source / path).read_bytes().replace(old.encode(), new.encode(), 1))
            case "restore":
                (source / path).write_bytes(before[path])
            case "add":
                (source / "ioi" / "plans" / f"more{step}.yaml").write_bytes(before["ioi/plans/bulk.yaml"])
            case "remove":
                (source / "greg" / "contracts" / "sixers.yaml").unlink(missing_ok=True)
            case _:
                (source / path).touch()
        form = draw.choice(("text", "json", "gitlab", "sarif", "junit", "markdown"))
        check = ("check", source, "--format", form)
        fresh = said(stoa(*check, "--no-cache"))
        assert said(stoa(*check)) == fresh
        assert said(stoa(*check)) == fresh
        options = ("compile", source, "--env", "prod", *(["--keep-going"] if draw.random() < 0.5 else []))
        compiled = without_times(stoa(*options, "--out", tmp_path / "fresh", "--no-cache"))
        for _ in range(2):
            kept = without_times(stoa(*options, "--out", tmp_path / "kept"))
            assert kept[0] == compiled[0]
            assert kept[2] == compiled[2]
            assert files_of(tmp_path / "kept") == files_of(tmp_path / "fresh")


def test_an_unchanged_source_is_not_compiled_again(
    source: Path, stoa: Stoa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = said(stoa("check", source))
    compiled = without_times(stoa("compile", source, "--env", "dev", "--out", tmp_path / "out"))
    files = files_of(tmp_path / "out")
    monkeypatch.setattr("stoa_compiler.pipeline.read", refuse_to_work)
    assert said(stoa("check", source)) == first
    again = stoa("compile", source, "--env", "dev", "--out", tmp_path / "out")
    assert without_times(again)[1][0] == compiled[1][0]
    assert "out: unchanged, sha256:" in again.stdout
    (tmp_path / "out" / "bundle.json").write_text("{}")
    (tmp_path / "out" / "mcp" / "more.json").write_text("{}")
    (tmp_path / "out" / "bundle.json").write_bytes(files["bundle.json"])
    assert "out: written, sha256:" in stoa("compile", source, "--env", "dev", "--out", tmp_path / "out").stdout
    assert files_of(tmp_path / "out") == files
    assert "written" in stoa("compile", source, "--env", "dev", "--out", tmp_path / "other").stdout
    assert files_of(tmp_path / "other") == files


def test_another_environment_or_option_is_another_result(source: Path, stoa: Stoa, tmp_path: Path) -> None:
    for environment in ("dev", "prod"):
        stoa("compile", source, "--env", environment, "--out", tmp_path / environment)
    assert files_of(tmp_path / "dev") != files_of(tmp_path / "prod")
    summary = stoa("compile", source, "--env", "prod", "--out", tmp_path / "prod", "--format", "json")
    assert '"tokens"' in summary.stdout
    refused = stoa("compile", source, "--env", "nowhere", "--out", tmp_path / "prod")
    assert refused.exit_code == 2
    assert stoa("compile", source, "--env", "nowhere", "--out", tmp_path / "prod").exit_code == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped", "emptied", "foreign"])
def test_damaged_entries_are_made_again(damage: str, source: Path, stoa: Stoa, tmp_path: Path) -> None:
    path = source / "ioi" / "contracts" / "billing.yaml"
    path.write_bytes(path.read_bytes().replace(b"summary:", b"sumary:", 1))
    first = said(stoa("check", source, "--format", "json"))
    assert first[0] == 1
    cache = tmp_path / "cache"
    entries = sorted(p for p in cache.iterdir() if p.is_file())
    contents = [p.read_bytes() for p in entries]
    for index, entry in enumerate(entries):
        content = contents[index]
        match damage:
            case "cut":
                entry.write_bytes(content[:-1])
            case "flipped":
                middle = len(content) - 3
                entry.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            case "swapped":
                entry.write_bytes(contents[index - 1])
            case "emptied":
                entry.write_bytes(b"")
            case _:
                entry.chmod(0o666)
    assert said(stoa("check", source, "--format", "json")) == first
    assert said(stoa("check", source, "--format", "json", "--no-cache")) == first


@pytest.mark.parametrize("edited", [True, False])
def test_contents_that_are_lost_are_made_again(edited: bool, source: Path, stoa: Stoa, tmp_path: Path) -> None:
    """Also where the rest of what was kept of a tenant still tells of them."""
    assert stoa("compile", source, "--env", "prod", "--out", tmp_path / "before").exit_code == 0
    if edited:
        path = source / "greg" / "tenant.yaml"
        path.write_bytes(path.read_bytes().replace(b"displayName: ", b"displayName: The ", 1))
    catalogs = [path for path in (tmp_path / "cache").iterdir() if b'{"access":' in path.read_bytes()[:80]]
    assert len(catalogs) == 3
    for path in catalogs:
        path.write_bytes(path.read_bytes()[:-1])
    done = stoa("compile", source, "--env", "prod", "--out", tmp_path / "cached")
    assert done.exit_code == 0, done.stderr
    assert stoa("compile", source, "--env", "prod", "--out", tmp_path / "fresh", "--no-cache").exit_code == 0
    assert files_of(tmp_path / "cached") == files_of(tmp_path / "fresh")


def test_a_folder_that_others_may_write_is_not_used(source: Path, stoa: Stoa, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert Cache.open(shared) is None
    result = stoa("check", source, "--cache", shared)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: the cache ")
    assert not list(shared.iterdir())


def test_without_a_cache_nothing_is_written(source: Path, stoa: Stoa, tmp_path: Path) -> None:
    assert stoa("check", source, "--no-cache").exit_code == 0
    assert not (tmp_path / "cache").exists()


def test_two_runs_at_once_agree(source: Path, tmp_path: Path) -> None:
    environment = bare_environment(STOA_CACHE=str(tmp_path / "cache"))
    del environment["STOA_NO_CACHE"]
    command = [
        sys.executable,
        "-c",
        "from stoa_compiler.cli import run; run()",
        "compile",
        str(source),
        "--env",
        "prod",
        "--out",
    ]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(tmp_path / name)], env=environment, capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(run, ("a", "b", "c", "c")))
    assert [r.returncode for r in runs] == [0, 0, 0, 0], [r.stderr for r in runs]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == files_of(tmp_path / "c")


def test_the_second_run_loads_none_of_the_heavy_packages(source: Path, tmp_path: Path) -> None:
    path = source / "ioi" / "contracts" / "billing.yaml"
    path.write_bytes(path.read_bytes().replace(b"sideEffects: read", b"sideEffects: destructive", 1))
    environment = bare_environment(STOA_CACHE=str(tmp_path / "cache"))
    del environment["STOA_NO_CACHE"]
    told = f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"

    def run(*words: str) -> str:
        program = f"import sys; sys.argv = ['stoa', *{list(words)!r}]\nfrom stoa_compiler.cli import run\n"
        program += f"try: run()\nfinally: {told}"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        return done.stderr.strip().split("\n")[-1]

    for form in ("text", "json", "gitlab", "sarif", "junit", "markdown"):
        words = ("check", str(source), "--format", form)
        run(*words)
        assert "[]" in (run(*words), run(*words))
    compiling = ("compile", str(source), "--env", "prod", "--keep-going", "--out", str(tmp_path / "out"))
    assert "pydantic" in run(*compiling)
    assert "[]" in (run(*compiling), run(*compiling))


def test_a_file_changed_in_the_same_moment_is_read_again(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path / "cache")
    assert cache is not None
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "a.yaml"
    file.write_bytes(b"one")
    first = snapshot(folder, SOURCE, cache)
    times = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = snapshot(folder, SOURCE, cache)
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    assert not first.still_holds({"a.yaml": b"two"}.get)


def test_a_source_that_changes_meanwhile_is_not_kept(source: Path, stoa: Stoa, monkeypatch: pytest.MonkeyPatch) -> None:
    from stoa_compiler import pipeline

    load = pipeline.load

    def changing(*words: object, **named: object) -> object:
        path = source / "ioi" / "contracts" / "billing.yaml"
        path.write_bytes(path.read_bytes().replace(b"summary:", b"sumary:", 1))
        return load(*words, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "load", changing)
        assert stoa("check", source).exit_code == 1
    path = source / "ioi" / "contracts" / "billing.yaml"
    path.write_bytes((REPOSITORY / "tenants" / "ioi" / "contracts" / "billing.yaml").read_bytes())
    assert stoa("check", source).exit_code == 0


def test_a_tenant_that_changes_meanwhile_is_not_found_under_what_it_was(
    source: Path, stoa: Stoa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stoa_compiler import pipeline

    load, path = pipeline.load, source / "greg" / "tenant.yaml"
    before = path.read_bytes()

    def changing(*words: object, **named: object) -> object:
        path.write_bytes(before.replace(b"displayName: ", b"displayName: The ", 1))
        return load(*words, **named)  # type: ignore[arg-type]

    compile_to = ("compile", source, "--env", "prod", "--out")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "load", changing)
        assert stoa(*compile_to, tmp_path / "changing").exit_code == 0
    path.write_bytes(before)
    age(source)
    other = source / "ioi" / "tenant.yaml"
    other.write_bytes(other.read_bytes().replace(b"displayName: ", b"displayName: The ", 1))
    assert stoa(*compile_to, tmp_path / "cached").exit_code == 0
    assert stoa(*compile_to, tmp_path / "fresh", "--no-cache").exit_code == 0
    assert files_of(tmp_path / "cached") == files_of(tmp_path / "fresh")


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    opened = Cache.open(tmp_path / "cache")
    assert opened is not None
    cache = Cache(opened.folder, limit=1000)
    for index in range(10):
        cache.put(f"entry {index}", b"x" * 150)
        for path in cache.folder.iterdir():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 1_000_000_000))
        assert cache.get("entry 0") == b"x" * 150
    kept = [i for i in range(10) if cache.get(f"entry {i}") is not None]
    assert 0 in kept
    assert 9 in kept
    assert len(kept) < 10
    cache.put("too large", b"x" * 500)
    assert cache.get("too large") is None


@pytest.mark.parametrize("case", CASES[::3], ids=lambda c: c.name)
def test_every_mistake_of_the_corpus_is_kept_and_found_by_several_processes(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "MANY_DOCUMENTS", 2)
    cache = Cache.open(tmp_path / "cache")
    source = source_of(case, Path())
    run = Run.of(cache, source, "check", {})
    report, shared = Report(), Report()
    files = pipeline.compiled(source, report).source.files
    pipeline.compiled(source, shared, jobs=3)
    assert shared.sorted() == report.sorted()
    if run is None:
        return  # A name or a file there is none that can be kept.
    assert run.keep(report.sorted(), files, {})
    kept = run.recall([])
    assert kept is not None
    assert kept.found == report.sorted()
    assert render(kept.found, kept.files) == render(report.sorted(), files)

"""The same source gives the same bytes, on any machine, in any order, with any number of workers."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.pipeline import Bundle, read, render, targets_of
from stoa_compiler.rules import RULES
from stoa_compiler.source import Span
from stoa_compiler.target import Artifacts
from stoa_compiler.targets import JUDGING, MODULES, target_named
from stoa_schemas import bundle
from tests.compiler.sources import BASE, ORDERS, PLAN, TENANTS, copy_of_base, stoa

SOURCES = [pytest.param(BASE, "prod", id="base"), pytest.param(TENANTS, "prod", id="demo")]


def compiled(root: Path, environment: str, jobs: int = 1) -> Bundle:
    report = Report()
    made = pipeline.compiled(root, report, [environment], jobs)
    assert report.errors == 0, [d.message for d in report.found]
    return made.bundles[environment]


def bytes_of(made: Bundle) -> dict[str, bytes]:
    return {path: artifact.content for path, artifact in made.files.items()}


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


VARIATIONS = [
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "LANG": "tr_TR.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "America/St_Johns", "PYTHONUTF8": "0", "HOME": "/nowhere", "USER": "somebody"},
]


@pytest.mark.parametrize(("root", "environment"), SOURCES)
def test_surroundings_do_not_count(root: Path, environment: str, tmp_path: Path) -> None:
    """Hash seed, time zone, locale, working folder, the way in which the source is named, and workers."""
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    elsewhere = tmp_path / "some where" / "else"
    shutil.copytree(root, elsewhere / "tenants")
    runs = [
        (root.parent, root.name, "1", VARIATIONS[0]),
        (tmp_path, str(root), "4", VARIATIONS[1]),
        (elsewhere, "tenants", "2", VARIATIONS[2]),
        (elsewhere / "tenants", ".", "1", VARIATIONS[0]),
    ]
    results = []
    for number, (folder, named, jobs, variables) in enumerate(runs):
        out = tmp_path / f"out{number}"
        arguments = ("compile", named, "--env", environment, "--out", str(out), "--jobs", jobs, "--format", "json")
        done = stoa(*arguments, cwd=folder, **variables)
        assert done.returncode == 0, done.stderr
        results.append((json.loads(done.stdout)["digest"], bytes_below(out)))
    assert all(result == results[0] for result in results[1:])
    assert str(tmp_path).encode() not in b"".join(results[0][1].values())


def test_the_order_of_files_and_workers_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = bytes_of(compiled(BASE, "prod"))
    monkeypatch.setattr(pipeline, "MANY_DOCUMENTS", 1)
    for seed in range(3):
        files = [p for p in BASE.rglob("*") if p.is_file()]
        random.Random(seed).shuffle(files)
        root = tmp_path / str(seed)
        for file in files:
            copy = root / file.relative_to(BASE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        assert bytes_of(compiled(root, "prod", jobs=1 + 3 * (seed % 2))) == wanted


def test_findings_are_the_same_with_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        copy_of_base(tmp_path).change(ORDERS, "status: published", "status: publishd").change(PLAN, "rate:", "rat:")
    )
    source.add("acme/plans/a.yaml", "a: [").add("umbra/plans/b.yaml", "&x y\n")
    monkeypatch.setattr(pipeline, "MANY_DOCUMENTS", 1)
    reports = []
    for jobs in (1, 4):
        report = Report()
        pipeline.compiled(source.root, report, jobs=jobs)
        reports.append(report.sorted())
    assert reports[0] == reports[1]
    assert len(reports[0]) == 5


def test_comments_and_layout_do_not_count(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    for file in source.root.rglob("*.yaml"):
        if file.parent.name != "sources":
            text = file.read_text()
            file.write_text("# A remark.\n---\n" + text.replace("\n", "  # x\n", 1) + "\n\n...\n")
    made, wanted = compiled(source.root, "prod"), compiled(BASE, "prod")
    assert made.digest == wanted.digest
    assert bytes_of(made) == bytes_of(wanted)


def test_what_is_in_the_bundle_is_what_it_lists() -> None:
    made = compiled(BASE, "prod")
    listing = bundle.Bundle.model_validate_json(made.files[bundle.BUNDLE_FILE].content)
    assert [a.path for a in listing.artifacts] == sorted(made.files.keys() - {bundle.BUNDLE_FILE})
    for artifact in listing.artifacts:
        content = made.files[artifact.path].content
        assert (artifact.sha256, artifact.bytes) == (bundle.sha256(content), len(content))
    assert made.digest == listing.digest == bundle.sha256(made.files[bundle.RUNTIME_MANIFEST].content)


def test_one_value_changes_only_what_depends_on_it(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change(ORDERS, "summary: One order", "summary: A single order")
    made, before = bytes_of(compiled(source.root, "prod")), bytes_of(compiled(BASE, "prod"))
    assert made.keys() == before.keys() or any(p.startswith("helm/") for p in made.keys() ^ before.keys())
    changed = {p for p in made.keys() & before.keys() if made[p] != before[p]}
    assert bundle.RUNTIME_MANIFEST in changed
    assert not any("umbra" in path or path.startswith("keycloak/") for path in changed)


def test_targets_are_those_that_the_environment_declares() -> None:
    report = Report()
    graph = read(BASE, report).graph
    assert graph is not None
    assert {t.name for t in targets_of(graph, "dev")} == {"mcp", "keycloak"}
    assert {p.split("/")[0] for p in render(graph, "dev", report).files} == {"mcp", "keycloak", bundle.BUNDLE_FILE}


def test_a_check_verifies_what_finds_mistakes_of_authors() -> None:
    """What other targets find are mistakes of the compiler, which compiling finds."""
    of_authors = {
        name for name in MODULES for rule in target_named(name).rules if "mistake of the compiler" not in rule.help
    }
    assert of_authors == JUDGING


def test_nothing_is_rendered_when_an_artifact_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `verify` of any target finds stops the bundle."""
    report = Report()
    graph = read(BASE, report).graph
    assert graph is not None

    def find(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
        report.add(RULES["STOA001"], Span("x", 1, 1, 1, 1), "it does not hold")

    broken = replace(target_named("keycloak"), verify=find)
    monkeypatch.setattr(pipeline, "target_named", lambda name: broken if name == "keycloak" else target_named(name))
    with pytest.raises(Stop):
        render(graph, "prod", report)
    assert [d.message for d in report.found] == ["it does not hold"]

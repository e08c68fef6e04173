"""`stoa compile`: the bundle of one environment."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoa_compiler.cli.session import (
    FINDINGS,
    OUTSIDE,
    WRONG_USE,
    Outputs,
    cache_options,
    fail,
    jobs_option,
    report_options,
    source_argument,
)
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.source import SourceFile

if TYPE_CHECKING:
    from stoa_compiler.cache import Cache
    from stoa_compiler.kept import Kept, Run


@click.command("compile")
@source_argument
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@click.option("--keep-going", is_flag=True, help="Write what has no errors, name what is left out, and exit 1.")
@report_options
@jobs_option
@cache_options
def command(
    source: Path, environment: str, out: Path, keep_going: bool, outputs: Outputs, jobs: int, cache: "Cache | None"
) -> None:
    """Compile SOURCE into the bundle of one environment.

    The same source gives the same bytes. With any error, nothing is written, but for `--keep-going`: it leaves out
    what an error stands in (an operation, else its document, else the tenant) and compiles the rest.

    Findings go where `stoa check` puts them. With `--format json`, stdout has a summary where there is no error.
    """
    started = time.perf_counter()
    from stoa_compiler.kept import Run

    as_summary = outputs.on_stdout and outputs.form == "json"
    run = Run.of(cache, source, "compile", {"env": environment, "keepGoing": keep_going, "summary": as_summary})
    kept = run.recall((replace(outputs, form="text") if as_summary else outputs).forms) if run else None
    result = _recalled(kept) if kept else _compiled(source, environment, keep_going, as_summary, jobs)
    if run and not kept and not run.keep(result.found, result.files, result.facts):
        run = None
    report, facts = Report(list(result.found)), result.facts
    if not facts["rendered"]:
        outputs.publish(report, result.files, run)
        raise SystemExit(FINDINGS)
    (replace(outputs, form="text") if as_summary else outputs).publish(report, result.files, run)
    changed = _write(result, out, run, lambda: _compiled(source, environment, keep_going, as_summary, jobs))
    elapsed = round((time.perf_counter() - started) * 1000)
    if as_summary:
        import orjson

        summary = {key: value for key, value in facts.items() if key not in _NOT_SHOWN}
        click.echo(orjson.dumps({**summary, "milliseconds": elapsed, "changed": changed}))
    if not outputs.on_stdout:
        _say(out, facts, elapsed, changed)
    if facts["leftOut"]:
        raise SystemExit(FINDINGS)


@dataclass(frozen=True)
class _Result:
    """What compiling gave, now or before."""

    found: Sequence[Diagnostic]
    files: Mapping[str, SourceFile]
    facts: Mapping[str, Any]
    """What the summary says; `rendered`: whether there is a bundle, `bundle`: the digest of all its files."""
    contents: Mapping[str, bytes] | None
    """The bundle's files; None where they are to be taken from the cache."""


@dataclass(frozen=True)
class _File:
    """One file of the bundle."""

    content: bytes


_NOT_SHOWN = ("rendered", "bundle")


def _recalled(kept: "Kept") -> _Result:
    return _Result(kept.found, kept.files, kept.facts, None)


def _compiled(source: Path, environment: str, keep_going: bool, as_summary: bool, jobs: int) -> _Result:
    """What compiling gives; ends the command where the environment is not declared."""
    from stoa_compiler.kept import bundle_digest
    from stoa_compiler.pipeline import read, render
    from stoa_compiler.sound import sound

    report = Report()
    checked = read(source, report, jobs)
    graph, files = checked.graph, checked.source.files
    left_out: tuple[str, ...] = ()
    if keep_going and report.errors and graph is not None:
        kept = sound(graph, checked.source, report)
        graph, left_out = (kept.graph, kept.left_out) if kept is not None else (None, ())
    try:
        if graph is None or not keep_going:
            report.stop_if_errors()
        assert graph is not None
        declared = list(graph.platform.spec.environments)
        if environment not in declared:
            fail(f"`{environment}` is no environment of the platform; declared: {', '.join(declared)}", WRONG_USE)
        rendered = Report()
        try:
            bundle = render(graph, environment, rendered)
        finally:
            report.found.extend(rendered.found)
    except Stop:
        return _Result(report.sorted(), files, {"rendered": False}, None)
    contents = {path: artifact.content for path, artifact in bundle.files.items()}
    tenants = graph.tenants_in(environment)
    facts: dict[str, Any] = {
        "rendered": True,
        "bundle": bundle_digest(contents),
        "documents": len(checked.source.placed),
        "tenants": len(tenants),
        "tools": sum(len(t.operations) for t in tenants),
        "artifacts": len(contents),
        "digest": bundle.digest,
        "leftOut": list(left_out),
    }
    if as_summary:
        from stoa_compiler.tokens import weight

        facts["tokens"] = {t.name: sum(map(weight, t.operations)) for t in tenants}
    return _Result(report.sorted(), files, facts, contents)


def _write(result: _Result, out: Path, run: "Run | None", compile_again: Callable[[], _Result]) -> bool:
    """Puts the bundle into the folder `out`; False where it lies there already."""
    contents = result.contents
    if contents is None:
        assert run is not None
        if run.lies_in(out, result.facts["bundle"]):
            return False
        contents = run.bundle() or compile_again().contents
        assert contents is not None
    elif run:
        run.keep_bundle(contents)
    from stoa_compiler.write import NotABundle, write

    try:
        return write({path: _File(content) for path, content in contents.items()}, out)
    except NotABundle as refusal:
        fail(str(refusal), WRONG_USE)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)


def _say(out: Path, facts: Mapping[str, Any], elapsed: int, changed: bool) -> None:
    """What was done, for people."""
    click.echo(
        f"{facts['documents']} documents, {facts['tenants']} tenants, {facts['tools']} tools "
        f"-> {facts['artifacts']} artifacts in {elapsed} ms"
    )
    click.echo(f"{out}: {'written' if changed else 'unchanged'}, {facts['digest'] or 'no catalogs'}")
    if facts["leftOut"]:
        click.echo(f"left out, because of errors: {', '.join(facts['leftOut'])}")

"""`stoa check`: every mistake in the source."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoa_compiler.cli.saves import stamps
from stoa_compiler.cli.session import (
    FINDINGS,
    OUTSIDE,
    Outputs,
    cache_options,
    jobs_option,
    report_options,
    source_argument,
)
from stoa_compiler.diagnostics import Report
from stoa_compiler.watch import Stopwatch, showing

if TYPE_CHECKING:
    from stoa_compiler.cache import Cache

POLL_SECONDS = 0.2


@click.command("check")
@source_argument
@click.option("--fix", is_flag=True, help="Mend what has one right answer; the findings are those that are left.")
@click.option("--diff", is_flag=True, help="Show on stdout what --fix would change; write nothing.")
@click.option("--watch", is_flag=True, help="Stay, and check again when a file changes.")
@report_options
@jobs_option
@cache_options
def command(
    source: Path, fix: bool, diff: bool, watch: bool, outputs: Outputs, jobs: int, cache: "Cache | None"
) -> None:
    """Every mistake in SOURCE, with its place and what to do. Exits 1 when one is an error.

    In CI, one run gives the text in the log and the reports that the server shows:

    \b
        stoa check --report gitlab=gl-code-quality-report.json --report junit=junit.xml
    """
    if diff and outputs.on_stdout:
        raise click.UsageError("--diff writes to stdout: give the findings' form a file with --output")
    if watch and (fix or diff):
        raise click.UsageError("--watch only checks: it goes neither with --fix nor with --diff")
    if watch:
        _watch(source, outputs, jobs, cache)
    elif diff:
        _show_fixes(source)
        raise SystemExit(_check(source, outputs, jobs, cache))
    else:
        raise SystemExit((_fix if fix else _check)(source, outputs, jobs, cache))


def _check(source: Path, outputs: Outputs, jobs: int, cache: "Cache | None") -> int:
    """Publishes the findings; the exit code that they lead to."""
    run = None
    if cache is not None:
        from stoa_compiler.kept import Run

        run = Run.of(cache, source, "check", {})
    kept = run.recall(outputs.forms) if run else None
    if kept is not None:
        report, files, count = Report(list(kept.found)), kept.files, kept.facts["documents"]
    else:
        from stoa_compiler.pipeline import checked
        from stoa_compiler.shares import FORGETFUL

        report, watch = Report(), Stopwatch()
        with showing(watch):
            memory = run.tenants if run else FORGETFUL
            result = checked(source, report, jobs, watch, memory)
        files, count = result.source.files, result.source.count
        if run and not run.keep(report.sorted(), files, {"documents": count}):
            run = None
    outputs.publish(report, files, run)
    if not outputs.on_stdout and not report.errors:
        click.echo(f"{count} document{'' if count == 1 else 's'}: no errors")
    return FINDINGS if report.errors else 0


def _fix(source: Path, outputs: Outputs, jobs: int, cache: "Cache | None") -> int:
    """Writes what can be mended, then checks what lies there now."""
    from stoa_compiler.load import load
    from stoa_compiler.mend import mend
    from stoa_compiler.write import replace_file

    report = Report()
    mended = mend(load(source, report), report)
    files = len(mended.changed)
    lost = [old.shown for old, new in mended.changed if not replace_file(source / old.path, old.content, new.content)]
    for shown in lost:
        click.echo(f"error: `{shown}` was changed meanwhile: left alone", err=True)
    code = _check(source, outputs, jobs, cache)
    if not lost:
        click.echo(f"fixed {_count(mended.fixed, 'mistake')} in {_count(files, 'file')}", err=True)
    return OUTSIDE if lost else code


def _show_fixes(source: Path) -> None:
    from stoa_compiler.load import load
    from stoa_compiler.mend import mend
    from stoa_compiler.write import unified_diff

    report = Report()
    for old, new in mend(load(source, report), report).changed:
        click.echo(unified_diff(old, new.content.decode("utf-8", "replace")), nl=False)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _watch(source: Path, outputs: Outputs, jobs: int, cache: "Cache | None") -> None:
    """Checks on every change, until Ctrl-C."""
    try:
        while True:
            before = stamps(source)
            if sys.stderr.isatty():
                click.clear()
            start = time.perf_counter()
            _check(source, outputs, jobs, cache)
            seconds = time.perf_counter() - start
            click.echo(f"checked in {seconds:.2f} s; Ctrl-C ends the watch", err=True)
            while stamps(source) == before:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return

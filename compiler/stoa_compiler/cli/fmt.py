"""`stoa fmt`: every document in canonical layout."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, jobs_option, show, source_argument
from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.layout import NotKept, lay_out
from stoa_compiler.load import Placed, load
from stoa_compiler.write import replace_file, unified_diff

MIN_FILES_TO_SHARE = 64
"""Below that many files, sharing the work costs more than it saves."""


@click.command("fmt")
@source_argument
@click.option("--check", is_flag=True, help="Write nothing; list what is not in canonical layout, and exit 1.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change, and exit 1 where something would.")
@jobs_option
def command(source: Path, check: bool, diff: bool, jobs: int) -> None:
    """Brings every document of SOURCE into its canonical layout, comments kept.

    A document that is not well formed is reported and left alone, and so is every OpenAPI description: its digest
    is pinned. What a document says never changes.
    """
    report = Report()
    loaded = load(source, report)
    changed = unwritten = 0
    for place, (text, found, kept) in zip(loaded.placed, _all_laid_out(loaded.placed, jobs), strict=True):
        report.found.extend(found)
        if not kept:
            click.echo(f"error: the layout of `{place.file.shown}` would change what it says: left alone", err=True)
            unwritten += 1
        if text is None or text.encode() == place.file.content:
            continue
        changed += 1
        if diff:
            click.echo(unified_diff(place.file, text), nl=False)
        elif check or replace_file(source / place.file.path, place.file.content, text.encode()):
            click.echo(place.file.shown)
        else:
            click.echo(f"error: `{place.file.shown}` was changed meanwhile: left alone", err=True)
            unwritten += 1
    show(report, loaded.files)
    click.echo(_summary(len(loaded.placed), changed - unwritten, check or diff), err=True)
    if unwritten:
        raise SystemExit(OUTSIDE)
    if report.errors or (changed and (check or diff)):
        raise SystemExit(FINDINGS)


def _summary(files: int, changed: int, dry: bool) -> str:
    word = "would be laid out" if dry else "laid out"
    return f"{files} document{'' if files == 1 else 's'}, {max(0, changed)} {word}"


LaidOut = tuple[str | None, list[Diagnostic], bool]


def _all_laid_out(placed: tuple[Placed, ...], jobs: int) -> Iterator[LaidOut]:
    if jobs > 1 and len(placed) >= MIN_FILES_TO_SHARE:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            yield from pool.imap(_laid_out, placed, chunksize=max(1, len(placed) // (jobs * 8)))
    else:
        yield from map(_laid_out, placed)


def _laid_out(place: Placed) -> LaidOut:
    """The layout, or None; the findings; and whether the layout says what the document says."""
    report = Report()
    try:
        return lay_out(place.file, place.kind, report), report.found, True
    except NotKept:
        return None, report.found, False

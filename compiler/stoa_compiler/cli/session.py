"""What commands share: showing findings, and the exit codes that they lead to."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from stoa_compiler.diagnostics import Report
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile

if TYPE_CHECKING:
    from stoa_compiler.cache import Cache
    from stoa_compiler.kept import Run

FINDINGS, WRONG_USE, OUTSIDE = 1, 2, 3

source_argument = click.argument(
    "source", default="tenants", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


def jobs_option(command: Callable[..., None]) -> Callable[..., None]:
    """The option `--jobs`."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, 256),
        default=os.cpu_count() or 1,
        show_default="the number of processors",
        help="Processes that share the work. The bytes do not depend on it.",
    )(command)


def cache_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options `--cache` and `--no-cache`, which the command takes as one `cache`."""

    @wraps(command)
    def with_cache(*, folder: str | None, no_cache: bool, **rest: Any) -> None:
        command(**rest, cache=None if no_cache else _opened(folder))

    for option in (
        click.option(
            "--no-cache", is_flag=True, envvar="STOA_NO_CACHE", help="Neither read nor keep results of other runs."
        ),
        click.option(
            "--cache",
            "folder",
            envvar="STOA_CACHE",
            help="Folder for results of earlier runs, which nobody else may write to, or the URL of a store that is "
            "shared (fsspec; sealed with STOA_CACHE_KEY); else the user's own folder.",
        ),
    ):
        with_cache = option(with_cache)
    return with_cache


def _opened(folder: str | None) -> "Cache | None":
    if folder is not None and "://" in folder:
        from stoa_compiler.stores import SharedCache, StoreRefused

        try:
            return SharedCache.at(folder)
        except StoreRefused as refusal:
            fail(str(refusal), OUTSIDE)
    from stoa_compiler.cache import Cache

    cache = Cache.open(Path(folder) if folder is not None else None)
    if cache is None and folder is not None:
        click.echo(f"warning: the cache `{folder}` is not used: it is no folder that only you may write to", err=True)
    return cache


def report_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options `--format`, `--output`, `--report` and `--limit`, which the command takes as one `outputs`."""

    @wraps(command)
    def with_outputs(
        *, form: str, output: Path | None, report: tuple[tuple[str, Path], ...], limit: int, **rest: Any
    ) -> None:
        command(**rest, outputs=Outputs(form, output, report, limit))

    for option in (
        click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help=_LIMIT),
        click.option("--report", type=FormatAndFile(), multiple=True, help=_REPORT),
        click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help=_OUTPUT),
        click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True, help=_FORMAT),
    ):
        with_outputs = option(with_outputs)
    return with_outputs


FORMS = ("text", "json", "gitlab", "sarif", "junit", "markdown")
_FORMAT = "Form of the findings. Text goes to stderr, every other form to stdout."
_OUTPUT = "File for the form instead of stdout; stderr then has the text as well."
_REPORT = "One more form into a file; may be given several times."
_LIMIT = "Findings of one rule in one file that the text shows; 0 shows all."


class FormatAndFile(click.ParamType[tuple[str, Path]]):
    """`FORMAT=FILE`."""

    name = "FORMAT=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Format and path."""
        form, equals, file = str(value).partition("=")
        if not equals or not file or form not in FORMS:
            self.fail(f"`{value}` is not FORMAT=FILE, where FORMAT is one of {', '.join(FORMS)}", param, ctx)
        return form, Path(file)


@record
class Outputs:
    """Where the findings go, and in which forms."""

    form: str = "text"
    output: Path | None = None
    reports: tuple[tuple[str, Path], ...] = ()
    limit: int = 20

    @property
    def on_stdout(self) -> bool:
        """Whether a machine reads stdout: nothing else may be printed there."""
        return self.form != "text" and self.output is None

    @property
    def forms(self) -> list[str]:
        """The forms that are written besides the text on stderr."""
        return [form for form, _ in self.reports] + ([self.form] if self.output or self.on_stdout else [])

    def publish(self, report: Report, files: Mapping[str, SourceFile], run: "Run | None" = None) -> None:
        """Writes the findings, wherever they are wanted. A `run` that was made before has their forms."""
        if not self.on_stdout:
            show(report, files, self.limit)
        pairs = [*self.reports, *([(self.form, self.output)] if self.output else [])]
        if not pairs and not self.on_stdout:
            return
        from stoa_compiler.reports import FORMS as forms

        found = report.sorted()

        def written(form: str) -> bytes:
            return run.form(form, lambda: forms[form](found, files)) if run else forms[form](found, files)

        if self.on_stdout:
            click.echo(written(self.form), nl=False)
        for form, path in pairs:
            try:
                path.write_bytes(written(form))
            except OSError as error:
                fail(f"the report `{path}` cannot be written: {error.strerror}", OUTSIDE)


def show(report: Report, files: Mapping[str, SourceFile], limit: int = 0) -> None:
    """The findings on stderr, as a person reads them, and their number."""
    found = report.sorted()
    if not found:
        return
    from stoa_compiler.reports.terminal import wants_color, width_of
    from stoa_compiler.reports.text import counted, render

    color = wants_color(sys.stderr)
    click.echo(render(found, files, color, width_of(sys.stderr), limit), err=True, nl=False, color=color)
    example = next((d for d in found if d.rule.severity == "error"), found[0]).rule.code
    click.echo(f"\n{counted(found)}; `stoa explain {example}` tells more", err=True)


def fail(message: str, code: int = OUTSIDE) -> NoReturn:
    """One line on stderr and the exit code."""
    click.echo(f"error: {message}", err=True)
    raise SystemExit(code)

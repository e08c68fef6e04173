"""What commands share: showing findings, and the exit codes that they lead to."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import click

from stoa_compiler.diagnostics import Report, render
from stoa_compiler.source import SourceFile

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


def show(report: Report, files: Mapping[str, SourceFile]) -> None:
    """The findings on stderr, as a person reads them, and their number."""
    found = report.sorted()
    if not found:
        return
    click.echo(render(found, files, color=wants_color(sys.stderr)), err=True, nl=False)
    errors = sum(d.rule.severity == "error" for d in found)
    warnings = len(found) - errors
    parts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    click.echo(f"\n{' and '.join(parts)}", err=True)


def wants_color(stream: object) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return bool(getattr(stream, "isatty", lambda: False)()) and not os.environ.get("NO_COLOR")


def fail(message: str, code: int = OUTSIDE) -> NoReturn:
    """One line on stderr and the exit code."""
    click.echo(f"error: {message}", err=True)
    raise SystemExit(code)

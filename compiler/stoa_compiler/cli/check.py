"""`stoa check`: every mistake in the source."""

from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, jobs_option, show, source_argument


@click.command("check")
@source_argument
@click.option("--format", "form", type=click.Choice(["text", "json", "gitlab"]), default="text", show_default=True)
@jobs_option
def command(source: Path, form: str, jobs: int) -> None:
    """Every mistake in SOURCE, with its place and what to do. Exits 1 when one is an error.

    Text goes to stderr, JSON and GitLab's Code Quality report to stdout.
    """
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render
    from stoa_compiler.reports import as_gitlab, as_json

    report = Report()
    checked = read(source, report, jobs)
    if checked.graph is not None and not report.errors:
        for environment in checked.graph.platform.spec.environments:
            try:
                render(checked.graph, environment, report)
            except Stop:
                continue
    files = checked.source.files
    if form == "json":
        click.echo(as_json(report.sorted(), files), nl=False)
    elif form == "gitlab":
        click.echo(as_gitlab(report.sorted(), files), nl=False)
    else:
        show(report, files)
        if not report.errors:
            count = len(checked.source.placed)
            click.echo(f"{count} document{'' if count == 1 else 's'}: no errors")
    if report.errors:
        raise SystemExit(FINDINGS)

"""`stoa check`: every mistake in the source."""

from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, Outputs, jobs_option, report_options, source_argument


@click.command("check")
@source_argument
@report_options
@jobs_option
def command(source: Path, outputs: Outputs, jobs: int) -> None:
    """Every mistake in SOURCE, with its place and what to do. Exits 1 when one is an error.

    In CI, one run gives the text in the log and the reports that the server shows:

    \b
        stoa check --report gitlab=gl-code-quality-report.json --report junit=junit.xml
    """
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render

    report = Report()
    checked = read(source, report, jobs)
    if checked.graph is not None and not report.errors:
        for environment in checked.graph.platform.spec.environments:
            try:
                render(checked.graph, environment, report)
            except Stop:
                continue
    outputs.publish(report, checked.source.files)
    if not outputs.on_stdout and not report.errors:
        count = len(checked.source.placed)
        click.echo(f"{count} document{'' if count == 1 else 's'}: no errors")
    if report.errors:
        raise SystemExit(FINDINGS)

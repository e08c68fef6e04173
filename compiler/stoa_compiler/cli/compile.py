"""`stoa compile`: the bundle of one environment."""

import time
from dataclasses import replace
from pathlib import Path

import click

from stoa_compiler.cli.session import (
    FINDINGS,
    OUTSIDE,
    WRONG_USE,
    Outputs,
    fail,
    jobs_option,
    report_options,
    source_argument,
)


@click.command("compile")
@source_argument
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@report_options
@jobs_option
def command(source: Path, environment: str, out: Path, outputs: Outputs, jobs: int) -> None:
    """Compile SOURCE into the bundle of one environment.

    The same source gives the same bytes. With any error, nothing is written.

    Findings go where `stoa check` puts them. With `--format json`, stdout has a summary where there is no error.
    """
    started = time.perf_counter()
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render
    from stoa_compiler.write import NotABundle, write

    report = Report()
    checked = read(source, report, jobs)
    try:
        report.stop_if_errors()
        assert checked.graph is not None
        declared = list(checked.graph.platform.spec.environments)
        if environment not in declared:
            fail(f"`{environment}` is no environment of the platform; declared: {', '.join(declared)}", WRONG_USE)
        bundle = render(checked.graph, environment, report)
    except Stop:
        outputs.publish(report, checked.source.files)
        raise SystemExit(FINDINGS) from None
    as_summary = outputs.on_stdout and outputs.form == "json"
    (replace(outputs, form="text") if as_summary else outputs).publish(report, checked.source.files)
    try:
        changed = write(bundle.files, out)
    except NotABundle as refusal:
        fail(str(refusal), WRONG_USE)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)
    tenants = checked.graph.tenants_in(environment)
    tools = sum(len(t.operations) for t in tenants)
    elapsed = round((time.perf_counter() - started) * 1000)
    if as_summary:
        import orjson

        summary = {
            "documents": len(checked.source.placed),
            "tenants": len(tenants),
            "tools": tools,
            "artifacts": len(bundle.files),
            "milliseconds": elapsed,
            "digest": bundle.digest,
            "changed": changed,
        }
        click.echo(orjson.dumps(summary))
    if outputs.on_stdout:
        return
    click.echo(
        f"{len(checked.source.placed)} documents, {len(tenants)} tenants, {tools} tools -> "
        f"{len(bundle.files)} artifacts in {elapsed} ms"
    )
    click.echo(f"{out}: {'written' if changed else 'unchanged'}, {bundle.digest or 'no catalogs'}")

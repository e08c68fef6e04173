"""`stoa compile`: the bundle of one environment."""

import time
from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail, jobs_option, show, source_argument


@click.command("compile")
@source_argument
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@jobs_option
def command(source: Path, environment: str, out: Path, form: str, jobs: int) -> None:
    """Compile SOURCE into the bundle of one environment.

    The same source gives the same bytes. With any error, nothing is written.
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
        show(report, checked.source.files)
        raise SystemExit(FINDINGS) from None
    show(report, checked.source.files)
    try:
        changed = write(bundle.files, out)
    except NotABundle as refusal:
        fail(str(refusal), WRONG_USE)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)
    tenants = checked.graph.tenants_in(environment)
    tools = sum(len(t.operations) for t in tenants)
    elapsed = round((time.perf_counter() - started) * 1000)
    if form == "json":
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
        return
    click.echo(
        f"{len(checked.source.placed)} documents, {len(tenants)} tenants, {tools} tools -> "
        f"{len(bundle.files)} artifacts in {elapsed} ms"
    )
    click.echo(f"{out}: {'written' if changed else 'unchanged'}, {bundle.digest or 'no catalogs'}")

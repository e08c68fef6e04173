"""`stoa compile`: the bundle of one environment."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from stoa_compiler.pipeline import Bundle


@click.command("compile")
@source_argument
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@click.option("--keep-going", is_flag=True, help="Write what has no errors, name what is left out, and exit 1.")
@report_options
@jobs_option
def command(source: Path, environment: str, out: Path, keep_going: bool, outputs: Outputs, jobs: int) -> None:
    """Compile SOURCE into the bundle of one environment.

    The same source gives the same bytes. With any error, nothing is written, but for `--keep-going`: it leaves out
    what an error stands in (an operation, else its document, else the tenant) and compiles the rest.

    Findings go where `stoa check` puts them. With `--format json`, stdout has a summary where there is no error.
    """
    started = time.perf_counter()
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render
    from stoa_compiler.sound import sound
    from stoa_compiler.write import NotABundle, write

    report = Report()
    checked = read(source, report, jobs)
    graph = checked.graph
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
    tenants = graph.tenants_in(environment)
    tools = sum(len(t.operations) for t in tenants)
    elapsed = round((time.perf_counter() - started) * 1000)
    if as_summary:
        import orjson

        from stoa_compiler.tokens import weight

        summary: dict[str, object] = {
            "documents": len(checked.source.placed),
            "tenants": len(tenants),
            "tools": tools,
            "tokens": {t.name: sum(map(weight, t.operations)) for t in tenants},
            "artifacts": len(bundle.files),
            "milliseconds": elapsed,
            "digest": bundle.digest,
            "changed": changed,
            "leftOut": list(left_out),
        }
        click.echo(orjson.dumps(summary))
    if not outputs.on_stdout:
        _say(out, len(checked.source.placed), len(tenants), tools, bundle, elapsed, changed, left_out)
    if left_out:
        raise SystemExit(FINDINGS)


def _say(
    out: Path,
    documents: int,
    tenants: int,
    tools: int,
    bundle: "Bundle",
    elapsed: int,
    changed: bool,
    left_out: tuple[str, ...],
) -> None:
    """What was done, for people."""
    click.echo(
        f"{documents} documents, {tenants} tenants, {tools} tools -> {len(bundle.files)} artifacts in {elapsed} ms"
    )
    click.echo(f"{out}: {'written' if changed else 'unchanged'}, {bundle.digest or 'no catalogs'}")
    if left_out:
        click.echo(f"left out, because of errors: {', '.join(left_out)}")

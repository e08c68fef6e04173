"""`stoa access`: who may call which tool, and why."""

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail, show, source_argument

if TYPE_CHECKING:
    from stoa_compiler.graph import Graph
    from stoa_compiler.matrix import Cut, Matrix
    from stoa_compiler.matrix.forms import Why

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("access")
@source_argument
@click.option(
    "--by",
    type=click.Choice(["person", "role", "tenant", "tool", "consumer"]),
    show_default="what is asked for, else person",
    help="What the matrix is ordered by.",
)
@click.option("--person", help="Only this user name.")
@click.option("--role", help="Only those who hold this role.")
@click.option("--tenant", help="Only this tenant's tools and people, and those who cross into it.")
@click.option("--tool", help="Only tools that this pattern names: `ioi:billing:*`, `stoa_*`.")
@click.option("--consumer", help="Only this application, by its client id: `ioi.ledger-sync`.")
@click.option("--env", "environment", help="Only what is rendered in this environment.")
@click.option("--on", type=_DAY, help="Subscriptions that have ended by this day, YYYY-MM-DD, give nothing.")
@click.option("--why", is_flag=True, help="Show for each tool what decides, with its place.")
@click.option("--full", is_flag=True, help="Show each tool on a line, also of contracts that are had whole.")
@click.option(
    "--bundle",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Read the rendered bundle in this folder instead of the source.",
)
@click.option("--check", is_flag=True, help="With --bundle: exit 1 where the source says anything else.")
@click.option("--format", "form", type=click.Choice(["text", "json", "csv", "html"]), default="text", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write instead of stdout.")
def command(
    source: Path,
    by: str | None,
    person: str | None,
    role: str | None,
    tenant: str | None,
    tool: str | None,
    consumer: str | None,
    environment: str | None,
    on: datetime.datetime | None,
    why: bool,
    full: bool,
    folder: Path | None,
    check: bool,
    form: str,
    output: Path | None,
) -> None:
    """Who may call which tool of SOURCE: what the runtime will enforce, read from the same table.

    \b
        stoa access --by tool --tool 'ioi:billing:*'
        stoa access --person parzival --why
        stoa access --format html --output access.html
    """
    if check and folder is None:
        raise click.UsageError("--check compares a bundle with the source: give it with --bundle")
    if why and (folder is not None or form == "html"):
        raise click.UsageError("--why reads the source and writes text, JSON or CSV")
    if full and form != "text":
        raise click.UsageError("--full is for text: the other forms have every tool")
    from stoa_compiler.matrix import Cut

    cut = Cut(person=person, role=role, tenant=tenant, tool=tool, consumer=consumer)
    day = on.date() if on else None
    asked = {"person": person, "consumer": consumer, "role": role, "tool": tool, "tenant": tenant}
    by = by or next((kind for kind, given in asked.items() if given is not None), "person")
    graph: Graph | None = None
    if folder is not None:
        matrix = _of_bundle(folder, day)
        if environment not in (None, matrix.environment):
            fail(f"the bundle is of `{matrix.environment}`, not of `{environment}`", WRONG_USE)
        if check:
            _compare(source, matrix, day)
    else:
        graph = read_graph(source)
        matrix = _of_source(graph, environment, day)
    _known(matrix, cut)
    matrix = cut.of(matrix)
    reasons = _reasons(graph, matrix, by, day) if why and graph is not None else None
    _write(matrix, by, form, output, reasons, full)


def read_graph(source: Path) -> "Graph":
    """The source's graph. What has mistakes would be compiled by nobody, so nobody may call anything of it."""
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.pipeline import read

    report = Report()
    checked = read(source, report)
    if checked.graph is None or report.errors:
        show(report, checked.source.files)
        raise SystemExit(FINDINGS)
    return checked.graph


def known_environment(graph: "Graph", environment: str | None) -> None:
    """Exits where the platform does not declare the environment."""
    declared = list(graph.platform.spec.environments)
    if environment is not None and environment not in declared:
        fail(f"there is no environment `{environment}`; the source has {', '.join(declared)}", WRONG_USE)


def _of_source(graph: "Graph", environment: str | None, day: datetime.date | None) -> "Matrix":
    from stoa_compiler.matrix import of_graph

    known_environment(graph, environment)
    return of_graph(graph, environment, day)


def _of_bundle(folder: Path, day: datetime.date | None) -> "Matrix":
    from stoa_compiler.matrix.bundles import NoBundle, of_bundle

    try:
        return of_bundle(folder, day)
    except NoBundle as error:
        fail(str(error), OUTSIDE)


def _compare(source: Path, rendered: "Matrix", day: datetime.date | None) -> None:
    from stoa_compiler.matrix.bundles import differences
    from stoa_compiler.reports.terminal import visible

    assert rendered.environment is not None
    found = differences(_of_source(read_graph(source), rendered.environment, day), rendered)
    for line in found:
        click.echo(f"error: {visible(line)}", err=True)
    if found:
        click.echo(f"\nthe bundle is not what the source declares, in {len(found)} places", err=True)
        raise SystemExit(FINDINGS)


def _known(matrix: "Matrix", cut: "Cut") -> None:
    """Exits where a filter names what is not there: an empty answer would read as nobody."""
    from stoa_compiler.diagnostics import nearest
    from stoa_compiler.matrix.model import names_tool

    people = {h.name for h in matrix.holders if h.kind == "person"}
    consumers = {h.name for h in matrix.holders if h.kind == "consumer"}
    roles = {h.name for h in matrix.holders if h.kind == "role"}
    for what, given, known in (
        ("person", cut.person, people),
        ("role", cut.role, roles),
        ("tenant", cut.tenant, set(matrix.tenants)),
        ("consumer", cut.consumer, consumers),
    ):
        if given is not None and given not in known:
            close = nearest(given, sorted(known))
            fail(f"there is no {what} `{given}`" + (f"; did you mean `{close}`?" if close else ""), WRONG_USE)
    if cut.tool is not None and not any(names_tool(cut.tool, t) for t in matrix.tools):
        close = nearest(cut.tool, sorted(matrix.tools))
        fail(f"no tool is called `{cut.tool}`" + (f"; did you mean `{close}`?" if close else ""), WRONG_USE)


def _reasons(graph: "Graph", matrix: "Matrix", by: str, day: datetime.date | None) -> "Why":
    from stoa_compiler.matrix.whys import whys

    kinds = ("person", "role", "consumer") if by in ("tenant", "tool") else (by,)
    return whys(graph, matrix, [h for h in matrix.holders if h.kind in kinds], day)


def _write(matrix: "Matrix", by: str, form: str, output: Path | None, why: "Why | None", full: bool) -> None:
    from stoa_compiler.matrix import forms
    from stoa_compiler.reports.terminal import wants_color, width_of

    order: forms.By = next(b for b in forms.BYS if b == by)
    color = False
    if form == "json":
        content = forms.as_json(matrix, order, why).decode()
    elif form == "csv":
        content = forms.as_csv(matrix, order, why)
    elif form == "html":
        from stoa_compiler.matrix.page import as_html

        content = as_html(matrix, order)
    else:
        color = output is None and wants_color(sys.stdout)
        content = forms.as_text(matrix, order, forms.Style(min(width_of(sys.stdout), 120), color), why, full)
    if output is None:
        click.echo(content, nl=False, color=color)
        return
    try:
        output.write_bytes(content.encode())
    except OSError as error:
        fail(f"`{output}` cannot be written: {error.strerror}", OUTSIDE)
    click.echo(f"{output}: written", err=True)

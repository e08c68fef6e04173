"""`stoa explain`: why. Of a diagnostic, of a value in a bundle, of a call."""

import datetime
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from stoa_compiler.cli.session import WRONG_USE, fail, show

if TYPE_CHECKING:
    from stoa_compiler.graph import Graph
    from stoa_compiler.matrix.forms import Style

_WIDEST = 100
_CODE = re.compile(r"(?i)stoa[0-9]+")
_PLACE = re.compile(r"(?s)(?P<path>[^:]*\.[a-z]+)(?::(?P<at>/.*|[0-9]+)?)?")


@click.command("explain")
@click.argument("what", required=False)
@click.option("--source", default="tenants", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--env", "environment", help="The environment; the only one where the platform has one.")
@click.option("--person", help="A user name: may this person call --tool?")
@click.option("--role", help="The same of whoever holds the role; with --consumer, of people who sign in with it.")
@click.option("--consumer", help="The same of an application, by its client id.")
@click.option("--tool", help="A tool's id: `ioi:billing:get_invoice`.")
@click.option(
    "--on",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Subscriptions that have ended by this day, YYYY-MM-DD, give nothing.",
)
@click.option("--limit", type=click.IntRange(0), default=40, show_default=True, help="Values that are shown; 0 is all.")
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
def command(
    what: str | None,
    source: Path,
    environment: str | None,
    person: str | None,
    role: str | None,
    consumer: str | None,
    tool: str | None,
    on: datetime.datetime | None,
    limit: int,
    form: str,
) -> None:
    """Why: of a diagnostic's code, of a value in a bundle, or of a call.

    \b
        stoa explain STOA301
        stoa explain keycloak/stoa-realm.json:/displayName --env prod
        stoa explain helm/stoa-runtime.values.yaml:12 --env prod
        stoa explain --person parzival --tool ioi:billing:void_invoice --env prod

    Without anything, all codes that there are.
    """
    asked = [a for a in (person, role, consumer) if a is not None]
    if tool is not None or asked:
        if what is not None:
            raise click.UsageError("ask of one thing: of a code, of a value, or of a call")
        if tool is None or not asked:
            raise click.UsageError("a call has somebody and a tool: give --person, --role or --consumer, and --tool")
        if person is not None and len(asked) > 1:
            raise click.UsageError("--person goes alone: roles come from the person's groups")
        _call(source, environment, (person, role, consumer), tool, on.date() if on else None, _text_or_json(form))
    elif what is None or _CODE.fullmatch(what) or not (place := _PLACE.fullmatch(what)):
        _code(what, form)
    else:
        _value(source, environment, place["path"], place["at"] or "", limit, _text_or_json(form))


def _text_or_json(form: str) -> str:
    if form == "markdown":
        raise click.UsageError("only codes have a page in Markdown")
    return form


def _style() -> "Style":
    from stoa_compiler.matrix.forms import Style
    from stoa_compiler.reports.terminal import wants_color, width_of

    return Style(min(width_of(sys.stdout), 120), wants_color(sys.stdout))


# Codes


def _code(code: str | None, form: str) -> None:
    """What a diagnostic means; without a code, all there are."""
    from stoa_compiler.diagnostics import nearest
    from stoa_compiler.examples import examples
    from stoa_compiler.explain import as_json, as_markdown, as_text, index
    from stoa_compiler.reports.terminal import wants_color, width_of
    from stoa_compiler.rules import RULES

    if code is None:
        if form == "markdown":
            click.echo(index(), nl=False)
        elif form == "json":
            click.echo(b"[" + b",".join(as_json(r, None).strip() for _, r in sorted(RULES.items())) + b"]")
        else:
            for rule in (r for _, r in sorted(RULES.items())):
                click.echo(f"{rule.code}  {rule.severity:<7}  {rule.title}")
        return
    found = RULES.get(code.upper())
    if found is None:
        close = nearest(code.upper(), list(RULES))
        fail(f"there is no diagnostic `{code}`" + (f"; did you mean `{close}`?" if close else ""), WRONG_USE)
    example = examples().get(found.code)
    if form == "markdown":
        click.echo(as_markdown(found, example), nl=False)
    elif form == "json":
        click.echo(as_json(found, example), nl=False)
    else:
        color = wants_color(sys.stdout)
        click.echo(as_text(found, example, min(width_of(sys.stdout), _WIDEST), color), nl=False, color=color)


# Values


def _value(source: Path, environment: str | None, path: str, at: str, limit: int, form: str) -> None:
    """Where the values of an artifact come from: all of them, those below a pointer, or those of a line."""
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render
    from stoa_compiler.provenance import Provenance, forms
    from stoa_compiler.provenance.reading import on_line, resolved

    _there(source)
    report = Report()
    checked = read(source, report)
    if checked.graph is None or report.errors:
        show(report, checked.source.files)
        raise SystemExit(1)
    environment = _environment(checked.graph, environment)
    try:
        bundle = render(checked.graph, environment, report)
    except Stop:
        show(report, checked.source.files)
        raise SystemExit(1) from None
    path = _artifact(path, list(bundle.files), environment)
    provenance = Provenance(checked.graph, environment, bundle.files, checked.source.descriptions)
    values = provenance.of(path)
    if at.startswith("/"):
        steps = resolved(provenance.data(path), at)
        if steps is None:
            fail(f"`{path}` has nothing at `{at}`", WRONG_USE)
        values = [t for t in values if t.pointer[: len(steps)] == steps]
    elif at:
        pointers = on_line(bundle.files[path], int(at))
        values = [t for t in values if t.pointer in pointers]
        if not values:
            fail(f"`{path}` has no value on line {at}", WRONG_USE)
    unknown = next((t for t in values if t.emission is None), None)
    if unknown is not None:
        raise LookupError(f"nothing is known of `{unknown.path}` at {unknown.pointer}")
    if form == "json":
        click.echo(forms.as_json(environment, values), nl=False)
    else:
        style = _style()
        click.echo(forms.as_text(provenance, values, style, limit), nl=False, color=style.color)


def _artifact(given: str, known: list[str], environment: str) -> str:
    """The artifact that is meant, also where the path leads through a bundle's folder."""
    from stoa_compiler.diagnostics import nearest

    found = [p for p in known if p == given or given.endswith(f"/{p}")]
    if not found:
        close = nearest(given, known)
        hint = f"; did you mean `{close}`?" if close else ""
        fail(f"the bundle of `{environment}` has no file `{given}`{hint}", WRONG_USE)
    return max(found, key=len)


def _environment(graph: "Graph", environment: str | None) -> str:
    from stoa_compiler.cli.access import known_environment

    known_environment(graph, environment)
    declared = list(graph.platform.spec.environments)
    if environment is None and len(declared) > 1:
        fail(f"give the environment with --env: {', '.join(declared)}", WRONG_USE)
    return environment or declared[0]


def _there(source: Path) -> None:
    if not source.is_dir():
        fail(f"there is no folder `{source}`: give the source with --source", WRONG_USE)


# Calls


def _call(
    source: Path,
    environment: str | None,
    who: tuple[str | None, str | None, str | None],
    tool: str,
    on: datetime.date | None,
    form: str,
) -> None:
    """What decides whether somebody may call a tool."""
    from stoa_compiler.cli.access import known_environment, read_graph
    from stoa_compiler.matrix.decision import Deciding, as_json, as_text
    from stoa_compiler.matrix.platform import PLATFORM_TOOLS

    _there(source)
    graph = read_graph(source)
    known_environment(graph, environment)
    tools = [o.tool_id for t in graph.tenants for c in t.contracts for o in c.operations]
    if tool not in tools and tool not in PLATFORM_TOOLS:
        _unknown("tool", tool, [*tools, *PLATFORM_TOOLS])
    deciding = Deciding(graph, environment, on)
    person, role, consumer = who
    if role is not None and role not in graph.platform.spec.roles:
        _unknown("role", role, list(graph.platform.spec.roles))
    if person is not None:
        people = {p.username: p for p in (*graph.people, *(p for t in graph.tenants for p in t.people))}
        if person not in people:
            _unknown("person", person, list(people))
        decision = deciding.person(people[person], tool)
    elif consumer is not None:
        clients = {c.client_id: (t, c) for t in graph.tenants for c in t.consumers}
        if consumer not in clients:
            _unknown("consumer", consumer, list(clients))
        decision = deciding.consumer(*clients[consumer], tool, role)
    else:
        assert role is not None
        decision = deciding.role(role, tool)
    if form == "json":
        click.echo(as_json(decision), nl=False)
    else:
        style = _style()
        click.echo(as_text(decision, style), nl=False, color=style.color)


def _unknown(what: str, name: str, known: list[str]) -> NoReturn:
    from stoa_compiler.diagnostics import nearest

    close = nearest(name, known)
    fail(f"there is no {what} `{name}`" + (f"; did you mean `{close}`?" if close else ""), WRONG_USE)

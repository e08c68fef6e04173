"""`stoa explain`: what a diagnostic means and how to mend it."""

import sys

import click

from stoa_compiler.cli.session import WRONG_USE, fail

_WIDEST = 100


@click.command("explain")
@click.argument("code", required=False)
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
def command(code: str | None, form: str) -> None:
    """What the diagnostic CODE means, why it is one, how to mend it, and an example. Without CODE, all there are."""
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

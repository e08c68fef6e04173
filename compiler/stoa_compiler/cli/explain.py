"""`stoa explain`: what a diagnostic means and how to mend it."""

import click

from stoa_compiler.cli.session import WRONG_USE, fail


@click.command("explain")
@click.argument("code")
def command(code: str) -> None:
    """What the diagnostic CODE means, why it is one, and how to mend it."""
    from stoa_compiler.diagnostics import nearest
    from stoa_compiler.rules import RULES

    rule = RULES.get(code.upper())
    if rule is None:
        close = nearest(code.upper(), list(RULES))
        fail(f"there is no diagnostic `{code}`" + (f"; did you mean `{close}`?" if close else ""), WRONG_USE)
    click.echo(f"{rule.code} ({rule.severity}): {rule.title}\n")
    click.echo(click.wrap_text(f"Why: {rule.why}", width=88, subsequent_indent="     "))
    click.echo(click.wrap_text(f"Mend: {rule.help}", width=88, subsequent_indent="      "))

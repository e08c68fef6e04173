"""`stoa verify`: whether a bundle is whole."""

from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS


@click.command("verify")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(bundle: Path) -> None:
    """Whether every file of BUNDLE is the one that its digests name, and no other lies there."""
    from stoa_compiler.bundles import problems

    found = list(problems(bundle))
    for problem in found:
        click.echo(f"error: {problem}", err=True)
    if found:
        raise SystemExit(FINDINGS)
    click.echo(f"{bundle}: every file is what its digest names")

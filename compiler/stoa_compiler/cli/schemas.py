"""`stoa schemas`: the JSON Schemas of documents, for editors."""

from pathlib import Path

import click

from stoa_compiler.cli.session import OUTSIDE, fail


@click.command("schemas")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Write the JSON Schema of each kind of document into DIR, where an editor can find it without a network.

    A document names its schema in its first line: `# yaml-language-server: $schema=../.schemas/tenant.schema.json`.
    """
    from stoa_schemas import emit

    try:
        emit.write(folder)
    except OSError as error:
        fail(f"`{folder}` cannot be written: {error.strerror}", OUTSIDE)
    click.echo(f"{folder}: {len(list(emit.files()))} schemas")

"""`stoa import`: source documents from other descriptions."""

import click

from stoa_compiler.openapi.command import import_openapi_command
from stoa_compiler.stoa_v2.command import import_stoa_v2_command


@click.group("import")
def command() -> None:
    """Source documents from other descriptions."""


command.add_command(import_openapi_command, "openapi")
command.add_command(import_stoa_v2_command, "stoa-v2")

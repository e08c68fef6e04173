"""`stoa lsp`: the language server."""

import click

from stoa_compiler.cli.session import OUTSIDE, fail


@click.command("lsp")
@click.option("--stdio", is_flag=True, help="Speak over stdin and stdout, which is what it does anyway.")
def command(stdio: bool) -> None:
    """Speak the Language Server Protocol over stdin and stdout, for an editor.

    Findings while typing, hover, go to definition, completion. The source of a file is the nearest folder above it
    with `platform.yaml`.
    """
    try:
        from stoa_compiler.lsp.server import serve
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[lsp]'` brings it", OUTSIDE)
    serve()

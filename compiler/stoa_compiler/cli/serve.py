"""`stoa serve`: the runtime."""

import gc
from pathlib import Path

import click

from stoa_compiler.cli.session import OUTSIDE, fail


@click.command("serve")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".stoa"),
    show_default=True,
    help="Folder of the audit log, `audit.jsonl`.",
)
@click.option("--allowed-host", "hosts", multiple=True, help="A `Host` header that is taken besides the gateway's own.")
@click.option("--allowed-origin", "origins", multiple=True, help="An `Origin` that is taken besides the gateway's own.")
@click.option(
    "--secrets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that mirrors secret paths, `<folder>/<path>/<key>`; else `STOA_SECRET_...` variables.",
)
@click.option(
    "--drain",
    type=click.IntRange(0, 3600),
    default=20,
    show_default=True,
    help="Seconds that calls in flight may take to end when the process is asked to stop.",
)
@click.option("--development", is_flag=True, help="Take a bundle of a development environment.")
def command(
    bundle: Path,
    host: str,
    port: int,
    state: Path,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    secrets: Path | None,
    drain: int,
    development: bool,
) -> None:
    """Serve BUNDLE over MCP at `/mcp`, every digest checked before the first request is taken."""
    gc.enable()
    try:
        from importlib import import_module

        server = import_module("stoa_runtime.server")
        settings = import_module("stoa_runtime.settings")
        bundles = import_module("stoa_runtime.bundles")
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[runtime]'` brings it", OUTSIDE)
    try:
        server.serve(
            settings.Settings(
                bundle=bundle,
                host=host,
                port=port,
                audit=state / "audit.jsonl",
                allowed_hosts=hosts,
                allowed_origins=origins,
                secrets="file" if secrets else "environment",
                secrets_folder=secrets,
                allow_development=development,
                drain_seconds=drain,
            ),
            lambda url: click.echo(f"listening on {url}"),
        )
    except bundles.BundleError as error:
        fail(str(error), OUTSIDE)

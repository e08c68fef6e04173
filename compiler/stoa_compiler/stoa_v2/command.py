"""`stoa import stoa-v2`: documents out of contracts and tenant bundles of the earlier form."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from stoa_compiler.source import SourceFile
    from stoa_compiler.stoa_v2.importer import Imported
    from stoa_schemas.documents.platform import ClassificationName, EnvironmentName

FINDINGS, WRONG_USE, OUTSIDE = 1, 2, 3
SUFFIXES = (".json", ".yaml", ".yml")
MAX_FILES = 5000


@click.command("stoa-v2")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--source",
    type=click.Path(file_okay=False, path_type=Path),
    default="tenants",
    show_default=True,
    help="The source that the documents join; a platform document is proposed where there is none.",
)
@click.option("--tenant", help="Whose a file is that names no tenant.")
@click.option("--owner", metavar="EMAIL", help="Whom to write to, for tenants that come in.")
@click.option("--classification", type=click.Choice(["H", "VH", "VVH"]), help="The class of an API that names none.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="HOST=URL",
    help="The base URL in place of a host that is none for a backend.",
)
@click.option(
    "--env",
    "environments",
    multiple=True,
    type=click.Choice(["dev", "staging", "prod"]),
    help="Environments of the backends; the tenant's where left out.",
)
@click.option("--allow-host", is_flag=True, help="Add the backends' hosts to the platform's allowed hosts.")
@click.option("--force", is_flag=True, help="Write over contracts of the same name.")
@click.option("--dry-run", is_flag=True, help="Write no documents.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the whole report there, as Markdown.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def import_stoa_v2_command(
    path: Path,
    source: Path,
    tenant: str | None,
    owner: str | None,
    classification: "ClassificationName | None",
    backends: tuple[str, ...],
    environments: tuple["EnvironmentName", ...],
    allow_host: bool,
    force: bool,
    dry_run: bool,
    report_file: Path | None,
    form: str,
) -> None:
    """Tenants and contracts out of PATH: a UAC v1 contract, a tenant's bundle, or a folder of them.

    What fits is carried over, what the platform's checks refuse is left out, and every value of every file is in
    the report: carried over, or with the reason why not. Exits 1 when a file or an operation could not come in.
    """
    from stoa_compiler.stoa_v2.importer import import_stoa_v2
    from stoa_compiler.stoa_v2.wishes import ImportRefused, Wishes
    from stoa_compiler.write import replace_files

    try:
        files = _files(path)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", OUTSIDE)
    if not files:
        _fail(f"`{path}` holds no {', '.join(SUFFIXES)} file", WRONG_USE)
    given = {}
    for pair in backends:
        host, equals, url = pair.partition("=")
        if not equals or not host:
            _fail(f"--backend {pair}: write HOST=URL", WRONG_USE)
        given[host.lower()] = url
    try:
        imported = import_stoa_v2(files, source, Wishes(tenant, owner, classification, environments, given))
    except ImportRefused as error:
        _fail(str(error), WRONG_USE)
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"{source}: {error}", OUTSIDE)
    changes = {source / p: content for p, content in imported.files.items()}
    if imported.platform is not None and (imported.proposed or allow_host):
        changes[source / "platform.yaml"] = imported.platform
    standing = [
        p for p, content in changes.items() if p.name != "platform.yaml" and p.exists() and p.read_bytes() != content
    ]
    if standing and not force and not dry_run:
        _fail(f"{', '.join(map(str, standing))} would be overwritten; --force does it", WRONG_USE)
    try:
        if not dry_run:
            replace_files(changes)
        if report_file is not None:
            from stoa_compiler.stoa_v2.report import as_markdown

            replace_files({report_file: as_markdown(imported).encode()})
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", OUTSIDE)
    _show(imported, [] if dry_run else [str(p) for p in changes], source, allow_host, form)
    if imported.report.errors or any(row.tool is None for row in imported.rows):
        raise SystemExit(FINDINGS)


def _files(path: Path) -> "list[SourceFile]":
    """The files at or below `path` that may be of the earlier form, sorted."""
    from stoa_compiler.source import SourceFile

    if path.is_file():
        return [SourceFile(path.name, str(path), path.read_bytes())]
    found = []
    for file in sorted(path.rglob("*")):
        below = file.relative_to(path)
        hidden = any(part.startswith(".") for part in below.parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file() and not file.is_symlink():
            found.append(SourceFile(below.as_posix(), str(file), file.read_bytes()))
    if len(found) > MAX_FILES:
        _fail(f"`{path}` holds {len(found)} files; at most {MAX_FILES} are taken at once", WRONG_USE)
    return found


def _show(imported: "Imported", written: list[str], source: Path, allow_host: bool, form: str) -> None:
    from stoa_compiler.cli.session import show
    from stoa_compiler.stoa_v2.report import as_json, as_text

    change = None
    if imported.platform is not None:
        change = "proposed" if imported.proposed else "hosts allowed" if allow_host else "hosts to allow"
    if form == "json":
        click.echo(json.dumps(as_json(imported, written, change), indent=2, ensure_ascii=False))
        return
    click.echo(as_text(imported), nl=False)
    show(imported.report, imported.sources)
    for path in written:
        click.echo(f"wrote {path}")
    if imported.hosts and not allow_host:
        click.echo(f"{source / 'platform.yaml'} must allow these hosts (or run again with --allow-host --force):")
        click.echo("  spec.backends.allowedHosts:")
        for host, tenant in imported.hosts:
            click.echo(f"    - host: {host}\n      tenants: [{tenant}]")


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)

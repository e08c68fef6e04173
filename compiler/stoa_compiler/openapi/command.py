"""`stoa import openapi`: a contract out of an OpenAPI description."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

if TYPE_CHECKING:
    from stoa_compiler.openapi.importer import Imported
    from stoa_schemas.documents.platform import ClientProfile, EnvironmentName

FINDINGS, WRONG_USE, OUTSIDE = 1, 2, 3

_DOES = {"refused": "refuses", "lost": "loses"}


@click.command("openapi")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="tenants",
    show_default=True,
    help="The folder that holds `platform.yaml`.",
)
@click.option("--tenant", required=True, help="Whose contract it is.")
@click.option("--name", required=True, help="The contract's name.")
@click.option("--tag", "tags", multiple=True, help="Take operations with this tag.")
@click.option(
    "--operation", "operations", multiple=True, help="Take the operation with this id; `*` for any characters."
)
@click.option("--path", "paths", multiple=True, help="Take operations at this path; `*` for any characters.")
@click.option("--method", "methods", multiple=True, help="Take operations with this method.")
@click.option("--all", "everything", is_flag=True, help="Take every operation.")
@click.option("--backend", metavar="URL", help="The backend's base URL; the description's first server where left out.")
@click.option("--owner", metavar="EMAIL", help="Whom to write to; the tenant's contact where left out.")
@click.option("--classification", type=click.Choice(["H", "VH", "VVH"]), default="H", show_default=True)
@click.option(
    "--status", type=click.Choice(["draft", "published", "deprecated"]), default="published", show_default=True
)
@click.option(
    "--env",
    "environments",
    multiple=True,
    type=click.Choice(["dev", "staging", "prod"]),
    help="Environments of the backend; the tenant's where left out.",
)
@click.option(
    "--binary",
    type=click.Choice(["exclude", "base64"]),
    default="exclude",
    show_default=True,
    help="Whether operations with multipart bodies or bytes are left out, or agents give and get bytes as base64.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    type=click.Choice(["claude", "openai", "openai-strict", "gemini"]),
    help="Say what this client is known not to take.",
)
@click.option("--allow-host", is_flag=True, help="Add the backend's host to the platform's allowed hosts.")
@click.option("--force", is_flag=True, help="Write over a contract of that name.")
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def import_openapi_command(
    file: Path,
    source: Path,
    tenant: str,
    name: str,
    tags: tuple[str, ...],
    operations: tuple[str, ...],
    paths: tuple[str, ...],
    methods: tuple[str, ...],
    everything: bool,
    backend: str | None,
    owner: str | None,
    classification: Literal["H", "VH", "VVH"],
    status: Literal["draft", "published", "deprecated"],
    environments: tuple["EnvironmentName", ...],
    binary: Literal["exclude", "base64"],
    clients: tuple["ClientProfile", ...],
    allow_host: bool,
    force: bool,
    dry_run: bool,
    form: str,
) -> None:
    """A contract with the chosen operations of the OpenAPI description FILE, and a pinned copy of FILE.

    An operation is taken when it fulfils every kind of choice that is given; with none, the operations are
    listed and nothing is written. Method, path, schemas and texts stay in the copy and are read from there
    when the source compiles.
    """
    from stoa_compiler.openapi import importer
    from stoa_compiler.openapi.model import DescriptionError
    from stoa_compiler.write import replace_files

    declared = _tenant(source, tenant)
    owner = owner or str(declared.get("contact", ""))
    if not owner:
        _fail(f"`{tenant}` has no `tenant.yaml` with a contact; name the owner with --owner", WRONG_USE)
    chosen: Any = environments or declared.get("environments") or ("dev", "staging", "prod")
    selection = importer.Selection(tags, operations, paths, methods, everything)
    try:
        imported = importer.import_openapi(
            file.read_bytes(),
            file.name,
            tenant=tenant,
            name=name,
            selection=selection,
            backend_url=backend,
            environments=tuple(chosen),
            owner=owner,
            classification=classification,
            status=status,
            binary=binary,
            clients=clients,
        )
    except DescriptionError as error:
        place = f":{error.line}:{error.column}" if error.line else ""
        _fail(f"{file}{place}: {error.message}", FINDINGS)
    except importer.ImportRefused as error:
        _fail(str(error), WRONG_USE)
    except OSError as error:
        _fail(f"{file}: {error.strerror}", OUTSIDE)
    changes = {source / path: content for path, content in imported.files.items()}
    if selection.empty:
        _show(imported, [], form)
        _fail("nothing is chosen: name operations by --tag, --operation, --path or --method, or take --all", WRONG_USE)
    if not changes:
        _show(imported, [], form)
        _fail("no operation can be imported", FINDINGS)
    standing = [p for p, content in changes.items() if p.exists() and p.read_bytes() != content]
    if standing and not force:
        _fail(f"{', '.join(map(str, standing))} would be overwritten; --force does it", WRONG_USE)
    platform = source / "platform.yaml"
    host_missing = True
    try:
        before = platform.read_text("utf-8")
        after = importer.allow_host(before, imported.host, tenant)
        host_missing = after != before
        if allow_host and host_missing:
            changes[platform] = after.encode()
    except (OSError, UnicodeDecodeError) as error:
        if allow_host:
            _fail(f"{platform}: {error}", OUTSIDE)
    except importer.ImportRefused as error:
        if allow_host:
            _fail(str(error), FINDINGS)
    written = [] if dry_run else [str(p) for p in changes]
    if not dry_run:
        try:
            replace_files(changes)
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}", OUTSIDE)
    _show(imported, written, form, add_host=tenant if host_missing and not allow_host else None)


def _tenant(source: Path, tenant: str) -> dict[str, Any]:
    """What the tenant's document says; nothing where it cannot be read: `stoa check` says why."""
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.parse import parse_file
    from stoa_compiler.source import SourceFile
    from stoa_schemas.names import is_id

    path = source / tenant / "tenant.yaml"
    if not is_id(tenant) or not path.is_file():
        return {}
    document = parse_file(SourceFile("tenant.yaml", str(path), path.read_bytes()), Report())
    spec = document.data.get("spec") if document and isinstance(document.data, dict) else None
    if not isinstance(spec, dict):
        return {}
    found: dict[str, Any] = {}
    if isinstance(spec.get("contact"), str):
        found["contact"] = spec["contact"]
    environments = spec.get("environments")
    if isinstance(environments, list) and all(e in ("dev", "staging", "prod") for e in environments):
        found["environments"] = environments
    return found


def _show(imported: "Imported", written: list[str], form: str, add_host: str | None = None) -> None:
    if form == "json":
        click.echo(json.dumps(_as_json(imported, written, add_host), indent=2, ensure_ascii=False))
        return
    for line in table(imported):
        click.echo(line)
    for row in imported.operations:
        for concern in row.concerns:
            click.echo(f"note: {concern.client} {_DOES[concern.effect]} of `{row.tool}`: {concern.message}", err=True)
    for problem in imported.problems:
        click.echo(f"note: {problem.pointer or '/'}: {problem.message}\n  help: {problem.help}", err=True)
    for path in written:
        click.echo(f"wrote {path}")
    if add_host is not None:
        click.echo(
            "The platform document must allow the backend's host (or run again with --allow-host --force):\n"
            f"  spec.backends.allowedHosts:\n    - host: {imported.host}\n      tenants: [{add_host}]"
        )


def table(imported: "Imported") -> list[str]:
    """The operations as a person reads them: each with its tool, tokens and side effects, or why it is left out."""
    from stoa_compiler import tokens

    rows = [("OPERATION", "TOOL", "TOKENS", "SIDE EFFECTS")]
    for row in imported.operations:
        shown = row.operation if row.operation.startswith(row.method + " ") else f"{row.operation} ({row.method})"
        if row.state == "in":
            rows.append((_cut(shown), row.tool or "", f"{row.tokens:,}", row.side_effects or ""))
        elif row.state == "left out":
            rows.append((_cut(shown), "-", "-", f"left out: {row.reason}"))
        else:
            rows.append((_cut(shown), "-", "-", "not selected" + (f" [{', '.join(row.tags)}]" if row.tags else "")))
    widths = [max(len(r[i]) for r in rows) for i in (0, 1, 2)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    states = [r.state for r in imported.operations]
    counted = ", ".join(f"{states.count(s)} {s}" for s in ("in", "left out", "not selected") if states.count(s))
    notes = sum(len(r.notes) for r in imported.operations if r.state == "in")
    weight = tokens.shown(r.tokens for r in imported.operations if r.tokens is not None)
    lines.append(
        f"{len(states)} operations: {counted or 'none'}"
        + (f"; {weight} tokens" if "in" in states else "")
        + (f"; {notes} notes (--format json)" if notes else "")
    )
    return lines


def _cut(text: str, limit: int = 60) -> str:
    from stoa_compiler.openapi.text import one_line

    return one_line(text, limit)


def _as_json(imported: "Imported", written: list[str], add_host: str | None) -> dict[str, Any]:
    def problem(found: Any) -> dict[str, str]:
        return {"pointer": found.pointer, "message": found.message, "help": found.help}

    return {
        "backend": imported.backend_url,
        "allowHost": None if add_host is None else {"host": imported.host, "tenants": [add_host]},
        "written": written,
        "tokens": sum(row.tokens or 0 for row in imported.operations),
        "operations": [
            {
                "operation": row.operation,
                "method": row.method,
                "path": row.path,
                "tags": list(row.tags),
                "state": row.state,
                "name": row.name,
                "tool": row.tool,
                "sideEffects": row.side_effects,
                "tokens": row.tokens,
                "reason": row.reason or None,
                "notes": [problem(p) for p in row.notes],
                "clients": [{"client": c.client, "effect": c.effect, "message": c.message} for c in row.concerns],
            }
            for row in imported.operations
        ],
        "problems": [problem(p) for p in imported.problems],
    }


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)

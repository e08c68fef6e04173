"""`stoa audit`: what can be told about an audit log."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

if TYPE_CHECKING:
    from stoa_compiler.auditlog import Head, Remark, Verified

_SHOWN = 100
"""Findings that the text shows."""


@click.group("audit")
def command() -> None:
    """What can be told about an audit log."""


@command.command("verify")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--head", "heads", multiple=True, metavar="SEQ:HASH", help="A line that the log had reached.")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key that lines are sealed with, as the runtime has it.",
)
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def verify_command(files: tuple[Path, ...], heads: tuple[str, ...], key_file: Path | None, form: str) -> None:
    """Whether no line of FILES was changed, taken out of the middle, put in or moved.

    Give the files of one log together: each is compared with the one before it, in whatever order they are given. Lines
    missing at the end show by `--head`, and by the `.head` file that the runtime keeps beside the log.
    """
    from stoa_compiler import auditlog

    wanted = [_head(text) for text in heads]
    try:
        key = key_file.read_bytes().strip() if key_file else None
        found = auditlog.verify(list(dict.fromkeys(files)), key, wanted)
    except OSError as error:
        fail(f"`{error.filename}` cannot be read: {error.strerror}", OUTSIDE)
    click.echo(json.dumps(_as_json(found), indent=2)) if form == "json" else _show(found)
    if found.findings:
        raise SystemExit(FINDINGS)


def _head(text: str) -> "Head":
    from stoa_compiler.auditlog import parsed_head

    head = parsed_head(text)
    if head is None:
        fail(f"`{text}` is not SEQ:HASH, a line's number and its hash of 64 hexadecimal digits", WRONG_USE)
    return head


def _show(found: "Verified") -> None:
    for finding in found.findings[:_SHOWN]:
        click.echo(f"{_where(finding)}: error: {finding.message}", err=True)
    if len(found.findings) > _SHOWN:
        click.echo(f"... and {len(found.findings) - _SHOWN} more; --format json has them all", err=True)
    for note in found.notes:
        click.echo(f"{_where(note)}: note: {note.message}", err=True)
    for stretch in found.stretches:
        lines = f"{stretch.lines} line{'' if stretch.lines == 1 else 's'}"
        click.echo(f"{stretch.file}: {lines}, head {stretch.last.sequence}:{stretch.last.hash}")
    if found.findings:
        many = len(found.findings)
        click.echo(f"{many} finding{'' if many == 1 else 's'}: the log is not as it was written", err=True)


def _where(remark: "Remark") -> str:
    if not remark.file:
        return "--head"
    return f"{remark.file}:{remark.line}" if remark.line else remark.file


def _as_json(found: "Verified") -> dict[str, Any]:
    def listed(remarks: "list[Remark]") -> list[dict[str, Any]]:
        return [{"file": r.file or None, "line": r.line or None, "message": r.message} for r in remarks]

    return {
        "version": 1,
        "files": [
            {
                "file": str(stretch.file),
                "chain": stretch.first.chain,
                "lines": stretch.lines,
                "first": stretch.first.sequence,
                "last": stretch.last.sequence,
                "hash": stretch.last.hash,
            }
            for stretch in found.stretches
        ],
        "findings": listed(found.findings),
        "notes": listed(found.notes),
    }

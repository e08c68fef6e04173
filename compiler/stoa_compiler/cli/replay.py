"""`stoa replay`: recorded calls, decided again by another bundle."""

import contextlib
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="AUDIT...", type=_FILE)
@click.option(
    "--against",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="BUNDLE",
    help="The bundle that decides now.",
)
@click.option("--since", metavar="TIME", help="Only calls from this time on: `2026-11-17` or `2026-11-17T08:00:00Z`.")
@click.option("--until", metavar="TIME", help="Only calls before this time.")
@click.option(
    "--people",
    "lists",
    multiple=True,
    type=_FILE,
    help="People's ids and user names, JSON, as Keycloak's `kcadm.sh get users` lists them; can be given again.",
)
@click.option("--key-file", type=_FILE, help="The key that lines are sealed with, as the runtime has it.")
@click.option("--format", "form", type=click.Choice(("text", "json", "markdown")), default="text", show_default=True)
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, help="Groups of one kind that are shown; 0: all."
)
@click.option("--exit-code", is_flag=True, help="End with 1 where a call that was allowed would be refused.")
def command(
    files: tuple[Path, ...],
    against: Path,
    since: str | None,
    until: str | None,
    lists: tuple[Path, ...],
    key_file: Path | None,
    form: str,
    limit: int,
    exit_code: bool,
) -> None:
    """What the calls recorded in AUDIT would come to by another bundle.

    AUDIT are files of the runtime's audit log, plain or gzipped, or a topic's messages as lines, in any order. Shown is
    which calls would now be refused, need an approval, or be allowed, and why.
    """
    from stoa_compiler.bundles import problems
    from stoa_compiler.replay import forms
    from stoa_compiler.replay.access import Access, NoBundle
    from stoa_compiler.replay.callers import Callers, PeopleUnreadable
    from stoa_compiler.replay.comparison import compare
    from stoa_compiler.replay.recorded import NotReadable, read
    from stoa_schemas import bundle

    low, high = _moment(since, -math.inf), _moment(until, math.inf)
    found = list(problems(against))
    for problem in found:
        click.echo(f"error: {problem}", err=True)
    if found:
        raise SystemExit(WRONG_USE)
    digest = bundle.Bundle.model_validate_json((against / bundle.BUNDLE_FILE).read_bytes()).digest
    if digest is None:
        fail(f"`{against}` holds no catalogs: its environment does not render the target `mcp`", WRONG_USE)
    try:
        key = key_file.read_bytes().strip() if key_file else None
        access = Access(against)
        callers = Callers(against, access.index, lists)
        done = compare(read(list(dict.fromkeys(files)), key), access, callers, digest, low, high)
    except OSError as error:
        fail(f"`{error.filename}` cannot be read: {error.strerror}", OUTSIDE)
    except NotReadable as error:
        fail(str(error), OUTSIDE)
    except (NoBundle, PeopleUnreadable) as error:
        fail(str(error), WRONG_USE)
    if form == "json":
        click.echo(forms.as_json(done), nl=False)
    else:
        click.echo(forms.as_markdown(done, limit) if form == "markdown" else forms.as_text(done, limit), nl=False)
    if exit_code and done.count("refused"):
        raise SystemExit(FINDINGS)


def _moment(text: str | None, otherwise: float) -> float:
    if text is None:
        return otherwise
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{5,8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?", text):
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return fail(f"`{text}` is no time: write `2026-11-17` or `2026-11-17T08:00:00Z`, which is UTC", WRONG_USE)

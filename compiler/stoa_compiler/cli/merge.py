"""`stoa merge`: the bundle from the parts that `stoa compile --shard` wrote, on several machines of CI."""

import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from stoa_compiler.cli.compile import Call, run
from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, Outputs, fail, jobs_option, report_options
from stoa_compiler.diagnostics import Report
from stoa_compiler.records import record
from stoa_compiler.watch import Stopwatch

if TYPE_CHECKING:
    from stoa_compiler.kept import Tenants
    from stoa_compiler.load import Source
    from stoa_compiler.shares import One, Share

API_VERSION = "gostoa.dev/part/v1"
PART_FILE = "part.json"


@click.command("merge")
@click.argument(
    "parts", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="PART..."
)
@click.option(
    "--source",
    default="tenants",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The source that the parts were made from.",
)
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@report_options
@jobs_option
def command(parts: tuple[Path, ...], source: Path, environment: str, out: Path, outputs: Outputs, jobs: int) -> None:
    """The bundle from all PARTs of `stoa compile --shard`: the same bytes as of one compile.

    What looks at all tenants side by side is judged here. A part that is missing, or was made from another source or
    by another compiler, is refused.

    \b
        stoa compile --env prod --shard 1/2 --out parts/1     # each in a job of its own
        stoa compile --env prod --shard 2/2 --out parts/2
        stoa merge parts/* --env prod --out out/prod
    """
    _check_parts(parts, environment)
    memory = _Parts(_tenants(parts, source), source)
    try:
        done = run(Call(source, environment, out, False, outputs, jobs, None, Stopwatch(), memory=memory))
    except pickle.UnpicklingError as error:
        fail(f"a part holds what no part holds: {error}", WRONG_USE)
    if done.summary is not None:
        click.echo(orjson.dumps(done.summary))
    raise SystemExit(done.code)


def write_part(source: Path, environment: str, out: Path, shard: tuple[int, int], outputs: Outputs) -> int:
    """Writes one part of the source's tenants; the exit code that its findings lead to."""
    from stoa_compiler.load import load
    from stoa_compiler.pipeline import making
    from stoa_compiler.shares import divided

    number, count = shard
    if out.exists() and not (out / PART_FILE).is_file() and any(out.iterdir()):
        fail(f"`{out}` holds something that is no part: it is left alone", WRONG_USE)
    report = Report()
    whole = load(source, report)
    groups = divided(whole, count)
    mine = groups[number - 1] if number <= len(groups) else whole.narrowed(())
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
    try:
        (memory,) = _tenants([staging], source)
        share = making([environment], memory).share(mine)
        report.found.extend([*share.found, *share.proved.get(environment, ())])
        declared = share.graph.platform.spec.environments if share.graph is not None else ()
        if share.graph is not None and environment not in declared:
            fail(f"`{environment}` is no environment of the platform; declared: {', '.join(declared)}", WRONG_USE)
        outputs.publish(report, whole.files)
        if report.errors:
            return FINDINGS
        names = sorted({p.tenant for p in mine.placed if p.tenant is not None})
        told = {"apiVersion": API_VERSION, "shard": [number, count], "environment": environment, "tenants": names}
        (staging / PART_FILE).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        staging.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        staging.rename(out)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not outputs.on_stdout:
        click.echo(f"{out}: part {number} of {count}, {len(names)} tenant{'' if len(names) == 1 else 's'}")
    return 0


@record(slots=False)
class _Parts:
    """What the parts tell of tenants."""

    parts: "tuple[Tenants, ...]"
    source: Path

    def known(self, environments: Sequence[str] | None, targets: Collection[str]) -> "Mapping[str, One]":
        """Every tenant of the source; ends the command where a part does not tell of one."""
        known = {tenant: one for part in self.parts for tenant, one in part.known(environments, targets).items()}
        there = {name for name in self.parts[0].digests() if name}
        lost = sorted(there - known.keys())
        if lost:
            shown = ", ".join(f"`{name}`" for name in lost[:5]) + (f" and {len(lost) - 5} more" if lost[5:] else "")
            fail(
                f"no part tells of {shown} as `{self.source}` has it: "
                "were all made from this very source, under this name, and by this compiler?",
                WRONG_USE,
            )
        return known

    def keep(
        self,
        share: "Share",
        source: "Source",
        environments: Sequence[str] | None,
        targets: Collection[str],
    ) -> None:
        """Keeps nothing: the parts have it."""

    def settle(self, tenants: "Mapping[str, One]", source: "Source") -> None:
        """Likewise."""


def _tenants(parts: Sequence[Path], source: Path) -> "tuple[Tenants, ...]":
    """What the parts' folders hold of the source's tenants."""
    from stoa_compiler.cache import HandedOver
    from stoa_compiler.distributed import code_digest
    from stoa_compiler.kept import Tenants
    from stoa_compiler.load import shown_root

    scope, digests = f"{code_digest()} {shown_root(source)}", cache(lambda: _digests(source))
    return tuple(Tenants(HandedOver(part, limit=sys.maxsize), scope, digests) for part in parts)


def _digests(source: Path) -> Mapping[str, str]:
    """The digest of each of the source's folders."""
    from stoa_compiler.snapshots import SOURCE, by_folder

    digests = {}
    for folder, below, names in os.walk(source):
        below[:] = filter(SOURCE.takes, below)
        for name in filter(SOURCE.takes, names):
            path = Path(folder, name)
            digests[path.relative_to(source).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return by_folder(digests)


def _check_parts(parts: Sequence[Path], environment: str) -> None:
    """Ends the command where the parts are not all parts of one whole."""
    told: dict[Path, Any] = {}
    for part in parts:
        try:
            told[part] = orjson.loads((part / PART_FILE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            told[part] = None
        if not _is_part(told[part]):
            fail(f"`{part}` is no part that this compiler knows", WRONG_USE)
        if told[part]["environment"] != environment:
            fail(f"`{part}` is of the environment `{told[part]['environment']}`, not of `{environment}`", WRONG_USE)
    counts = {entry["shard"][1] for entry in told.values()}
    if len(counts) > 1:
        fail(f"the parts are of wholes of {' and '.join(map(str, sorted(counts)))} parts", WRONG_USE)
    missing = sorted(set(range(1, counts.pop() + 1)) - {entry["shard"][0] for entry in told.values()})
    if missing:
        fail(f"part{'' if len(missing) == 1 else 's'} {', '.join(map(str, missing))} missing", WRONG_USE)


def _is_part(told: Any) -> bool:
    match told:
        case {"apiVersion": version, "environment": str(), "shard": [int(), int()]}:
            return bool(version == API_VERSION)
    return False

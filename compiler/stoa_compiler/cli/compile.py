"""`stoa compile`: the bundle of one environment."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoa_compiler.cli.session import (
    FINDINGS,
    OUTSIDE,
    WRONG_USE,
    Outputs,
    cache_options,
    fail,
    jobs_option,
    report_options,
    source_argument,
)
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile
from stoa_compiler.watch import Stopwatch, cpu_seconds, showing

if TYPE_CHECKING:
    from stoa_compiler.cache import Cache
    from stoa_compiler.kept import Kept, Run
    from stoa_compiler.load import Placed
    from stoa_compiler.shares import Engine, Memory
    from stoa_compiler.target import Artifact, Joined

_ENGINE = "Where the tenants are compiled: here, or on a Dask cluster."


class Shard(click.ParamType[tuple[int, int]]):
    """`N/M`."""

    name = "N/M"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Number and count."""
        number, slash, count = str(value).partition("/")
        if not slash or not (number.isdecimal() and count.isdecimal()) or not 1 <= int(number) <= int(count) <= 10_000:
            self.fail(f"`{value}` is not N/M, such as 1/4", param, ctx)
        return int(number), int(count)


@click.command("compile")
@source_argument
@click.option("--env", "environment", required=True, help="The environment: dev, staging or prod.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle's folder; replaced whole or not at all."
)
@click.option("--keep-going", is_flag=True, help="Write what has no errors, name what is left out, and exit 1.")
@click.option("--timings", is_flag=True, help="Tell where time and memory went: on stderr, or in the summary.")
@click.option(
    "--profile",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File for a profile that pstats reads; one process then does all the work.",
)
@click.option(
    "--shard",
    type=Shard(),
    help="Only part N of M of the tenants, for `stoa merge`: --out is then a part, and no bundle.",
)
@click.option("--engine", type=click.Choice(("local", "dask")), default="local", show_default=True, help=_ENGINE)
@click.option("--scheduler", help="Where the Dask scheduler listens, such as tcp://host:8786.")
@report_options
@jobs_option
@cache_options
def command(
    source: Path,
    environment: str,
    out: Path,
    keep_going: bool,
    timings: bool,
    profile: Path | None,
    shard: "tuple[int, int] | None",
    engine: str,
    scheduler: str | None,
    outputs: Outputs,
    jobs: int,
    cache: "Cache | None",
) -> None:
    """Compile SOURCE into the bundle of one environment.

    The same source gives the same bytes. With any error, nothing is written, but for `--keep-going`: it leaves out
    what an error stands in (an operation, else its document, else the tenant) and compiles the rest.

    Findings go where `stoa check` puts them. With `--format json`, stdout has a summary where there is no error.
    """
    watch, start_cpu = Stopwatch(), cpu_seconds()
    if (engine == "dask") != (scheduler is not None):
        raise click.UsageError("--engine dask and --scheduler go together")
    if keep_going and (shard or scheduler):
        raise click.UsageError("--keep-going compiles in one process: it goes neither with --shard nor with --engine")
    if shard is not None:
        from stoa_compiler.cli.merge import write_part

        raise SystemExit(write_part(source, environment, out, shard, outputs))
    if timings or profile is not None:
        from stoa_compiler.timings import CountedCache, Timings, profiled, slowest
    counted = CountedCache(cache) if timings and cache else None
    jobs = jobs if profile is None else 1
    call = Call(source, environment, out, keep_going, outputs, jobs, counted or cache, watch, _engine(scheduler))
    if profile is None:
        done = run(call)
    else:
        try:
            stream = profile.open("wb")
        except OSError as error:
            fail(f"the profile `{profile}` cannot be written: {error.strerror}", OUTSIDE)
        with stream, profiled(stream):
            done = run(call)
    elapsed = time.perf_counter() - watch.started
    told = None
    if timings:
        told = Timings(watch.laps, elapsed, start_cpu, slowest(done.result.placed), counted, done.recalled)
    if done.summary is not None:
        import orjson

        extra = {} if told is None else {"timings": told.as_json()}
        click.echo(orjson.dumps({**done.summary, "milliseconds": round(elapsed * 1000), **extra}))
    elif told is not None:
        click.echo(told.as_text(), err=True)
    raise SystemExit(done.code)


def _engine(scheduler: str | None) -> "Engine | None":
    if scheduler is None:
        return None
    try:
        import distributed  # noqa: F401
    except ImportError:
        fail("--engine dask needs Dask: pip install 'stoa-platform[distributed]'", OUTSIDE)
    from stoa_compiler.distributed import on_cluster

    return on_cluster(scheduler)


@record(slots=False)
class Call:
    """What the command was asked for."""

    source: Path
    environment: str
    out: Path
    keep_going: bool
    outputs: Outputs
    jobs: int
    cache: "Cache | None"
    watch: Stopwatch
    engine: "Engine | None" = None
    memory: "Memory | None" = None
    """What is known of tenants already, where the cache does not tell."""

    @property
    def as_summary(self) -> bool:
        """Whether stdout is to have a summary in JSON."""
        return self.outputs.on_stdout and self.outputs.form == "json"


@record(slots=False)
class _Done:
    """What came of it."""

    result: "_Result"
    code: int
    recalled: bool
    """Whether an earlier run gave the result."""
    summary: Mapping[str, Any] | None = None


def run(call: Call) -> _Done:
    """Compiles or recalls, publishes the findings, and writes the bundle."""
    watch, as_summary = call.watch, call.as_summary
    outputs = replace(call.outputs, form="text") if as_summary else call.outputs
    with showing(watch):
        with watch.phase("recall"):
            from stoa_compiler.kept import Run

            options = {"env": call.environment, "keepGoing": call.keep_going, "summary": as_summary}
            earlier = Run.of(call.cache, call.source, "compile", options)
            kept = earlier.recall(outputs.forms) if earlier else None
        result = _recalled(kept) if kept else _compiled(call, earlier)
        with watch.phase("keep"):
            if earlier and not kept and not earlier.keep(result.found, result.files, result.facts):
                earlier = None
    report, facts = Report(list(result.found)), result.facts
    if not facts["rendered"]:
        call.outputs.publish(report, result.files, earlier)
        return _Done(result, FINDINGS, kept is not None)
    outputs.publish(report, result.files, earlier)
    with showing(watch):
        changed = _write(call, result, earlier)
    code = FINDINGS if facts["leftOut"] else 0
    if not call.outputs.on_stdout:
        _say(call, facts, changed)
    if not as_summary:
        return _Done(result, code, kept is not None)
    summary = {key: value for key, value in facts.items() if key not in _NOT_SHOWN}
    return _Done(result, code, kept is not None, {**summary, "changed": changed})


@record(slots=False)
class _Result:
    """What compiling gave, now or before."""

    found: Sequence[Diagnostic]
    files: Mapping[str, SourceFile]
    facts: Mapping[str, Any]
    """What the summary says; `rendered`: whether there is a bundle, `bundle`: the digest of all its files."""
    bundle: "Mapping[str, Artifact] | None"
    """The bundle's files; None where they are to be taken from the cache."""
    placed: "Sequence[Placed]" = ()
    """The source's documents, where they were read now."""


_NOT_SHOWN = ("rendered", "bundle")


def _recalled(kept: "Kept") -> _Result:
    return _Result(kept.found, kept.files, kept.facts, None)


def _compiled(call: Call, run: "Run | None") -> _Result:
    """What compiling gives; ends the command where the environment is not declared."""
    environment, keep_going, watch = call.environment, call.keep_going, call.watch
    with watch.phase("import"):
        from stoa_compiler.kept import Lost, bundle_digest
        from stoa_compiler.pipeline import compiled, read, render
        from stoa_compiler.shares import FORGETFUL
        from stoa_compiler.sound import sound

    report = Report()
    left_out: tuple[str, ...] = ()
    if keep_going:
        checked = read(call.source, report, watch)
        graph, source, tools, bundle = checked.graph, checked.source, None, None
        if report.errors and graph is not None:
            kept = sound(graph, source, report)
            graph, left_out = (kept.graph, kept.left_out) if kept is not None else (None, ())
        if graph is not None and environment in graph.platform.spec.environments:
            rendered = Report()
            with suppress(Stop):
                bundle = render(graph, environment, rendered, watch)
            report.found.extend(rendered.found)
    else:
        memory = call.memory or (run.tenants if run else FORGETFUL)
        begin = _beginning(call.out) if call.jobs > 1 and call.engine is None else None
        try:
            result = compiled(call.source, report, [environment], call.jobs, watch, memory, call.engine, begin)
        except Lost as loss:
            if call.memory is not None:
                fail(str(loss), OUTSIDE)
            return _compiled(replace(call, cache=None), None)  # Nothing is known: all is made anew.
        except RuntimeError as error:
            if call.engine is None:
                raise
            fail(str(error), OUTSIDE)
        graph, source, tools = result.graph, result.source, result.tools
        bundle = result.bundles.get(environment)
    if graph is not None and (keep_going or not report.errors):
        declared = list(graph.platform.spec.environments)
        if environment not in declared:
            fail(f"`{environment}` is no environment of the platform; declared: {', '.join(declared)}", WRONG_USE)
    files = source.files
    if graph is None or bundle is None:
        return _Result(report.sorted(), files, {"rendered": False}, None, source.placed)
    tenants = graph.facts_in(environment)
    facts: dict[str, Any] = {
        "rendered": True,
        "bundle": bundle_digest(bundle.files),
        "documents": source.count,
        "tenants": len(tenants),
        "tools": sum(len(graph.tenant(t.name).operations) if tools is None else tools[t.name] for t in tenants),
        "artifacts": len(bundle.files),
        "digest": bundle.digest,
        "leftOut": list(left_out),
    }
    if call.as_summary:
        from stoa_compiler.tokens import of_catalog

        catalogs = {t.name: bundle.files.get(f"mcp/tenants/{t.name}.json") for t in tenants}
        facts["tokens"] = {name: of_catalog(a.content if a is not None else None) for name, a in catalogs.items()}
    return _Result(report.sorted(), files, facts, bundle.files, source.placed)


def _beginning(out: Path) -> "Callable[[Joined], None]":
    from stoa_compiler.write import begun

    return lambda file: file.begin(begun(file, out))


def _write(call: Call, result: _Result, run: "Run | None") -> bool:
    """Puts the bundle into its folder; False where it lies there already. What can no longer be had is made anew."""
    from stoa_compiler.kept import Lost

    try:
        return _put(call, result, run)
    except Lost as loss:
        if call.memory is not None:
            fail(str(loss), OUTSIDE)
        return _put(call, _compiled(replace(call, cache=None), None), None)


def _put(call: Call, result: _Result, run: "Run | None") -> bool:
    """Puts the bundle into its folder; False where it lies there already."""
    files, out, watch = result.bundle, call.out, call.watch
    with watch.phase("recall" if files is None else "keep", "bundle"):
        if files is None:
            assert run is not None
            if run.lies_in(out, result.facts["bundle"]):
                return False
            files = run.bundle()
        elif run:
            run.keep_bundle(files)
    if files is None:
        files = _compiled(call, run).bundle
        assert files is not None
    from stoa_compiler.write import NotABundle, write

    try:
        with watch.phase("write"):
            return write(files, out, run)
    except NotABundle as refusal:
        fail(str(refusal), WRONG_USE)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)


def _say(call: Call, facts: Mapping[str, Any], changed: bool) -> None:
    """What was done, for people."""
    elapsed = round((time.perf_counter() - call.watch.started) * 1000)
    click.echo(
        f"{facts['documents']} documents, {facts['tenants']} tenants, {facts['tools']} tools "
        f"-> {facts['artifacts']} artifacts in {elapsed} ms"
    )
    click.echo(f"{call.out}: {'written' if changed else 'unchanged'}, {facts['digest'] or 'no catalogs'}")
    if facts["leftOut"]:
        click.echo(f"left out, because of errors: {', '.join(facts['leftOut'])}")

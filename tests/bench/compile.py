"""The compiler beside others, in one run: `make bench-compile`, or `python tests/bench/compile.py --help`.

Every command is a whole process, start-up included: the least and the median of its times, the least time of
processors (user and system, children included) and the most memory of a process. References stand beside it: one
process that merely loads the same files with PyYAML's C loader, one that reads and hashes them, and other tools on the
same work (`peers/`), installed once into environments of their own outside the checkout.
"""

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]

from environments import python_with  # noqa: E402
from generate import generate, planned_source, tenant_files  # noqa: E402
from processes import Failed, Measured, all_processes_peak, once  # noqa: E402

STOA = str(Path(sys.executable).with_name("stoa"))
PAGE = HERE.parents[1] / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- written by tests/bench/compile.py: begin -->", "<!-- end -->"

KAPITAN = ("kapitan==0.36.3", "reclass-rs==0.11.0")
KCL = ("kcl-lib==0.13.2",)
MATPLOTLIB = ("matplotlib==3.11.2",)

LOAD = (
    "import pathlib, sys, yaml\n"
    "for path in pathlib.Path(sys.argv[1]).rglob('*.yaml'): yaml.load(path.read_bytes(), yaml.CSafeLoader)"
)
HASH = (
    "import hashlib, pathlib, sys\n"
    "for path in pathlib.Path(sys.argv[1]).rglob('*.yaml'): hashlib.sha256(path.read_bytes()).hexdigest()"
)
MARGIN = 2.2
"""Seconds after which the cache takes a file's time for its state."""
BUSY = 1.15
"""Times of the clock over times of processors of one busy process, from which on others disturb it."""
MEGABYTE = 1_000_000


def main() -> int:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_sizes, default=[100, 1000], help="tenants; 100,1000,5000,10000 for all")
    parser.add_argument("--peers", type=_sizes, default=[100], help="tenants for the other tools; none: 0")
    parser.add_argument("--runs", type=int, default=3, help="runs of each command up to 1000 tenants; above, one")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} and {PICTURE.name} in docs/")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args()
    figures = Figures()
    figures.load_before = os.getloadavg()[0]
    for size in sorted({*options.sizes, *options.peers} - {0}):
        with tempfile.TemporaryDirectory(prefix="stoa-bench-") as scratch:
            work = Work(size, Path(scratch), options.runs if size <= 1000 else 1)
            if size in options.sizes:
                figures.sizes[size] = work.measure()
            if size in options.peers:
                figures.peers[size] = peers(work, figures.left_out)
    text = report(figures)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures.as_json(), indent=2) + "\n", encoding="utf-8")
    if options.write:
        _write(text, figures)
    return 0


def _sizes(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


@dataclass
class Size:
    """What was measured with one number of tenants."""

    files: int
    measured: dict[str, Measured]
    phases: Mapping[str, Any]
    """What `--timings` told of a cold compile."""
    together: int
    """Bytes of all processes of a cold compile, at the most."""


@dataclass
class Figures:
    """Everything that was measured."""

    sizes: dict[int, Size] = field(default_factory=dict)
    peers: dict[int, dict[str, Measured]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Tools that could not be had, and why."""
    load_before: float = 0.0

    @property
    def busy(self) -> float:
        """How many times longer a process took than processors worked for it: 1 on a quiet machine."""
        loads = [size.measured["load"] for size in self.sizes.values()]
        return max((m.wall / m.cpu for m in loads), default=1.0)

    def as_json(self) -> dict[str, Any]:
        """Every run."""
        return {
            "sizes": {
                n: {
                    "files": size.files,
                    "phases": size.phases,
                    "allProcessesBytes": size.together,
                    "runs": {key: _runs(m) for key, m in size.measured.items()},
                }
                for n, size in self.sizes.items()
            },
            "peers": {n: {key: _runs(m) for key, m in found.items()} for n, found in self.peers.items()},
            "leftOut": self.left_out,
        }


def _runs(measured: Measured) -> list[dict[str, float]]:
    return [{"seconds": run.wall, "cpuSeconds": run.cpu, "peakBytes": run.peak} for run in measured.runs]


# What is measured

NAMES = {
    "start": "`python -c pass`",
    "hash": "floor: read and hash every file, one process",
    "load": "reference: PyYAML's CSafeLoader loads every file, one process",
    "cold": "`stoa compile --no-cache`: everything",
    "fill": "the same, and fills an empty cache",
    "noop": "`stoa compile`, nothing changed",
    "file": "`stoa compile`, one contract changed",
    "tenant": "`stoa compile`, all files of one tenant changed",
    "check": "`stoa check --no-cache`: everything",
    "check-noop": "`stoa check`, nothing changed",
    "check-one": "`stoa check --no-cache --jobs 1`: everything, in one process",
    "plan": "`stoa plan`, 20 files of 20 tenants changed",
    "kapitan": "kapitan 0.36.3",
    "kapitan-again": "kapitan 0.36.3 `--cache`, nothing changed",
    "kcl": "KCL 0.13.2",
}


@dataclass
class Work:
    """A generated source, and the commands that are measured on it."""

    tenants: int
    folder: Path
    runs: int
    changes: int = 0
    folders: int = 0

    def __post_init__(self) -> None:
        _note(f"{self.tenants:,} tenants: generating")
        self.source = self.folder / "source"
        self.files = generate(self.tenants, self.source)

    def measure(self) -> Size:
        """Every command. Those that change nothing take turns, so that a busy moment hits none alone."""
        measured: dict[str, Measured] = {}
        time.sleep(MARGIN)
        for _ in range(2):
            once(self._compile("warm"))
            once(self._check("warm"))
        repository = planned_source(self.source, self.tenants, self.folder / "repository")
        steady: dict[str, Callable[[], Sequence[str]]] = {
            "start": lambda: [sys.executable, "-c", "pass"],
            "hash": lambda: [sys.executable, "-c", HASH, str(self.source)],
            "load": lambda: [sys.executable, "-c", LOAD, str(self.source)],
            "cold": self._cold,
            "fill": lambda: self._compile(self._fresh("fill")),
            "noop": lambda: self._compile("warm"),
            "check": lambda: self._check(None),
            "check-noop": lambda: self._check("warm"),
            "check-one": lambda: [*self._check(None), "--jobs", "1"],
            "plan": lambda: [STOA, "plan", str(repository), "--base", "HEAD~1", "--head", "HEAD"],
        }
        for _ in range(self.runs):
            for key, command in steady.items():
                self._once(key, command(), measured)
        for key, change in (("file", self._change_file), ("tenant", self._change_tenant)):
            for _ in range(max(self.runs, 3)):
                change()
                self._once(key, self._compile("warm"), measured)
        told = once([*self._cold(), "--jobs", "1", "--timings", "--format", "json"]).out
        return Size(self.files, measured, json.loads(told)["timings"], all_processes_peak(self._cold()))

    def _once(self, key: str, command: Sequence[str], measured: dict[str, Measured]) -> None:
        _note(f"{self.tenants:,} tenants: {NAMES[key]}")
        measured.setdefault(key, Measured()).runs.append(once(command))

    def _cold(self) -> list[str]:
        return self._compile(None, self._fresh("cold"))

    def _fresh(self, name: str) -> str:
        """A name for folders that are not there yet: where many files were just removed, ext4 makes new ones slowly."""
        self.folders += 1
        return f"{name}-{self.folders}"

    def _compile(self, cache: str | None, out: str = "") -> list[str]:
        command = [STOA, "compile", str(self.source), "--env", "prod"]
        return [*command, "--out", str(self.folder / f"out-{out or cache}"), *self._cache(cache)]

    def _check(self, cache: str | None) -> list[str]:
        return [STOA, "check", str(self.source), *self._cache(cache)]

    def _cache(self, name: str | None) -> list[str]:
        return ["--no-cache"] if name is None else ["--cache", str(self.folder / f"cache-{name}")]

    def _change_file(self) -> None:
        self._change(lambda path: path.endswith("/contracts/orders.yaml"))

    def _change_tenant(self) -> None:
        self._change(lambda path: True)

    def _change(self, wanted: Callable[[str], bool]) -> None:
        """Gives the middle tenant's files another text that shows in the bundle."""
        self.changes += 1
        day = f'expires: "2031-{1 + self.changes // 28:02}-{1 + self.changes % 28:02}"'
        for path, text in tenant_files(self.tenants // 2).items():
            if wanted(path):
                changed = text.replace("spec:\n  displayName: ", f"spec:\n  displayName: {self.changes} ")
                changed = changed.replace('expires: "2031-12-31"', day)
                if changed == text:
                    raise AssertionError(f"{path} does not change")
                (self.source / path).write_text(changed, encoding="utf-8")


def peers(work: Work, left_out: dict[str, str]) -> dict[str, Measured]:
    """Other tools on the same source; those that cannot be had are left out, with the reason."""
    found: dict[str, Measured] = {}
    runs = 1 if work.tenants > 100 else min(work.runs, 2)
    for name, measure in (("kapitan", _kapitan), ("KCL", _kcl)):
        try:
            for key, command, cwd, results in measure(work):
                for _ in range(runs):
                    _note(f"{work.tenants:,} tenants: {NAMES[key]}")
                    found.setdefault(key, Measured()).runs.append(
                        once(command, cwd, {"XDG_CACHE_HOME": work.folder.as_posix()})
                    )
                _agree(name, results, work.tenants)
        except Failed as reason:
            found = {key: runs for key, runs in found.items() if not key.startswith(name.lower())}
            left_out[name] = str(reason)
            _note(f"{name} is left out: {reason}")
    return found


Command = tuple[str, Sequence[str], Path | None, Path]
"""Its key, words and working folder, and the folder of its results."""


def _kapitan(work: Work) -> Iterator[Command]:
    python, reason = python_with("kapitan", *KAPITAN)
    if python is None:
        raise Failed(reason)
    folder = work.folder / "kapitan"
    once([sys.executable, str(HERE / "peers" / "kapitan.py"), str(work.source), str(folder)])
    command = [str(python.with_name("kapitan")), "compile", "--quiet", "--inventory-backend", "reclass-rs"]
    yield "kapitan", command, folder, folder / "compiled"
    once([*command, "--cache"], folder, {"XDG_CACHE_HOME": work.folder.as_posix()})
    yield "kapitan-again", [*command, "--cache"], folder, folder / "compiled"


def _kcl(work: Work) -> Iterator[Command]:
    python, reason = python_with("kcl", *KCL)
    if python is None:
        raise Failed(reason)
    out = work.folder / "kcl"
    yield "kcl", [str(python), str(HERE / "peers" / "kcl.py"), str(work.source), str(out)], None, out


def _agree(name: str, results: Path, tenants: int) -> None:
    """Raises `Failed` where the tool did not render what it is said to render."""
    catalogs = sorted(results.glob("*/catalog.json"))
    tools = json.loads(catalogs[-1].read_bytes())["tools"] if catalogs else []
    artifacts = sum(1 for _ in results.glob("*/*.json"))
    if (len(catalogs), len(tools), artifacts) != (tenants, 30, 3 * tenants):
        raise Failed(f"{name} wrote {artifacts} artifacts for {len(catalogs)} tenants, {len(tools)} tools in the last")
    orders = next(tool for tool in tools if tool["id"].endswith(":orders:cancel_order"))
    if orders["roles"] != ["operator", "owner"]:
        raise Failed(f"{name} lets {orders['roles']} call {orders['id']}")


# What is told


def report(figures: Figures) -> str:
    """The part of the page that is measured, in Markdown."""
    parts = [_machine(figures)]
    for size, found in figures.sizes.items():
        parts.append(f"### {size:,} tenants, {size * 5:,} contracts, {found.files:,} files\n")
        parts.append(_table(found.measured, figures.peers.get(size, {}), found.measured["load"]))
    for size, others in figures.peers.items():
        if size not in figures.sizes:
            parts.append(f"### Others, {size:,} tenants\n\n{_table({}, others, None)}")
    if figures.left_out:
        parts += [f"- {name} is left out: {reason}" for name, reason in figures.left_out.items()] + [""]
    if len(figures.sizes) > 1:
        parts.append(f"### Growth\n\n{_growth(figures)}")
    parts.append(f"### Where the time goes\n\n{_phases(figures)}")
    parts.append(f"### Targets\n\n{_targets(figures)}")
    return "\n".join(parts)


def _machine(figures: Figures) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("pydantic", "PyYAML", "orjson", "jsonschema-rs"))
    cpu = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024**2 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    now = datetime.datetime.now(datetime.UTC)
    if figures.busy < BUSY:
        state = "The machine was quiet: a busy process had a processor for itself. Times of the clock are compared."
    else:
        state = (
            f"The machine was shared and busy, load {figures.load_before:.1f}: a process took up to {figures.busy:.1f} "
            "times as long as processors worked for it. Times of the clock mean little here, and those of processors "
            "(CPU) are longer than on a quiet machine: compare CPU, and only with others of this run."
        )
    return (
        f"Measured on {now:%Y-%m-%d} with commit {_commit()}: {os.cpu_count()} processors "
        f"({cpu.strip() or 'unknown'}), {memory} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {packages}.\n\n{state}\n"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty=, with changes"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return run.stdout.strip() or "unknown"


def _table(measured: Mapping[str, Measured], others: Mapping[str, Measured], load: Measured | None) -> str:
    lines = [
        "| whole command | s, least | s, median | CPU s | largest process, MB | CPU, loading = 1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for key, found in {**measured, **others}.items():
        ratio = f"{found.cpu / load.cpu:.2f}" if load else ""
        lines.append(
            f"| {NAMES[key]} | {found.wall:.2f} | {found.median:.2f} | {found.cpu:.2f} | {found.peak / MEGABYTE:.0f} "
            f"| {ratio} |"
        )
    return "\n".join(lines) + "\n"


def _growth(figures: Figures) -> str:
    sizes = list(figures.sizes)
    lines = [
        "| CPU s | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent |",
        "|---|" + "---:|" * (len(sizes) + 1),
    ]
    for key in ("load", "cold", "check", "noop", "file", "tenant"):
        values = [figures.sizes[size].measured[key].cpu for size in sizes]
        cells = " | ".join(f"{value:.2f}" for value in values)
        lines.append(f"| {NAMES[key]} | {cells} | {exponent(sizes, values):.2f} |")
    memory = {
        "largest process of a cold compile, MB": [figures.sizes[size].measured["cold"].peak for size in sizes],
        "all processes of a cold compile together, MB": [figures.sizes[size].together for size in sizes],
    }
    for name, values in memory.items():
        cells = " | ".join(f"{value / MEGABYTE:.0f}" for value in values)
        lines.append(f"| {name} | {cells} | {exponent(sizes, values):.2f} |")
    return "\n".join(lines) + (
        "\n\nThe exponent is the slope of a line through the logarithms: 1 where twice the tenants cost twice as much. "
        "It lies below 1 where starting up still counts.\n"
    )


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of the line that fits the logarithms of the values best."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((a - x) ** 2 for a in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread


def _phases(figures: Figures) -> str:
    sizes = list(figures.sizes)
    names = list(dict.fromkeys(_lap(lap) for size in sizes for lap in figures.sizes[size].phases["phases"]))
    head = "".join(f" {size:,}: s | CPU s | peak MB |" for size in sizes)
    lines = [f"| phase, cold |{head}", "|---|" + "---:|" * (3 * len(sizes))]
    for name in names:
        cells = []
        for size in sizes:
            laps = [lap for lap in figures.sizes[size].phases["phases"] if _lap(lap) == name]
            cells.append(f"{sum(lap['milliseconds'] for lap in laps) / 1000:.2f}")
            cells.append(f"{sum(lap['cpuMilliseconds'] for lap in laps) / 1000:.2f}")
            cells.append(f"{max((lap['peakBytes'] for lap in laps), default=0) / MEGABYTE:.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _lap(lap: Mapping[str, Any]) -> str:
    return f"{lap['phase']} {lap.get('target', '')}".rstrip()


ONE_FILE = (
    "starting and importing, looking at every file, judging one tenant, joining and proving, keeping and writing take "
    "about a tenth of a second each; tried: parts and facts of tenants in one entry, carried files that are not "
    "copied, the largest file written beside the rest (ADR 0024)"
)
"""Why a changed file takes longer than it should."""
BEFORE_EMIT = ("recall", "import", "load", "parse", "validate", "link", "check")


@dataclass(frozen=True)
class Target:
    """One of the figures that we want."""

    text: str
    found: str
    met: bool
    reason: str = ""


def _targets(figures: Figures) -> str:
    judged = list(targets(figures))
    if not judged:
        return "The targets are about 1,000 tenants and more, which this run did not measure.\n"
    lines = ["| target | found | |", "|---|---:|---|"]
    for target in judged:
        said = "met" if target.met else f"**not met**{': ' if target.reason else ''}{target.reason}"
        lines.append(f"| {target.text} | {target.found} | {said} |")
    return "\n".join(lines) + "\n"


def targets(figures: Figures) -> Iterator[Target]:
    """Each target of the list that this run can judge."""
    quiet = figures.busy < BUSY
    unit = "" if quiet else " CPU"
    size = figures.sizes.get(1000)

    def seconds(measured: Measured) -> float:
        return measured.wall if quiet else measured.cpu

    if size is not None:
        of = size.measured
        ratio = seconds(of["cold"]) / seconds(of["load"])
        found = f"{ratio:.2f} x ({seconds(of['cold']):.2f} and {seconds(of['load']):.2f} s{unit})"
        yield Target(
            "cold, 1,000 x 5, every check and target: less than 0.5 x loading", found, ratio < 0.5, _most_of(size)
        )
        for key, name, limit in (("noop", "nothing changed", 0.3), ("file", "one file changed", 0.4)):
            found = f"{seconds(of[key]):.2f} s{unit}"
            reason = "" if key == "noop" else ONE_FILE
            yield Target(f"{name}, 1,000 x 5: at most {limit} s", found, seconds(of[key]) <= limit, reason)
        together = max(of["cold"].peak, size.together) / MEGABYTE
        yield Target("memory of all processes, 1,000 x 5: below 700 MB", f"{together:.0f} MB", together < 700)
        laps = size.phases["phases"]
        own = size.phases["startCpuMilliseconds"] + sum(
            lap["cpuMilliseconds"] for lap in laps if lap["phase"] in BEFORE_EMIT and not lap.get("target")
        )
        ratio = of["check-one"].cpu * 1000 / own
        yield Target(
            "`stoa check`, 1,000 x 5: at most 1.3 x what a cold compile takes up to its checks",
            f"{ratio:.2f} x ({of['check-one'].cpu:.2f} and {own / 1000:.2f} s CPU, each in one process)",
            ratio <= 1.3,
        )
        ratio = seconds(of["plan"]) / (2 * seconds(of["cold"]))
        yield Target(
            "`stoa plan`, 1,000 x 5, 20 files changed: under 3 s, cold",
            f"{seconds(of['plan']):.2f} s{unit}, {ratio:.2f} x two cold compiles",
            seconds(of["plan"]) < 3,
        )
    sizes = [n for n in figures.sizes if n >= 1000]
    if len(sizes) > 1:
        name = f"{min(sizes):,} to {max(sizes):,} tenants"
        cold = exponent(sizes, [figures.sizes[n].measured["cold"].cpu for n in sizes])
        load = exponent(sizes, [figures.sizes[n].measured["load"].cpu for n in sizes])
        reason = f"the reference's own is {load:.2f} there: of more values, the processor's caches hold a smaller part"
        yield Target(f"cost linear, {name}: exponent at most 1.05", f"{cold:.2f}", cold <= 1.05, reason)
        memory = exponent(
            sizes, [max(figures.sizes[n].measured["cold"].peak, figures.sizes[n].together) for n in sizes]
        )
        yield Target(f"memory linear, {name}: exponent at most 1.05", f"{memory:.2f}", memory <= 1.05)
    if 10_000 in figures.sizes:
        largest = figures.sizes[10_000]
        together = max(largest.measured["cold"].peak, largest.together) / MEGABYTE
        yield Target("memory of all processes, 10,000 x 5: below 4 GB", f"{together / 1000:.2f} GB", together < 4000)


def _most_of(size: Size) -> str:
    """The phases that cost most, as a reason."""
    laps = [(lap["cpuMilliseconds"], _lap(lap)) for lap in size.phases["phases"]]
    whole = sum(cost for cost, _ in laps)
    most = sorted(laps, reverse=True)[:4]
    shown = ", ".join(f"{name} {cost / whole:.0%}" for cost, name in most)
    tried = "shares of tenants, reading by lines, carrying files as they are, parts (ADR 0005, 0021, 0023, 0024)"
    return f"most of its CPU: {shown}; tried: {tried}"


def _write(text: str, figures: Figures) -> None:
    """Puts the text between the page's marks, and draws the picture where matplotlib can be had."""
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}", encoding="utf-8")
    python, reason = python_with("matplotlib", *MATPLOTLIB)
    if python is None:
        print(f"{PICTURE.name} is not drawn: {reason}", file=sys.stderr)
        return
    data = json.dumps(picture(figures))
    subprocess.run([str(python), str(HERE / "plot.py"), str(PICTURE)], input=data, text=True, check=True)


def picture(figures: Figures) -> dict[str, Any]:
    """What `plot.py` draws."""
    quiet = figures.busy < BUSY
    names = {"cold": "stoa compile, cold", "tenant": "one tenant changed", "file": "one file changed"}
    names |= {"noop": "nothing changed", "load": "merely loading, CSafeLoader", "hash": "reading and hashing"}
    names |= {"kapitan": "kapitan", "kcl": "KCL"}
    series = []
    for key, name in names.items():
        found = [(n, s.measured[key]) for n, s in figures.sizes.items() if key in s.measured]
        found += [(n, m[key]) for n, m in figures.peers.items() if key in m]
        points = [(n, m.wall if quiet else m.cpu) for n, m in found]
        if points:
            series.append({"name": name, "points": points, "ours": key in ("cold", "tenant", "file", "noop")})
    what = "seconds, whole command" if quiet else "seconds of processors, whole command"
    note = "Logarithmic scales. " + ("" if quiet else "Measured on a shared, busy machine.")
    return {"title": "Compiling, beside others", "what": what, "note": note, "series": series}


def _note(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

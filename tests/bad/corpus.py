"""The corpus: sources and artifacts that each break one rule, and the examples that `stoa explain` shows of them."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from pathlib import Path
from unittest import mock

import yaml

from stoa_compiler.compatibility import judge
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.examples import Example, Excerpt
from stoa_compiler.load import MAX_DOCUMENT_BYTES, Source
from stoa_compiler.pipeline import Checked, read, targets_of
from stoa_compiler.pipeline import render as render_bundle
from stoa_compiler.reports import render
from stoa_compiler.rules import RULES
from stoa_compiler.source import SourceFile
from stoa_compiler.stoa_v2 import Wishes, import_stoa_v2
from stoa_compiler.stoa_v2.read import MAX_BYTES
from stoa_compiler.target import Artifact
from stoa_compiler.targets.keycloak.verify import MANY_REALMS

HERE = Path(__file__).parent
BASE = HERE / "base"
CASES = sorted(p.parent for p in HERE.glob("STOA*/in"))
CHANGES = sorted(p.parent for p in HERE.glob("STOA*/change"))
"""What only the step from `base` to another source can show."""
TODAY = date(2027, 1, 15)
"""The day of these steps."""
DAMAGES = sorted(p.parent for p in HERE.glob("STOA*/damage.yaml"))
BASE_V2 = HERE / "base-v2"
IMPORTS = sorted(p.parent for p in HERE.glob("STOA*/v2"))

Found = tuple[list[Diagnostic], Checked]


def source_of(case: Path, folder: Path) -> Path:
    """The case's source: `base` with the case's files laid over it, as `folder/tenants`."""
    source = folder / "tenants"
    shutil.copytree(BASE, source)
    shutil.copytree(case / ("change" if case in CHANGES else "in"), source, dirs_exist_ok=True)
    for mark in sorted(source.rglob("*.REMOVE")):
        gone = mark.with_name(mark.name.removesuffix(".REMOVE"))
        mark.unlink()
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
    return source


def found_in(source: Path) -> Found:
    """What `stoa check` finds."""
    report = Report()
    checked = read(source, report)
    if checked.graph is not None and not report.errors:
        for environment in checked.graph.platform.spec.environments:
            try:
                render_bundle(checked.graph, environment, report)
            except Stop:
                continue
    return report.sorted(), checked


def found_by_change(source: Path) -> Found:
    """What the plan from `base` to `source` finds of contracts and their versions."""
    before, report = read(BASE, Report()), Report()
    checked = read(source, report)
    assert before.graph is not None
    assert checked.graph is not None
    report.found.extend(judge(before.graph, checked.graph, TODAY).findings)
    return report.sorted(), checked


def files_of(case: Path, folder: Path) -> Path:
    """The case's files of the earlier form: `base-v2` with the case's own laid over it, as `folder/v2`."""
    files = folder / "v2"
    shutil.copytree(BASE_V2, files)
    shutil.copytree(case / "v2", files, dirs_exist_ok=True)
    return files


def found_by_import(files: Path, source: Path) -> Found:
    """What `stoa import stoa-v2` finds in `files`, which join the source."""
    old = [
        SourceFile(p.relative_to(files).as_posix(), str(p), p.read_bytes())
        for p in sorted(files.rglob("*"))
        if p.is_file()
    ]
    imported = import_stoa_v2(old, source, Wishes())
    return imported.report.sorted(), Checked(Source((), {}, imported.sources), None)


@dataclass(frozen=True)
class Damage:
    """A change to an artifact of `base`, as a mistake of the compiler would make it."""

    file: str
    find: str
    """A regular expression."""
    put: str
    times: int = 1

    def done_to(self, text: str) -> str:
        """The artifact's text, changed once."""
        changed, count = re.subn(self.find, lambda _: self.put * self.times, text, count=1)
        assert count == 1, f"{self.find!r} is not in {self.file}"
        return changed


def damaged_source(case: Path, folder: Path) -> Path:
    """The source whose artifact the case damages: `base`, with the files of the case's `with` laid over it."""
    source = folder / "tenants"
    shutil.copytree(BASE, source)
    if (case / "with").is_dir():
        shutil.copytree(case / "with", source, dirs_exist_ok=True)
    return source


def damage_of(case: Path) -> Damage:
    """The case's damage."""
    return Damage(**yaml.safe_load((case / "damage.yaml").read_text(encoding="utf-8")))


def emitted(checked: Checked, damage: Damage | None, report: Report) -> dict[str, Artifact]:
    """The production bundle, one artifact damaged before its target verifies it."""
    assert checked.graph is not None
    files: dict[str, Artifact] = {}
    for target in targets_of(checked.graph, "prod"):
        carried = {p: a for p, a in files.items() if p.split("/")[0] in target.carries}
        own = {a.path: a for a in target.emit(checked.graph, "prod", carried)}
        files.update(own)
        if damage and damage.file in own:
            content = damage.done_to(own[damage.file].content.decode()).encode()
            own[damage.file] = Artifact(damage.file, own[damage.file].media_type, content, ())
        target.verify(checked.graph, "prod", {**carried, **own}, report)
    return files


def found_after(damage: Damage, source: Path) -> Found:
    """What `verify` finds when the compiler errs."""
    report = Report()
    checked = read(source, report)
    emitted(checked, damage, report)
    return report.sorted(), checked


def text_of(found: Found) -> str:
    """The report that an author sees."""
    diagnostics, checked = found
    return render(diagnostics, checked.source.files)


# Examples


PREFERRED = {
    "STOA002": "yml",
    "STOA005": "capitals",
    "STOA101": "missing-colon",
    "STOA102": "latin-1",
    "STOA105": "anchor",
    "STOA110": "past-64-bits",
    "STOA201": "misspelt",
    "STOA202": "missing",
    "STOA203": "norway",
    "STOA204": "method",
    "STOA205": "rate",
    "STOA301": "plan",
}
"""Cases that say more than the shortest one."""


def link(source: Path) -> str:
    """A plan that is a symbolic link; the line in which a listing shows it."""
    path = source / "acme/plans/basic.yaml"
    path.unlink()
    path.symlink_to("../../shared.yaml")
    return "acme/plans/basic.yaml -> ../../shared.yaml"


def oversize(source: Path) -> str:
    """A plan that is larger than a document may be."""
    path = source / "acme/plans/basic.yaml"
    path.write_bytes(path.read_bytes() + b"#" * MAX_DOCUMENT_BYTES)
    return f"acme/plans/basic.yaml   {path.stat().st_size:,} bytes"


def unreadable(source: Path) -> str:
    """A plan that nobody may read."""
    (source / "acme/plans/basic.yaml").chmod(0)
    return "acme/plans/basic.yaml   mode 000"


def crowd(source: Path) -> str:
    """So many tenants that a realm for each is slow; the line in which a listing shows them."""
    platform = source / "platform.yaml"
    text = platform.read_text(encoding="utf-8").replace("    realm:", "    strategy: realm-per-tenant\n    realm:")
    platform.write_text(text, encoding="utf-8")
    for number in range(MANY_REALMS):
        folder = source / f"t{number}"
        folder.mkdir()
        tenant = (
            f"apiVersion: gostoa.dev/v2\nkind: Tenant\nmetadata:\n  name: t{number}\nspec:\n  displayName: T{number}\n"
            f"  tier: small\n  contact: t{number}@harbour.example\n  environments: [prod]\n"
            f"  secrets:\n    prefix: tenants/t{number}\n"
        )
        (folder / "tenant.yaml").write_text(tenant, encoding="utf-8")
    return f"t0 to t{MANY_REALMS - 1}   {MANY_REALMS} tenants with `strategy: realm-per-tenant`"


def oversize_v2(files: Path) -> str:
    """A contract of the earlier form that is larger than the importer takes."""
    path = files / "stock.json"
    path.write_bytes(path.read_bytes() + b" " * MAX_BYTES)
    return f"stock.json   {path.stat().st_size:,} bytes"


MADE: dict[str, Callable[[Path], str]] = {
    "STOA003": link,
    "STOA004": oversize,
    "STOA008": unreadable,
    "STOA656": crowd,
}
MADE_V2: dict[str, Callable[[Path], str]] = {"STOA804": oversize_v2}
"""Cases that are no files to commit."""


def examples() -> dict[str, Example]:
    """An example for every rule that has a case, by code."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        work = Path()
        shutil.copytree(BASE, work / "base")
        _, base = found_in(work / "base")
        good = {p: a.content.decode() for p, a in emitted(base, None, Report()).items()}
        made = {}
        for code in sorted(RULES):
            for name in ("tenants", "v2"):
                shutil.rmtree(work / name, ignore_errors=True)
            if code in MADE_V2:
                line = MADE_V2[code](Path(shutil.copytree(BASE_V2, work / "v2")))
                made[code] = _listed(code, line, found_by_import(work / "v2", work / "base"))
            elif code in MADE:
                made[code] = _example_made(code, work)
            elif case := best_case(code):
                made[code] = _example_of(case, work, good)
        return made


def best_case(code: str) -> Path | None:
    """The preferred case of a rule, else the one that takes fewest words: fewest findings, then the least change."""
    cases = [c for c in (*CASES, *CHANGES, *DAMAGES, *IMPORTS) if c.name.split("-")[0] == code]
    return min(cases, key=_wordiness, default=None)


def _wordiness(case: Path) -> tuple[bool, int, int, int, str]:
    preferred = case.name.partition("-")[2] != PREFERRED.get(case.name.split("-")[0])
    report = (case / "report.txt").read_text(encoding="utf-8")
    own, base = (case / "v2", BASE_V2) if case in IMPORTS else (case / ("change" if case in CHANGES else "in"), BASE)
    changed = [p for p in own.rglob("*") if p.is_file()]
    change = sum(_distance(p, base / p.relative_to(own)) for p in changed)
    return preferred, report.count("[STOA"), len(changed), change, case.name


def _distance(one: Path, other: Path) -> int:
    """How many lines one file has that the other lacks, either way."""
    lines = [p.read_bytes().splitlines() if p.is_file() else [] for p in (one, other)]
    blocks = SequenceMatcher(None, *lines, autojunk=False).get_matching_blocks()
    return len(lines[0]) + len(lines[1]) - 2 * sum(b.size for b in blocks)


def _example_made(code: str, work: Path) -> Example:
    """An example that only a listing can show."""
    source = Path(shutil.copytree(BASE, work / "tenants"))
    line = MADE[code](source)
    real = os.open

    def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
        """Refuses what the mode forbids, also where tests run as root."""
        if not flags & os.O_CREAT and not Path(path).stat().st_mode & 0o400:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    with mock.patch.object(os, "open", opened):
        found = found_in(source)
    return _listed(code, line, found)


def _listed(code: str, line: str, found: Found) -> Example:
    """The line of a listing, and the same without what is odd about the file."""
    good = line.split(" ")[0]
    return Example((Excerpt(None, line + "\n"),), (Excerpt(None, good + "\n"),), _report(code, found))


def _example_of(case: Path, work: Path, good: dict[str, str]) -> Example:
    code = case.name.split("-")[0]
    if case in DAMAGES:
        damage = damage_of(case)
        source = damaged_source(case, work)
        if (case / "with").is_dir():
            good = {p: a.content.decode() for p, a in emitted(found_in(source)[1], None, Report()).items()}
        found = found_after(damage, source)
        before, after = good[damage.file], damage.done_to(good[damage.file])
        bad_excerpt, good_excerpt = excerpts(damage.file, readable(after), readable(before), ())
        return Example((bad_excerpt,), (good_excerpt,), _report(code, found))
    if case in IMPORTS:
        files = files_of(case, work)
        found = found_by_import(files, work / "base")
        path = next(p.relative_to(case / "v2") for p in sorted((case / "v2").rglob("*")) if p.is_file())
        lines = [n for d in found[0] if d.rule.code == code for n in range(d.span.line, d.span.end_line + 1)]
        shown = f"v2/{path.as_posix()}"
        bad_excerpt, good_excerpt = excerpts(shown, _text(files / path), _text(BASE_V2 / path), lines)
        return Example((bad_excerpt,), (good_excerpt,), _report(code, found))
    source = source_of(case, work)
    found = found_by_change(source) if case in CHANGES else found_in(source)
    first = next(d for d in found[0] if d.rule.code == code)
    own = case / ("change" if case in CHANGES else "in")
    changed = {p.relative_to(own).as_posix() for p in own.rglob("*") if p.is_file()}
    place = Path(first.span.file).relative_to(source).as_posix() if first.span.file != "tenants" else ""
    at_the_file = (first.span.line, first.span.column) == (first.span.end_line, first.span.end_column)
    only_removed = case in CHANGES and all(c.endswith(".REMOVE") for c in changed)
    if only_removed or (at_the_file and not any((BASE / c).is_file() for c in changed)):
        folders = {c.removesuffix(".REMOVE").rpartition("/")[0].split("/")[0] for c in changed}
        bad_listing, good_listing = ("".join(listing(s, folders)) for s in (source, BASE))
        return Example((Excerpt(None, bad_listing),), (Excerpt(None, good_listing),), _report(code, found))
    marked = [*range(first.span.line, first.span.end_line + 1)]
    marked += [n.span.line for n in first.notes if n.span and n.span.file == first.span.file]
    shown = sorted(changed | ({place} if (source / place).is_file() else set()), key=lambda p: p != place)
    pairs = [
        excerpts(
            path,
            _text(source / path),
            _text(BASE / path),
            marked if path == place else (),
        )
        for path in shown
    ]
    return Example(
        tuple(bad for bad, _ in pairs if bad.text), tuple(good for _, good in pairs if good.text), _report(code, found)
    )


def _report(code: str, found: Found) -> str:
    """What is said of one rule: the first findings of it."""
    diagnostics, checked = found
    return render([d for d in diagnostics if d.rule.code == code], checked.source.files, width=110, limit=2)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def listing(source: Path, folders: set[str]) -> Iterator[str]:
    """The files in some folders of a source and those beside them; of other folders only the names."""
    for entry in sorted(source.iterdir()):
        if entry.is_dir() and entry.name in folders:
            yield from (f"{p.relative_to(source).as_posix()}\n" for p in sorted(entry.rglob("*")) if p.is_file())
        else:
            yield f"{entry.name}{'/' if entry.is_dir() else ''}\n"


def readable(text: str) -> str:
    """JSON on several lines; other text as it is."""
    try:
        return text if "\n" in text.rstrip("\n") else json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return text


_LONGEST = 12
_WIDEST = 160


def excerpts(path: str, bad: str, good: str, marked: Sequence[int]) -> tuple[Excerpt, Excerpt]:
    """The lines in which two versions of a file differ, with the keys that they lie below."""
    if path.endswith(".json"):
        bad, good = readable(bad), readable(good)
    lines = bad.split("\n")[:-1] if bad.endswith("\n") else bad.split("\n")
    right = good.split("\n")[:-1] if good.endswith("\n") else good.split("\n")
    keep: tuple[set[int], set[int]] = (set(), set())
    matcher = SequenceMatcher(None, lines, right, autojunk=False)
    for kind, start, end, other, other_end in matcher.get_opcodes():
        if kind != "equal":
            for kept, first, past, total in (
                (keep[0], start, end, len(lines)),
                (keep[1], other, other_end, len(right)),
            ):
                kept |= set(range(first, past)) or {n for n in (first - 1, first) if 0 <= n < total}
            for one, two in zip(range(start, end), range(other, other_end), strict=False):
                lines[one], right[two] = _narrowed(lines[one], right[two])
        else:
            for number in marked:
                if start <= number - 1 < end:
                    keep[0].add(number - 1)
                    keep[1].add(number - 1 - start + other)
    return Excerpt(path, excerpt(path, lines, keep[0])), Excerpt(path, excerpt(path, right, keep[1]) if good else "")


def excerpt(path: str, lines: list[str], keep: set[int]) -> str:
    """The kept lines and the keys above them, with a mark where some are left out."""
    middle = sorted(keep)
    if len(middle) > _LONGEST:
        keep = {*middle[: _LONGEST // 2], *middle[-_LONGEST // 2 :]}
    shown = set(keep)
    for number in keep:
        indent = _indent(lines[number])
        for above in range(number - 1, -1, -1):
            if lines[above].strip() and _indent(lines[above]) < indent:
                shown.add(above)
                indent = _indent(lines[above])
    out, last = [], -1
    for number in sorted(shown):
        if last >= 0 and number == last + 2:
            out.append(_cut(lines[number - 1]))
        elif last >= 0 and number > last + 1:
            out.append(f"{' ' * _indent(lines[number])}{'...' if path.endswith('.json') else '# ...'}")
        out.append(_cut(lines[number]))
        last = number
    return "\n".join(out) + "\n"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _narrowed(one: str, other: str) -> tuple[str, str]:
    """Two long lines, only the stretch in which they differ."""
    one, other = (re.sub(r"(.)\1{200,}", lambda run: run[1] * 20 + "..." + run[1] * 20, line) for line in (one, other))
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    if max(len(one), len(other)) <= _WIDEST or same < _WIDEST // 2:
        return one, other
    begin, indent = same - 30, " " * _indent(one)
    return tuple(f"{indent}...{line[begin:]}" for line in (one, other))  # type: ignore[return-value]


def _cut(line: str) -> str:
    """The beginning of the line."""
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..."

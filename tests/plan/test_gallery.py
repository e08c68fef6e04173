"""The gallery: merge requests as directories, each with the note and the JSON that a reviewer gets.

A case is `base` and `head`, or `make_*.py`, which gives both, and `plan.md` and `plan.json`. `--update-golden` rewrites
the last two; read them as a tired reviewer would.
"""

import json
import re
import runpy
from datetime import date
from pathlib import Path

import jsonschema
import pytest

from stoa_compiler.compatibility import KINDS
from stoa_compiler.plan.changes import Plan, Section
from stoa_compiler.plan.declared import TABLE
from stoa_compiler.plan.forms.markdown import LIMIT, as_markdown
from stoa_compiler.plan.forms.text import as_text
from stoa_compiler.plan.making import Made, of
from stoa_compiler.plan.revisions import Tree, memory_tree
from stoa_schemas.changes import SCHEMA_FILE, schema

GALLERY = Path(__file__).parent
SCHEMA = json.loads((GALLERY.parents[1] / "schemas" / "plan.v1.schema.json").read_text())
CASES = sorted(p.name for p in GALLERY.iterdir() if (p / "head").is_dir() or [*p.glob("make_*.py")])
TODAY = date(2027, 1, 1)


def side(case: str, name: str) -> Tree:
    maker = next((GALLERY / case).glob("make_*.py"), None)
    if maker is not None:
        files: dict[str, bytes] = {p: t.encode() for p, t in runpy.run_path(str(maker))[name]().items()}
    else:
        folder = GALLERY / case / name
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return memory_tree(files, Path("tenants"), name)


def made(case: str) -> Made:
    return of(side(case, "base"), side(case, "head"), TODAY)


@pytest.mark.parametrize("case", CASES)
def test_gallery(case: str, update_golden: bool) -> None:
    plan = made(case).plan
    note, record = as_markdown(plan), plan.to_json()
    if update_golden:
        (GALLERY / case / "plan.md").write_bytes(note)
        (GALLERY / case / "plan.json").write_bytes(record)
    assert note.decode() == (GALLERY / case / "plan.md").read_text(encoding="utf-8")
    assert record.decode() == (GALLERY / case / "plan.json").read_text(encoding="utf-8")
    jsonschema.validate(json.loads(record), SCHEMA)
    assert Plan.from_json(record).to_json() == record
    assert len(note.decode()) <= LIMIT
    for text in (as_text(plan), as_text(plan, everything=True)):
        assert not re.search(r"[^\n\x20-\x7e\u00a0-\uffff]|\x1b", text), "a terminal would act upon it"


@pytest.mark.parametrize("case", [case for case in CASES if (GALLERY / case / "head").is_dir()])
def test_the_way_back(case: str) -> None:
    """What is done can be undone, and that is no less of a change."""
    there = of(side(case, "base"), side(case, "head"), TODAY, artifacts=False).plan
    back = of(side(case, "head"), side(case, "base"), TODAY, artifacts=False)
    if there.complete and there.changes and not back.broken:
        assert back.plan.complete
        assert back.plan.changes


def test_the_schema_is_written() -> None:
    assert schema() == SCHEMA, f"run `python -m stoa_schemas.changes > schemas/{SCHEMA_FILE}`"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25


def test_the_page_shows_what_is_printed() -> None:
    """Each block of text in docs/plan.md stands in the output of the case that is named last before it."""
    page = (GALLERY.parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
    printed: dict[str, str] = {}
    blocks = list(re.finditer(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    for block in blocks:
        case = re.findall(r"tests/plan/([a-z0-9-]+)\)", page[: block.start()])[-1]
        if case not in printed:
            printed[case] = as_text(made(case).plan)
        assert block[1] in printed[case], case
    assert len(blocks) >= 10


def test_every_section_has_a_case() -> None:
    """And so has every direction."""
    plans = [json.loads((GALLERY / case / "plan.json").read_text(encoding="utf-8")) for case in CASES]
    changes = [c for plan in plans for c in plan["changes"]]
    assert {c["section"] for c in changes} == {section.value for section in Section}
    assert len({c["direction"] for c in changes}) == 7


def test_every_code_is_on_the_page() -> None:
    page = (GALLERY.parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
    plans = [json.loads((GALLERY / case / "plan.json").read_text(encoding="utf-8")) for case in CASES]
    codes = {c["code"] for plan in plans for c in plan["changes"]} | {line.code for line in TABLE}
    assert not {code for code in codes - set(KINDS) if f"`{code}`" not in page}

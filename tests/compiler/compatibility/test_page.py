"""The table of kinds in docs/compatibility.md is the code's own."""

from pathlib import Path

from stoa_compiler.compatibility import KINDS
from tests.engines.oasdiff import put_into

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"
BEGIN, END = "<!-- the kinds begin -->\n", "<!-- the kinds end -->\n"


def test_every_kind_is_explained(update_golden: bool) -> None:
    rows = [
        f"| `{k.code}` | {', '.join(k.categories)} | {k.level if k.level == 'possible' else ''} | {k.title} |"
        for k in KINDS.values()
    ]
    table = "\n".join(["| code | hits | | what |", "|---|---|---|---|", *rows]) + "\n"
    if update_golden:
        assert put_into(PAGE, table, BEGIN, END)
    assert f"{BEGIN}\n{table}\n{END}" in PAGE.read_text(encoding="utf-8")

"""The page on diagnostics shows real reports, and names what there is."""

import re
from pathlib import Path

from stoa_compiler.cli.session import FORMS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "diagnostics.md").read_text(encoding="utf-8")


def test_reports_are_those_of_the_corpus() -> None:
    reports = {p.read_text(encoding="utf-8") for p in (REPOSITORY / "tests" / "bad").glob("*/report.txt")}
    shown = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    assert set(shown) <= reports


def test_every_format_is_told_of() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == ["text", "json", "gitlab", "junit", "sarif", "markdown"]
    assert set(FORMS) == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPOSITORY / "docs" / link).exists(), link

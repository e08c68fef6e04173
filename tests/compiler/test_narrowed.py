"""A source narrowed to some tenants says of them what the whole source says."""

from pathlib import Path

from stoa_compiler.diagnostics import Report
from stoa_compiler.load import load
from stoa_compiler.pipeline import judge

DEMO = Path(__file__).parents[2] / "tenants"


def test_a_narrowed_source_means_the_same() -> None:
    report = Report()
    source = load(DEMO, report)
    whole = judge(source, report).graph
    assert whole is not None
    for tenant in whole.tenants:
        mine = Report()
        part = judge(source.narrowed({tenant.name}), mine).graph
        assert part is not None
        assert not mine.errors
        [alone] = part.tenants
        assert alone.access == tenant.access
        assert [o.input_schema for o in alone.operations] == [o.input_schema for o in tenant.operations]
        shown = {
            d for d in report.found if d.span.file.startswith(tenant.origin.document.file.shown.rpartition("/")[0])
        }
        assert {d for d in mine.found if d.span.file != part.origin.document.file.shown} == shown

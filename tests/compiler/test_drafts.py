"""A draft is checked and not served: nothing in a catalog names it."""

from pathlib import Path

import orjson

from stoa_compiler.diagnostics import Report
from stoa_compiler.pipeline import compiled
from stoa_runtime.bundles import load
from stoa_schemas import bundle
from tests.compiler.sources import ORDERS, copy_of_base


def test_a_bundle_whose_consumer_subscribes_to_a_draft_can_be_served(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change(ORDERS, "status: published", "status: draft")
    report = Report()
    made = compiled(source.root, report, ["prod"]).bundles["prod"]
    assert "STOA464" in {d.rule.code for d in report.found}
    catalog = orjson.loads(made.files["mcp/tenants/acme.json"].content)
    named = {s["contract"] for c in catalog["consumers"] for s in c["subscriptions"]}
    assert "orders" not in named
    for path, artifact in made.files.items():
        (tmp_path / "bundle" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / path).write_bytes(artifact.content)
    assert load(tmp_path / "bundle").digest == bundle.sha256(made.files[bundle.RUNTIME_MANIFEST].content)

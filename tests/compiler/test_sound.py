"""What has errors is left out, and nothing else: one tenant's mistake holds nobody up."""

import json
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.pipeline import read, render
from stoa_compiler.sound import sound
from tests.compiler.sources import Copy, copy_of_base, stoa


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path / "tenants")


def left_out(source: Copy) -> tuple[str, ...]:
    """What is left out; the rest must render."""
    report = Report()
    checked = read(source.root, report)
    assert checked.graph is not None
    kept = sound(checked.graph, checked.source, report)
    assert kept is not None
    render(kept.graph, "prod", Report())
    return kept.left_out


def test_nothing_where_nothing_is_wrong(source: Copy) -> None:
    assert left_out(source) == ()


def test_an_operation_for_an_error_inside_it(source: Copy) -> None:
    source.change("acme/contracts/orders.yaml", "sideEffects: read", "sideEffects: write")
    assert left_out(source) == ("acme:orders:get_order",)


def test_a_contract_for_an_error_that_is_in_no_operation(source: Copy) -> None:
    source.change("acme/contracts/orders.yaml", "orders.acme.example/v1", "elsewhere.example/v1")
    assert left_out(source) == ("acme/contracts/orders.yaml",)


def test_a_document_that_is_not_well_formed(source: Copy) -> None:
    source.change("acme/contracts/orders.yaml", "version: 1.2.0", "version: [")
    assert left_out(source) == ("acme/contracts/orders.yaml",)


def test_a_subscription_of_a_consumer_that_stays(source: Copy) -> None:
    source.change("acme/subscriptions/shop-orders.yaml", "plan: basic", "plan: gold")
    assert left_out(source) == ("acme/subscriptions/shop-orders.yaml",)


def test_a_tenant_for_an_error_in_its_own_document(source: Copy) -> None:
    source.change("umbra/tenant.yaml", "tier: small", "tier: huge")
    assert left_out(source) == ("umbra",)


def test_a_tenant_whose_document_is_not_well_formed(source: Copy) -> None:
    source.change("umbra/tenant.yaml", "tier: small", "tier: [")
    assert left_out(source) == ("umbra",)


def test_nothing_stands_on_a_broken_platform(source: Copy) -> None:
    source.change("platform.yaml", "domain: harbour.example", "domain: elsewhere.example")
    report = Report()
    checked = read(source.root, report)
    assert checked.graph is None or sound(checked.graph, checked.source, report) is None


def test_the_others_bytes_are_those_of_a_source_without_the_tenant(source: Copy, tmp_path: Path) -> None:
    good = tmp_path / "good"
    assert stoa("compile", str(source.root), "--env", "prod", "--out", str(good)).returncode == 0
    source.change("umbra/tenant.yaml", "tier: small", "tier: huge")
    refused = stoa("compile", str(source.root), "--env", "prod", "--out", str(tmp_path / "rest"))
    assert refused.returncode == 1
    assert not (tmp_path / "rest").exists()
    done = stoa("compile", str(source.root), "--env", "prod", "--out", str(tmp_path / "rest"), "--keep-going")
    assert done.returncode == 1
    assert "left out, because of errors: umbra" in done.stdout
    assert "STOA301" in done.stderr
    acme = "mcp/tenants/acme.json"
    assert (tmp_path / "rest" / acme).read_bytes() == (good / acme).read_bytes()
    index = json.loads((tmp_path / "rest" / "mcp" / "platform.json").read_bytes())
    assert [t["name"] for t in index["tenants"]] == ["acme"]

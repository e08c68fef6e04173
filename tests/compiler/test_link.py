"""References lead where they say, and what leads nowhere is reported once, at its cause."""

from pathlib import Path

import pytest

from stoa_compiler.source import Span
from tests.compiler.sources import CONSUMER, ORDERS, PLAN, PLATFORM, SUBSCRIPTION, TENANT, Copy, copy_of_base

LAMPS, UMBRA = "umbra/contracts/lamps.yaml", "umbra/tenant.yaml"


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def test_the_graph_of_a_good_source(source: Copy) -> None:
    checked, found = source.read()
    assert found == []
    graph = checked.graph
    assert graph is not None
    assert [(t.name, [c.name for c in t.contracts]) for t in graph.tenants] == [
        ("acme", ["orders"]),
        ("umbra", ["lamps"]),
    ]
    acme, umbra = graph.tenants
    assert [(p.username, p.groups, p.roles) for p in acme.people] == [
        ("ada", ("owners",), ("owner",)),
        ("ben", ("readers",), ("reader",)),
    ]
    assert [(c.client_id, [s.name for s in c.subscriptions]) for c in acme.consumers] == [
        ("acme.shop", ["shop-orders"])
    ]
    assert [(p.username, p.tenant, p.roles) for p in graph.people] == [("mara", "platform", ("operator",))]
    assert [o.tool_id for o in umbra.operations] == ["umbra:lamps:get_lamp"]
    assert {r: len(t) for r, t in acme.access.items()} == {"operator": 2, "owner": 2, "reader": 1}
    assert (acme.rate, umbra.rate) == ("100/second", "100/second")
    assert [t.name for t in graph.tenants_in("dev")] == ["acme"]


REFERENCES = [
    (SUBSCRIPTION, "consumer: shop", "shop"),
    (SUBSCRIPTION, "contract: orders", "orders"),
    (SUBSCRIPTION, "plan: basic", "basic"),
    (TENANT, "tier: small", "small"),
    (TENANT, "roles: [owner]", "owner"),
    (TENANT, "members: [ada]", "ada"),
    (TENANT, "- role: reader", "reader"),
    (TENANT, '"acme:orders:*"', "orders"),
    (CONSUMER, "roles: [reader]", "reader"),
    (PLATFORM, "roles: [operator]", "operator"),
    (PLATFORM, "members: [mara]", "mara"),
    (PLATFORM, "- role: operator", "operator"),
    (PLATFORM, "tenants: [umbra]", "umbra"),
]


@pytest.mark.parametrize(("path", "words", "name"), REFERENCES)
def test_every_reference_that_dangles_is_found_at_its_word(source: Copy, path: str, words: str, name: str) -> None:
    source.change(path, words, words.replace(name, "zzz"))
    _, found = source.read()
    assert [d.rule.code for d in found] == ["STOA301"], [d.message for d in found]
    assert text_at(source, found[0].span) == "zzz"
    assert "`zzz`" in found[0].message


@pytest.mark.parametrize(("path", "words", "name"), REFERENCES)
def test_a_misspelt_reference_is_offered_what_was_meant(source: Copy, path: str, words: str, name: str) -> None:
    misspelt = name[1] + name[0] + name[2:]
    source.change(path, words, words.replace(name, misspelt))
    _, found = source.read()
    assert [(d.rule.code, d.help) for d in found] == [("STOA301", f"Did you mean `{name}`?")]


def text_at(source: Copy, span: Span) -> str:
    line = (Path(span.file)).read_text().split("\n")[span.line - 1]
    return line[span.column - 1 : span.end_column - 1]


@pytest.mark.parametrize(
    ("path", "old", "new", "code"),
    [
        (PLAN, "rate: 10/second", "rate: quick", "STOA205"),
        (ORDERS, "sideEffects: read", "sideEffects: reading", "STOA204"),
        (CONSUMER, "client: confidential", "client: secretive", "STOA204"),
        (TENANT, "tier: small", "tier: [small]", "STOA203"),
        (TENANT, "tier: small", "tier: {small", "STOA101"),
        (ORDERS, "status: published", "status: published\n  status: draft", "STOA103"),
        (PLATFORM, "scope: platform", "scope: everywhere", "STOA204"),
        (UMBRA, "  contact: api@umbra.example\n", "", "STOA202"),
    ],
)
def test_nothing_is_reported_that_only_follows(source: Copy, path: str, old: str, new: str, code: str) -> None:
    """A document with mistakes is there all the same: what refers to it is no second finding."""
    source.change(path, old, new)
    assert source.codes() == [code]


@pytest.mark.parametrize(
    "broken", [(TENANT, "tier: small", "tier:"), (PLATFORM, "displayName: Harbour", "displayNam: x")]
)
def test_mistakes_are_found_beside_a_broken_tenant_or_platform(source: Copy, broken: tuple[str, str, str]) -> None:
    """One run shows all: a reference is checked although the document above it is broken."""
    source.change(*broken).change(SUBSCRIPTION, "plan: basic", "plan: none-such")
    assert sorted(source.codes())[-1] == "STOA301"
    assert len(source.codes()) == 2


def test_another_tenants_documents_are_not_offered(source: Copy) -> None:
    """A name that only another tenant has is refused, and nothing of that tenant is told."""
    source.change(SUBSCRIPTION, "contract: orders", "contract: lamps")
    _, found = source.read()
    assert [d.rule.code for d in found] == ["STOA302"]
    assert "umbra" not in f"{found[0].message}{found[0].help}{found[0].notes}"


def test_another_tenants_source_cannot_be_pinned(source: Copy) -> None:
    lamps = (source.root / LAMPS).read_text().replace("umbra", "acme").replace("api.acme", "lamps.acme")
    source.add("acme/contracts/lamps.yaml", lamps)
    source.change(TENANT, "environments: [dev, prod]", "environments: [prod]")
    assert "STOA303" in source.codes()


def test_a_pinned_source_is_these_bytes_and_no_others(source: Copy) -> None:
    file = source.root / "umbra/sources/lamps.yaml"
    file.write_bytes(file.read_bytes() + b"\n")
    _, found = source.read()
    assert [d.rule.code for d in found] == ["STOA304"]
    digest = found[0].help.rpartition("sha256: ")[2].rstrip("`.")
    pinned = (source.root / LAMPS).read_text().partition("sha256: ")[2][:64]
    source.change(LAMPS, pinned, digest)
    assert source.codes() == []


def test_one_tenants_mistakes_leave_the_other_whole(source: Copy) -> None:
    source.change(ORDERS, "sideEffects: read", "sideEffects: reading").add("acme/plans/x.yaml", "{{{")
    checked, found = source.read()
    assert all("/tenants/acme/" in d.span.file for d in found)
    assert checked.graph is not None
    umbra = next(t for t in checked.graph.tenants if t.name == "umbra")
    assert [o.tool_id for o in umbra.operations] == ["umbra:lamps:get_lamp"]

"""Access equals a model that is too simple to be wrong, and no tenant's role reaches another's tools."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.access import access, matches
from stoa_compiler.graph import ContractNode
from stoa_schemas.documents.access import Grant, Permission, SideEffects
from stoa_schemas.documents.platform import Role
from tests.compiler.sources import ORDERS, PLATFORM, TENANT, Copy, copy_of_base

TENANTS, CONTRACTS, OPERATIONS, ROLES = ("acme", "acme2", "umbra"), ("a", "ab"), ("get", "get_all"), ("r1", "r2")
EFFECTS: tuple[SideEffects, ...] = ("none", "read", "write", "destructive")
PERMISSIONS: tuple[Permission, ...] = ("tools:read", "tools:write", "tools:destructive", "catalog:read")


def contract(tenant: str, name: str, operations: Sequence[tuple[str, SideEffects, bool]], draft: bool) -> ContractNode:
    """As much of a contract as access depends on."""
    nodes = [
        SimpleNamespace(
            tool_id=f"{tenant}:{name}:{operation}", exposed=exposed, declared=SimpleNamespace(side_effects=effects)
        )
        for operation, effects, exposed in operations
    ]
    return cast(ContractNode, SimpleNamespace(name=name, exposed=not draft, operations=nodes))


segments = [st.sampled_from([*names, "*"]) for names in (TENANTS, CONTRACTS, OPERATIONS)]
patterns = st.tuples(*segments).map(":".join)
grants = st.lists(
    st.builds(
        lambda role, tools, effect: Grant(role=role, tools=tools, effect=effect),
        st.sampled_from(ROLES),
        st.lists(patterns, min_size=1, max_size=3),
        st.sampled_from(["allow", "allow", "deny"]),
    ),
    max_size=6,
)
roles = st.fixed_dictionaries(
    {
        name: st.builds(
            lambda permissions: Role(description="For a test.", permissions=permissions),
            st.lists(st.sampled_from(PERMISSIONS), unique=True),
        )
        for name in ROLES
    }
)
contracts = st.lists(
    st.builds(
        contract,
        st.sampled_from(TENANTS),
        st.sampled_from(CONTRACTS),
        st.lists(
            st.tuples(st.sampled_from(OPERATIONS), st.sampled_from(EFFECTS), st.booleans()),
            max_size=2,
            unique_by=lambda o: o[0],
        ),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda c: (c.operations[0].tool_id if c.operations else "", c.name),
)


def naive(roles: Mapping[str, Role], grants: Sequence[Grant], contracts: Sequence[Any]) -> dict[str, set[str]]:
    """Who may call what, said one sentence at a time."""
    may: dict[str, set[str]] = {role: set() for role in roles}
    for role, one in product(roles, contracts):
        for operation in one.operations:
            tenant, name, operation_name = operation.tool_id.split(":")
            verdicts = {
                grant.effect
                for grant in grants
                for pattern in grant.tools
                if grant.role == role
                and pattern.split(":")[0] in ("*", tenant)
                and pattern.split(":")[1] in ("*", name)
                and pattern.split(":")[2] in ("*", operation_name)
            }
            needed = {"none": "read", "read": "read", "write": "write", "destructive": "destructive"}
            permitted = f"tools:{needed[operation.declared.side_effects]}" in roles[role].permissions
            if one.exposed and operation.exposed and permitted and verdicts == {"allow"}:
                may[role].add(operation.tool_id)
    return may


@settings(max_examples=200, deadline=None)
@given(roles, grants, contracts)
def test_access_is_what_the_grants_say(
    roles: Mapping[str, Role], grants: list[Grant], contracts: list[ContractNode]
) -> None:
    table = access(roles, grants, contracts)
    assert {role: set(tools) for role, tools in table.items()} == naive(roles, grants, contracts)
    assert all(list(tools) == sorted(tools) for tools in table.values())
    assert list(table) == sorted(roles)


@settings(max_examples=100, deadline=None)
@given(roles, grants, contracts, st.randoms(use_true_random=False))
def test_the_order_of_grants_and_contracts_does_not_count(
    roles: Mapping[str, Role], grants: list[Grant], contracts: list[ContractNode], random: Any
) -> None:
    before = access(roles, grants, contracts)
    random.shuffle(grants)
    random.shuffle(contracts)
    assert access(dict(reversed(roles.items())), grants, contracts) == before


@settings(max_examples=100, deadline=None)
@given(roles, grants, contracts, st.sampled_from(ROLES), patterns)
def test_deny_only_takes_and_always_wins(
    roles: Mapping[str, Role], grants: list[Grant], contracts: list[ContractNode], role: str, pattern: str
) -> None:
    before = access(roles, grants, contracts)
    after = access(roles, [*grants, Grant(role=role, tools=[pattern], effect="deny")], contracts)
    assert set(after[role]) == {t for t in before[role] if not matches(pattern, t)}
    assert all(after[other] == before[other] for other in roles if other != role)


@settings(max_examples=200)
@given(patterns, patterns.filter(lambda p: "*" not in p))
def test_a_star_is_one_whole_segment(pattern: str, tool: str) -> None:
    expected = all(p in ("*", t) for p, t in zip(pattern.split(":"), tool.split(":"), strict=True))
    assert matches(pattern, tool) == expected


@pytest.mark.parametrize(
    ("pattern", "tool"), [("acme:*:*", "acme2:a:get"), ("acme:a:*", "acme:ab:get"), ("acme:a:get", "acme:a:get_all")]
)
def test_a_name_never_covers_a_longer_one(pattern: str, tool: str) -> None:
    assert not matches(pattern, tool)


def with_grants(source: Copy, path: str, grants: list[tuple[str, str, str]]) -> None:
    """Puts these grants in place of the tenant's own."""
    text = (source.root / path).read_text()
    own = text[text.index("  grants:") : text.index("  secrets:")]
    lines = [f"    - {{role: {role}, tools: ['{tool}'], effect: {effect}}}\n" for role, tool, effect in grants]
    source.change(path, own, "  grants:\n" + "".join(lines))


TENANT_GRANT = st.tuples(
    st.sampled_from(["owner", "reader"]),
    st.sampled_from(["acme:*:*", "acme:orders:*", "acme:orders:get_order", "acme:orders:cancel_order"]),
    st.sampled_from(["allow", "deny"]),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(TENANT_GRANT, min_size=1, max_size=3), st.lists(TENANT_GRANT, max_size=2))
def test_no_tenants_role_reaches_another_tenants_tool(
    tmp_path_factory: pytest.TempPathFactory, acme: list[tuple[str, str, str]], umbra: list[tuple[str, str, str]]
) -> None:
    """In any source that compiles: only roles of scope `platform` have more than one tenant's tools."""
    source = copy_of_base(tmp_path_factory.mktemp("source"))
    with_grants(source, TENANT, acme)
    theirs = [(role, tool.replace("acme:orders", "umbra:lamps").replace("acme", "umbra"), e) for role, tool, e in umbra]
    theirs = [g for g in theirs if not g[1].endswith("_order")] or [("owner", "umbra:*:*", "allow")]
    with_grants(source, "umbra/tenant.yaml", theirs)
    checked, found = source.read()
    assert checked.graph is not None
    assert [d.message for d in found if d.rule.severity == "error"] == []
    for tenant in checked.graph.tenants:
        for role, tools in tenant.access.items():
            owners = {t.partition(":")[0] for t in tools}
            assert owners <= {tenant.name}
            if checked.graph.platform.spec.roles[role].scope == "tenant":
                denied = {g[1] for g in (acme if tenant.name == "acme" else theirs) if g[0] == role and g[2] == "deny"}
                assert not any(matches(pattern, tool) for pattern in denied for tool in tools)


@pytest.mark.parametrize("pattern", ["umbra:*:*", "*:*:*", "umbra:lamps:get_lamp", "*:lamps:*", "acme2:*:*"])
def test_a_grant_across_the_border_does_not_compile(tmp_path: Path, pattern: str) -> None:
    source = copy_of_base(tmp_path).change(TENANT, "acme:orders:*", pattern)
    assert source.codes() == ["STOA302"]


def test_what_nobody_grants_nobody_has(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path)
    source.change(PLATFORM, '  grants:\n    - role: operator\n      tools: ["*:*:*"]\n', "")
    checked, _ = source.read()
    assert checked.graph is not None
    acme = next(t for t in checked.graph.tenants if t.name == "acme")
    assert acme.access == {
        "operator": (),
        "owner": ("acme:orders:cancel_order", "acme:orders:get_order"),
        "reader": ("acme:orders:get_order",),
    }
    source.change(ORDERS, "status: published", "status: draft")
    checked, _ = source.read()
    assert checked.graph is not None
    assert all(not tools for t in checked.graph.tenants if t.name == "acme" for tools in t.access.values())

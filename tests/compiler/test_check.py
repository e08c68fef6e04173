"""The semantic rules against those who try to get round them."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler import literals
from stoa_compiler.checks.addresses import endpoint, host_matches, is_cluster_name, literal_address
from stoa_compiler.checks.schemas import pattern_problem
from stoa_compiler.literals import kind_of_secret, masked
from tests.compiler.sources import CONSUMER, ORDERS, PLATFORM, SUBSCRIPTION, TENANT, Copy, copy_of_base

UMBRA = "umbra/tenant.yaml"


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


# Where a backend is.

PROD = "prod: https://orders.acme.example/v1"


@settings(max_examples=150)
@given(st.ip_addresses(v=4), st.data())
def test_an_address_is_known_in_every_form_that_resolvers_take(
    address: ipaddress.IPv4Address, data: st.DataObject
) -> None:
    """inet_aton: one to four parts, each decimal, octal or hexadecimal, the last filling what is left."""
    parts = data.draw(st.integers(1, 4))
    number = int(address)
    numbers = [number >> 8 * (3 - i) & 255 for i in range(parts - 1)] + [number & (1 << 8 * (5 - parts)) - 1]
    forms = [data.draw(st.sampled_from([str, hex, lambda n: f"0{n:o}", lambda n: f"0X{n:X}"])) for _ in numbers]
    written = ".".join(form(n) for form, n in zip(forms, numbers, strict=True))
    assert literal_address(written) == address
    assert literal_address(written + ".") == address


@settings(max_examples=100)
@given(st.ip_addresses(v=6))
def test_an_address_of_version_6_is_known(address: ipaddress.IPv6Address) -> None:
    assert literal_address(f"[{address}]") == address
    assert literal_address(address.exploded.upper()) == address


@pytest.mark.parametrize("host", ["api.acme.example", "1and1.example", "0x.example", "a.1.2.3.4", "beef", "1.2.3.4.5"])
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
        "a.b.svc.cluster.local",
        "printer.local",
        "x.localhost",
        "metadata.google.internal",
        "a.svc.",
        "A.SVC",
        "host.docker.internal",
    ],
)
def test_names_that_only_a_cluster_or_a_machine_knows(host: str) -> None:
    assert is_cluster_name(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://a\\.b.example",
        "https://a%2f.b.example",
        "https://\uff41.b.example",
        "https://a.b.example:0",
        "https://a.b.example:70000",
        "https://a.b.example:x",
        "https://a.b.example:",
        "https://[a.b.example",
        "https://",
        "https://a@b.example",
        "https://a..b.example",
        "https://.b.example",
        "https://a b.example",
        "https://\u3002b.example",
    ],
)
def test_a_host_that_two_readers_take_differently_is_none(url: str) -> None:
    assert endpoint(url) is None


@settings(max_examples=300)
@given(st.text(max_size=20))
def test_no_authority_at_all_breaks_the_check(authority: str) -> None:
    found = endpoint(f"https://{authority}/v1")
    assert found is None or found[1].isascii()


def test_an_allow_list_entry_ends_at_a_dot() -> None:
    assert host_matches("*.acme.example", "a.b.acme.example")
    assert not host_matches("*.acme.example", "acme.example")
    assert not host_matches("*.acme.example", "evilacme.example")
    assert not host_matches("acme.example", "a.acme.example")


def test_loopback_is_for_development_only(source: Copy) -> None:
    assert source.codes() == []
    source.change(PLATFORM, "      development: true\n", "")
    assert "STOA452" in source.codes()


@pytest.mark.parametrize("host", ["ORDERS.ACME.EXAMPLE", "orders.acme.example:8443", "a.b.acme.example"])
def test_a_host_on_the_allow_list_may_be_written_in_any_case_and_with_a_port(source: Copy, host: str) -> None:
    assert source.change(ORDERS, PROD, f"prod: https://{host}/v1").codes() == []


# Secrets.

SECRETS = {
    "a private key": "-----BEGIN " + "EC PRIVATE KEY-----",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "x9Yz" * 5,
    "a Slack token": "xoxb-" + "12345678-90ab",
    "a Stripe key": "sk_live_" + "4eC39HqLyjWDarjtT1",
    "a Google key": "AIza" + "SyA-0123456789_abcdefghijklmnopqrst",
    "an API key": "sk-ant-" + "api03" * 8,
    "a Vault token": "hvs." + "CAESIJ" * 5,
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
}


@pytest.mark.parametrize(("kind", "secret"), SECRETS.items())
def test_a_literal_that_looks_like_a_secret_is_found_and_never_shown(source: Copy, kind: str, secret: str) -> None:
    source.change(ORDERS, "intent: Use it when you know the order's number.", f"intent: 'Use it with {secret} please.'")
    _, found = source.read()
    assert [(d.rule.code, d.message) for d in found] == [("STOA472", f"`intent` holds what looks like {kind}")]
    assert kind_of_secret(secret) == kind
    assert secret not in masked(f"before {secret} after")
    assert masked(f"before {secret} after").startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "vault:tenants/acme/orders#token",
        "The sky is blue, and sk-8 is a road.",
        "eyJ is how many tokens begin.",
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "AKIA",
        "https://orders.acme.example/v1",
    ],
)
def test_what_only_resembles_a_secret_is_left_alone(text: str) -> None:
    assert kind_of_secret(text) is None
    assert masked(text) == text


@pytest.mark.parametrize(
    "path",
    [
        "tenants/umbra/lamps",
        "tenants/acme2/orders",
        "tenants/acme",
        "tenants",
        "tenants/acme/../umbra/x",
        "tenants/acme/./x",
    ],
)
def test_a_secret_lies_below_the_tenants_own_prefix(source: Copy, path: str) -> None:
    assert source.change(ORDERS, "vault:tenants/acme/orders#token", f"vault:{path}#token").codes() == ["STOA471"]


@pytest.mark.parametrize(
    ("mine", "theirs", "overlap"),
    [
        ("tenants/acme", "tenants/acme", True),
        ("tenants/acme", "tenants/acme/umbra", True),
        ("tenants/acme", "tenants", True),
        ("tenants/acme", "tenants/acme2/umbra", False),
        ("tenants/acme", "tenants/acm/umbra", False),
        ("tenants/acme", "tenants/acme-x/umbra", False),
    ],
)
def test_prefixes_overlap_only_at_a_separator(source: Copy, mine: str, theirs: str, overlap: bool) -> None:
    source.change(UMBRA, "prefix: tenants/umbra", f"prefix: {theirs}")
    assert source.codes() == (["STOA422"] if overlap else [])


# Patterns and schemas.


@pytest.mark.parametrize("pattern", [r"(?=a)", r"(?!a)", r"(?<=a)b", r"(?<!a)b", r"(a)\1", r"(?>a+)b", r"(?P=x)"])
def test_patterns_that_need_backtracking_are_refused(pattern: str) -> None:
    assert pattern_problem(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "^([a-z]+)*$", r"^\d{3}-\p{L}+$", ""])
def test_patterns_that_a_linear_engine_takes_are_fine(pattern: str) -> None:
    assert pattern_problem(pattern) == ""


@pytest.mark.parametrize("pattern", ["[", "a{99999999}", "((a{1000}){1000}){1000}", "(", "*", "a" * 501, r"\u12"])
def test_patterns_that_are_none_or_too_large_are_refused(pattern: str) -> None:
    assert pattern_problem(pattern)


LINES = "          lines:\n            type: boolean\n"


@pytest.mark.parametrize(
    "name", ["default", "const", "enum", "examples", "properties", "pattern", "$ref", "required", "x-y"]
)
def test_a_property_called_like_a_keyword_hides_nothing(source: Copy, name: str) -> None:
    """Below `properties` every name is the author's own, and what it holds is a schema."""
    source.change(ORDERS, LINES, f"          {name}:\n            $ref: https://evil.example/x.json\n")
    assert source.codes() == ["STOA442"]


@pytest.mark.parametrize(
    "keyword", ["items", "not", "contains", "propertyNames", "if", "additionalProperties", "contentSchema"]
)
def test_every_keyword_that_holds_a_schema_is_looked_into(source: Copy, keyword: str) -> None:
    source.change(ORDERS, LINES, f"          lines:\n            {keyword}: {{pattern: '(?=x)'}}\n")
    assert source.codes() == ["STOA444"]


@pytest.mark.parametrize("keyword", ["patternProperties", "dependentSchemas", "$defs", "properties"])
def test_every_keyword_that_holds_schemas_by_name_is_looked_into(source: Copy, keyword: str) -> None:
    source.change(ORDERS, LINES, f"          lines:\n            {keyword}: {{const: {{pattern: '(?=x)'}}}}\n")
    assert source.codes() == ["STOA444"]


@pytest.mark.parametrize("keyword", ["const", "default", "enum", "examples"])
def test_data_is_no_schema(source: Copy, keyword: str) -> None:
    data = "{$ref: 'https://evil.example', patern: '('}"
    data = f"[{data}]" if keyword in ("enum", "examples") else data
    assert source.change(ORDERS, LINES, f"          lines:\n            {keyword}: {data}\n").codes() == []


def test_a_schema_that_is_recursive_through_its_values_is_fine(source: Copy) -> None:
    source.change(ORDERS, LINES, '          lines:\n            $ref: "#/$defs/tree"\n')
    tree = "        $defs:\n          tree: {type: object, properties: {left: {$ref: '#/$defs/tree'}}}\n"
    source.change(ORDERS, "        required: [order_id]\n", f"{tree}        required: [order_id]\n")
    assert source.codes() == []


@pytest.mark.parametrize("names", [1, 2, 30])
def test_references_that_lead_back_without_a_step_are_refused(source: Copy, names: int) -> None:
    source.change(ORDERS, LINES, '          lines:\n            $ref: "#/$defs/d0"\n')
    ring = "".join(f"          d{i}: {{allOf: [{{$ref: '#/$defs/d{(i + 1) % names}'}}]}}\n" for i in range(names))
    source.change(ORDERS, "        required: [order_id]\n", f"        $defs:\n{ring}        required: [order_id]\n")
    assert source.codes() == ["STOA441"]


@pytest.mark.parametrize(
    ("width", "length", "codes"), [(2, 10, []), (2, 14, ["STOA443"]), (9, 5, ["STOA443"]), (1, 200, [])]
)
def test_references_that_multiply_are_bounded(source: Copy, width: int, length: int, codes: list[str]) -> None:
    source.change(ORDERS, LINES, '          lines:\n            $ref: "#/$defs/d0"\n')
    chain = "".join(
        f"          d{i}: {{anyOf: [{', '.join([f'{{$ref: {chr(39)}#/$defs/d{i + 1}{chr(39)}}}'] * width)}]}}\n"
        for i in range(length)
    )
    chain += f"          d{length}: {{type: boolean}}\n"
    source.change(ORDERS, "        required: [order_id]\n", f"        $defs:\n{chain}        required: [order_id]\n")
    assert source.codes() == codes


def test_a_schema_with_thousands_of_properties_is_refused(source: Copy) -> None:
    many = "".join(f"          p{i}: {{type: string}}\n" for i in range(5100))
    assert "STOA443" in source.change(ORDERS, LINES, LINES + many).codes()


def test_one_operations_mistake_hides_no_others(source: Copy) -> None:
    source.change(ORDERS, "type: boolean", "type: bool")
    source.change(
        ORDERS,
        "          order_id:\n            type: string\n        required",
        "          order_id:\n            type: text\n        required",
    )
    assert source.codes() == ["STOA441", "STOA441"]


# People, roles, names.


@pytest.mark.parametrize(
    ("name", "taken"),
    [("acme", True), ("ACME", True), ("Acme", True), ("\uff21cme", True), ("Acme 2", False), ("\u2132cme", False)],
)
def test_a_tenant_is_not_shown_under_another_tenants_name(source: Copy, name: str, taken: bool) -> None:
    source.change(UMBRA, "displayName: Umbra", f"displayName: {name}")
    assert source.codes() == (["STOA424"] if taken else [])


@pytest.mark.parametrize("where", [TENANT, CONSUMER])
def test_no_tenant_gives_a_platform_role(source: Copy, where: str) -> None:
    assert source.change(where, "roles: [reader]", "roles: [operator]").codes() == ["STOA412"]


@pytest.mark.parametrize(("day", "there"), [("2028-02-29", True), ("2027-02-29", False), ("2027-04-31", False)])
def test_a_subscription_ends_on_a_day_that_there_is(source: Copy, day: str, there: bool) -> None:
    source.change(SUBSCRIPTION, "status: active", f"status: active\n  expires: {day}")
    assert source.codes() == ([] if there else ["STOA465"])


def test_grants_to_a_draft_or_beside_a_mistake_are_not_called_empty(source: Copy) -> None:
    assert "STOA423" not in source.change(ORDERS, "status: published", "status: draft").codes()
    assert source.change(ORDERS, "sideEffects: read", "sideEffects: write").codes()[:1] == ["STOA432"]
    assert "STOA423" not in source.codes()


@pytest.mark.parametrize(("kind", "form"), literals._FORMS)
def test_every_literal_secret_holds_a_mark(kind: str, form: str) -> None:
    @settings(max_examples=50, deadline=None)
    @given(st.from_regex(form))
    def holds(text: str) -> None:
        assert any(mark in text for mark in literals.MARKS), kind

    holds()

"""A realm for each tenant: every file that names issuers names the same, and one that speaks for another is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa_compiler.graph import Graph
from stoa_schemas import bundle
from tests.charts.conftest import HelmLibrary, of_kind
from tests.compiler.verify_mutations import (
    VALUES,
    Files,
    against,
    alone,
    compiled,
    encoded,
    parsed,
    resealed,
    write_source,
)

HOME = "https://id.stoa.example/realms/stoa"
ISSUERS = {"acme": f"{HOME}-acme", "platform": HOME, "zenith": f"{HOME}-zenith"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Files]:
    source = write_source(tmp_path_factory.mktemp("source"))
    platform = source / "platform.yaml"
    document = yaml.safe_load(platform.read_text())
    del document["spec"]["identity"]["tenants"]
    document["spec"]["identity"]["strategy"] = "realm-per-tenant"
    platform.write_text(yaml.safe_dump(document, sort_keys=False))
    return compiled(source)


def test_the_bundle_holds_and_the_values_list_every_issuer(made: tuple[Graph, Files]) -> None:
    graph, files = made
    assert alone(files) == []
    assert against(files, graph) == []
    (values,) = parsed(VALUES, files[VALUES])
    assert values["issuer"] == {"url": HOME, "tenants": ISSUERS}
    index = parsed(bundle.PLATFORM_INDEX, files[bundle.PLATFORM_INDEX])
    assert {i["tenant"]: i["issuer"] for i in index["token"]["issuers"]} == ISSUERS


def test_the_chart_says_whose_issuer_is_whose(made: tuple[Graph, Files]) -> None:
    (service,) = of_kind(HelmLibrary().render(made[1][VALUES].decode()), "Service")
    assert yaml.safe_load(service["metadata"]["annotations"]["gostoa.dev/issuers"]) == ISSUERS


def _index(change: Callable[[Any], object]) -> tuple[str, Callable[[Any], object]]:
    return bundle.PLATFORM_INDEX, change


SLIPS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "an issuer that speaks for another": _index(lambda i: i["token"]["issuers"][0].update(tenant="zenith")),
    "two issuers swapped": _index(
        lambda i: [i["token"]["issuers"][n].update(issuer=ISSUERS[t]) for n, t in ((0, "zenith"), (2, "acme"))]
    ),
    "no issuer for a tenant": _index(lambda i: i["token"]["issuers"].pop()),
    "one issuer for all": _index(lambda i: i["token"].pop("issuers")),
    "a stranger's issuer": _index(lambda i: i["token"]["issuers"][0].update(issuer="https://evil.example/realms/x")),
    "keys of another issuer": _index(
        lambda i: i["token"]["issuers"][0].update(jwksUrl=f"{HOME}-zenith/protocol/openid-connect/certs")
    ),
    "values with an issuer less": (VALUES, lambda v: v[0]["issuer"]["tenants"].pop("acme")),
    "values with another issuer": (VALUES, lambda v: v[0]["issuer"]["tenants"].update(acme=HOME)),
    "a tenant's group in another realm": (
        "keycloak/stoa-acme-realm.json",
        lambda r: r["groups"][0].update(name="zenith"),
    ),
    "the platform's role in a tenant's realm": (
        "keycloak/stoa-acme-realm.json",
        lambda r: r["groups"][0]["subGroups"][0].update(realmRoles=["admin"]),
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_noticed_by_the_bundle_alone(made: tuple[Graph, Files], name: str) -> None:
    path, change = SLIPS[name]
    value = parsed(path, made[1][path])
    change(value)
    content = encoded(path, value)
    assert content is not None
    files = {**made[1], path: content}
    assert alone(resealed(files) if path.startswith("mcp/") else files)


def test_a_realm_that_is_missing_is_noticed(made: tuple[Graph, Files], tmp_path: Path) -> None:
    files = {p: c for p, c in made[1].items() if p != "keycloak/stoa-acme-realm.json"}
    assert any("is no realm of the bundle" in f for f in alone(files))

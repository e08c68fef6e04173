"""The process that most attacks are tried on: it is started once, and must not have printed a word in the end."""

import itertools
from collections.abc import Iterator

import pytest

from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.conftest import backend, halliday, issuer, sorrento
from tests.threats.process import Attacked, serving

__all__ = ["backend", "halliday", "issuer", "sorrento"]
SUBJECTS = itertools.count()

ARRAY = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "object", "additionalProperties": {"type": "string"}}
PLACES = {
    "segment": world.place("path", "segment", style="simple"),
    "text": world.place("query", "text", style="form", explode=True),
    "list": world.place("query", "list", style="form", explode=False),
    "pipes": world.place("query", "pipes", style="pipeDelimited"),
    "spaces": world.place("query", "spaces", style="spaceDelimited"),
    "deep": world.place("query", "deep", style="deepObject", explode=True),
    "spread": world.place("query", "spread", style="form", explode=True),
    "reserved": world.place("query", "reserved", style="form", explode=True, allow_reserved=True),
    "json": world.place("query", "json", content="application/json"),
    "head": world.place("header", "X-Head", style="simple"),
    "heads": world.place("header", "X-Heads", style="simple"),
    "crumb": world.place("cookie", "crumb", style="form", explode=True),
    "crumbs": world.place("cookie", "crumbs", style="form", explode=False),
}
"""One argument for each place and style in which a value can stand."""


def places_tool() -> bundle.Tool:
    """A tool with an argument in every place."""
    text = {"type": "string"}
    shapes = {"list": ARRAY, "pipes": ARRAY, "spaces": ARRAY, "heads": ARRAY, "crumbs": ARRAY}
    shapes |= {"deep": OBJECT, "spread": OBJECT, "json": OBJECT}
    return world.tool(
        "ioi",
        "inventory",
        "place",
        "GET",
        "/places/{segment}/end",
        arguments=PLACES,
        properties={name: shapes.get(name, text) for name in PLACES},
        required=["segment"],
    )


def mirrored_tool() -> bundle.Tool:
    """A tool with an argument that clients send as a header besides."""
    return world.tool(
        "ioi",
        "inventory",
        "mirrored",
        "GET",
        "/mirrored",
        arguments={"region": world.place("query", "region", style="form", explode=True)},
        properties={"region": {"type": "string", "x-mcp-header": "Region"}},
    )


def catalogs(url: str) -> dict[str, bundle.Catalog]:
    """The small world's tenants, with these tools besides."""
    made = world.catalogs(url)
    ioi = made["ioi"]
    tools = sorted([*ioi.tools, places_tool(), mirrored_tool()], key=lambda tool: tool.name)
    everything = [tool.name for tool in tools]
    reading = [t.name for t in tools if t.side_effects in ("none", "read") and t.name != "ioi_inventory_mirrored"]
    access = {"cpi-admin": everything, "devops": everything, "viewer": reading}
    return made | {"ioi": ioi.model_copy(update={"tools": tools, "access": access})}


@pytest.fixture(scope="session")
def stoa(tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("threats")
    secret = folder / "secrets" / "billing" / "api" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(world.SECRET + "\n")
    tenants = catalogs(backend.url)
    settings = Settings(
        bundle=world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants),
        port=0,
        audit=folder / "state" / "audit.jsonl",
        secrets="file",
        secrets_folder=folder / "secrets",
        body_limit=65_536,
        body_deadline=1.0,
    )
    with serving(settings, issuer, backend, tenants, folder / "process") as made:
        yield made
        assert made.is_alive()
        assert "Traceback" not in made.printed()


@pytest.fixture
def parzival(issuer: world.Issuer) -> str:
    """A person of `ioi`, another one for each test: attacks use up the calls that one person has."""
    return issuer.token(sub=f"parzival-{next(SUBJECTS)}")

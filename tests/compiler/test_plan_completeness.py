"""No declared change is invisible: every key of the language is changed, one at a time, and the plan tells of it."""

import copy
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from stoa_compiler.diagnostics import Report
from stoa_compiler.load import load
from stoa_compiler.parse import parse
from stoa_compiler.plan.making import Made, of
from stoa_compiler.plan.revisions import memory_tree
from stoa_schemas.documents import KINDS

DEMO = Path(__file__).parents[2] / "tenants"
TODAY = date(2027, 1, 1)
Loc = tuple[str | int, ...]

# Keys that the demo source leaves out, put in so that they can be changed.
EXTRA: dict[str, dict[Loc, Any]] = {
    "platform.yaml": {
        ("spec", "enforcement"): {
            "limits": {"whenDown": "refuse"},
            "audit": {"durability": "event", "whenFull": "refuse"},
        },
        ("spec", "agents", "toolTokens"): 7000,
        ("spec", "defaults", "answer", "maxCharacters"): 150_000,
        ("spec", "defaults", "answer", "whenTooLarge"): "refuse",
        ("spec", "defaults", "retries", "budgetPercent"): 20,
        ("spec", "environments", "prod", "runtime", "image", "digest"): "sha256:" + "a" * 64,
        ("spec", "environments", "prod", "kubernetes", "podSecurity"): "restricted",
        ("spec", "tiers", "enterprise", "resources"): {"pods": 10, "cpu": "4", "memory": "8Gi", "storage": "20Gi"},
        ("spec", "reviews"): {
            "owners": {"platform": ["acme/platform"], "tenants": {"ioi": ["acme/ioi"]}},
            "rules": {
                "vvh": {
                    "when": "change.code == 'access-gained'",
                    "approvers": ["acme/security", "acme/platform"],
                    "count": 1,
                    "reason": "What is most critical is looked at.",
                }
            },
        },
        ("spec", "compatibility"): {
            "ignore": [
                {
                    "code": "operation-removed",
                    "contract": "ioi:billing",
                    "reason": "Nobody calls it.",
                    "until": "2027-06-30",
                }
            ]
        },
    },
    "ioi/contracts/billing.yaml": {
        ("spec", "backend", "concurrency"): 50,
        ("spec", "backend", "circuitBreaker"): {"failures": 5, "reset": "30s"},
        ("spec", "answer"): {
            "check": "enforce",
            "maxBytes": 900_000,
            "maxCharacters": 100_000,
            "whenTooLarge": "refuse",
        },
        ("spec", "operations", "list_invoices", "agents"): True,
        ("spec", "operations", "list_invoices", "approval"): False,
        ("spec", "operations", "list_invoices", "protocols"): ["rest", "mcp"],
        ("spec", "operations", "list_invoices", "limits"): {"rate": "60/minute", "concurrency": 5},
        ("spec", "operations", "list_invoices", "answer"): {
            "maxBytes": 800_000,
            "fields": ["invoices", "next_page_token"],
        },
    },
}
KEPT = (
    "ioi/tenant.yaml",
    "ioi/contracts/billing.yaml",
    "ioi/consumers/",
    "ioi/plans/",
    "billing.yaml",
    "platform.yaml",
)


def documents() -> dict[str, Any]:
    """One tenant of the demo source, with one contract and every key that can stand beside the others."""
    source = load(DEMO, Report())
    read = parse(source.narrowed({"ioi"}).placed, Report())
    found = {place.file.path: copy.deepcopy(document.data) for place, document in read}
    found = {p: d for p, d in found.items() if p.startswith(KEPT) or p.endswith("-billing.yaml")}
    platform = found["platform.yaml"]["spec"]
    platform["backends"]["allowedHosts"] = [h for h in platform["backends"]["allowedHosts"] if "ioi" in h["tenants"]]
    for grant in found["ioi/tenant.yaml"]["spec"]["grants"]:
        grant["tools"] = [t for t in grant["tools"] if "inventory" not in t]
    for path, extra in EXTRA.items():
        for loc, value in extra.items():
            above = found[path]
            for step in loc[:-1]:
                above = above.setdefault(step, {})
            above[loc[-1]] = value
    return found


SOURCE = documents()


def files(changed: dict[str, Any]) -> dict[str, bytes]:
    return {p: json.dumps(d, indent=1).encode() for p, d in changed.items()}


BASE = memory_tree(files(SOURCE), Path("tenants"), "base")


def leaves(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """Every value that is no mapping, and every mapping and list as a whole."""
    yield loc, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*loc, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:1]):
            yield from leaves(inner, (*loc, index))


def field_of(model: Any, loc: Loc) -> Any:
    """The annotation at `loc` below a model; None inside of schemas and examples, which have none."""
    for step in loc:
        options = list(_options(model))
        found = None
        for option in options:
            if isinstance(option, type) and issubclass(option, BaseModel):
                named = next((f for n, f in option.model_fields.items() if (f.alias or n) == step), None)
                if named is not None:
                    found = named.annotation
                    break
            elif get_origin(option) is dict:
                found = get_args(option)[1]
            elif get_origin(option) is list:
                found = get_args(option)[0]
        if found is None or found is Any:
            return None
        model = found
    return model


def _options(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for arm in get_args(annotation):
            yield from _options(arm)
    elif annotation is not NoneType:
        yield annotation


GONE = object()
MORE: dict[str, tuple[str, ...]] = {
    "enterprise": ("team",),
    "devops": ("viewer",),
    "tenant-admin": ("devops",),
    "cpi-admin": ("tenant-admin",),
    "sales-assistant": ("ledger-sync",),
    "ledger-sync": ("sales-assistant",),
    "standard": ("bulk",),
    "bulk": ("standard",),
    "ioi:*:*": ("ioi:billing:get_invoice",),
    "*:*:*": ("ioi:*:*",),
    "*.ioi.example": ("*.example",),
    "GET": ("HEAD",),
}
"""Names that stand for others."""


def otherwise(annotation: Any, value: Any) -> Iterator[Any]:
    """Other values that may be possible there."""
    for option in _options(annotation):
        if get_origin(option) is Literal:
            yield from (other for other in get_args(option) if other != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value / 2)
    elif isinstance(value, str):
        digits = [i for i, c in enumerate(value) if c.isdigit()]
        if digits:
            at = digits[-1]
            yield value[:at] + ("8" if value[at] == "7" else "7") + value[at + 1 :]
            yield value[: digits[0]] + "1" + value[digits[0] :]
        yield value + "x"
        yield value.replace("https://", "https://x")
        yield value.replace("vault:", "vault:").replace("#", "/y#")
        yield from MORE.get(value, ())
    elif isinstance(value, list):
        yield from (value[:-1], value[1:], [])
    yield GONE


def at(data: Any, loc: Loc) -> Any:
    for step in loc:
        data = data[step]
    return data


def changed(path: str, loc: Loc, value: Any, data: dict[str, Any]) -> dict[str, Any]:
    made = {**data, path: copy.deepcopy(data[path])}
    above = at(made[path], loc[:-1])
    if value is GONE:
        del above[loc[-1]]
    else:
        above[loc[-1]] = value
    return made


def general(path: str, loc: Loc) -> str:
    """The key, whatever it is a key of: `Platform spec.roles.*.scope`."""
    kind = SOURCE[path]["kind"]
    steps = []
    for number, step in enumerate(loc):
        above = list(_options(field_of(KINDS[kind], loc[:number]) if number else KINDS[kind]))
        steps.append("*" if isinstance(step, int) or any(get_origin(o) is dict for o in above) else str(step))
    return f"{kind} {'.'.join(steps)}"


def places() -> dict[str, list[tuple[str, Loc]]]:
    """The first places where each key stands."""
    found: dict[str, list[tuple[str, Loc]]] = {}
    for path, data in SOURCE.items():
        for loc, value in leaves(data["spec"], ("spec",)):
            if not isinstance(value, dict) and field_of(KINDS[data["kind"]], loc) is not None:
                same = found.setdefault(general(path, loc), [])
                if len(same) < 3:
                    same.append((path, loc))
    return found


PLACES = places()

P, T, C = "platform.yaml", "ioi/tenant.yaml", "ioi/contracts/billing.yaml"
ASSISTANT, SYNC = "ioi/consumers/sales-assistant.yaml", "ioi/consumers/ledger-sync.yaml"
PROD: Loc = ("spec", "environments", "prod")
EDITS: dict[str, list[tuple[str, Loc, Any]]] = {
    "Consumer spec.grantTypes.*": [
        (SYNC, ("spec", "grantTypes"), ["client_credentials", "authorization_code"]),
        (SYNC, ("spec", "redirectUris"), ["https://sync.ioi.example/callback"]),
    ],
    "Platform spec.compatibility.ignore.*.until": [(P, ("spec", "compatibility", "ignore", 0, "until"), "2027-05-30")],
    "Platform spec.environments.*.targets.*": [(P, ("spec", "environments", "dev", "targets"), ["mcp", "helm"])],
    "Platform spec.grants.*.role": [(P, ("spec", "roles", "cpi-admin", "permissions"), ["catalog:read"])],
    "Platform spec.reviews.rules.*.when": [
        (P, ("spec", "reviews", "rules", "vvh", "when"), "change.code == 'access-lost'")
    ],
    "Subscription spec.consumer": [("ioi/subscriptions/ledger-sync-billing.yaml", ("spec", "plan"), "standard")],
    "Tenant spec.tier": [(T, ("spec", "tier"), "team"), (T, ("spec", "quotas", "rate"), "100/minute")],
    "UniversalAPIContract spec.backend.auth.type": [
        (C, ("spec", "backend", "auth", "type"), "basic"),
        (C, ("spec", "backend", "auth", "username"), "u"),
    ],
}  # fmt: skip
"""What goes together, for keys that cannot be changed alone."""


def made_of(edits: list[tuple[str, Loc, Any]]) -> Made:
    data = SOURCE
    for path, loc, value in edits:
        data = changed(path, loc, value, data)
    return of(BASE, memory_tree(files(data), Path("tenants"), "head"), TODAY, artifacts=False)


def told(made: Made, what: str) -> None:
    assert made.plan.complete
    assert made.plan.changes, f"{what} is not told of"
    assert not [c.text for c in made.plan.changes if not c.spans], "these name no line"


@pytest.mark.parametrize("key", sorted(PLACES))
def test_no_change_is_invisible(key: str) -> None:
    """Of each key, the first edit that compiles."""
    for path, loc in PLACES[key]:
        value = at(SOURCE[path], loc)
        for other in otherwise(field_of(KINDS[SOURCE[path]["kind"]], loc), value):
            made = made_of([(path, loc, other)])
            default = other is GONE and any("no change of meaning" in note for note in made.plan.notes)
            if not made.broken and other != value and not default:
                told(made, f"{path} {loc}: {value!r} -> {other!r}")
                return
    if key in EDITS:
        made = made_of(EDITS[key])
        assert not made.broken, [d.message for d in made.plan.findings]
        told(made, key)
    else:
        assert key in DEMANDED or isinstance(value, list), "no edit of it compiles: give one in EDITS"


DEMANDED = (
    "Platform spec.backends.allowedHosts.*.tenants.*",
    "Platform spec.domain",
    "Platform spec.environments.*.argocd.runtime.namespace",
    "Platform spec.environments.*.development",
    "Platform spec.roles.*.scope",
    "Platform spec.zones.*.trust",
    "Subscription spec.contract",
    "Tenant spec.secrets.prefix",
)
"""Keys at which nothing else can stand in this source: many other values would have to go with them."""

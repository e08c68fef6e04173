"""Renderers: one module a target, from the platform graph to artifacts. `MODULES` lists them in order."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from stoa_compiler.target import Target

MODULES: Mapping[str, str] = {
    name: f"{__name__}.{name}" for name in ("mcp", "helm", "keycloak", "kubernetes", "argocd")
}
"""Every target's module, those that are carried before those that carry them. Each is imported when it is asked for."""

JUDGING = frozenset({"keycloak"})
"""Targets whose verification finds mistakes of authors too: names, say, that only the consumer's own rules refuse."""


@cache
def target_named(name: str) -> Target:
    """The target of that name."""
    found = import_module(MODULES[name]).TARGET
    assert isinstance(found, Target)
    return found

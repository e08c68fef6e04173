"""Renderers: one module a target, from the platform graph to artifacts. `TARGETS` lists them in order."""

from stoa_compiler.target import Target
from stoa_compiler.targets import argocd, helm, keycloak, kubernetes, mcp

TARGETS: tuple[Target, ...] = (mcp.TARGET, keycloak.TARGET, helm.TARGET, kubernetes.TARGET, argocd.TARGET)
"""Every target, those that are carried before those that carry them."""

"""Renderers: one module a target, from the platform graph to artifacts. `TARGETS` lists them in order."""

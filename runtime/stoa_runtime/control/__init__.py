"""The control-plane API: what is served and who may call it, read-only, below `/api/v1`."""

from stoa_runtime.control.application import PREFIX, application

__all__ = ["PREFIX", "application"]

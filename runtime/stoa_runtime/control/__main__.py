"""Writes the API's description: `python -m stoa_runtime.control docs/control-plane.openapi.json`."""

import sys
from pathlib import Path

from stoa_runtime.control import openapi
from stoa_runtime.control.resources import RESOURCES

if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(openapi.encoded(openapi.document(RESOURCES)))

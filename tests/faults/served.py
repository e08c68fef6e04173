"""`stoa` with constants that make its user wait less: `python -m tests.faults.served JSON ARGUMENT...`.

The JSON object names constants of the runtime by `module.NAME`.
"""

import json
import sys
from importlib import import_module

from stoa_compiler.cli import run


def main(patience: str, *arguments: str) -> None:
    """Runs the command line."""
    for name, value in json.loads(patience).items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(f"stoa_runtime.{module}"), constant, value)
    sys.argv[1:] = arguments
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])

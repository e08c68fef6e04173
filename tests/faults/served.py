"""`stoa serve` with settings that its command line does not give: `python -m tests.faults.served JSON`.

`patience` shortens what would take an hour: constants of modules, by `module.NAME`. `file_bytes` is the size that no
file may outgrow, as a full disk.
"""

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from stoa_runtime.audit import KafkaTopic
from stoa_runtime.server import serve
from stoa_runtime.settings import AuditSettings, Settings


def main(given: dict[str, Any]) -> None:
    """Serves until it is told to stop."""
    for name, value in given.pop("patience", {}).items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(f"stoa_runtime.{module}"), constant, value)
    if size := given.pop("file_bytes", 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    auditing = AuditSettings()
    if topic := given.pop("kafka", None):
        auditing = AuditSettings(kafka=KafkaTopic(*topic))
    paths = {key: Path(given.pop(key)) for key in ("bundle", "audit", "state") if key in given}
    serve(Settings(**paths, auditing=auditing, **given), lambda url: print(f"listening on {url}", flush=True))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

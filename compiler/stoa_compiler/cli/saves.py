"""What tells that a file of a source was saved."""

import os
from pathlib import Path


def stamps(source: Path) -> dict[str, tuple[int, int, int]]:
    """Of every file its time, size and number, by its path below `source`: what changes when an editor saves."""
    found = {}
    cut = len(os.path.join(source, ""))  # noqa: PTH118
    for folder, folders, names in os.walk(source):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for path in (os.path.join(folder, name) for name in names if not name.startswith(".")):  # noqa: PTH118
            try:
                status = os.lstat(path)
            except OSError:
                continue
            found[path[cut:]] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found

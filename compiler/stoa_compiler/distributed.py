"""Shares on a Dask cluster: its workers take tenants from bytes to proved catalogs, this process puts them together.

What goes there are the files' bytes and what their paths say, what comes back are the bytes of a share: no code is
sent, and none is read. A worker that ends in the middle is no loss: the scheduler gives its share to another one.
"""

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import stoa_schemas
from stoa_compiler import __version__
from stoa_compiler.load import Placed, Source
from stoa_compiler.sending import send
from stoa_compiler.shares import Engine, Making, Share, divided, received
from stoa_compiler.source import SourceFile

PER_THREAD = 2
"""Shares for each thread of the cluster: with some to spare, none waits long for the slowest."""
CONNECT_SECONDS = 10
TRIES = 3
"""How often a share is begun again when its worker ends."""

File = tuple[str, str, bytes]
"""Path, shown path, content."""
Document = tuple[str, str, str, str | None]
"""Path, kind, name, tenant."""


class ClusterError(RuntimeError):
    """The cluster cannot do the work: what is wrong, for people."""


def on_cluster(scheduler: str) -> Engine:
    """An engine on the cluster whose scheduler listens at `scheduler`, such as `tcp://host:8786`."""

    def engine(making: Making, source: Source) -> list[Share]:
        from distributed import Client
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        try:
            connect: Any = Client  # The package has no types.
            client = connect(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler answers at `{scheduler}`: {str(error).splitlines()[0]}") from error
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise ClusterError(f"the Dask cluster at `{scheduler}` has no workers")
            parts = divided(source, threads * PER_THREAD)
            code, run = code_digest(), uuid4()  # Others may use the cluster now.
            futures = [
                client.submit(
                    work,
                    *_plain(part),
                    making.environments,
                    code,
                    pure=False,
                    key=f"stoa-{run}-{number}",
                    retries=TRIES,
                )
                for number, part in enumerate(parts)
            ]
            try:
                sent = client.gather(futures)
            except (KilledWorker, FutureCancelledError, WrongCode) as error:
                raise ClusterError(f"the Dask cluster at `{scheduler}` did not finish: {error}") from error
        shares = [received(s, source) for s in sent]
        for part, share in zip(parts, shares, strict=True):
            making.memory.keep(share, part, making.environments, making.targets)
        return shares

    return engine


class WrongCode(Exception):
    """A worker runs another compiler: its bytes could be others."""


def work(
    files: Sequence[File],
    documents: Sequence[Document],
    elsewhere: Sequence[tuple[str, str, str]],
    environments: Sequence[str] | None,
    code: str,
) -> bytes:
    """On a worker: the share of these documents, as it is sent."""
    from stoa_compiler.pipeline import making

    if code_digest() != code:
        raise WrongCode(f"a worker has another compiler or Python than this one ({__version__}, {sys.version[:7]})")
    found = [SourceFile(path, shown, content) for path, shown, content in files]
    at = {file.path: file for file in found}
    placed = tuple(Placed(at[path], kind, name, tenant) for path, kind, name, tenant in documents)
    named = {path for path, _, _, _ in documents}
    descriptions = {file.path: file for file in found if file.path not in named}
    source = Source(placed, descriptions, {file.shown: file for file in found}, tuple(elsewhere))
    return send(making(environments).light(source))


def _plain(source: Source) -> tuple[list[File], list[Document], list[tuple[str, str, str]]]:
    """What `work` takes: plain values alone."""
    files = [*(p.file for p in source.placed), *source.descriptions.values()]
    return (
        [(f.path, f.shown, f.content) for f in files],
        [(p.file.path, p.kind, p.name, p.tenant) for p in source.placed],
        list(source.elsewhere),
    )


@cache
def code_digest() -> str:
    """The digest of our own code, and of what its results may depend on."""
    from stoa_compiler.snapshots import installed

    digest = hashlib.sha256("\n".join([sys.version, *installed()]).encode())
    for package in (Path(__file__).parent, Path(stoa_schemas.__file__).parent):
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()

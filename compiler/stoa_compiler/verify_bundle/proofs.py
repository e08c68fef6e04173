"""The whole proof of one bundle."""

from collections.abc import Callable, Sequence
from functools import partial

from stoa_compiler.verify_bundle import catalogs, clusters, realms
from stoa_compiler.verify_bundle.findings import UNREADABLE, Finding
from stoa_compiler.verify_bundle.reading import Read


def prove(read: Read) -> Sequence[Finding]:
    """What does not hold of the bundle."""
    parts: Sequence[tuple[Callable[[], None], str]] = (
        (partial(catalogs.prove, read), "mcp/"),
        (partial(realms.prove, read), "keycloak/"),
        (partial(clusters.prove, read), "kubernetes/"),
    )
    for part, path in parts:
        try:
            part()
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # Other people's files may have any shape: what trips the reader is a finding, not a crash.
            read.add(UNREADABLE, path, f"its files are not shaped as their consumers need them: {error!r}")
    return sorted(set(read.findings))

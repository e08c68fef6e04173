"""Bundles on disk: whether each is what its digests name."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from stoa_schemas import attestation, bundle


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the bundle in `folder`, a line each; nothing where it is whole."""
    listing = folder / bundle.BUNDLE_FILE
    try:
        declared = bundle.Bundle.model_validate_json(listing.read_bytes())
    except OSError as error:
        yield f"`{listing}` cannot be read: {error.strerror}"
        return
    except ValidationError as error:
        yield f"`{listing}` is no bundle's listing: {error.errors()[0]['msg']}"
        return
    named = {a.path: a for a in declared.artifacts}
    here = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if not p.is_dir()}
    here.pop(bundle.BUNDLE_FILE)
    signatures = here.pop(attestation.ATTESTATIONS, None)  # It names the digests, so they can't name it.
    if signatures is not None and signatures.is_symlink():
        yield f"`{attestation.ATTESTATIONS}` is a link"
    for path in sorted(named.keys() - here.keys()):
        yield f"`{path}` is listed but not there"
    for path in sorted(here.keys() - named.keys()):
        yield f"`{path}` is there but not listed"
    for path in sorted(named.keys() & here.keys()):
        if here[path].is_symlink() or bundle.sha256(here[path].read_bytes()) != named[path].sha256:
            yield f"`{path}` is not what its digest names"
    manifest = named.get(bundle.RUNTIME_MANIFEST)
    if (manifest.sha256 if manifest else None) != declared.digest:
        yield "the bundle's digest is not that of the runtime's manifest"

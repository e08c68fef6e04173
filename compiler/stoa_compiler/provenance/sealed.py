"""Where the values of `bundle.json` come from, which lists every other file."""

from stoa_compiler.provenance.keycloak import realm_name
from stoa_compiler.provenance.model import Origins, Seen, Table, fixed, made
from stoa_schemas import bundle


def _named(seen: Seen) -> bool:
    return bool(list(_path(seen)))


def _path(seen: Seen) -> Origins:
    """What in a path is a name of the source."""
    path = str(seen.value)
    folder, _, file = path.rpartition("/")
    stem = file.partition(".")[0]
    if folder == "keycloak":
        yield from realm_name(seen.places, stem.removesuffix("-realm"))
    elif folder == "mcp/tenants":
        yield from seen.places.tenant_name(stem)
    elif folder.startswith("kubernetes/tenants/"):
        yield from seen.places.tenant_name(folder.rpartition("/")[2])
    elif stem.startswith("tenant-"):
        yield from seen.places.tenant_name(stem.removeprefix("tenant-"))
    elif stem.startswith("zone-"):
        yield from seen.places.namespace_names(stem.removeprefix("zone-"))


TABLES = (
    Table(
        bundle.BUNDLE_FILE,
        (
            fixed("/apiVersion", "bundle.format", "The format's own name."),
            fixed("/compiler", "bundle.compiler", "The compiler's version."),
            made("/platform", "bundle.platform", "The platform's name.", lambda s: [s.places.platform_name]),
            fixed("/environment", "bundle.environment", "The environment that the bundle is compiled for."),
            made(
                "/development",
                "bundle.development",
                "As the environment says.",
                lambda s: [s.places.env("development")],
            ),
            made(
                "/digest",
                "bundle.runtime-digest",
                "The digest of the runtime's manifest.",
                within=lambda s: [(bundle.RUNTIME_MANIFEST, ())],
            ),
            made("/artifacts/*/path", "bundle.path", "Called after what it is for.", _path, when=_named),
            fixed("/artifacts/*/path", "bundle.fixed-path", "The path is the same in every bundle."),
            fixed("/artifacts/*/mediaType", "bundle.media-type", "What the renderer writes."),
            made(
                "/artifacts/*/sha256",
                "bundle.digest",
                "The digest of the file's bytes.",
                within=lambda s: [(str(s.near(1, "path")), ())],
            ),
            made(
                "/artifacts/*/bytes",
                "bundle.size",
                "The file's size.",
                within=lambda s: [(str(s.near(1, "path")), ())],
            ),
        ),
    ),
)
"""What is known of it."""

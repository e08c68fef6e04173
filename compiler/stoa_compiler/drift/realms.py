"""A live Keycloak beside the realms of a bundle: what `stoa reconcile keycloak` would have to do."""

import json
from pathlib import Path
from typing import Any

from stoa_compiler.clients.keycloak import Login, Refused, Server
from stoa_compiler.clients.keycloak import Unreachable as NotAsked
from stoa_compiler.drift.model import Compared, Difference, Field, Kind
from stoa_compiler.reconcile.changes import Change
from stoa_compiler.reconcile.keycloak import changes

_KINDS: dict[str, Kind] = {
    "create": "missing",
    "add": "missing",
    "update": "changed",
    "revoke": "extra",
    "delete": "orphan",
    "conflict": "changed",
}


def realms(folder: Path) -> list[dict[str, Any]]:
    """The realms that the bundle declares."""
    return [json.loads(file.read_bytes()) for file in sorted((folder / "keycloak").glob("*-realm.json"))]


def compare(declared: list[dict[str, Any]], url: str, login: Login, ca: Path | None = None) -> Compared:
    """The server at `url` beside the declared realms."""
    found: list[Difference] = []
    done = 0
    try:
        server = Server(url, login, ca)
        for realm in declared:
            made = changes(realm, server.read(realm["realm"]))
            found += [_difference(realm["realm"], c) for c in made]
            done += 1
    except (NotAsked, Refused) as error:
        return Compared("keycloak", url, done, tuple(found), str(error))
    return Compared("keycloak", url, done, tuple(found))


def _difference(realm: str, change: Change) -> Difference:
    fields = tuple(Field(d.key, d.live, d.declared) for d in change.differences)
    notes = {
        "conflict": "it has a declared name and is not marked as ours",
        "revoke": "nobody declared it",
        "delete": "it is marked as ours, and the bundle has it not",
    }
    return Difference(
        _KINDS[change.action],
        f"{realm}: {change.kind} {change.name} ({change.tenant})",
        fields,
        notes.get(change.action, ""),
    )

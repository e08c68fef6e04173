"""`requestState` of protocol 2026-07-28: what a client carries from a refused call to its retry.

It is sealed (AES-256-GCM, the SDK's codec) with a key that all processes of a deployment share, so a state that
was forged, altered, or given to another caller, tool, arguments or bundle is told from a good one. What it says
is a hint all the same: whether an approval is given, and not yet used, is read from the store.
"""

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

import orjson
from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from stoa_runtime.approvals.records import ApprovalsUnavailable, Binding

KEY_BYTES = 32
STATE_LIMIT = 2048
"""Characters of a state; ours have about 400."""
_VERSION = 1


class StateRefused(Exception):
    """A state that is not ours, not this call's, or too old; the message is for people."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a good state carries."""

    approval: str
    """Its id."""
    rounds: int
    """How often the client has been asked for this call."""


class Sealer:
    """Seals and opens states. `keys[0]` seals, every key opens: so that a key can be changed while calls wait."""

    def __init__(self, keys: list[bytes]) -> None:
        self._codec = AESGCMRequestStateCodec(keys)

    def seal(self, approval: str, binding: Binding, rounds: int, expires: int) -> str:
        """A state for the retry of `binding`'s call, good until `expires`."""
        claims = {"v": _VERSION, "i": approval, "c": _call(binding), "r": rounds, "e": expires}
        return self._codec.seal(orjson.dumps(claims))

    def open(self, state: str, binding: Binding, now: int) -> Carried:
        """What `state` carries; `StateRefused` where it is not good for `binding`'s call now."""
        try:
            if len(state) > STATE_LIMIT:
                raise InvalidRequestState("too long")
            claims = orjson.loads(self._codec.unseal(state))
        except InvalidRequestState:
            raise StateRefused(
                "The `requestState` is none that this server gave. Make the call again without it."
            ) from None
        if claims["v"] != _VERSION or claims["c"] != _call(binding):
            raise StateRefused(
                "The `requestState` was given for another call: another caller, tool, bundle or other arguments. Make"
                " the call again without it."
            )
        if now >= claims["e"]:
            raise StateRefused("The `requestState` is too old. Make the call again without it, to ask anew.")
        return Carried(claims["i"], claims["r"])


def _call(binding: Binding) -> str:
    """A digest of everything that the state is bound to."""
    who = binding.requester
    parts = [who.subject, who.tenant, who.client, binding.tool, binding.digest, binding.bundle]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def keys(path: Path, *, ours: bool = True) -> list[bytes]:
    """The keys of the file, one of hexadecimal digits in each line; a file that is not there is made, with one.

    Of several processes that start at once, one makes it and all read the same: a whole file is linked into
    place, or none. `ApprovalsUnavailable` where it cannot be read or made, or others than its owner may read it.
    One that is not `ours` is the operator's: it is not made, and its group may read it, as that of a mounted Secret.
    """
    try:
        if ours and not path.exists():
            _make(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & (0o077 if ours else 0o007):
            wanted = "by others than its owner; it must have mode 0600" if ours else "by everybody"
            raise ApprovalsUnavailable(f"{path} can be read {wanted}")
        found = [bytes.fromhex(line) for line in path.read_text().split()]
    except OSError as error:
        raise ApprovalsUnavailable(f"{path} cannot be used as the key of approvals: {error.strerror}") from error
    except ValueError:
        found = []
    if not found or any(len(key) < KEY_BYTES for key in found):
        raise ApprovalsUnavailable(f"{path} must hold keys of at least {KEY_BYTES} bytes, in hexadecimal digits")
    return found


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_hex(KEY_BYTES).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # Another process was first: its key is the one.
    finally:
        draft.unlink()

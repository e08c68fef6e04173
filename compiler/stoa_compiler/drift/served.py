"""A runtime beside a bundle: which bundle it serves, and whether it refuses one."""

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stoa_compiler.drift.model import Compared, Difference, Field, Unreachable
from stoa_schemas import bundle

TIMEOUT = 30.0
ANSWER_LIMIT = 1 << 20


class WrongAddress(Exception):
    """An address that no token is sent to; the message is for the operator."""


def compare(listing: bundle.Bundle, url: str, token: str, ca: Path | None = None) -> Compared:
    """What the runtime at `url` says that it serves, beside the bundle."""
    url = url.rstrip("/")
    asking = _Asking(url, token, ca)
    try:
        served = asking.get("/api/v1/bundle")
        if not isinstance(served.get("digest"), str):
            raise Unreachable(f"{url} does not answer as a runtime of this kind does")
        ready = asking.get("/readyz", token=False, missing=True)
    except Unreachable as error:
        return Compared("runtime", url, 0, (), str(error))
    wanted = {
        "digest": listing.digest,
        "platform": listing.platform,
        "environment": listing.environment,
        "development": listing.development,
    }
    fields = tuple(Field(k, served.get(k), v) for k, v in wanted.items() if served.get(k) != v)
    refused = ready.get("refused")
    if refused is not None:
        fields += (Field("refused", str(refused)[:1000], None),)
    if not fields:
        return Compared("runtime", url, 1)
    note = "a bundle that lies in its folder is refused, and the last good one is served" if refused is not None else ""
    return Compared("runtime", url, 1, (Difference("changed", "the served bundle", fields, note),))


def checked(url: str) -> str:
    """The address, where a token may be sent to it; `WrongAddress` in every other case."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise WrongAddress("the address is not well formed") from None
    if "@" in parts.netloc:
        raise WrongAddress("the address holds a name or a password: secrets are given by files or variables")
    if parts.scheme == "https" and host:
        return url
    if parts.scheme == "http" and host and _is_loopback(host):
        return url
    raise WrongAddress(f"`{url}` is no https address, and not on this machine: a token would be sent in the clear")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none: a token is for the address that was named."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class _Asking:
    def __init__(self, url: str, token: str, ca: Path | None) -> None:
        self._url, self._token = url, token
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
        self._opener = urllib.request.build_opener(_NoRedirects(), urllib.request.HTTPSHandler(context=context))

    def get(self, path: str, token: bool = True, missing: bool = False) -> Mapping[str, Any]:
        """The answer as an object; with `missing`, an empty one where there is no such page."""
        request = urllib.request.Request(self._url + path, headers={"Accept": "application/json"})
        if token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                status, data = answer.status, answer.read(ANSWER_LIMIT)
        except urllib.error.HTTPError as refusal:
            with refusal:
                status, data = refusal.code, refusal.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unreachable(f"{self._url} cannot be asked: {reason}") from error
        if status in (401, 403) and token:
            raise Unreachable(f"{self._url} does not let us in ({status}): the token needs `catalog:read`")
        if status == 421:
            raise Unreachable(
                f"{self._url} does not serve this host: name it by its own address, or let it take this one with"
                " `stoa serve --allowed-host`"
            )
        if missing and (300 <= status < 500):
            return {}
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        # A runtime that is not ready says so with 503, and why.
        if not isinstance(value, dict) or (status != 200 and not missing):
            raise Unreachable(f"{self._url}{path} answers {status}")
        return value

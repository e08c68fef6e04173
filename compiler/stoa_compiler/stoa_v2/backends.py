"""Backends of the earlier form: where they may be now, or what stands in their place."""

import re
from urllib.parse import urlsplit

from stoa_compiler.checks.addresses import endpoint, is_cluster_name, literal_address
from stoa_compiler.records import record
from stoa_compiler.stoa_v2.wishes import ImportRefused, Wishes

_PATH = re.compile(r"(/[^\s?#{}\\]*)?")


@record
class Backend:
    """Where an API's requests go."""

    origin: str
    """Scheme, host and port."""
    path: str
    """What stands before each operation's path; empty, or begins with a slash and ends without one."""
    host: str
    reason: str
    """Why it is not what the file says; empty where it is."""
    credential: bool = False
    """Whether the URL bore one."""


def check(backends: dict[str, str]) -> None:
    """Raises `ImportRefused` where a base URL that was given cannot be one."""
    for url in backends.values():
        found = endpoint(url)
        if found is None or found[0] != "https" or is_cluster_name(found[1]) or literal_address(found[1]):
            raise ImportRefused(f"`{url[:120]}` is no https URL on a host with a DNS name")


def resolve(url: str, tenant: str, wishes: Wishes) -> Backend:
    """Where the requests go that went to `url`."""
    try:
        parts = urlsplit(url.strip())
        netloc, path = parts.netloc, parts.path.rstrip("/")
    except ValueError:
        return _placeholder(tenant, "", "it is no URL")
    authority = netloc.rpartition("@")[2].lower()
    credential = "@" in netloc
    given = wishes.backends.get(authority)
    if given is not None:
        base = urlsplit(given)
        path = base.path.rstrip("/") or path
        found = Backend(
            f"https://{base.netloc}", path, base.hostname or "", f"--backend puts it in place of `{authority}`"
        )
    elif parts.scheme.lower() not in ("http", "https") or not authority:
        kept = path if path.startswith("/") and _PATH.fullmatch(path) and "//" not in path else ""
        return _placeholder(tenant, kept, "it is no absolute http or https URL", credential)
    elif not _PATH.fullmatch(path) or "//" in path:
        return _placeholder(tenant, "", "its path cannot be sent", credential)
    else:
        named = endpoint(f"https://{authority}{path}")
        if named is None:
            return _placeholder(tenant, path, "it names no host that every reader takes alike", credential)
        host = named[1]
        if literal_address(host) is not None or is_cluster_name(host):
            return _placeholder(tenant, path, f"only a machine or cluster knows `{host}`", credential)
        reasons = []
        if parts.scheme.lower() == "http":
            reasons.append("https in place of plain http: see that the backend answers there")
            authority = authority.removesuffix(":80")
        if parts.query or parts.fragment:
            reasons.append("without query and fragment: a base URL has none")
        if credential:
            reasons.append("without the user: a credential is kept in Vault")
        if len(authority) + len(path) > 480:
            return _placeholder(tenant, "", "it is too long", credential)
        found = Backend(f"https://{authority}", path, host, "; ".join(reasons))
    return Backend(found.origin, found.path, found.host, found.reason, credential)


def _placeholder(tenant: str, path: str, why: str, credential: bool = False) -> Backend:
    host = f"api.{tenant}.example"
    said = f"{why}; `https://{host}` stands in its place: name the backend with --backend HOST=URL"
    return Backend(f"https://{host}", path, host, said, credential)


def common(paths: list[str]) -> str:
    """The longest beginning, in whole segments, that all paths share."""
    split = [p.split("/") for p in paths]
    shared: list[str] = []
    for steps in zip(*split, strict=False):
        if len(set(steps)) > 1:
            break
        shared.append(steps[0])
    return "/".join(shared)

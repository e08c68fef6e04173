"""GitLab's REST API, as far as merge requests need it: notes, approvals, members of groups, a job's artifact.

The token goes to the API's own host and nowhere else: no redirect is followed with it, and it is never part of what is
said. What GitLab asks to be tried later is tried later, for a while.
"""

import email.utils
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx

from stoa_compiler.records import record
from stoa_compiler.reports.terminal import visible

PAGE = 100
MAX_PAGES = 500
"""Pages of one list that are read: what has more is no merge request that anybody reads."""
MAX_BYTES = 64 * 1024 * 1024
"""Of one answer."""
ATTEMPTS = 6
LONGEST_WAIT = 60.0
"""Seconds between two attempts, whatever `Retry-After` asks."""
PATIENCE = 180.0
"""Seconds that are spent waiting in one run."""

_LATER = frozenset({429, 500, 502, 503, 504})
_NOT_DONE = frozenset({429, 503})
"""Answers that say that nothing was done: a request that must not be made twice can be made again."""

Json = dict[str, Any]
TokenKind = Literal["private", "job"]
_HEADER: Mapping[TokenKind, str] = {"private": "PRIVATE-TOKEN", "job": "JOB-TOKEN"}


class Unreachable(Exception):
    """GitLab does not answer, or not in a way that is understood; the message is for people and names no token."""


class Unsure(Unreachable):
    """GitLab may have done what must not be done twice."""


class Refused(Exception):
    """GitLab answers that it will not; the message is for people and names no token."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def by_token(self) -> bool:
        """Whether another token could do it. Who may not see a thing is told that it is not there."""
        return self.status in (401, 403, 404)


class Unusable(Exception):
    """What was given cannot be meant; the message says what."""


@record
class Token:
    """What the API is asked with."""

    kind: TokenKind
    value: str = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Token | None":
        """`STOA_GITLAB_TOKEN`, else the job's own; None where there is neither."""
        for name, kind in (("STOA_GITLAB_TOKEN", "private"), ("CI_JOB_TOKEN", "job")):
            value = environment.get(name, "").strip()
            if value:
                if not re.fullmatch(r"[\x21-\x7e]{1,4096}", value):
                    raise Unusable(f"`{name}` holds what no token can be")
                return cls("private" if kind == "private" else "job", value)
        return None


@record
class MergeRequest:
    """Which merge request."""

    project: str
    """Number or path of the project that it would change."""
    iid: int

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "MergeRequest | None":
        """The one whose pipeline this is; None where it is no merge request's."""
        iid = environment.get("CI_MERGE_REQUEST_IID", "")
        # A fork's pipeline runs in the fork, and the merge request is the other project's.
        project = environment.get("CI_MERGE_REQUEST_PROJECT_ID") or environment.get("CI_PROJECT_ID", "")
        if not iid:
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,9}", iid) or not project:
            raise Unusable("`CI_MERGE_REQUEST_IID` and `CI_PROJECT_ID` name no merge request")
        return cls(project, int(iid))

    @property
    def path(self) -> str:
        """Its address below the API's."""
        return f"projects/{quote(self.project, safe='')}/merge_requests/{self.iid}"


@record
class Approval:
    """Who approved, and when."""

    username: str
    at: datetime | None
    """None where this GitLab does not say."""


class GitLab:
    """A GitLab server's API."""

    def __init__(
        self,
        api: str,
        token: Token | None,
        ca_file: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`api` is the address that ends in `/api/v4`."""
        try:
            parts = urlsplit(api)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        except ValueError:
            sound = False
        if not sound or parts.query or parts.fragment:
            raise Unusable("the API's address is no http or https URL without user, query and fragment")
        self._api = api.rstrip("/")
        self.token = token
        self._wait = wait
        self._left = PATIENCE
        headers = {_HEADER[token.kind]: token.value} if token else {}
        if ca_file is not None:
            import ssl

            try:
                verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError):
                raise Unusable(f"`{ca_file}` holds no certificates") from None
        else:
            verify = True
        self._http = httpx.Client(
            headers={"User-Agent": "stoa", "Accept": "application/json", **headers},
            timeout=httpx.Timeout(30.0, connect=10.0),
            follow_redirects=False,
            verify=verify,
        )

    # Notes

    def me(self) -> int:
        """The number of the account that the token is of."""
        if self.token is not None and self.token.kind == "job":
            found = self._one("job").get("user")
        else:
            found = self._one("user")
        number = found.get("id") if isinstance(found, dict) else None
        if not isinstance(number, int):
            raise Unreachable("GitLab does not say whose token it is")
        return number

    def notes(self, of: MergeRequest) -> Iterator[Json]:
        """Every note of the merge request, oldest first."""
        return self._all(f"{of.path}/notes", order_by="created_at", sort="asc")

    def create_note(self, of: MergeRequest, body: str) -> int:
        """The number of the new note."""
        number = self._json(self._ask("POST", f"{of.path}/notes", {"body": body})).get("id")
        if not isinstance(number, int):
            raise Unreachable("GitLab does not say which note it made")
        return number

    def update_note(self, of: MergeRequest, note: int, body: str) -> bool:
        """Whether it is there, and now has this text."""
        return self._unless_gone(lambda: self._ask("PUT", f"{of.path}/notes/{note}", {"body": body}))

    def delete_note(self, of: MergeRequest, note: int) -> bool:
        """Whether it was there; it is not any more."""
        return self._unless_gone(lambda: self._ask("DELETE", f"{of.path}/notes/{note}"))

    # Approvals

    def author(self, of: MergeRequest) -> tuple[str, str]:
        """The user name of who opened it, and the commit that it would merge."""
        found = self._one(of.path)
        author, sha = found.get("author"), found.get("sha")
        name = author.get("username") if isinstance(author, dict) else None
        if not isinstance(name, str) or not isinstance(sha, str):
            raise Unreachable("GitLab does not say who opened the merge request, or at which commit it is")
        return name, sha

    def pushed(self, of: MergeRequest, commit: str) -> datetime | None:
        """When the commit became the merge request's head, by GitLab's clock; None where it never did."""
        times = [
            at
            for version in self._all(f"{of.path}/versions")
            if version.get("head_commit_sha") == commit and (at := _time(version.get("created_at"))) is not None
        ]
        return max(times, default=None)

    def approvals(self, of: MergeRequest) -> list[Approval]:
        """Who approved it and did not take that back."""
        listed = self._one(f"{of.path}/approvals").get("approved_by")
        if not isinstance(listed, list):
            raise Unreachable("GitLab does not say who approved")
        found = []
        for entry in listed:
            user = entry.get("user") if isinstance(entry, dict) else None
            name = user.get("username") if isinstance(user, dict) else None
            if isinstance(name, str):
                found.append(Approval(name, _time(entry.get("approved_at"))))
        if any(a.at is None for a in found):
            told = self._approvals_told(of)
            found = [a if a.at is not None else Approval(a.username, told.get(a.username)) for a in found]
        return found

    def _approvals_told(self, of: MergeRequest) -> dict[str, datetime]:
        """When people approved, by what GitLab itself noted down: older ones do not say it otherwise."""
        found: dict[str, datetime] = {}
        for note in self.notes(of):
            author, body = note.get("author"), note.get("body")
            name = author.get("username") if isinstance(author, dict) else None
            at = _time(note.get("created_at"))
            if note.get("system") is True and isinstance(name, str) and at is not None:
                if body == "approved this merge request":
                    found[name] = at
                elif body == "unapproved this merge request":
                    found.pop(name, None)
        return found

    def members(self, group: str) -> frozenset[str] | None:
        """User names of the group's active members, inherited ones included; None where no such group is seen."""
        try:
            listed = list(self._all(f"groups/{quote(group, safe='')}/members/all"))
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        return frozenset(
            m["username"] for m in listed if isinstance(m.get("username"), str) and m.get("state", "active") == "active"
        )

    # What was reviewed

    def merged_as(self, project: str, commit: str) -> list[tuple[int, str]]:
        """Number and head commit of the merged merge requests that brought the commit."""
        path = f"projects/{quote(project, safe='')}/repository/commits/{quote(commit, safe='')}/merge_requests"
        return [
            (m["iid"], m["sha"])
            for m in self._all(path)
            if m.get("state") == "merged" and isinstance(m.get("iid"), int) and isinstance(m.get("sha"), str)
        ]

    def artifact(self, project: str, ref: str, job: str, path: str) -> bytes | None:
        """A file of the latest artifacts that the job left for the ref; None where there is none."""
        at = f"projects/{quote(project, safe='')}/jobs/artifacts/{quote(ref, safe='')}/raw/{quote(path)}"
        try:
            return self._ask("GET", at, params={"job": job}, elsewhere=True).content
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    # Requests

    def _one(self, path: str) -> Json:
        return self._json(self._ask("GET", path))

    def _all(self, path: str, **params: str) -> Iterator[Json]:
        page = "1"
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", path, params={**params, "per_page": str(PAGE), "page": page})
            try:
                listed = answer.json()
            except ValueError:
                listed = None
            if not isinstance(listed, list):
                raise Unreachable(f"GitLab does not answer with a list at `{path}`")
            yield from (entry for entry in listed if isinstance(entry, dict))
            page = answer.headers.get("x-next-page", "").strip()
            if not page.isdecimal():
                return
        raise Unreachable(f"GitLab does not end the list at `{path}`")

    def _json(self, answer: httpx.Response) -> Json:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Unreachable(f"`{self._host}` does not answer as GitLab's API does")
        return found

    def _unless_gone(self, ask: Callable[[], httpx.Response]) -> bool:
        try:
            ask()
        except Refused as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    @property
    def _host(self) -> str:
        return urlsplit(self._api).netloc

    def _ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
        elsewhere: bool = False,
    ) -> httpx.Response:
        """The answer of a request that was done; with `elsewhere`, also from where GitLab stores its files."""
        again = method != "POST"
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS or self._left <= 0
            try:
                answer = self._send(method, f"{self._api}/{path}", body, params)
            except httpx.HTTPError as error:
                sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                said = f"`{self._host}` does not answer: {self._told(str(error))}"
                if sent and not again:
                    raise Unsure(said) from None
                if last:
                    raise Unreachable(said) from None
                self._pause(attempt, None)
                continue
            if answer.is_success:
                return answer
            if answer.has_redirect_location or answer.is_redirect:
                return self._redirected(answer, elsewhere)
            if answer.status_code in (_LATER if again else _NOT_DONE) and not last:
                self._pause(attempt, answer.headers.get("retry-after"))
                continue
            said = f"GitLab answers {answer.status_code} to {method} `{path}`{self._reason(answer)}"
            if answer.status_code in _LATER - _NOT_DONE and not again:
                raise Unsure(said)
            if answer.status_code >= 500 or answer.status_code == 429:
                raise Unreachable(said)
            raise Refused(said, answer.status_code)
        raise AssertionError("the last attempt ends the loop")

    def _send(
        self, method: str, url: str, body: Json | None = None, params: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return _whole(self._http, method, url, json=body, params=params)

    def _redirected(self, answer: httpx.Response, elsewhere: bool) -> httpx.Response:
        """What lies where GitLab sends us: fetched without the token, and only where a file was asked for."""
        target = urlsplit(str(answer.headers.get("location", "")))
        if not elsewhere or target.scheme != "https" or not target.hostname:
            raise Unreachable(
                f"`{self._host}` sends to `{visible(target.netloc)[:100]}`: a redirect is not followed with a token. "
                "Give the API's own address"
            )
        try:
            with httpx.Client(headers={"User-Agent": "stoa"}, timeout=30.0, follow_redirects=False) as plain:
                found = _whole(plain, "GET", target.geturl())
        except httpx.HTTPError:
            raise Unreachable(f"`{visible(target.netloc)[:100]}` does not answer") from None
        if not found.is_success:
            raise Unreachable(f"`{visible(target.netloc)[:100]}` answers {found.status_code}")
        return found

    def _pause(self, attempt: int, asked: str | None) -> None:
        seconds = _seconds(asked)
        if seconds is None:
            seconds = 2 ** (attempt - 1) * (0.5 + random.random() / 2)
        seconds = min(max(seconds, 0.0), LONGEST_WAIT, max(self._left, 0.0))
        self._left -= max(seconds, 0.5)
        self._wait(seconds)

    def _reason(self, answer: httpx.Response) -> str:
        try:
            said = answer.json()
        except ValueError:
            return ""
        found = (said.get("message") or said.get("error")) if isinstance(said, dict) else None
        return f": {self._told(str(found))}" if found else ""

    def _told(self, text: str) -> str:
        """What somebody else said, on one line, without the token."""
        if self.token is not None:
            text = text.replace(self.token.value, "[the token]")
        return visible(" ".join(text.split()))[:200]


class OwnNotes:
    """The notes of one merge request that the token's account wrote."""

    def __init__(self, server: GitLab, of: MergeRequest) -> None:
        self._server = server
        self._of = of
        self._me = server.me()

    def mine(self, mark: str) -> list[int]:
        """Numbers of our own notes that begin with the mark, oldest first."""
        found = []
        for note in self._server.notes(self._of):
            author, body = note.get("author"), note.get("body")
            own = isinstance(author, dict) and author.get("id") == self._me and note.get("system") is not True
            if own and isinstance(body, str) and body.startswith(mark) and isinstance(note.get("id"), int):
                found.append(note["id"])
        return sorted(found)

    def create(self, body: str) -> int | None:
        """The number of the new note; None where it may or may not have been made."""
        try:
            return self._server.create_note(self._of, body)
        except Unsure:
            return None

    def update(self, note: int, body: str) -> bool:
        """Whether it is there, and now has this text."""
        return self._server.update_note(self._of, note, body)

    def delete(self, note: int) -> bool:
        """Whether it was there."""
        return self._server.delete_note(self._of, note)


def _whole(client: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
    """The answer with all of its content, which has an end."""
    with client.stream(method, url, **more) as answer:
        content = bytearray()
        for part in answer.iter_bytes():
            content += part
            if len(content) > MAX_BYTES:
                raise Unreachable(f"`{urlsplit(url).netloc}` answers with more than {MAX_BYTES:,} bytes")
        headers = {k: v for k, v in answer.headers.items() if k not in ("content-encoding", "transfer-encoding")}
        return httpx.Response(answer.status_code, headers=headers, content=bytes(content), request=answer.request)


def _seconds(asked: str | None) -> float | None:
    """What `Retry-After` asks for: seconds or a date."""
    if asked is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", asked.strip()):
        return float(asked)
    try:
        at = email.utils.parsedate_to_datetime(asked)
    except (TypeError, ValueError):
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _time(value: Any) -> datetime | None:
    """A time as GitLab writes it."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None

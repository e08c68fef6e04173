"""A GitLab on loopback: notes, approvals, versions, groups and artifacts of one merge request.

It serves lists in pages, hides from a token what that may not see, and fails when it is told to.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BOT, JOB = "glpat-the-bot's-own-token", "the-job's-own-token"
HEAD = "a" * 40


@dataclass
class FakeGitLab:
    """What the server has, and what it was asked."""

    url: str = ""
    users: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {BOT: {"id": 7, "username": "stoa-bot"}, JOB: {"id": 3, "username": "mallory"}}
    )
    """By token."""
    notes: list[dict[str, Any]] = field(default_factory=list)
    author: str = "mallory"
    sha: str = HEAD
    approved_by: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(
        default_factory=lambda: [{"id": 1, "head_commit_sha": HEAD, "created_at": "2026-11-20T10:00:00.000Z"}]
    )
    groups: dict[str, list[str]] = field(default_factory=dict)
    artifacts: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """By ref, job and path."""
    merged: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Merge requests by commit."""
    failures: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    """Method, status and headers of the next answers; a status of 0 closes the connection after the work is done."""
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    per_page: int = 100
    before: Callable[[str, str], None] = lambda _method, _path: None
    """Called before each answer, for races."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_note(self, user: int, body: str, system: bool = False, username: str = "x", at: str = "") -> int:
        """The number of a note that somebody wrote."""
        with self.lock:
            number = max((n["id"] for n in self.notes), default=100) + 1
            at = at or datetime.now(UTC).isoformat()
            author = {"id": user, "username": username}
            self.notes.append({"id": number, "body": body, "author": author, "system": system, "created_at": at})
            return number

    def approve(self, username: str, at: str | None = "2026-11-20T11:00:00.000Z") -> None:
        """An approval; without a time as older versions give it."""
        more = {} if at is None else {"approved_at": at}
        self.approved_by.append({"user": {"id": 50 + len(self.approved_by), "username": username}, **more})

    def bodies(self, user: int = 7) -> list[str]:
        """Texts of a user's notes."""
        return [n["body"] for n in self.notes if n["author"]["id"] == user]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        here = self.server.here
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/api/v4/")
        here.before(method, path)
        with here.lock:
            here.asked.append((method, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            failure = next((f for f in here.failures if f[0] == method), None)
            if failure is not None:
                here.failures.remove(failure)
        if failure is not None and failure[1]:
            self._say(failure[1], {"message": "later"}, failure[2])
            return
        query = {k: v[-1] for k, v in parse_qs(parts.query).items()}
        status, found = self._found(method, path, query, body)
        if failure is not None:
            self.close_connection = True
            self.connection.close()
        elif isinstance(found, list):
            size = min(int(query.get("per_page", "20")), here.per_page)
            page = int(query.get("page", "1"))
            more = str(page + 1) if len(found) > page * size else ""
            self._say(status, found[(page - 1) * size : page * size], {"x-next-page": more})
        else:
            self._say(status, found, {})

    def _found(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        here = self.server.here
        private, job = self.headers.get("private-token"), self.headers.get("job-token")
        user = here.users.get(private or job or "")
        if user is None:
            return 401, {"message": "401 Unauthorized"}
        steps = [unquote(s) for s in path.split("/")]
        match steps:
            case ["user"] if private:
                return 200, user
            case ["job"] if job:
                return 200, {"user": user}
            case ["projects", "11", "merge_requests", "4", *rest]:
                if job:
                    return 404, {"message": "404 Project Not Found"}
                return self._merge_request(method, rest, user, body)
            case ["groups", group, "members", "all"]:
                if group not in here.groups or job:
                    return 404, {"message": "404 Group Not Found"}
                return 200, [{"username": n.removeprefix("-"), "state": "blocked" if n[0] == "-" else "active"}
                             for n in here.groups[group]]  # fmt: skip
            case ["projects", "11", "repository", "commits", sha, "merge_requests"]:
                return 200, here.merged.get(sha, [])
            case ["projects", "11", "jobs", "artifacts", ref, "raw", *file]:
                found = here.artifacts.get((ref, query.get("job", ""), "/".join(file)))
                return (404, {"message": "404 Not Found"}) if found is None else (200, found)
        return 404, {"message": "404 Not Found"}

    def _merge_request(self, method: str, rest: list[str], user: dict[str, Any], body: Any) -> tuple[int, Any]:
        here = self.server.here
        if method == "GET":
            match rest:
                case []:
                    return 200, {"iid": 4, "sha": here.sha, "author": {"id": 3, "username": here.author}}
                case ["approvals"]:
                    return 200, {"approved_by": here.approved_by}
                case ["versions"]:
                    return 200, here.versions
                case ["notes"]:
                    with here.lock:
                        return 200, [dict(n) for n in here.notes]
        if method == "POST" and rest == ["notes"]:
            number = here.add_note(user["id"], body["body"], username=user["username"])
            return 201, {"id": number}
        if rest[:1] == ["notes"] and len(rest) == 2:
            with here.lock:
                note = next((n for n in here.notes if n["id"] == int(rest[1])), None)
                if note is None:
                    return 404, {"message": "404 Note Not Found"}
                if note["author"]["id"] != user["id"]:
                    return 403, {"message": "403 Forbidden"}
                if method == "PUT":
                    note["body"] = body["body"]
                    return 200, note
                here.notes.remove(note)
                return 204, None
        return 405, {"message": "405"}

    def _say(self, status: int, found: Any, headers: dict[str, str]) -> None:
        content = found if isinstance(found, bytes) else b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    here: FakeGitLab

    def handle_error(self, *_: object) -> None:
        pass  # A connection that a test closed.


@contextmanager
def gitlab() -> Iterator[FakeGitLab]:
    """The server, for as long as it is needed."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.here = FakeGitLab(url=f"http://127.0.0.1:{server.server_port}/api/v4")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

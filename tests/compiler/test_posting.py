"""One note of a merge request: found by mark and author, written in place, never twice, and no token out of hand."""

import threading
from collections.abc import Iterator

import pytest

from stoa_compiler.clients.gitlab import GitLab, MergeRequest, OwnNotes, Refused, Token, Unreachable, Unusable
from stoa_compiler.plan.posting import LIMIT, body_of, mark_of, post
from tests.compiler.fake_gitlab import BOT, JOB, FakeGitLab, gitlab

HERE = MergeRequest("11", 4)
MARK = mark_of("tenants")


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with gitlab() as running:
        yield running


def client(server: FakeGitLab, waits: list[float] | None = None, token: str = BOT) -> GitLab:
    kind = "job" if token == JOB else "private"
    return GitLab(server.url, Token(kind, token), wait=(waits if waits is not None else []).append)  # type: ignore[arg-type]


def put(server: FakeGitLab, text: str, waits: list[float] | None = None) -> tuple[bool, int]:
    done = post(OwnNotes(client(server, waits), HERE), MARK, f"{MARK}\n{text}")
    return done.created, done.removed


def test_the_note_is_written_in_place(server: FakeGitLab) -> None:
    assert put(server, "one") == (True, 0)
    (number,) = [n["id"] for n in server.notes]
    assert put(server, "two") == (False, 0)
    assert [(n["id"], n["body"]) for n in server.notes] == [(number, f"{MARK}\ntwo")]


def test_it_is_found_on_a_later_page(server: FakeGitLab) -> None:
    server.per_page = 3
    for number in range(7):
        server.add_note(3, f"talk {number}")
    put(server, "one")
    for number in range(7):
        server.add_note(7, f"talk {number}")
    assert put(server, "two") == (False, 0)
    assert [b for b in server.bodies() if b.startswith(MARK)] == [f"{MARK}\ntwo"]


def test_what_others_wrote_is_left_alone(server: FakeGitLab) -> None:
    server.add_note(3, f"{MARK}\nmine too", username="mallory")
    server.add_note(7, f"as I said:\n{MARK}")
    server.add_note(7, f"{MARK}\nby GitLab", system=True)
    server.add_note(7, f"{mark_of('other')}\nthe other source")
    assert put(server, "one") == (True, 0)
    assert len(server.notes) == 5
    assert server.bodies(3) == [f"{MARK}\nmine too"]


@pytest.mark.parametrize("racers", [2, 5])
def test_pipelines_at_the_same_time_leave_one_note(server: FakeGitLab, racers: int) -> None:
    """Each looks before any has written: the worst that can happen."""
    together = threading.Barrier(racers)

    def wait_for_all(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/notes") and together.n_waiting < racers and not together.broken:
            key = threading.get_ident()
            if key not in waited:
                waited.add(key)
                together.wait(10)

    waited: set[int] = set()
    server.before = wait_for_all
    threads = [threading.Thread(target=put, args=(server, f"racer {n}")) for n in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waited) >= racers
    server.before = lambda _method, _path: None
    assert len(server.bodies()) == 1
    assert put(server, "last") == (False, 0)
    assert server.bodies() == [f"{MARK}\nlast"]


def test_doubles_of_an_earlier_day_go(server: FakeGitLab) -> None:
    first = server.add_note(7, f"{MARK}\nold")
    server.add_note(7, f"{MARK}\nolder pipeline")
    assert put(server, "new") == (False, 1)
    assert [(n["id"], n["body"]) for n in server.notes] == [(first, f"{MARK}\nnew")]


def test_a_note_that_somebody_removes_meanwhile_is_made_again(server: FakeGitLab) -> None:
    server.add_note(7, f"{MARK}\nold")

    def remove(method: str, _path: str) -> None:
        if method == "PUT":
            server.notes.clear()

    server.before = remove
    assert put(server, "new") == (True, 0)
    assert server.bodies() == [f"{MARK}\nnew"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_what_fails_for_a_while_is_tried_again(server: FakeGitLab, method: str, status: int) -> None:
    waits: list[float] = []
    if method == "PUT":
        server.add_note(7, f"{MARK}\nold")
    server.failures = [(method, status, {"retry-after": "7"})]
    put(server, "new", waits)
    assert server.bodies() == [f"{MARK}\nnew"]
    # Where a note may have been made, it is looked for before it is made again.
    assert waits == ([] if method == "POST" and status in (500, 502, 504) else [7.0])


def test_an_answer_that_is_lost_makes_no_second_note(server: FakeGitLab) -> None:
    server.failures = [("POST", 0, {})]
    put(server, "one")
    assert server.bodies() == [f"{MARK}\none"]
    assert sum(method == "POST" for method, *_ in server.asked) == 1


def test_waiting_ends(server: FakeGitLab) -> None:
    waits: list[float] = []
    server.failures = [("GET", 503, {"retry-after": "86400"})] * 20
    with pytest.raises(Unreachable, match="503"):
        put(server, "one", waits)
    assert max(waits) <= 60
    assert sum(waits) <= 181
    waits.clear()
    server.failures = [("GET", 429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})]
    put(server, "one", waits)
    assert waits == [0.0]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["http://127.0.0.1:1/api/v4/user", "https://evil.example/", "/users/sign_in", ""])
def test_no_redirect_takes_the_token_along(server: FakeGitLab, status: int, target: str) -> None:
    server.failures = [("GET", status, {"location": target} if target else {})]
    with pytest.raises((Unreachable, Refused)) as raised:
        put(server, "one")
    assert BOT not in str(raised.value)
    assert len(server.asked) == 1


def test_a_file_is_fetched_elsewhere_without_the_token_or_not_at_all(server: FakeGitLab) -> None:
    """GitLab may keep artifacts in another place: one that speaks TLS, and gets no token."""
    with gitlab() as other:
        server.failures = [("GET", 302, {"location": f"{other.url}/plan.json"})]
        with pytest.raises(Unreachable, match="not followed"):
            client(server).artifact("11", "refs/merge-requests/4/head", "stoa-plan", "plan.json")
        tls = other.url.replace("http://", "https://")
        server.failures = [("GET", 302, {"location": f"{tls}/plan.json"})]
        with pytest.raises(Unreachable, match="does not answer"):
            client(server).artifact("11", "refs/merge-requests/4/head", "stoa-plan", "plan.json")
        assert other.asked == []


def test_an_answer_without_end_is_cut_off(server: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoa_compiler.clients.gitlab.MAX_BYTES", 100)
    server.add_note(3, "x" * 1000)
    with pytest.raises(Unreachable, match="more than 100 bytes"):
        put(server, "one")


def test_the_token_is_in_one_header_and_in_no_message(server: FakeGitLab) -> None:
    put(server, "one")
    for _method, path, headers, body in server.asked:
        assert headers["private-token"] == BOT
        assert BOT not in path
        assert BOT not in str(body)
        assert "authorization" not in headers
    wrong = client(server, token="glpat-wrong")
    with pytest.raises(Refused, match="401 Unauthorized") as raised:
        wrong.me()
    assert "glpat-wrong" not in f"{raised.value!r} {wrong.token!r}"
    server.users = {}
    assert raised.value.by_token


def test_a_jobs_own_token_may_not_write_notes(server: FakeGitLab) -> None:
    with pytest.raises(Refused) as raised:
        OwnNotes(client(server, token=JOB), HERE).mine(MARK)
    assert raised.value.by_token


def test_where_token_and_merge_request_come_from() -> None:
    assert Token.of({}) is None
    assert Token.of({"CI_JOB_TOKEN": "j", "STOA_GITLAB_TOKEN": "p\n"}) == Token("private", "p")
    assert Token.of({"CI_JOB_TOKEN": "j", "STOA_GITLAB_TOKEN": " "}) == Token("job", "j")
    with pytest.raises(Unusable) as raised:
        Token.of({"STOA_GITLAB_TOKEN": "a b"})
    assert "a b" not in str(raised.value)
    assert MergeRequest.of({"CI_PROJECT_ID": "11"}) is None
    assert MergeRequest.of({"CI_PROJECT_ID": "11", "CI_MERGE_REQUEST_IID": "4"}) == HERE
    fork = {"CI_PROJECT_ID": "12", "CI_MERGE_REQUEST_PROJECT_ID": "11", "CI_MERGE_REQUEST_IID": "4"}
    assert MergeRequest.of(fork) == HERE
    for iid in ("0", "4/../../5", "x", "4\n"):
        with pytest.raises(Unusable):
            MergeRequest.of({"CI_PROJECT_ID": "11", "CI_MERGE_REQUEST_IID": iid})
    assert MergeRequest("a/b", 4).path == "projects/a%2Fb/merge_requests/4"


@pytest.mark.parametrize(
    "api", ["", "ftp://x/api/v4", "https://user@x/api/v4", "https:///api", "https://x/?q=1", "http://["]
)
def test_what_is_no_address(api: str) -> None:
    with pytest.raises(Unusable):
        GitLab(api, None)


def test_the_body_holds_no_orders_to_gitlab() -> None:
    body = body_of("## Plan\r\n/approve\n  /merge\n`/close` and a/b\n```diff\n/label ~x\n```\n", "tenants", {})
    assert [line for line in body.splitlines() if line.lstrip().startswith("/")] == []
    assert "\\/approve" in body


def test_a_body_that_is_too_long_is_cut_where_nothing_is_open() -> None:
    block = "<details><summary>more</summary>\n\n```diff\n+ text\n\n+ more\n```\n\n</details>\n\n"
    body = body_of("## Plan\n\n" + block * 30_000, "tenants", {"CI_JOB_URL": "https://gitlab.example/acme/x/-/jobs/5"})
    assert len(body) <= LIMIT
    assert body.count("<details>") == body.count("</details>") > 100
    assert body.count("```") % 2 == 0
    assert "**Shortened:**" in body
    assert body.endswith(
        "[The whole plan](https://gitlab.example/acme/x/-/jobs/5/artifacts/browse) is among the job's artifacts.\n"
    )
    assert body.startswith(MARK)


def test_an_address_that_is_none_makes_no_link() -> None:
    assert "](" not in body_of("x", "tenants", {"CI_JOB_URL": "javascript:alert(1)"})
    assert "](" not in body_of("x", "tenants", {"CI_JOB_URL": "https://x/) [y](https://evil.example"})

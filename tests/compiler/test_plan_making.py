"""Plans of parts mean what plans of the whole mean, and no form lets through what an author wrote."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.plan import making
from stoa_compiler.plan.changes import ArtifactChange, Change, Place, Plan, Section, Side
from stoa_compiler.plan.forms.markdown import LIMIT, as_markdown
from stoa_compiler.plan.forms.terraform import as_terraform
from stoa_compiler.plan.forms.text import as_text
from stoa_compiler.plan.making import of
from stoa_compiler.plan.revisions import Tree, memory_tree
from stoa_compiler.plan.wording import json_difference, q, text_difference
from stoa_compiler.source import Span

DEMO = Path(__file__).parents[2] / "tenants"
FILES = {p.relative_to(DEMO).as_posix(): p.read_bytes() for p in sorted(DEMO.rglob("*.yaml"))}
TODAY = date(2027, 1, 1)


def tree(name: str, **edits: tuple[str, str]) -> Tree:
    """The demo source, with one edit for each file that is named by `tenant_document`."""
    files = dict(FILES)
    for key, (old, new) in edits.items():
        path = PATHS[key]
        assert old.encode() in files[path]
        files[path] = files[path].replace(old.encode(), new.encode(), 1)
    return memory_tree(files, Path("tenants"), name)


PATHS = {
    "platform": "platform.yaml",
    "ioi": "ioi/tenant.yaml",
    "billing": "ioi/contracts/billing.yaml",
    "oasis": "greg/contracts/oasis.yaml",
    "crew": "greg/plans/crew.yaml",
}
GRANT = ('tools: ["ioi:billing:list_invoices", "ioi:billing:get_invoice",', 'tools: ["ioi:billing:*",')


@pytest.mark.parametrize(
    "edits",
    [
        {"ioi": GRANT},
        {"ioi": ("members: [aech]", "members: [aech, art3mis]"), "crew": ("60/minute", "6/minute")},
        {"billing": ("Use it to find invoices", "Use it always to find invoices")},
        {"oasis": ("status: published", "status: deprecated")},
        {"platform": ("tenants: [greg]", "tenants: [greg, ioi]")},
        {"platform": ("firstName: James", "firstName: Jim"), "ioi": GRANT},
    ],
    ids=["grant", "group and plan", "text", "status", "hosts", "people"],
)
def test_a_part_means_what_it_means_in_the_whole(
    edits: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the tenants that differ are compiled, and the plan is that of all of them."""
    base, head = tree("base"), tree("head", **edits)
    part = of(base, head, TODAY)
    assert any(not a.whole for a in part.plan.artifacts) or not part.plan.artifacts
    monkeypatch.setattr(making, "_scope", lambda *_: None)
    whole = of(base, head, TODAY)
    assert part.plan.changes == whole.plan.changes
    assert part.plan.changes
    steps = [[(a.environment, a.path, a.kind, a.after - a.before) for a in m.plan.artifacts] for m in (part, whole)]
    assert steps[0] == steps[1]
    assert len(part.files) < len(whole.files)


def test_a_way_there_and_back() -> None:
    """What one way gains, the way back loses."""
    base, head = tree("base"), tree("head", ioi=GRANT)
    there, back = of(base, head, TODAY).plan, of(head, base, TODAY).plan
    gained = {(c.code, str(c.data["tools"])) for c in there.changes if c.direction == "gained"}
    lost = {(c.code.replace("lost", "gained"), str(c.data["tools"])) for c in back.changes if c.direction == "lost"}
    assert gained == lost
    assert gained


def test_a_secret_is_not_shown() -> None:
    """Head does not compile with it; base may have it, and what is removed is shown nowhere."""
    secret = "glpat-" + "a1B2" * 6
    for before, after in ((secret, ""), ("", secret)):
        shown = [*text_difference(f"x {before} y", f"x {after} y"), *json_difference({"a": before}, {"a": after})]
        assert secret not in "\n".join([*shown, q(before or after)])


_NASTY = st.text(
    st.sampled_from(list("`<>&|*_[]()!@#~:/\\-+ \n\r\t\x1b\x07\u202e\u200b\u2028\x85ab.")) | st.characters(),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(_NASTY, _NASTY, _NASTY)
def test_nothing_that_an_author_wrote_is_markup(name: str, text: str, author: str) -> None:
    """Read by a parser of CommonMark: whatever stands in names and texts is code, and nothing else."""
    plan = Plan(
        base=Side(name, "", "tenants", "sha256:0"),
        head=Side("head", "", "tenants", "sha256:1"),
        changes=(
            Change(
                Section.TEXTS,
                "description-changed",
                "shop",
                name,
                f"tool {q(name)} says {q(text)}",
                "changed",
                (Place("head", Span(name, 1, 1, 1, 1), "0" * 40, author),),
                (f"tool {q(text)}", *text_difference(name, text), *json_difference([name], [text])),
            ),
        ),
        artifacts=(ArtifactChange("prod", "mcp", name, "added", 0, 1),),
        uncompared=(f"tenant {q(name)} of base does not compile",),
        notes=(f"no change of meaning in 1 file: {q(text)}",),
    )
    markdown = as_markdown(plan).decode("utf-8", "replace")
    assert "\x1b" not in markdown
    ours = re.compile(r"</?(details|summary)>|<br>")
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark")
    tokens = parser.parse(markdown)
    inline = [c for t in tokens for c in (t.children or ())]
    for token in [*tokens, *inline]:
        assert token.type not in ("link_open", "image")
        if token.type in ("html_inline", "html_block"):
            rest = ours.sub("", token.content)
            assert not re.search(r"<[a-zA-Z!/?]", re.sub(r"<summary>[^<]*", "", rest)), token.content
        if token.type == "text":
            assert "@" not in token.content
    for line in markdown.split("\n"):
        assert not re.match(r"\s*/[a-z]", line), "GitLab would take it as an order"
    for shown in (as_text(plan), as_text(plan, everything=True)):
        assert all(c.isprintable() or c == "\n" for c in shown)


def plan_of(number: int, lines: int) -> Plan:
    change = [
        Change(
            Section.TEXTS,
            "description-changed",
            f"t{n}",
            f"t{n}:orders:get",
            f"{q(f't{n}:orders:get')} says something else to agents",
            "changed",
            (Place("head", Span(f"tenants/t{n}/contracts/orders.yaml", n + 1, 1, n + 1, 9)),),
            tuple(f"+ {'word ' * 16}" for _ in range(lines)),
        )
        for n in range(number)
    ]
    return Plan(Side("base", "", "", "a"), Side("head", "", "", "b"), tuple(change))


@pytest.mark.parametrize(("number", "lines"), [(20, 50), (2000, 50), (30_000, 1)])
def test_a_note_is_never_too_long(number: int, lines: int) -> None:
    note = as_markdown(plan_of(number, lines)).decode()
    assert len(note) <= LIMIT
    assert note.startswith(f"## STOA plan: texts and schemas {number:,}\n")
    assert note.count("<details>") == note.count("</details>")
    assert ("**Shortened:**" in note) == (number > 1000)


def test_a_terminal_is_not_flooded() -> None:
    """A long section ends with how many there are, unless all of it is asked for."""
    plan = plan_of(100, 0)
    assert "and 88 more; --all shows them" in as_text(plan)
    assert as_text(plan, everything=True).count("says something else") == 100
    assert "\x1b[" in as_text(plan, color=True)
    assert "\x1b[" not in as_text(plan)
    assert max(map(len, as_text(plan, width=60).splitlines())) <= 62


def test_gitlab_counts_changes() -> None:
    assert as_terraform(plan_of(3, 0)) == b'{"create": 0, "update": 3, "delete": 0}\n'


def test_the_same_plan_is_the_same_bytes() -> None:
    base, head = tree("base"), tree("head", ioi=GRANT)
    one, other = (of(base, head, TODAY).plan.to_json() for _ in range(2))
    assert one == other
    assert Plan.from_json(one).to_json() == one


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"apiVersion": "gostoa.dev/plan/v2"}', b"\xff"])
def test_what_is_no_plan(content: bytes) -> None:
    with pytest.raises(ValueError, match="this is no plan: "):
        Plan.from_json(content)

"""Policies: which approvals are demanded for which changes, and that no merge request can talk its way out."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.plan.changes import Change, Requirement, Section
from stoa_compiler.plan.conditions import MAX_TEXT, NOTHING, Mistake, Unjudged, Wrong, condition
from stoa_compiler.plan.making import of
from stoa_compiler.plan.policies import UNREADABLE_RULES, Known, Rules, facts_of, requirements
from stoa_compiler.plan.revisions import memory_tree
from stoa_schemas.documents.platform import ReviewRule

GALLERY = Path(__file__).parents[1] / "plan"
VVH = "change.code == 'access-gained' && 'VVH' in change.classifications"


def gained(subject: str = "ioi:billing:refund", **data: Any) -> Change:
    facts = {"tools": [subject], "roles": ["devops"], "sideEffects": "destructive", "classification": "VVH"}
    return Change(
        Section.ACCESS, "access-gained", "ioi", subject, f"`devops` gains `{subject}`", "gained", data=facts | data
    )


def rule(when: str, *approvers: str, count: int = 1, reason: str = "Two pairs of eyes.") -> ReviewRule:
    return ReviewRule(when=when, approvers=list(approvers) or ["platform-security"], count=count, reason=reason)


def demanded(changes: list[Change], base: Mapping[str, ReviewRule], head: Mapping[str, ReviewRule] | None = None,
             **more: Any) -> tuple[Requirement, ...]:  # fmt: skip
    return requirements(changes, Rules("base", base), Rules("head", base if head is None else head), **more)


def test_a_rule_is_demanded_by_the_changes_that_it_is_about() -> None:
    about, other = gained(), gained("ioi:inventory:get_item", classification="H")
    (found,) = demanded([about, other], {"vvh-access": rule(VVH, "security", "alice", count=2)})
    assert found == Requirement("vvh-access", ("alice", "security"), "Two pairs of eyes.", (about.id,), 2)
    assert demanded([other], {"vvh-access": rule(VVH)}) == ()


def test_rules_of_base_judge_a_merge_request_that_drops_them() -> None:
    change = gained()
    rules = {"vvh-access": rule(VVH), "rest": rule("change.section == 'exposure'")}
    (rest, vvh) = demanded([change], rules, {})
    assert (vvh.policy, vvh.changes) == ("vvh-access", (change.id,))
    assert "the rule itself is changed or removed" in vvh.reason
    # A rule that would not hold for any change is not removed without its own approval.
    assert (rest.policy, rest.approvers, rest.changes) == ("rest", ("platform-security",), ())


@pytest.mark.parametrize(
    "head",
    [
        rule("false"),
        rule(VVH, "mallory"),
        rule(VVH, "platform-security", "mallory"),
        rule("change.code == 'access-gained' && 'VVH' in change.classifications && change.tenant != 'ioi'"),
    ],
    ids=["never", "other", "also", "exempt"],
)
def test_a_rule_that_is_relaxed_still_holds_as_it_was(head: ReviewRule) -> None:
    change = gained()
    found = demanded([change], {"vvh-access": rule(VVH)}, {"vvh-access": head})
    assert ("platform-security",) in [r.approvers for r in found if change.id in r.changes]


def test_the_stricter_of_both_sides_holds() -> None:
    change = gained()
    found = demanded([change], {"vvh-access": rule(VVH, count=1)}, {"vvh-access": rule(VVH, count=2)})
    assert [(r.count, r.changes) for r in found] == [(1, (change.id,)), (2, (change.id,))]
    # A new rule judges the merge request that brings it, by what it changes and not by itself.
    assert [r.policy for r in demanded([change], {}, {"new": rule(VVH)})] == ["new"]
    assert demanded([], {}, {"new": rule(VVH)}) == ()


def test_a_branch_that_left_before_the_rule_was_made_is_judged_by_it() -> None:
    change = gained()
    target = Rules("base", {"vvh-access": rule(VVH), "other": rule("change.section == 'limits'")})
    found = requirements([change], Rules("base"), Rules("head"), target=target)
    # That the old branch lacks the rules is no removal.
    assert [(r.policy, r.changes) for r in found] == [("vvh-access", (change.id,))]


def test_a_rule_of_other_words_is_the_same() -> None:
    assert demanded([], {"a": rule(VVH, reason="Once.")}, {"a": rule(VVH, reason="Twice.")}) == ()


def test_its_own_changes_are_named_with_a_rule() -> None:
    own = Change(Section.SAFEGUARDS, "declared-changed", "", "platform", "the rule goes", "weakened",
                 data={"kind": "Platform", "path": "spec.reviews.rules.vvh-access"})  # fmt: skip
    (found,) = demanded([own], {"vvh-access": rule(VVH)}, {})
    assert found.changes == (own.id,)


def test_a_class_that_is_lowered_on_the_way_judges_by_the_higher() -> None:
    known = Known({"ioi:billing:refund": frozenset({"H", "VVH"})}, {"ioi:billing:refund": frozenset({"destructive"})})
    change = gained(classification="H", classifications=["H"], sideEffects="read")
    assert demanded([change], {"vvh-access": rule(VVH)}) == ()
    assert [r.policy for r in demanded([change], {"vvh-access": rule(VVH)}, known=known)] == ["vvh-access"]
    lowered = Change(Section.SAFEGUARDS, "classification-changed", "ioi", "ioi:billing", "lowered", "weakened",
                     data={"before": "VVH", "after": "H"})  # fmt: skip
    assert facts_of(lowered)["classifications"] == ["H", "VVH"]


BASE = {
    p.relative_to(GALLERY / "wildcard-grant" / "base").as_posix(): p.read_bytes()
    for p in sorted((GALLERY / "wildcard-grant" / "base").rglob("*.yaml"))
}
REVIEWS = b"""
  reviews:
    rules:
      dangerous:
        when: change.section == 'access' && change.direction == 'gained' && 'destructive' in change.sideEffects
        approvers: [security]
        reason: What cannot be undone.
"""


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        # The platform's own role, whose grant is a pattern: no tenant is looked at.
        ("platform.yaml", b"  groups:\n    admins: {roles: [platform-admin], members: [root]}\n",
         b"    eve: {firstName: E, lastName: E, email: eve@acme.example}\n"
         b"  groups:\n    admins: {roles: [platform-admin], members: [root, eve]}\n"),
        # A role's holder, an application, a role, a grant.
        ("shop/tenant.yaml", b"members: [shop-ada]", b"members: [shop-ada, shop-cyd]"),
        ("shop/consumers/robot.yaml", b"roles: [clerk]", b"roles: [clerk, owner]"),
        ("platform.yaml", b"permissions: [catalog:read, tools:read, tools:write]",
         b"permissions: [catalog:read, tools:read, tools:write, tools:destructive]"),
    ],
    ids=["platform-person", "member", "application", "permission"],
)  # fmt: skip
def test_every_way_to_a_tool_is_access_gained(path: str, old: bytes, new: bytes) -> None:
    base = BASE | {"platform.yaml": BASE["platform.yaml"].rstrip(b"\n") + REVIEWS}
    if b"tools:destructive" in new:  # The permission alone gives nothing where no grant names the tool.
        base["shop/tenant.yaml"] = base["shop/tenant.yaml"].replace(b'["shop:orders:get_order"]', b'["shop:orders:*"]')
    assert old in base[path], base[path].decode()
    head = base | {path: base[path].replace(old, new)}
    sides = (memory_tree(files, Path("tenants"), name) for name, files in (("base", base), ("head", head)))
    plan = of(*sides, date(2027, 1, 1), artifacts=False).plan
    assert [r.policy for r in plan.requirements] == ["dangerous"], [c.text for c in plan.changes]


def test_one_line_for_many_things_hides_none_of_them() -> None:
    """What is dangerous stands among many that look alike, and the plan says all of them in one line."""
    parts = tuple(
        replace(gained(f"t{n}:a:b", tools=[f"t{n}:a:b"], classification="H", environments=["dev"]), tenant=f"t{n}")
        for n in range(5)
    )
    worst = replace(gained(environments=["prod"]), tenant="ioi")
    line = replace(parts[0], tenant="", subject="platform", parts=(*parts, worst), text="6 things")
    for when in (VVH, "'prod' in change.environments", "change.tenant == 'ioi'", "change.subject.startsWith('ioi:')"):
        (found,) = demanded([line], {"a": rule(when)})
        assert found.changes == (line.id,)
    (found,) = demanded([replace(gained(tenants=["x", "ioi"]), tenant="")], {"a": rule("change.tenant == 'ioi'")})
    assert found.changes


def test_many_changes_that_look_alike_are_judged_one_by_one() -> None:
    base = dict(BASE)
    text = base["shop/tenant.yaml"].replace(b"members: [shop-cyd]", b"members: [shop-cyd, p0, p1, p2, p3, p4, p5]")
    people = b"".join(b"    p%d: {firstName: P, lastName: P, email: p%d@shop.example}\n" % (n, n) for n in range(6))
    base["shop/tenant.yaml"] = text.replace(b"  people:\n", b"  people:\n" + people)
    base["platform.yaml"] = base["platform.yaml"].rstrip(b"\n") + REVIEWS.replace(
        b"change.section == 'access' && change.direction == 'gained' && 'destructive' in change.sideEffects",
        b"change.path == 'spec.people.p5.firstName'",
    )
    head = base | {"shop/tenant.yaml": base["shop/tenant.yaml"].replace(b"firstName: P,", b"firstName: Q,")}
    sides = (memory_tree(files, Path("tenants"), name) for name, files in (("base", base), ("head", head)))
    plan = of(*sides, date(2027, 1, 1), artifacts=False).plan
    assert len(plan.changes) < 6
    assert [r.policy for r in plan.requirements] == ["dangerous"], [c.text for c in plan.changes]


def test_what_was_not_compared_demands_every_rule() -> None:
    (found,) = demanded([], {"vvh-access": rule(VVH)}, complete=False)
    assert (found.changes, found.reason) == ((), "Two pairs of eyes. (not everything could be compared)")


PLATFORM = b"""\
apiVersion: gostoa.dev/v2
kind: Platform
spec:
  nonsense: [1]
  reviews:
    rules:
      a:
        when: change.code == 'x'
        approvers: [b]
        reason: c
"""


def test_rules_are_read_whatever_else_is_wrong() -> None:
    found = Rules.of("base", PLATFORM)
    assert (found.unreadable, found.declared) == ("", {"a": rule("change.code == 'x'", "b", reason="c")})
    assert Rules.of("base", None) == Rules("base")
    assert Rules.of("base", b"spec: {displayName: x}\n") == Rules("base")


@pytest.mark.parametrize(
    "content",
    [
        b"spec: [",
        b"spec: []\n",
        b"spec: {reviews: 3}\n",
        b"\xff",
        PLATFORM.replace(b"when:", b"whn:"),
        PLATFORM.replace(b"approvers: [b]", b"approvers: []"),
        PLATFORM.replace(b"reason: c", b"reason: c\n        count: 0"),
    ],
)
def test_rules_that_cannot_be_read_let_nothing_pass(content: bytes) -> None:
    base = Rules.of("base", content)
    assert base.unreadable
    (found,) = requirements([], base, Rules("head"))
    assert (found.policy, found.approvers) == (UNREADABLE_RULES, ())


def test_a_condition_of_base_that_is_none_any_more_counts_as_true() -> None:
    change = gained()
    (found,) = demanded([change], {"old": rule("change.colour == 'red'")})
    assert found.changes == (change.id,)
    assert "counts as true: a change has no `colour`" in found.reason


HOSTILE = ["' || true || '", '"', "\\", "`", "\u202e", "\ud800", "\0", "{{x}}", "${HOME}", "a\nb", "__import__('os')"]


@pytest.mark.parametrize("text", HOSTILE)
def test_data_is_data(text: str) -> None:
    change = gained(text, tools=[text], roles=[text])
    rules = {
        "other": rule("change.subject == 'x' || 'x' in change.tools || change.tenant == 'y'"),
        "all": rule("change.tools.exists(t, t == change.subject) && change.roles.size() == 1"),
    }
    found = demanded([change], rules)
    assert [r.policy for r in found] == ["all"]


@pytest.mark.parametrize(
    "data",
    [{"tools": 3}, {"tools": {"a": 1}}, {"tools": [1, None, ["x"]]}, {"classification": None}, {"approval": "yes"},
     {"why": 7}, {"roles": None}],
)  # fmt: skip
def test_data_of_another_form_is_as_if_it_said_nothing(data: Mapping[str, Any]) -> None:
    facts = facts_of(gained(**data))
    assert {k: type(v) for k, v in facts.items()} == {k: type(v) for k, v in NOTHING.items()}
    (found,) = demanded([gained(**data)], {"all": rule("change.code == 'access-gained'")})
    assert found.changes


def test_what_cannot_be_judged_counts() -> None:
    many = gained(tools=[f"ioi:a:t{n}" for n in range(10_001)])
    (found,) = demanded([many], {"all": rule("change.tools.exists(t, t == 'nowhere')")})
    assert found.changes == (many.id,)
    assert "could not be judged" in found.reason
    with pytest.raises(Unjudged, match="more than"):
        condition("change.subject == 'x'").holds({**NOTHING, "subject": "x" * (MAX_TEXT + 1)})
    with pytest.raises(Unjudged):
        condition("change.tools[0] == 'x'").holds(NOTHING)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("change.tools.map(t, t) == []", "`map`"),
        ("change . tools . map (t, t) == []", "`map`"),
        ("change.tools.filter(a, change.tools.all(b, change.tools.exists_one(c, c == a)))", "stands in 2 others"),
        ("(" * 40 + "true" + ")" * 40, "recursion"),
        ("change.code == 1", "`==` does not take a string and an int"),
        ("change.tools.size()", "gives an int"),
        ("\"r'\" == '' || change.tools.map(t, t) == [] || \"'\" == ''", "`map`"),
        ("has(change.code)", "gives a string"),
        ("'VVVH' in change.classifications", "`change.classifications` is never `VVVH`"),
        ('change.direction != "gain"', "`change.direction` is never `gain`"),
        ("'accss' == change.section", "is never `accss`"),
        ("change == change", "`change` alone"),
        ("env('HOME') == ''", "`env` is no function"),
        ("true; import os", "no CEL"),
        ("'open", "no CEL"),
    ],
)
def test_what_is_no_condition(when: str, words: str) -> None:
    with pytest.raises(Wrong) as wrong:
        condition(when)
    assert words in str(wrong.value)


@pytest.mark.parametrize(
    "when",
    ["change.subject == '.map(' // .map(", "r'a\\d' != change.code && '''.map(''' != \"\"\".map(\"\"\"",
     "change.tools.exists(t, change.roles.all(r, t.startsWith(r)))", "change.subject.matches('^(a+)+$')"],
)  # fmt: skip
def test_words_in_texts_and_remarks_are_words(when: str) -> None:
    assert condition(when).holds({**NOTHING, "subject": "a" * 4000 + "!"}) in (True, False)


PIECES = [
    *("change.code", "change.tools", "change.nope", ".exists(", ".map(", "t, ", "t == ", "==", " in ", "&&", "||", "!"),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'x'",
        '"',
        "'",
        "\\",
        "\n",
        "r'",
        '"""',
        "//",
        "1",
        "-",
        "?",
        ":",
        "`",
        "%",
        ".",
        ",",
    ),
    *("\u00e9", "\U0001f600", "\0", "\ud800", "has(", "true", "null"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_a_condition_or_wrong_at_words_of_it(text: str) -> None:
    mistakes: tuple[Mistake, ...] = ()
    try:
        answer = condition(text).holds(NOTHING)
    except Wrong as wrong:
        mistakes = wrong.mistakes
        answer = not mistakes
    except Unjudged:
        answer = True
    assert answer in (True, False)
    for mistake in mistakes:
        assert mistake.message
        assert "\n" not in mistake.message
        assert text.count(mistake.words) > mistake.before or not mistake.words
    assert mistakes or condition(text)

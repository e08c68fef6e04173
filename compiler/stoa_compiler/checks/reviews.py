"""Rules on reviews: conditions that can be judged, owners that exist."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stoa_compiler.diagnostics import Note, Report, Rule, listed, nearest
from stoa_compiler.graph import Graph
from stoa_compiler.source import Document, Loc, Span
from stoa_schemas.documents.platform import ReviewRule

if TYPE_CHECKING:
    from stoa_compiler.plan.conditions import Mistake, Trouble

UNREADABLE = Rule(
    code="STOA481",
    title="the condition cannot be read",
    why="A rule whose condition is no CEL would never ask for an approval, and nobody would notice.",
    help="Write an expression of the Common Expression Language: `change.code == 'access-gained'`.",
)
UNKNOWN_FACT = Rule(
    code="STOA482",
    title="the condition asks for what no change has",
    why="It would be false for every change, and the rule would never ask for an approval.",
    help="Use the facts that docs/policies.md lists.",
)
WRONG_TYPE = Rule(
    code="STOA483",
    title="the condition mixes types",
    why="A condition answers yes or no. Values of two types are never equal, so the rule would never apply.",
    help="Compare texts with texts, and ask lists with `in` or `exists`.",
)
GROWING = Rule(
    code="STOA484",
    title="the condition could take too long",
    why="Rules are judged for every change of a merge request, also of a hostile one.",
    help="Ask with `in`, `exists` or `all`, at most one inside another.",
)
NO_SUCH_TENANT = Rule(
    code="STOA485",
    title="owners of a tenant that is not there",
    why="A line of CODEOWNERS for a folder that does not exist gives the real one to somebody else.",
    help="Correct the name, or remove the entry.",
)

NEVER = Rule(
    code="STOA486",
    title="the condition compares with what never is",
    why="It would be false for every change, and the rule would never ask for an approval.",
    help="Use one of the values that docs/policies.md lists.",
)

RULES = (UNREADABLE, UNKNOWN_FACT, WRONG_TYPE, GROWING, NO_SUCH_TENANT, NEVER)

_RULE: "dict[Trouble, Rule]" = {
    "syntax": UNREADABLE,
    "unknown": UNKNOWN_FACT,
    "type": WRONG_TYPE,
    "growing": GROWING,
    "never": NEVER,
}


def check(graph: Graph, report: Report) -> None:
    """Adds what is wrong with the platform's rules for reviews."""
    reviews, document = graph.platform.spec.reviews, graph.origin.document
    if reviews.rules:
        _conditions(reviews.rules, document, report)
    for tenant in reviews.owners.tenants:
        if tenant not in graph.known and all(f.name != tenant for f in graph.facts):
            where = document.span(("spec", "reviews", "owners", "tenants", tenant), "key")
            known = sorted(graph.known | {f.name for f in graph.facts})
            close = nearest(tenant, known)
            advice = f"Is `{close}` meant?" if close else ""
            report.add(NO_SUCH_TENANT, where, f"there is no tenant `{tenant}`", help=advice)


def _conditions(rules: Mapping[str, ReviewRule], document: Document, report: Report) -> None:
    from stoa_compiler.plan.conditions import Missing, Wrong, condition  # Only here: CEL is not small.

    for name, rule in rules.items():
        loc: Loc = ("spec", "reviews", "rules", name, "when")
        try:
            condition(rule.when)
        except Missing:
            report.add(
                UNREADABLE,
                document.span(loc),
                "conditions cannot be read here: `cel-expr-python` is not installed",
                help="Run `pip install 'stoa-platform[reviews]'`.",
            )
        except Wrong as wrong:
            for mistake in wrong.mistakes:
                _add(document, loc, mistake, report)


def _add(document: Document, loc: Loc, mistake: "Mistake", report: Report) -> None:
    from stoa_compiler.plan.conditions import FACTS, VALUES

    notes, advice = [], ""
    if mistake.name.startswith("change."):
        close = nearest(mistake.name.removeprefix("change."), list(FACTS))
        advice = f"Is `change.{close}` meant?" if close else ""
        notes = [] if close else [Note(f"a change has {listed(sorted(FACTS), limit=len(FACTS))}")]
    if mistake.trouble == "never":
        fact, _, value = mistake.name.partition("=")
        close = nearest(value, VALUES[fact])
        advice = f"Is `{close}` meant?" if close else f"It is one of {listed(VALUES[fact], limit=20)}."
    report.add(_RULE[mistake.trouble], _words(document, loc, mistake), mistake.message, notes, advice)


def _words(document: Document, loc: Loc, mistake: "Mistake") -> Span:
    """The mistake's words as they stand in the file, however the text is quoted or folded; else the whole text."""
    whole = document.span(loc)
    if not mistake.words:
        return whole
    left = mistake.before
    for line in range(whole.line, whole.end_line + 1):
        text = document.file.lines[line - 1]
        first = whole.column - 1 if line == whole.line else 0
        last = whole.end_column - 1 if line == whole.end_line else len(text)
        if line == whole.line and text[first : first + 1] in ("|", ">"):
            continue  # The head of a block.
        at = text.find(mistake.words, first, last)
        while at >= 0:
            if left == 0:
                return document.file.span(line, at + 1, len(mistake.words))
            left -= 1
            at = text.find(mistake.words, at + len(mistake.words), last)
    return whole

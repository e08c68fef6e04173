"""The plan's own words: sections, changes, artifacts, requirements, and the whole, to and from JSON."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stoa_compiler.diagnostics import Diagnostic, Note, Rule
from stoa_compiler.records import record
from stoa_compiler.source import Span

if TYPE_CHECKING:
    from stoa_schemas import changes as written

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What JSON can say."""

API_VERSION = "gostoa.dev/plan/v1"

SideName = Literal["base", "head"]
Direction = Literal["gained", "lost", "weakened", "strengthened", "changed", "added", "removed"]


class Section(StrEnum):
    """What a change is about, in order of danger."""

    ACCESS = "access"
    SAFEGUARDS = "safeguards"
    EXPOSURE = "exposure"
    TEXTS = "texts"
    CONTRACTS = "contracts"
    CONSUMERS = "consumers"
    LIMITS = "limits"
    DELETIONS = "deletions"
    ADDITIONS = "additions"


SECTIONS: tuple[Section, ...] = tuple(Section)


@record(order=True)
class Place:
    """A span and the side that its file is to be looked up in."""

    side: SideName
    span: Span
    commit: str = ""
    """The commit that wrote the line, where it was asked for."""
    author: str = ""


@record
class Change:
    """One thing that is otherwise at head than at base."""

    section: Section
    code: str
    """Stable, kebab-case: `access-gained`."""
    tenant: str
    """Whose it is; empty for the platform's."""
    subject: str
    """Canonical id of what changes."""
    text: str
    """One plain sentence, names in backticks."""
    direction: Direction
    spans: tuple[Place, ...] = ()
    """The lines that cause it: at head for what is gained, at base for what is lost."""
    details: tuple[str, ...] = ()
    """More lines, for who unfolds it."""
    data: Mapping[str, JSON] = field(default_factory=dict)
    """Facts that policies judge: role, tools, sideEffects, classification, approval, environments, people."""
    parts: tuple["Change", ...] = field(default=(), repr=False, compare=False)
    """The changes that this one line stands for, where it stands for several: policies judge each. Not written."""

    @property
    def id(self) -> str:
        """The same for the same change, whatever else the plan holds."""
        said = "\0".join((self.section, self.code, self.tenant, self.subject, self.text))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def order(self) -> tuple[int, str, str, str, str]:
        """Where it stands among others that are equally dangerous."""
        return (SECTIONS.index(self.section), self.tenant, self.code, self.subject, self.text)


@record(order=True)
class ArtifactChange:
    """One file of a bundle that is otherwise at head than at base."""

    environment: str
    target: str
    path: str
    kind: Literal["added", "removed", "changed"]
    before: int
    """Bytes at base; 0 where it is not there."""
    after: int
    """Bytes at head; 0 where it is not there."""
    whole: bool = True
    """Whether these are its sizes; else, of a file of many tenants, those of the parts that were compared."""


@record
class Requirement:
    """An approval that a policy of the platform demands for this plan."""

    policy: str
    approvers: tuple[str, ...]
    reason: str
    changes: tuple[str, ...]
    """Ids of the changes that it is about."""
    count: int = 1
    """How many of the approvers must approve."""
    given: tuple[str, ...] = ()
    """Who has, where that is known."""


@record
class Side:
    """One of the two sources that are compared."""

    name: str
    """The revision or folder as it was asked for."""
    commit: str
    """The commit's id; empty for a folder."""
    source: str
    """Path of the source in its repository, or the folder."""
    digest: str
    """sha256 over the sorted paths and Git object ids of all of its files."""
    compiles: bool = True
    bundles: Mapping[str, str] = field(default_factory=dict)
    """sha256 of `bundle.json` by environment: of head, in a saved plan."""


@record
class Plan:
    """What a change of the source does."""

    base: Side
    head: Side
    changes: tuple[Change, ...] = ()
    """Sorted, most dangerous first."""
    findings: tuple[Diagnostic, ...] = ()
    """Of head; and of base where it does not compile."""
    artifacts: tuple[ArtifactChange, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth a line and changes nothing."""
    uncompared: tuple[str, ...] = ()
    """What could not be compared. With any, the absence of a change means nothing."""

    @property
    def complete(self) -> bool:
        """Whether all could be compared."""
        return not self.uncompared

    @property
    def counts(self) -> dict[Section, int]:
        """How many changes each section has."""
        counts = dict.fromkeys(SECTIONS, 0)
        for change in self.changes:
            counts[change.section] += 1
        return counts

    def to_json(self) -> bytes:
        """The plan as `schemas/plan.v1.schema.json` has it; the same bytes for the same plan."""
        import json

        text = json.dumps(_written(self), indent=2, ensure_ascii=False)
        return f"{text}\n".encode("utf-8", "backslashreplace")

    @classmethod
    def from_json(cls, content: bytes) -> "Plan":
        """The plan that was written so; raises `ValueError` with a sentence where it is none."""
        from pydantic import ValidationError

        from stoa_schemas.changes import ThePlan

        try:
            model = ThePlan.model_validate_json(content, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"this is no plan: {where or 'the file'}: {first['msg']}") from None
        return _read(model)


def _written(plan: Plan) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "base": _side(plan.base),
        "head": _side(plan.head),
        "complete": plan.complete,
        "uncompared": list(plan.uncompared),
        "counts": {section.value: count for section, count in plan.counts.items()},
        "changes": [
            {
                "id": c.id,
                "section": c.section.value,
                "code": c.code,
                "tenant": c.tenant,
                "subject": c.subject,
                "text": c.text,
                "direction": c.direction,
                "causes": [{"side": p.side, **_span(p.span), "commit": p.commit, "author": p.author} for p in c.spans],
                "details": list(c.details),
                "data": _plain(c.data),
            }
            for c in plan.changes
        ],
        "notes": list(plan.notes),
        "findings": [_finding(d) for d in plan.findings],
        "artifacts": [
            {
                "environment": a.environment,
                "target": a.target,
                "path": a.path,
                "kind": a.kind,
                "before": a.before,
                "after": a.after,
                "whole": a.whole,
            }
            for a in plan.artifacts
        ],
        "requirements": [
            {
                "policy": r.policy,
                "approvers": list(r.approvers),
                "count": r.count,
                "reason": r.reason,
                "changes": list(r.changes),
                "given": list(r.given),
            }
            for r in plan.requirements
        ],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "commit": side.commit,
        "source": side.source,
        "digest": side.digest,
        "compiles": side.compiles,
        "bundles": dict(side.bundles),
    }


def _span(span: Span) -> dict[str, str | int]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def _finding(found: Diagnostic) -> dict[str, Any]:
    return {
        "code": found.rule.code,
        "severity": found.rule.severity,
        "title": found.rule.title,
        "message": found.message,
        **_span(found.span),
        "notes": [{"message": n.message, **(_span(n.span) if n.span else {})} for n in found.notes],
        "why": found.rule.why,
        "help": found.help or found.rule.help,
    }


def _plain(value: JSON) -> Any:
    """The value as lists and dicts only."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else [_plain(v) for v in value]


def _read(model: "written.ThePlan") -> Plan:
    def side(of: "written.OneSide") -> Side:
        return Side(of.name, of.commit, of.source, of.digest, of.compiles, dict(of.bundles))

    return Plan(
        base=side(model.base),
        head=side(model.head),
        changes=tuple(
            Change(
                section=Section(c.section),
                code=c.code,
                tenant=c.tenant,
                subject=c.subject,
                text=c.text,
                direction=c.direction,
                spans=tuple(
                    Place(p.side, Span(p.file, p.line, p.column, p.end_line, p.end_column), p.commit, p.author)
                    for p in c.causes
                ),
                details=tuple(c.details),
                data=c.data,
            )
            for c in model.changes
        ),
        findings=tuple(
            Diagnostic(
                rule=Rule(f.code, f.title, f.why, f.help, f.severity),
                span=Span(f.file, f.line, f.column, f.end_line, f.end_column),
                message=f.message,
                notes=tuple(
                    Note(
                        n.message,
                        Span(n.file, n.line or 1, n.column or 1, n.end_line or 1, n.end_column or 1)
                        if n.file
                        else None,
                    )
                    for n in f.notes
                ),
            )
            for f in model.findings
        ),
        artifacts=tuple(
            ArtifactChange(a.environment, a.target, a.path, a.kind, a.before, a.after, a.whole) for a in model.artifacts
        ),
        requirements=tuple(
            Requirement(r.policy, tuple(r.approvers), r.reason, tuple(r.changes), r.count, tuple(r.given))
            for r in model.requirements
        ),
        notes=tuple(model.notes),
        uncompared=tuple(model.uncompared),
    )

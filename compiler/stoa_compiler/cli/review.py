"""`stoa review`: the approvals that a merge request needs, and who owns which documents."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail, show, source_argument

if TYPE_CHECKING:
    from stoa_compiler.clients.gitlab import GitLab, MergeRequest
    from stoa_compiler.plan.approvals import Review, Verdict
    from stoa_compiler.plan.changes import Plan

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("review")
def command() -> None:
    """The approvals that a merge request needs, and who owns which documents."""


@command.command("gate", short_help="Fail while a demanded approval is missing.")
@click.option("--plan", "plan_file", type=_FILE, required=True, help="The plan, as `stoa plan --out` saved it.")
@click.option(
    "--approvals", type=_FILE, help="A file that says who approved, instead of GitLab; docs/policies.md has its form."
)
@click.option("--commit", metavar="SHA", help="The commit that is judged; the pipeline's own where left out.")
@click.option("--earlier", is_flag=True, help="Count approvals that were given before the last push as well.")
@click.option("--ca-file", type=_FILE, help="Certificates, PEM, by which GitLab's is judged.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def gate_command(
    plan_file: Path, approvals: Path | None, commit: str | None, earlier: bool, ca_file: Path | None, form: str
) -> None:
    """Fail while an approval is missing that the platform's rules demand for the plan.

    Who approved is read from GitLab's API with the token in STOA_GITLAB_TOKEN (scope `read_api`), for the merge request
    whose pipeline this is. The author's own approval does not count, nor one from before the last push.
    """
    plan = _plan(plan_file)
    head = commit or os.environ.get("CI_COMMIT_SHA", "")
    if head and plan.head.commit != head:
        fail(f"the plan is of {plan.head.commit[:12] or 'a folder'}, and not of {head[:12]}: plan again", FINDINGS)
    if not plan.head.compiles:
        fail("head does not compile, so its plan demands nothing yet: `stoa check` says why", FINDINGS)
    if not plan.requirements:
        _say_none(form)
        return
    from stoa_compiler.plan.approvals import judged

    if approvals is not None:
        verdict = judged(plan.requirements, _from_file(approvals, plan))
    else:
        with _asking(ca_file) as server:
            verdict = judged(plan.requirements, _from_gitlab(server, _merge_request(), head, earlier))
    _say(verdict, plan, form, approvals is None)
    if verdict.missing:
        raise SystemExit(FINDINGS)


@command.command("codeowners", short_help="Write who owns the documents into CODEOWNERS.")
@source_argument
@click.option(
    "--file",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CODEOWNERS; where left out, the one that GitLab reads, else `.gitlab/CODEOWNERS`.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where something would be.")
def codeowners_command(source: Path, target: Path | None, check: bool) -> None:
    """Write who owns the documents of SOURCE into CODEOWNERS, between two marks. Everything else in it stays."""
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.pipeline import read
    from stoa_compiler.plan.owners import PLACES, Unclear, block, merged
    from stoa_compiler.plan.revisions import Repository, Unreachable, Unusable

    try:
        repository = Repository.around(source)
    except Unusable:
        fail(f"`{source}` is in no Git repository", WRONG_USE)
    except Unreachable as error:
        fail(str(error), OUTSIDE)
    report = Report()
    checked = read(source, report)
    if checked.graph is None or report.errors:
        show(report, checked.source.files)
        raise SystemExit(FINDINGS)
    top = repository.top
    if target is None:
        target = next((top / p for p in PLACES if (top / p).is_file()), top / PLACES[-1])
    try:
        itself = target.resolve().relative_to(top.resolve()).as_posix()
    except ValueError:
        fail(f"`{target}` is not in the repository of `{source}`", WRONG_USE)
    if target.is_symlink():
        fail(f"`{target}` is a link", WRONG_USE)
    try:
        existing = target.read_bytes().decode("utf-8") if target.exists() else ""
        wanted = merged(existing, block(checked.graph, repository.prefix, itself))
    except (Unclear, UnicodeDecodeError) as error:
        fail(f"`{target}`: {error}", WRONG_USE)
    except OSError as error:
        fail(f"`{target}` cannot be read: {error.strerror}", OUTSIDE)
    if not checked.graph.platform.spec.reviews.owners.platform:
        click.echo("note: `spec.reviews.owners.platform` names nobody, so nobody owns the platform document", err=True)
    if wanted == existing:
        click.echo(f"{itself}: nothing changed")
    elif check:
        fail(f"`{itself}` is not what the source says: `stoa review codeowners` writes it", FINDINGS)
    else:
        from stoa_compiler.write import replace_files

        try:
            replace_files({target: wanted.encode()})
        except OSError as error:
            fail(f"`{target}` cannot be written: {error.strerror}", OUTSIDE)
        click.echo(f"{itself}: written")


@command.command("fetch", short_help="Fetch the plan that was reviewed for a commit.")
@click.option("--commit", metavar="SHA", help="A commit of the target branch; the pipeline's own where left out.")
@click.option("--job", default="stoa-plan", show_default=True, help="The job that saved the plan.")
@click.option("--path", default="plan.json", show_default=True, help="The plan's path among that job's artifacts.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="plan.json",
    show_default=True,
    help="Where to put it.",
)
@click.option("--ca-file", type=_FILE, help="Certificates, PEM, by which GitLab's is judged.")
def fetch_command(commit: str | None, job: str, path: str, out: Path, ca_file: Path | None) -> None:
    """Fetch the plan of the merge request that brought a commit, for `stoa publish --plan`."""
    project, sha = os.environ.get("CI_PROJECT_ID", ""), commit or os.environ.get("CI_COMMIT_SHA", "")
    if not project or not sha:
        fail("CI_PROJECT_ID and --commit or CI_COMMIT_SHA say which commit of which project", WRONG_USE)
    from stoa_compiler.plan.changes import Plan

    with _asking(ca_file) as server:
        brought = server.merged_as(project, sha)
        if not brought:
            fail(f"no merge request brought {sha[:12]}: what is on the branch was not reviewed", FINDINGS)
        if len(brought) > 1:
            listed = ", ".join(f"!{number}" for number, _ in brought)
            fail(f"{sha[:12]} came by more than one merge request ({listed}): name the plan yourself", FINDINGS)
        ((number, head),) = brought
        content = None
        for ref in (f"refs/merge-requests/{number}/head", f"refs/merge-requests/{number}/merge"):
            content = content or server.artifact(project, ref, job, path)
    if content is None:
        fail(f"the job `{job}` of !{number} left no `{path}`: its pipeline did not pass, or it is too old", FINDINGS)
    try:
        plan = Plan.from_json(content)
    except ValueError as error:
        fail(f"the plan of !{number}: {error}", OUTSIDE)
    try:
        out.write_bytes(content)
    except OSError as error:
        fail(f"`{out}` cannot be written: {error.strerror}", OUTSIDE)
    stands = "" if plan.head.commit == head else f"; it was made for {plan.head.commit[:12]}, head is {head[:12]}"
    click.echo(f"{out}: the plan of !{number}{stands}")


def _plan(file: Path) -> "Plan":
    from stoa_compiler.plan.changes import Plan

    try:
        return Plan.from_json(file.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"`{file}`: {error}", WRONG_USE)


@contextmanager
def _asking(ca_file: Path | None) -> "Iterator[GitLab]":
    """GitLab's API as the pipeline names it; what goes wrong outside ends the command."""
    try:
        from stoa_compiler.clients.gitlab import GitLab, Refused, Token, Unreachable, Unusable
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[gitlab]'` brings it", OUTSIDE)
    api = os.environ.get("CI_API_V4_URL", "")
    if not api:
        fail("CI_API_V4_URL is not set: this is no pipeline of GitLab", WRONG_USE)
    try:
        token = Token.of()
        if token is None:
            fail("there is no token: set STOA_GITLAB_TOKEN to one with the scope `read_api`", OUTSIDE)
        yield GitLab(api, token, ca_file)
    except Unusable as error:
        fail(str(error), WRONG_USE)
    except Unreachable as error:
        fail(str(error), OUTSIDE)
    except Refused as refusal:
        more = ". Set STOA_GITLAB_TOKEN to a token with the scope `read_api`" if refusal.by_token else ""
        fail(f"{refusal}{more}", OUTSIDE)


def _merge_request() -> "MergeRequest":
    from stoa_compiler.clients.gitlab import MergeRequest

    found = MergeRequest.of()
    if found is None:
        fail("CI_MERGE_REQUEST_IID is not set: this is no merge request's pipeline", WRONG_USE)
    return found


def _from_file(file: Path, plan: "Plan") -> "Review":
    from stoa_compiler.plan.approvals import review_of

    try:
        review = review_of(file.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"`{file}` says nothing about approvals: {error}", WRONG_USE)
    if review.commit != plan.head.commit:
        fail(f"`{file}` is about {review.commit[:12]}, and the plan is of {plan.head.commit[:12]}", FINDINGS)
    return review


def _from_gitlab(server: "GitLab", of: "MergeRequest", head: str, earlier: bool) -> "Review":
    from stoa_compiler.plan.approvals import Review

    author, sha = server.author(of)
    # In a pipeline for merged results the commit is GitLab's own; this is the branch's.
    own = os.environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or head
    if own and sha != own:
        fail(f"the merge request is at {sha[:12]} by now, and this pipeline is of {own[:12]}", FINDINGS)
    given = server.approvals(of)
    pushed = server.pushed(of, sha)
    fresh, passed_over = [], {}
    for approval in given:
        if earlier or (pushed is not None and approval.at is not None and approval.at >= pushed):
            fresh.append(approval.username)
        elif approval.at is None or pushed is None:
            passed_over[approval.username] = "approved at a time that GitLab does not tell"
        else:
            passed_over[approval.username] = f"approved before {sha[:12]} was pushed"
    return Review(sha, author, tuple(dict.fromkeys(fresh)), server.members, passed_over)


def _say_none(form: str) -> None:
    if form == "json":
        from stoa_compiler.plan.approvals import Verdict, as_json

        click.echo(as_json(Verdict((), {})), nl=False)
    else:
        click.echo("no rule demands an approval")


def _say(verdict: "Verdict", plan: "Plan", form: str, by_gitlab: bool) -> None:
    from stoa_compiler.plan.approvals import as_json, met

    if form == "json":
        click.echo(as_json(verdict), nl=False)
        return
    from stoa_compiler.plan.wording import counted, names
    from stoa_compiler.reports.terminal import visible, wants_color

    color = wants_color(sys.stdout)
    texts = {c.id: c.text for c in plan.changes}
    for r in verdict.requirements:
        done = met(r)
        mark = click.style("approved", fg="green") if done else click.style("missing ", fg="red", bold=True)
        whom = f"{r.count} of {names(r.approvers, 20)}" if r.approvers else "nobody can approve"
        given = f", given by {names(r.given, 20)}" if r.given else ""
        click.echo(f"{mark}  {visible(r.policy)}: {whom}{given}", color=color)
        click.echo(f"          {visible(r.reason)}")
        if not done:
            for change in r.changes[:5]:
                click.echo(f"          - {visible(texts.get(change, change))}")
            if len(r.changes) > 5:
                click.echo(f"          and {counted(len(r.changes) - 5, 'more change')}")
    for name, why in sorted(verdict.passed_over.items()):
        click.echo(f"does not count: `{visible(name)}` {why}")
    for name in verdict.users if by_gitlab else ():
        click.echo(f"note: GitLab shows no group `{name}`, so it is taken for a user name")
    if verdict.missing:
        click.echo(
            f"{counted(len(verdict.missing), 'approval is', 'approvals are')} missing; run this job again when given"
        )

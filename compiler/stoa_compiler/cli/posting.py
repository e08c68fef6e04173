"""`stoa plan --post`: the plan as the one note of the merge request whose pipeline this is."""

import os
from pathlib import Path

import click

from stoa_compiler.cli.session import OUTSIDE, WRONG_USE, fail
from stoa_compiler.plan.changes import Plan


def post(plan: Plan, ca_file: Path | None = None) -> None:
    """Writes the note, and says on stderr what became of it.

    Without a token, or outside of a merge request, nothing is written and that is no failure: the plan is among the
    job's artifacts. A token that was given for this and is refused is one.
    """
    try:
        from stoa_compiler.clients.gitlab import GitLab, MergeRequest, OwnNotes, Refused, Token, Unreachable, Unusable
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[gitlab]'` brings it", OUTSIDE)
    from stoa_compiler.plan import posting
    from stoa_compiler.plan.forms import FORMS

    given = False
    try:
        of, api, token = MergeRequest.of(), os.environ.get("CI_API_V4_URL", ""), Token.of()
        if of is None or not api:
            _not_posted("this is no merge request's pipeline")
            return
        if token is None:
            _not_posted("there is no token in STOA_GITLAB_TOKEN")
            return
        given = token.kind == "private"
        notes = OwnNotes(GitLab(api, token, ca_file), of)
        body = posting.body_of(FORMS["markdown"](plan).decode("utf-8", "replace"), plan.head.source, os.environ)
        done = posting.post(notes, posting.mark_of(plan.head.source), body)
    except Unusable as error:
        fail(str(error), WRONG_USE)
    except Refused as refusal:
        if not given and refusal.by_token:
            _not_posted("the job's own token may not write notes, and there is none in STOA_GITLAB_TOKEN")
            return
        fail(f"the plan is not posted: {refusal}. STOA_GITLAB_TOKEN needs the scope `api`", OUTSIDE)
    except (Unreachable, posting.Unsettled) as error:
        fail(f"the plan is not posted: {error}", OUTSIDE)
    what = "written" if done.created else "written anew"
    more = f"; {done.removed} more of ours removed" if done.removed else ""
    click.echo(f"note {done.note} of !{of.iid}: {what}{more}", err=True)


def _not_posted(why: str) -> None:
    click.echo(f"not posted: {why}. The plan is where --report and --out put it", err=True)

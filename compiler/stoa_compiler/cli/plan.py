"""`stoa plan`: what a change of the source does."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail, show

if TYPE_CHECKING:
    from stoa_compiler.plan.revisions import Tree

ERRORS = 5
"""Errors of the change itself that are shown with their lines: the plan names all of them."""
FORMS = ("text", "markdown", "json", "terraform")


class FormAndFile(click.ParamType[tuple[str, Path]]):
    """`FORM=FILE`."""

    name = "FORM=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """Form and path."""
        form, equals, file = str(value).partition("=")
        if not equals or not file or form not in FORMS:
            self.fail(f"`{value}` is not FORM=FILE, where FORM is one of {', '.join(FORMS)}", param, ctx)
        return form, Path(file)


@click.command("plan")
@click.argument("source", default="tenants", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--base", metavar="REV", help="The Git revision to compare with: where head left it, as merge requests do."
)
@click.option("--head", metavar="REV", help="The Git revision to look at; the working folder where left out.")
@click.option("--exact", is_flag=True, help="Compare with --base itself, and not with where head left it.")
@click.option(
    "--base-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder instead of --base."
)
@click.option("--blame", is_flag=True, help="Name the commit and author of each line.")
@click.option("--all", "everything", is_flag=True, help="Fold nothing in the text.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True, help="Form on stdout.")
@click.option(
    "--report", type=FormAndFile(), multiple=True, help="One more form into a file; may be given several times."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the plan as JSON, bound to head's bundles by their digests; `stoa publish --plan` reads it.",
)
@click.option(
    "--post",
    is_flag=True,
    help="Write the plan into the one note of the merge request whose GitLab pipeline this is. Needs a token with the "
    "scope `api` in STOA_GITLAB_TOKEN; without one, says so and goes on.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where there are changes or something was not compared.")
def command(
    source: Path,
    base: str | None,
    head: str | None,
    exact: bool,
    base_dir: Path | None,
    blame: bool,
    everything: bool,
    form: str,
    report: tuple[tuple[str, Path], ...],
    out: Path | None,
    post: bool,
    exit_code: bool,
) -> None:
    """What a change of SOURCE does: who may call what that they could not, what is weakened, who breaks.

    Both sides are read from Git objects; nothing is checked out. Compares the meaning, not the text.

    \b
        stoa plan --base origin/main
        stoa plan --base $CI_MERGE_REQUEST_DIFF_BASE_SHA --exact --report markdown=plan.md
    """
    if (base is None) == (base_dir is None):
        raise click.UsageError("give the side to compare with, by --base REV or by --base-dir DIR")
    if base_dir is not None and (head is not None or exact):
        raise click.UsageError("--base-dir compares folders: --head and --exact go with --base")
    from datetime import UTC, datetime

    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.plan.forms import FORMS as forms
    from stoa_compiler.plan.making import of
    from stoa_compiler.plan.revisions import Unreachable, Unusable

    try:
        old, new, target = _sides(source, base, head, exact, base_dir)
        made = of(old, new, datetime.now(UTC).date(), bind=out is not None, blame=blame, target=target)
    except Unusable as error:
        fail(str(error), WRONG_USE)
    except Unreachable as error:
        fail(str(error), OUTSIDE)
    except Stop:
        fail("head as a whole does not compile, so no bundle can be named: `stoa check` says why", FINDINGS)
    if made.broken:
        show(Report(list(made.plan.findings)), made.files, 20)
    else:
        broken = [d for d in made.plan.findings if d.rule.severity == "error" and d not in made.errors]
        show(Report(broken), made.base_files, 20)
    _print(form, made.plan, everything)
    shown = made.errors if everything else made.errors[:ERRORS]
    show(Report(list(shown)), made.files, 20)
    if len(shown) < len(made.errors):
        click.echo(f"and {len(made.errors) - len(shown):,} more errors of this change; --all shows them", err=True)
    wanted = [*report, *([("json", out)] if out is not None and not made.broken else [])]
    for name, path in wanted:
        try:
            path.write_bytes(forms[name](made.plan))
        except OSError as error:
            fail(f"`{path}` cannot be written: {error.strerror}", OUTSIDE)
    if post:
        from stoa_compiler.cli import posting

        posting.post(made.plan)
    if made.broken or made.errors or (exit_code and (made.plan.changes or not made.plan.complete)):
        raise SystemExit(FINDINGS)


def _print(form: str, plan: Any, everything: bool) -> None:
    from stoa_compiler.plan.forms import FORMS as forms
    from stoa_compiler.plan.forms.text import as_text
    from stoa_compiler.reports.terminal import wants_color, width_of

    if form == "text":
        color = wants_color(sys.stdout)
        click.echo(as_text(plan, color, width_of(sys.stdout), everything), nl=False, color=color)
    else:
        click.echo(forms[form](plan), nl=False)


def _sides(
    source: Path, base: str | None, head: str | None, exact: bool, base_dir: Path | None
) -> "tuple[Tree, Tree, Tree | None]":
    """What there is, what there will be, and where the branch that is merged into is by now."""
    from stoa_compiler.plan.revisions import Repository, Unusable, folder_tree

    if base_dir is not None:
        if not source.is_dir():
            raise Unusable(f"`{source}` is not there")
        return folder_tree(base_dir), folder_tree(source), None
    assert base is not None
    repository = Repository.around(source)
    if head is None and not source.is_dir():
        raise Unusable(f"`{source}` is not there: --head names a revision that has it")
    from_ = repository.commit(base)
    to = repository.commit(head or "HEAD")
    left = from_ if exact else repository.merge_base(from_, to, base)
    name = base if left == from_ else f"{base}, where head left it"
    new = repository.working() if head is None else repository.tree(to, head)
    old = repository.tree(left, name)
    if new.empty:
        raise Unusable(f"`{source}` has no `platform.yaml` at head: give the folder that holds it")
    return old, new, None if left == from_ else repository.tree(from_, base)

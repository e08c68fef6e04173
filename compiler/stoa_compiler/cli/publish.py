"""`stoa publish`: a bundle committed to a branch that Argo CD reads."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

if TYPE_CHECKING:
    from stoa_compiler import publish as publishing


@click.command("publish")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--repo", required=True, help="URL or path of the Git repository.")
@click.option("--branch", required=True, help="The branch; it is made where it is not there.")
@click.option("--path", help="The bundle's folder on the branch; called like the environment where left out.")
@click.option(
    "--source-commit",
    metavar="SHA",
    help="The commit that the bundle was compiled from: its author and time become the commit's.",
)
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="A folder of the repository that has the source's commit.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The reviewed plan, as `stoa plan --out` saved it: nothing else is published. Needs --source-commit.",
)
@click.option(
    "--replanned",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The plan of what was merged, where the target had moved on: it may do nothing that --plan does not do.",
)
@click.option("--older", is_flag=True, help="Publish it though the branch has the bundle of a later source commit.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    bundle: Path,
    repo: str,
    branch: str,
    path: str | None,
    source_commit: str | None,
    source: Path,
    plan_file: Path | None,
    replanned: Path | None,
    older: bool,
    form: str,
) -> None:
    """Commit BUNDLE to a branch of a Git repository, only when it changed, and never by force.

    The folder on the branch is then exactly the bundle. Git itself logs in, as it is set up to.
    """
    if plan_file is not None and source_commit is None:
        raise click.UsageError("--plan needs --source-commit: a plan is reviewed for a commit")
    if replanned is not None and plan_file is None:
        raise click.UsageError("--replanned goes with --plan")
    try:
        from stoa_compiler import publish as publishing
    except ImportError as missing:
        fail(
            f"`{missing.name or 'git'}` is not there; `pip install 'stoa-platform[publish]'` and Git bring it", OUTSIDE
        )
    from stoa_schemas import bundle as bundles

    try:
        listing = bundles.Bundle.model_validate_json((bundle / bundles.BUNDLE_FILE).read_bytes())
    except (OSError, ValueError):
        fail(f"`{bundle}` is no bundle", FINDINGS)
    try:
        # Git runs in a folder of its own, where a relative path would mean something else.
        repository = str(Path(repo).resolve()) if Path(repo).is_dir() else repo
        place = publishing.Place(repository, branch, path or listing.environment)
        commit = publishing.source_commit(source, source_commit) if source_commit else None
    except publishing.NotPublished as refusal:
        fail(str(refusal), WRONG_USE)
    if plan_file is not None and commit is not None:
        _reviewed(bundle, listing.environment, commit, plan_file, replanned)
    try:
        done = publishing.publish(bundle, place, commit, older, reviewed=plan_file is not None)
    except publishing.Unsound as refusal:
        fail(str(refusal), FINDINGS)
    except publishing.NotPublished as refusal:
        fail(str(refusal), OUTSIDE)
    if form == "json":
        import orjson

        facts = {"commit": done.commit, "pushed": done.pushed, "summary": done.summary, "attempts": done.attempts}
        click.echo(orjson.dumps({**facts, "branch": place.branch, "path": place.path, "digest": listing.digest}))
    elif done.pushed:
        click.echo(f"{place.branch}:{place.path}: {done.summary}; commit {done.commit}")
    else:
        click.echo(f"{place.branch}:{place.path}: nothing changed; commit {done.commit} has this bundle")


def _reviewed(
    bundle: Path, environment: str, commit: "publishing.SourceCommit", plan_file: Path, replanned: Path | None
) -> None:
    """Ends the command where the bundle is not what the plan was reviewed for."""
    import hashlib

    from stoa_compiler import publish as publishing
    from stoa_compiler.plan import reviewed, revisions
    from stoa_compiler.plan.changes import Plan
    from stoa_schemas.bundle import BUNDLE_FILE

    def read(file: Path) -> Plan:
        try:
            return Plan.from_json(file.read_bytes())
        except (OSError, ValueError) as error:
            fail(f"`{file}`: {error}", WRONG_USE)

    def source_digest(path: str) -> str:
        repository = revisions.Repository.around(commit.folder)
        there = revisions.Repository.around(repository.top / path)
        return there.tree(commit.sha, commit.sha).digest

    candidate = reviewed.Candidate(
        environment=environment,
        digest="sha256:" + hashlib.sha256((bundle / BUNDLE_FILE).read_bytes()).hexdigest(),
        commit=commit.sha,
        holds=lambda other: publishing.holds(commit, other),
        source_digest=source_digest,
    )
    try:
        reviewed.check(read(plan_file), candidate, None if replanned is None else read(replanned))
    except reviewed.NotReviewed as refusal:
        fail(f"not published: {refusal}", FINDINGS)
    except (revisions.Unusable, revisions.Unreachable) as refusal:
        fail(str(refusal), OUTSIDE)

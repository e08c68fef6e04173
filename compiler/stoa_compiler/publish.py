"""Publish: a bundle as one commit on a branch that Argo CD reads.

No working tree is ever checked out: trees are built from the bundle's bytes and from what the branch has, so nothing on
the branch, be it a link or an odd name, can lead a write anywhere. A push never forces: where somebody else was first,
the commit is built anew on theirs.
"""

import os
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import git

from stoa_compiler.bundles import problems
from stoa_compiler.records import record
from stoa_schemas import bundle

ATTEMPTS = 12
"""Pushes that are tried while others keep moving the branch."""
SHOWN = 20
"""Changed files that a commit's message names."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SOURCE, _DIGEST = "Source-Commit", "Bundle-Digest"
_OWN_NAME = "stoa"
_OWN_EMAIL = "stoa@localhost"


class NotPublished(Exception):
    """Nothing was pushed; the message says why, and names no password."""


class Unsound(NotPublished):
    """The bundle is not what its own digests name, or is older than what is there."""


@record
class Place:
    """Where a bundle is published."""

    repository: str
    """URL or path of the Git repository."""
    branch: str
    path: str
    """Folder on the branch."""

    def __post_init__(self) -> None:
        if self.repository.startswith("-") or "::" in self.repository:
            raise NotPublished("the repository is no URL and no path")
        if not _BRANCH.fullmatch(self.branch) or ".." in self.branch or self.branch.endswith((".lock", ".")):
            raise NotPublished(f"`{self.branch}` is no name of a branch")
        if not all(_SEGMENT.fullmatch(s) and s.lower() != ".git" for s in self.path.split("/")):
            raise NotPublished(f"`{self.path}` is no folder inside the branch")

    @property
    def shown(self) -> str:
        """The repository without a password."""
        parts = urlsplit(self.repository)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@record
class SourceCommit:
    """The commit that the bundle was compiled from."""

    sha: str
    author: str
    email: str
    date: str
    """Seconds since 1970, and the offset: as Git writes it."""
    folder: Path
    """The repository that has it."""


@record
class Published:
    """What became of it."""

    commit: str | None
    """The commit that was pushed, or the one that has this bundle already; None never."""
    pushed: bool
    """False where the branch had exactly this bundle."""
    summary: str
    attempts: int


def source_commit(folder: Path, revision: str) -> SourceCommit:
    """The commit that `revision` names in the repository around `folder`."""
    if revision.startswith("-"):
        raise NotPublished(f"`{revision}` is no commit")
    forget_surroundings()
    try:
        repository = git.Repo(folder, search_parent_directories=True)
        sha = repository.git.rev_parse("--verify", "--end-of-options", f"{revision}^{{commit}}")
        said = repository.git.show("--no-patch", "--no-show-signature", "--format=%an%x00%ae%x00%ad", "--date=raw", sha)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        raise NotPublished(f"`{folder}` is in no Git repository, so the source's commit cannot be read") from None
    except git.GitCommandError:
        raise NotPublished(f"`{revision}` is no commit of the repository around `{folder}`") from None
    author, email, date = str(said).split("\0")
    return SourceCommit(str(sha), author, email, date, folder)


def holds(source: SourceCommit, commit: str) -> bool:
    """Whether `commit` is the source's, or comes before it in what this clone has."""
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return False
    home = git.Repo(source.folder, search_parent_directories=True)
    try:
        home.git.merge_base("--is-ancestor", commit, source.sha)
    except git.GitCommandError:
        return False
    return True


def publish(
    folder: Path,
    place: Place,
    source: SourceCommit | None = None,
    older: bool = False,
    reviewed: bool = False,
) -> Published:
    """Puts the bundle in `folder` on the branch: one commit, or none where the branch has it already.

    What was `reviewed` must come after what the branch has: else it would undo what nobody looked at.
    """
    files, listing = _content(folder)
    with tempfile.TemporaryDirectory(prefix="stoa-publish-") as scratch:
        forget_surroundings()
        repository = _Repository(Path(scratch))
        kept = {path: repository.store(content) for path, content in files.items()}
        for attempt in range(1, ATTEMPTS + 1):
            tip = repository.fetch(place)
            if source is not None and tip is not None and not older:
                _refuse_older(repository, tip, source)
                if reviewed:
                    _refuse_beside(repository, tip, source)
            tree, changes = repository.tree_with(tip, place.path, kept)
            summary = _summary(changes)
            if tip is not None and not changes:
                return Published(tip, False, summary, attempt)
            message = _message(listing, changes, source)
            commit = repository.commit(tree, tip, message, source)
            refusal = repository.push(commit, place)
            if refusal is None:
                return Published(commit, True, summary, attempt)
            if repository.fetch(place) == tip:
                raise NotPublished(f"`{place.shown}` does not take the commit: {refusal}")
            time.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 6)))
    raise NotPublished(f"`{place.branch}` of `{place.shown}` was moved by others {ATTEMPTS} times; try again later")


def _content(folder: Path) -> tuple[dict[str, bytes], bundle.Bundle]:
    """Every file of a bundle that is whole."""
    linked = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink()]
    found = [f"`{path}` is a link" for path in sorted(linked)] or list(problems(folder))
    if found:
        raise Unsound("; ".join(found[:5]))
    listing = bundle.Bundle.model_validate_json((folder / bundle.BUNDLE_FILE).read_bytes())
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for path in files:
        if not all(_SEGMENT.fullmatch(s) and s.lower() != ".git" for s in path.split("/")):
            raise Unsound(f"`{path}` is no path inside the branch")
    return files, listing


def _refuse_older(repository: "_Repository", tip: str, source: SourceCommit) -> None:
    """Raises where the branch has a bundle of a later commit of the same source: a slow job came too late."""
    there = repository.trailer(tip, _SOURCE)
    if there is None or there == source.sha:
        return
    home = git.Repo(source.folder, search_parent_directories=True)
    try:
        home.git.merge_base("--is-ancestor", source.sha, there)
    except git.GitCommandError:
        return  # Not an ancestor, or a commit that this clone does not have.
    raise Unsound(f"the branch already has a bundle of {there[:12]}, which comes after {source.sha[:12]}")


def _refuse_beside(repository: "_Repository", tip: str, source: SourceCommit) -> None:
    """Raises where the branch has a bundle of a commit that this source does not hold."""
    there = repository.trailer(tip, _SOURCE)
    if there is not None and not holds(source, there):
        raise Unsound(
            f"the branch has a bundle of {there[:12]}, which {source.sha[:12]} does not hold, so its changes would be "
            "undone and nobody reviewed that. Bring the merge request up to date and plan again; "
            "in a shallow clone, fetch the whole history first"
        )


Change = tuple[str, str]
"""`added`, `changed` or `removed`, and a path below the bundle's folder."""


class _Repository:
    """A bare repository of our own: nobody else's hooks, filters or settings."""

    def __init__(self, folder: Path) -> None:
        git.Git(folder).execute(["git", "init", "--quiet", "--bare", "--template=", "."])
        self._git = git.Git(folder)
        self._git.update_environment(
            GIT_TERMINAL_PROMPT="0",
            GIT_CONFIG_COUNT="2",
            GIT_CONFIG_KEY_0="protocol.ext.allow",
            GIT_CONFIG_VALUE_0="never",
            GIT_CONFIG_KEY_1="core.quotePath",
            GIT_CONFIG_VALUE_1="false",
            GIT_INDEX_FILE=str(folder / "stoa-index"),
        )

    def store(self, content: bytes) -> str:
        """The id of the bytes, kept."""
        return str(self._feed(content, "hash-object", "-w", "--no-filters", "--stdin"))

    def fetch(self, place: Place) -> str | None:
        """The branch's commit; None where there is no such branch."""
        try:
            heads = str(self._git.ls_remote("--", place.repository, f"refs/heads/{place.branch}"))
            if not heads:
                return None
            tip = heads.split()[0]
            self._git.fetch(
                "--quiet", "--no-tags", "--depth=1", "--", place.repository, f"+refs/heads/{place.branch}:refs/stoa/tip"
            )
            return str(self._git.rev_parse("refs/stoa/tip")) or tip
        except git.GitCommandError as error:
            raise NotPublished(f"`{place.shown}` cannot be read: {_reason(error, place)}") from None

    def tree_with(self, tip: str | None, path: str, files: Mapping[str, str]) -> tuple[str, list[Change]]:
        """The branch's tree with exactly `files` in the folder `path`, and how it differs from what was there."""
        there: dict[str, tuple[str, str]] = {}
        if tip is not None:
            for entry in str(self._git.ls_tree("-r", "-z", "--full-tree", tip)).split("\0"):
                if entry:
                    about, _, name = entry.partition("\t")
                    mode, _, blob = about.split(" ")
                    there[name] = (mode, blob)
        for above in _above(path):
            if above in there:
                raise NotPublished(f"`{above}` on the branch is no folder")
        inside = {n.removeprefix(f"{path}/"): v for n, v in there.items() if n.startswith(f"{path}/")}
        if inside and bundle.BUNDLE_FILE not in inside:
            raise NotPublished(f"`{path}` on the branch holds something that is no bundle: it is left alone")
        wanted = {name: ("100644", blob) for name, blob in files.items()}
        changes = [("added", n) for n in wanted.keys() - inside.keys()]
        changes += [("removed", n) for n in inside.keys() - wanted.keys()]
        changes += [("changed", n) for n in wanted.keys() & inside.keys() if wanted[n] != inside[n]]
        kept = {n: v for n, v in there.items() if not n.startswith(f"{path}/")}
        kept |= {f"{path}/{n}": v for n, v in wanted.items()}
        lines = "".join(f"{mode} {blob}\t{name}\0" for name, (mode, blob) in sorted(kept.items()))
        self._git.read_tree("--empty")
        self._feed(lines.encode("utf-8", "surrogateescape"), "update-index", "-z", "--index-info")
        return str(self._git.write_tree()), sorted(changes, key=lambda c: c[1])

    def commit(self, tree: str, parent: str | None, message: str, source: SourceCommit | None) -> str:
        """The commit's id. With a source commit, author and times are its own, so equal input gives an equal commit."""
        names = {}
        if source is not None:
            names = {"GIT_AUTHOR_NAME": source.author or _OWN_NAME, "GIT_AUTHOR_EMAIL": source.email}
            names |= {"GIT_AUTHOR_DATE": source.date, "GIT_COMMITTER_DATE": source.date}
        own = {"GIT_COMMITTER_NAME": _OWN_NAME, "GIT_COMMITTER_EMAIL": _OWN_EMAIL}
        own |= {"GIT_AUTHOR_NAME": _OWN_NAME, "GIT_AUTHOR_EMAIL": _OWN_EMAIL} | names
        with self._git.custom_environment(**own):
            parents = ["-p", parent] if parent else []
            return str(self._feed(message.encode(), "commit-tree", tree, *parents, "--no-gpg-sign"))

    def push(self, commit: str, place: Place) -> str | None:
        """None where the branch has the commit now, else why not."""
        try:
            self._git.push("--quiet", "--no-verify", "--", place.repository, f"{commit}:refs/heads/{place.branch}")
        except git.GitCommandError as error:
            return _reason(error, place)
        return None

    def trailer(self, commit: str, key: str) -> str | None:
        """The value that a commit's message gives to `key`."""
        message = str(self._git.show("--no-patch", "--format=%B", commit))
        found = re.findall(rf"(?m)^{key}: ([0-9a-f]{{40,64}})$", message)
        return found[-1] if found else None

    def _feed(self, data: bytes, *command: str) -> str:
        """What a Git command says that reads `data`."""
        with tempfile.TemporaryFile() as stream:
            stream.write(data)
            stream.seek(0)
            return str(self._git.execute(["git", *command], istream=stream))


def forget_surroundings() -> None:
    """Drops what Git sets for its hooks: it would lead every command here into another repository."""
    for name in _MISLEADING & os.environ.keys():
        del os.environ[name]


_MISLEADING = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_WORK_TREE",
    }
)


def _above(path: str) -> list[str]:
    """The folder itself and each above it."""
    steps = path.split("/")
    return ["/".join(steps[: n + 1]) for n in range(len(steps))]


def _reason(error: git.GitCommandError, place: Place) -> str:
    """What Git said, on one line, without a password."""
    said = str(error.stderr or error).strip().removeprefix("stderr: ").strip("' \n")
    lines = [line.strip() for line in said.replace(place.repository, place.shown).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))] or lines
    return re.sub(r"//[^/\s@]+@", "//", "; ".join(told)[:400]) or "Git says nothing"


def _summary(changes: Sequence[Change]) -> str:
    counts = Counter(kind for kind, _ in changes)
    return ", ".join(f"{counts[k]} {k}" for k in ("added", "changed", "removed") if counts[k]) or "nothing changed"


def _message(listing: bundle.Bundle, changes: Sequence[Change], source: SourceCommit | None) -> str:
    lines = [f"{listing.platform} {listing.environment}: {_summary(changes)}", ""]
    lines += [f"{kind} {path}" for kind, path in changes[:SHOWN]]
    if len(changes) > SHOWN:
        lines.append(f"and {len(changes) - SHOWN} more")
    if changes:
        lines.append("")
    if source is not None:
        lines.append(f"{_SOURCE}: {source.sha}")
    if listing.digest is not None:
        lines.append(f"{_DIGEST}: {listing.digest}")
    return "\n".join(lines) + "\n"

"""A branch that bundles are published to beside a bundle: each file, and in files of data which values differ."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import git
import yaml

from stoa_compiler.drift.model import Compared, Difference, Field
from stoa_compiler.drift.objects import FIELDS, differences
from stoa_compiler.publish import NotPublished, Place, forget_surroundings

READ_LIMIT = 4 << 20
"""Bytes up to which a file is read for what differs in it."""


def compare(folder: Path, place: Place) -> Compared:
    """The folder on the branch beside the bundle in `folder`."""
    where = f"{place.shown} {place.branch}:{place.path}"
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    try:
        with tempfile.TemporaryDirectory(prefix="stoa-drift-") as scratch:
            return Compared("branch", where, len(files), tuple(_differences(files, place, Path(scratch))))
    except NotPublished as error:
        return Compared("branch", where, 0, (), str(error))


def _differences(files: dict[str, Path], place: Place, scratch: Path) -> Iterator[Difference]:
    repository = _Reading(scratch)
    there = repository.files(place)
    if there is None:
        yield Difference("missing", f"branch {place.branch}", note="the repository has no such branch")
        return
    for path in sorted(files.keys() | there.keys()):
        if path not in there:
            yield Difference("missing", path)
        elif path not in files:
            yield Difference("extra", path, note="the bundle has no such file")
        else:
            mode, blob = there[path]
            data = files[path].read_bytes()
            if mode != "100644":
                yield Difference("changed", path, note=f"its mode is {mode} on the branch: no plain file")
            elif blob != repository.blob(files[path]):
                yield _changed(path, data, repository.content(blob))


def _changed(path: str, wanted: bytes, live: bytes) -> Difference:
    fields = list(_fields(path, wanted, live)) if max(len(wanted), len(live)) <= READ_LIMIT else []
    note = "" if fields else "its values are the same, and its bytes are not"
    if max(len(wanted), len(live)) > READ_LIMIT:
        note = "its bytes differ"
    return Difference("changed", path, tuple(fields[:FIELDS]), note)


def _fields(path: str, wanted: bytes, live: bytes) -> Iterator[Field]:
    """The values that differ in a file of data, both ways."""
    ours, theirs = _parsed(path, wanted), _parsed(path, live)
    if theirs is None or ours is None:
        yield Field("", "no data that can be read", "data")
        return
    if len(ours) != len(theirs):
        yield Field("", f"{len(theirs)} documents", f"{len(ours)} documents")
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False), 1):
        at = f"document {number}" if len(ours) > 1 else ""
        told = set()
        for field in differences(mine, other, mine, at):
            told.add(field.path)
            yield field
        for field in differences(other, mine, other, at):  # What only the branch has.
            if field.path not in told:
                yield Field(field.path, field.declared, field.live)


def _parsed(path: str, data: bytes) -> list[Any] | None:
    try:
        if path.endswith(".json"):
            return [json.loads(data)]
        if path.endswith((".yaml", ".yml")):
            return list(yaml.load_all(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (ValueError, yaml.YAMLError, RecursionError):
        pass
    return None


def _reason(error: git.GitCommandError, place: Place) -> str:
    """What Git said, on one line, without a password."""
    said = str(error.stderr or error).strip().removeprefix("stderr: ").replace(place.repository, place.shown)
    return re.sub(r"//[^/\s@]+@", "//", " ".join(said.split()).strip("' "))[:400] or "Git says nothing"


class _Reading:
    """A bare repository of our own, into which the branch's last commit is fetched."""

    def __init__(self, folder: Path) -> None:
        forget_surroundings()
        self._git = git.Git(folder)
        self._git.execute(["git", "init", "--quiet", "--bare", "--template=", "."])
        self._git.update_environment(
            GIT_TERMINAL_PROMPT="0",
            GIT_CONFIG_COUNT="2",
            GIT_CONFIG_KEY_0="protocol.ext.allow",
            GIT_CONFIG_VALUE_0="never",
            GIT_CONFIG_KEY_1="core.quotePath",
            GIT_CONFIG_VALUE_1="false",
        )

    def files(self, place: Place) -> dict[str, tuple[str, str]] | None:
        """Mode and id of each file of the folder; None where there is no such branch."""
        try:
            head = f"refs/heads/{place.branch}"
            if not self._git.ls_remote("--", place.repository, head):
                return None
            self._git.fetch("--quiet", "--no-tags", "--depth=1", "--", place.repository, f"+{head}:refs/stoa/tip")
            listed = str(self._git.ls_tree("-r", "-z", "--full-tree", "refs/stoa/tip"))
        except git.GitCommandError as error:
            raise NotPublished(f"`{place.shown}` cannot be read: {_reason(error, place)}") from None
        found = {}
        for entry in listed.split("\0"):
            about, _, name = entry.partition("\t")
            if name.startswith(f"{place.path}/"):
                mode, _, blob = about.split(" ")
                found[name.removeprefix(f"{place.path}/")] = (mode, blob)
        return found

    def blob(self, file: Path) -> str:
        """The id that a file's bytes have."""
        return str(self._git.hash_object("--no-filters", "--", str(file.absolute())))

    def content(self, blob: str) -> bytes:
        """The bytes of an id."""
        data = self._git.cat_file("blob", blob, stdout_as_string=False, strip_newline_in_stdout=False)
        assert isinstance(data, bytes)
        return data

"""References inside one description: followed, never fetched."""

from typing import Any
from urllib.parse import unquote

from stoa_compiler.openapi.model import Description, Problem
from stoa_compiler.openapi.pointer import MISSING, look_up
from stoa_compiler.openapi.text import one_line

MAX_HOPS = 50


class Refused(Exception):
    """The operation cannot be taken; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def resolve(description: Description, ref: str, where: str) -> tuple[Any, str]:
    """What `ref` names, and its pointer. Raises `Refused` where the file does not hold it."""
    found = description.targets.get(ref)
    if found is None:
        found = _find(description, ref, where)
        description.targets[ref] = found
    node, at = found
    return node, at


def _find(description: Description, ref: str, where: str) -> tuple[Any, str]:
    shown = one_line(ref, 120)
    if not ref.startswith("#"):
        raise Refused(
            Problem(
                where + "/$ref",
                f"`{shown}` lies outside the file",
                "Bundle the description into one file; other files and URLs are not fetched.",
            )
        )
    if ref.startswith("#/"):
        at = unquote(ref[1:])  # The pointer stands in a URL's fragment (RFC 6901, 6).
        node = look_up(description.document, at)
        if node is not MISSING:
            return node, at
    elif len(ref) > 1:
        anchored = _anchors(description).get(ref[1:])
        if anchored is not None:
            return anchored
    raise Refused(
        Problem(
            where + "/$ref",
            f"`{shown}` leads nowhere in the file",
            "Declare what it names, or mend the reference.",
        )
    )


def _anchors(description: Description) -> dict[str, tuple[Any, str]]:
    """Schemas of `components` by their `$anchor` or `$dynamicAnchor`; the first one counts."""
    known: dict[str, tuple[Any, str]] | None = description.targets.get("anchors")
    if known is None:
        known = {}
        level: list[tuple[Any, str]] = [(look_up(description.document, "/components/schemas"), "/components/schemas")]
        while level:
            below: list[tuple[Any, str]] = []
            for node, where in level:
                if isinstance(node, dict):
                    for keyword in ("$anchor", "$dynamicAnchor"):
                        if isinstance(node.get(keyword), str):
                            known.setdefault(node[keyword], (node, where))
                    children = ((str(k).replace("~", "~0").replace("/", "~1"), v) for k, v in node.items())
                    below.extend((v, f"{where}/{k}") for k, v in children)
                elif isinstance(node, list):
                    below.extend((v, f"{where}/{i}") for i, v in enumerate(node))
            level = below
        description.targets["anchors"] = known
    return known


def follow(description: Description, node: Any, where: str) -> tuple[Any, str]:
    """`node`, or what it refers to in the end, and its pointer."""
    for _ in range(MAX_HOPS):
        ref = node.get("$ref") if isinstance(node, dict) else None
        if not isinstance(ref, str):
            return node, where
        node, where = resolve(description, ref, where)
    raise Refused(
        Problem(where + "/$ref", "the reference leads back to itself", "Let one of the references be what it names.")
    )

"""A description as it was read, and an operation as it was converted."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from stoa_compiler.records import record
from stoa_schemas.calls import Request
from stoa_schemas.documents.access import SideEffects

MAX_NODES = 2_000_000
"""Values, each counted as often as aliases repeat it."""
MAX_DEPTH = 200
"""Levels that values are nested."""


class DescriptionError(Exception):
    """The bytes are not an OpenAPI description. Lines and columns count from 1; 0 where there is no place."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@record(order=True)
class Problem:
    """Something in a description that is left out, or that keeps an operation out."""

    pointer: str
    """Where in the description: a JSON pointer (RFC 6901)."""
    message: str
    """Lower case, names in backticks, what is wrong first."""
    help: str
    """What to do about it."""


@record
class OperationRef:
    """One operation of a description, before it is converted."""

    id: str
    """What `from` names: the `operationId`, or `METHOD /path` where that is missing or not unique."""
    declared_id: str | None
    """The `operationId` as it is written."""
    method: str
    """In capitals."""
    path: str
    tags: tuple[str, ...]
    summary: str | None
    deprecated: bool
    pointer: str
    """Where it lies: a JSON pointer."""


@record(slots=False)
class Description:
    """An OpenAPI description: plain values in the shape of OpenAPI 3, and its operations by id."""

    name: str
    """The file's name, for messages."""
    version: str
    """`2.0`, `3.0`, `3.1` or `3.2`."""
    title: str
    """The API's name, cleaned."""
    summary: str | None
    """What the API is for, cleaned."""
    api_version: str | None
    """The API's own version, as it is written."""
    document: Mapping[str, Any]
    operations: Mapping[str, OperationRef]
    """By id, in the file's order."""
    problems: tuple[Problem, ...]
    """What holds for no single operation: ids that are missing or stand twice, methods that are not taken."""
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Operation ids that stand more than once, each with the ids (`METHOD /path`) to use instead."""
    targets: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What references were found to point at."""


@record
class FoundExample:
    """A call that the description gives as an example; it is valid."""

    name: str
    input: Mapping[str, Any]
    """The arguments."""
    output: Any
    """The answer; None also where there is none."""
    answered: bool
    """Whether the description gives a valid answer with it."""


@record
class Converted:
    """An operation as a tool needs it."""

    operation_id: str
    """What `from` names."""
    method: str
    path: str
    title: str
    """One line for people, 80 characters at the most: the summary, or the id in words, or method and path."""
    summary: str | None
    """The description's own summary, cleaned."""
    description: str
    """What agents read, 1024 characters at the most: summary and description, cleaned; the title where both lack."""
    described: bool
    """Whether the description says anything: without it, an author should write the intent."""
    tags: tuple[str, ...]
    request: Request
    input_schema: dict[str, Any]
    """JSON Schema 2020-12; its root is a closed object without a union."""
    output_schema: dict[str, Any] | None
    """JSON Schema 2020-12, whatever its root; None where the answer has no content or no schema.

    Where an operation may answer with or without content, `null` is valid and stands for no content.
    """
    media_types: tuple[str, ...]
    """Of answers; empty where none has content."""
    examples: tuple[FoundExample, ...]
    """Calls from the description: those that the schemas accept."""
    answers: tuple[Any, ...]
    """Answers from the description that the output schema accepts, also those without a complete call."""
    side_effects: SideEffects
    """By method: what the description does not say."""
    deprecated: bool
    problems: tuple[Problem, ...]
    """What was left out of it."""

"""Convert: one operation of a description into request map, schemas and texts."""

from stoa_compiler.openapi.model import Converted, Description, Problem


def convert(description: Description, operation_id: str) -> Converted | Problem:
    """The operation as a tool needs it, or what keeps it out.

    `operation_id` is an `operationId`, or `METHOD /path` for any operation.
    """
    raise NotImplementedError

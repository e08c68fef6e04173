"""OpenAPI descriptions: read from bytes, and their operations converted into what a tool needs.

description = read(content, "sources/billing.yaml")    # raises DescriptionError
result = convert(description, "getInvoice")            # Converted, or the Problem that keeps it out
"""

from stoa_compiler.openapi.convert import convert
from stoa_compiler.openapi.model import (
    Converted,
    Description,
    DescriptionError,
    FoundExample,
    OperationRef,
    Problem,
)
from stoa_compiler.openapi.read import read

__all__ = [
    "Converted",
    "Description",
    "DescriptionError",
    "FoundExample",
    "OperationRef",
    "Problem",
    "convert",
    "read",
]

"""What every document shares: closedness, strictness, and the small types that values are made of."""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from stoa_schemas import names

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

API_VERSION = "gostoa.dev/v2"


def camel_case(name: str) -> str:
    """A field's name as documents write it: `displayName` of `display_name`."""
    first, *words = name.split("_")
    return first + "".join(word.capitalize() for word in words)


class Closed(BaseModel):
    """A mapping that takes its declared keys and no others, and never coerces a value."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=camel_case,
        populate_by_name=True,
        defer_build=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        """The model's JSON Schema, each property described by the docstring under its field."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _described(cls).items():
            field = cls.model_fields.get(name)
            if field is not None and (field.alias or name) in properties:
                properties[field.alias or name].setdefault("description", text)
        return schema


def starting(value: list[Any] | dict[str, Any]) -> Any:
    """The field's default: a collection of its own for each model, made anew, which is much faster than a deep copy."""
    return Field(default_factory=value.copy, json_schema_extra={"default": value})


@cache
def _described(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings under a model's fields, by field.

    Pydantic can read them when a class is made, which takes longer than a small compile; nobody needs them
    before a schema is written or a mistake explained.
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls in (BaseModel, Closed):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = getattr(below.value, "value", None)
                if isinstance(text, str):
                    found[field.target.id] = inspect.cleandoc(text)
    return found


Id = Annotated[str, Field(pattern=names.ID)]
OperationName = Annotated[str, Field(pattern=names.OPERATION)]
Username = Annotated[str, Field(pattern=names.USERNAME)]

Title = Annotated[str, Field(pattern=r"^\S([^\n\t]*\S)?$", min_length=1, max_length=80)]
"""One line that a person reads."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]
"""A paragraph that a person or an agent reads."""
Email = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        max_length=254,
        examples=["team@example.com"],
    ),
]
SemVer = Annotated[
    str,
    Field(
        pattern=r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
        max_length=64,
        examples=["1.4.0"],
    ),
]
"""Semantic Versioning 2.0.0."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(ms|s|m|h)$", examples=["500ms", "30s"])]
"""A length of time: `500ms`, `2s`, `5m`, `1h`."""
Rate = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$", examples=["60/minute"])]
"""So many calls in a span of time: `60/minute`."""
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", examples=["2027-03-31"])]
"""A day in UTC, ISO 8601: `2027-03-31`."""
Url = Annotated[
    str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=512, examples=["https://api.example.com/v1"])
]
"""An absolute http or https URL without user, query or fragment."""
RedirectUri = Annotated[
    str,
    Field(
        min_length=1, max_length=512, examples=["https://app.example.com/callback", "http://127.0.0.1:7777/callback"]
    ),
]
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""One part of a DNS name (RFC 1123, 2.1): at most 63 characters, the first and the last a letter or a digit."""
DnsName = Annotated[str, Field(pattern=rf"^{_LABEL}(\.{_LABEL})+$", max_length=253, examples=["acme.example"])]
"""A DNS name of at least two labels."""
HostPattern = Annotated[
    str,
    Field(
        pattern=rf"^(\*\.)?{_LABEL}(\.{_LABEL})*$",
        max_length=253,
        examples=["api.example.com", "*.example.com"],
    ),
]
"""A host name, or `*.` and a host name for every name below it."""
Cidr = Annotated[str, Field(pattern=r"^[0-9a-f.:]+/[0-9]{1,3}$", max_length=43, examples=["10.20.0.0/16"])]
SecretRef = Annotated[
    str,
    Field(
        pattern=r"^vault:[a-z0-9-]+(/[A-Za-z0-9._-]+)*#[A-Za-z0-9._-]+$",
        max_length=256,
        examples=["vault:tenants/acme/billing#api-token"],
    ),
]
"""Where a secret is kept: `vault:<path>#<key>`. The secret itself never stands in a document."""
ToolPattern = Annotated[
    str,
    Field(
        pattern=r"^(\*|[a-z][a-z0-9-]*):(\*|[a-z][a-z0-9-]*):(\*|[a-z][a-z0-9_]*)$",
        max_length=128,
        examples=["acme:billing:get_invoice", "acme:billing:*"],
    ),
]
"""A tool's canonical id, `tenant:contract:operation`, where `*` stands for one whole segment."""

JsonSchema = dict[str, Any]
"""A JSON Schema, draft 2020-12."""


def pattern_of(form: Any) -> str:
    """The regular expression of one of the forms above."""
    found = (p for m in get_args(form)[1].metadata if (p := getattr(m, "pattern", None)) is not None)
    return str(next(found))


_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def milliseconds(duration: str) -> int:
    """A `Duration` in milliseconds."""
    unit = "ms" if duration.endswith("ms") else duration[-1]
    return int(duration.removesuffix(unit)) * _UNITS[unit]


def calls_per_second(rate: str) -> float:
    """A `Rate` in calls a second."""
    calls, _, span = rate.partition("/")
    return int(calls) / _SPANS[span]


class Metadata(Closed):
    """Who the document is. It must agree with where the file lies."""

    name: Id
    """The document's name: the file's name without `.yaml`, or the tenant's folder."""


class OwnedMetadata(Metadata):
    """Who the document is, and whose."""

    tenant: Id
    """The tenant whose folder holds the file."""

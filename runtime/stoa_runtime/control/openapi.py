"""The API's own description, OpenAPI 3.1."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stoa_runtime.control import paging
from stoa_runtime.control.resources import Act, Many, Resource
from stoa_schemas import control, names

PREFIX = "/api/v1"
DOCUMENT = "/openapi.json"
"""Where the API describes itself."""
METHODS = ("GET", "HEAD")

Schema = dict[str, Any]

_SEGMENTS: Mapping[str, tuple[str, str, str]] = {
    "tenant": ("A tenant's name.", names.ID, "acme"),
    "contract": ("A contract's name.", names.ID, "billing"),
    "tool": ("A tool's wire name.", r"^[A-Za-z0-9_-]{1,64}$", "acme_billing_get_invoice"),
    "client": ("An OAuth client id.", r"^[a-z0-9.-]{1,64}$", "acme.shop"),
    "plan": ("A plan's name.", names.ID, "small"),
    "approval": ("An approval's id.", "^apr_[0-9a-f]{16}$", "apr_0123456789abcdef"),
}
"""What may stand in a path: description, form, example."""
_DESCRIPTION = """\
What this runtime serves, and who may call what, answered from the compiled bundle. One thing can be done besides
reading: an approval can be decided.

The tokens are those of the MCP endpoint, and so is the isolation: tenant and roles come from the verified token, and
what is another tenant's is answered, byte for byte, like what does not exist. Lists come in pages, in a fixed order.
Every answer is private to its caller and carries an entity tag.
"""


def document(resources: Sequence[Resource]) -> Schema:
    """The description of an API with these resources."""
    models = _models(resources)
    _, made = models_json_schema(
        [(model, "serialization") for model in models],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    schemas = {name: _tidy(schema) for name, schema in made["$defs"].items()}
    return {
        "openapi": "3.1.1",
        "info": {"title": "STOA control plane", "version": "1.0.0", "description": _DESCRIPTION},
        "servers": [{"url": PREFIX, "description": "Below the origin of the MCP endpoint."}],
        "security": [{"token": []}],
        "paths": {r.path: _path(r) for r in resources} | {DOCUMENT: _own_path()},
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token for the MCP endpoint. A 401 names the metadata that says where"
                    " to get one (RFC 9728).",
                }
            },
            "headers": _HEADERS,
            "responses": _RESPONSES,
            "schemas": dict(sorted((schemas | {"TokenError": _TOKEN_ERROR}).items())),
        },
    }


def encoded(made: Schema) -> bytes:
    """The description as a file."""
    return (json.dumps(made, indent=2, ensure_ascii=False) + "\n").encode()


def _models(resources: Sequence[Resource]) -> list[type[BaseModel]]:
    sent = (r.content.body for r in resources if isinstance(r.content, Act))
    return list(dict.fromkeys([*(r.content.model for r in resources), *sent, control.Problem]))


def _path(resource: Resource) -> Schema:
    parameters = [*_parameters(resource), *([] if isinstance(resource.content, Act) else [_IF_NONE_MATCH])]
    shown = {"$ref": f"#/components/schemas/{resource.content.model.__name__}"}
    needs = (
        "Every caller may ask; a consumer's token too."
        if resource.permission is None
        else f"Needs the permission `{resource.permission}`; a consumer's token may not ask."
    )
    described = {"summary": resource.summary, "description": needs}
    if isinstance(resource.content, Act):
        return _performing(resource, resource.content, described, parameters, shown)
    responses = {
        "304": {"$ref": "#/components/responses/NotModified"},
        "400": {"$ref": "#/components/responses/BadQuery"},
        **_always(resource.permission is not None),
    }
    if "{" in resource.path:
        responses["404"] = {"$ref": "#/components/responses/NotFound"}
    link = {"Link": {"$ref": "#/components/headers/Link"}} if isinstance(resource.content, Many) else {}
    return _operations(resource.name, described, parameters, shown, link, responses)


def _performing(resource: Resource, act: Act, described: Schema, parameters: Sequence[Schema], shown: Schema) -> Schema:
    """POST, with a body."""
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in _COMMON}
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{act.body.__name__}"}}}
    responses = {
        "200": {"description": "Done.", "headers": headers, "content": {"application/json": {"schema": shown}}},
        "400": {"$ref": "#/components/responses/BadBody"},
        "404": {"$ref": "#/components/responses/NotFound"},
        "408": {"$ref": "#/components/responses/BadBody"},
        "409": {"$ref": "#/components/responses/Conflict"},
        "413": {"$ref": "#/components/responses/BadBody"},
        "415": {"$ref": "#/components/responses/BadBody"},
        **_always(rights=True),
    }
    operation = {"operationId": resource.name, **described, "requestBody": {"required": True, "content": body}}
    return {"parameters": list(parameters), "post": operation | {"responses": dict(sorted(responses.items()))}}


def _own_path() -> Schema:
    described = {"summary": "This description", "description": "Every caller may ask; a consumer's token too."}
    responses = {
        "304": {"$ref": "#/components/responses/NotModified"},
        "400": {"$ref": "#/components/responses/BadQuery"},
        **_always(rights=False),
    }
    return _operations("openapi", described, [_IF_NONE_MATCH], {"type": "object"}, {}, responses)


def _operations(
    name: str, described: Schema, parameters: Sequence[Schema], shown: Schema, link: Schema, responses: Schema
) -> Schema:
    """GET, and HEAD with the same headers and no content."""
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in ("ETag", *_COMMON)} | link
    found = {"description": "The answer.", "headers": headers}
    made: Schema = {"parameters": list(parameters)} if parameters else {}
    content = {"application/json": {"schema": shown}}
    made["get"] = {
        "operationId": name,
        **described,
        "responses": dict(sorted(({"200": found | {"content": content}} | responses).items())),
    }
    made["head"] = {
        "operationId": f"{name}-head",
        "summary": f"{described['summary']}: the headers",
        "description": described["description"],
        "responses": dict(sorted(({"200": found} | responses).items())),
    }
    return made


def _always(rights: bool) -> Schema:
    return {
        "401": {"$ref": "#/components/responses/Unauthorized"},
        "403": {"$ref": f"#/components/responses/{'Forbidden' if rights else 'InsufficientScope'}"},
        "405": {"$ref": "#/components/responses/MethodNotAllowed"},
        "421": {"$ref": "#/components/responses/Misdirected"},
        "429": {"$ref": "#/components/responses/TooManyRequests"},
        "503": {"$ref": "#/components/responses/Unavailable"},
    }


def _parameters(resource: Resource) -> Iterator[Schema]:
    for segment in resource.path.split("/"):
        if segment.startswith("{"):
            description, pattern, example = _SEGMENTS[segment[1:-1]]
            yield _parameter("path", segment[1:-1], description, {"type": "string", "pattern": pattern}, example)
    for known in resource.filters:
        schema = {"type": "string", "pattern": known.pattern}
        yield _parameter("query", known.name, known.description, schema, known.example)
    if resource.kind is not None:
        limit = {"type": "integer", "minimum": 1, "maximum": paging.MOST, "default": paging.DEFAULT_LIMIT}
        yield _parameter("query", "limit", "Items of a page.", limit, None)
        cursor = {"type": "string", "pattern": paging.pattern(resource.kind)}
        yield _parameter("query", "cursor", "What `next` of the page before held. Its form may change.", cursor, None)


def _parameter(where: str, name: str, description: str, schema: Schema, example: str | None) -> Schema:
    made: Schema = {"name": name, "in": where, "description": description, "schema": schema}
    if where == "path":
        made["required"] = True
    return made if example is None else made | {"example": example}


def _tidy(node: Any) -> Any:
    """A schema without pydantic's titles of properties, and without null, which no answer holds."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    branches = [branch for branch in node.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == 1:
        node = branches[0] | {k: v for k, v in node.items() if k != "anyOf"}
    tidy = {k: v for k, v in node.items() if k != "title" and not (k == "default" and v is None)}
    for key, value in tidy.items():
        if key == "properties":
            tidy[key] = {name: _tidy(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "anyOf"):
            tidy[key] = _tidy(value)
    return tidy


_IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Entity tags that the caller has: 304 where the answer is one of them.",
    "schema": {"type": "string"},
}
_COMMON = ("Cache-Control", "Stoa-Bundle", "Stoa-Trace-Id", "Vary")
_HEADERS: Schema = {
    "ETag": {
        "description": "Of the bundle and of what this caller sees of it.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    },
    "Cache-Control": {
        "description": "Never for a shared cache.",
        "required": True,
        "schema": {"type": "string", "pattern": "^private, no-(cache|store)$"},
    },
    "Stoa-Bundle": {
        "description": "Digest of the bundle that the answer comes from.",
        "required": True,
        "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    },
    "Stoa-Trace-Id": {
        "description": "The trace that the audit log names; that of `traceparent` where the request has one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Vary": {
        "description": "The answer is the caller's own.",
        "required": True,
        "schema": {"type": "string", "const": "Authorization"},
    },
    "Link": {
        "description": "The next page (RFC 8288), while there is one.",
        "schema": {"type": "string"},
    },
    "Allow": {
        "description": "The methods that are served.",
        "required": True,
        "schema": {"enum": [", ".join(METHODS), "POST"]},
    },
    "WWW-Authenticate": {
        "description": "Where to sign in, and which scopes are needed (RFC 9728, RFC 6750).",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}},
}
_TOKEN_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "As in `WWW-Authenticate`."},
        "error_description": {"type": "string"},
    },
    "required": ["error"],
    "additionalProperties": False,
    "description": "What the MCP endpoint answers too, before it looks at what is asked.",
}
_PROBLEM: Schema = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_BY_GATE: Schema = {"application/json": {"schema": {"$ref": "#/components/schemas/TokenError"}}}
_CHALLENGE: Schema = {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}


def _with(*header_names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in header_names}


_RESPONSES: Schema = {
    "NotModified": {"description": "As the caller has it.", "headers": _with("ETag", *_COMMON)},
    "BadQuery": {
        "description": "The query holds a parameter that is not known, stands twice or has another form.",
        "headers": _with(*_COMMON),
        "content": _PROBLEM,
    },
    "BadBody": {
        "description": "The body is not JSON of the form that is described, or too large, or too slow; or the query is"
        " not empty.",
        "headers": _with(*_COMMON),
        "content": _PROBLEM,
    },
    "Conflict": {
        "description": "The decision does not count: it is the caller's own call, or decided already, or outdated.",
        "headers": _with(*_COMMON),
        "content": _PROBLEM,
    },
    "Unauthorized": {
        "description": "There is no token, or none that is accepted.",
        "headers": {"WWW-Authenticate": _HEADERS["WWW-Authenticate"] | {"required": True}},
        "content": _BY_GATE,
    },
    "InsufficientScope": {
        "description": "The token lacks a scope, or a browser's page of another origin asks.",
        "headers": _CHALLENGE,
        "content": _BY_GATE | {"text/plain": {"schema": {"type": "string"}}},
    },
    "Forbidden": {
        "description": "The caller's roles lack the permission; or the token lacks a scope; or a browser's page of"
        " another origin asks.",
        "headers": _CHALLENGE,
        "content": _PROBLEM | _BY_GATE | {"text/plain": {"schema": {"type": "string"}}},
    },
    "NotFound": {
        "description": "There is nothing here that the caller may see.",
        "headers": _with(*_COMMON),
        "content": _PROBLEM,
    },
    "MethodNotAllowed": {
        "description": "The resource takes other methods.",
        "headers": _with("Allow", *_COMMON),
        "content": _PROBLEM,
    },
    "Misdirected": {
        "description": "This host is not served here.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    "TooManyRequests": {
        "description": "The rate of the caller's tenant is used up, by requests to the MCP endpoint and to this API.",
        "headers": _with("Retry-After"),
        "content": _BY_GATE,
    },
    "Unavailable": {
        "description": "The issuer's keys are not known, or requests cannot be recorded or counted, or approvals not be"
        " read.",
        "headers": _with("Retry-After"),
        "content": _PROBLEM | _BY_GATE,
    },
}

"""Swagger 2.0 in the shape of OpenAPI 3.0, so that everything else knows one shape."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from stoa_compiler.openapi.pointer import MISSING, look_up

_NOT_SCHEMA = frozenset({"name", "in", "description", "required", "collectionFormat", "allowEmptyValue"})
_STYLES: Mapping[str, dict[str, Any]] = {
    "csv": {"explode": False},
    "ssv": {"style": "spaceDelimited", "explode": False},
    "pipes": {"style": "pipeDelimited", "explode": False},
    "multi": {"explode": True},
}
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


def upgrade(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with operations as OpenAPI 3.0 has them; `definitions` stay where references find them."""
    result = {k: v for k, v in document.items() if k not in ("paths", "parameters", "responses")}
    result["servers"] = _servers(document)
    paths = document.get("paths")
    if isinstance(paths, dict):
        result["paths"] = {path: _path_item(document, item) for path, item in paths.items()}
    elif paths is not None:
        result["paths"] = paths
    return result


def _servers(document: Mapping[str, Any]) -> list[dict[str, str]]:
    host, path = document.get("host"), document.get("basePath")
    path = path if isinstance(path, str) else ""
    schemes = document.get("schemes")
    known = [s for s in schemes if s in ("https", "http")] if isinstance(schemes, list) else []
    scheme = "https" if "https" in known or not known else "http"
    if isinstance(host, str) and host:
        return [{"url": f"{scheme}://{host}{path.rstrip('/')}"}]
    return [{"url": path}] if path else []


def _follow(document: Mapping[str, Any], node: Any) -> Any:
    """What `node` refers to inside the document; `node` itself where it refers elsewhere."""
    for _ in range(20):
        ref = node.get("$ref") if isinstance(node, dict) else None
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return node
        target = look_up(document, unquote(ref[1:]))
        if target is MISSING:
            return node
        node = target
    return node


def _path_item(document: Mapping[str, Any], item: Any) -> Any:
    item = _follow(document, item)
    if not isinstance(item, dict):
        return item
    common = _listed(document, item.get("parameters"))
    result = {k: v for k, v in item.items() if k != "parameters"}
    for method in _METHODS:
        if isinstance(item.get(method), dict):
            result[method] = _operation(document, item[method], common)
    return result


def _listed(document: Mapping[str, Any], parameters: Any) -> list[Any]:
    return [_follow(document, p) for p in parameters] if isinstance(parameters, list) else []


def _operation(document: Mapping[str, Any], operation: Mapping[str, Any], common: list[Any]) -> dict[str, Any]:
    own = _listed(document, operation.get("parameters"))
    merged: dict[str, Any] = {}
    for index, parameter in enumerate([*common, *own]):
        if isinstance(parameter, dict) and "$ref" not in parameter:
            # There is one body, whatever it is called.
            home = str(parameter.get("in"))
            key = home if home == "body" else f"{home} {parameter.get('name')}"
        else:
            key = f"#{index}"
        merged[key] = parameter
    parameters, form, body = [], [], None
    for parameter in merged.values():
        place = parameter.get("in") if isinstance(parameter, dict) else None
        if place == "body":
            body = parameter
        elif place == "formData":
            form.append(parameter)
        else:
            parameters.append(_parameter(parameter) if isinstance(parameter, dict) else parameter)
    result = {k: v for k, v in operation.items() if k not in ("consumes", "produces", "parameters", "responses")}
    result["parameters"] = parameters
    consumes = _media_types(operation.get("consumes", document.get("consumes")))
    produces = _media_types(operation.get("produces", document.get("produces"))) or ["application/json"]
    if body is not None:
        types = consumes or ["application/json"]
        result["requestBody"] = _body(body, types)
    elif form:
        result["requestBody"] = _form(form, consumes)
    responses = operation.get("responses")
    if isinstance(responses, dict):
        result["responses"] = {s: _response(_follow(document, r), produces) for s, r in responses.items()}
    return result


def _media_types(value: Any) -> list[str]:
    return [t for t in value if isinstance(t, str)] if isinstance(value, list) else []


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in parameter:
        return dict(parameter)
    result = {k: parameter[k] for k in ("name", "in", "description", "required") if k in parameter}
    result["schema"] = {k: v for k, v in parameter.items() if k not in _NOT_SCHEMA and not k.startswith("x-example")}
    if parameter.get("x-nullable") is True:
        result["schema"]["nullable"] = True
    if parameter.get("type") == "array":
        style = str(parameter.get("collectionFormat", "csv"))
        result.update(_STYLES.get(style, {"style": style, "explode": False}))
        if parameter.get("in") != "query":
            result.pop("explode", None)
            if style == "csv":
                result.pop("style", None)
    return result


def _body(body: Mapping[str, Any], types: list[str]) -> dict[str, Any]:
    media = {"schema": body.get("schema", {})}
    result: dict[str, Any] = {"content": dict.fromkeys(types, media)}
    for key in ("description", "required"):
        if key in body:
            result[key] = body[key]
    return result


def _form(fields: list[Mapping[str, Any]], consumes: list[str]) -> dict[str, Any]:
    properties, encoding, required = {}, {}, []
    has_file = False
    for field in fields:
        name = str(field.get("name"))
        schema = _parameter(field)["schema"]
        if schema.get("type") == "file":
            has_file = True
            schema = {"type": "string", "format": "binary"}
        if isinstance(field.get("description"), str):
            schema["description"] = field["description"]
        properties[name] = schema
        if schema.get("type") == "array":
            encoding[name] = {"style": "form", **_STYLES.get(str(field.get("collectionFormat", "csv")), {})}
        if field.get("required") is True:
            required.append(name)
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    types = [t for t in consumes if t in (_FORM, _MULTIPART)] or [_FORM]
    if has_file:
        types = [_MULTIPART]
    media: dict[str, Any] = {"schema": schema}
    if encoding:
        media["encoding"] = encoding
    return {"content": dict.fromkeys(types, media), "required": bool(required)}


def _response(response: Any, produces: list[str]) -> Any:
    if not isinstance(response, dict) or "$ref" in response:
        return response
    result = {k: v for k, v in response.items() if k not in ("schema", "examples")}
    if "schema" not in response:
        return result
    schema, examples = response["schema"], response.get("examples")
    if isinstance(schema, dict) and schema.get("type") == "file":
        types = [t for t in produces if "json" not in t] or ["application/octet-stream"]
        schema = {"type": "string", "format": "binary"}
    else:
        types = produces
    result["content"] = {
        media_type: {
            "schema": schema,
            **({"example": examples[media_type]} if isinstance(examples, dict) and media_type in examples else {}),
        }
        for media_type in types
    }
    return result

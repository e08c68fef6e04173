"""Operations into request maps, schemas, texts and examples; what is not supported keeps one operation out."""

import json
from typing import Any

import jsonschema_rs
import pytest

from stoa_compiler.openapi import Converted, Description, Problem, convert, read
from stoa_schemas.bundle import Body, Placement

OBJECT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


def describe(
    operation: Any, path: str = "/op", method: str = "post", version: str = "3.1.0", **more: Any
) -> Description:
    item = {method: operation, **more.pop("item", {})}
    document = {"openapi": version, "info": {"title": "T", "version": "1"}, "paths": {path: item}, **more}
    return read(json.dumps(document).encode(), "a.json")


def converted(operation: Any, path: str = "/op", method: str = "post", **more: Any) -> Converted:
    result = convert(describe(operation, path, method, **more), f"{method.upper()} {path}")
    assert isinstance(result, Converted), result
    return result


def problem(operation: Any, path: str = "/op", method: str = "post", **more: Any) -> Problem:
    result = convert(describe(operation, path, method, **more), f"{method.upper()} {path}")
    assert isinstance(result, Problem), result
    assert result.help
    return result


def parameter(name: str = "p", place: str = "query", schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema or {"type": "string"}, **more}


def body(schema: Any, media: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {media: {"schema": schema}}, "required": True, **more}}


def answer(schema: Any, media: str = "application/json", status: str = "200") -> dict[str, Any]:
    return {"responses": {status: {"description": "", "content": {media: {"schema": schema}}}}}


# Parameters


@pytest.mark.parametrize("explode", [True, False, None])
@pytest.mark.parametrize(
    ("place", "style", "exploded"),
    [
        ("query", None, True),
        ("query", "form", True),
        ("query", "spaceDelimited", False),
        ("query", "pipeDelimited", False),
        ("query", "deepObject", True),
        ("path", None, False),
        ("path", "simple", False),
        ("path", "label", False),
        ("path", "matrix", False),
        ("header", None, False),
        ("header", "simple", False),
        ("cookie", None, True),
        ("cookie", "form", True),
    ],
)
def test_style_and_explode_of_every_place(place: str, style: str | None, exploded: bool, explode: bool | None) -> None:
    written = parameter("p", place, {"type": "array", "items": {"type": "string"}}, required=place == "path")
    if style:
        written["style"] = style
    if explode is not None:
        written["explode"] = explode
    result = converted({"parameters": [written]}, "/op/{p}" if place == "path" else "/op", "get")
    default = {"path": "simple", "header": "simple"}.get(place, "form")
    assert result.request.arguments == {
        "p": Placement.model_validate(
            {"in": place, "name": "p", "style": style or default, "explode": exploded if explode is None else explode}
        )
    }


def test_a_style_that_the_place_cannot_have_is_noted() -> None:
    result = converted({"parameters": [parameter(style="matrix")]}, method="get")
    assert result.request.arguments["p"].style == "form"
    assert any("style of `p` is ignored" in p.message for p in result.problems)


def test_reserved_characters_may_stay() -> None:
    result = converted({"parameters": [parameter(allowReserved=True)]}, method="get")
    assert result.request.arguments["p"].allow_reserved


def test_parameter_with_content_is_written_as_json() -> None:
    written = {"name": "f", "in": "query", "content": {"application/json": {"schema": OBJECT}}}
    result = converted({"parameters": [written]}, method="get")
    placement = result.request.arguments["f"]
    assert (placement.in_, placement.content) == ("query", "application/json")
    assert result.input_schema["properties"]["f"]["required"] == ["name"]


def test_parameters_of_the_path_are_overridden_by_the_operation() -> None:
    item = {"parameters": [parameter("a"), parameter("b", description="path item")]}
    result = converted(
        {"parameters": [parameter("b", required=True, schema={"type": "integer"})]}, method="get", item=item
    )
    assert list(result.input_schema["properties"]) == ["a", "b"]
    assert result.input_schema["properties"]["b"] == {"type": "integer"}
    assert result.input_schema["required"] == ["b"]


def test_parameters_by_reference() -> None:
    components = {"parameters": {"P": parameter("page", schema={"type": "integer"})}}
    listed = [{"$ref": "#/components/parameters/P"}]
    result = converted({"parameters": listed}, method="get", components=components)
    assert result.input_schema["properties"] == {"page": {"type": "integer"}}
    assert "leads nowhere" in problem({"parameters": [{"$ref": "#/components/parameters/Q"}]}, method="get").message
    loop = {"parameters": {"P": {"$ref": "#/components/parameters/P"}}}
    assert "leads back to itself" in problem({"parameters": listed}, method="get", components=loop).message


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("path", "query"), {"id__path": "path", "id__query": "query"}),
        (("path", "body"), {"id__path": "path", "id": "body"}),
        (
            ("path", "query", "header", "body"),
            {"id__path": "path", "id__query": "query", "id__header": "header", "id": "body"},
        ),
        (("query",), {"id": "query"}),
    ],
)
def test_one_name_in_several_places(places: tuple[str, ...], names: dict[str, str]) -> None:
    operation: dict[str, Any] = {"parameters": [parameter("id", p, required=True) for p in places if p != "body"]}
    if "body" in places:
        operation |= body({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]})
    result = converted(operation, "/op/{id}" if "path" in places else "/op")
    assert {a: p.in_ for a, p in result.request.arguments.items()} == names
    assert {p.name for p in result.request.arguments.values()} == {"id"}
    assert sorted(result.input_schema["required"]) == sorted(names)


def test_a_suffixed_name_that_is_taken_gets_a_number() -> None:
    listed = [parameter("id", "path", required=True), parameter("id"), parameter("id__query")]
    result = converted({"parameters": listed}, "/op/{id}", "get")
    assert {a: (p.in_, p.name) for a, p in result.request.arguments.items()} == {
        "id__path": ("path", "id"),
        "id__query": ("query", "id__query"),
        "id__query_2": ("query", "id"),
    }


@pytest.mark.parametrize(
    ("others", "name"), [((), "body"), (("body",), "payload"), (("body", "payload"), "body__body")]
)
def test_whole_body_takes_a_free_name(others: tuple[str, ...], name: str) -> None:
    operation = {"parameters": [parameter(o) for o in others], **body({"type": "array", "items": {"type": "string"}})}
    result = converted(operation)
    assert result.request.body == Body(media_type="application/json", argument=name, required=True)
    assert result.input_schema["properties"][name] == {"type": "array", "items": {"type": "string"}}
    assert name not in result.request.arguments
    assert result.input_schema["required"] == [name]


@pytest.mark.parametrize(
    ("written", "called"),
    [("filter[state]", "filter_state"), ("$top", "top"), ("X-Trace", "X-Trace"), ("n" * 70, None), ("日本", None)],
)
def test_names_that_clients_do_not_take_are_replaced(written: str, called: str | None) -> None:
    result = converted({"parameters": [parameter(written)]}, method="get")
    ((name, placement),) = result.request.arguments.items()
    assert placement.name == written
    assert name == called or (called is None and len(name) <= 64 and name.isascii())


@pytest.mark.parametrize(
    "header", ["Accept", "content-type", "Authorization", "Host", "X-Forwarded-Host", "traceparent"]
)
def test_headers_that_a_call_may_not_choose_are_left_out(header: str) -> None:
    result = converted({"parameters": [parameter(header, "header"), parameter("X-Ok", "header")]}, method="get")
    assert list(result.request.arguments) == ["X-Ok"]


def test_a_required_header_that_a_call_may_not_choose_keeps_it_out() -> None:
    assert "`Host`" in problem({"parameters": [parameter("Host", "header", required=True)]}, method="get").message
    assert "choose" in problem({"parameters": [parameter("a b:c", "header", required=True)]}, method="get").message


def test_parameters_that_carry_a_credential_are_left_out() -> None:
    schemes = {"k": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}
    listed = [parameter("x-api-key", "header", required=True), parameter("q")]
    result = converted({"parameters": listed}, method="get", components={"securitySchemes": schemes})
    assert list(result.request.arguments) == ["q"]
    assert any("credential" in p.message for p in result.problems)


def test_path_and_its_parameters_must_agree() -> None:
    listed = [parameter("gone", "path", required=True)]
    result = converted({"parameters": listed}, "/op/{id}", "get")
    assert result.input_schema["properties"] == {"id": {"type": "string", "minLength": 1}}
    assert result.input_schema["required"] == ["id"]
    assert len(result.problems) == 3  # the two parts of the path, and the answers that are not declared


@pytest.mark.parametrize(
    "path", ["/a?x=1", "/a#b", "/a/../b", "/a/{", "/a/{}", "/a b", "/a\\b", "/\u00e9", "/%2e%2e/a", "/" + "a" * 600]
)
def test_paths_that_cannot_be_filled_are_refused(path: str) -> None:
    assert "is not a path that can be filled" in problem({}, path, "get").message


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"name": "p", "in": "nowhere"}, "is in `nowhere`"),
        ({"name": "p", "in": "querystring", "content": {}}, "is in `querystring`"),
        ({"in": "query"}, "no name"),
        ("text", "no name"),
        ({"name": "p", "in": "query", "required": True, "content": {"text/csv": {}}}, "written as `text/csv`"),
        ({"name": "p", "in": "query", "required": True, "schema": False}, "no value at all"),
        ({"name": "p\u200b", "in": "query"}, "cannot be seen"),
    ],
)
def test_parameters_that_are_not_supported(written: Any, words: str) -> None:
    assert words in problem({"parameters": [written]}, method="get").message


# Bodies


def test_object_bodies_become_arguments() -> None:
    result = converted(body(OBJECT))
    assert result.input_schema == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    assert result.request.body == Body(media_type="application/json", required=True)
    assert result.request.arguments["age"] == Placement(in_="body", name="age")


def test_object_bodies_over_references_and_all_of_become_arguments() -> None:
    schemas = {
        "Base": {
            "type": "object",
            "properties": {"id": {"type": "string", "readOnly": True}, "name": {"type": "string"}},
        },
        "Pet": {
            "allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id", "name"], "properties": {"age": {}}}]
        },
    }
    result = converted(body({"$ref": "#/components/schemas/Pet"}), components={"schemas": schemas})
    assert sorted(result.input_schema["properties"]) == ["age", "name"]
    assert result.input_schema["required"] == ["name"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"type": "string"},
        {"oneOf": [OBJECT, {"type": "object", "properties": {"x": {}}}]},
        {"anyOf": [OBJECT]},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object"},
        {**OBJECT, "minProperties": 1},
        {"allOf": [OBJECT, {"oneOf": [{"required": ["age"]}]}]},
        {},
    ],
)
def test_other_bodies_are_one_argument(schema: Any) -> None:
    result = converted(body(schema))
    assert list(result.input_schema["properties"]) == ["body"]
    assert set(result.input_schema) <= {"type", "properties", "required", "additionalProperties", "$defs"}
    assert result.request.arguments == {}
    assert result.request.body is not None
    assert result.request.body.argument == "body"


def test_a_closed_empty_body_takes_nothing() -> None:
    result = converted(body({"type": "object", "additionalProperties": False}))
    assert result.input_schema["properties"] == {}
    assert result.request.body == Body(media_type="application/json", required=True)


def test_an_optional_body_is_whole_or_absent() -> None:
    schema = {"type": "object", "properties": {k: {} for k in "abc"}, "required": ["a", "b"]}
    result = converted(body(schema, required=False))
    accepts = jsonschema_rs.Draft202012Validator(result.input_schema).is_valid
    assert result.request.body == Body(media_type="application/json", required=False)
    assert accepts({})
    assert accepts({"a": 1, "b": 1})
    assert not any(accepts(v) for v in ({"a": 1}, {"b": 1}, {"c": 1}, {"a": 1, "c": 1}, {"b": 1, "c": 1}))
    assert accepts({"a": 1, "b": 1, "c": 1})


def test_form_fields_say_how_they_are_written() -> None:
    schema = {
        "type": "object",
        "properties": {
            "q": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "o": {"type": "object"},
        },
    }
    operation = body(schema, "application/x-www-form-urlencoded")
    operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["encoding"] = {"tags": {"explode": False}}
    result = converted(operation)
    assert result.request.body == Body(media_type="application/x-www-form-urlencoded", required=True)
    assert result.request.arguments == {
        "q": Placement(in_="body", name="q", style="form", explode=True),
        "tags": Placement(in_="body", name="tags", style="form", explode=False),
        "o": Placement(in_="body", name="o", style="form", explode=False, content="application/json"),
    }
    assert "plain list of fields" in problem(body({"type": "array"}, "application/x-www-form-urlencoded")).message


@pytest.mark.parametrize(
    ("media", "sent"),
    [
        (["application/xml", "application/json"], "application/json"),
        (["multipart/form-data", "application/json"], "application/json"),
        (["application/x-www-form-urlencoded", "application/vnd.api+json"], "application/vnd.api+json"),
        (["application/json; charset=utf-8"], "application/json"),
        (["*/*"], "application/json"),
        (["text/plain"], "text/plain"),
    ],
)
def test_the_most_structured_media_type_is_sent(media: list[str], sent: str) -> None:
    operation = {"requestBody": {"content": {m: {"schema": {"type": "string"}} for m in media}}}
    result = converted(operation)
    assert result.request.body is not None
    assert result.request.body.media_type == sent


@pytest.mark.parametrize(
    ("media", "words"),
    [
        ("multipart/form-data", "multipart"),
        ("application/octet-stream", "not JSON"),
        ("image/png", "not JSON"),
        ("application/xml", "not JSON"),
    ],
)
def test_bodies_that_are_not_supported(media: str, words: str) -> None:
    found = problem(body({"type": "string", "format": "binary"}, media))
    assert words in found.message
    assert found.pointer == "/paths/~1op/post/requestBody/content"


def with_bytes(operation: Any, method: str = "post", **more: Any) -> Converted:
    result = convert(describe(operation, "/op", method, **more), f"{method.upper()} /op", "base64")
    assert isinstance(result, Converted), result
    return result


@pytest.mark.parametrize("media", ["application/octet-stream", "image/png", "application/xml", "text/csv"])
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_bytes_are_one_base64_argument_when_asked(media: str, version: str) -> None:
    content = body({"type": "string", "format": "binary"}, media, description="The map.")
    result = with_bytes(content, version=version)
    assert result.request.body == Body(media_type=media, argument="body", base64=True, required=True)
    assert result.input_schema["required"] == ["body"]
    assert result.input_schema["properties"]["body"] == {
        "type": "string",
        "contentEncoding": "base64",
        "contentMediaType": media,
        "description": "The map.\n\nBytes, as base64.",
    }


@pytest.mark.parametrize("media", ["image/*", "multipart/mixed"])
def test_bytes_of_no_certain_type_are_not_taken(media: str) -> None:
    found = convert(describe(body({"type": "string", "format": "binary"}, media)), "POST /op", "base64")
    assert isinstance(found, Problem)
    assert "cannot be made of arguments" in found.message


def test_files_of_a_multipart_form_are_base64_when_asked() -> None:
    schema = {
        "type": "object",
        "required": ["scan", "vessel"],
        "properties": {
            "vessel": {"type": "string"},
            "scan": {"type": "string", "format": "binary", "description": "Front and back."},
            "pages": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": 3},
            "stamp": {},
            "token": {"type": "string", "contentEncoding": "base64"},
            "about": {"type": "object", "properties": {"year": {"type": "integer"}}},
        },
    }
    encoding = {"stamp": {"contentType": "image/png, image/jpeg"}}
    operation = {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}
    }
    result = with_bytes(operation)
    assert result.request.body == Body(media_type="multipart/form-data", required=True)
    files = {name: place.file for name, place in result.request.arguments.items()}
    octets = "application/octet-stream"
    assert files == {
        "vessel": None,
        "scan": octets,
        "pages": octets,
        "stamp": "image/png",
        "token": None,
        "about": None,
    }
    properties = result.input_schema["properties"]
    assert properties["scan"]["description"] == "Front and back.\n\nThe file's bytes, as base64."
    assert properties["pages"]["items"]["contentEncoding"] == "base64"
    assert properties["pages"]["maxItems"] == 3
    assert "format" not in properties["scan"]
    assert result.input_schema["required"] == ["vessel", "scan"]


@pytest.mark.parametrize(
    ("operation", "media"),
    [
        (answer({"type": "string", "format": "binary"}, "image/png"), ("image/png",)),
        (answer({}, "image/*"), ("image/*",)),
        (
            {
                "responses": {
                    **answer({"type": "object"})["responses"],
                    **answer({}, "application/pdf", "206")["responses"],
                }
            },
            ("application/json", "application/pdf"),
        ),
    ],
)
def test_answers_of_bytes_have_no_schema(operation: Any, media: tuple[str, ...]) -> None:
    result = with_bytes(operation, "get")
    assert result.output_schema is None
    assert result.media_types == media


def test_events_are_no_answer_even_when_bytes_are_asked_for() -> None:
    assert isinstance(convert(describe(answer({}, "text/event-stream"), method="get"), "GET /op", "base64"), Problem)


def test_servers_of_its_own_are_noted() -> None:
    elsewhere = [{"url": "https://other.example"}]
    for operation, item in (({"servers": elsewhere}, {}), ({}, {"servers": elsewhere})):
        result = converted(operation, item=item, servers=[{"url": "https://api.example"}])
        assert [p.message for p in result.problems if "servers" in p.pointer] == [
            "its own servers are ignored, calls go to the contract's backend: `https://other.example`"
        ]
    assert not [p for p in converted({"servers": elsewhere}, servers=elsewhere).problems if "servers" in p.pointer]


# Answers


@pytest.mark.parametrize(
    ("responses", "schema", "media"),
    [
        (answer({"type": "array"}), {"type": "array", "items": {}}, ("application/json",)),
        (answer({"type": "integer"}), {"type": "integer"}, ("application/json",)),
        ({"responses": {"204": {"description": ""}}}, None, ()),
        (answer({"type": "object"}, status="default"), {"type": "object"}, ("application/json",)),
        (answer({"type": "object"}, status="2XX"), {"type": "object"}, ("application/json",)),
        ({"responses": {"200": {"description": ""}, **answer({}, status="default")["responses"]}}, None, ()),
        (answer({"type": "string"}, "text/plain"), {"type": "string"}, ("text/plain",)),
        (answer({}, "application/problem+json"), {}, ("application/problem+json",)),
        (answer({"type": "object"}, "*/*"), {"type": "object"}, ("application/json",)),
        (answer(True), None, ("application/json",)),
        ({"responses": {"200": {"description": "", "content": {"application/json": {}}}}}, None, ("application/json",)),
        (
            {"responses": {**answer({"type": "object"})["responses"], "204": {"description": ""}}},
            {"anyOf": [{"type": "object"}, {"type": "null"}]},
            ("application/json",),
        ),
        (
            {
                "responses": {
                    **answer({"type": "object"})["responses"],
                    **answer({"type": "array"}, status="201")["responses"],
                }
            },
            {"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]},
            ("application/json",),
        ),
        ({}, None, ("application/json",)),
    ],
)
def test_answers(responses: Any, schema: Any, media: tuple[str, ...]) -> None:
    result = converted(responses, method="get")
    assert result.output_schema == schema
    assert result.media_types == media


def test_the_root_of_an_answer_shows_whether_it_is_an_object() -> None:
    schemas = {
        "A": {"allOf": [{"$ref": "#/components/schemas/B"}, {"properties": {"x": {}}}]},
        "B": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/A"}}},
    }
    result = converted(answer({"$ref": "#/components/schemas/A"}), method="get", components={"schemas": schemas})
    assert result.output_schema is not None
    assert result.output_schema["type"] == "object"
    assert sorted(result.output_schema["$defs"]) == ["A", "B"]


@pytest.mark.parametrize("media", ["image/png", "application/octet-stream", "text/event-stream", "application/pdf"])
def test_answers_that_are_not_supported(media: str) -> None:
    assert "neither JSON nor text" in problem(answer({}, media), method="get").message


# Texts, examples and the rest


@pytest.mark.parametrize(
    ("operation", "title", "text", "described"),
    [
        ({"summary": "List pets", "description": "All of them."}, "List pets", "List pets. All of them.", True),
        ({"summary": "List pets."}, "List pets.", "List pets.", True),
        ({"description": "All of them."}, "Get pet list", "All of them.", True),
        ({"summary": "List", "description": "List of pets."}, "List", "List of pets.", True),
        ({}, "Get pet list", "Get pet list", False),
        ({"operationId": None}, "GET /op", "GET /op", False),
        ({"summary": "A\u200bB\n {{C}}\U000e0041"}, "AB { {C} }", "AB { {C} }", True),
    ],
)
def test_texts(operation: Any, title: str, text: str, described: bool) -> None:
    result = converted({"operationId": "getPetList", **operation}, method="get")
    assert (result.title, result.description, result.described) == (title, text, described)


def test_long_texts_end_with_a_sentence() -> None:
    result = converted({"summary": "word " * 60, "description": "One sentence here. " * 200}, method="get")
    assert len(result.title) <= 80
    assert len(result.description) <= 1024
    assert result.description.endswith("here.")


@pytest.mark.parametrize(
    ("method", "effects"),
    [
        ("get", "read"),
        ("head", "read"),
        ("options", "read"),
        ("post", "write"),
        ("put", "write"),
        ("patch", "write"),
        ("delete", "destructive"),
    ],
)
def test_side_effects_follow_the_method(method: str, effects: str) -> None:
    assert converted({"deprecated": True}, method=method).side_effects == effects


def test_examples_are_those_that_the_schemas_accept() -> None:
    operation = {
        "parameters": [parameter("id", "path", required=True, example="a1")],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": OBJECT,
                    "examples": {
                        "smallPet": {"value": {"name": "Rex"}},
                        "wrong": {"value": {"name": 3}},
                        "shared": {"$ref": "#/components/examples/S"},
                    },
                }
            },
        },
        "responses": {
            "200": {
                "description": "",
                "content": {
                    "application/json": {
                        "schema": OBJECT,
                        "examples": {"smallPet": {"value": {"name": "Rex"}}, "bad": {"value": []}},
                    }
                },
            }
        },
    }
    components = {"examples": {"S": {"value": {"name": "Ada", "age": 3}}}}
    result = converted(operation, "/op/{id}", components=components)
    assert [(e.name, e.input, e.output, e.answered) for e in result.examples] == [
        ("Small pet", {"id": "a1", "name": "Rex"}, {"name": "Rex"}, True),
        ("Shared", {"id": "a1", "name": "Ada", "age": 3}, {"name": "Rex"}, True),
    ]
    assert result.answers == ({"name": "Rex"},)


def test_large_examples_stay_out_of_catalogs() -> None:
    for size, kept in ((100, True), (30_000, False)):
        content = {"application/json": {"schema": {"type": "string"}, "example": "x" * size}}
        result = converted(
            {
                "requestBody": {"required": True, "content": content},
                "responses": {"200": {"description": "", "content": content}},
            }
        )
        assert bool(result.answers) is kept
        assert bool(result.examples) is kept


def test_duplicate_ids_are_told_apart_by_method_and_path() -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1"},
        "paths": {
            "/a": {"get": {"operationId": "x"}, "put": {"operationId": "X"}},
            "/b": {"get": {"operationId": "x"}},
        },
    }
    description = read(json.dumps(document).encode(), "a.json")
    twice = convert(description, "x")
    assert isinstance(twice, Problem)
    assert "GET /a" in twice.help
    for operation_id, path in (("GET /a", "/a"), ("GET /b", "/b"), ("X", "/a"), ("PUT /a", "/a")):
        result = convert(description, operation_id)
        assert isinstance(result, Converted)
        assert result.path == path


def test_an_unknown_id_names_the_nearest() -> None:
    result = convert(describe({"operationId": "getPets"}, method="get"), "getPet")
    assert isinstance(result, Problem)
    assert result.help == "Is `getPets` meant?"


def test_one_bad_operation_leaves_the_others() -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1"},
        "paths": {
            "/bad": {"get": {"operationId": "bad", "parameters": [{"$ref": "elsewhere.yaml"}]}},
            "/odd": {"get": {"operationId": "odd", "parameters": "x", "responses": []}},
            "/good": {"get": {"operationId": "good"}},
        },
    }
    description = read(json.dumps(document).encode(), "a.json")
    assert isinstance(convert(description, "bad"), Problem)
    assert isinstance(convert(description, "odd"), Problem)
    assert isinstance(convert(description, "good"), Converted)


# Swagger 2.0


def swagger(operation: Any, method: str = "post", path: str = "/op", **more: Any) -> Converted | Problem:
    document = {"swagger": "2.0", "info": {"title": "T", "version": "1"}, "paths": {path: {method: operation}}, **more}
    return convert(read(json.dumps(document).encode(), "a.json"), f"{method.upper()} {path}")


@pytest.mark.parametrize(
    ("collection", "style", "explode"),
    [
        (None, "form", False),
        ("csv", "form", False),
        ("multi", "form", True),
        ("ssv", "spaceDelimited", False),
        ("pipes", "pipeDelimited", False),
    ],
)
def test_collection_formats_become_styles(collection: str | None, style: str, explode: bool) -> None:
    written = {"name": "p", "in": "query", "type": "array", "items": {"type": "string"}}
    if collection:
        written["collectionFormat"] = collection
    result = swagger({"parameters": [written]}, "get")
    assert isinstance(result, Converted)
    assert result.request.arguments["p"] == Placement(in_="query", name="p", style=style, explode=explode)


def test_tab_separated_items_are_not_supported() -> None:
    written = {"name": "p", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "tsv"}
    result = swagger({"parameters": [written]}, "get")
    assert isinstance(result, Problem)
    assert "tabs" in result.message


def test_swagger_bodies_forms_and_answers() -> None:
    definitions = {
        "Pet": {
            "type": "object",
            "properties": {"name": {"type": "string", "x-nullable": True}, "in": {"$ref": "#/definitions/Pet"}},
        }
    }
    operation = {
        "parameters": [{"$ref": "#/parameters/Body"}, {"name": "n", "in": "query", "type": "integer", "maximum": 5}],
        "responses": {
            "200": {
                "description": "",
                "schema": {"$ref": "#/definitions/Pet"},
                "examples": {"application/json": {"name": "Rex"}},
            }
        },
    }
    shared = {"Body": {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}}
    result = swagger(operation, definitions=definitions, parameters=shared)
    assert isinstance(result, Converted)
    assert result.input_schema["properties"]["name"] == {"type": ["string", "null"]}
    assert result.input_schema["properties"]["n"] == {"type": "integer", "maximum": 5}
    assert list(result.input_schema["$defs"]) == ["Pet"]
    assert result.answers == ({"name": "Rex"},)
    form = swagger(
        {"parameters": [{"name": "a", "in": "formData", "type": "string", "required": True, "description": "d"}]}
    )
    assert isinstance(form, Converted)
    assert form.request.body == Body(media_type="application/x-www-form-urlencoded", required=True)
    assert form.input_schema["properties"]["a"] == {"type": "string", "description": "d"}
    upload = swagger({"parameters": [{"name": "f", "in": "formData", "type": "file"}]})
    assert isinstance(upload, Problem)
    download = swagger({"responses": {"200": {"description": "", "schema": {"type": "file"}}}}, "get")
    assert isinstance(download, Problem)

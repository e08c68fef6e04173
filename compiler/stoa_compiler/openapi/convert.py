"""Convert: one operation of a description into request map, schemas and texts.

One operation that cannot be taken never touches another: it becomes a `Problem`. What can be left out of an
operation without changing a call's meaning is left out, and noted in `Converted.problems`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema_rs
import orjson

from stoa_compiler.characters import hidden_character
from stoa_compiler.diagnostics import nearest
from stoa_compiler.openapi.model import Converted, Description, FoundExample, OperationRef, Problem
from stoa_compiler.openapi.pointer import look_up, pointer
from stoa_compiler.openapi.references import Refused, follow
from stoa_compiler.openapi.schema import (
    Schema,
    SchemaWriter,
    assemble,
    check,
    opened,
    plain_object,
)
from stoa_compiler.openapi.text import clean, one_line, words
from stoa_schemas.calls import OWN_HEADERS, Body, Placement, Request
from stoa_schemas.documents.access import SideEffects

SIDE_EFFECTS: Mapping[str, SideEffects] = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "POST": "write",
    "PUT": "write",
    "PATCH": "write",
    "DELETE": "destructive",
}
"""What a method may do (RFC 9110, 9.2); an author who knows better says so in the contract."""

MAX_ARGUMENTS = 200
MAX_TITLE = 80
MAX_DESCRIPTION = 1024
MAX_EXAMPLES = 3
MAX_EXAMPLE_BYTES = 20_000
"""Of a call or an answer: examples are part of every catalog."""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

MULTIPART = "multipart/form-data"
BYTES = "application/octet-stream"

Binary = Literal["exclude", "base64"]
Place = Literal["path", "query", "header", "cookie"]
_DEFAULT_STYLE: Mapping[str, str] = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_STYLES: Mapping[str, frozenset[str]] = {
    "path": frozenset({"simple", "label", "matrix"}),
    "query": frozenset({"form", "spaceDelimited", "pipeDelimited", "deepObject"}),
    "header": frozenset({"simple"}),
    "cookie": frozenset({"form"}),
}
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})
"""OpenAPI says itself that parameters of these names are ignored."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What clients accept as a property's name at the root of an input schema."""
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_MEDIA = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


@dataclass(slots=True)
class _Argument:
    """One argument, before names are settled."""

    name: str
    """The name in the request."""
    place: Literal["path", "query", "header", "cookie", "body"]
    schema: Any
    required: bool
    placement: Placement | None
    """None: the whole body."""
    candidates: Mapping[str, Any] = field(default_factory=dict)
    """Example values by the example's name."""
    final: str = ""


def convert(description: Description, operation_id: str, binary: Binary = "exclude") -> Converted | Problem:
    """The operation as a tool needs it, or what keeps it out.

    `operation_id` is an `operationId`, or `METHOD /path` for any operation. With `binary` as `base64`, multipart
    bodies and bytes are taken.
    """
    found = find(description, operation_id)
    if isinstance(found, Problem):
        return found
    try:
        return _Conversion(description, found, binary == "base64").convert()
    except Refused as refused:
        return refused.problem


def find(description: Description, operation_id: str) -> OperationRef | Problem:
    """The operation of that id."""
    found = description.operations.get(operation_id)
    if found is None:
        method, _, path = operation_id.partition(" ")
        found = next((o for o in description.operations.values() if (o.method, o.path) == (method, path)), None)
    if found is not None:
        return found
    shown = one_line(operation_id, 80)
    if operation_id in description.ambiguous:
        instead = ", ".join(f"`{i}`" for i in description.ambiguous[operation_id][:4])
        return Problem("/paths", f"the operationId `{shown}` stands more than once", f"Name the one meant: {instead}.")
    close = nearest(operation_id, list(description.operations))
    hint = f"Is `{close}` meant?" if close else "Name an operation of the description by its `operationId`."
    return Problem("/paths", f"`{description.name}` has no operation `{shown}`", hint)


class _Conversion:
    """One operation on its way."""

    def __init__(self, description: Description, ref: OperationRef, takes_bytes: bool) -> None:
        self.description = description
        self.ref = ref
        self.takes_bytes = takes_bytes
        self.operation: Mapping[str, Any] = look_up(description.document, ref.pointer)
        self.problems: list[Problem] = []
        self.request = SchemaWriter(description, "request")
        self.examples: dict[str, dict[str, Any]] = {}

    def convert(self) -> Converted:
        ref = self.ref
        self._servers()
        arguments = self._parameters()
        body, fields = self._body()
        arguments += fields
        if len(arguments) > MAX_ARGUMENTS:
            raise Refused(
                Problem(
                    ref.pointer,
                    f"{len(arguments)} arguments; at most {MAX_ARGUMENTS} are taken",
                    "Declare the operation in the contract with the arguments that agents need.",
                )
            )
        self._name(arguments)
        whole = next((a for a in arguments if a.placement is None), None)
        if body is not None and whole is not None:
            body = body.model_copy(update={"argument": whole.final})
        input_schema = self._input_schema(arguments, body)
        output_schema, media_types, outputs = self._answer()
        placements = {a.final: a.placement for a in arguments if a.placement is not None}
        title, summary, text, described = self._texts()
        examples, answers = self._examples(arguments, input_schema, output_schema, outputs)
        return Converted(
            operation_id=ref.id,
            method=ref.method,
            path=ref.path,
            title=title,
            summary=summary,
            description=text,
            described=described,
            tags=ref.tags,
            request=Request(method=ref.method, path=ref.path, arguments=placements, body=body),
            input_schema=input_schema,
            output_schema=output_schema,
            media_types=media_types,
            examples=examples,
            answers=answers,
            side_effects=SIDE_EFFECTS[ref.method],
            deprecated=ref.deprecated,
            problems=tuple(dict.fromkeys([*self.problems, *self.request.problems])),
        )

    def _servers(self) -> None:
        """Notes servers of its own: one contract has one backend."""
        steps = self.ref.pointer.rpartition("/")[0]
        item = look_up(self.description.document, steps)
        everywhere = self.description.document.get("servers")
        for holder, at in ((item, steps), (self.operation, self.ref.pointer)):
            own = holder.get("servers")
            if own and own != everywhere:
                first = own[0].get("url") if isinstance(own, list) and isinstance(own[0], dict) else None
                shown = f": `{one_line(first, 120)}`" if isinstance(first, str) else ""
                self._note(
                    f"{at}/servers",
                    f"its own servers are ignored, calls go to the contract's backend{shown}",
                    "Import what has another server as a contract of its own, with --backend.",
                )

    # Texts

    def _texts(self) -> tuple[str, str | None, str, bool]:
        summary = clean(self.operation.get("summary"), MAX_TITLE)
        summary = " ".join(summary.split()) if summary else None
        long = clean(self.operation.get("description"), MAX_DESCRIPTION)
        title = summary or humanised(self.ref)
        if summary and long and not long.startswith(summary.rstrip(".")):
            joint = summary if summary.endswith((".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")) else summary + "."
            text = clean(f"{joint} {long}", MAX_DESCRIPTION) or title
        else:
            text = long or summary or title
        return title, summary, text, bool(long or summary)

    # Parameters

    def _parameters(self) -> list[_Argument]:
        found: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
        steps = self.ref.pointer.rpartition("/")[0]
        item = look_up(self.description.document, steps)
        for holder, at in ((item, steps), (self.operation, self.ref.pointer)):
            listed = holder.get("parameters") or []
            if not isinstance(listed, list):
                raise Refused(Problem(f"{at}/parameters", "`parameters` is not a list", "Write a list of parameters."))
            for index, entry in enumerate(listed):
                node, where = follow(self.description, entry, f"{at}/parameters/{index}")
                if not isinstance(node, dict) or not isinstance(node.get("name"), str):
                    raise Refused(Problem(where, "the parameter has no name", "Give it `name` and `in`."))
                place, name = node.get("in"), node["name"]
                key = (str(place), name.lower() if place == "header" else name)
                found[key] = (node, where)
        template = _template_names(self.ref, self.ref.pointer)
        arguments = []
        for (place, name), (node, where) in found.items():
            if place == "path" and name not in template:
                self._note(where, f"the path parameter `{one_line(name, 60)}` is left out: the path has no such part")
                continue
            argument = self._parameter(place, node, where)
            if argument is not None:
                arguments.append(argument)
        for name in template:
            if ("path", name) not in found:
                self._note(
                    self.ref.pointer, f"the path's part `{one_line(name, 60)}` is not declared; any text is taken"
                )
                placement = Placement(in_="path", name=name, style="simple")
                arguments.append(_Argument(name, "path", {"type": "string", "minLength": 1}, True, placement))
        return arguments

    def _parameter(self, place: str, node: Mapping[str, Any], where: str) -> _Argument | None:
        name: str = node["name"]
        shown = one_line(name, 60)
        required = place == "path" or node.get("required") is True
        if place not in _STYLES:
            raise Refused(
                Problem(
                    where,
                    f"the parameter `{shown}` is in `{one_line(str(place), 20)}`",
                    "It can be in path, query, header or cookie.",
                )
            )
        if not name or hidden_character(name):
            raise Refused(Problem(where, "the parameter's name cannot be seen as a whole", "Give it a plain name."))
        if self._is_credential(place, name):
            self._note(
                where,
                f"`{shown}` is left out: it carries a credential",
                "Declare it as `backend.auth` in the contract.",
            )
            return None
        if place == "header":
            lowered = name.lower()
            if lowered in _IGNORED_HEADERS:
                self._note(where, f"the header `{shown}` is left out: the platform writes it itself")
                return None
            if lowered in OWN_HEADERS or not _TOKEN.fullmatch(name):
                self._cannot(where, required, f"the header `{shown}` is not one that a call may choose")
                return None
        if place == "cookie" and not _TOKEN.fullmatch(name):
            self._cannot(where, required, f"`{shown}` is not a cookie's name")
            return None
        schema_at, schema_node, content = f"{where}/schema", node.get("schema", {}), None
        if isinstance(node.get("content"), dict) and node["content"]:
            media, media_node = next(iter(node["content"].items()))
            if not _is_json(media):
                self._cannot(where, required, f"`{shown}` is written as `{one_line(media, 60)}`")
                return None
            content = JSON
            schema_at = f"{where}/content/{pointer(media)[1:]}/schema"
            media_node = media_node if isinstance(media_node, dict) else {}
            schema_node = media_node.get("schema", {})
            node = {**media_node, **node}
        style, explode = self._style(place, node, where, shown)
        schema = self.request.write(schema_node, schema_at)
        schema = {} if schema is True else schema
        if schema is False:
            self._cannot(where, required, f"`{shown}` takes no value at all")
            return None
        text = clean(node.get("description"), 500)
        if text:
            schema = {**schema, "description": text}
        if node.get("deprecated") is True:
            schema = {**schema, "deprecated": True}
        placement = Placement(
            in_=place,  # type: ignore[arg-type]
            name=name,
            style=style,  # type: ignore[arg-type]
            explode=explode,
            allow_reserved=place == "query" and node.get("allowReserved") is True,
            content=content,
        )
        candidates = self._values(node, where)
        if not candidates and isinstance(schema.get("examples"), list):
            candidates = {"": schema["examples"][0]}
        return _Argument(name, place, schema, required, placement, candidates)  # type: ignore[arg-type]

    def _style(self, place: str, node: Mapping[str, Any], where: str, shown: str) -> tuple[str, bool]:
        style = node.get("style", _DEFAULT_STYLE[place])
        if style not in _STYLES[place] if isinstance(style, str) else True:
            if style == "tsv":
                raise Refused(
                    Problem(where, f"`{shown}` is written with tabs between its items", "Declare another format.")
                )
            self._note(f"{where}/style", f"the style of `{shown}` is ignored: a {place} parameter cannot have it")
            style = _DEFAULT_STYLE[place]
        explode = node.get("explode")
        return style, explode if isinstance(explode, bool) else style in ("form", "deepObject")

    def _cannot(self, where: str, required: bool, message: str) -> None:
        """Leaves an optional parameter out; without a required one, the operation cannot be called."""
        if required:
            raise Refused(Problem(where, message, "The parameter is required, so the operation is left out."))
        self._note(where, f"{message}; it is left out")

    def _is_credential(self, place: str, name: str) -> bool:
        components = self.description.document.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        if self.description.version == "2.0":
            schemes = self.description.document.get("securityDefinitions")
        return isinstance(schemes, dict) and any(
            isinstance(s, dict)
            and s.get("type") == "apiKey"
            and s.get("in") == place
            and isinstance(s.get("name"), str)
            and (s["name"].lower() == name.lower() if place == "header" else s["name"] == name)
            for s in schemes.values()
        )

    # Body

    def _body(self) -> tuple[Body | None, list[_Argument]]:
        at = f"{self.ref.pointer}/requestBody"
        if "requestBody" not in self.operation:
            return None, []
        node, where = follow(self.description, self.operation["requestBody"], at)
        content = node.get("content") if isinstance(node, dict) else None
        if not isinstance(content, dict) or not content:
            self._note(where, "the body has no content; it is left out")
            return None, []
        required = node.get("required") is True
        media = self._request_media(content, where)
        media_at = f"{where}/content/{pointer(media)[1:]}"
        holder = content[media] if isinstance(content[media], dict) else {}
        essence = _essence(media)
        media_type = JSON if essence in ("*/*", "application/*") else essence
        schema_node, schema_at = holder.get("schema", {}), f"{media_at}/schema"
        values = self._values(holder, media_at)
        if self.takes_bytes and self._is_bytes(content[media], essence, media_at):
            schema: Any = {"type": "string", "contentEncoding": "base64", "contentMediaType": media_type}
            text = clean(node.get("description"), 500)
            schema["description"] = f"{text}\n\nBytes, as base64." if text else "The bytes to send, as base64."
            whole = _Argument("body", "body", schema, required, None)
            return Body(media_type=media_type, base64=True, required=required), [whole]
        if _is_json(essence) or media_type in (JSON, FORM, MULTIPART):
            plain = plain_object(self.description, schema_node, schema_at) if schema_node else None
            if plain is not None:
                concealed = self.request.names(schema_node, schema_at).concealed
                encodings = holder.get("encoding")
                encoding = encodings if isinstance(encodings, dict) else {}
                fields = []
                for name, parts in plain.properties.items():
                    if name in concealed or hidden_character(name):
                        continue
                    file = self._file(parts, encoding.get(name)) if media_type == MULTIPART else None
                    written = [self.request.write(schema, place) for schema, place in parts]
                    schema = written[0] if len(written) == 1 else {"allOf": written}
                    if file is not None:
                        schema = _as_base64(schema, file)
                        placement = Placement(in_="body", name=name, file=file)
                    elif media_type == FORM:
                        placement = self._form_field(name, schema, encoding.get(name))
                    else:
                        placement = Placement(in_="body", name=name)
                    fields.append(
                        _Argument(
                            name,
                            "body",
                            schema,
                            name in plain.required,
                            placement,
                            {k: v[name] for k, v in values.items() if isinstance(v, dict) and name in v},
                        )
                    )
                for name in sorted(plain.required - plain.properties.keys() - concealed):
                    self._note(schema_at, f"`{one_line(name, 60)}` is required and not declared; any value is taken")
                    fields.append(_Argument(name, "body", {}, True, Placement(in_="body", name=name)))
                return Body(media_type=media_type, required=required), fields
        if media_type in (FORM, MULTIPART):
            raise Refused(
                Problem(
                    schema_at,
                    "the form is not a plain list of fields",
                    "Declare its schema as an object with properties, without unions.",
                )
            )
        if _is_json(media_type):
            schema = self.request.write(schema_node, schema_at)
            schema = {} if schema is True else schema
            if schema is False:
                raise Refused(Problem(schema_at, "the body takes no value at all", "Give it a schema."))
            if not values and isinstance(schema.get("examples"), list):
                values = {"": schema["examples"][0]}
        else:
            schema = {"type": "string"}
        text = clean(node.get("description"), 500)
        if text and "description" not in schema:
            schema = {**schema, "description": text}
        whole = _Argument("body", "body", schema, required, None, values)
        return Body(media_type=media_type, required=required), [whole]

    def _request_media(self, content: Mapping[str, Any], where: str) -> str:
        """The media type to send: the most structured one that can be made of arguments."""
        essences = {m: _essence(m) for m in content if isinstance(m, str)}
        for wanted in (
            lambda e: e == JSON,
            _is_json,
            lambda e: e in ("*/*", "application/*"),
            lambda e: e == FORM,
            lambda e: e.startswith("text/") and e != "text/event-stream" and not e.endswith("*"),
        ):
            for media, essence in essences.items():
                if wanted(essence) and not self._is_binary(content[media], f"{where}/content/{pointer(media)[1:]}"):
                    return media
        if self.takes_bytes:
            for media, essence in essences.items():
                if essence == MULTIPART or ("*" not in essence and not essence.startswith("multipart/")):
                    return media
        shown = ", ".join(f"`{one_line(m, 60)}`" for m in list(essences)[:4])
        kind = "a multipart body" if any("multipart" in e for e in essences.values()) else "a body that is not JSON"
        raise Refused(
            Problem(
                f"{where}/content",
                f"{kind} ({shown}) cannot be made of arguments",
                "Declare one at the backend that takes JSON, or a media type without `*`."
                if self.takes_bytes
                else "Import with --binary base64 (`source.binary: base64`) where agents shall send bytes, or declare "
                "an operation at the backend that takes JSON.",
            )
        )

    def _is_binary(self, media: Any, where: str) -> bool:
        """Whether the content is bytes and not text."""
        schema = media.get("schema") if isinstance(media, dict) else None
        if not isinstance(schema, dict):
            return False
        schema, _ = follow(self.description, schema, f"{where}/schema")
        return isinstance(schema, dict) and schema.get("type") == "string" and schema.get("format") == "binary"

    def _is_bytes(self, media: Any, essence: str, where: str) -> bool:
        """Whether the body is one run of bytes: what is neither structured nor text."""
        structured = _is_json(essence) or essence in ("*/*", "application/*", FORM) or essence.startswith("multipart/")
        return not structured and (not essence.startswith("text/") or self._is_binary(media, where))

    def _file(self, parts: Sequence[tuple[Any, str]], encoding: Any) -> str | None:
        """The media type of a multipart field that holds bytes, or a list of such; None for any other field."""
        for node, where in parts:
            schema, at = follow(self.description, node, where)
            if isinstance(schema, dict) and schema.get("type") == "array":
                schema, _ = follow(self.description, schema.get("items"), f"{at}/items")
            if not isinstance(schema, dict):
                continue
            declared = encoding.get("contentType") if isinstance(encoding, dict) else None
            declared = declared if isinstance(declared, str) else schema.get("contentMediaType")
            media = _essence(declared.partition(",")[0]) if isinstance(declared, str) else ""
            # OpenAPI 3.1 says `{}` or a media type where 3.0 says `format: binary`.
            untyped = "type" not in schema and not any(k in schema for k in ("properties", "allOf", "anyOf", "oneOf"))
            encoded = "contentEncoding" in schema
            if schema.get("format") == "binary" or (
                not encoded and (("contentMediaType" in schema and schema.get("type", "string") == "string") or untyped)
            ):
                return media if _MEDIA.fullmatch(media) else BYTES
        return None

    def _form_field(self, name: str, schema: Any, encoding: Any) -> Placement:
        """How a form's field is written (OpenAPI 3.1, 4.8.15.1)."""
        declared = encoding if isinstance(encoding, dict) else {}
        styled = any(k in declared for k in ("style", "explode", "allowReserved"))
        style = declared.get("style", "form")
        style = style if isinstance(style, str) and style in _STYLES["query"] else "form"
        explode = declared.get("explode")
        explode = explode if isinstance(explode, bool) else style in ("form", "deepObject")
        items = schema.get("items") if isinstance(schema, dict) else None
        structured = _may_be_object(schema) or (isinstance(items, dict) and _may_be_object(items))
        content = JSON if structured and not styled else None
        return Placement(
            in_="body",
            name=name,
            style=style,  # type: ignore[arg-type]
            explode=explode and content is None,
            content=content,
        )

    # Names

    def _name(self, arguments: list[_Argument]) -> None:
        """Settles each argument's name: its own, with its place behind it where two would be called the same."""
        wanted = {id(a): _argument_name(a.name) for a in arguments}
        whole = [a for a in arguments if a.placement is None]
        rest = [a for a in arguments if a.placement is not None]
        count = Counter(wanted[id(a)] for a in rest)
        taken: set[str] = set()
        in_body = {wanted[id(a)] for a in rest if a.place == "body"}
        # A field of the body keeps its name, and so does what stands alone.
        for argument in sorted(rest, key=lambda a: count[wanted[id(a)]] > 1 and a.place != "body"):
            name = wanted[id(argument)]
            crowded = count[name] > 1 and (argument.place != "body" or name not in in_body)
            argument.final = _free(f"{name[:56]}__{argument.place}" if crowded else name, taken)
            taken.add(argument.final)
            if argument.final != argument.name:
                reason = "its name stands in several places" if crowded else "clients do not take its name"
                self._note(
                    self.ref.pointer,
                    f"`{one_line(argument.name, 60)}` in {argument.place} is called `{argument.final}`: {reason}",
                )
        for argument in whole:
            argument.final = next((n for n in ("body", "payload") if n not in taken), "") or _free("body__body", taken)
            taken.add(argument.final)

    # Schemas

    def _input_schema(self, arguments: list[_Argument], body: Body | None) -> Schema:
        sent = body is not None and body.required
        required = [a.final for a in arguments if a.required and (a.place != "body" or sent)]
        root: Schema = {"type": "object", "properties": {a.final: a.schema for a in arguments}}
        if required:
            root["required"] = required
        if body is not None and not sent:
            dependent = _together(arguments)
            if dependent:
                root["dependentRequired"] = dependent
        root["additionalProperties"] = False
        schema, problems = assemble(self.description, "request", root, self.request.references)
        self._placed(problems)
        check(schema, self.ref.pointer)
        return schema

    def _placed(self, problems: Iterable[Problem]) -> None:
        """Notes problems; those about the whole lie at the operation."""
        for problem in problems:
            self.problems.append(Problem(problem.pointer or self.ref.pointer, problem.message, problem.help))

    def _answer(self) -> tuple[Schema | None, tuple[str, ...], list[tuple[str, Any]]]:
        """Output schema, media types, and examples of answers."""
        at = f"{self.ref.pointer}/responses"
        responses = self.operation.get("responses")
        if not isinstance(responses, dict):
            self._note(at, "no answers are declared; any answer is taken")
            return None, (JSON,), []
        chosen = [s for s in responses if re.fullmatch(r"2(\d\d|XX)", str(s), re.IGNORECASE)]
        chosen.sort(key=lambda s: s.upper())
        if not chosen and "default" in responses:
            chosen = ["default"]
        writer = SchemaWriter(self.description, "answer")
        schemas: list[Any] = []
        media_types: dict[str, None] = {}
        outputs: list[tuple[str, Any]] = []
        empty, unknown, refused = False, False, None
        for status in chosen:
            node, where = follow(self.description, responses[status], f"{at}/{pointer(str(status))[1:]}")
            content = node.get("content") if isinstance(node, dict) else None
            if (
                not isinstance(content, dict)
                or not content
                or str(status) in ("204", "205")
                or self.ref.method == "HEAD"
            ):
                empty = True
                continue
            media = self._answer_media(content, where)
            if isinstance(media, Problem):
                refused = refused or media
                continue
            holder = content[media] if isinstance(content[media], dict) else {}
            media_at = f"{where}/content/{pointer(media)[1:]}"
            essence = _essence(media)
            essence = JSON if essence in ("*/*", "application/*") else essence
            media_types[essence] = None
            if not _is_json(essence) and not _is_text(essence):
                unknown = True  # Bytes have no form in a schema: they are given as they come.
                continue
            if not _is_json(essence):
                schema: Any = {"type": "string"}
            elif "schema" in holder:
                schema = writer.write(holder["schema"], f"{media_at}/schema")
            else:
                unknown = True
                continue
            outputs.extend(self._values(holder, media_at).items())
            if schema not in schemas:
                schemas.append(schema)
        if refused is not None:
            if not media_types and not empty:
                raise Refused(refused)
            self.problems.append(refused)
        if unknown or not schemas:
            self.problems.extend(writer.problems)
            return None, tuple(media_types), [] if not unknown else outputs
        if len(schemas) == 1 and not empty:
            root, keys = opened(self.description, "answer", schemas[0], writer.references, writer.problems)
        else:
            arms = [*schemas, *([{"type": "null"}] if empty else [])]
            root, keys = {"anyOf": arms}, list(writer.references)
        self.problems.extend(writer.problems)
        if isinstance(root, bool):
            return None, tuple(media_types), outputs
        schema, problems = assemble(self.description, "answer", root, keys)
        self._placed(problems)
        check(schema, at)
        return schema, tuple(media_types), outputs

    def _answer_media(self, content: Mapping[str, Any], where: str) -> str | Problem:
        essences = {m: _essence(m) for m in content if isinstance(m, str)}
        for wanted in (
            lambda e: e == JSON,
            _is_json,
            lambda e: e in ("*/*", "application/*"),
            lambda e: e.startswith("text/") and e not in ("text/event-stream", "text/*"),
            lambda e: e.endswith(("/xml", "+xml", "/yaml", "+yaml")),
        ):
            for media, essence in essences.items():
                if wanted(essence) and not self._is_binary(content[media], f"{where}/content/{pointer(media)[1:]}"):
                    return media
        if self.takes_bytes and (found := next((m for m, e in essences.items() if e != "text/event-stream"), None)):
            return found
        shown = ", ".join(f"`{one_line(m, 60)}`" for m in list(essences)[:4])
        return Problem(
            f"{where}/content",
            f"the answer ({shown}) is neither JSON nor text",
            "Let the backend answer with JSON that holds a link."
            if self.takes_bytes
            else "Import with --binary base64 (`source.binary: base64`) where agents shall get bytes, or let the "
            "backend answer with JSON that holds a link.",
        )

    # Examples

    def _values(self, holder: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Example values by name; the single `example` has the name ``."""
        found: dict[str, Any] = {}
        listed = holder.get("examples")
        if isinstance(listed, dict):
            for name, node in listed.items():
                try:
                    node, _ = follow(self.description, node, f"{where}/examples/{pointer(name)[1:]}")
                except Refused as refused:
                    self.problems.append(refused.problem)
                    continue
                if isinstance(node, dict):
                    value = next((node[k] for k in ("value", "dataValue") if k in node), None)
                    if value is not None:
                        found[name] = value
        if not found and "example" in holder:
            found[""] = holder["example"]
        return found

    def _examples(
        self,
        arguments: list[_Argument],
        input_schema: Schema,
        output_schema: Schema | None,
        outputs: list[tuple[str, Any]],
    ) -> tuple[tuple[FoundExample, ...], tuple[Any, ...]]:
        outputs = [(n, v) for n, v in outputs if len(orjson.dumps(v)) <= MAX_EXAMPLE_BYTES]
        if output_schema is not None and outputs:
            validator = _validator(output_schema)
            outputs = [(n, v) for n, v in outputs if validator.is_valid(v)]
        by_name = dict(reversed(outputs))
        names = dict.fromkeys(n for a in arguments for n in a.candidates)
        if not names:
            names = dict.fromkeys(by_name)
        accepts = _validator(input_schema)
        examples: list[FoundExample] = []
        for name in names:
            call = {}
            for argument in arguments:
                values = argument.candidates
                if name in values:
                    call[argument.final] = values[name]
                elif argument.place != "body" and argument.required and values:
                    call[argument.final] = next(iter(values.values()))
            if len(orjson.dumps(call)) > MAX_EXAMPLE_BYTES:
                continue
            if not accepts.is_valid(call) or any(e.input == call for e in examples):
                continue
            answered = name in by_name or bool(outputs)
            output = by_name.get(name, outputs[0][1] if outputs else None)
            shown = one_line(" ".join(words(name)).capitalize(), MAX_TITLE) or "From the description"
            examples.append(FoundExample(shown, call, output, answered))
            if len(examples) == MAX_EXAMPLES:
                break
        return tuple(examples), tuple(v for _, v in outputs[:MAX_EXAMPLES])

    def _note(self, where: str, message: str, help: str = "Mend the description where this is not meant.") -> None:
        self.problems.append(Problem(where, message, help))


def _validator(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())


def _template_names(ref: OperationRef, where: str) -> list[str]:
    """The names in the path's braces, each once."""
    rest = _TEMPLATE.sub("", ref.path)
    names = list(dict.fromkeys(_TEMPLATE.findall(ref.path)))
    odd = not ref.path.isascii() or not ref.path.isprintable() or any(c in rest for c in "{}?#\\ %")
    climbs = any(part in (".", "..") for part in rest.split("/"))
    if odd or climbs or "" in names or len(ref.path) > 512:
        raise Refused(
            Problem(
                where.rpartition("/")[0],
                f"`{one_line(ref.path, 120)}` is not a path that can be filled",
                "Write plain segments and `{name}`; what follows `?` belongs into query parameters.",
            )
        )
    return names


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    essence = _essence(media_type)
    return essence in (JSON, "text/json") or essence.endswith("+json")


def _is_text(media_type: str) -> bool:
    """Whether the runtime hands such an answer on as text."""
    return media_type.startswith("text/") or media_type.endswith(("/xml", "+xml", "/yaml", "+yaml"))


def _as_base64(schema: Any, media_type: str) -> Schema:
    """The schema of a file: base64, or a list of such."""
    told = {k: v for k, v in schema.items() if k in ("title", "description", "deprecated")}
    text: Schema = {"type": "string", "contentEncoding": "base64", "contentMediaType": media_type}
    if schema.get("type") == "array":
        bounds = {k: v for k, v in schema.items() if k in ("minItems", "maxItems")}
        return {**told, "type": "array", "items": text, **bounds}
    said = "The file's bytes, as base64."
    return {**told, **text, "description": f"{told['description']}\n\n{said}" if "description" in told else said}


def _may_be_object(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return True
    types = schema.get("type")
    if types is None:
        return any(k in schema for k in ("$ref", "properties", "allOf", "anyOf", "oneOf", "additionalProperties"))
    return "object" in types if isinstance(types, list) else types == "object"


def _argument_name(name: str) -> str:
    """`name` in the characters and length that clients take; a digest keeps different names apart."""
    if _ARGUMENT.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
    if plain and len(plain) <= 64:
        return plain
    return f"{plain[:55] or 'argument'}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate = f"{name[:60]}_{number}"
        number += 1
    return candidate


def _together(arguments: Iterable[_Argument]) -> dict[str, list[str]]:
    """Says that an optional body has all its required fields as soon as it has any.

    Each field asks for the next required one, round in a ring, so that the size stays that of the list.
    """
    fields = [a for a in arguments if a.place == "body" and a.placement is not None]
    ring = [a.final for a in fields if a.required]
    if not ring:
        return {}
    following = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    return {a.final: [following.get(a.final, ring[0])] for a in fields if following.get(a.final) != a.final}


def humanised(ref: OperationRef) -> str:
    """The operation's id in words; method and path where it has none."""
    text = " ".join(words(ref.declared_id or "")).capitalize()
    return one_line(text, MAX_TITLE) or one_line(f"{ref.method} {ref.path}", MAX_TITLE)

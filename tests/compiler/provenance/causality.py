"""Causality: change the source at a place that provenance names, compile again, and see which values are others.

`python -m tests.compiler.provenance.causality [--every=N] [SOURCE ...]` tries every cause of every value, or one of N,
and prints the counts.
"""

import copy
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel

from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.load import Placed, Source, load
from stoa_compiler.pipeline import judge, render
from stoa_compiler.provenance import Provenance
from stoa_compiler.provenance.model import Cause, Place, Pointer, within
from stoa_compiler.provenance.reading import written
from stoa_compiler.source import Loc, SourceFile
from stoa_schemas.documents import KINDS

REPOSITORY = Path(__file__).parents[3]
SOURCES = (REPOSITORY / "tenants", Path(__file__).parent / "rich")

Keyed = tuple[str, ...]
"""A pointer in which an item of a list is named by what it is, so that it keeps its name when others come or go."""
Values = Mapping[tuple[str, str], Mapping[Keyed, Any]]
"""Every value by environment and artifact, and by keyed pointer."""
Where = tuple[tuple[str, str], Keyed]
"""A value: environment, artifact, pointer."""
Edit = tuple[Place, Any]
Way = Literal["alone", "along"]
"""Whether the place is all that changes, or what depends on it by the language's rules changes along."""

GONE = object()
TRIES = 150
"""Changes that are tried for one cause."""
_IDENTITIES = (
    "id", "clientId", "username", "client", "clientScope", "secretKey", "executor", "condition", "name", "path",
    "tenant", "cidr", "port", "group",
)  # fmt: skip


# What is compared


def keyed(data: Any, pointer: Pointer) -> Keyed:
    """The pointer with items of lists named by what they are."""
    found: list[str] = []
    for step in pointer:
        if isinstance(data, list):
            assert isinstance(step, int)
            found.append(_names(data)[step])
        else:
            found.append(str(step))
        data = data[step]
    return tuple(found)


def _names(items: list[Any]) -> list[str]:
    for name in (_of_object, _of_scalar):
        names = [name(i) for i in items]
        if None not in names and len(set(names)) == len(names):
            return [str(n) for n in names]
    return [f"#{n}" for n in range(len(items))]


def _of_object(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    if "metadata" in item:
        return f"{{{item.get('kind')} {item['metadata'].get('name')}}}"
    if "files" in item:  # A ConfigMap's own name changes with what it holds.
        return f"{{{' '.join(str(file['path']) for file in item['files'])}}}"
    key = next((k for k in _IDENTITIES if isinstance(item.get(k), str | int)), None)
    return None if key is None else f"{{{key}={item[key]} {item.get('kind', '')}}}"


def _of_scalar(item: Any) -> str | None:
    return None if isinstance(item, dict | list) else f"[{orjson.dumps(item).decode()}]"


# Worlds


@dataclass(frozen=True)
class World:
    """A source and everything that it renders."""

    source: Source
    provenances: Mapping[str, Provenance]
    """By environment."""
    values: Values

    @classmethod
    def of(cls, source: Source) -> "World | None":
        """The world of that source; None where it does not compile."""
        report = Report()
        graph = judge(source, report).graph
        if graph is None or report.errors:
            return None
        provenances: dict[str, Provenance] = {}
        values: dict[tuple[str, str], dict[Keyed, Any]] = {}
        for environment in graph.platform.spec.environments:
            try:
                files = render(graph, environment, Report()).files
            except Stop:
                return None
            provenance = Provenance(graph, environment, files, source.descriptions)
            provenances[environment] = provenance
            for path in files:
                data = provenance.data(path)
                values[environment, path] = {keyed(data, pointer): value for pointer, value in _leaves(data)}
        return cls(source, provenances, values)


def _leaves(data: Any) -> Iterable[tuple[Pointer, Any]]:
    from stoa_compiler.provenance.reading import leaves

    return leaves(data)


def read(root: Path) -> Source:
    """The source's files."""
    report = Report()
    source = load(root, report)
    assert not report.errors
    return source


# Changes


def edited(source: Source, edits: Iterable[Edit]) -> Source:
    """The source with other values at some places."""
    changed: dict[str, Any] = {}
    for place, value in edits:
        path = place.document.file.path
        if path not in changed:
            changed[path] = copy.deepcopy(place.document.data)
        _put(changed[path], place.loc, value)
    for path, data in changed.items():
        changed[path] = _without_marks(data)
    texts = {path: orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS) for path, data in changed.items()}
    return _with_files(source, texts)


def _put(data: Any, loc: tuple[str | int, ...], value: Any) -> None:
    for step in loc[:-1]:
        data = data.setdefault(step, {}) if isinstance(data, dict) else data[step]
    if value is GONE and isinstance(data, list):
        data[int(loc[-1])] = GONE  # Taken out at the end, so that other edits find their places.
    elif value is GONE:
        data.pop(loc[-1], None)
    else:
        data[loc[-1]] = value


def _without_marks(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_marks(v) for k, v in data.items()}
    return [_without_marks(v) for v in data if v is not GONE] if isinstance(data, list) else data


def _with_files(source: Source, contents: Mapping[str, bytes]) -> Source:
    """The source with other bytes in some files; descriptions are pinned anew."""
    descriptions = {
        p: SourceFile(p, f.shown, contents[p]) if p in contents else f for p, f in source.descriptions.items()
    }
    pins = {
        hashlib.sha256(source.descriptions[p].content).hexdigest(): hashlib.sha256(f.content).hexdigest()
        for p, f in descriptions.items()
    }

    def pinned(content: bytes) -> bytes:
        for old, new in pins.items():
            content = content.replace(old.encode(), new.encode())
        return content

    placed = tuple(
        replace(p, file=SourceFile(p.file.path, p.file.shown, pinned(contents.get(p.file.path, p.file.content))))
        for p in source.placed
    )
    files = {f.shown: f for f in (*(p.file for p in placed), *descriptions.values())}
    return Source(placed, descriptions, files)


def renamed(source: Source, name: str) -> Source:
    """The source in which something is called otherwise, wherever it is named."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    part = re.compile(rf"(?<=[:/]){re.escape(name)}(?=:|$)")

    def other(text: str) -> str:
        return part.sub(f"{name}x", word.sub(f"{name}x", text))

    def moved(path: str) -> str:
        return "/".join(
            f"{s.partition('.')[0]}x{''.join(s.partition('.')[1:])}" if s.partition(".")[0] == name else s
            for s in path.split("/")
        )

    descriptions = {
        moved(p): SourceFile(moved(p), f.shown, other(f.content.decode()).encode())
        for p, f in source.descriptions.items()
    }
    pins = {
        hashlib.sha256(f.content).hexdigest(): hashlib.sha256(descriptions[moved(p)].content).hexdigest()
        for p, f in source.descriptions.items()
    }
    placed = []
    for p in source.placed:
        text = other(p.file.content.decode())
        for old, new in pins.items():
            text = text.replace(old, new)
        file = SourceFile(moved(p.file.path), p.file.shown, text.encode())
        keeps = p.kind in ("Platform",)
        own = p.name if keeps or p.name != name else f"{name}x"
        tenant = f"{name}x" if p.tenant == name else p.tenant
        placed.append(Placed(file, p.kind, own, tenant))
    return Source(tuple(placed), descriptions, {f.shown: f for f in (p.file for p in placed)})


# What a place could say instead


def others(world: World, place: Place) -> Iterator[Any]:
    """Other values for a place, the likeliest to be valid first."""
    value = _at(place.document.data, place.loc)
    kind = place.document.data.get("kind") if isinstance(place.document.data, dict) else None
    declared = _declared(KINDS[kind], place.loc) if kind in KINDS else (Any, None)
    if not place.there:
        value = declared[1]
        if isinstance(value, BaseModel):
            value = value.model_dump(by_alias=True, exclude_none=True)
        if value is None:
            yield from _absent(place, world)
    yield from (c for c in _choices(declared[0]) if c != value)
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, max(value - 1, 1), value * 3, 1)
        case float():
            yield from (value * 2, value / 2)
        case str():
            yield from _texts(value, place, world)
        case list() if not place.there or not value or place.loc[-1] == "approval":
            yield from _added(place, world)
    if place.there:
        yield GONE


def _at(data: Any, loc: tuple[str | int, ...]) -> Any:
    for step in loc:
        if not within(data, (step,)):
            return None
        data = data[step]
    return data


def _declared(model: Any, loc: tuple[str | int, ...]) -> tuple[Any, Any]:
    """The type of what stands at a place, and what holds where nothing does."""
    default: Any = None
    for step in loc:
        model = _plain(model)
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields = {(f.alias or n): f for n, f in model.model_fields.items()}
            if step not in fields:
                return Any, None
            default = (
                fields[str(step)].get_default(call_default_factory=True)
                if not fields[str(step)].is_required()
                else None
            )
            model = fields[str(step)].annotation
        elif get_origin(model) in (dict, list):
            model, default = get_args(model)[-1], None
        else:
            return Any, None
    return _plain(model), default


def _plain(model: Any) -> Any:
    while True:
        if get_origin(model) is Annotated:
            model = get_args(model)[0]
        elif get_origin(model) in (Union, UnionType):
            model = next(a for a in get_args(model) if a is not type(None))
        elif hasattr(model, "__value__"):
            model = model.__value__
        else:
            return model


def _choices(model: Any) -> tuple[Any, ...]:
    return get_args(model) if get_origin(model) is Literal else ()


_ABSENT: Mapping[str, Any] = {
    "rate": "7/second", "concurrency": 3, "approval": True, "fields": ["id"], "path": "elsewhere", "members": [],
    "digest": "sha256:" + "b" * 64, "description": "Something else.", "output": {"type": "string"},
    "input": {"type": "object", "properties": {"added": {"type": "string"}}},
}  # fmt: skip


def _absent(place: Place, world: World) -> Iterator[Any]:
    if place.loc[-1] in _ABSENT:
        yield _ABSENT[str(place.loc[-1])]


_ADDED: Mapping[str, Any] = {
    "actors": [{"name": "Added", "kind": "agent"}],
    "approval": ["write", "read", "none", "destructive"],
    "backendNetworks": ["10.77.0.0/16"],
    "demands": ["circuit-breaker"],
    "features": ["cimd"],
    "grantTypes": ["client_credentials"],
    "namespaces": ["added"],
    "permissions": ["catalog:read"],
    "redirectUris": ["https://added.example/callback"],
    "roles": ["reader"],
}  # fmt: skip
"""What an empty list could hold."""


def _added(place: Place, world: World) -> Iterator[Any]:
    key = str(place.loc[-1])
    if key in _ADDED:
        yield _ADDED[key]
    if key == "examples":
        operation = _at(place.document.data, place.loc[:-1])
        made: dict[str, Any] = {"name": "Added", "input": _sample(operation.get("input", {}))}
        yield [made]
        if "output" in operation:
            yield [{**made, "output": _sample(operation["output"])}]
        described = [
            {"name": "Added", "input": {"lamp": "hall"}},
            {"name": "Added", "input": {"lamp": "hall", "body": {}}},
        ]
        yield from ([d] for d in described)


def _sample(schema: Any) -> Any:
    """A value that a plain schema takes."""
    match schema.get("type"):
        case "object":
            return {n: _sample(schema["properties"][n]) for n in schema.get("required", ())}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "AB1"


_RATE = re.compile(r"(\d+)/(second|minute|hour|day)")
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")


def _texts(value: str, place: Place, world: World) -> Iterator[str]:
    key = str(next((s for s in reversed(place.loc) if isinstance(s, str)), ""))
    if found := _RATE.fullmatch(value):
        number, span = int(found[1]), found[2]
        yield f"{number + 1}/{span}"
        yield f"{max(number - 1, 1)}/{span}"
        yield from (f"{number}/{s}" for s in ("minute", "hour", "second", "day") if s != span)
        yield "1/second"
    elif found := _DURATION.fullmatch(value):
        number = int(found[1])
        yield f"{number + 1}{found[2]}"
        yield f"{max(number - 1, 1)}{found[2]}"
        yield "200s"
        yield "5s"
    elif value.startswith(("http://", "https://")):
        yield (
            re.sub(r":(\d+)", lambda m: f":{int(m[1]) + 1}", value, count=1)
            if re.search(r":\d", value)
            else value + "/x"
        )
        yield value.replace("://", "://x", 1)
        yield value + "/x"
        yield re.sub(r"^(https?://[^/:]+)", r"\1:9443", value)
    elif "@" in value:
        yield f"x{value}"
    elif re.fullmatch(r"[\d.]+/\d+", value):
        yield from ("10.98.0.0/16", "192.168.5.0/24", "127.0.0.0/9")
    elif re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        yield "2033-01-01"
    elif re.fullmatch(r"\d+\.\d+\.\d+", value):
        yield f"{value[:-1]}{int(value[-1]) + 1}"
    elif re.fullmatch(r"\d+(Mi|Gi|m)?", value):
        yield re.sub(r"\d+", lambda m: str(int(m[0]) + 1), value)
    elif re.fullmatch(r"sha256:a+", value):
        yield "sha256:" + "c" * 64
    elif key == "from":
        yield from (o for o in ("getLamp", "setLamp") if o != value)
    yield from (n for n in _neighbours(place, key) if n != value)
    yield f"{value}x"
    yield f"{value} and more"
    yield from (t for t in ("string", "integer", "object", "array", "boolean") if key == "type" and t != value)


def _neighbours(place: Place, key: str) -> Iterator[str]:
    """Other names that the same key could have."""
    data = place.document.data
    spec = data.get("spec", {}) if isinstance(data, dict) else {}
    if key in ("role", "roles"):
        yield from ("reader", "boss", "guest", "viewer", "devops", "tenant-admin", "operator")
    if key == "members":
        yield from spec.get("people", {})
    if key == "tier":
        yield from ("large", "small", "enterprise", "team", "starter")
    if key == "permissions":
        yield from ("catalog:read", "posture:read", "tools:read", "tools:write", "approvals:decide")
    if key == "plan":
        yield "spare"


def changes(world: World, cause: Cause) -> Iterator[tuple[Way, Source]]:
    """Sources in which the cause is otherwise, and whether anything else is."""
    for option in _edits(world, cause):
        yield "alone", edited(world.source, option)
    for option in _described(cause):
        yield "alone", edited(world.source, option)
    for place in cause.places:
        value = str(place.loc[-1]) if place.part == "key" else _at(place.document.data, place.loc)
        if isinstance(value, str) and len(value) > 2:
            yield "along", renamed(world.source, value)
        for option in _along(place):
            yield "along", edited(world.source, option)
        if place.loc[-1:] == ("sha256",):
            more = {p: f.content + b"\n" for p, f in world.source.descriptions.items()}
            yield "along", _with_files(world.source, more)
    for up in (1, 2, 3):
        if all(len(p.loc) - up > 1 for p in cause.places):
            yield "along", edited(world.source, [(Place(p.document, p.loc[:-up]), GONE) for p in cause.places])


def _described(cause: Cause) -> Iterator[list[Edit]]:
    """Other ways to describe an operation: at another path, by another method."""
    for place in cause.places:
        if place.loc[:1] == ("paths",) and len(place.loc) == 3:
            _, path, method = place.loc
            value, document = _at(place.document.data, place.loc), place.document
            for to in (("paths", f"{path}/x", method), ("paths", path, "post")):
                yield [(place, GONE), (Place(document, to), value)]
            plain = {
                "operationId": value["operationId"],
                "responses": {
                    "200": {"description": "Else.", "content": {"text/plain": {"schema": {"type": "string"}}}}
                },
            }
            yield [(place, GONE), (Place(document, ("paths", "/plain", "post")), plain)]
            named = orjson.loads(orjson.dumps(value).replace(b'"lamp"', b'"other"'))
            yield [(place, GONE), (Place(document, ("paths", str(path).replace("{lamp}", "{other}"), method)), named)]


def _along(place: Place) -> Iterator[list[Edit]]:
    """Changes of a place that need another one beside it."""
    document, loc = place.document, place.loc
    parent, key = loc[:-1], loc[-1]

    def beside(**values: Any) -> list[Edit]:
        return [(Place(document, (*parent, name)), value) for name, value in values.items()]

    kind = document.data.get("kind")
    if key == "method":
        for method, effects in (("GET", "read"), ("POST", "write"), ("DELETE", "destructive")):
            yield beside(method=method, sideEffects=effects, path="/elsewhere", input={"type": "object"})
            yield beside(method=method, sideEffects=effects)
            yield beside(method=method, sideEffects=effects, approval=True, limits={"rate": "1/second"})
    elif key == "sideEffects" and "from" not in _at(document.data, parent):
        for method, effects in (("GET", "read"), ("POST", "read"), ("POST", "write"), ("POST", "destructive")):
            yield beside(method=method, sideEffects=effects)
            yield beside(method=method, sideEffects=effects, approval=GONE)
    elif kind == "Consumer":
        uris = ["https://added.example/callback"]
        machine = {
            "client": "confidential",
            "grantTypes": ["client_credentials"],
            "roles": ["reader"],
            "redirectUris": GONE,
        }
        people = {"client": "public", "grantTypes": ["authorization_code"], "roles": GONE, "redirectUris": uris}
        for values in (machine, people, people | {"client": "confidential"}):
            yield [(Place(document, ("spec", name)), value) for name, value in values.items()]
        viewer = machine | {"roles": ["viewer"]}
        yield [(Place(document, ("spec", name)), value) for name, value in viewer.items()]
    elif key == "type" and parent[-1:] == ("auth",):
        secret = _at(document.data, (*parent, "secret"))
        yield [(Place(document, parent), {"type": "header", "header": "X-Other", "secret": secret})]
        yield [(Place(document, parent), {"type": "bearer", "secret": secret})]
    elif key == "in" and "parameters" in loc:
        at = loc[: loc.index("parameters")]
        yield [(place, "query"), (Place(document, (*at, "path")), "/elsewhere")]
    elif loc[:3] == ("spec", "identity", "features"):
        yield [(place, GONE), (Place(document, ("spec", "identity", "metadataHosts")), GONE)]
    elif loc == ("spec", "identity", "tenants"):
        yield [(place, "groups")]
    elif kind == "Tenant" and key in ("people", "groups"):
        people = {"zoe": {"firstName": "Zoe", "lastName": "Ilk", "email": "zoe@added.example"}}
        yield [(Place(document, ("spec", "people")), people)]
        yield [(Place(document, ("spec", "groups")), {"added": {"roles": []}})]
    elif key == "type" or key == "output":
        at = loc[: loc.index("output")] if "output" in loc else ()
        if at:
            more = [(Place(document, (*at, "examples")), GONE), (Place(document, (*at, "answer")), GONE)]
            instead: list[Any] = [{"type": "string"}] if key == "output" else ["string", "array", "object"]
            yield from ([(place, v), *more] for v in instead)


def _edits(world: World, cause: Cause) -> Iterator[list[Edit]]:
    places = [q for p in cause.places for q in (_below(p) if not cause.together else [p])]
    if cause.together:
        options = [list(others(world, p)) for p in places]
        for n in range(max(map(len, options), default=0)):
            yield [(p, o[min(n, len(o) - 1)]) for p, o in zip(places, options, strict=True)]
        return
    each = [(p, list(others(world, p))) for p in places if p.part == "value"]
    for turn in range(max((len(o) for _, o in each), default=0)):  # One of each place in turn.
        yield from ([(p, o[turn])] for p, o in each if turn < len(o))


def _below(place: Place) -> list[Place]:
    """The place, and what lies below it."""
    value = _at(place.document.data, place.loc)
    if place.part == "key" or not isinstance(value, dict | list):
        return [place]
    found: list[Place] = [place]
    steps = value if isinstance(value, dict) else range(len(value))
    for step in steps:
        found += _below(Place(place.document, (*place.loc, step)))
    return found


# The proof


@dataclass
class Proof:
    """What was found out about one source."""

    values: int = 0
    constants: int = 0
    wholes: int = 0
    causes: int = 0
    """Pairs of a value and something that it follows from."""
    alone: int = 0
    along: int = 0
    refused: list[str] = field(default_factory=list)
    """Causes of which every change is refused by the compiler."""
    broken: list[str] = field(default_factory=list)
    """Causes that were changed and changed nothing."""
    moved: list[str] = field(default_factory=list)
    """Constants that changed."""
    unnamed: list[str] = field(default_factory=list)
    """Values that changed with a place that they do not name."""
    worlds: int = 0

    def text(self) -> str:
        """The counts in a few lines."""
        return "\n".join(
            [
                f"values                                {self.values:>7,}",
                f"  by named constants of the platform  {self.constants:>7,}",
                f"  of whole artifacts (digests, copies){self.wholes:>7,}",
                f"  from places of the source           {self.values - self.constants - self.wholes:>7,}",
                "  without an origin                         0",
                f"pairs of a value and a cause          {self.causes:>7,}",
                f"  a change of it alone is seen        {self.alone:>7,}",
                f"  with what must change along         {self.along:>7,}",
                f"  every change is refused             {len(self.refused):>7,}",
                f"  changed nothing                     {len(self.broken):>7,}",
                f"sources compiled                      {self.worlds:>7,}",
                f"constants that changed                {len(self.moved):>7,}",
                "values that changed with a place that",
                f"  they do not name                    {len(self.unnamed):>7,}",
            ]
        )


def prove(source: Source, wanted: Callable[[int], bool] | None = None) -> Proof:
    """Tries each cause of each value; `wanted` says of which causes, by their number."""
    world = World.of(source)
    assert world is not None
    proof = Proof()
    by_cause: dict[Any, tuple[Cause, list[Where]]] = {}
    constants: dict[Where, Any] = {}
    named: dict[Where, set[tuple[str, Loc]]] = {}
    for environment, provenance in world.provenances.items():
        for path in provenance.files:
            for traced in provenance.of(path):
                proof.values += 1
                assert traced.emission is not None, f"{path}:{written(traced.pointer)}"
                where = ((environment, path), keyed(provenance.data(path), traced.pointer))
                if traced.emission.constant:
                    proof.constants += 1
                    constants[where] = traced.value
                elif traced.within:
                    proof.wholes += 1
                else:
                    named[where] = {p.key[:2] for c in traced.causes for p in c.places}
                for cause in traced.causes:
                    by_cause.setdefault(cause.key, (cause, []))[1].append(where)
    seen: dict[bytes, Values | None] = {}
    for number, (cause, pairs) in enumerate(by_cause.values()):
        if wanted is not None and not wanted(number):
            continue
        proof.causes += len(pairs)
        _try(world, cause, pairs, constants, named, proof, seen)
    return proof


def _try(
    world: World,
    cause: Cause,
    pairs: list[Where],
    constants: Mapping[Where, Any],
    named: Mapping[Where, set[tuple[str, Loc]]],
    proof: Proof,
    seen: dict[bytes, Values | None],
) -> None:
    left, valid = set(pairs), 0
    for number, (way, source) in enumerate(changes(world, cause)):
        if not left or number >= TRIES:
            break
        key = hashlib.sha256(b"\0".join(p.file.path.encode() + p.file.content for p in source.placed)).digest()
        if key not in seen:
            proof.worlds += 1
            other = World.of(source)
            seen[key] = other.values if other else None
            if other is not None:
                proof.moved += [
                    f"{cause.places[0].span} {at[1]}: {'/'.join(pointer)}"
                    for (at, pointer), value in constants.items()
                    if other.values.get(at, {}).get(pointer, value) != value
                ]
        values = seen[key]
        if values is None:
            continue
        valid += way == "alone"
        if way == "alone" and not valid > 3:
            proof.unnamed += _unnamed(world, cause, values, named)
        before = len(left)
        left -= {
            (at, pointer) for at, pointer in left if values.get(at, {}).get(pointer, GONE) != world.values[at][pointer]
        }
        setattr(proof, way, getattr(proof, way) + before - len(left))
    told = [
        f"{cause.places[0].span} {'.'.join(map(str, cause.places[0].loc))} -> {at}: {'/'.join(p)}"
        for at, p in sorted(left)
    ]
    (proof.broken if valid else proof.refused).extend(told)


def _unnamed(world: World, cause: Cause, values: Values, named: Mapping[Where, set[tuple[str, Loc]]]) -> Iterator[str]:
    """Values that are others now, though nothing that they are said to follow from was touched."""
    touched = [p.key[:2] for p in cause.places]
    for (at, pointer), causes in named.items():
        now = values.get(at, {}).get(pointer, GONE)
        if now is GONE or now == world.values[at][pointer]:
            continue
        if pointer[-1] == "sourceDigest" and any("/sources/" in file for file, _ in touched):
            continue  # The trial pins the changed description anew: that place is touched as well.
        if not any(f == file and (k[: len(t)] == t or t[: len(k)] == k) for f, t in touched for file, k in causes):
            yield f"{cause.places[0].span} {'.'.join(map(str, cause.places[0].loc))} -> {at}: {'/'.join(pointer)}"


def main(arguments: list[str]) -> None:
    """Prints what was found of each source; of each `every`th cause where that is asked for."""
    every = int(arguments.pop(0).removeprefix("--every=")) if arguments and arguments[0].startswith("--every=") else 1
    for root in map(Path, arguments or SOURCES):
        found = prove(read(root), lambda number: number % every == 0)
        which = "" if every == 1 else f", of every {every}th cause"
        print(f"{root.resolve().relative_to(REPOSITORY)}{which}\n{found.text()}", flush=True)
        for title, lines in (
            ("refused", found.refused),
            ("broken", found.broken),
            ("moved", found.moved),
            ("unnamed", found.unnamed),
        ):
            print(*(f"  {title}: {line}" for line in lines), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])

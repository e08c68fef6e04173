"""Import: a contract that stands on an OpenAPI description, and the pinned copy of it.

The contract says only what the description cannot: which operations, what they may do, where the backend is.
Method, path, schemas and texts are read from the pinned copy whenever the source compiles.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from stoa_compiler import tokens
from stoa_compiler.diagnostics import Report
from stoa_compiler.openapi.convert import Binary, convert
from stoa_compiler.openapi.model import Converted, Description, OperationRef, Problem
from stoa_compiler.openapi.read import read
from stoa_compiler.openapi.text import folded, one_line, words
from stoa_compiler.parse import parse_file
from stoa_compiler.portability import Concern, concerns
from stoa_compiler.records import record
from stoa_compiler.source import Document, SourceFile, SpanTree
from stoa_schemas import names
from stoa_schemas.base import API_VERSION
from stoa_schemas.documents.access import SideEffects
from stoa_schemas.documents.platform import ClassificationName, ClientProfile, EnvironmentName

MIN_NAME = 12
"""Characters that an operation's name needs at the least, to be told from others."""
MAX_NAME = 63
"""What an operation's name may have in a contract."""

Status = Literal["draft", "published", "deprecated"]

_HOSTS = ("spec", "backends", "allowedHosts")
_SEMVER = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?![\d.])")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_INTERNAL = (".svc", ".cluster.local", ".internal", ".local", ".localhost", ".localdomain", ".arpa")


class ImportRefused(Exception):
    """Nothing can be imported as it was asked; the message says why."""


@record
class Selection:
    """Which operations are wanted: those that fulfil every criterion that is given. None given: none wanted."""

    tags: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    """Ids; `*` stands for any characters."""
    paths: tuple[str, ...] = ()
    """Paths; `*` stands for any characters."""
    methods: tuple[str, ...] = ()
    all: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing was chosen at all."""
        return not (self.all or self.tags or self.operations or self.paths or self.methods)

    def takes(self, ref: OperationRef) -> bool:
        """Whether the operation is wanted."""
        if self.empty:
            return False
        return (
            (not self.tags or any(t in self.tags for t in ref.tags))
            and (not self.operations or any(_fits(i, o) for o in self.operations for i in _ids(ref)))
            and (not self.paths or any(_fits(ref.path, p) for p in self.paths))
            and (not self.methods or ref.method in {m.upper() for m in self.methods})
        )


@record
class Row:
    """One operation of the description, and what became of it."""

    operation: str
    """Its id in the description."""
    method: str
    path: str
    tags: tuple[str, ...]
    state: Literal["in", "left out", "not selected"]
    name: str | None
    """The operation's name in the contract."""
    tool: str | None
    """The tool's wire name."""
    side_effects: SideEffects | None
    reason: str
    """Why it is left out."""
    notes: tuple[Problem, ...]
    """What was left out of it."""
    tokens: int | None
    """About how many tokens of a model's context it takes."""
    concerns: tuple[Concern, ...]
    """What the clients asked about are known not to take of it."""


@record
class Imported:
    """What an import makes; nothing of it is written yet."""

    files: Mapping[str, bytes]
    """By path from the source's folder; empty where no operation is in."""
    operations: tuple[Row, ...]
    """In the description's order."""
    problems: tuple[Problem, ...]
    """What holds for no single operation."""
    backend_url: str
    host: str
    """What `spec.backends.allowedHosts` of the platform must list for the tenant."""


def import_openapi(
    content: bytes,
    filename: str,
    *,
    tenant: str,
    name: str,
    selection: Selection,
    backend_url: str | None = None,
    environments: Sequence[EnvironmentName] = ("dev", "staging", "prod"),
    owner: str,
    classification: ClassificationName = "H",
    status: Status = "published",
    binary: Binary = "exclude",
    clients: Sequence[ClientProfile] = (),
) -> Imported:
    """The contract `name` of `tenant` with the selected operations of the description in `content`.

    Raises `DescriptionError` where there is no description, and `ImportRefused` where the names do not fit.
    """
    _check_names(tenant, name)
    description = read(content, filename)
    problems = list(description.problems)
    rows, taken = _rows(description, tenant, name, selection, binary, clients, problems)
    for pattern in selection.operations:
        if not any(_fits(i, pattern) for o in description.operations.values() for i in _ids(o)):
            problems.append(
                Problem("/paths", f"no operation is called `{one_line(pattern, 80)}`", "Name one of the table's.")
            )
    for tag in selection.tags:
        if not any(tag in o.tags for o in description.operations.values()):
            problems.append(
                Problem("/paths", f"no operation has the tag `{one_line(tag, 80)}`", "Name one that exists.")
            )
    url = _backend(description, tenant, backend_url, problems)
    files: dict[str, bytes] = {}
    if taken:
        source = f"sources/{name}.{'json' if PurePosixPath(filename).suffix == '.json' else 'yaml'}"
        document = _contract(
            description, tenant, name, source, content, taken, url, environments, owner, classification, status, binary
        )
        files[f"{tenant}/contracts/{name}.yaml"] = _written(document, filename)
        files[f"{tenant}/{source}"] = content
    return Imported(files, tuple(rows), tuple(problems), url, (urlsplit(url).hostname or "").lower())


def operation_names(description: Description, budget: int) -> dict[str, tuple[str, bool]]:
    """A name in a contract for each operation id, at most `budget` characters, and whether another wanted it too.

    Names are made over all operations, so that choosing fewer of them renames none.
    """
    plain = {i: _snake(o) for i, o in description.operations.items()}
    count: dict[str, int] = {}
    for wanted in plain.values():
        count[wanted] = count.get(wanted, 0) + 1
    result: dict[str, tuple[str, bool]] = {}
    taken = {w for w, n in count.items() if n == 1 and len(w) <= budget}
    for operation_id, wanted in plain.items():
        if wanted in taken and count[wanted] == 1:
            result[operation_id] = (wanted, False)
            continue
        digest = hashlib.sha256(operation_id.encode()).hexdigest()
        length = 6
        while (short := _suffixed(wanted, digest[:length], budget)) in taken:
            length += 1
        taken.add(short)
        result[operation_id] = (short, count[wanted] > 1)
    return result


def allow_host(platform_yaml: str, host: str, tenant: str) -> str:
    """The platform document with `host` allowed for `tenant`; every other line, comments too, stays as it is.

    Raises `ImportRefused` where the document has no list of allowed hosts or the host is one for no backend.
    """
    if is_internal(host):
        raise ImportRefused(f"`{host}` is an address inside a machine or cluster; list it by hand where it is meant")
    document = _platform(platform_yaml)
    listed = document.data if document else None
    for step in _HOSTS:
        listed = listed.get(step) if isinstance(listed, dict) else None
    if document is None or not isinstance(listed, list):
        raise ImportRefused("the platform document has no list `spec.backends.allowedHosts`")
    entries = [e for e in listed if isinstance(e, dict) and isinstance(e.get("tenants"), list)]
    if any(tenant in e["tenants"] and _covers(str(e.get("host")), host) for e in entries):
        return platform_yaml
    same = next((i for i, e in enumerate(listed) if e in entries and e.get("host") == host), None)
    wanted = deepcopy(listed)
    if same is None:
        wanted.append({"host": host, "tenants": [tenant]})
    else:
        wanted[same]["tenants"].append(tenant)
    edited = _edited(platform_yaml, document, listed, host, tenant, same)
    again = _platform(edited)
    if again is not None:
        expected = deepcopy(document.data)
        expected["spec"]["backends"]["allowedHosts"] = wanted
        if again.data == expected:
            return edited
    return _rewritten(platform_yaml, host, tenant, same)


def _platform(text: str) -> Document | None:
    return parse_file(SourceFile("platform.yaml", "platform.yaml", text.encode()), Report())


def _edited(text: str, document: Document, listed: list[Any], host: str, tenant: str, same: int | None) -> str:
    """The text with one entry more, in the layout of the entries before it; what comes out is checked."""
    lines = text.splitlines(keepends=True)
    if same is not None:
        end = document.span((*_HOSTS, same, "tenants"))
        line = lines[end.end_line - 1]
        cut = end.end_column - 2
        lines[end.end_line - 1] = f"{line[:cut].rstrip()}, {tenant}{line[cut:]}"
    elif listed:
        node = document.spans()
        for step in (*_HOSTS, len(listed) - 1):
            node = node.children[step]
        indent = lines[node.value.line - 1][: max(0, node.value.column - 3)]
        last = _last_line(node)
        if not lines[last - 1].endswith("\n"):
            lines[last - 1] += "\n"
        lines.insert(last, f"{indent}- host: {host}\n{indent}  tenants: [{tenant}]\n")
    return "".join(lines)


def _last_line(node: SpanTree) -> int:
    """The last line that holds something of the node; a block's own span goes on to what follows it."""
    return max((_last_line(child) for child in node.children.values()), default=node.value.end_line)


def is_internal(host: str) -> bool:
    """Whether `host` is a machine's own name, an address, or a name that only a cluster or network knows."""
    lowered = host.lower().rstrip(".")
    try:
        ip_address(lowered.strip("[]"))
    except ValueError:
        last = lowered.rpartition(".")[2]
        # `127.1` and `0x7f000001` are addresses, too, for resolvers.
        return "." not in lowered or lowered.endswith(_INTERNAL) or not last[:1].isalpha()
    return True


def _covers(pattern: str, host: str) -> bool:
    return pattern == host or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _rewritten(platform_yaml: str, host: str, tenant: str, same: int | None) -> str:
    """The same through a YAML writer that keeps comments, for lists in any layout."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(platform_yaml)
    hosts = document["spec"]["backends"]["allowedHosts"]
    if same is None:
        hosts.append({"host": host, "tenants": [tenant]})
    else:
        hosts[same]["tenants"].append(tenant)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _ids(ref: OperationRef) -> tuple[str, ...]:
    """Every id that the operation answers to."""
    return tuple(dict.fromkeys(i for i in (ref.id, ref.declared_id, f"{ref.method} {ref.path}") if i))


def _fits(value: str, pattern: str) -> bool:
    """Whether `pattern` is about `value`; of the signs that file names know, `*` alone means something."""
    return fnmatchcase(value, re.sub(r"[\[?]", r"[\g<0>]", pattern))


def _check_names(tenant: str, name: str) -> None:
    for what, value in (("tenant", tenant), ("contract", name)):
        if not names.is_id(value):
            raise ImportRefused(
                f"`{one_line(value, 60)}` is not the name of a {what}: 1 to 31 lower-case letters, digits and inner "
                "hyphens, beginning with a letter"
            )
    if names.is_reserved(tenant):
        raise ImportRefused(f"the tenant name `{tenant}` is reserved")
    if _budget(tenant, name) < MIN_NAME:
        raise ImportRefused(
            f"`{tenant}_{name}_` leaves {max(0, _budget(tenant, name))} of a tool's {names.WIRE_NAME_LIMIT} characters "
            "for the operation; choose a shorter name for the contract"
        )


def _budget(tenant: str, name: str) -> int:
    return min(MAX_NAME, names.WIRE_NAME_LIMIT - len(tenant) - len(name) - 2)


def _rows(
    description: Description,
    tenant: str,
    name: str,
    selection: Selection,
    binary: Binary,
    clients: Sequence[ClientProfile],
    problems: list[Problem],
) -> tuple[list[Row], list[tuple[str, Converted]]]:
    wanted_names = operation_names(description, _budget(tenant, name))
    rows: list[Row] = []
    taken: list[tuple[str, Converted]] = []
    for operation_id, ref in description.operations.items():
        facts = (operation_id, ref.method, ref.path, ref.tags)
        if not selection.takes(ref):
            rows.append(Row(*facts, "not selected", None, None, None, "", (), None, ()))
            continue
        converted: Converted | Problem
        if len(operation_id) > 256:
            converted = Problem(ref.pointer, "its id has more than 256 characters", "Give it an `operationId`.")
        else:
            converted = convert(description, operation_id, binary)
        if isinstance(converted, Problem):
            rows.append(Row(*facts, "left out", None, None, None, converted.message, (converted,), None, ()))
            continue
        operation, shared = wanted_names[operation_id]
        if shared:
            problems.append(
                Problem(
                    ref.pointer,
                    f"`{one_line(operation_id, 80)}` is called `{operation}`: another operation makes the same name",
                    "Rename it in the contract; a tool's name should say what it does.",
                )
            )
        wire = names.wire_name(tenant, name, operation)
        assert wire is not None
        weight = tokens.estimate(wire, converted.description, converted.input_schema)
        untaken = tuple(concerns(converted.input_schema, clients))
        rows.append(Row(*facts, "in", operation, wire, converted.side_effects, "", converted.problems, weight, untaken))
        taken.append((operation, converted))
    return rows, taken


def _snake(ref: OperationRef) -> str:
    """The operation's id in snake case; where it has none, its method and the words of its path."""
    if ref.declared_id is not None and ref.id == ref.declared_id:
        parts = words(ref.declared_id)
    else:
        parts = [ref.method.lower()]
        for step in re.split(r"[/.]|(?=\{)", ref.path):
            parts += ["by", *words(step)] if step.startswith("{") and words(step) else words(step)
    if not parts:
        parts = [ref.method.lower(), *words(ref.path)]
    return "_".join(parts if parts[0][0].isalpha() else ["op", *parts])


def _suffixed(wanted: str, digest: str, budget: int) -> str:
    """`wanted` cut at a word's border, with a digest that tells it from others cut alike."""
    room = budget - len(digest) - 1
    head = wanted
    if len(head) > room:
        head = wanted[: room + 1].rpartition("_")[0] or wanted[:room]
    return f"{head.rstrip('_')}_{digest}"


def _backend(description: Description, tenant: str, given: str | None, problems: list[Problem]) -> str:
    """The backend's base URL."""
    if given is not None:
        if not _URL.fullmatch(given) or len(given) > 512 or not urlsplit(given).hostname:
            raise ImportRefused("the backend is not an absolute http or https URL without user, query or fragment")
        return given.rstrip("/")
    servers = description.document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    url = first.get("url") if isinstance(first, dict) else None
    placeholder = f"https://api.{tenant}.example"
    if not isinstance(url, str) or url in ("", "/"):
        reason = "the description names no server"
    else:
        url = _filled(url, first.get("variables") if isinstance(first, dict) else None).rstrip("/")
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        if not _URL.fullmatch(url) or not host or len(url) > 512 or "{" in url:
            reason = f"the server `{one_line(url, 120)}` is not an absolute URL"
            if url.startswith("/") and re.fullmatch(r"/[^\s?#{}]*", url):
                placeholder += url
        elif is_internal(host):
            reason = f"the server `{one_line(url, 120)}` is inside a machine or cluster"
        else:
            if len(servers) > 1 if isinstance(servers, list) else False:
                problems.append(
                    Problem(
                        "/servers", f"the first of several servers is taken: `{url}`", "Name another with --backend."
                    )
                )
            return url
    problems.append(
        Problem("/servers", f"{reason}; `{placeholder}` stands in its place", "Name the backend with --backend.")
    )
    return placeholder


def _filled(url: str, variables: Any) -> str:
    """The URL with its variables' defaults; what has none stays in braces."""

    def default(found: re.Match[str]) -> str:
        variable = variables.get(found[1]) if isinstance(variables, dict) else None
        value = variable.get("default") if isinstance(variable, dict) else None
        return str(value) if isinstance(value, (str, int)) else found[0]

    return re.sub(r"\{([^{}]*)\}", default, url)


def _version(declared: str | None) -> str:
    """The API's version as a semantic one."""
    found = _SEMVER.match(declared.strip()) if declared else None
    if found is None:
        return "1.0.0"
    return ".".join(str(int(part or 0)) for part in found.groups())


def _contract(
    description: Description,
    tenant: str,
    name: str,
    source: str,
    content: bytes,
    taken: Sequence[tuple[str, Converted]],
    url: str,
    environments: Sequence[EnvironmentName],
    owner: str,
    classification: ClassificationName,
    status: Status,
    binary: Binary,
) -> dict[str, Any]:
    spec: dict[str, Any] = {"displayName": one_line(description.title, 80)}
    if description.summary:
        spec["description"] = _folded(one_line(description.summary, 1024))
    spec |= {
        "version": _version(description.api_version),
        "classification": classification,
        "status": status,
        "owner": owner,
        "backend": {"urls": dict.fromkeys(environments, url)},
        "source": {
            "file": source,
            "sha256": hashlib.sha256(content).hexdigest(),
            **({"binary": binary} if binary != "exclude" else {}),
        },
        # Backends are seldom as strict as their descriptions: an answer that differs is noted, not refused.
        "answer": {"check": "report"},
        "operations": {
            operation: {"from": converted.operation_id, "sideEffects": converted.side_effects}
            for operation, converted in taken
        },
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "UniversalAPIContract",
        "metadata": {"name": name, "tenant": tenant},
        "spec": spec,
    }


def _written(document: Mapping[str, Any], filename: str) -> bytes:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(document, out)
    shown = one_line(PurePosixPath(filename).name, 80)
    head = (
        f"# Imported from the OpenAPI description {shown}. Methods, paths, schemas and texts come from the pinned\n"
        "# copy when the source compiles; what stands here is what that file cannot say.\n"
    )
    return (head + out.getvalue()).encode()


def _folded(text: str) -> Any:
    """The text, for the writer to fold at words where it is long."""
    return text if len(text) <= 90 else folded(text)

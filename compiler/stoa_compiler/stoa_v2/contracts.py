"""Contracts of the earlier form, UAC v1: each becomes a contract, or several where its backends differ."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import jsonschema_rs

from stoa_compiler.openapi.text import words
from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2 import naming
from stoa_compiler.stoa_v2.account import Account, Place
from stoa_compiler.stoa_v2.backends import Backend, common, resolve
from stoa_compiler.stoa_v2.drafts import (
    METHODS,
    ROUTE,
    SAFE,
    Draft,
    Owner,
    Row,
    Scene,
    agreeing,
    leave_out,
    route_of,
    side_effects_of,
    twins,
)
from stoa_compiler.stoa_v2.schemas import Schema
from stoa_compiler.stoa_v2.values import mapping
from stoa_compiler.stoa_v2.wishes import Part
from stoa_schemas import names
from stoa_schemas.documents.access import SideEffects

CLASSES = ("H", "VH", "VVH")
STATES = ("draft", "published", "deprecated")

KEYS = (
    "name",
    "version",
    "tenant_id",
    "display_name",
    "description",
    "classification",
    "endpoints",
    "required_policies",
    "status",
    "source_spec_url",
    "spec_hash",
)
ENDPOINT_KEYS = ("path", "methods", "backend_url", "operation_id", "input_schema", "output_schema", "llm")
LLM_KEYS = (
    "summary",
    "intent",
    "tool_name",
    "side_effects",
    "safe_for_agents",
    "requires_human_approval",
    "examples",
)
EXAMPLE_KEYS = ("input", "expected_output_contains")

_POLICIES = {
    "auth-jwt": ("now enforced", "every call needs a token that the issuer signed for this gateway"),
    "audit-logging": ("now enforced", "every call, also a refused one, stands in the audit log"),
    "rate-limit": (
        "no equivalent",
        "it named no rate; declare `limits` of each operation, which the runtime enforces",
    ),
    "mtls": ("no equivalent", "callers prove who they are by OAuth tokens; client certificates are not asked for"),
    "data-encryption": ("derived", "every gateway and backend outside development is https"),
}


def known_keys(loc: Loc) -> Sequence[str]:
    """The keys of the level at which `loc` stands."""
    match loc:
        case (_,):
            return KEYS
        case ("endpoints", int(), _):
            return ENDPOINT_KEYS
        case ("endpoints", int(), "llm", _):
            return LLM_KEYS
        case ("endpoints", int(), "llm", "examples", int(), _):
            return EXAMPLE_KEYS
    return ()


@record
class Wanted:
    """One operation that an endpoint asks for."""

    part: Part
    loc: Loc
    method: str
    method_loc: Loc
    path: str
    backend: Backend
    wish: str
    """What it would be called."""
    single: bool
    """Whether it is its endpoint's only one."""


def original_name(account: Account) -> str:
    """What the contract is called; its file's name where it says nothing."""
    name = account.document.data.get("name")
    stem = account.document.file.path.rpartition("/")[2].partition(".")[0]
    return name if isinstance(name, str) and name.strip() else stem


def map_contract(scene: Scene, account: Account, owner: Owner, chosen: Mapping[str, str]) -> None:
    """Adds the contract's drafts to the scene; `chosen` names them by the origin of their backend."""
    data = account.document.data
    part = Part(account.file, ())
    why = scene.decisions.left_out.get(part)
    wanted = _wanted(scene, account, owner.name)
    if why is None and not wanted:
        why = "no operation of it can come in"
    if why is not None:
        _rows(scene, account, wanted, "", why)
        leave_out(account, (), why)
        return
    classification = _classification(scene, account)
    if classification is None:
        return
    by_origin = _by_origin(wanted)
    for origin, group in by_origin.items():
        if all(w.part in scene.decisions.left_out for w in group):
            for w in group:
                _rows(scene, account, [w], chosen[origin], scene.decisions.left_out[w.part])
                leave_out(account, w.loc, scene.decisions.left_out[w.part])
            continue
        backend = group[0].backend
        draft = Draft(part, account, owner.name, chosen[origin], {}, backend.host)
        _header(scene, draft, owner, classification, len(by_origin) > 1)
        _backend(scene, draft, owner, group)
        _operations(scene, draft, group, classification)
        scene.drafts.append(draft)
    if not any(d.part == part for d in scene.drafts):
        leave_out(account, (), "no operation of it can come in")
    _rest(account, data)


def origins(scene: Scene, account: Account, tenant: str) -> list[str]:
    """The origins of the contract's backends; each becomes a contract of its own."""
    return list(_by_origin(_wanted(scene, account, tenant)))


def size(scene: Scene, account: Account, tenant: str) -> int:
    """How many operations the contract asks for."""
    return len(_wanted(scene, account, tenant))


def _by_origin(wanted: Sequence[Wanted]) -> dict[str, list[Wanted]]:
    result: dict[str, list[Wanted]] = {}
    for w in wanted:
        result.setdefault(w.backend.origin, []).append(w)
    return result


def _wanted(scene: Scene, account: Account, tenant: str) -> list[Wanted]:
    """The operations that the file asks for, in its order."""
    endpoints = account.document.data.get("endpoints")
    if not isinstance(endpoints, list) or not endpoints:
        if "endpoints" in account.document.data:
            account.bad(("endpoints",), "`endpoints` is not a list with entries")
        else:
            account.missing((), "`endpoints` is missing")
        return []
    found: list[Wanted] = []
    for index, endpoint in enumerate(endpoints):
        loc: Loc = ("endpoints", index)
        if not isinstance(endpoint, dict):
            account.bad(loc, f"`endpoints[{index}]` is not a mapping")
            continue
        url, path = endpoint.get("backend_url"), endpoint.get("path")
        sound = True
        for key, value in (("path", path), ("backend_url", url)):
            if not isinstance(value, str) or not value.strip():
                sound = False
                if key in endpoint:
                    account.bad((*loc, key), f"`{key}` is not a text")
                else:
                    account.missing(loc, f"`{key}` is missing in `endpoints[{index}]`")
        methods = _methods(account, loc, endpoint)
        if not sound or not methods:
            leave_out(account, loc, "an endpoint needs `path`, `methods` and `backend_url`")
            continue
        assert isinstance(url, str)
        assert isinstance(path, str)
        backend = resolve(url, tenant, scene.wishes)
        for at, method in methods:
            found.append(
                Wanted(
                    part=Part(account.file, loc, method),
                    loc=loc,
                    method=method,
                    method_loc=at,
                    path=route_of(path),
                    backend=backend,
                    wish=_wish(endpoint, method, path, len(methods)),
                    single=len(methods) == 1,
                )
            )
    return found


def _methods(account: Account, loc: Loc, endpoint: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    listed = endpoint.get("methods")
    at: Loc = (*loc, "methods")
    if listed is None:
        account.missing(loc, f"`methods` is missing in `endpoints[{loc[-1]}]`")
        return []
    single = isinstance(listed, str)
    if not single and (not isinstance(listed, list) or not listed):
        account.bad(at, "`methods` is not a list of methods")
        return []
    found: dict[str, Loc] = {}
    for index, method in enumerate([listed] if single else listed):
        where = at if single else (*at, index)
        if not isinstance(method, str) or method.upper() not in METHODS:
            account.bad(where, f"`{str(method)[:40]}` is no method", f"Use one of {', '.join(sorted(METHODS))}.")
        elif method.upper() in found:
            account.put(where, "duplicate", f"{method.upper()} stands there already")
        else:
            found[method.upper()] = where
    return [(where, method) for method, where in found.items()]


def _wish(endpoint: Mapping[str, Any], method: str, path: str, count: int) -> str:
    declared = endpoint.get("operation_id")
    if not isinstance(declared, str) or not declared.strip():
        declared = mapping(endpoint.get("llm")).get("tool_name")
    if isinstance(declared, str) and declared.strip():
        return declared if count == 1 else f"{declared}_{method.lower()}"
    return "_".join([method.lower(), *words(path)])


def _classification(scene: Scene, account: Account) -> str | None:
    declared = account.document.data.get("classification")
    if declared in CLASSES:
        return str(declared)
    if declared is None and scene.wishes.classification is not None:
        if "classification" in account.document.data:
            account.put(("classification",), "note", "null says nothing")
        return scene.wishes.classification
    said = "the classification is missing"
    advice = "Add `H`, `VH` or `VVH`, or name one with --classification."
    if declared is None:
        account.missing((), said, advice)
    else:
        said = "the classification is none of `H`, `VH` and `VVH`"
        account.bad(("classification",), said, advice)
    _rows(scene, account, _wanted(scene, account, ""), "", said)
    leave_out(account, (), said)
    return None


def _header(scene: Scene, draft: Draft, owner: Owner, classification: str, split: bool) -> None:
    account, data, spec = draft.account, draft.account.document.data, draft.spec
    values = scene.values(account)
    name_at = Place(draft.path, ("metadata", "name"))
    name = data.get("name")
    if isinstance(name, str) and name.strip():
        reason = "one contract for each backend" if split else "names have at most 31 letters, digits and hyphens"
        account.put(("name",), *(("mapped", "") if name == draft.name else ("changed", reason)), name_at)
    else:
        if "name" in data:
            account.bad(("name",), "`name` is not a text")
        else:
            account.missing((), "`name` is missing", "The file's name is taken.")
        scene.assume(name_at, draft.name, "the file names no contract; called like the file")
    tenant = data.get("tenant_id")
    tenant_at = Place(draft.path, ("metadata", "tenant"))
    if isinstance(tenant, str) and tenant.strip():
        changed = tenant != draft.tenant
        why = "names have at most 31 letters, digits and hyphens, and some are reserved" if changed else ""
        account.put(("tenant_id",), "changed" if changed else "mapped", why, tenant_at)
    else:
        if "tenant_id" in data:
            account.put(("tenant_id",), "note", "says nothing; the command line names the tenant")
        scene.assume(tenant_at, draft.tenant, "the file names no tenant; the command line does")
    title = None
    if "display_name" in data:
        title = values.title(("display_name",), data["display_name"], draft.place("displayName"))
    if title is None:
        title = draft.name
        scene.assume(draft.place("displayName"), title, "the file has no display name")
    spec["displayName"] = title
    if "description" in data:
        description = values.text(("description",), data["description"], draft.place("description"))
        if description:
            spec["description"] = description
    version = None
    if data.get("version") is not None:
        version = values.version(("version",), data["version"], draft.place("version"))
    if version is None:
        scene.assume(draft.place("version"), "1.0.0", "the file has no version")
    spec["version"] = version or "1.0.0"
    spec["classification"] = classification
    if data.get("classification") is not None:
        account.put(("classification",), "mapped", "", draft.place("classification"))
    else:
        scene.assume(draft.place("classification"), classification, "the command line says it")
    spec["status"] = _status(scene, draft)
    spec["owner"] = owner.contact
    scene.assume(draft.place("owner"), owner.contact, "the tenant's contact")


def _status(scene: Scene, draft: Draft) -> str:
    account, declared = draft.account, draft.account.document.data.get("status")
    place = draft.place("status")
    if declared not in STATES:
        if declared is not None:
            account.bad(("status",), "the status is none of `draft`, `published` and `deprecated`")
        scene.assume(place, "draft", "the file has no status: nothing is exposed")
        return "draft"
    account.put(("status",), "mapped", "", place)
    return str(declared)


def _backend(scene: Scene, draft: Draft, owner: Owner, group: Sequence[Wanted]) -> None:
    account = draft.account
    shared = common([w.backend.path for w in group])
    url = group[0].backend.origin + shared
    draft.spec["backend"] = {"urls": dict.fromkeys(owner.environments, url)}
    for w in group:
        at = (*w.loc, "backend_url")
        places = [draft.place("backend", "urls", e) for e in owner.environments]
        reasons = [w.backend.reason] if w.backend.reason else []
        rest = w.backend.path[len(shared) :]
        if rest:
            reasons.append(f"`{rest}` stands before the operation's path")
        first = w.path.split("/")[1]
        if first and w.backend.path.endswith(f"/{first}"):
            reasons.append(
                f"requests go to `{url}{rest}{w.path}`: check that the backend's own path is not written twice"
            )
        account.put(at, "changed", "; ".join(reasons) or f"the base URL; `{w.path}` is appended", *places)
        if w.backend.credential:
            account.put(at, "secret", "the URL bears a credential: revoke it, and keep its successor in Vault")


def _operations(scene: Scene, draft: Draft, group: Sequence[Wanted], classification: str) -> None:
    chosen = naming.operation_names({w.part: w.wish for w in group}, draft.tenant, draft.name)
    shared = common([w.backend.path for w in group])
    operations: dict[str, Any] = {}
    kept = twins([(w.method, w.backend.path + w.path, True) for w in group])
    for index, w in enumerate(group):
        name = chosen[w.part]
        why = scene.decisions.left_out.get(w.part)
        if index in kept:
            why = f"{w.method} `{w.path}` is the route of `{group[kept[index]].wish}` too"
        if why is not None:
            if w.single:
                leave_out(draft.account, w.loc, why)
            else:
                draft.account.put(w.method_loc, "left out", why)
            _rows(scene, draft.account, [w], draft.name, why)
            continue
        operations[name] = _operation(scene, draft, name, w, w.backend.path[len(shared) :] + w.path, classification)
        draft.operations[name] = w.part
        tool = names.tool_id(draft.tenant, draft.name, name)
        scene.rows.append(Row(draft.account.file, w.loc, w.wish, w.method, w.path, tool, draft.name, ""))
    draft.spec["operations"] = operations
    came_in = {p.loc for p in draft.operations.values()}
    for w in group:
        if w.loc not in came_in:
            leave_out(draft.account, w.loc, scene.decisions.left_out.get(w.part, "no method of it came in"))


def _rows(scene: Scene, account: Account, wanted: Sequence[Wanted], contract: str, why: str) -> None:
    scene.rows += [Row(account.file, w.loc, w.wish, w.method, w.path, None, contract, why) for w in wanted]


def _operation(scene: Scene, draft: Draft, name: str, w: Wanted, path: str, classification: str) -> dict[str, Any]:
    account = draft.account
    endpoint = account.document.data["endpoints"][w.loc[1]]
    values = scene.values(account)

    def place(*loc: str | int) -> Place:
        return draft.place("operations", name, *loc)

    result: dict[str, Any] = {"method": w.method, "path": path}
    methods = endpoint["methods"]
    written = methods if isinstance(methods, str) else methods[w.method_loc[-1]]
    account.take(w.method_loc, written == w.method, "in capitals", place("method"))
    how = ROUTE if path == w.path else "part of the backend's own path stands before it"
    account.take((*w.loc, "path"), path == endpoint["path"], how, place("path"))
    llm = endpoint.get("llm")
    if llm is not None and not isinstance(llm, dict):
        account.bad((*w.loc, "llm"), "`llm` is not a mapping")
    elif "llm" in endpoint and not llm:
        account.put((*w.loc, "llm"), "note", "says nothing")
    llm = mapping(llm)
    at: Loc = (*w.loc, "llm")
    _name(scene, draft, w, name, endpoint, llm, place())
    for key, read in (("summary", values.title), ("intent", values.text)):
        if key in llm:
            text = read((*at, key), llm[key], place(key))
            if text:
                result[key] = text
    effects = _effects(scene, account, w, llm, place("sideEffects"))
    result["sideEffects"] = effects
    if "safe_for_agents" in llm:
        safe = values.truth((*at, "safe_for_agents"), llm["safe_for_agents"])
        if not safe:
            result["agents"] = False
            account.put((*at, "safe_for_agents"), "now enforced", "kept out of every MCP catalog", place("agents"))
        else:
            account.put((*at, "safe_for_agents"), "derived", "agents may call what is not kept from them")
    else:
        result["agents"] = False
        scene.assume(place("agents"), False, "nothing says that the operation is safe for agents")
    held = scene.decisions.held.get(w.part)
    if held is not None and result.get("agents", True):
        result["agents"] = False
        account.put((*w.loc, "path"), "held back", held, place("agents"))
        scene.assume(place("agents"), False, held)
    _approval(scene, account, w, llm, effects, classification, result, place("approval"))
    take_schemas(scene, account, w.loc, endpoint, path, result, place)
    if "examples" in llm:
        _examples(scene, account, (*at, "examples"), llm["examples"], result, place)
    return result


def _name(
    scene: Scene, draft: Draft, w: Wanted, name: str, endpoint: Mapping[str, Any], llm: Mapping[str, Any], at: Place
) -> None:
    account = draft.account
    declared = endpoint.get("operation_id")
    if isinstance(declared, str) and declared.strip():
        reason = "operations have lower-case letters, digits and underscores, and one method each"
        account.put(
            (*w.loc, "operation_id"),
            "mapped" if declared == name else "changed",
            "" if declared == name else reason,
            at,
        )
    elif declared is None and "operation_id" in endpoint:
        account.put((*w.loc, "operation_id"), "note", "null says nothing")
    elif "operation_id" in endpoint:
        account.bad((*w.loc, "operation_id"), "`operation_id` is not a text")
    else:
        scene.assume(at, name, "named after the tool, or method and path")
    tool = llm.get("tool_name")
    wire = names.wire_name(draft.tenant, draft.name, name)
    if isinstance(tool, str) and tool.strip():
        if w.single and wire is not None:
            scene.renamed[tool] = wire
        same = tool == wire
        said = "the names of tenant, contract and operation make it" if same else f"clients see `{wire}`"
        account.put((*w.loc, "llm", "tool_name"), "derived" if same else "changed", said, at)
    elif "tool_name" in llm:
        account.bad((*w.loc, "llm", "tool_name"), "`tool_name` is not a text")


def _effects(scene: Scene, account: Account, w: Wanted, llm: Mapping[str, Any], place: Place) -> SideEffects:
    declared = llm.get("side_effects")
    at: Loc = (*w.loc, "llm", "side_effects")
    if declared not in get_args(SideEffects):
        if "side_effects" in llm:
            account.bad(at, "the side effects are none of `none`, `read`, `write` and `destructive`")
        effects = side_effects_of(w.method)
        scene.assume(place, effects, f"what {w.method} may do")
        return effects
    effects = agreeing(w.method, cast(SideEffects, declared))
    if effects != declared:
        account.put(at, "changed", f"{w.method} does more than `{declared}`", place)
    elif not w.single and w.method in SAFE and declared in ("write", "destructive"):
        account.put(at, "changed", f"{w.method} only reads; other methods of the endpoint are `{declared}`", place)
        effects = "read"
    else:
        account.put(at, "mapped", "", place)
    return effects


def _approval(
    scene: Scene,
    account: Account,
    w: Wanted,
    llm: Mapping[str, Any],
    effects: SideEffects,
    classification: str,
    result: dict[str, Any],
    place: Place,
) -> None:
    if "requires_human_approval" not in llm:
        return
    at: Loc = (*w.loc, "llm", "requires_human_approval")
    declared = scene.values(account).truth(at, llm["requires_human_approval"])
    demanded = scene.demands_approval(classification, effects)
    if declared or declared is None:
        result["approval"] = True
        said = "was shown and not enforced; every call stops until a second person approves"
        said = said if declared else "taken as true"
        account.put(at, "now enforced", said, place)
    elif demanded:
        account.put(at, "now enforced", f"`{classification}` has `{effects}` approved, whatever the contract says")
    else:
        account.put(at, "derived", f"`{classification}` asks for no approval of `{effects}`")


def take_schemas(
    scene: Scene, account: Account, loc: Loc, data: Mapping[str, Any], path: str, result: dict[str, Any], place: Any
) -> None:
    """Puts the schemas of arguments and answer into the operation."""
    schema = Schema(account, (*loc, "input_schema"), place("input"))
    taken = schema.read(data["input_schema"]) if "input_schema" in data else None
    closed = schema.close(taken or {}, path)
    if taken is None:
        why = "no schema says more than the path" if closed.get("properties") else "without a schema, it takes none"
        scene.assume(place("input"), closed, f"the arguments: {why}")
    else:
        _added(scene, taken, closed, place)
    result["input"] = closed
    if "output_schema" in data:
        output = Schema(account, (*loc, "output_schema"), place("output")).read(data["output_schema"])
        if output is not None:
            result["output"] = output


def _added(scene: Scene, taken: Mapping[str, Any], closed: Mapping[str, Any], place: Any) -> None:
    """Tells what the schema of the arguments did not say itself."""
    for keyword in closed:
        if keyword not in taken and keyword != "properties":
            scene.assume(
                place("input", keyword), closed[keyword], "arguments are an object, closed, with the path's own"
            )
    declared, properties = taken.get("properties", {}), closed.get("properties", {})
    for argument in properties if isinstance(properties, dict) else ():
        if argument not in declared:
            why = "the path names it, and no schema does"
            scene.assume(place("input", "properties", argument), properties[argument], why)
    before, after = taken.get("required", []), closed.get("required", [])
    for index in range(len(before), len(after)) if isinstance(before, list) and "required" in taken else ():
        scene.assume(place("input", "required", index), after[index], "the path needs it")


def _examples(scene: Scene, account: Account, at: Loc, listed: Any, result: dict[str, Any], place: Any) -> None:
    """Whole examples become examples; where only part of the answer is known, the arguments join the schema's."""
    if not isinstance(listed, list):
        account.bad(at, "`examples` is not a list")
        return
    if not listed:
        account.put(at, "note", "the list is empty")
    takes, gives = _validator(result["input"]), _validator(result.get("output"))
    shown: list[Any] = (
        list(result["input"].get("examples", [])) if isinstance(result["input"].get("examples"), list) else []
    )
    whole: list[dict[str, Any]] = []
    for index, example in enumerate(listed):
        loc: Loc = (*at, index)
        if not isinstance(example, dict) or not isinstance(example.get("input"), dict):
            where = loc if not isinstance(example, dict) or "input" not in example else (*loc, "input")
            account.bad(where, "an example is a mapping with the mapping `input`")
            if where != loc:
                account.put(loc, "left out", "an example needs arguments")
            continue
        arguments, partial = example["input"], example.get("expected_output_contains")
        if takes is None or not takes.is_valid(arguments):
            account.put((*loc, "input"), "left out", "the arguments do not fit the schema")
            if "expected_output_contains" in example:
                account.put((*loc, "expected_output_contains"), "left out", "its arguments do not fit the schema")
            continue
        if "output" not in result or (isinstance(partial, dict) and gives is not None and gives.is_valid(partial)):
            number = len(whole)
            entry: dict[str, Any] = {"name": f"Example {index + 1}", "input": arguments}
            account.put((*loc, "input"), "mapped", "", place("examples", number, "input"))
            scene.assume(place("examples", number, "name"), entry["name"], "examples had no names")
            if "output" in result:
                entry["output"] = partial
                said = "a part of an answer that is a whole one by the schema; mock backends answer so"
                account.put((*loc, "expected_output_contains"), "changed", said, place("examples", number, "output"))
            elif "expected_output_contains" in example:
                said = "without an output schema there is nothing to check an answer against"
                account.put((*loc, "expected_output_contains"), "no equivalent", said)
            whole.append(entry)
            continue
        said = "the arguments alone, in the schema's `examples`: an example of the language has a whole answer"
        account.put((*loc, "input"), "changed", said, place("input", "examples", len(shown)))
        shown.append(arguments)
        if isinstance(partial, dict):
            said = "only part of an answer; the schema asks for more, and nothing of it is made up"
            account.put((*loc, "expected_output_contains"), "no equivalent", said)
        elif partial is None and "expected_output_contains" in example:
            account.put((*loc, "expected_output_contains"), "note", "null says nothing")
        elif partial is not None:
            account.bad((*loc, "expected_output_contains"), "`expected_output_contains` is not a mapping")
    if shown:
        result["input"]["examples"] = shown
    if whole:
        result["examples"] = whole


def _validator(schema: Any) -> jsonschema_rs.Draft202012Validator | None:
    if not isinstance(schema, dict):
        return None
    try:
        return jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        return None


def _rest(account: Account, data: Mapping[str, Any]) -> None:
    """The account of what is carried over nowhere."""
    policies = data.get("required_policies")
    if isinstance(policies, list):
        for index, policy in enumerate(policies):
            outcome, reason = _POLICIES.get(
                str(policy), ("never enforced", "nothing enforced it; the classification says what holds")
            )
            account.put(("required_policies", index), outcome, reason)  # type: ignore[arg-type]
        if not policies:
            account.put(("required_policies",), "derived", "the classification says what must be fulfilled")
    elif policies is not None:
        account.bad(("required_policies",), "`required_policies` is not a list")
    else:
        _null(account, data, "required_policies")
    for key, reason in (
        ("source_spec_url", "a contract stands on a pinned file, not on a URL: `stoa import openapi` makes one"),
        ("spec_hash", "pins what lies elsewhere: `stoa import openapi` keeps the file and pins its digest"),
    ):
        if data.get(key) is not None:
            account.put((key,), "no equivalent", reason)
        else:
            _null(account, data, key)
    for key in ("version", "status", "display_name", "description"):
        if data.get(key) is None:
            _null(account, data, key)


def _null(account: Account, data: Mapping[str, Any], key: str) -> None:
    if key in data and (key,) not in account.entries:
        account.put((key,), "note", "null says nothing")

"""Tenant bundles of the earlier form: a tenant, a contract for each API, and an account of all that was declared."""

import re
from collections.abc import Mapping
from typing import Any

from stoa_compiler.openapi.text import words
from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2 import naming
from stoa_compiler.stoa_v2.account import Account, Place, leaves
from stoa_compiler.stoa_v2.backends import resolve
from stoa_compiler.stoa_v2.contracts import CLASSES, STATES, take_schemas
from stoa_compiler.stoa_v2.declared import verdict
from stoa_compiler.stoa_v2.drafts import (
    METHODS,
    ROUTE,
    Draft,
    Owner,
    Row,
    Scene,
    leave_out,
    put_all,
    route_of,
    side_effects_of,
    twins,
)
from stoa_compiler.stoa_v2.values import Values, is_email, mapping
from stoa_compiler.stoa_v2.wishes import Part
from stoa_schemas import names
from stoa_schemas.base import calls_per_second, milliseconds

CORE_TOOLS = {
    "stoa_catalog": "the platform's own tool of that name",
    "stoa_platform": "the platform's own `stoa_tenants`",
    "stoa_security": "the platform's own `stoa_security_posture`",
    "stoa_tools": "the platform's own tool of that name",
    "stoa_tenants": "the platform's own tool of that name",
    "stoa_contract": "the platform's own tool of that name",
    "stoa_security_posture": "the platform's own tool of that name",
}

_ENV_VAR = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_PREFIX = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")
_USER = re.compile(r"[^:\s]{1,128}")
_LITERALS = ("token", "password", "secret", "key", "api_key", "apikey", "value", "credentials", "client_secret")


def tenant_name(data: Mapping[str, Any]) -> str | None:
    """What the bundle calls its tenant."""
    metadata = mapping(data.get("metadata"))
    for found in (metadata.get("name"), mapping(metadata.get("labels")).get("tenant-id")):
        if isinstance(found, str) and found.strip():
            return found
    return None


def contact_of(data: Mapping[str, Any]) -> str | None:
    """Whom the bundle says to write to."""
    found = mapping(mapping(data.get("metadata")).get("labels")).get("admin-email")
    return found if is_email(found) else None


def prefix_of(data: Mapping[str, Any]) -> str | None:
    """Where the bundle keeps its secrets, without Vault's own way of writing a path."""
    path = mapping(mapping(mapping(data.get("spec")).get("security")).get("secrets")).get("path")
    if not isinstance(path, str):
        return None
    bare = re.sub(r"^secret/(data/)?", "", path.strip("/ "))
    return bare if _PREFIX.fullmatch(bare) and len(bare) <= 128 else None


def apis_of(data: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The bundle's APIs that are mappings."""
    apis = mapping(data.get("spec")).get("apis")
    return [(i, a) for i, a in enumerate(apis) if isinstance(a, dict)] if isinstance(apis, list) else []


def api_name(index: int, api: Mapping[str, Any]) -> str:
    """What the API is called."""
    found = api.get("name")
    return found if isinstance(found, str) and found.strip() else f"api-{index + 1}"


def map_bundle(scene: Scene, account: Account, owner: Owner, chosen: Mapping[int, str]) -> dict[str, Any] | None:
    """Adds the bundle's drafts to the scene; gives the tenant's document where it is new."""
    data = account.document.data
    spec = data["spec"]
    apis = spec.get("apis")
    if apis is not None and not isinstance(apis, list):
        account.bad(("spec", "apis"), "`apis` is not a list")
    for index, item in enumerate(apis if isinstance(apis, list) else []):
        if not isinstance(item, dict):
            account.bad(("spec", "apis", index), f"`apis[{index}]` is not a mapping")
    tools = _proxied(account, spec)
    for index, api in apis_of(data):
        if index in chosen:
            _Api(scene, account, owner, index, api, chosen[index], tools).map()
        else:
            reason = f"another contract of `{owner.name}` is called `{api_name(index, api)}`"
            leave_out(account, ("spec", "apis", index), reason)
    document = _tenant(scene, account, owner, data)
    _tools(scene, account, owner, spec)
    _settings(scene, account, data)
    return document


def _proxied(account: Account, spec: Mapping[str, Any]) -> frozenset[str] | None:
    """Tools that the bundle gives to agents; None where it does not choose."""
    listed = mapping(spec.get("mcp_tools")).get("proxied_tools")
    if listed is None:
        return None
    if not isinstance(listed, list):
        account.bad(("spec", "mcp_tools", "proxied_tools"), "`proxied_tools` is not a list")
        return frozenset()
    return frozenset(t for t in listed if isinstance(t, str))


class _Api:
    """One API on its way into a contract."""

    def __init__(
        self,
        scene: Scene,
        account: Account,
        owner: Owner,
        index: int,
        api: dict[str, Any],
        name: str,
        tools: frozenset[str] | None,
    ) -> None:
        self.scene = scene
        self.account = account
        self.owner = owner
        self.api = api
        self.loc: Loc = ("spec", "apis", index)
        self.tools = tools
        self.values: Values = scene.values(account)
        self.original = api_name(index, api)
        self.spec = account.document.data["spec"]
        part = Part(account.file, self.loc)
        self.draft = Draft(part, account, owner.name, name, {}, "")

    def map(self) -> None:
        """Adds the draft to the scene, or notes why there is none."""
        why = self.scene.decisions.left_out.get(self.draft.part)
        classification = self.api.get("classification")
        if classification is None and self.scene.wishes.classification is not None:
            classification = self.scene.wishes.classification
            self.scene.assume(self.draft.place("classification"), classification, "the command line says it")
        elif classification not in CLASSES:
            at: Loc = (*self.loc, "classification")
            why = (
                "the classification is missing"
                if classification is None
                else "the classification is none of `H`, `VH`, `VVH`"
            )
            advice = "Add `H`, `VH` or `VVH`, or name one with --classification."
            if "classification" in self.api:
                self.account.bad(at, why, advice)
            else:
                self.account.missing(self.loc, why, advice)
        url = self.api.get("backend")
        if not isinstance(url, str) or not url.strip():
            why = "the API has no backend"
            if "backend" in self.api:
                self.account.bad((*self.loc, "backend"), "`backend` is not a URL")
            else:
                self.account.missing(self.loc, f"`backend` is missing in `{self.original[:60]}`")
            url = ""
        wanted = self._wanted()
        if why is None and all(part in self.scene.decisions.left_out for _, part, *_ in wanted):
            why = "no operation of it can come in"
            reasons = [self.scene.decisions.left_out[part] for _, part, *_ in wanted]
            why = "; ".join(dict.fromkeys([why, *reasons]))
        if why is not None:
            self._leave_out(wanted, why)
            return
        assert isinstance(classification, str)
        self._header(classification)
        self._backend(url, classification)
        self._operations(wanted, classification)
        self.scene.drafts.append(self.draft)

    def _leave_out(self, wanted: list[tuple[Loc, Part, str, str, str]], why: str) -> None:
        for at, _, wish, method, path in wanted:
            self._row(at, wish, method, path, None, why)
        leave_out(self.account, self.loc, why)

    def _row(self, at: Loc, wish: str, method: str, path: str, tool: str | None, why: str) -> None:
        self.scene.rows.append(Row(self.account.file, at, wish, method, path, tool, self.draft.name, why))

    def _wanted(self) -> list[tuple[Loc, Part, str, str, str]]:
        """Place, part, wished name, method and path of each operation."""
        listed = self.api.get("operations")
        if not isinstance(listed, list) or not listed:
            if "operations" in self.api:
                self.account.bad((*self.loc, "operations"), "`operations` is not a list with entries")
            else:
                self.account.missing(self.loc, f"`operations` is missing in `{self.original[:60]}`")
            return []
        found: list[tuple[Loc, Part, str, str, str]] = []
        for index, operation in enumerate(listed):
            at: Loc = (*self.loc, "operations", index)
            if not isinstance(operation, dict):
                self.account.bad(at, f"`operations[{index}]` is not a mapping")
                continue
            method, path, sound = operation.get("method"), operation.get("path"), True
            for key, value in (("method", method), ("path", path)):
                if key not in operation:
                    self.account.missing(at, f"`{key}` is missing in `operations[{index}]`")
                    sound = False
                elif not isinstance(value, str) or not value.strip():
                    self.account.bad((*at, key), f"`{key}` is not a text")
                    sound = False
                elif key == "method" and value.upper() not in METHODS:
                    advice = f"Use one of {', '.join(sorted(METHODS))}."
                    self.account.bad((*at, key), f"`{value[:40]}` is no method", advice)
                    sound = False
            if not sound:
                leave_out(self.account, at, "an operation needs `method` and `path`")
                continue
            assert isinstance(method, str)
            assert isinstance(path, str)
            name = operation.get("name")
            wish = name if isinstance(name, str) and name.strip() else "_".join([method.lower(), *words(path)])
            found.append((at, Part(self.account.file, at, method.upper()), wish, method.upper(), path))
        return found

    def _header(self, classification: str) -> None:
        draft, account, api, spec = self.draft, self.account, self.api, self.draft.spec
        name_at = Place(draft.path, ("metadata", "name"))
        if api.get("name") == draft.name:
            account.put((*self.loc, "name"), "mapped", "", name_at)
        elif isinstance(api.get("name"), str) and api["name"].strip():
            said = "names have at most 31 letters, digits and hyphens, and one owner each"
            account.put((*self.loc, "name"), "changed", said, name_at)
        else:
            if "name" in api:
                account.bad((*self.loc, "name"), "`name` is not a text")
            self.scene.assume(name_at, draft.name, "the API has no name")
        title = None
        if "displayName" in api:
            title = self.values.title((*self.loc, "displayName"), api["displayName"], draft.place("displayName"))
        if title is None:
            title = draft.name
            self.scene.assume(draft.place("displayName"), title, "the API has no display name")
        spec["displayName"] = title
        if "description" in api:
            text = self.values.text((*self.loc, "description"), api["description"], draft.place("description"))
            if text:
                spec["description"] = text
        version = None
        if api.get("version") is not None:
            version = self.values.version((*self.loc, "version"), api["version"], draft.place("version"))
        if version is None:
            self.scene.assume(draft.place("version"), "1.0.0", "APIs of bundles have no version")
        spec["version"] = version or "1.0.0"
        spec["classification"] = classification
        if "classification" in api and api["classification"] is not None:
            account.put((*self.loc, "classification"), "mapped", "", draft.place("classification"))
        spec["status"] = self._status()
        spec["owner"] = self.owner.contact
        self.scene.assume(draft.place("owner"), self.owner.contact, "the tenant's contact")

    def _status(self) -> str:
        declared, at = self.api.get("status"), (*self.loc, "status")
        if declared is not None and declared not in STATES:
            self.account.bad(at, "the status is none of `draft`, `published` and `deprecated`")
            declared = "draft"
        status = str(declared or "published")
        place = self.draft.place("status")
        if declared in STATES and "status" in self.api and at not in self.account.entries:
            self.account.put(at, "mapped", "", place)
        else:
            self.scene.assume(place, status, "APIs of bundles have no status; they were served")
        return status

    def _backend(self, url: str, classification: str) -> None:
        draft, account = self.draft, self.account
        backend = resolve(url, draft.tenant, self.scene.wishes)
        base = backend.origin + backend.path
        draft.host = backend.host
        result: dict[str, Any] = {"urls": dict.fromkeys(self.owner.environments, base)}
        draft.spec["backend"] = result
        at = (*self.loc, "backend")
        places = [draft.place("backend", "urls", e) for e in self.owner.environments]
        account.take(at, base == url, backend.reason or "without the slash at its end", *places)
        if backend.credential:
            account.put(at, "secret", "the URL bears a credential: revoke it, and keep its successor in Vault")
        if "authentication" in self.api:
            auth = self._auth()
            if auth is not None:
                result["auth"] = auth
        settings = mapping(mapping(self.spec.get("classifications")).get(classification))
        at = ("spec", "classifications", classification)
        timeouts = self._timeouts(at, settings)
        if timeouts:
            result["timeouts"] = timeouts
        retries = self._retries((*at, "retry_policy"), mapping(settings.get("retry_policy")))
        if retries:
            result["retries"] = retries
        breaker = self._breaker((*at, "circuit_breaker"), mapping(settings.get("circuit_breaker")))
        if breaker:
            result["circuitBreaker"] = breaker

    def _auth(self) -> dict[str, str] | None:
        declared, at, account = self.api["authentication"], (*self.loc, "authentication"), self.account
        if not isinstance(declared, dict):
            account.bad(at, "`authentication` is not a mapping")
            return None
        for key in _LITERALS:
            if isinstance(declared.get(key), str):
                account.put((*at, key), "secret", "a credential in a file is known to all who have it: revoke it")
        kind, header, variable = declared.get("type"), declared.get("header"), declared.get("env_var")
        place = self.draft.place("backend", "auth")
        if kind in ("none", None) and variable is None:
            account.put(at, "derived", "the backend asks for no credential")
            return None
        if not isinstance(variable, str) or not _ENV_VAR.fullmatch(variable):
            said = "without `env_var` there is nothing to name the secret by; the contract has no `auth`"
            if "env_var" in declared:
                account.bad((*at, "env_var"), "`env_var` is not the name of a variable")
            put_all(account, declared, at, "left out", said)
            return None
        secret = f"vault:{self.owner.prefix}/{self.draft.name}#{variable}"
        own_header = header if isinstance(header, str) and _HEADER.fullmatch(header) else None
        if header is not None and own_header is None:
            account.bad((*at, "header"), "`header` is not a header's name")
        result: dict[str, str]
        if kind in ("bearer", "oauth2", "token", "jwt") and (own_header or "Authorization").lower() == "authorization":
            result = {"type": "bearer", "secret": secret}
            if own_header:
                account.put((*at, "header"), "derived", "a bearer token stands there (RFC 6750)")
        elif kind == "basic" and isinstance(declared.get("username"), str) and _USER.fullmatch(declared["username"]):
            result = {"type": "basic", "username": declared["username"], "secret": secret}
            account.put((*at, "username"), "mapped", "", Place(place.path, (*place.loc, "username")))
        elif kind in ("api_key", "apikey", "apiKey", "header", "bearer", "token") and own_header:
            result = {"type": "header", "header": own_header, "secret": secret}
            account.put((*at, "header"), "mapped", "", Place(place.path, (*place.loc, "header")))
        else:
            account.bad(
                (*at, "type") if "type" in declared else at,
                "the credential's kind cannot be carried over",
                "Credentials are `bearer`, `header` with the header's name, or `basic` with the user's name.",
            )
            put_all(account, declared, at, "left out", "the contract has no `auth`")
            return None
        said = f"the variable becomes the key `{variable}` of a secret in Vault: put the value there"
        account.put((*at, "env_var"), "changed", said, Place(place.path, (*place.loc, "secret")))
        at_type = Place(place.path, (*place.loc, "type"))
        account.take((*at, "type"), kind == result["type"], f"`{result['type']}` is what is sent", at_type)
        return result

    def _timeouts(self, at: Loc, settings: Mapping[str, Any]) -> dict[str, str]:
        networking = mapping(self.spec.get("networking"))
        found: dict[str, str] = {}
        total = (
            self.values.duration((*at, "timeout"), settings["timeout"]) if settings.get("timeout") is not None else None
        )
        for key, name in (("connect_timeout", "connect"), ("read_timeout", "read")):
            where: Loc = ("spec", "networking", key)
            if networking.get(key) is None:
                continue
            text = self.values.duration(where, networking[key], total or "")
            if text is not None:
                found[name] = text
                same = text == networking[key]
                said = "" if same else f"no longer than the whole call, `{text}`, in `{self.draft.name}`"
                self.account.put(
                    where, "mapped" if same else "changed", said, self.draft.place("backend", "timeouts", name)
                )
        if total is not None:
            found["total"] = total
            same = total == settings["timeout"]
            place = self.draft.place("backend", "timeouts", "total")
            self.account.take((*at, "timeout"), same, "in seconds", place)
        elif found:
            longest = max(found.values(), key=milliseconds)
            found["total"] = longest
            self.scene.assume(
                self.draft.place("backend", "timeouts", "total"), longest, "no time for a whole call is said"
            )
        return found

    def _retries(self, at: Loc, policy: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if policy.get("max_retries") is not None:
            number = self.values.whole((*at, "max_retries"), policy["max_retries"])
            if number is not None:
                found["attempts"] = min(max(number, 0), 5)
                same = found["attempts"] == number
                said = "only for methods that may be repeated" if same else "at most 5"
                place = self.draft.place("backend", "retries", "attempts")
                self.account.put((*at, "max_retries"), "mapped" if same else "changed", said, place)
        if policy.get("initial_delay") is not None:
            wait = self.values.duration((*at, "initial_delay"), policy["initial_delay"])
            if wait is not None:
                found["backoff"] = wait
                place = self.draft.place("backend", "retries", "backoff")
                same = wait == policy["initial_delay"]
                self.account.take((*at, "initial_delay"), same, "in seconds", place)
        if policy.get("backoff") == "exponential":
            self.account.put((*at, "backoff"), "derived", "the wait doubles with each try")
        return found

    def _breaker(self, at: Loc, breaker: Mapping[str, Any]) -> dict[str, Any] | None:
        if not breaker:
            return None
        enabled = self.values.truth((*at, "enabled"), breaker["enabled"]) if "enabled" in breaker else True
        if not enabled:
            self.account.put(
                (*at, "enabled"), "no equivalent", "the platform's default breaker holds, where it has one"
            )
            return None
        failures, reset = breaker.get("failure_threshold"), breaker.get("reset_timeout")
        if failures is None or reset is None:
            self.account.missing(at, "a breaker needs `failure_threshold` and `reset_timeout`")
            return None
        number = self.values.whole((*at, "failure_threshold"), failures)
        wait = self.values.duration((*at, "reset_timeout"), reset)
        if number is None or wait is None:
            return None
        bounded = min(max(number, 1), 1000)
        place = self.draft.place("backend", "circuitBreaker")
        if "enabled" in breaker:
            self.account.put((*at, "enabled"), "derived", "a breaker that is declared is on")
        for key, name, same in (
            ("failure_threshold", "failures", bounded == number),
            ("reset_timeout", "reset", wait == reset),
        ):
            self.account.take((*at, key), same, "with a unit, and within bounds", Place(place.path, (*place.loc, name)))
        return {"failures": bounded, "reset": wait}

    def _operations(self, wanted: list[tuple[Loc, Part, str, str, str]], classification: str) -> None:
        draft = self.draft
        chosen = naming.operation_names({at: wish for at, _, wish, _, _ in wanted}, draft.tenant, draft.name)
        operations: dict[str, Any] = {}
        routes = [(m, route_of(p), self._exposed(chosen[at], wish)) for at, _, wish, m, p in wanted]
        kept = twins(routes)
        for index, (at, part, wish, method, path) in enumerate(wanted):
            why = self.scene.decisions.left_out.get(part)
            if index in kept:
                why = f"{method} `{routes[index][1]}` is the route of `{wanted[kept[index]][2]}` too"
            if why is not None:
                leave_out(self.account, at, why)
                self._row(at, wish, method, path, None, why)
                continue
            name = chosen[at]
            operations[name] = self._operation(at, part, name, wish, method, path)
            draft.operations[name] = part
            self._row(at, wish, method, path, names.tool_id(draft.tenant, draft.name, name), "")
        draft.spec["operations"] = operations
        self._limits(operations, classification)

    def _operation(self, at: Loc, part: Part, name: str, wish: str, method: str, path: str) -> dict[str, Any]:
        account, draft = self.account, self.draft
        operation: dict[str, Any] = account.document.data
        for step in at:
            operation = operation[step]  # type: ignore[index]

        def place(*loc: str | int) -> Place:
            return draft.place("operations", name, *loc)

        declared = operation.get("name")
        if isinstance(declared, str) and declared.strip():
            said = "" if declared == name else "names are lower-case letters, digits and underscores, each once"
            account.put((*at, "name"), "changed" if said else "mapped", said, place())
        else:
            if "name" in operation:
                account.bad((*at, "name"), "`name` is not a text")
            self.scene.assume(place(), name, "named after method and path")
        route = route_of(path)
        result: dict[str, Any] = {"method": method, "path": route}
        account.take((*at, "method"), operation["method"] == method, "in capitals", place("method"))
        account.take((*at, "path"), operation["path"] == route, ROUTE, place("path"))
        if "description" in operation:
            summary = self.values.title((*at, "description"), operation["description"], place("summary"))
            if summary:
                result["summary"] = summary
        effects = side_effects_of(method)
        result["sideEffects"] = effects
        self.scene.assume(place("sideEffects"), effects, f"what {method} may do")
        if not self._exposed(name, wish):
            result["agents"] = False
            self.scene.assume(place("agents"), False, "`proxied_tools` does not name it")
        elif (held := self.scene.decisions.held.get(part)) is not None:
            result["agents"] = False
            account.put((*at, "path"), "held back", held, place("agents"))
            self.scene.assume(place("agents"), False, held)
        take_schemas(self.scene, account, at, operation, route, result, place)
        return result

    def _exposed(self, name: str, wish: str) -> bool:
        """Whether the bundle gives the operation to agents."""
        if self.tools is None:
            return True
        old = f"{tenant_name(self.account.document.data) or ''}:{self.original}:{wish}"
        return bool({old, names.tool_id(self.draft.tenant, self.draft.name, name)} & self.tools)

    def _limits(self, operations: dict[str, Any], classification: str) -> None:
        """The lowest of the rates that concern the API, for each operation; the cap of its class bounds it."""
        rates = mapping(self.spec.get("rateLimits"))
        overrides = mapping(mapping(rates.get("per_api")).get("overrides"))
        of_api: Loc = ("spec", "rateLimits", "per_api")
        places: list[tuple[Loc, Any]] = [
            (
                ("spec", "classifications", classification, "rate_limit"),
                mapping(mapping(self.spec.get("classifications")).get(classification)).get("rate_limit"),
            ),
            (("spec", "rateLimits", "per_consumer", "default"), mapping(rates.get("per_consumer")).get("default")),
        ]
        if self.original in overrides:
            places.append(((*of_api, "overrides", self.original), overrides[self.original]))
        else:
            places.append(((*of_api, "default"), mapping(rates.get("per_api")).get("default")))
        found: list[tuple[Loc, int]] = []
        for loc, value in places:
            if value is None:
                continue
            number = self.values.whole(loc, value)
            if number is None:
                continue
            if number < 1:
                self.account.put(loc, "derived", "no limit of its own")
            else:
                found.append((loc, min(number, 999_999_999)))
        if not found:
            return
        lowest = min(number for _, number in found)
        rate = self.scene.capped(lowest, classification)
        for loc, number in found:
            if number > lowest:
                said = f"a lower rate, {lowest} a minute, concerns `{self.draft.name}` too"
                self.account.put(loc, "duplicate", said)
                continue
            said = "read as calls a minute of one caller, like `rateLimits.global`; the runtime enforces it"
            if rate < lowest:
                said += f"; lowered to {rate}, the most that the platform lets `{classification}` have"
            all_places = [self.draft.place("operations", o, "limits", "rate") for o in operations]
            self.account.put(loc, "changed", said, *all_places)
        for operation in operations.values():
            operation["limits"] = {"rate": f"{rate}/minute"}


def _tenant(scene: Scene, account: Account, owner: Owner, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tenant's document where it is new; what the bundle says of the tenant is accounted for either way."""
    path = f"{owner.name}/tenant.yaml"
    metadata, spec = data.get("metadata"), data["spec"]
    if not isinstance(metadata, dict):
        if metadata is not None:
            account.bad(("metadata",), "`metadata` is not a mapping")
        metadata = {}
    name_at = Place(path, ("metadata", "name"))
    owned = [Place(d.path, ("metadata", "tenant")) for d in scene.drafts if d.account is account]
    if isinstance(metadata.get("name"), str) and metadata["name"].strip():
        same = metadata["name"] == owner.name
        said = "" if same else "names have at most 31 letters, digits and hyphens, and some are reserved"
        account.put(("metadata", "name"), "mapped" if same else "changed", said, name_at, *owned)
    else:
        if "name" in metadata:
            account.bad(("metadata", "name"), "`name` is not a text")
        for at in (name_at, *owned):
            scene.assume(at, owner.name, "`metadata.name` does not say it")
    labels = mapping(metadata.get("labels"))
    of_labels: Loc = ("metadata", "labels")
    if "tenant-id" in labels:
        same = labels["tenant-id"] == metadata.get("name")
        said = "`metadata.name` says it" if same else f"differs from the name; the tenant is `{owner.name}`"
        account.put((*of_labels, "tenant-id"), "duplicate" if same else "note", said)
    if "admin-email" in labels:
        where: Loc = (*of_labels, "admin-email")
        if not is_email(labels["admin-email"]):
            account.bad(where, "`admin-email` is not an address")
        elif labels["admin-email"] == owner.contact:
            account.put(where, "mapped", "", Place(path, ("spec", "contact")))
        else:
            account.put(where, "duplicate", f"the tenant's contact is `{owner.contact}` already")
    if "keycloak-realm" in labels:
        realm = scene.platform.spec.identity.realm
        same = labels["keycloak-realm"] == realm
        said = "the platform document names the realm" if same else f"the platform's one realm is `{realm}`"
        account.put((*of_labels, "keycloak-realm"), "derived" if same else "no equivalent", said)
    tier = _tier(scene, account, owner, metadata, path)
    secrets = mapping(mapping(spec.get("security")).get("secrets"))
    if "path" in secrets:
        where = ("spec", "security", "secrets", "path")
        if prefix_of(data) == owner.prefix:
            said = "the prefix of the tenant's secrets, without Vault's own `secret/data/`"
            account.put(where, "changed", said, Place(path, ("spec", "secrets", "prefix")))
        else:
            account.put(where, "no equivalent", f"the prefix of the tenant's secrets is `{owner.prefix}`")
    if "provider" in secrets and secrets["provider"] != "vault":
        account.put(("spec", "security", "secrets", "provider"), "no equivalent", "secrets are kept in Vault")
    quotas = _quotas(scene, account, owner, spec, tier, path)
    return {"tier": tier, "quotas": quotas} if owner.new else None


def _tier(scene: Scene, account: Account, owner: Owner, metadata: Mapping[str, Any], path: str) -> str:
    tiers = scene.platform.spec.tiers
    declared, at = metadata.get("tier"), ("metadata", "tier")
    place = Place(path, ("spec", "tier"))
    if not owner.new:
        if "tier" in metadata:
            account.put(at, "duplicate", "the tenant's document says its tier already; compare them")
        return ""
    if isinstance(declared, str) and declared in tiers:
        account.put(at, "mapped", "", place)
        return declared
    fitting = scene.fitting_tier(owner.name)
    if "tier" in metadata:
        account.put(at, "no equivalent", f"the platform has no such tier; `{fitting}` is large enough")
    scene.assume(place, fitting, "the platform's smallest tier that is large enough")
    return fitting


def _quotas(
    scene: Scene, account: Account, owner: Owner, spec: Mapping[str, Any], tier: str, path: str
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    values = scene.values(account)
    minute = mapping(mapping(spec.get("rateLimits")).get("global")).get("requests_per_minute")
    at: Loc = ("spec", "rateLimits", "global", "requests_per_minute")
    limit = mapping(spec.get("features")).get("mcp_tools_limit")
    limit_at: Loc = ("spec", "features", "mcp_tools_limit")
    if not owner.new:
        for where, value in ((at, minute), (limit_at, limit)):
            if value is not None:
                account.put(where, "no equivalent", "the tenant's document stands and is left as it is; compare them")
        return result
    cap = scene.platform.spec.tiers[tier]
    number = values.whole(at, minute) if minute is not None else None
    if number is not None and number > 0:
        most = int(calls_per_second(cap.max_rate) * 60 + 1e-9)
        rate = min(number, max(1, most), 999_999_999)
        if calls_per_second(f"{rate}/minute") <= calls_per_second(cap.max_rate):
            result["rate"] = f"{rate}/minute"
            said = "the runtime enforces it for all calls of the tenant"
            if rate < number:
                said += f"; lowered to {rate}, the most that the tier `{tier}` has"
            account.put(at, "changed", said, Place(path, ("spec", "quotas", "rate")))
    elif number is not None:
        account.put(at, "derived", "no limit of its own; the tier's holds")
    if limit is not None:
        tools = values.whole(limit_at, limit)
        if tools is not None and tools > 0:
            result["maxTools"] = min(tools, cap.max_tools)
            same = tools == result["maxTools"]
            said = "" if same else "the most that the tier has"
            account.put(limit_at, "mapped" if same else "changed", said, Place(path, ("spec", "quotas", "maxTools")))
        elif tools is not None:
            account.put(limit_at, "derived", "no limit of its own; the tier's holds")
    return result


def _tools(scene: Scene, account: Account, owner: Owner, spec: Mapping[str, Any]) -> None:
    declared = spec.get("mcp_tools")
    if declared is not None and not isinstance(declared, dict):
        account.bad(("spec", "mcp_tools"), "`mcp_tools` is not a mapping")
        return
    at: Loc = ("spec", "mcp_tools")
    core = mapping(declared).get("core_tools")
    if isinstance(core, list):
        for index, tool in enumerate(core):
            said = CORE_TOOLS.get(str(tool))
            if said is not None:
                account.put((*at, "core_tools", index), "derived", f"{said}, for roles with the permission")
            else:
                account.put((*at, "core_tools", index), "no equivalent", "the platform has no such tool of its own")
    elif core is not None:
        account.bad((*at, "core_tools"), "`core_tools` is not a list")
    listed = mapping(declared).get("proxied_tools")
    if not isinstance(listed, list):
        return
    mine = [d for d in scene.drafts if d.account is account]
    came = {}
    for row in scene.rows:
        if row.file == account.file and row.tool is not None:
            old = _old_api(account, row.loc)
            came[f"{tenant_name(account.document.data) or ''}:{old}:{row.operation}"] = row.tool
            came[row.tool] = row.tool
    for index, tool in enumerate(listed):
        where: Loc = (*at, "proxied_tools", index)
        if not isinstance(tool, str):
            account.bad(where, "a tool's name is a text")
        elif tool in came:
            same = came[tool] == tool
            said = "the contract makes this tool" if same else f"the tool is called `{came[tool]}` now"
            account.put(where, "derived" if same else "changed", said, *_tool_place(mine, came[tool]))
        else:
            account.put(where, "left out", "no operation that came in makes this tool")


def _tool_place(drafts: list[Draft], tool: str) -> list[Place]:
    _, contract, operation = tool.split(":")
    return [d.place("operations", operation) for d in drafts if d.name == contract]


def _old_api(account: Account, loc: Loc) -> str:
    index = loc[2]
    assert isinstance(index, int)
    return api_name(index, account.document.data["spec"]["apis"][index])


def _settings(scene: Scene, account: Account, data: Mapping[str, Any]) -> None:
    """The account of every value that nothing above took."""
    methods = mapping(mapping(mapping(data["spec"]).get("security")).get("authentication")).get("methods")
    if isinstance(methods, list) and "oauth2" in methods:
        at: Loc = ("spec", "security", "authentication", "methods", methods.index("oauth2"))
        account.put(at, "now enforced", "every call needs a token of the platform's issuer")
    classes = mapping(mapping(data["spec"]).get("classifications"))
    used = {d.spec["classification"] for d in scene.drafts if d.account is account}
    for name in classes:
        if name not in CLASSES:
            account.put(("spec", "classifications", name), "unknown", "the classes are `H`, `VH` and `VVH`")
        elif name not in used:
            said = f"no contract of class `{name}` came in that could take it"
            account.put(("spec", "classifications", name), "no equivalent", said)
    for loc, _ in leaves(data):
        if any(loc[:n] in account.entries for n in range(1, len(loc) + 1)):
            continue
        found = verdict(loc)
        if found is None:
            continue
        where, (outcome, reason) = found
        if where == ("spec", "classifications"):
            continue
        if account.touches(where):
            account.put(loc, outcome, reason)  # Some of it was taken: the rest is told value by value.
        else:
            account.put(where, outcome, reason)

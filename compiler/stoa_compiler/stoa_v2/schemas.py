"""Schemas of the earlier form: the same in JSON Schema 2020-12, with an account of each keyword that changed."""

import re
from typing import Any

from stoa_compiler.checks.schemas import pattern_problem
from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2.account import Account, Place

_KEYWORDS = frozenset(
    """
    $comment $defs $ref $schema additionalProperties allOf anyOf const contains contentEncoding contentMediaType
    contentSchema default definitions dependentRequired dependentSchemas deprecated description else enum examples
    exclusiveMaximum exclusiveMinimum format if items maxContains maxItems maxLength maxProperties maximum minContains
    minItems minLength minProperties minimum multipleOf not oneOf pattern patternProperties prefixItems properties
    propertyNames readOnly required then title type unevaluatedItems unevaluatedProperties uniqueItems writeOnly
    """.split()  # noqa: SIM905
)
_ROOT = frozenset(
    """
    $comment $defs $schema additionalProperties dependentRequired description examples maxProperties minProperties
    properties required title type
    """.split()  # noqa: SIM905
)
"""Keywords that the root of `input` can have."""
_BY_NAME = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_LITERAL = frozenset({"const", "default", "enum", "examples", "example"})
_DIALECT = re.compile(r"https://json-schema\.org/draft/2020-12/schema#?")
_TEMPLATE = re.compile(r"\{([^{}]*)\}")


class Schema:
    """One schema on its way into a document."""

    def __init__(self, account: Account, loc: Loc, place: Place) -> None:
        self.account = account
        self.loc = loc
        self.place = place

    def read(self, data: Any) -> dict[str, Any] | None:
        """The schema in the language's dialect; None where it is no schema."""
        if data is None:
            self.account.put(self.loc, "note", "null says nothing")
            return None
        if not isinstance(data, dict):
            self.account.bad(self.loc, f"`{self.loc[-1]}` is not a JSON Schema")
            return None
        self.account.put(self.loc, "mapped", "", self.place)
        schema: dict[str, Any] = self._node(data, self.loc, self.place.loc)
        return schema

    def close(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        """The arguments' schema with what only the runtime's rule says: a closed root, and what the path needs."""
        account, loc, root = self.account, self.loc, self.place
        if not schema and loc in account.entries and account.entries[loc].outcome == "mapped":
            account.put(loc, "changed", "an empty schema says nothing; arguments that none names are refused", root)
        closed = {"type": "object", **schema}
        for keyword in [k for k in closed if k not in _ROOT and k != "type"]:
            if keyword in ("unevaluatedProperties", "readOnly", "writeOnly", "deprecated", "default", "format"):
                del closed[keyword]
                account.put((*loc, keyword), "derived", "says nothing at the root of the arguments, which is closed")
        if closed.get("additionalProperties", False) is not False:
            account.put(
                (*loc, "additionalProperties"),
                "now enforced",
                "arguments that the schema does not name are refused",
                Place(root.path, (*root.loc, "additionalProperties")),
            )
        properties = closed.get("properties", {})
        if not isinstance(properties, dict):
            return closed
        closed["properties"] = dict(properties)
        listed = closed.get("required", [])
        if not isinstance(listed, list):
            return closed
        required = list(listed)
        if _TEMPLATE.search(path):
            for keyword in ("properties", "required"):
                if keyword in schema and not schema[keyword]:
                    at = Place(root.path, (*root.loc, keyword))
                    account.put((*loc, keyword), "changed", "the path's arguments join it", at)
        for name in _TEMPLATE.findall(path):
            if name not in closed["properties"]:
                closed["properties"][name] = {"type": "string", "minLength": 1}
            if name not in required:
                required.append(name)
        if required:
            closed["required"] = required
        if not closed["properties"]:
            if "properties" in schema:
                closed["properties"] = {}
            else:
                del closed["properties"]
        return {**closed, "additionalProperties": False}

    def _node(self, node: Any, at: Loc, to: Loc) -> Any:
        if isinstance(node, list):
            return [self._node(v, (*at, i), (*to, i)) for i, v in enumerate(node)]
        if not isinstance(node, dict):
            return node
        result: dict[str, Any] = {}
        for keyword, value in node.items():
            here, there = (*at, keyword), (*to, keyword)
            if keyword == "definitions" and isinstance(value, dict):
                there = (*to, "$defs")
                self.account.put(here, "changed", "called `$defs` now", Place(self.place.path, there))
                result["$defs"] = {n: self._node(v, (*here, n), (*there, n)) for n, v in value.items()}
            elif keyword in _BY_NAME and isinstance(value, dict):
                result[keyword] = {n: self._node(v, (*here, n), (*there, n)) for n, v in value.items()}
            elif keyword in _LITERAL - {"example"} or keyword.startswith("x-"):
                result[keyword] = value
            elif keyword in _KEYWORDS:
                self._keyword(result, node, keyword, value, here, there)
            else:
                self._foreign(result, node, keyword, value, here, to)
        return result

    def _keyword(
        self, result: dict[str, Any], node: dict[str, Any], keyword: str, value: Any, at: Loc, to: Loc
    ) -> None:
        account, path = self.account, self.place.path
        if keyword == "$schema" and not (isinstance(value, str) and _DIALECT.fullmatch(value)):
            account.put(at, "changed", "the schema is read as JSON Schema 2020-12", Place(path, to[:-1]))
        elif keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            bound = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}[keyword]
            if value and bound in node:
                result.pop(bound, None)
                result[keyword] = node[bound]
                account.put(at, "changed", f"the bound of `{bound}` is exclusive", Place(path, to))
                account.put((*at[:-1], bound), "changed", f"stands in `{keyword}`", Place(path, to))
            else:
                account.put(at, "derived", "the bound is inclusive")
        elif keyword in ("minimum", "maximum") and node.get(f"exclusive{keyword.capitalize()}") is True:
            return
        elif keyword == "required" and isinstance(value, bool):
            account.put(at, "unknown", "`required` is a list of names beside `properties`")
        elif keyword == "items" and isinstance(value, list):
            result["prefixItems"] = self._node(value, at, (*to[:-1], "prefixItems"))
            account.put(at, "changed", "called `prefixItems` now", Place(path, (*to[:-1], "prefixItems")))
        elif keyword == "$ref" and isinstance(value, str) and "/definitions/" in value:
            result[keyword] = value.replace("/definitions/", "/$defs/")
            account.put(at, "changed", "`definitions` is called `$defs` now", Place(path, to))
        elif keyword == "format" and not isinstance(value, str):
            account.bad(at, "`format` is not a text")
        elif keyword == "pattern" and isinstance(value, str) and pattern_problem(value):
            account.put(at, "no equivalent", f"the pattern {pattern_problem(value)}: the backend alone checks it")
        else:
            result[keyword] = self._node(value, at, to)
            if keyword == "type" and node.get("nullable") is True:
                kinds = value if isinstance(value, list) else [value]
                result[keyword] = [*kinds, *([] if "null" in kinds else ["null"])]
                if not isinstance(value, list) or not value:
                    account.put(at, "changed", "`null` is one of the types", Place(path, (*to, 0)))

    def _foreign(
        self, result: dict[str, Any], node: dict[str, Any], keyword: str, value: Any, at: Loc, to: Loc
    ) -> None:
        account, path = self.account, self.place.path
        if keyword == "nullable" and isinstance(value, bool):
            if value and "type" in node:
                account.put(at, "changed", '`"null"` is one of the types', Place(path, (*to, "type")))
            else:
                account.put(at, "derived", "the types say it")
        elif keyword == "example" and "examples" not in node:
            result["examples"] = [value]
            account.put(at, "changed", "one of `examples`", Place(path, (*to, "examples", 0)))
        else:
            account.put(at, "unknown", f"`{keyword}` is not a keyword of JSON Schema, and checked nothing")

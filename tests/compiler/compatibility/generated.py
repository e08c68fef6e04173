"""Random schemas, changes of them by one step, and values about them. Knows nothing of how they are compared."""

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import jsonschema_rs

WORDS = ("a", "b", "ab", "abc", "x", "zz", "2026-01-31", "a@b.example", "")
NAMES = ("a", "b", "c", "d")
PATTERNS = ("^[a-z]+$", "^[a-z0-9]*$", "^a", "b$", "^(a|ab)$", "^[a-c]{1,3}$", "a")
FORMATS = ("date", "email", "ipv4")
NUMBERS = (-2, -1, 0, 1, 2, 3, 5, 10, 0.5, 1.5)
KINDS = ("null", "boolean", "integer", "number", "string", "array", "object")


def schema(random: Random, depth: int = 3, references: tuple[str, ...] = ()) -> Any:
    """A schema of a few keywords, which may take nothing at all."""
    roll = random.random()
    if roll < 0.04:
        return random.choice([True, False, {}])
    if references and roll < 0.12:
        return {"$ref": f"#/$defs/{random.choice(references)}"}
    if depth > 0 and roll < 0.26:
        return _combined(random, depth, references)
    return _plain(random, depth, references)


def whole(random: Random) -> Any:
    """A schema with definitions that may refer to each other, below a value at the least."""
    names = ("n", "m")[: random.choice([0, 0, 1, 2])]
    made = schema(random, 3, names)
    if names and isinstance(made, dict):
        inside = {
            name: random.choice(
                [
                    lambda: {
                        "type": "object",
                        "properties": {k: schema(random, 1, names) for k in random.sample(NAMES, 2)},
                    },
                    lambda: {"type": "array", "items": schema(random, 1, names)},
                    lambda: _plain(random, 1, ()),
                ]
            )()
            for name in names
        }
        made = {**made, "$defs": inside}
    return made


def _combined(random: Random, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
    keyword = random.choice(["anyOf", "anyOf", "oneOf", "oneOf", "allOf", "not", "if", "kinds"])
    base = _plain(random, depth - 1, references) if random.random() < 0.4 else {}
    if keyword == "kinds":
        arms = []
        for tag in random.sample(["p", "q", "r"], random.randint(2, 3)):
            arm = _plain(random, depth - 1, references, kind="object")
            arm.setdefault("properties", {})["a"] = {"const": tag}
            arms.append({**arm, "required": sorted({*arm.get("required", []), "a"})})
        return {random.choice(["oneOf", "anyOf"]): arms}
    if keyword == "not":
        return {**base, "not": _plain(random, 1, ())}
    if keyword == "if":
        parts = {k: _plain(random, depth - 1, references) for k in ("then", "else") if random.random() < 0.7}
        return {**base, "if": _plain(random, 1, ()), **parts}
    return {**base, keyword: [schema(random, depth - 1, references) for _ in range(random.randint(1, 3))]}


def _plain(random: Random, depth: int, references: tuple[str, ...], kind: str | None = None) -> dict[str, Any]:
    kind = kind or random.choice([*KINDS, "object", "string", "integer"])
    out: dict[str, Any] = {"type": kind}
    if random.random() < 0.1 and kind != "object":
        out["type"] = sorted({kind, random.choice(KINDS)})
    if kind in ("integer", "number"):
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if random.random() < 0.25:
                out[keyword] = random.choice(NUMBERS)
        if random.random() < 0.15:
            out["multipleOf"] = random.choice([1, 2, 3, 0.5])
        if random.random() < 0.15:
            out["enum"] = random.sample(NUMBERS, random.randint(1, 4))
    elif kind == "string":
        for keyword in ("minLength", "maxLength"):
            if random.random() < 0.25:
                out[keyword] = random.randint(0, 4)
        if random.random() < 0.2:
            out["pattern"] = random.choice(PATTERNS)
        if random.random() < 0.1:
            out["format"] = random.choice(FORMATS)
        if random.random() < 0.2:
            out["enum"] = random.sample(WORDS, random.randint(1, 4))
    elif kind == "array":
        _array(random, depth, references, out)
    elif kind == "object":
        _object(random, depth, references, out)
    return out


def _array(random: Random, depth: int, references: tuple[str, ...], out: dict[str, Any]) -> None:
    if random.random() < 0.7:
        out["items"] = schema(random, depth - 1, references) if depth > 0 else {"type": "integer"}
    if random.random() < 0.2:
        out["prefixItems"] = [schema(random, max(0, depth - 1), references) for _ in range(random.randint(1, 2))]
    for keyword in ("minItems", "maxItems"):
        if random.random() < 0.25:
            out[keyword] = random.randint(0, 3)
    if random.random() < 0.15:
        out["uniqueItems"] = True
    if random.random() < 0.15:
        out["contains"] = _plain(random, 0, ())
        if random.random() < 0.5:
            out["minContains"] = random.randint(0, 2)
        if random.random() < 0.3:
            out["maxContains"] = random.randint(1, 2)
    if random.random() < 0.05:
        out["unevaluatedItems"] = False


def _object(random: Random, depth: int, references: tuple[str, ...], out: dict[str, Any]) -> None:
    names = random.sample(NAMES, random.randint(0, 3))
    if names:
        out["properties"] = {
            n: schema(random, depth - 1, references) if depth > 0 else {"type": random.choice(KINDS)} for n in names
        }
    if random.random() < 0.4:
        out["required"] = random.sample(NAMES, random.randint(1, 2))
    if random.random() < 0.4:
        out["additionalProperties"] = random.choice([False, False, True, {"type": random.choice(KINDS)}])
    if random.random() < 0.1:
        out["patternProperties"] = {random.choice(["^[ab]", "^c", "d$"]): schema(random, max(0, depth - 1), references)}
    if random.random() < 0.08:
        out["propertyNames"] = random.choice([{"maxLength": 1}, {"pattern": "^[a-c]"}, {"enum": ["a", "b"]}])
    for keyword in ("minProperties", "maxProperties"):
        if random.random() < 0.1:
            out[keyword] = random.randint(0, 3)
    if random.random() < 0.1:
        out["dependentRequired"] = {random.choice(NAMES): [random.choice(NAMES)]}
    if random.random() < 0.07:
        out["dependentSchemas"] = {random.choice(NAMES): _plain(random, 0, (), kind="object")}
    if random.random() < 0.06:
        out["unevaluatedProperties"] = False


def subschemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every subschema that is a mapping."""
    if not isinstance(node, dict):
        return
    yield node
    for keyword, value in node.items():
        if keyword in ("properties", "patternProperties", "$defs", "dependentSchemas"):
            for inner in value.values():
                yield from subschemas(inner)
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for inner in value:
                yield from subschemas(inner)
        elif keyword in (
            "additionalProperties",
            "contains",
            "else",
            "if",
            "items",
            "not",
            "propertyNames",
            "then",
        ):
            yield from subschemas(value)


def changed(random: Random, original: Any) -> Any:
    """The schema with one thing changed, for the better or the worse."""
    if not isinstance(original, dict):
        return schema(random, 1)
    made = copy.deepcopy(original)
    node = random.choice(list(subschemas(made)))
    keys = [k for k in node if k not in ("$ref", "$defs")]
    action = random.choice(["drop", "number", "list", "add", "type", "replace", "arm"])
    if action == "drop" and keys:
        del node[random.choice(keys)]
    elif action == "number":
        counts = [k for k in keys if isinstance(node[k], (int, float)) and not isinstance(node[k], bool)]
        if counts:
            keyword = random.choice(counts)
            step = random.choice([-1, 1, 2])
            node[keyword] = max(1 if keyword in ("multipleOf", "maxContains") else -5, node[keyword] + step)
            if "in" in keyword[:3] or keyword.endswith(("Length", "Items", "Properties", "Contains")):
                node[keyword] = max(0, int(node[keyword]))
    elif action == "list":
        lists = [k for k in keys if k in ("enum", "required") and node[k]]
        if lists:
            keyword = random.choice(lists)
            if random.random() < 0.5 and len(node[keyword]) > 1:
                node[keyword].remove(random.choice(node[keyword]))
            else:
                more = random.choice(NAMES if keyword == "required" else WORDS)
                node[keyword] = list(dict.fromkeys([*node[keyword], more]))
    elif action == "add":
        extra = _plain(random, 1, ())
        extra.pop("type")
        node.update({k: v for k, v in extra.items() if k not in node and random.random() < 0.6})
    elif action == "type" and "type" in node:
        types = [node["type"]] if isinstance(node["type"], str) else list(node["type"])
        node["type"] = sorted({*types, random.choice(KINDS)}) if random.random() < 0.7 else random.choice(KINDS)
    elif action == "arm":
        unions = [k for k in keys if k in ("anyOf", "oneOf", "allOf")]
        if unions:
            arms = node[random.choice(unions)]
            if random.random() < 0.5 and len(arms) > 1:
                arms.pop(random.randrange(len(arms)))
            else:
                arms.append(_plain(random, 1, ()))
    else:
        fresh = _plain(random, 1, ())
        kept = {k: node[k] for k in ("$defs",) if k in node}
        node.clear()
        node.update({**fresh, **kept})
    return made


def annotated(random: Random, original: Any) -> Any:
    """The same schema in another order of keys, with words for people."""
    if isinstance(original, dict):
        keys = list(original)
        random.shuffle(keys)
        made = {
            k: {n: annotated(random, s) for n, s in original[k].items()}
            if k in ("properties", "patternProperties", "$defs", "dependentSchemas")
            else [annotated(random, s) for s in original[k]]
            if k in ("anyOf", "oneOf", "allOf", "prefixItems")
            else random.sample(original[k], len(original[k]))
            if k in ("enum", "required")
            else annotated(random, original[k])
            if isinstance(original[k], dict) and k not in ("dependentRequired", "const")
            else original[k]
            for k in keys
        }
        if random.random() < 0.5:
            made["description"] = random.choice(WORDS)
        return made
    return original


def validator(of: Any) -> jsonschema_rs.Draft202012Validator | None:
    """What judges values; None where the schema itself leads nowhere."""
    try:
        return jsonschema_rs.Draft202012Validator(
            of, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        return None


def value(random: Random, of: Any, root: Any, depth: int = 0) -> Any:
    """A value that has a good chance to fit the schema, or to lie just beside it."""
    if depth > 5 or not isinstance(of, dict) or not of or random.random() < 0.06:
        return _any_value(random, depth)
    if "$ref" in of:
        return value(random, root.get("$defs", {}).get(of["$ref"].split("/")[-1], True), root, depth + 1)
    choices = [s for k in ("anyOf", "oneOf", "allOf") for s in of.get(k, ())]
    choices += [of[k] for k in ("if", "then", "else", "not") if k in of and random.random() < 0.5]
    own = {k: v for k, v in of.items() if k not in ("anyOf", "oneOf", "allOf", "if", "then", "else", "not", "$defs")}
    if choices and (not own or random.random() < 0.7):
        arm = random.choice(choices)
        merged = {**own, **arm} if isinstance(arm, dict) and "$ref" not in arm else own
        if isinstance(arm, dict) and "properties" in own and "properties" in arm:
            merged["properties"] = {**own["properties"], **arm["properties"]}
            merged["required"] = [*own.get("required", ()), *arm.get("required", ())]
        return value(random, merged or arm, root, depth + 1)
    if "const" in of:
        return of["const"]
    if of.get("enum") and random.random() < 0.9:
        return random.choice(of["enum"])
    kinds = of.get("type", list(KINDS))
    kind = kinds if isinstance(kinds, str) else random.choice(kinds)
    match kind:
        case "null":
            return None
        case "boolean":
            return random.random() < 0.5
        case "integer" | "number":
            near = [
                of[k] for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf") if k in of
            ]
            found = random.choice([*near, *near, *NUMBERS]) + random.choice([0, 0, 1, -1, 0.5])
            return int(found) if kind == "integer" else found
        case "string":
            near = [of[k] for k in ("minLength", "maxLength") if k in of]
            if near and random.random() < 0.5:
                return "".join(
                    random.choice("abc1") for _ in range(max(0, random.choice(near) + random.choice([0, 0, 1, -1])))
                )
            return random.choice([*WORDS, "a1", "ba", "cab", "127.0.0.1", "1"])
        case "array":
            return _list(random, of, root, depth)
        case _:
            return _mapping(random, of, root, depth)


def _list(random: Random, of: dict[str, Any], root: Any, depth: int) -> list[Any]:
    near = [of[k] for k in ("minItems", "maxItems") if k in of]
    count = max(0, random.choice([*near, *near, 0, 1, 2, 3]) + random.choice([0, 0, 0, 1]))
    prefix = of.get("prefixItems", [])
    made = [
        value(random, prefix[i] if i < len(prefix) else of.get("items", True), root, depth + 1) for i in range(count)
    ]
    if "contains" in of and made and random.random() < 0.8:
        for _ in range(random.choice([1, 1, 2])):
            made[random.randrange(len(made))] = value(random, of["contains"], root, depth + 1)
    return made


def _mapping(random: Random, of: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    known = of.get("properties", {})
    names = {n for n in known if random.random() < 0.5} | {n for n in of.get("required", ()) if random.random() < 0.95}
    if random.random() < 0.35:
        names.add(random.choice([*NAMES, "other"]))
    others = of.get("additionalProperties", True)
    loose = list(of.get("patternProperties", {}).values()) or [others]
    return {n: value(random, known.get(n, random.choice([others, *loose])), root, depth + 1) for n in sorted(names)}


def _any_value(random: Random, depth: int) -> Any:
    roll = random.randrange(9 if depth < 3 else 6)
    if roll == 0:
        return None
    if roll == 1:
        return random.random() < 0.5
    if roll in (2, 3):
        return random.choice(NUMBERS)
    if roll in (4, 5):
        return random.choice(WORDS)
    if roll == 6:
        return [_any_value(random, depth + 1) for _ in range(random.randint(0, 3))]
    return {n: _any_value(random, depth + 1) for n in random.sample(NAMES, random.randint(0, 3))}

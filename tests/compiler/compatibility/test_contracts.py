"""Every kind of breaking change, made once by a few words of a contract."""

# ruff: noqa: E501

import copy
from typing import Any, get_args

import pytest

from stoa_compiler.compatibility import KINDS, compare_contracts
from stoa_schemas.documents.platform import BreakCode
from tests.compiler.compatibility.pairs import PARCELS, Sources, changed, from_source, in_answer

Steps = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources(tmp_path_factory.mktemp("pairs"))


CASES: dict[str, tuple[Steps, str]] = {
    "contract-unpublished": ((("published", "draft"),), "was published and is a draft"),
    "operation-removed": (((PARCELS[PARCELS.index("    drop_parcel") :], ""),), "`acme:parcels:drop_parcel` is gone"),
    "operation-renamed": ((("    find_parcels:", "    search:"),), "is called `acme:parcels:search`"),
    "agents-excluded": (
        (("sideEffects: read\n", "sideEffects: read\n      agents: false\n"),),
        "`agents` is false now",
    ),
    "protocol-removed": (
        (("sideEffects: read\n", "sideEffects: read\n      protocols: [rest]\n"),),
        "no longer on mcp",
    ),
    "side-effects-raised": ((("sideEffects: read", "sideEffects: write"),), "were `read` and are `write`"),
    "approval-demanded": ((("sideEffects: read\n", "sideEffects: read\n      approval: true\n"),), "needs one now"),
    "method-changed": ((("method: DELETE", "method: POST"),), "was `DELETE` and is `POST`"),
    "path-changed": (
        (("/parcels/{depot}/search", "/depots/{depot}/search"),),
        "was `/parcels/{depot}/search` and is `/depots/{depot}/search`",
    ),
    "base-path-changed": ((("acme.example/v1", "acme.example/v2"),), "was `/v1` and is `/v2` in prod"),
    "argument-place-changed": ((("{in: header, name: X-Parcel-Trace}", "{in: query}"),), "goes to the query"),
    "argument-name-changed": ((("X-Parcel-Trace", "X-Trace"),), "was called `X-Parcel-Trace` in the header"),
    "answer-schema-removed": (
        ((PARCELS[PARCELS.index("      output:") : PARCELS.index("    drop_parcel")], ""),),
        "has none now",
    ),
    "answer-field-left-out": (
        (("      output:\n", "      answer: {fields: [id, state]}\n      output:\n"),),
        "the answer had `weight`, which `answer.fields` leaves out now",
    ),
    "answer-property-removed": (
        (in_answer("          day: {type: string, format: date}\n", ""),),
        "the answer named `day`, and names it no longer",
    ),
    "answer-unchecked": ((("      output:\n", "      answer: {check: report}\n      output:\n"),), "are passed on"),
    "answer-truncated": (
        (("      output:\n", "      answer: {whenTooLarge: truncate}\n      output:\n"),),
        "were refused, and are cut",
    ),
    "answer-limit-lowered": (
        (("      output:\n", "      answer: {maxCharacters: 9000}\n      output:\n"),),
        "was 150000 and is 9000",
    ),
    "default-changed": ((("default: 20", "default: 50"),), "the default of `limit` was `20` and is `50`"),
    "request-required-added": (
        (("required: [depot]", "required: [depot, day]"),),
        "`day` was optional and is required",
    ),
    "request-property-removed": (
        (("          day: {type: string}\n", ""),),
        "the argument `day` was taken and is refused",
    ),
    "request-property-ignored": (
        (("              code: {type: string}\n", ""),),
        "the argument `sender.code` was named, and is taken without a meaning now",
    ),
    "request-property-claimed": (
        (
            (
                "              code: {type: string}\n",
                "              code: {type: string}\n              zip: {type: string}\n",
            ),
        ),
        "the argument `sender.zip` was not named and took anything, and must be `string` now",
    ),
    "request-type-narrowed": (
        (('{type: [string, "null"], maxLength: 200}', "{type: string, maxLength: 200}"),),
        "the argument `note` took `null or string` and takes `string` now",
    ),
    "request-enum-narrowed": (
        (("enum: [held, sent]", "enum: [held]"),),
        'took `"sent"`, and takes only `["held"]` now',
    ),
    "request-bound-narrowed": (
        (("maximum: 100", "maximum: 50"),),
        "the argument `weight` took `maximum 100` and takes `maximum 50` now",
    ),
    "request-length-narrowed": (
        (("maxLength: 200", "maxLength: 100"),),
        "took `maxLength 200` and takes `maxLength 100`",
    ),
    "request-pattern-narrowed": ((('"^[a-z]+$"', '"^[a-y]+$"'),), 'such as `"z"`'),
    "request-format-narrowed": (
        (("day: {type: string}", "day: {type: string, format: date}"),),
        "took `no format` and takes `format date` now",
    ),
    "request-items-narrowed": (
        (("maxItems: 5}", "maxItems: 5, uniqueItems: true}"),),
        "the argument `tags` took `equal items` and takes `unique items` now",
    ),
    "request-size-narrowed": ((("maxItems: 5", "maxItems: 4"),), "took `maxItems 5` and takes `maxItems 4` now"),
    "request-names-narrowed": (
        (
            (
                "            properties:\n              name",
                "            propertyNames: {maxLength: 10}\n            properties:\n              name",
            ),
        ),
        "the argument `sender` took `any name`",
    ),
    "request-closed": (
        (
            (
                "              code: {type: string}\n",
                "              code: {type: string}\n            additionalProperties: false\n",
            ),
        ),
        "the argument `sender` took `properties of any other name` and takes `no others` now",
    ),
    "request-dependency-added": (
        (
            (
                "              code: {type: string}\n",
                "              code: {type: string}\n            dependentRequired: {name: [code]}\n",
            ),
        ),
        "`name only with code`",
    ),
    "request-union-narrowed": (
        (
            (
                "              - {type: integer}\n",
                "              - {type: integer, minimum: 3}\n              - {type: integer, maximum: 1}\n",
            ),
        ),
        "none of 3 arms",
    ),
    "request-exclusion-added": (
        (("limit: {type: integer,", "limit: {type: integer, not: {multipleOf: 7},"),),
        "such as `7`",
    ),
    "request-condition-added": (
        (
            (
                "            properties:\n              name",
                "            if: {required: [code]}\n            then: {required: [name]}\n            properties:\n              name",
            ),
        ),
        "the argument `sender`",
    ),
    "request-unproven": (
        (
            (
                "              code: {type: string}\n",
                "              code: {type: string}\n            anyOf: [{minProperties: 0}]\n            unevaluatedProperties: {type: [string, number, integer, object, array, boolean, 'null']}\n",
            ),
        ),
        "it is not proved that the argument `sender` still takes all that it took",
    ),
    "answer-required-dropped": (
        (in_answer("required: [id, state]", "required: [id]"),),
        "`state` of the answer was always there and may be missing",
    ),
    "answer-property-added": (
        (in_answer("properties: {a: {type: string}}", "properties: {a: {type: string}, b: {type: string}}"),),
        "`fixed.b` of the answer was excluded and may come",
    ),
    "answer-type-widened": (
        (in_answer("note: {type: string,", 'note: {type: [string, "null"],'),),
        "`note` of the answer gave `string` and gives `null or string` now",
    ),
    "answer-enum-widened": ((in_answer("[held, sent]", "[held, sent, lost]"),), 'and may be `"lost"` now'),
    "answer-bound-widened": (
        (in_answer("maximum: 100", "maximum: 200"),),
        "gave `maximum 100` and gives `maximum 200` now",
    ),
    "answer-length-widened": ((in_answer("maxLength: 200", "maxLength: 300"),), "gives `maxLength 300` now"),
    "answer-pattern-widened": ((in_answer('"^[0-9]+$"', '"^[0-9a-f]+$"'),), 'such as `"a"`'),
    "answer-format-widened": ((in_answer(", format: date", ""),), "gave `format date` and gives `no format` now"),
    "answer-items-widened": (
        (in_answer(", uniqueItems: true", ""),),
        "gave `unique items` and gives `equal items` now",
    ),
    "answer-size-widened": ((in_answer("maxItems: 5", "maxItems: 6"),), "gives `maxItems 6` now"),
    "answer-names-widened": ((in_answer("{maxLength: 10}", "{maxLength: 11}"),), "`sender` of the answer"),
    "answer-opened": (
        (in_answer("additionalProperties: false", "additionalProperties: true"),),
        "`fixed` of the answer",
    ),
    "answer-dependency-dropped": (
        (in_answer("            dependentRequired: {name: [code]}\n", ""),),
        "`sender.name` of the answer",
    ),
    "answer-union-widened": (
        (
            in_answer(
                "              - {type: integer}\n",
                "              - {type: integer}\n              - {type: boolean}\n",
            ),
        ),
        "`by` of the answer",
    ),
    "answer-exclusion-dropped": (
        (in_answer("            not: {multipleOf: 7}\n".strip(), "minimum: -9000"),),
        "such as",
    ),
    "answer-condition-dropped": (
        (in_answer("            then: {required: [b]}\n", "            then: {required: [a]}\n"),),
        "",
    ),
    "answer-unproven": (
        (
            in_answer(
                "properties: {a: {type: string}}\n            additionalProperties: false",
                "properties: {a: {type: string}}\n            maxProperties: 1\n            patternProperties: {'^[ab]$': {type: string}}\n            additionalProperties: false",
            ),
        ),
        "",
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_one_change_is_one_kind_of_break(code: str, sources: Sources) -> None:
    steps, words = CASES[code]
    found = sources.breaks(PARCELS, changed(*steps))
    assert {b.code for b in found if b.level == KINDS[code].level} >= {code}, [(b.code, b.text) for b in found]
    said = [b for b in found if b.code == code]
    assert any(words in b.text for b in said), [b.text for b in said]
    assert len(found) == 1 or code in SEVERAL, [(b.code, b.text) for b in found]
    for one in said:
        assert one.base is not None
        assert one.head is not None
        assert "{" not in one.text.split("`")[0]


SEVERAL = {"answer-field-left-out"}
"""What one step changes in several ways."""

FROM_SOURCE = {"answer-media-type-changed", "argument-style-changed", "request-body-changed"}


def test_every_kind_has_a_case() -> None:
    assert sorted(KINDS) == sorted(get_args(BreakCode))
    assert sorted(KINDS.keys() - CASES.keys() - FROM_SOURCE - {"contract-removed"}) == []


def test_nothing_breaks_where_nothing_changes(sources: Sources) -> None:
    assert sources.breaks(PARCELS, PARCELS) == []


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((("summary: Find parcels", "summary: Search for parcels"),), id="words"),
        pytest.param((("maximum: 100", "maximum: 200"),), id="wider argument"),
        pytest.param((("enum: [held, sent]", "enum: [sent, held, lost]"),), id="more values taken"),
        pytest.param((("required: [depot]", "required: [depot]\n        maxProperties: 50"),), id="bound out of reach"),
        pytest.param((("day: {type: string}", "day: {type: [string, 'null']}"),), id="null taken"),
        pytest.param((("          trace: {type: string}\n", "          trace: {type: string}\n          page: {type: integer}\n"),), id="optional argument"),
        pytest.param((("limit: {type: integer,", "limit: {type: number,"),), id="integer within number"),
        pytest.param((('pattern: "^[a-z]+$"', 'pattern: "^[a-z0-9]*$"'),), id="pattern within pattern"),
        pytest.param((in_answer("[held, sent]", "[held]"),), id="fewer values given"),
        pytest.param((in_answer("type: number", "type: integer"),), id="integers given"),
        pytest.param((in_answer("required: [id, state]", "required: [id, state, day]"),), id="more always given"),
        pytest.param((in_answer("          note:", "          extra: {type: string}\n          note:"),), id="property given"),
        pytest.param((("sideEffects: read", "sideEffects: none"),), id="side effects lowered"),
        pytest.param((("{depot}/search", "{place}/search"), ("        trace: {in", "        depot: {in: path, name: place}\n        trace: {in")), id="path parameter called otherwise"),
        pytest.param((("https://orders.acme.example/v1", "https://parcels.acme.example/v1"),), id="another host"),
    ],
)  # fmt: skip
def test_what_no_caller_notices(steps: Steps, sources: Sources) -> None:
    assert [(b.code, b.text) for b in sources.breaks(PARCELS, changed(*steps))] == []


def test_a_draft_promises_nothing(sources: Sources) -> None:
    draft = changed(("published", "draft"))
    assert sources.breaks(draft, changed(("maximum: 100", "maximum: 1"))) == []
    assert sources.breaks(draft, draft) == []


def test_what_is_not_exposed_on_rest_may_move(sources: Sources) -> None:
    base = changed(("sideEffects: read\n", "sideEffects: read\n      protocols: [mcp]\n"))
    moved = changed(("/parcels/{depot}/search", "/v9/{depot}"), ("X-Parcel-Trace", "X-Trace"), text=base)
    assert sources.breaks(base, moved) == []


def test_spans_are_the_words_of_each_side(sources: Sources) -> None:
    new = changed(
        ("maximum: 100", "maximum: 50"), ("displayName: Parcels", "description: More.\n  displayName: Parcels")
    )
    (found,) = sources.breaks(PARCELS, new)
    assert found.base is not None
    assert found.head is not None
    old_line = PARCELS.split("\n")[found.base.line - 1]
    new_line = new.split("\n")[found.head.line - 1]
    assert old_line[found.base.column - 1 : found.base.end_column - 1] == "100"
    assert new_line[found.head.column - 1 : found.head.end_column - 1] == "50"
    assert found.place == "weight"
    assert found.subject == "acme:parcels:find_parcels"


DESCRIPTION: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Parcels", "version": "1"},
    "paths": {
        "/parcels": {
            "get": {
                "operationId": "list",
                "parameters": [
                    {
                        "name": "tags",
                        "in": "query",
                        "explode": True,
                        "schema": {"type": "array", "items": {"type": "string"}},
                    }
                ],
                "responses": {
                    "200": {"description": "d", "content": {"application/json": {"schema": {"type": "object"}}}}
                },
            },
            "post": {
                "operationId": "add",
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
                    }
                },
                "responses": {
                    "200": {"description": "d", "content": {"application/json": {"schema": {"type": "object"}}}}
                },
            },
        }
    },
}


def test_what_a_source_changes(sources: Sources) -> None:
    new = copy.deepcopy(DESCRIPTION)
    new["paths"]["/parcels"]["get"]["parameters"][0]["explode"] = False
    post = new["paths"]["/parcels"]["post"]
    post["requestBody"]["content"] = {
        "application/x-www-form-urlencoded": post["requestBody"]["content"].pop("application/json")
    }
    post["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    old_contract = from_source(sources, DESCRIPTION)
    found = compare_contracts(old_contract, from_source(sources, new))
    assert {b.code for b in found} >= FROM_SOURCE, [(b.code, b.text) for b in found]
    style = next(b for b in found if b.code == "argument-style-changed")
    assert style.text == "the argument `tags` was written as form exploded and is written as form"
    assert style.head is not None
    assert style.head.file.endswith("parcels.yaml")


def test_another_type_is_told_once(sources: Sources) -> None:
    steps = in_answer(
        "          sender:\n            type: object", "          sender:\n            type: [object, array]"
    )
    assert [b.code for b in sources.breaks(PARCELS, changed(steps))] == ["answer-type-widened"]
    gone = "\n".join(PARCELS.partition("      output:\n")[2].partition("          fixed:")[0].split("\n")[2:])
    found = sources.breaks(
        PARCELS,
        changed((gone, ""), ("      output:\n        type: object", "      output:\n        type: [object, 'null']")),
    )
    assert "answer-type-widened" in {b.code for b in found}
    assert "answer-property-removed" not in {b.code for b in found}


def test_a_contract_that_is_hard_to_compare_ends_and_says_so(sources: Sources) -> None:
    """What is left over is unknown, not fine: one operation after the other, until the contract's budget is spent."""
    arms = ", ".join(f"{{required: [p{i}, p{i + 1}], maxProperties: 9}}" for i in range(40))
    hard = f"          deep: {{type: object, oneOf: [{arms}]}}\n"
    head, _, rest = PARCELS.partition("    find_parcels:\n")
    body = rest.partition("    drop_parcel:\n")[0].replace("          trace: {type", f"{hard}          trace: {{type")
    many = [
        head + "".join(f"    find_{n}:\n{b.replace('/search', f'/search-{n}')}" for n in range(6))
        for b in (body, body.replace("maxProperties: 9", "maxProperties: 8"))
    ]
    found = sources.breaks(*many)
    assert {b.operation for b in found if b.place.startswith("deep")} == {f"find_{n}" for n in range(6)}


def test_a_header_is_called_the_same_in_any_case(sources: Sources) -> None:
    assert sources.breaks(PARCELS, changed(("X-Parcel-Trace", "x-parcel-trace"))) == []


def test_a_renamed_operation_is_compared_all_the_same(sources: Sources) -> None:
    found = sources.breaks(PARCELS, changed(("    find_parcels:", "    search:"), ("maximum: 100", "maximum: 50")))
    assert [b.code for b in found] == ["operation-renamed", "request-bound-narrowed"]
    assert {b.subject for b in found} == {"acme:parcels:find_parcels"}


def test_hostile_text_cannot_end_its_quotes(sources: Sources) -> None:
    base = changed(('"^[a-z]+$"', '"^[a-z`]+$"'))
    found = sources.breaks(base, changed(('"^[a-z`]+$"', '"^[a`]+$"'), text=base))
    assert [b.code for b in found] == ["request-pattern-narrowed"]
    assert found[0].text.count("`") % 2 == 0
    assert "[a-z']" in found[0].text

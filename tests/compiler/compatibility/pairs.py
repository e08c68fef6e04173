"""Two graphs that differ by a few words of one contract."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from stoa_compiler.compatibility import Break, compare_contracts
from stoa_compiler.graph import ContractNode, Graph
from tests.compiler.sources import Copy, copy_of_base

PARCELS = """\
apiVersion: gostoa.dev/v2
kind: UniversalAPIContract
metadata:
  name: parcels
  tenant: acme
spec:
  displayName: Parcels
  version: 1.2.3
  classification: H
  status: published
  owner: parcels@acme.example
  backend:
    urls:
      dev: http://127.0.0.1:8080/parcels
      prod: https://orders.acme.example/v1
  operations:
    find_parcels:
      method: POST
      path: /parcels/{depot}/search
      summary: Find parcels
      sideEffects: read
      input:
        type: object
        properties:
          depot: {type: string, pattern: "^[a-z]+$"}
          state: {type: string, enum: [held, sent]}
          weight: {type: number, minimum: 0, maximum: 100}
          note: {type: [string, "null"], maxLength: 200}
          day: {type: string}
          tags: {type: array, items: {type: string}, maxItems: 5}
          limit: {type: integer, default: 20}
          by:
            anyOf:
              - {type: string}
              - {type: integer}
          sender:
            type: object
            properties:
              name: {type: string}
              code: {type: string}
          trace: {type: string}
        required: [depot]
      parameters:
        trace: {in: header, name: X-Parcel-Trace}
      output:
        type: object
        properties:
          id: {type: string, pattern: "^[0-9]+$"}
          state: {type: string, enum: [held, sent]}
          weight: {type: number, minimum: 0, maximum: 100}
          note: {type: string, maxLength: 200}
          day: {type: string, format: date}
          tags: {type: array, items: {type: string}, maxItems: 5, uniqueItems: true}
          by:
            anyOf:
              - {type: string}
              - {type: integer}
          sender:
            type: object
            properties:
              name: {type: string}
            required: [name]
            propertyNames: {maxLength: 10}
            dependentRequired: {name: [code]}
            additionalProperties: true
          fixed:
            type: object
            properties: {a: {type: string}}
            additionalProperties: false
          other:
            type: integer
            not: {multipleOf: 7}
          more:
            type: object
            if: {properties: {a: {const: 1}}, required: [a]}
            then: {required: [b]}
        required: [id, state]
    drop_parcel:
      method: DELETE
      path: /parcels/{id}
      summary: Drop a parcel
      sideEffects: destructive
      input:
        type: object
        properties:
          id: {type: string}
        required: [id]
"""
PATH = "acme/contracts/parcels.yaml"


class Sources:
    """A source on disk whose one contract is written anew for each graph."""

    def __init__(self, folder: Path) -> None:
        self.copy: Copy = copy_of_base(folder)

    def graph(self, contract: str) -> Graph:
        """The graph with this contract, which has no mistake."""
        self.copy.add(PATH, contract)
        checked, found = self.copy.read()
        errors = [d.message for d in found if d.rule.severity == "error"]
        assert not errors, errors
        assert checked.graph is not None
        return checked.graph

    def contract(self, text: str) -> ContractNode:
        """The contract alone."""
        return next(c for t in self.graph(text).tenants for c in t.contracts if c.name == "parcels")

    def breaks(self, old: str, new: str) -> list[Break]:
        """What breaks from one text to the other."""
        return compare_contracts(self.contract(old), self.contract(new))


def changed(*steps: tuple[str, str], text: str = PARCELS) -> str:
    """The contract with words replaced, each of which must be there."""
    for old, new in steps:
        assert old in text, old
        text = text.replace(old, new, 1)
    yaml.safe_load(text)
    return text


def in_answer(old: str, new: str) -> tuple[str, str]:
    """A step that changes the words below `output` only."""
    _, _, tail = PARCELS.partition("      output:\n")
    assert old in tail, old
    return "      output:\n" + tail, "      output:\n" + tail.replace(old, new, 1)


def from_source(sources: Sources, description: dict[str, Any], version: str = "1.0.0") -> ContractNode:
    """The contract that takes every operation of an OpenAPI description."""
    content = json.dumps(description, indent=1).encode()
    sources.copy.add("acme/sources/parcels.json", content)
    effects = {"get": "read", "delete": "destructive"}
    operations = {
        re.sub("([A-Z])", lambda m: f"_{m[0].lower()}", spec["operationId"]): {
            "from": spec["operationId"],
            "sideEffects": effects.get(method, "write"),
        }
        for item in description["paths"].values()
        for method, spec in item.items()
        if method in ("get", "put", "post", "patch", "delete")
    }
    text = PARCELS.partition("  operations:\n")[0].replace("1.2.3", version)
    document = yaml.safe_load(text)
    document["spec"]["source"] = {"file": "sources/parcels.json", "sha256": hashlib.sha256(content).hexdigest()}
    document["spec"]["operations"] = operations
    return sources.contract(yaml.safe_dump(document, sort_keys=False))

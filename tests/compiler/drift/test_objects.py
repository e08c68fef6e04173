"""Comparing declared with live values: what is no difference, and what others added."""

from typing import Any

import pytest

from stoa_compiler.drift.model import Compared, Difference, exit_code
from stoa_compiler.drift.objects import added, differences

RULE = {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]}


def told(declared: Any, live: Any) -> list[tuple[str, Any, Any]]:
    return [(f.path, f.live, f.declared) for f in differences(declared, live, declared)]


@pytest.mark.parametrize(
    ("declared", "live"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"rules": [RULE]}, {"rules": [{**RULE, "verbs": ["list", "get"], "resources": ["services", "pods"]}]}),
        ({"from": [{"x": [1, 2]}, {"y": 3}]}, {"from": [{"y": 3}, {"x": [2, 1]}]}),
        ({"metadata": {"labels": {"a.b/c": "d"}}}, {"metadata": {"labels": {"a.b/c": "d", "e": "f"}, "uid": "7"}}),
        ({}, {"anything": []}),
    ],
)
def test_what_is_no_difference(declared: Any, live: Any) -> None:
    assert told(declared, live) == []


@pytest.mark.parametrize(
    ("declared", "live", "wanted"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 2, 1)]),
        ({"a": {"b": 1}}, {}, [("a.b", None, 1)]),
        ({"l": ["x", "y"]}, {"l": ["y", "z", "z"]}, [("l", ["z", "z"], ["x"])]),
        ({"l": ["x", "x"]}, {"l": ["x"]}, [("l", None, ["x"])]),
        ({"rules": [RULE]}, {"rules": [RULE, {"verbs": ["*"]}]}, [("rules", [{"verbs": ["*"]}], None)]),
        ({"labels": {"a.b/c": "d"}}, {"labels": {"a.b/c": "e"}}, [("labels[a.b/c]", "e", "d")]),
        ({"valueFiles": ["1", "2"]}, {"valueFiles": ["2", "1"]}, [("valueFiles", ["2", "1"], ["1", "2"])]),
        ({"a": True}, {"a": 1}, [("a", 1, True)]),
        ({"a": "1"}, {"a": 1}, [("a", 1, "1")]),
    ],
)
def test_what_differs(declared: Any, live: Any, wanted: list[tuple[str, Any, Any]]) -> None:
    assert told(declared, live) == wanted


def test_what_others_set_and_the_server_did_not() -> None:
    entries = [
        {"manager": "stoa", "fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:podSelector": {}}}},
        {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:egress": {}, "f:podSelector": {}}}},
        {"manager": "scheduler", "subresource": "status", "fieldsV1": {"f:spec": {"f:x": {}}}},
        {"manager": "meter", "fieldsV1": {"f:status": {"f:used": {}}}},
        {
            "manager": "hand",
            "fieldsV1": {
                "f:ports": {'k:{"port":80}': {".": {}, "f:port": {}, "f:name": {}}, 'k:{"port":81}': {"f:port": {}}},
                "f:names": {'v:"a"': {}, 'v:"b"': {}},
            },
        },
    ]
    live = {
        "metadata": {"managedFields": entries},
        "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Ingress"], "x": 1},
        "status": {"used": 1},
        "ports": [{"port": 80, "name": "web"}, {"port": 81}],
        "names": ["a", "b"],
    }
    declared = {"spec": {"podSelector": {}}, "ports": [{"port": 80}], "names": ["a"]}
    assert [(f.path, f.live, who) for f, who in added(declared, live)] == [
        ("spec.egress", [{}], "kubectl-edit"),
        ('ports[{"port":80}].name', "web", "hand"),
        ('ports[{"port":81}]', {"port": 81}, "hand"),
        ('names["b"]', "b", "hand"),
    ]


@pytest.mark.parametrize(
    ("states", "code"), [("ee", 0), ("ed", 1), ("eu", 3), ("ud", 1), ("uu", 3), ("dd", 1), ("du", 1)]
)
def test_a_difference_that_was_seen_counts_more_than_what_could_not_be_asked(states: str, code: int) -> None:
    made = {
        "e": Compared("runtime", "x", 1),
        "d": Compared("branch", "x", 1, (Difference("missing", "y"),)),
        "u": Compared("keycloak", "x", 0, (), "gone"),
    }
    assert exit_code([made[s] for s in states]) == code
    both = Compared("keycloak", "x", 0, (Difference("missing", "y"),), "gone half way")
    assert (both.state, exit_code([both])) == ("different", 1)

"""`stoa verify`: what a bundle's files say, judged by themselves and against their source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stoa_compiler.cli.verify import command
from stoa_compiler.graph import Graph
from stoa_compiler.verify_bundle.findings import INVARIANTS
from stoa_schemas import bundle
from tests.compiler.verify_mutations import (
    ARGO,
    BREAKS,
    DATA,
    JUDGED_BY,
    REALM,
    SPACE,
    TARGETS,
    Break,
    Files,
    against,
    alone,
    broken,
    by_reader,
    compiled,
    encoded,
    harmless,
    parsed,
    slips,
    write_source,
)

DOCS = Path(__file__).parents[2] / "docs" / "verify.md"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def made(source: Path) -> tuple[Graph, Files]:
    return compiled(source)


def test_what_was_compiled_holds(made: tuple[Graph, Files]) -> None:
    graph, files = made
    assert alone(files) == []
    assert against(files, graph) == []
    assert {p.split("/")[0] for p in files} == {*TARGETS, "bundle.json"}


@pytest.mark.parametrize("one", BREAKS, ids=lambda b: f"{b.target}: {b.name}")
def test_a_slip_with_a_name_is_noticed_by_the_bundle_alone(made: tuple[Graph, Files], one: Break) -> None:
    assert alone(broken(made[1], one))


def test_a_slip_is_noticed_with_the_source(made: tuple[Graph, Files]) -> None:
    graph, files = made
    for one in BREAKS[::9]:
        assert against(broken(files, one), graph), one.name


@pytest.mark.parametrize("target", ["mcp", "keycloak", "helm"])
def test_no_slip_of_one_value_passes(made: tuple[Graph, Files], target: str) -> None:
    """Some of them; `python -m tests.compiler.verify_mutations` makes all, and the other targets' tests do too."""
    graph, files = made
    kept = {p: c for p, c in files.items() if p.split("/")[0] in JUDGED_BY[target]}
    seen = 0
    for number, (path, what, slipped) in enumerate(slips(kept, target)):
        if number % 29 == 0 and not harmless(path, what, files[path], slipped[path]):
            seen += 1
            assert by_reader(slipped, graph, target) or alone(slipped), f"{path}: {what}"
    assert seen > 5


def changed(files: Files, path: str, change: Callable[[Any], object]) -> Files:
    value = parsed(path, files[path])
    change(value)
    content = encoded(path, value)
    assert content is not None
    return {**files, path: content}


def place(found: str) -> str:
    return found.partition(": ")[0]


def test_a_finding_names_code_file_and_place(made: tuple[Graph, Files]) -> None:
    realm = changed(made[1], REALM, lambda r: r["clients"][0].update(implicitFlowEnabled=True))
    assert alone(realm) == [f"{REALM}#/clients/0/implicitFlowEnabled: STOA687 `account` has `implicitFlowEnabled`"]
    project = changed(made[1], ARGO, lambda d: d[0]["spec"].update(sourceRepos=["*"]))
    assert f"{ARGO}#/0/spec/sourceRepos/0" in map(place, alone(project))


def rule_of(documents: Any) -> Any:
    policy = next(d for d in documents if d["metadata"]["name"] == "stoa-from-dmz")
    return policy["spec"]["ingress"][0]


def test_selectors_of_one_peer_are_and_and_those_of_two_are_or(made: tuple[Graph, Files]) -> None:
    ingress = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ingress"]}]}
    gateway = {"matchLabels": {"kubernetes.io/metadata.name": "mcp-gateway"}}
    app = {"matchLabels": {"app": "gate"}}
    # Both namespaces, as before, in two peers: nothing changes.
    same = changed(
        made[1],
        DATA,
        lambda d: rule_of(d).update({"from": [{"namespaceSelector": ingress}, {"namespaceSelector": gateway}]}),
    )
    assert alone(same) == []
    # The gateway's pods with a label only (AND): the others are let out and not let in.
    narrower = [{"namespaceSelector": ingress}, {"namespaceSelector": gateway, "podSelector": app}]
    found = alone(changed(made[1], DATA, lambda d: rule_of(d).update({"from": narrower})))
    assert any("`mcp-gateway` is let out to `data` at port 8443, and not let in there" in f for f in found), found
    # The same selectors as two peers (OR): pods of `data` itself with that label too.
    wider = [{"namespaceSelector": ingress}, {"namespaceSelector": gateway}, {"podSelector": app}]
    found = alone(changed(made[1], DATA, lambda d: rule_of(d).update({"from": wider})))
    assert any("`data` lets `data` in at port 8443, which is not let out to it" in f for f in found), found


@pytest.mark.parametrize(
    ("peer", "noticed"),
    [
        ({"ipBlock": {"cidr": "10.99.0.0/16"}}, False),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, True),
        (
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["8.0.0.0/8", "203.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16"]}},
            False,
        ),
        ({"namespaceSelector": {}}, True),
        ({"podSelector": {}}, True),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}, True),
    ],
)
def test_who_reaches_an_internal_namespace(made: tuple[Graph, Files], peer: dict[str, Any], noticed: bool) -> None:
    found = alone(changed(made[1], DATA, lambda d: rule_of(d)["from"].append(peer)))
    assert bool(found) is noticed, found
    assert {f.split(": ")[1].split(" ")[0] for f in found} <= {"STOA690"}


def test_policy_types_decide_which_direction_is_closed(made: tuple[Graph, Files]) -> None:
    def only_ingress(documents: Any) -> None:
        for document in documents:
            if document["kind"] == "NetworkPolicy":
                document["spec"]["policyTypes"] = ["Ingress"]
                document["spec"].pop("egress", None)

    found = alone(changed(made[1], SPACE, only_ingress))
    assert any("`stoa-acme-prod` is let out to `stoa-zenith-prod` at port" in f for f in found), found


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"- - -", b"a: &x [*x]", b"kind: 1"]
)
def test_a_file_that_is_anything_is_a_finding_and_no_crash(made: tuple[Graph, Files], content: bytes) -> None:
    graph, files = made
    for path in (REALM, bundle.PLATFORM_INDEX, "mcp/tenants/acme.json", "helm/stoa-runtime.values.yaml", SPACE, ARGO):
        odd = {**files, path: content}
        assert alone(odd), path
        assert against(odd, graph), path


def test_a_credential_that_is_found_is_not_shown(made: tuple[Graph, Files]) -> None:
    leaking = next(b for b in BREAKS if b.name == "a secret for a reference")
    assert [f for f in alone(broken(made[1], leaking)) if "s3" in f.split("STOA")[1][3:]] == []


# The command


def written(files: Files, folder: Path) -> Path:
    """The files as a bundle whose digests are right, as a slip of the compiler would leave it."""
    from stoa_compiler.target import Artifact
    from stoa_compiler.write import write

    declared = bundle.Bundle.model_validate_json(files[bundle.BUNDLE_FILE])
    manifest = files[bundle.RUNTIME_MANIFEST]
    artifacts = [Artifact(p, "", c, ()) for p, c in sorted(files.items()) if p != bundle.BUNDLE_FILE]
    update = {"artifacts": [a.listing for a in artifacts], "digest": bundle.sha256(manifest)}
    listing = declared.model_copy(update=update).encode()
    every = [*artifacts, Artifact(bundle.BUNDLE_FILE, "", listing, ())]
    write({a.path: a for a in every}, folder)
    return folder


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(command, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_what_was_compared(made: tuple[Graph, Files], source: Path, tmp_path: Path) -> None:
    folder = written(made[1], tmp_path / "bundle")
    code, out, err = run(str(folder))
    assert (code, err) == (0, "")
    assert "what they say holds together: 2 catalogs, 10 pairs of a role and a tool" in out
    code, out, _ = run(str(folder), "--source", str(source), "--format", "json")
    said = json.loads(out)
    assert (code, said["holds"], said["findings"], said["diagnostics"]) == (0, True, [], [])


def test_the_command_fails_on_a_finding_and_names_it(made: tuple[Graph, Files], source: Path, tmp_path: Path) -> None:
    slip = next(b for b in BREAKS if b.name == "drop approval")
    folder = written(broken(made[1], slip), tmp_path / "bundle")
    code, out, err = run(str(folder))
    assert (code, out) == (1, "")
    assert "error: mcp/tenants/acme.json#/tools/0/approval: STOA688 `acme:orders:delete_order` destroys" in err
    code, out, _ = run(str(folder), "--source", str(source), "--format", "json")
    said = json.loads(out)
    assert (code, said["whole"], said["holds"]) == (1, True, False)
    assert {"STOA688", "STOA691"} <= {f["code"] for f in said["findings"]}
    assert {f["pointer"] for f in said["findings"] if f["code"] == "STOA688"} == {"/tools/0/approval"}


def test_a_source_with_mistakes_compares_with_nothing(made: tuple[Graph, Files], tmp_path: Path) -> None:
    folder = written(made[1], tmp_path / "bundle")
    (tmp_path / "source").mkdir()
    code, _, err = run(str(folder), "--source", str(tmp_path / "source"))
    assert code == 1
    assert "has mistakes: nothing can be compared with it" in err


def test_the_invariants_are_in_the_docs() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert len({i.code for i in INVARIANTS}) == len(INVARIANTS)
    for invariant in INVARIANTS:
        assert f"| {invariant.code} | {invariant.title} |" in text

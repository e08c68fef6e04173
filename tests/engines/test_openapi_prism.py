"""Imported descriptions: every tool's request is one that Prism accepts, judging by the same description."""

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.engines import prism
from tests.engines.imported import ROOT, TOKENIZER, Proof, prove

HERE = Path(__file__).parent
OWN = HERE / "descriptions" / "harbour.yaml"
OTHERS = ROOT.parent / "shared" / "data" / "openapi"
SMALL = sorted(p for p in OTHERS.glob("*") if p.stat().st_size < 500_000) if OTHERS.is_dir() else []
LARGE = sorted(p for p in OTHERS.glob("*") if p not in SMALL) if OTHERS.is_dir() else []
WITH_BYTES = {"getChart", "putChart", "handIn"}

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def engines() -> None:
    try:
        prism.node_package("@stoplight/prism-cli", prism.VERSION)
        prism.node_package(*TOKENIZER)
    except prism.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prism.mocking(OWN, tmp_path_factory.mktemp("prism")) as url:
        yield url


def accepted(proof: Proof) -> None:
    assert {(c.tool, c.kind): c.refused for c in proof.calls if c.refused} == {}
    assert proof.tools + len(proof.left_out) == proof.operations


@pytest.mark.parametrize("binary", ["exclude", "base64"])
def test_every_shape_of_parameter_body_and_answer(binary: str, tmp_path: Path) -> None:
    proof = prove(OWN, tmp_path, binary=binary)
    accepted(proof)
    assert set(proof.left_out) == (WITH_BYTES if binary == "exclude" else set())
    assert proof.answered == len(proof.calls) == 2 * proof.tools


@pytest.mark.parametrize(
    ("method", "target", "body", "words"),
    [
        ("GET", "/berths?token=k", None, "types"),
        ("GET", "/berths?token=k&types=raft", None, "types"),
        ("GET", "/berths/A1?token=k", None, "pattern"),
        ("PUT", "/berths/A12?token=k", "{}", "name"),
        ("PUT", "/charts/1?token=k", "{}", "content type"),
        ("GET", "/berths/A12", None, "security"),
        ("GET", "/cranes?token=k", None, "no path matched"),
    ],
)
def test_prism_refuses_what_the_description_does_not_take(
    harbour: str, method: str, target: str, body: str | None, words: str
) -> None:
    """A proof by a judge who takes everything would be none."""
    connection = HTTPConnection("127.0.0.1", urlsplit(harbour).port, timeout=30)
    headers = {"X-Piers": "1"} | ({"Content-Type": "application/json"} if body else {})
    connection.request(method, target, body, headers)
    response = connection.getresponse()
    refused = prism.refusal(response.status, response.getheaders(), response.read())
    connection.close()
    assert words in refused


@pytest.mark.skipif(not SMALL, reason="other people's descriptions are not here")
@pytest.mark.parametrize("file", SMALL, ids=lambda f: f.name)
def test_descriptions_that_others_wrote(file: Path, tmp_path: Path) -> None:
    proof = prove(file, tmp_path)
    accepted(proof)
    assert proof.answered == len(proof.calls) == 2 * proof.tools
    assert 0.7 < proof.counted / proof.estimated < 1.4, "the estimate of tokens is far from what a tokenizer counts"


@pytest.mark.skipif(not LARGE, reason="other people's large descriptions are not here")
@pytest.mark.parametrize("file", LARGE, ids=lambda f: f.name)
def test_large_descriptions_with_the_fewest_arguments(file: Path, tmp_path: Path) -> None:
    """Once for each tool, bytes too. Prism reads such a file for half a minute."""
    proof = prove(file, tmp_path, kinds=("minimal",), binary="base64")
    accepted(proof)
    assert len(proof.calls) == proof.tools > 200

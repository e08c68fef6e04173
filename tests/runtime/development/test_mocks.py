"""Mock backends over real sockets: the right example, and refusals like a real service's."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from stoa_runtime.bundles import digest_of
from stoa_runtime.development.mocks import mock_application
from stoa_schemas import bundle
from stoa_schemas.bundle import (
    Annotations,
    Answer,
    BackendRule,
    Body,
    CallExample,
    Catalog,
    ContractEntry,
    Placement,
    RateLimit,
    Request,
    Tool,
)

INVOICE: dict[str, Any] = {
    "type": "object",
    "required": ["number", "total"],
    "properties": {"number": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
}
RATE = RateLimit(calls=10, seconds=1)


def a_tool(operation: str, request: Request, input_schema: dict[str, Any], **changes: Any) -> Tool:
    defaults: dict[str, Any] = {
        "output_schema": INVOICE,
        "answer": Answer(media_types=["application/json"], check="enforce", max_bytes=100_000),
        "examples": [],
    }
    made = Tool(
        id=f"acme:billing:{operation}",
        name=f"acme_billing_{operation}",
        contract="billing",
        title=operation,
        description=operation,
        input_schema={"type": "object", "additionalProperties": False, **input_schema},
        annotations=Annotations(
            title=operation, read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
        side_effects="read",
        approval=False,
        rate=RATE,
        request=request,
        digest="sha256:" + "0" * 64,
        **{**defaults, **changes},
    )
    return made.model_copy(update={"digest": digest_of(made)})


def in_path(name: str) -> Placement:
    return Placement(in_="path", name=name, style="simple")


def in_query(name: str) -> Placement:
    return Placement(in_="query", name=name, style="form", explode=True)


TOOLS = [
    a_tool(
        "get_invoice",
        Request(method="GET", path="/invoices/{number}", arguments={"id": in_path("number")}),
        {"required": ["id"], "properties": {"id": {"type": "string", "pattern": "^[A-Z0-9/-]+$"}}},
        examples=[
            CallExample(name="no output", input={"id": "INV-0"}),
            CallExample(name="first", input={"id": "INV-1"}, output={"number": "INV-1", "total": 10}),
            CallExample(name="second", input={"id": "A/2"}, output={"number": "A/2", "total": 20}),
        ],
    ),
    a_tool(
        "latest",
        Request(method="GET", path="/invoices/latest", arguments={}),
        {},
        examples=[CallExample(name="latest", input={}, output={"number": "INV-9", "total": 99})],
    ),
    a_tool(
        "list_invoices",
        Request(method="GET", path="/invoices", arguments={"status": in_query("status"), "page": in_query("page")}),
        {
            "properties": {
                "status": {"type": "array", "items": {"enum": ["open", "paid"]}},
                "page": {"type": "integer", "default": 1, "minimum": 1},
            }
        },
        output_schema={"type": "array", "items": INVOICE},
        examples=[
            CallExample(name="all", input={}, output=[]),
            CallExample(name="open", input={"status": ["open"]}, output=[{"number": "INV-3", "total": 3}]),
            CallExample(name="next", input={"page": 2}, output=[{"number": "INV-4", "total": 4}]),
        ],
    ),
    a_tool(
        "create_invoice",
        Request(
            method="POST",
            path="/invoices",
            arguments={name: Placement(in_="body", name=name) for name in ("number", "total")},
            body=Body(media_type="application/json", required=True),
        ),
        {"required": ["number", "total"], "properties": INVOICE["properties"]},
        examples=[
            CallExample(name="whole", input={"number": "INV-5", "total": 5}, output={"number": "INV-5", "total": 5})
        ],
    ),
    a_tool(
        "delete_invoice",
        Request(method="DELETE", path="/invoices/{number}", arguments={"id": in_path("number")}),
        {"required": ["id"], "properties": {"id": {"type": "string"}}},
        output_schema=None,
    ),
    a_tool("summary", Request(method="GET", path="/summary", arguments={}), {}),
    a_tool(
        "export",
        Request(method="GET", path="/export.csv", arguments={}),
        {},
        output_schema={"type": "string"},
        answer=Answer(media_types=["text/csv"], check="enforce", max_bytes=1000),
        examples=[CallExample(name="csv", input={}, output="number,total\nINV-1,10\n")],
    ),
    a_tool(
        "search",
        Request(method="GET", path="/search", arguments={"ids": in_query("ids")}),
        {"required": ["ids"], "properties": {"ids": {"type": "array", "items": {"type": "integer"}}}},
    ),
    a_tool(
        "totals",
        Request(method="GET", path="/totals", arguments={"year": in_query("year")}),
        {"required": ["year"], "properties": {"year": {"type": "integer"}}},
        examples=[CallExample(name="no output", input={"year": 2030})],
        answers=[{"number": "2030", "total": 7}],
    ),
    a_tool(
        "logo",
        Request(method="GET", path="/logo", arguments={}),
        {},
        output_schema=None,
        answer=Answer(media_types=["image/png"], check="enforce", max_bytes=1000),
    ),
    a_tool(
        "opaque",
        Request(method="GET", path="/opaque", arguments={}),
        {},
        output_schema={"type": "string", "pattern": "(?=secret)"},
    ),
]


def a_catalog(tools: list[Tool], tenant: str = "acme") -> Catalog:
    return Catalog(
        tenant=tenant,
        display_name="Acme",
        tier="standard",
        contact="acme@example.com",
        rate=RATE,
        contracts=[
            ContractEntry(
                name="billing",
                display_name="Billing",
                version="1.0.0",
                classification="H",
                status="published",
                owner="acme@example.com",
                policies=[],
                backend=BackendRule(
                    url="http://127.0.0.1:1/acme/billing",
                    connect_ms=100,
                    read_ms=100,
                    total_ms=100,
                    retries=0,
                    backoff_ms=1,
                ),
            )
        ],
        tools=sorted(tools, key=lambda tool: tool.name),
        access={},
        consumers=[],
        plans={},
    )


@pytest.fixture(scope="module")
def billing(serve: Callable[..., str]) -> str:
    return serve(mock_application([a_catalog(TOOLS)])) + "/acme/billing"


def problem(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    return found


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("/invoices/INV-1", {"number": "INV-1", "total": 10}),
        ("/invoices/A%2F2", {"number": "A/2", "total": 20}),
        ("/invoices/latest", {"number": "INV-9", "total": 99}),
        ("/totals?year=2030", {"number": "2030", "total": 7}),
        ("/invoices", []),
        ("/invoices?status=open", [{"number": "INV-3", "total": 3}]),
        ("/invoices?status=open&page=1", [{"number": "INV-3", "total": 3}]),
        ("/invoices?page=2", [{"number": "INV-4", "total": 4}]),
    ],
)
def test_the_example_for_the_request_answers(billing: str, path: str, output: Any) -> None:
    answer = httpx2.get(billing + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == output


@pytest.mark.parametrize("path", ["/invoices/INV-0", "/invoices/INV-77"])
def test_without_one_the_first_output_answers_as_it_is_written(billing: str, path: str) -> None:
    assert httpx2.get(billing + path).json() == {"number": "INV-1", "total": 10}


def test_without_any_a_sample_answers(billing: str) -> None:
    answer = httpx2.get(billing + "/summary").json()
    jsonschema_rs.validate(INVOICE, answer)
    assert httpx2.get(billing + "/summary").json() == answer


def test_bodies_are_read(billing: str) -> None:
    answer = httpx2.post(billing + "/invoices", json={"total": 5, "number": "INV-5"})
    assert answer.json() == {"number": "INV-5", "total": 5}


def test_no_output_is_no_content(billing: str) -> None:
    answer = httpx2.delete(billing + "/invoices/INV-1")
    assert (answer.status_code, answer.content) == (204, b"")


def test_other_media_types_are_the_contracts(billing: str) -> None:
    answer = httpx2.get(billing + "/export.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.startswith("number,total")


def test_an_empty_array_in_the_query_is_no_parameter(billing: str) -> None:
    assert httpx2.get(billing + "/search").status_code == 200
    assert httpx2.get(billing + "/search?ids=1&ids=2").status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/invoices/a/b", "/invoices/", "/exportxcsv", ""])
def test_an_unknown_path_is_not_found(billing: str, path: str) -> None:
    assert problem(httpx2.get(billing + path))["status"] == 404


@pytest.mark.parametrize("service", ["/acme/other", "/other/billing", "/acme", ""])
def test_an_unknown_service_is_not_found(billing: str, service: str) -> None:
    root = billing.removesuffix("/acme/billing")
    assert problem(httpx2.get(f"{root}{service}/summary"))["status"] == 404


def test_a_wrong_method_names_the_right_ones(billing: str) -> None:
    answer = httpx2.put(billing + "/invoices/INV-1", json={})
    assert problem(answer)["status"] == 405
    assert answer.headers["allow"] == "DELETE, GET"


def test_a_body_outside_the_schema_is_refused_with_each_error(billing: str) -> None:
    found = problem(httpx2.post(billing + "/invoices", json={"number": 5, "total": -1, "more": True}))
    assert found["status"] == 422
    assert {"/number", "/total", "/"} == {error["at"] for error in found["errors"]}


@pytest.mark.parametrize("path", ["/invoices/inv-1", "/invoices?page=0", "/invoices?page=two", "/invoices?status=late"])
def test_other_arguments_outside_the_schema_are_refused(billing: str, path: str) -> None:
    assert problem(httpx2.get(billing + path))["status"] == 422


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"", 400), (b"[]", 422)])
def test_a_body_that_is_no_json_object_is_refused(billing: str, body: bytes, status: int) -> None:
    answer = httpx2.post(billing + "/invoices", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer)["status"] == status


def test_another_media_type_is_refused(billing: str) -> None:
    assert problem(httpx2.post(billing + "/invoices", data={"number": "1"}))["status"] == 415


def test_an_answer_that_cannot_be_made_up_is_an_open_failure(billing: str) -> None:
    assert "no example" in problem(httpx2.get(billing + "/opaque"))["detail"]


# As a process of its own


def write_bundle(folder: Path, *, development: bool) -> Path:
    catalog = a_catalog(TOOLS)
    path = "mcp/tenants/acme.json"
    index = bundle.PlatformIndex(
        name="oasis",
        display_name="The Oasis",
        domain="example.com",
        environment="dev",
        mcp_url="http://127.0.0.1:1/mcp",
        token=bundle.TokenRules(
            issuer="http://127.0.0.1:2",
            audience="http://127.0.0.1:1/mcp",
            jwks_url="http://127.0.0.1:2/keys",
            algorithms=["RS256"],
            scopes=["stoa-mcp"],
        ),
        roles={},
        clients=[],
        backend_networks=[],
        approval_expiry_ms=1000,
        tenants=[bundle.TenantEntry(name="acme", display_name="Acme", catalog=path)],
    )
    files = {bundle.PLATFORM_INDEX: index.encode(), path: catalog.encode()}
    if development:
        files[bundle.DEVELOPMENT] = bundle.Development(people=[], clients=[]).encode()
    manifest = bundle.RuntimeManifest(
        platform="oasis",
        environment="dev",
        development=development,
        files=[
            bundle.Artifact(path=name, media_type="application/json", sha256=bundle.sha256(data), bytes=len(data))
            for name, data in sorted(files.items())
        ],
    )
    for name, data in {**files, bundle.RUNTIME_MANIFEST: manifest.encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "stoa_runtime.development.mocks", str(folder), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("ending", ["signal", "end of input"])
def test_a_process_serves_a_bundle_until_it_is_told_to_stop(tmp_path: Path, ending: str) -> None:
    process = start(write_bundle(tmp_path, development=True), "--stop-at-eof")
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        url = json.loads(process.stdout.readline())["backends"]
        assert httpx2.get(f"{url}/acme/billing/invoices/INV-1").json()["total"] == 10
        if ending == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("development", "options", "words"),
    [(False, [], "not a development one"), (True, ["--host", "0.0.0.0"], "loopback only")],
)
def test_a_process_refuses_what_is_not_for_development(
    tmp_path: Path, development: bool, options: list[str], words: str
) -> None:
    process = start(write_bundle(tmp_path, development=development), *options)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 3
    assert words in errors


def test_a_bundle_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, development=True)
    catalog = folder / "mcp/tenants/acme.json"
    catalog.write_bytes(catalog.read_bytes().replace(b"INV-1", b"INV-8"))
    process = start(folder)
    assert process.communicate(timeout=20)[1].startswith("error: ")
    assert process.returncode == 3


def test_bytes_are_answered_where_bytes_are_declared(billing: str) -> None:
    found = httpx2.get(f"{billing}/logo")
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    assert found.content

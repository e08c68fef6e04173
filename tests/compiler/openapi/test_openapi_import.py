"""`stoa import openapi`: contracts out of descriptions, their names, hosts and texts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.diagnostics import Report
from stoa_compiler.openapi import DescriptionError, read
from stoa_compiler.openapi.command import import_openapi_command
from stoa_compiler.openapi.importer import (
    Imported,
    ImportRefused,
    Selection,
    allow_host,
    import_openapi,
    is_internal,
    operation_names,
)
from stoa_compiler.parse import parse_file
from stoa_compiler.source import SourceFile
from stoa_schemas.documents import UniversalAPIContract

PATHS = {
    "/pets": {
        "get": {"operationId": "listPets", "tags": ["pets"], "summary": "List pets"},
        "post": {"operationId": "createPet", "tags": ["pets", "admin"]},
    },
    "/pets/{petId}": {"delete": {"tags": ["admin"]}},
    "/photo": {"put": {"operationId": "putPhoto", "requestBody": {"content": {"multipart/form-data": {}}}}},
}


def described(paths: Any = None, servers: Any = None, **info: Any) -> bytes:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Pets", "version": "2.1", **info},
        "servers": servers if servers is not None else [{"url": "https://pets.example.com/v1/"}],
        "paths": PATHS if paths is None else paths,
    }
    return json.dumps(document, indent=1).encode()


def imported(content: bytes | None = None, selection: Selection | None = None, **more: Any) -> Imported:
    given = {"tenant": "acme", "name": "pets", "owner": "pets@acme.example", **more}
    return import_openapi(content or described(), "pets.json", selection=selection or Selection(all=True), **given)


def contract(result: Imported) -> UniversalAPIContract:
    report = Report()
    text = next(v for k, v in result.files.items() if "/contracts/" in k)
    document = parse_file(SourceFile("c.yaml", "c.yaml", text), report)
    assert document is not None, report.found
    return UniversalAPIContract.model_validate(document.data)


def test_contract_names_operations_and_pins_the_description() -> None:
    content = described()
    result = imported(content)
    assert list(result.files) == ["acme/contracts/pets.yaml", "acme/sources/pets.json"]
    assert result.files["acme/sources/pets.json"] == content
    spec = contract(result).spec
    assert spec.source is not None
    assert spec.source.sha256 == hashlib.sha256(content).hexdigest()
    assert spec.source.file == "sources/pets.json"
    assert spec.version == "2.1.0"
    assert spec.backend.urls == dict.fromkeys(("dev", "staging", "prod"), "https://pets.example.com/v1")
    assert spec.answer is not None
    assert spec.answer.check == "report"
    assert {k: (o.from_, o.side_effects) for k, o in spec.operations.items()} == {
        "list_pets": ("listPets", "read"),
        "create_pet": ("createPet", "write"),
        "delete_pets_by_pet_id": ("DELETE /pets/{petId}", "destructive"),
    }
    assert [(r.operation, r.state, r.tool) for r in result.operations] == [
        ("listPets", "in", "acme_pets_list_pets"),
        ("createPet", "in", "acme_pets_create_pet"),
        ("DELETE /pets/{petId}", "in", "acme_pets_delete_pets_by_pet_id"),
        ("putPhoto", "left out", None),
    ]
    assert "multipart" in result.operations[3].reason


def test_equal_input_gives_equal_bytes() -> None:
    assert imported().files == imported().files


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), []),
        (Selection(tags=("admin",)), ["create_pet", "delete_pets_by_pet_id"]),
        (Selection(operations=("listPets",)), ["list_pets"]),
        (Selection(operations=("*Pet*",)), ["list_pets", "create_pet"]),
        (Selection(operations=("DELETE /pets/{petId}",)), ["delete_pets_by_pet_id"]),
        (Selection(operations=("GET /pets",)), ["list_pets"]),
        (Selection(paths=("/pets",)), ["list_pets", "create_pet"]),
        (Selection(methods=("get",)), ["list_pets"]),
        (Selection(tags=("pets",), methods=("POST",)), ["create_pet"]),
        (Selection(all=True, tags=("pets",)), ["list_pets", "create_pet"]),
    ],
)
def test_selection(selection: Selection, taken: list[str]) -> None:
    result = imported(selection=selection)
    assert [r.name for r in result.operations if r.state == "in"] == taken
    assert bool(result.files) == bool(taken)


def test_a_selection_of_nothing_that_exists_is_reported() -> None:
    messages = [p.message for p in imported(selection=Selection(tags=("nope",), operations=("no",))).problems]
    assert messages == ["no operation is called `no`", "no operation has the tag `nope`"]


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [
        ("getPetByID", "get_pet_by_id"),
        ("list-all_things", "list_all_things"),
        ("HTTPServer2Start", "http_server_2_start"),
        ("2fa", "op_2_fa"),
        ("Überprüfen", "uberprufen"),
        ("a.b/c", "a_b_c"),
    ],
)
def test_names_are_snake_case(operation_id: str, name: str) -> None:
    description = read(described({"/a": {"get": {"operationId": operation_id}}}), "a.json")
    assert operation_names(description, 40) == {operation_id: (name, False)}


def test_an_id_without_letters_is_named_by_method_and_path() -> None:
    description = read(described({"/a/{x}": {"get": {"operationId": "日本"}}}), "a.json")
    assert operation_names(description, 40) == {"日本": ("get_a_x", False)}


def test_long_names_are_cut_between_words_and_stay_apart() -> None:
    ids = [f"getTheVeryLongNameOfSomethingThatGoesOnAndOn{n}" for n in ("First", "Second")]
    description = read(described({f"/{i}": {"get": {"operationId": i}} for i in ids}), "a.json")
    names = [n for n, _ in operation_names(description, 30).values()]
    assert all(len(n) <= 30 and n.startswith("get_the_very_long_name_") for n in names)
    assert len(set(names)) == 2
    assert len({n.rpartition("_")[0] for n in names}) == 1


def test_colliding_names_get_a_digest_and_are_reported() -> None:
    paths = {"/a": {"get": {"operationId": "getPet"}}, "/b": {"get": {"operationId": "get_pet"}}}
    result = imported(described(paths))
    names = [r.name or "" for r in result.operations]
    assert len(set(names)) == 2
    assert all(n.startswith("get_pet_") for n in names)
    assert sum("another operation makes the same name" in p.message for p in result.problems) == 2
    alone = imported(described(paths), Selection(operations=("getPet",)))
    assert [r.name for r in alone.operations if r.name] == names[:1]


@pytest.mark.parametrize(
    ("tenant", "name"), [("a" * 31, "b" * 31), ("A", "x"), ("acme", "x_y"), ("stoa-x", "x"), ("a\n", "x")]
)
def test_names_that_do_not_fit_are_refused(tenant: str, name: str) -> None:
    with pytest.raises(ImportRefused):
        imported(tenant=tenant, name=name)


@pytest.mark.parametrize(
    ("servers", "given", "url", "noted"),
    [
        ([{"url": "https://a.example/x/"}], None, "https://a.example/x", False),
        ([{"url": "https://a.example"}, {"url": "https://b.example"}], None, "https://a.example", True),
        (
            [
                {
                    "url": "{scheme}://a.example/{v}",
                    "variables": {"scheme": {"default": "https"}, "v": {"default": "v2"}},
                }
            ],
            None,
            "https://a.example/v2",
            False,
        ),
        ([{"url": "https://{host}/"}], None, "https://api.acme.example", True),
        ([{"url": "/v3"}], None, "https://api.acme.example/v3", True),
        ([], None, "https://api.acme.example", True),
        ([{"url": "http://169.254.169.254/latest"}], None, "https://api.acme.example", True),
        ([{"url": "http://localhost:8080"}], None, "https://api.acme.example", True),
        ([{"url": "https://user@a.example"}], None, "https://api.acme.example", True),
        ([{"url": "file:///etc/passwd"}], None, "https://api.acme.example", True),
        ("x", None, "https://api.acme.example", True),
        ([{"url": "https://a.example"}], "https://c.example/api/", "https://c.example/api", False),
    ],
)
def test_backend(servers: Any, given: str | None, url: str, noted: bool) -> None:
    result = imported(described(servers=servers), backend_url=given)
    assert result.backend_url == url
    assert any(p.pointer == "/servers" for p in result.problems) == noted
    assert contract(result).spec.backend.urls["prod"] == url


@pytest.mark.parametrize(
    "given", ["ftp://a.example", "https://u@a.example", "https://a.example/?q", "a.example", "https://"]
)
def test_a_backend_that_is_no_plain_url_is_refused(given: str) -> None:
    with pytest.raises(ImportRefused):
        imported(backend_url=given)


def test_texts_of_the_description_cannot_hide_anything() -> None:
    content = described(
        title="Pets\u202e\U000e0041 {{x}}", description="${HOME}\u200b # no: comment\n\nnext " + "long " * 500
    )
    spec = contract(imported(content)).spec
    assert spec.display_name == "Pets { {x} }"
    assert spec.description is not None
    assert spec.description.startswith("$ {HOME} # no: comment next long")
    assert len(spec.description) <= 1024


@pytest.mark.parametrize(
    ("declared", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v3", "3.0.0"),
        ("52", "52.0.0"),
        ("2024-01-01", "2024.0.0"),
        ("latest", "1.0.0"),
        ("01.2", "1.2.0"),
        (3, "3.0.0"),
    ],
)
def test_versions_become_semantic(declared: Any, version: str) -> None:
    assert contract(imported(described(version=declared))).spec.version == version


# The platform's allowed hosts

PLATFORM = """\
# The platform.
spec:
  backends:
    # Who may go where.
    allowedHosts:
      - host: "*.acme.example"   # acme
        tenants: [acme]
      - host: shared.example
        tenants: [greg,  ioi]

  # Identity.
  identity: {}
"""


def test_a_new_host_is_added_behind_the_others() -> None:
    added = "        tenants: [greg,  ioi]\n      - host: pets.example.com\n        tenants: [acme]\n"
    expected = PLATFORM.replace("        tenants: [greg,  ioi]\n", added)
    assert allow_host(PLATFORM, "pets.example.com", "acme") == expected


def test_a_tenant_is_added_to_a_known_host() -> None:
    assert allow_host(PLATFORM, "shared.example", "acme") == PLATFORM.replace("[greg,  ioi]", "[greg,  ioi, acme]")


@pytest.mark.parametrize(("host", "tenant"), [("api.acme.example", "acme"), ("shared.example", "ioi")])
def test_a_host_that_is_allowed_changes_nothing(host: str, tenant: str) -> None:
    assert allow_host(PLATFORM, host, tenant) == PLATFORM


@pytest.mark.parametrize(
    "hosts",
    [
        "[]",
        "[{host: a.example, tenants: [greg]}]",
        "\n    - host: a.example\n      tenants:\n        - greg\n",
        "\n      - {host: a.example, tenants: [greg]}",
    ],
)
@pytest.mark.parametrize("host", ["a.example", "new.example"])
def test_lists_in_any_layout_are_extended(hosts: str, host: str) -> None:
    text = f"# kept\nspec:\n  backends:\n    allowedHosts: {hosts}\n  other: 1 # kept, too\n"
    after = allow_host(text, host, "acme")
    document = parse_file(SourceFile("p.yaml", "p.yaml", after.encode()), Report())
    assert document is not None
    found = {e["host"]: e["tenants"] for e in document.data["spec"]["backends"]["allowedHosts"]}
    assert "acme" in found[host]
    assert "# kept\n" in after
    assert "# kept, too" in after


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "localhost",
        "db",
        "a.b.svc",
        "x.svc.cluster.local",
        "::1",
        "a.internal",
    ],
)
def test_internal_hosts_are_never_allowed_by_an_import(host: str) -> None:
    assert is_internal(host)
    with pytest.raises(ImportRefused):
        allow_host(PLATFORM, host, "acme")


def test_a_platform_without_the_list_is_refused() -> None:
    with pytest.raises(ImportRefused):
        allow_host("spec: {}\n", "a.example", "acme")
    with pytest.raises(ImportRefused):
        allow_host("spec: [\n", "a.example", "acme")


# The command


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "tenants"
    (root / "acme").mkdir(parents=True)
    (root / "platform.yaml").write_text(PLATFORM)
    (root / "acme" / "tenant.yaml").write_text("spec: {contact: team@acme.example, environments: [dev, prod]}\n")
    (tmp_path / "pets.json").write_bytes(described())
    return root


def run(source: Path, *options: str, file: str = "pets.json") -> Result:
    given = [str(source.parent / file), "--source", str(source), "--tenant", "acme", "--name", "pets", *options]
    return CliRunner().invoke(import_openapi_command, given)


def files(source: Path) -> set[str]:
    return {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}


def test_command_writes_contract_and_copy(source: Path) -> None:
    result = run(source, "--all")
    assert result.exit_code == 0, result.output
    assert files(source) == {"platform.yaml", "acme/tenant.yaml", "acme/contracts/pets.yaml", "acme/sources/pets.json"}
    text = (source / "acme/contracts/pets.yaml").read_text()
    assert "owner: team@acme.example" in text
    assert "staging" not in text
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["listPets", "(GET)", "acme_pets_list_pets", "34", "read"]
    assert "left out: a multipart body" in lines[4]
    assert lines[5].startswith("4 operations: 3 in, 1 left out")
    assert "- host: pets.example.com" in result.stdout
    assert (source / "platform.yaml").read_text() == PLATFORM


def test_command_takes_bytes_when_asked(source: Path) -> None:
    schema = {"type": "object", "properties": {"photo": {"type": "string", "format": "binary"}}}
    paths = {
        "/photo": {
            "put": {"operationId": "putPhoto", "requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}
        }
    }
    (source.parent / "pets.json").write_bytes(described(paths))
    assert "no operation can be imported" in run(source, "--all").stderr
    result = run(source, "--all", "--binary", "base64")
    assert result.exit_code == 0, result.output
    assert "binary: base64" in (source / "acme/contracts/pets.yaml").read_text()


def test_command_says_what_clients_do_not_take(source: Path) -> None:
    parameter = {"name": "size", "in": "query", "schema": {"enum": [1, 2]}}
    (source.parent / "pets.json").write_bytes(
        described({"/pets": {"get": {"operationId": "listPets", "parameters": [parameter]}}})
    )
    assert "note:" not in run(source, "--all", "--dry-run", "--client", "claude").stderr
    options = ("--all", "--dry-run", "--client", "gemini", "--client", "claude")
    told = run(source, *options).stderr
    assert "note: Gemini refuses of `acme_pets_list_pets`: values that are no text at `/properties/size/enum`" in told
    row = json.loads(run(source, *options, "--format", "json").stdout)["operations"][0]
    assert [c["client"] for c in row["clients"]] == ["Gemini"]
    assert 30 < row["tokens"] < 60


@pytest.mark.parametrize(("pattern", "taken"), [("/pets*", 3), ("/pets?", 0), ("/pet[s]", 0), ("/pets/{petId}", 1)])
def test_only_the_star_of_a_path_means_something(pattern: str, taken: int) -> None:
    result = imported(selection=Selection(paths=(pattern,)))
    assert [r.state for r in result.operations].count("in") == taken


def test_command_adds_the_host_when_asked(source: Path) -> None:
    assert run(source, "--all", "--allow-host").exit_code == 0
    assert (source / "platform.yaml").read_text() == allow_host(PLATFORM, "pets.example.com", "acme")


def test_command_lists_and_writes_nothing_without_a_choice(source: Path) -> None:
    before = files(source)
    result = run(source)
    assert result.exit_code == 2
    assert "not selected [pets, admin]" in result.stdout
    assert "--all" in result.stderr
    assert files(source) == before


def test_command_never_overwrites_without_force(source: Path) -> None:
    assert run(source, "--all").exit_code == 0
    assert run(source, "--all").exit_code == 0  # Nothing would change.
    before = (source / "acme/contracts/pets.yaml").read_bytes()
    result = run(source, "--method", "GET")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (source / "acme/contracts/pets.yaml").read_bytes() == before
    assert run(source, "--method", "GET", "--force").exit_code == 0
    assert (source / "acme/contracts/pets.yaml").read_bytes() != before


def test_command_writes_nothing_on_a_dry_run(source: Path) -> None:
    before = files(source)
    result = run(source, "--all", "--dry-run", "--format", "json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert [o["state"] for o in shown["operations"]] == ["in", "in", "in", "left out"]
    assert shown["allowHost"] == {"host": "pets.example.com", "tenants": ["acme"]}
    assert shown["written"] == []
    assert files(source) == before


@pytest.mark.parametrize(
    ("content", "options", "code", "words"),
    [
        (b"openapi: 3.1.0\nx: [\n", ("--all",), 1, "broken.yaml:3:1: not well-formed YAML"),
        (described({"/a": {"get": {"parameters": "x"}}}), ("--all",), 1, "no operation can be imported"),
        (described(), ("--all", "--backend", "nope"), 2, "absolute http"),
        (described(), ("--all", "--tenant", "Other"), 2, "name the owner"),
        (described(), ("--all", "--tenant", "Other", "--owner", "a@b.example"), 2, "not the name of a tenant"),
        (described(), ("--all", "--backend", "http://127.0.0.1:1", "--allow-host"), 1, "inside a machine"),
    ],
)
def test_command_creates_nothing_on_error(
    source: Path, content: bytes, options: tuple[str, ...], code: int, words: str
) -> None:
    (source.parent / "broken.yaml").write_bytes(content)
    before = files(source)
    result = run(source, *options, file="broken.yaml")
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert files(source) == before


def test_no_description_is_an_error_of_its_own() -> None:
    with pytest.raises(DescriptionError):
        imported(b"{}")

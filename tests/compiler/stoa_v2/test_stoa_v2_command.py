"""`stoa import stoa-v2`: what is written, what is shown, and with which exit code."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import main

GOLDEN = Path(__file__).parent / "golden"
WHEEL = GOLDEN / "strict/in/wheel.json"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["import", "stoa-v2", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A contract of which everything can come in."""
    data = json.loads(WHEEL.read_text("utf-8"))
    data["endpoints"] = data["endpoints"][1:]
    (tmp_path / "wheel.json").write_text(json.dumps(data, indent=2))
    return tmp_path / "wheel.json"


def test_a_new_source_compiles(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, "--source", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert "-> wheelwright:wheel:get_speed" in done.output
    assert f"wrote {tmp_path / 'new/platform.yaml'}" in done.output
    checked = CliRunner().invoke(main, ["check", str(tmp_path / "new")])
    assert checked.exit_code == 0, checked.output


def test_twice_is_once(wheel: Path, tmp_path: Path) -> None:
    run(wheel, "--source", tmp_path / "new")
    before = {p: p.read_bytes() for p in (tmp_path / "new").rglob("*.yaml")}
    assert run(wheel, "--source", tmp_path / "new", "--owner", "owner@wheelwright.example").exit_code == 0
    assert before == {p: p.read_bytes() for p in (tmp_path / "new").rglob("*.yaml")}


def test_a_contract_that_stands_is_overwritten_only_with_force(wheel: Path, tmp_path: Path) -> None:
    run(wheel, "--source", tmp_path / "new")
    contract = tmp_path / "new/wheelwright/contracts/wheel.yaml"
    contract.write_text(contract.read_text().replace("Speed of the wheel.", "How fast it turns."))
    refused = run(wheel, "--source", tmp_path / "new")
    assert refused.exit_code == 2
    assert "would be overwritten" in refused.output
    assert "How fast it turns." in contract.read_text()
    assert run(wheel, "--source", tmp_path / "new", "--force").exit_code == 0
    assert "Speed of the wheel." in contract.read_text()


def test_a_dry_run_writes_the_report_alone(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, "--source", tmp_path / "new", "--dry-run", "--report", tmp_path / "report.md")
    assert done.exit_code == 0
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "report.md").read_text("utf-8").startswith("# What the import made of each file")


def test_hosts_join_the_platform_only_when_asked(wheel: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    text = (GOLDEN / "strict/source/platform.yaml").read_text().replace("tenants: [mill]", "tenants: [wheelwright]")
    (source / "platform.yaml").write_text(text)
    done = run(wheel, "--source", source)
    assert "- host: wheel.example.com\n      tenants: [wheelwright]" in done.output
    assert (source / "platform.yaml").read_text() == text
    assert run(wheel, "--source", source, "--allow-host", "--force").exit_code == 0
    changed = (source / "platform.yaml").read_text()
    assert "wheel.example.com" in changed
    assert changed.startswith("# A platform that demands more")
    assert CliRunner().invoke(main, ["check", str(source)]).exit_code == 0


def test_json_has_every_value(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, "--source", tmp_path / "new", "--format", "json")
    shown = json.loads(done.stdout)
    (file,) = shown["files"]
    assert file["form"] == "contract"
    assert sum(file["counts"].values()) == len(file["values"]) == 16
    name = file["values"][0]
    assert (name["path"], name["line"], name["column"], name["outcome"]) == ("name", 2, 11, "mapped")
    assert name["to"] == [{"file": "wheelwright/contracts/wheel.yaml", "path": "metadata.name"}]
    assert shown["operations"][0]["tool"] == "wheelwright:wheel:get_speed"


def test_what_stays_out_is_an_exit_code(tmp_path: Path) -> None:
    done = run(WHEEL, "--source", tmp_path / "new")
    assert done.exit_code == 1
    assert "left out: STOA432" in done.output
    assert (tmp_path / "new/wheelwright/contracts/wheel.yaml").exists()


def test_the_command_line_says_what_a_file_lacks(tmp_path: Path) -> None:
    data = json.loads(WHEEL.read_text("utf-8"))
    del data["tenant_id"], data["classification"], data["endpoints"][0]
    (tmp_path / "w.json").write_text(json.dumps(data))
    lacking = run(tmp_path / "w.json", "--source", tmp_path / "new")
    assert lacking.exit_code == 1
    assert "the file names no tenant" in lacking.output
    assert not (tmp_path / "new").exists()
    done = run(tmp_path / "w.json", "--source", tmp_path / "new", "--tenant", "smith", "--classification", "VH")
    assert done.exit_code == 0
    assert "classification: VH" in (tmp_path / "new/smith/contracts/wheel.yaml").read_text()


def test_a_backend_in_place_of_another(tmp_path: Path) -> None:
    data = json.loads(WHEEL.read_text("utf-8"))
    del data["endpoints"][0]
    data["endpoints"][0]["backend_url"] = "http://wheel-service:9090/api"
    (tmp_path / "w.json").write_text(json.dumps(data))
    given = "wheel-service:9090=https://wheel.example.org"
    assert run(tmp_path / "w.json", "--source", tmp_path / "new", "--backend", given).exit_code == 0
    written = (tmp_path / "new/wheelwright/contracts/wheel.yaml").read_text()
    assert "prod: https://wheel.example.org/api" in written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "nonsense"], "write HOST=URL"),
        (["--backend", "a=http://10.0.0.1"], "is no https URL on a host with a DNS name"),
        (["--owner", "nobody"], "`nobody` is not an address"),
    ],
)
def test_wrong_use(wheel: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(wheel, "--source", tmp_path / "new", *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "new").exists()


def test_a_source_with_a_broken_platform_is_left_alone(wheel: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "platform.yaml").write_text("apiVersion: gostoa.dev/v2\nkind: Platform\n")
    done = run(wheel, "--source", source)
    assert done.exit_code == 2
    assert "has mistakes of its own" in done.output
    assert [p.name for p in source.iterdir()] == ["platform.yaml"]


def test_a_folder_without_files(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert run(tmp_path / "nothing", "--source", tmp_path / "new").exit_code == 2


def test_two_files_of_one_contract(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_bytes(wheel.read_bytes())
    (folder / "b.json").write_bytes(wheel.read_bytes())
    (folder / "c.json").write_text(wheel.read_text().replace("Speed", "Haste"))
    done = run(folder, "--source", tmp_path / "new", "--format", "json")
    shown = json.loads(done.stdout)
    assert [next(iter(f["counts"])) for f in shown["files"]][1:] == ["duplicate", "left out"]
    assert done.exit_code == 1

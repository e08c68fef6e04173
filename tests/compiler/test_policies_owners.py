"""CODEOWNERS: our part between two marks, the rest untouched, the same on a second run."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli.review import command
from stoa_compiler.plan.owners import BEGIN, END, Unclear, merged
from tests.compiler.sources import PLATFORM, Copy, copy_of_base

OWNERS = """\
  reviews:
    owners:
      platform: [harbour/platform, zoe]
      tenants:
        acme: [harbour/acme]
"""


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    made = copy_of_base(tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    with (tmp_path / "tenants" / PLATFORM).open("a") as file:
        file.write(OWNERS)
    return made


def owners(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["codeowners", str(folder / "tenants"), *options])


EXPECTED = f"""\
{BEGIN}
[STOA platform]
/tenants/platform.yaml @harbour/platform @zoe
/.gitlab/CODEOWNERS @harbour/platform @zoe
/.gitlab-ci.yml @harbour/platform @zoe

[STOA tenants]
/tenants/ @harbour/platform @zoe
/tenants/acme/ @harbour/acme
/tenants/umbra/ api@umbra.example
{END}
"""


def test_it_is_made_checked_and_left_alone(source: Copy, tmp_path: Path) -> None:
    file = tmp_path / ".gitlab" / "CODEOWNERS"
    assert owners(tmp_path, "--check").exit_code == 1
    assert not file.exists()
    assert owners(tmp_path).output == ".gitlab/CODEOWNERS: written\n"
    assert file.read_text() == EXPECTED
    assert owners(tmp_path).output == ".gitlab/CODEOWNERS: nothing changed\n"
    assert owners(tmp_path, "--check").exit_code == 0
    source.change(PLATFORM, "acme: [harbour/acme]", "acme: [harbour/other]")
    assert owners(tmp_path, "--check").exit_code == 1
    assert file.read_text() == EXPECTED


def test_the_file_that_gitlab_reads_is_the_one(source: Copy, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "CODEOWNERS").write_text("[Docs]\n/docs/ @writers\n")
    assert owners(tmp_path).exit_code == 0
    text = (tmp_path / "docs" / "CODEOWNERS").read_text()
    assert text.startswith("[Docs]\n/docs/ @writers\n\n" + BEGIN)
    assert "/docs/CODEOWNERS @harbour/platform @zoe" in text
    assert not (tmp_path / ".gitlab").exists()


def test_without_owners_of_the_platform(source: Copy, tmp_path: Path) -> None:
    source.change(PLATFORM, OWNERS, "")
    done = owners(tmp_path)
    assert (done.exit_code, "names nobody" in done.stderr) == (0, True)
    lines = (tmp_path / ".gitlab" / "CODEOWNERS").read_text().splitlines()
    assert [line for line in lines if line.startswith("/")] == [
        "/tenants/acme/ api@acme.example", "/tenants/umbra/ api@umbra.example",
    ]  # fmt: skip


def test_a_source_with_mistakes_writes_nothing(source: Copy, tmp_path: Path) -> None:
    source.change(PLATFORM, "acme: [harbour/acme]", "acmee: [harbour/acme]")
    done = owners(tmp_path)
    assert (done.exit_code, "STOA485" in done.output) == (1, True)
    assert not (tmp_path / ".gitlab").exists()


def test_where_it_may_not_be(source: Copy, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("theirs")
    assert owners(tmp_path, "--file", str(outside)).exit_code == 2
    link = tmp_path / "CODEOWNERS"
    link.symlink_to(tmp_path / "tenants" / PLATFORM)
    assert owners(tmp_path).exit_code == 2
    assert outside.read_text() == "theirs"


BLOCK = f"{BEGIN}\n[STOA tenants]\n/a/ @b\n{END}\n"


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [
        ("", BLOCK),
        ("\n\n", BLOCK),
        ("* @all\n", f"* @all\n\n{BLOCK}"),
        ("* @all", f"* @all\n\n{BLOCK}"),
        ("* @all\r\n/x @y\r\n", f"* @all\n/x @y\n\n{BLOCK}"),
        (f"* @all\n\n{BEGIN} older words\nold\n{END}\n", f"* @all\n\n{BLOCK}"),
        (f"{BLOCK}\n/z/ @mine\n", f"/z/ @mine\n\n{BLOCK}"),
        (f"* @all\n\n{BLOCK}/z/ @mine\n", f"* @all\n\n/z/ @mine\n\n{BLOCK}"),
    ],
)
def test_merging(existing: str, wanted: str) -> None:
    assert merged(existing, BLOCK) == wanted
    assert merged(wanted, BLOCK) == wanted


@pytest.mark.parametrize("existing", [BEGIN, END, BLOCK + BLOCK, f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_marks_that_do_not_fit_are_not_guessed_at(existing: str) -> None:
    with pytest.raises(Unclear):
        merged(existing, BLOCK)

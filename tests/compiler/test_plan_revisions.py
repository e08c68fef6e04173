"""Both sides of a plan from Git objects: what is found, what is missing, and that nothing else is looked at."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli.plan import command
from stoa_compiler.diagnostics import Report
from stoa_compiler.load import load
from stoa_compiler.plan.changes import Plan
from stoa_compiler.plan.revisions import Repository, folder_tree

BASE = Path(__file__).parents[1] / "plan" / "nothing-changed" / "base"


def git(folder: Path, *arguments: str, author: str = "Ada") -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", author), ("EMAIL", "ada@acme.example"))},
    }  # fmt: skip
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def edit(folder: Path, path: str, old: str, new: str) -> None:
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with the gallery's source in `conf/tenants`, committed once on `main`."""
    folder = tmp_path / "repository"
    write(folder / "conf/tenants", {p.relative_to(BASE).as_posix(): p.read_text() for p in BASE.rglob("*.yaml")})
    (folder / "README.md").write_text("# Acme\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    monkeypatch.chdir(folder)
    return folder


def stoa_plan(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["conf/tenants", *arguments], catch_exceptions=False)


def texts(*arguments: str) -> list[str]:
    result = stoa_plan(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return [c.text for c in Plan.from_json(result.stdout_bytes).changes]


ORDERS = "conf/tenants/shop/contracts/orders.yaml"
OWNER = "orders@shop.example"
TENANT = "conf/tenants/shop/tenant.yaml"


def test_the_working_folder_is_head(repository: Path) -> None:
    edit(repository, ORDERS, OWNER, "new@shop.example")
    (said,) = texts("--base", "HEAD")
    assert said == "`shop:orders`: the owner changes from `orders@shop.example` to `new@shop.example`"
    edit(repository, ORDERS, "new@shop.example", OWNER)
    assert "no changes" in stoa_plan("--base", "HEAD").stdout


def test_both_sides_from_objects(repository: Path) -> None:
    """Whatever lies in the working folder, and from wherever it is called."""
    edit(repository, ORDERS, OWNER, "new@shop.example")
    git(repository, "commit", "-qam", "two")
    for path in (repository / "conf/tenants").rglob("*.yaml"):
        path.unlink()
    assert len(texts("--base", "HEAD~1", "--head", "HEAD")) == 1


def test_where_head_left_base(repository: Path) -> None:
    """What came to the base's branch meanwhile is no loss, unless it is asked for."""
    git(repository, "checkout", "-q", "-b", "mine")
    git(repository, "checkout", "-q", "main")
    edit(repository, TENANT, "owners@shop.example", "others@shop.example")
    git(repository, "commit", "-qam", "theirs")
    git(repository, "checkout", "-q", "mine")
    edit(repository, ORDERS, OWNER, "new@shop.example")
    git(repository, "commit", "-qam", "mine")
    assert len(texts("--base", "main")) == 1
    assert len(texts("--base", "main", "--exact")) == 2


def test_a_source_that_is_new(repository: Path) -> None:
    write(repository / "other", {p.relative_to(BASE).as_posix(): p.read_text() for p in BASE.rglob("*.yaml")})
    result = CliRunner().invoke(command, ["other", "--base", "HEAD"])
    assert result.exit_code == 0, result.output
    assert "the platform `acme` is new, with 1 tenant" in result.stdout
    assert "tenant `shop` is new" in result.stdout


def test_folders(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, {p.relative_to(BASE).as_posix(): p.read_text() for p in BASE.rglob("*.yaml")})
    edit(repository, ORDERS, OWNER, "new@shop.example")
    assert len(texts("--base-dir", str(other))) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give the side to compare with, by --base REV or by --base-dir DIR"),
        (("--base", "main", "--base-dir", "."), 2, "give the side to compare with"),
        (("--base-dir", "conf", "--head", "main"), 2, "--base-dir compares folders"),
        (("--base", "nowhere"), 2, "`nowhere` is no revision of this repository; is `origin/nowhere` meant?"),
        (("--base", "--output=x"), 2, "`--output=x` is no revision"),
        (("--base", "a\x1b[2Jb"), 2, "`a\\x1b[2Jb` is no revision"),
        (("--base", "f" * 40), 3, "is not in this clone: `git fetch --depth=1 origin " + "f" * 40),
    ],
)
def test_mistakes_of_use(repository: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = stoa_plan(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr


def test_outside_of_any_repository(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    result = CliRunner().invoke(command, [str(tmp_path / "source"), "--base", "HEAD"])
    assert result.exit_code == 2
    assert "is in no Git repository" in result.stderr


def test_a_shallow_clone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named with the command that brings it; it never reads as no changes."""
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    for owner in ("a@shop.example", "b@shop.example"):
        edit(repository, ORDERS, (repository / ORDERS).read_text().split("owner: ")[1].split("\n")[0], owner)
        git(repository, "commit", "-qam", owner)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "clone")
    monkeypatch.chdir(clone)
    missing = stoa_plan("--base", first)
    assert missing.exit_code == 3
    assert f"`git fetch --depth=1 origin {first}` brings it" in missing.stderr
    assert "GIT_DEPTH: 0" in missing.stderr
    git(clone, "fetch", "-q", "--depth=1", "origin", first)
    apart = stoa_plan("--base", first)
    assert apart.exit_code == 3
    assert "git fetch --deepen=200 origin" in apart.stderr
    assert len(texts("--base", first, "--exact")) == 1
    git(clone, "fetch", "-q", "--unshallow")
    assert len(texts("--base", first)) == 1


def test_what_is_no_regular_file(repository: Path) -> None:
    """Objects are judged as `load` judges files."""
    (repository / "conf/tenants/shop/contracts/link.yaml").symlink_to("orders.yaml")
    (repository / "conf/tenants/shop/contracts/big.yaml").write_text("#" * 1_000_001)
    (repository / "conf/tenants/shop/.hidden.yaml").write_text("not read")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    tree = Repository.around(Path("conf/tenants")).tree(git(repository, "rev-parse", "HEAD"), "HEAD")
    _, found = tree.read(None)
    assert sorted(d.rule.code for d in found) == ["STOA003", "STOA004"]
    result = stoa_plan("--base", "HEAD~1", "--head", "HEAD")
    assert result.exit_code == 1
    assert "Plan: not compared" in result.stdout


def test_objects_and_files_are_the_same_source(repository: Path) -> None:
    source = Path("conf/tenants")
    tree = Repository.around(source).tree(git(repository, "rev-parse", "HEAD"), "HEAD")
    read, found = tree.read(None)
    lying = load(source, Report())
    assert not found
    assert read == lying
    assert tree.digest == folder_tree(source).digest
    narrowed, _ = tree.read({"nobody"})
    assert set(narrowed.elsewhere) == set(lying.narrowed({"nobody"}).elsewhere)
    assert narrowed.placed == lying.narrowed({"nobody"}).placed


def test_blame(repository: Path) -> None:
    """The author of the line; an author's name is shown and never acted upon."""
    edit(repository, TENANT, '["shop:orders:get_order"]', '["shop:orders:get_order", "shop:orders:pay_order"]')
    edit(repository, TENANT, "members: [shop-ada]", "members: [shop-ada, shop-cyd]")
    git(repository, "commit", "-qam", "two", author="@root </details> `x` /merge \x1b[2J")
    edit(repository, ORDERS, OWNER, "new@shop.example")
    result = stoa_plan("--base", "HEAD~1", "--blame", "--format", "json")
    changes = {c.code: c for c in Plan.from_json(result.stdout_bytes).changes}
    assert {p.author for p in changes["owner-changed"].spans} == {"not committed yet"}
    (place,) = changes["role-gained"].spans
    assert place.commit == git(repository, "rev-parse", "HEAD")
    assert "@root" in place.author
    for form in ("text", "markdown"):
        shown = stoa_plan("--base", "HEAD~1", "--blame", "--format", form).stdout
        assert "\x1b" not in shown
    assert "`` @root /details `x` /merge" in shown


def test_an_incomplete_plan_is_none_of_no_changes(repository: Path) -> None:
    """With --exit-code, what could not be compared counts as a change."""
    edit(repository, ORDERS, "sideEffects: read", "sideEffects: reads")
    git(repository, "commit", "-qam", "broken")
    edit(repository, ORDERS, "sideEffects: reads", "sideEffects: read")
    loud = stoa_plan("--base", "HEAD", "--exit-code")
    assert loud.exit_code == 1
    assert "!! tenant `shop` of base does not compile" in loud.stdout
    assert stoa_plan("--base", "HEAD", "--format", "terraform").stdout.startswith('{"error"')
    assert stoa_plan("--base", "HEAD~1", "--exit-code").exit_code == 0


def test_a_saved_plan_is_bound_to_both_sides(repository: Path, tmp_path: Path) -> None:
    edit(repository, ORDERS, OWNER, "new@shop.example")
    git(repository, "commit", "-qam", "two")
    saved = tmp_path / "plan.json"
    reports = [f"--report={form}={tmp_path / form}" for form in ("markdown", "terraform", "text")]
    result = stoa_plan("--base", "HEAD~1", "--head", "HEAD", "--out", str(saved), *reports)
    assert result.exit_code == 0, result.output
    plan = Plan.from_json(saved.read_bytes())
    assert plan.head.commit == git(repository, "rev-parse", "HEAD")
    assert set(plan.head.bundles) == {"staging", "prod"}
    assert plan.base.digest != plan.head.digest
    assert (tmp_path / "terraform").read_text() == '{"create": 0, "update": 1, "delete": 0}\n'
    assert (tmp_path / "markdown").read_text().startswith("## STOA plan: contracts 1")
    again = stoa_plan("--base", "HEAD~1", "--head", "HEAD", "--out", str(tmp_path / "again.json"))
    assert again.exit_code == 0
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()


def test_a_breaking_change_without_its_version_is_an_error(repository: Path) -> None:
    edit(repository, ORDERS, "[open, paid, closed]", "[open, paid, closed, lost]")
    result = stoa_plan("--base", "HEAD")
    assert result.exit_code == 1
    assert "STOA711" in result.stderr
    edit(repository, ORDERS, "version: 1.0.0", "version: 2.0.0")
    assert stoa_plan("--base", "HEAD").exit_code == 0


def test_hostile_file_names(repository: Path) -> None:
    """A name is shown and never acted upon, whichever bytes it has."""
    folder = repository / "conf/tenants/shop/contracts"
    for name in (b"\x1b[2J.yaml", b"\xff\xfe.yaml", b"`@all`.yaml", b"a\nb.yaml", b"</details>x.yaml"):
        path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as stream:  # noqa: PTH123
            stream.write(b"x: 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "two")
    for arguments in (("--head", "HEAD"), ()):
        for form in ("text", "markdown", "json"):
            result = stoa_plan("--base", "HEAD~1", *arguments, "--format", form)
            assert result.exit_code == 1
            assert all(c.isprintable() or c == "\n" for c in result.output)
            if form == "markdown":
                assert not re.search(r"^[^`]*@all", result.stdout, re.MULTILINE)


def test_called_by_a_hook(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git sets variables for hooks that point elsewhere."""
    edit(repository, ORDERS, OWNER, "new@shop.example")
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert len(texts("--base", "HEAD")) == 1


def test_object_ids_of_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "conf/tenants", {p.relative_to(BASE).as_posix(): p.read_text() for p in BASE.rglob("*.yaml")})
    git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.chdir(tmp_path)
    assert "no changes: both sides are equal" in stoa_plan("--base", "HEAD").stdout
    edit(tmp_path, ORDERS, OWNER, "new@shop.example")
    assert len(texts("--base", "HEAD")) == 1

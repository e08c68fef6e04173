"""Which files a source has, and what their places say they are."""

import os
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.load import MAX_DOCUMENT_BYTES, load
from tests.compiler.sources import ORDERS, PLAN, Copy, copy_of_base


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def test_every_file_of_a_good_source_has_its_place(source: Copy) -> None:
    report = Report()
    loaded = load(source.root, report)
    assert report.found == []
    assert [(p.kind, p.tenant, p.name) for p in loaded.placed] == [
        ("Consumer", "acme", "shop"),
        ("UniversalAPIContract", "acme", "orders"),
        ("Plan", "acme", "basic"),
        ("Subscription", "acme", "shop-orders"),
        ("Tenant", "acme", "acme"),
        ("Platform", None, ""),
        ("UniversalAPIContract", "umbra", "lamps"),
        ("Plan", "umbra", "gold"),
        ("Tenant", "umbra", "umbra"),
    ]
    assert list(loaded.descriptions) == ["umbra/sources/lamps.yaml"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("acme/contracts/secrets.yaml", "/etc/passwd"),
        ("acme/contracts/lamps.yaml", "../../umbra/contracts/lamps.yaml"),
        ("acme/sources", "../umbra/sources"),
        ("acme/plans/loop.yaml", "loop.yaml"),
        ("acme/plans/gone.yaml", "nowhere.yaml"),
        ("borrowed", "acme"),
    ],
)
def test_links_are_refused_wherever_they_lead(source: Copy, link: str, target: str) -> None:
    (source.root / link).symlink_to(target)
    checked, found = source.read()
    assert [(d.rule.code, d.span.line, d.span.column) for d in found] == [("STOA003", 1, 1)]
    assert found[0].span.file.endswith(link)
    assert not any(p.startswith(link) for p in checked.source.descriptions)


def test_a_platform_document_that_is_a_link_is_refused(source: Copy) -> None:
    (source.root / "platform.yaml").rename(source.root.parent / "elsewhere.yaml")
    (source.root / "platform.yaml").symlink_to("../elsewhere.yaml")
    assert source.codes() == ["STOA003"]


def test_a_pipe_is_not_opened(source: Copy) -> None:
    os.mkfifo(source.root / "acme/plans/endless.yaml")
    assert source.codes() == ["STOA003"]


def test_a_document_over_the_limit_is_not_read(source: Copy) -> None:
    source.add("acme/plans/huge.yaml", b"#" * (MAX_DOCUMENT_BYTES + 1))
    assert source.codes() == ["STOA004"]
    source.add("acme/plans/huge.yaml", b"#" * MAX_DOCUMENT_BYTES)
    assert source.codes() == ["STOA108"]


def test_a_file_that_nobody_may_read(source: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who may read everything: the refusal is the system call's."""
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("basic.yaml"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert source.loaded() == ["STOA008"]


def test_a_folder_that_nobody_may_list_is_not_passed_over(source: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if str(path).endswith("acme/contracts"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = Report()
    load(source.root, report)
    assert [(d.rule.code, d.message) for d in report.found] == [
        ("STOA008", "`acme/contracts` cannot be read: Permission denied")
    ]


@pytest.mark.parametrize("name", [b"caf\xe9.yaml", b"a\nb.yaml", b"\x1b[2J.yaml", "\u202egold.yaml".encode()])
def test_file_names_that_a_terminal_would_act_upon_are_shown_harmlessly(source: Copy, name: bytes) -> None:
    (source.root / "acme/plans" / os.fsdecode(name)).write_bytes(b"kind: Plan\n")
    _, found = source.read()
    assert [d.rule.code for d in found] == ["STOA005"]
    shown = f"{found[0].span.file}{found[0].message}"
    assert shown.isprintable()
    shown.encode("utf-8")


def test_hidden_files_and_markdown_are_nobodys_documents(source: Copy) -> None:
    source.add(".git/config", "x").add("acme/README.md", "x").add("acme/contracts/.orders.yaml.swp", "x")
    assert source.codes() == []


def test_everything_below_a_refused_tenant_is_left_out_without_more_findings(source: Copy) -> None:
    """One cause, one finding: what lies below a folder of a bad name is not looked at."""
    for path in (ORDERS, PLAN, "acme/tenant.yaml"):
        source.add(path.replace("acme", "Acme"), (source.root / path).read_bytes())
    assert source.codes() == ["STOA005"]


def test_the_order_of_the_file_system_does_not_count(source: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [p.file.path for p in load(source.root, Report()).placed]
    real = os.walk

    def shuffled(*args: object, **kwargs: object) -> object:
        for folder, folders, names in real(*args, **kwargs):  # type: ignore[call-overload]
            folders.reverse()
            yield folder, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", shuffled)
    assert [p.file.path for p in load(source.root, Report()).placed] == before


def test_paths_are_shown_from_where_the_author_stands(source: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    source.add("acme/plans/basic.yaml", "")
    monkeypatch.chdir(source.root.parent)
    assert source.read()[1][0].span.file == "tenants/acme/plans/basic.yaml"
    monkeypatch.chdir(source.root)
    assert source.read()[1][0].span.file == "acme/plans/basic.yaml"
    assert Copy(Path()).read()[1][0].span.file == "acme/plans/basic.yaml"

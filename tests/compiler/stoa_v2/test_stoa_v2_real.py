"""Files of the platform's earlier form as they were published: all come in, compile, and are accounted for."""

import shutil
from pathlib import Path

import pytest

from stoa_compiler.source import SourceFile
from stoa_compiler.stoa_v2 import Imported, Wishes, import_stoa_v2
from tests.compiler.stoa_v2.accounted import check_inputs, check_outputs, errors, write

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY.parent / "shared/data/stoa"
FILES = sorted(p for p in DATA.rglob("*.uac.*") if p.is_file())

pytestmark = pytest.mark.skipif(not FILES, reason=f"no files below {DATA}")


def carried(files: list[Path], root: Path) -> Imported:
    given = [SourceFile(p.relative_to(DATA).as_posix(), str(p), p.read_bytes()) for p in files]
    return import_stoa_v2(given, root, Wishes())


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.name)
def test_each_file_alone(file: Path, tmp_path: Path) -> None:
    imported = carried([file], tmp_path)
    write(imported, tmp_path)
    assert imported.files
    assert not imported.skipped
    assert check_inputs(imported, tmp_path) > 20
    check_outputs(imported)
    assert errors(tmp_path) == []


def test_all_files_at_once(tmp_path: Path) -> None:
    imported = carried(FILES, tmp_path)
    write(imported, tmp_path)
    assert imported.report.errors == 0
    assert check_inputs(imported, tmp_path) > 1000
    check_outputs(imported)
    assert errors(tmp_path) == []
    left_out = {row.operation for row in imported.rows if row.tool is None}
    assert left_out == {"get_orders", "send_email", "send_webhook"}


def test_all_files_into_the_demo_source(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "tenants", tmp_path, dirs_exist_ok=True)
    imported = carried(FILES, tmp_path)
    write(imported, tmp_path)
    check_inputs(imported, tmp_path)
    check_outputs(imported)
    assert errors(tmp_path) == []

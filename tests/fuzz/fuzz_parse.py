"""A coverage-guided fuzzer on the parser and the models: `python tests/fuzz/fuzz_parse.py [RUNS] [SEED]`.

Any bytes must give a document or at least one error, within a second of processor time, and never an exception; a
document with mistakes of YAML is judged on, each operation by itself. The corpus is the good source and every case of
tests/bad. What it finds is written to the working folder as `crash-...`; the last line says how many inputs were tried,
how many were documents, and what the slowest took.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stoa_compiler.reader", "stoa_compiler.unlinked", "stoa_compiler.validate"]):
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.load import Placed
    from stoa_compiler.parse import understand
    from stoa_compiler.source import SourceFile
    from stoa_compiler.unlinked import judge_unlinked
    from stoa_compiler.validate import validate_document

from stoa_schemas.documents import KINDS

SECONDS = 1.0
"""Of processor time that one input may take."""
_BAD = Path(__file__).parents[1] / "bad"

_tried = _documents = 0
_slowest = 0.0


def one(data: bytes) -> None:
    """Reads one input as a document of each kind."""
    global _tried, _documents, _slowest
    started = time.process_time()
    report = Report()
    file = SourceFile("t/contracts/c.yaml", "t/contracts/c.yaml", data)
    document = understand(file, report)
    if document is None:
        assert report.errors, "neither a document nor an error"
    else:
        _documents += 1
        document.span()
        doubtful = document.doubts is not None
        assert doubtful == bool(report.errors), "doubts without an error, or an error without doubts"
        kind = document.data.get("kind") if isinstance(document.data, dict) else None
        place = Placed(file, kind if isinstance(kind, str) and kind in KINDS else "Tenant", "c", "t")
        findings = Report()
        value = validate_document(place, document, findings)
        assert (value is None) == (doubtful or bool(findings.errors)), "refused without an error, or taken with one"
        judge_unlinked([(place, document)], None, findings)
        for d in findings.found:
            assert 1 <= d.span.line <= d.span.end_line <= len(file.lines), "a finding outside of its file"
    took = time.process_time() - started
    _tried += 1
    _slowest = max(_slowest, took)
    assert took < SECONDS, f"took {took:.2f} s"


def summary() -> str:
    """What was done."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (
        f"{_tried:,} inputs, {_documents:,} of them documents; "
        f"slowest {_slowest * 1000:.0f} ms, peak memory {memory} MB\n"
    )


def corpus(folder: Path) -> None:
    """Puts every document of the tests' sources into `folder`."""
    for index, path in enumerate(sorted(_BAD.rglob("*.yaml"))):
        (folder / f"{index:04d}").write_bytes(path.read_bytes()[:20_000])


def fuzz(runs: str, seed: str, folder: Path, told: Path) -> None:
    """Fuzzes with the corpus in `folder`. The engine ends the process, so `told` is kept current."""

    def counted(data: bytes) -> None:
        one(data)
        if _tried % 500 == 0:
            told.write_text(summary())

    options = [f"-runs={runs}", f"-seed={seed}", "-max_len=20000", "-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(folder)], counted)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes in a process of its own, for a bounded number of inputs, and prints what was done."""
    if len(sys.argv) == 5:
        fuzz(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    runs = sys.argv[1] if len(sys.argv) > 1 else "100000"
    seed = sys.argv[2] if len(sys.argv) > 2 else "1"
    with tempfile.TemporaryDirectory() as scratch:
        inputs, told = Path(scratch) / "corpus", Path(scratch) / "told"
        inputs.mkdir()
        corpus(inputs)
        done = subprocess.run(
            [sys.executable, __file__, runs, seed, str(inputs), str(told)], stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            sys.stderr.buffer.write(done.stderr)
        print(told.read_text() if told.exists() else "nothing was tried", end="")
        print("no input broke a promise" if done.returncode == 0 else "FAILED: see the input named above")
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())

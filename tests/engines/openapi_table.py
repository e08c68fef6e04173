"""The table of imported descriptions: `python -m tests.engines.openapi_table FILE...`, in Markdown.

Each file is imported whole, compiled and served; every tool is called with the fewest arguments and with all of
them; Prism judges each request by the same file. Exits 1 where a call is not accepted.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.engines.imported import TOKENIZER, Proof, prove  # noqa: E402
from tests.engines.prism import VERSION, Missing  # noqa: E402

BEGIN, END = "<!-- the table begins -->\n", "<!-- the table ends -->\n"


def table(proofs: Sequence[Proof]) -> str:
    """The proofs as Markdown: a line a description, what was left out, and what was not accepted."""
    lines = [
        "| description | version | operations | tools | left out | tokens, by estimate | counted | calls accepted |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for p in proofs:
        lines.append(
            f"| {p.title} (`{p.file}`) | {p.version} | {p.operations} | {p.tools} | {len(p.left_out)} "
            f"| {p.estimated:,} | {p.counted:,} | {p.accepted} of {len(p.calls)} |"
        )
    estimated, counted = (sum(getattr(p, n) for p in proofs) for n in ("estimated", "counted"))
    lines.append(
        f"| all | | {sum(p.operations for p in proofs)} | {sum(p.tools for p in proofs)} "
        f"| {sum(len(p.left_out) for p in proofs)} | {estimated:,} | {counted:,} "
        f"| {sum(p.accepted for p in proofs)} of {sum(len(p.calls) for p in proofs)} |"
    )
    lines += ["", f"Judged by Prism {VERSION}; counted by {TOKENIZER[0]} {TOKENIZER[1]} (`o200k_base`).", ""]
    left_out = [(p, operation, reason) for p in proofs for operation, reason in p.left_out.items()]
    if left_out:
        lines += ["| left out of | operation | why |", "|---|---|---|"]
        lines += [f"| `{p.file}` | `{operation}` | {reason} |" for p, operation, reason in left_out]
        lines.append("")
    refused = [(p, c) for p in proofs for c in p.calls if c.refused]
    if refused:
        lines += ["| not accepted of | tool | arguments | why |", "|---|---|---|---|"]
        lines += [f"| `{p.file}` | `{c.tool}` | {c.kind} | {c.refused[:300]} |" for p, c in refused]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Prints the table, or puts it into a page; the exit code says whether every call is accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="an OpenAPI description")
    parser.add_argument(
        "--binary", choices=["exclude", "base64"], default="exclude", help="as in `stoa import openapi`"
    )
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table between the marks of this page")
    options = parser.parse_args()
    proofs = []
    for file in options.files:
        print(f"{file.name} ...", file=sys.stderr)
        try:
            with tempfile.TemporaryDirectory(prefix="stoa-table-") as scratch:
                proofs.append(prove(file, Path(scratch), binary=options.binary))
        except Missing as missing:
            print(f"error: {missing}", file=sys.stderr)
            return 3
    printed = table(proofs)
    if options.update:
        page = options.update.read_text()
        replaced, count = re.subn(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{printed}\n{END}", page, flags=re.DOTALL)
        if count != 1:
            print(f"error: {options.update} has no marks for the table", file=sys.stderr)
            return 2
        options.update.write_text(replaced)
    else:
        print(printed)
    return 0 if all(p.accepted == len(p.calls) for p in proofs) else 1


if __name__ == "__main__":
    sys.exit(main())

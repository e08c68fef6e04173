"""The table of `stoa serve`'s options in docs/runtime.md: `python -m tests.docs.serve_options` writes it anew."""

from pathlib import Path

import click

from stoa_compiler.cli import serve

PAGE = Path(__file__).parents[2] / "docs" / "runtime.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->\n"


def table() -> str:
    """One row for each option, from the command itself."""
    rows = ["| option | default | what it sets |", "|---|---|---|"]
    context = click.Context(serve.command)
    for param in serve.command.params:
        if not isinstance(param, click.Option):
            continue
        default = param.get_default(context)
        if param.is_flag:
            shown = "off"
        elif param.show_default and default not in (None, ""):
            shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        else:
            shown = ""
        several = ", several times" if param.multiple else ""
        rows.append(f"| `{param.opts[0]}`{several} | {shown} | {str(param.help).replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def written(page: str) -> str:
    """The page with the table as it must be."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{PAGE} has no place for the table"
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))

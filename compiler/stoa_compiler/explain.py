"""What a rule's page says: for a terminal, as Markdown, as JSON.

`python -m stoa_compiler.explain docs/rules` writes a page for every rule, and their index.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from stoa_compiler.diagnostics import Rule
from stoa_compiler.examples import Example, Excerpt, examples
from stoa_compiler.reports.markdown import code, fenced
from stoa_compiler.reports.terminal import visible, wrapped
from stoa_compiler.rules import RULES

_PHASES = {
    "STOA0": "Files",
    "STOA1": "YAML",
    "STOA2": "Documents",
    "STOA3": "References and operations",
    "STOA4": "Meaning",
    "STOA5": "Tools",
    "STOA6": "Rendered bundles",
    "STOA7": "Changes of contracts",
    "STOA8": "Files of STOA v2",
}
_REMARK = re.compile(r" *= (help|note): ")
_TONES = {"error": "1;31", "warning": "1;33"}


def as_text(rule: Rule, example: Example | None, width: int, color: bool = False) -> str:
    """The rule for a terminal."""

    def paint(tone: str, text: str) -> str:
        return f"\x1b[{tone}m{text}\x1b[0m" if color else text

    def lines() -> Iterator[str]:
        title = paint("1", rule.title)
        yield f"{paint(_TONES[rule.severity], f'{rule.severity}[{rule.code}]')}: {title}"
        yield ""
        yield from wrapped(rule.why, "", width)
        yield ""
        yield from wrapped(rule.help, "help: ", width)
        if example is None:
            return
        for words, excerpts in (("This fails", example.bad), ("This passes", example.good)):
            for number, excerpt in enumerate(excerpts):
                yield ""
                lead = words if number == 0 else "and"
                yield paint("1", f"{lead}, in {excerpt.file}:" if excerpt.file else f"{lead}:")
                yield ""
                yield from (f"    {visible(line)}".rstrip() for line in excerpt.text.splitlines())
        yield ""
        yield paint("1", "What is said of it:")
        yield ""
        for line in example.report.splitlines():
            remark = _REMARK.match(line)
            if remark or line[:1] not in ("", " "):
                start = remark[0] if remark else ""
                yield from wrapped(line.removeprefix(start), f"    {start}", width)
            else:
                yield f"    {line}".rstrip()

    return "\n".join(lines()) + "\n"


def as_markdown(rule: Rule, example: Example | None) -> str:
    """The rule's page."""
    parts = [f"# {rule.code}: {rule.title}", f"*{rule.severity.capitalize()}.* {rule.why}", f"**Help:** {rule.help}"]
    if example is not None:
        for title, excerpts in (("This fails", example.bad), ("This passes", example.good)):
            parts.append(f"## {title}")
            for excerpt in excerpts:
                parts += [f"In {code(excerpt.file)}:"] if excerpt.file else []
                parts.append(fenced(_shown(excerpt), _language(excerpt)))
        parts += ["## What is said of it", fenced(example.report, "text")]
    return "\n\n".join(parts) + "\n"


def as_json(rule: Rule, example: Example | None) -> bytes:
    """The rule as one JSON object."""
    page = {
        "code": rule.code,
        "severity": rule.severity,
        "title": rule.title,
        "why": rule.why,
        "help": rule.help,
        "example": example,
    }
    return orjson.dumps(page, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def index() -> str:
    """The list of all rules, by what is looked at."""
    parts = [
        "# Rules",
        "Everything that `stoa check`, `stoa compile`, `stoa plan` and `stoa import stoa-v2` can find. `stoa explain\n"
        "CODE` shows the same pages on a terminal; `python -m stoa_compiler.explain docs/rules` writes them.",
    ]
    for prefix, title in _PHASES.items():
        rules = [r for c, r in sorted(RULES.items()) if c.startswith(prefix)]
        if rules:
            rows = [f"| [{r.code}]({r.code}.md) | {r.severity} | {r.title} |" for r in rules]
            parts += [f"## {title}", "\n".join(["| rule | | what |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Every page of `docs/rules` by its name."""
    shown = examples()
    return {"README.md": index()} | {f"{c}.md": as_markdown(r, shown.get(c)) for c, r in sorted(RULES.items())}


def write(folder: Path) -> None:
    """Writes the pages, and removes those of rules that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in folder.glob("STOA*.md"):
        if path.name not in made:
            path.unlink()


def _shown(excerpt: Excerpt) -> str:
    return "\n".join(map(visible, excerpt.text.splitlines()))


def _language(excerpt: Excerpt) -> str:
    return "text" if excerpt.file is None else "json" if excerpt.file.endswith(".json") else "yaml"


if __name__ == "__main__":
    write(Path(sys.argv[1]))

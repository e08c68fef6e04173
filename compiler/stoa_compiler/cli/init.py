"""`stoa init`: a new source that compiles."""

import re
import tempfile
from pathlib import Path

import click

from stoa_compiler.cli.session import OUTSIDE, WRONG_USE, fail

_DOMAIN = re.compile(r"(?=.{3,190}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
"""A DNS name of two labels or more, with room left for the hosts below it."""


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="The platform's name. [default: the folder's]")
@click.option("--tenant", default="acme", show_default=True, help="The first tenant's name.")
@click.option("--domain", help="The platform's DNS name. [default: NAME.example]")
def command(folder: Path, name: str | None, tenant: str, domain: str | None) -> None:
    """A new source in DIR that compiles: a platform, a tenant, a contract, and what editors and GitLab need.

    DIR must be empty, but for `.git`. It asks nothing.
    """
    from stoa_compiler.starter import starter
    from stoa_schemas import names

    if name is None:
        name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower())[:31].strip("-")
        name = name if names.is_id(name) else "stoa"
    for option, value in (("--name", name), ("--tenant", tenant)):
        if not names.is_id(value):
            form = "1 to 31 lower-case ASCII letters, digits and inner hyphens, beginning with a letter"
            fail(f"`{option} {value}` is not a name: {form}", WRONG_USE)
    if domain is not None and not _DOMAIN.fullmatch(domain):
        fail(f"`--domain {domain}` is no DNS name such as `acme.example`, in lower case", WRONG_USE)
    if names.is_reserved(tenant):
        fail(f"no tenant can be called `{tenant}`: the name is reserved", WRONG_USE)
    files = dict(starter(name, tenant, domain or f"{name}.example"))
    with tempfile.TemporaryDirectory() as trial:
        _write(Path(trial), files)
        problem = _problem(Path(trial))
    if problem:
        fail(f"with these options the source would not compile: {problem}", WRONG_USE)
    try:
        if folder.exists() and any(p.name != ".git" for p in folder.iterdir()):
            fail(f"`{folder}` is not empty", WRONG_USE)
        _write(folder, files)
    except OSError as error:
        fail(f"`{folder}` cannot be written: {error.strerror}", OUTSIDE)
    click.echo(f"{folder}: {len(files)} files. Go on with `stoa check {folder}`; {folder / 'README.md'} tells more.")


def _write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)


def _problem(source: Path) -> str | None:
    """The first finding in the source; None where there is none."""
    from stoa_compiler.diagnostics import Report, Stop
    from stoa_compiler.pipeline import read, render

    report = Report()
    graph = read(source, report).graph
    try:
        report.stop_if_errors()
        assert graph is not None
        for environment in graph.platform.spec.environments:
            render(graph, environment, report)
    except Stop:
        pass
    return report.sorted()[0].message if report.found else None

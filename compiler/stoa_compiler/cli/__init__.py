"""The command line: `stoa`. Each command is imported when it is called, so that `--help` loads nothing heavy."""

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from types import ModuleType
from typing import Any

import click

from stoa_compiler import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "access": ("stoa_compiler.cli.access:command", "Who may call which tool, and why."),
    "audit": ("stoa_compiler.cli.audit:command", "Whether an audit log is as it was written."),
    "check": ("stoa_compiler.cli.check:command", "Every mistake in the source."),
    "compile": ("stoa_compiler.cli.compile:command", "The bundle of one environment."),
    "dev": ("stoa_compiler.cli.dev:command", "Compile and serve on this machine, with an issuer and mock backends."),
    "drift": ("stoa_compiler.cli.drift:command", "Whether live systems are as a bundle declares."),
    "explain": ("stoa_compiler.cli.explain:command", "Why: of a diagnostic, of a value in a bundle, of a call."),
    "fmt": ("stoa_compiler.cli.fmt:command", "Every document in canonical layout."),
    "import": ("stoa_compiler.cli.importing:command", "Source documents from other descriptions."),
    "init": ("stoa_compiler.cli.init:command", "A new source that compiles."),
    "lsp": ("stoa_compiler.cli.lsp:command", "A language server, for editors."),
    "plan": ("stoa_compiler.cli.plan:command", "What a change of the source does: who may call what, who breaks."),
    "merge": ("stoa_compiler.cli.merge:command", "The bundle from parts that were compiled apart."),
    "reconcile": ("stoa_compiler.cli.reconcile:command", "A live system brought in line with a bundle."),
    "replay": ("stoa_compiler.cli.replay:command", "What recorded calls would come to by another bundle."),
    "publish": ("stoa_compiler.cli.publish:command", "A bundle committed to a branch that Argo CD reads."),
    "review": ("stoa_compiler.cli.review:command", "The approvals that a merge request needs, and code owners."),
    "schemas": ("stoa_compiler.cli.schemas:command", "The JSON Schemas of documents, for editors."),
    "serve": ("stoa_compiler.cli.serve:command", "The runtime."),
    "sign": ("stoa_compiler.cli.sign:command", "A bundle signed by a key."),
    "verify": ("stoa_compiler.cli.verify:command", "Whether a bundle is whole, and who signed it."),
}
"""Where each command lies, and its line in `stoa --help`."""


class Commands(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


def _import_when_used(name: str, *functions: str) -> None:
    """Lets the module be loaded when something of it is asked for, or one of the functions is called."""
    if name in sys.modules:
        return
    spec = find_spec(name)
    assert spec is not None
    module = ModuleType(name)

    def load(attribute: str) -> Any:
        """What the whole module has, which comes in this one's place at first (PEP 562)."""
        if sys.modules.get(name) is module:
            del sys.modules[name]
            whole = import_module(name)
            vars(module).update({k: v for k, v in vars(whole).items() if k != "__getattr__"})
        return getattr(sys.modules[name], attribute)

    def later(function: str) -> Callable[..., Any]:
        return lambda *values, **named: load(function)(*values, **named)

    # The import system looks at these, and is not to load the module by it, as `importlib.util.LazyLoader` would.
    vars(module).update(__spec__=spec, __path__=spec.submodule_search_locations, __getattr__=load)
    vars(module).update({name: later(name) for name in functions})
    sys.modules[name] = module
    if "." in name:
        setattr(sys.modules[spec.parent or ""], name.rpartition(".")[2], module)


def run() -> None:
    """Runs `stoa`. A mistake of ours ends in one line and exit code 3; its trace is there for who asks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A terminal that knows less is no reason to stop.
    # A command makes many values and ends: collecting cycles meanwhile doubles its time. Servers turn it on again.
    gc.disable()
    # What a document means must not depend on what else is installed; and looking for plugins costs 20 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Pydantic imports the first for these plugins alone, and the next for comparisons that nobody asks for;
    # jsonschema-rs imports `email.utils`, and that the others, to read the date on which it was built.
    _import_when_used("importlib.metadata", "entry_points")
    for name in ("secrets", "random", "socket"):
        _import_when_used(name)
    try:
        main()
    except Exception as error:
        if os.environ.get("STOA_DEBUG"):
            raise
        click.echo(f"error: stoa failed: {type(error).__name__}: {error}", err=True)
        click.echo("This is a mistake of stoa, not yours. Nothing was written.", err=True)
        click.echo("Set STOA_DEBUG=1 to see where it happened, and please report it.", err=True)
        sys.exit(3)
    finally:
        gc.freeze()  # Nothing is left to collect: without it, the interpreter looks through all of it as it ends.


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stoa")
def main() -> None:
    """STOA compiles a Git repository of tenants and API contracts into one deterministic bundle per environment,
    and serves it to MCP clients.

    Exit codes: 0 fine, 1 findings, 2 wrong use, 3 something outside failed.
    """

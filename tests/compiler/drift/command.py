"""`stoa drift` in this process: what it ends with and says."""

from click.testing import CliRunner, Result

from stoa_compiler.cli.drift import command


def drift(*arguments: str, **environment: str) -> Result:
    """The command's result. An exception that is none of ours is raised, not told."""
    return CliRunner().invoke(command, [*arguments], env=environment, catch_exceptions=False)

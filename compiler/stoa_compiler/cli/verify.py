"""`stoa verify`: whether a bundle is whole, and who signed it."""

from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail


@click.command("verify")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A public key, PEM, that must have signed; with several, one of them, so that keys can be changed.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(bundle: Path, keys: tuple[Path, ...], form: str) -> None:
    """Whether every file of BUNDLE is the one that its digests name, no other lies there, and a given key signed it.

    Without `--key` the signature is not checked.
    """
    from stoa_compiler.bundles import problems

    try:
        found = list(problems(bundle))
    except OSError as error:
        fail(f"`{bundle}` cannot be read: {error.strerror}", OUTSIDE)
    facts: dict[str, object] = {"bundle": str(bundle), "whole": not found, "signed": None}
    lines = [f"{bundle}: every file is what its digest names"]
    if keys:
        attested, wrong = _signed(bundle, keys)
        found += wrong
        facts["signed"] = not wrong
        if attested is not None:
            facts |= attested
            sequence = attested["sequence"]
            lines.append(
                f"signed by {attested['key']}, {'no sequence' if sequence is None else f'sequence {sequence}'}"
            )
    elif (bundle / "mcp" / "bundle.intoto.jsonl").exists():
        lines.append("its signature was not checked: `--key` names whom you trust")
    for problem in found:
        click.echo(f"error: {problem}", err=True)
    if form == "json":
        import orjson

        click.echo(orjson.dumps(facts | {"problems": found}))
    if found:
        raise SystemExit(FINDINGS)
    if form == "text":
        for line in lines:
            click.echo(line)


def _signed(bundle: Path, files: tuple[Path, ...]) -> tuple[dict[str, object] | None, list[str]]:
    """What was signed by which key, and what is wrong with it."""
    try:
        from stoa_compiler import signing
        from stoa_schemas.attestation import public_key

        trusted = [public_key(file.read_bytes(), f"`{file}`") for file in files]
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[signing]'` brings it", OUTSIDE)
    except signing.KeyRefused as refusal:
        fail(str(refusal), WRONG_USE)
    except OSError as error:
        fail(f"a key cannot be read: {error.strerror}", OUTSIDE)
    try:
        attested, wrong = signing.signature_problems(bundle, trusted)
    except OSError as error:
        fail(f"`{bundle}` cannot be read: {error.strerror}", OUTSIDE)
    if attested is None:
        return None, wrong
    said = attested.statement.predicate
    return {"key": attested.key_id, "sequence": said.sequence, "commit": said.commit}, wrong

"""`stoa verify`: whether a bundle is whole, who signed it, and whether what its files say together holds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

if TYPE_CHECKING:
    from stoa_compiler.verify_bundle.reading import Read
    from stoa_compiler.verify_bundle.source import Compared


@click.command("verify")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A public key, PEM, that must have signed; with several, one of them, so that keys can be changed.",
)
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The source that the bundle is said to come from: it is compared with that too.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(bundle: Path, keys: tuple[Path, ...], source: Path | None, form: str) -> None:
    """Whether every file of BUNDLE is the one that its digests name, no other lies there, a given key signed it, and
    what its files say holds together.

    Without `--key` the signature is not checked. Without `--source` the files are compared with each other alone: who
    reaches which tool, what tokens say to whom, who reaches whom in the network, where secrets are kept.
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
    # What is not whole is not the bundle that somebody compiled: what its files say does not matter then.
    compared, read = (None, None) if found else _proved(bundle, source)
    proofs = sorted({*(read.findings if read else ()), *(compared.findings if compared else ())})
    for finding in proofs:
        click.echo(f"error: {finding}", err=True)
    diagnostics = [] if compared is None else [d for d in compared.report.sorted() if d.rule.severity == "error"]
    for diagnostic in diagnostics:
        click.echo(f"error: {diagnostic.span}: {diagnostic.rule.code} {diagnostic.message}", err=True)
    if form == "json":
        import orjson

        facts |= {
            "holds": None if read is None else not proofs and not diagnostics,
            "source": None if source is None else str(source),
            "problems": found,
            "findings": [{"code": f.code, "path": f.path, "pointer": f.pointer, "message": f.message} for f in proofs],
            "diagnostics": [{"code": d.rule.code, "span": str(d.span), "message": d.message} for d in diagnostics],
        }
        click.echo(orjson.dumps(facts))
    if found or proofs or diagnostics:
        raise SystemExit(FINDINGS)
    if read is not None:
        lines += _said(read, source)
    if form == "text":
        for line in lines:
            click.echo(line)


def _proved(bundle: Path, source: Path | None) -> "tuple[Compared | None, Read]":
    """What does not hold of the bundle by itself, and against the source."""
    from stoa_compiler.verify_bundle.proofs import prove
    from stoa_compiler.verify_bundle.reading import read_folder
    from stoa_compiler.verify_bundle.source import compare
    from stoa_schemas.bundle import BUNDLE_FILE, Bundle

    try:
        read = read_folder(bundle)
    except OSError as error:
        fail(f"`{bundle}` cannot be read: {error.strerror}", OUTSIDE)
    compared = None
    if source is not None:
        try:
            environment = Bundle.model_validate_json(read.files.get(BUNDLE_FILE, b"")).environment
        except ValueError:
            fail(f"`{bundle}` does not say which environment it is of", WRONG_USE)
        compared = compare(read.files, source, environment)
        if not compared.sound:
            for diagnostic in compared.report.sorted():
                click.echo(f"error: {diagnostic.span}: {diagnostic.rule.code} {diagnostic.message}", err=True)
            fail(f"`{source}` has mistakes: nothing can be compared with it", FINDINGS)
    prove(read)
    return compared, read


def _said(read: "Read", source: Path | None) -> list[str]:
    """What was compared, for people."""
    from stoa_compiler.verify_bundle.catalogs import access

    pairs = sum(1 for _ in access(read))
    parts = [
        (len(read.catalogs), "catalog"),
        (pairs, "pair of a role and a tool"),
        (len(read.realms), "realm"),
        (sum(len(r.users) for r in read.realms.values()), "account"),
        (len(read.objects), "object of the cluster"),
    ]
    plural = {
        "pair of a role and a tool": "pairs of a role and a tool",
        "object of the cluster": "objects of the cluster",
    }
    said = [f"{count} {what if count == 1 else plural.get(what, what + 's')}" for count, what in parts if count]
    lines = [f"what they say holds together: {', '.join(said)}"] if said else []
    return lines if source is None else [*lines, f"it is what `{source}` declares"]


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

"""`stoa sign`: a bundle signed by a key."""

import os
from pathlib import Path

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

PASSPHRASE = "STOA_SIGNING_PASSPHRASE"


@click.command("sign")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private key, PEM: Ed25519 or ECDSA P-256, as `openssl genpkey` makes it.",
)
@click.option(
    "--sequence",
    type=click.IntRange(0, 2**53 - 1),
    help="The bundle's number, higher than that of every earlier one; a pipeline's number will do.",
)
@click.option("--commit", help="The source's commit, to be stated in the signature.")
@click.option(
    "--passphrase-variable",
    default=PASSPHRASE,
    show_default=True,
    help="The variable that holds the passphrase of an encrypted key.",
)
@click.option("--add", is_flag=True, help="Keep the signatures that are there, by other keys; else they are replaced.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    bundle: Path,
    key: Path,
    sequence: int | None,
    commit: str | None,
    passphrase_variable: str,
    add: bool,
    form: str,
) -> None:
    """Sign BUNDLE: a DSSE envelope over an in-toto statement of every file's digest, in `mcp/bundle.intoto.jsonl`.

    A bundle that is not what its own digests name is not signed.
    """
    try:
        from stoa_compiler import signing
        from stoa_compiler.write import replace_files
        from stoa_schemas.attestation import ATTESTATIONS

        private = signing.signing_key(key.read_bytes(), f"`{key}`", os.environ.get(passphrase_variable))
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[signing]'` brings it", OUTSIDE)
    except signing.KeyRefused as refusal:
        hint = f"; set {passphrase_variable}" if "no passphrase" in str(refusal) else ""
        fail(f"{refusal}{hint}", WRONG_USE)
    except OSError as error:
        fail(f"the key `{key}` cannot be read: {error.strerror}", OUTSIDE)
    try:
        said = signing.statement(bundle, sequence, commit)
        before = (signing.attestations(bundle) or b"") if add else b""
        after = signing.joined(before, signing.sign(said, private), private.public.id)
        replace_files({bundle / ATTESTATIONS: after})
    except signing.NotSigned as refusal:
        for problem in refusal.found:
            click.echo(f"error: {problem}", err=True)
        raise SystemExit(FINDINGS) from None
    except signing.NotAttested as refusal:
        fail(f"nothing can be added: {refusal}", FINDINGS)
    except OSError as error:
        fail(f"`{bundle / ATTESTATIONS}` cannot be written: {error.strerror}", OUTSIDE)
    digest = said.sha256_of("mcp/manifest.json")
    if form == "json":
        import orjson

        facts = {
            "digest": digest,
            "key": private.public.id,
            "algorithm": private.public.algorithm,
            "sequence": sequence,
            "commit": commit,
            "subjects": len(said.subject),
            "attestations": str(bundle / ATTESTATIONS),
        }
        click.echo(orjson.dumps(facts))
        return
    click.echo(f"{bundle}: {digest}, {len(said.subject)} files signed")
    click.echo(f"key {private.public.id} ({private.public.algorithm})")
    if sequence is None:
        click.echo("without a sequence: a runtime cannot tell whether the bundle is older than what it served")
    else:
        click.echo(f"sequence {sequence}")

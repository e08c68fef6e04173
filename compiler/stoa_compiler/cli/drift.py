"""`stoa drift`: live systems beside a bundle."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from stoa_compiler.cli.session import OUTSIDE, WRONG_USE, fail

if TYPE_CHECKING:
    from stoa_compiler.drift.model import Compared
    from stoa_schemas.bundle import Bundle

KEYCLOAK_SECRET = "STOA_DRIFT_KEYCLOAK_SECRET"
KEYCLOAK_TOKEN = "STOA_DRIFT_KEYCLOAK_TOKEN"
RUNTIME_TOKEN = "STOA_DRIFT_RUNTIME_TOKEN"
"""Variables that hold secrets, instead of files."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("drift")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--keycloak", metavar="URL", help="A Keycloak, compared with the bundle's realms.")
@click.option("--keycloak-client-id", help="A client with the role `realm-admin`, whose own account is used.")
@click.option(
    "--keycloak-client-secret-file", type=_FILE, help=f"The file with its secret; else {KEYCLOAK_SECRET} holds it."
)
@click.option("--keycloak-client-realm", default="master", show_default=True, help="The realm that the client is in.")
@click.option(
    "--keycloak-token-file",
    type=_FILE,
    help=f"A file with an administrator's access token, instead; {KEYCLOAK_TOKEN} may hold one.",
)
@click.option("--kubernetes", is_flag=True, help="The cluster that the kubeconfig names, or that this pod runs in.")
@click.option("--kubeconfig", type=_FILE, help="The kubeconfig; else the usual one.")
@click.option("--context", help="Its context; else the current one.")
@click.option("--runtime", metavar="URL", help="A runtime, asked which bundle it serves.")
@click.option(
    "--runtime-token-file",
    type=_FILE,
    help=f"The file with an access token that has `catalog:read`; else {RUNTIME_TOKEN} holds it.",
)
@click.option("--repo", help="URL or path of the Git repository that bundles are published to.")
@click.option("--branch", help="Its branch.")
@click.option("--path", help="The bundle's folder on the branch; called like the environment where left out.")
@click.option("--ca-file", type=_FILE, help="Certificates, PEM, by which Keycloak's and the runtime's are judged.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
def command(
    bundle: Path,
    keycloak: str | None,
    keycloak_client_id: str | None,
    keycloak_client_secret_file: Path | None,
    keycloak_client_realm: str,
    keycloak_token_file: Path | None,
    kubernetes: bool,
    kubeconfig: Path | None,
    context: str | None,
    runtime: str | None,
    runtime_token_file: Path | None,
    repo: str | None,
    branch: str | None,
    path: str | None,
    ca_file: Path | None,
    form: str,
) -> None:
    """Whether live systems are as BUNDLE declares, and what differs. Nothing is changed.

    Exit codes: 0 equal, 1 something differs, 2 wrong use, 3 something could not be asked and nothing that was seen
    differs.
    """
    from stoa_compiler.drift import forms
    from stoa_compiler.drift.model import exit_code

    listing = _listing(bundle)
    if not (keycloak or kubernetes or runtime or repo):
        fail("name a system: `--keycloak`, `--kubernetes`, `--runtime` or `--repo`", WRONG_USE)
    if (kubeconfig or context) and not kubernetes:
        fail("`--kubeconfig` and `--context` are of `--kubernetes`", WRONG_USE)
    if (repo is None) != (branch is None):
        fail("`--repo` and `--branch` are given together", WRONG_USE)
    asked: list[Callable[[], Compared]] = []
    # What is wrong with the command is said before anybody is asked.
    if keycloak is not None:
        login = (keycloak_client_id, keycloak_client_secret_file, keycloak_client_realm, keycloak_token_file)
        asked.append(_keycloak(bundle, keycloak, login, ca_file))
    if kubernetes:
        asked.append(_kubernetes(bundle, listing, kubeconfig, context))
    if runtime is not None:
        asked.append(_runtime(listing, runtime, runtime_token_file, ca_file))
    if repo is not None and branch is not None:
        asked.append(_branch(bundle, repo, branch, path or listing.environment))
    compared = [ask() for ask in asked]
    shown = forms.as_json(compared, listing.digest) if form == "json" else forms.as_text(compared, listing.digest)
    click.echo(shown, nl=False)
    raise SystemExit(exit_code(compared))


def _listing(folder: Path) -> "Bundle":
    """What the bundle holds, once it is whole."""
    from stoa_compiler.bundles import problems
    from stoa_schemas import bundle

    found = list(problems(folder))
    for problem in found:
        click.echo(f"error: {problem}", err=True)
    if found:
        raise SystemExit(WRONG_USE)
    return bundle.Bundle.model_validate_json((folder / bundle.BUNDLE_FILE).read_bytes())


def _keycloak(
    folder: Path, url: str, given: tuple[str | None, Path | None, str, Path | None], ca: Path | None
) -> "Callable[[], Compared]":
    try:
        from stoa_compiler.clients.keycloak import Login
        from stoa_compiler.drift import realms
    except ModuleNotFoundError as missing:
        _not_installed(missing, "reconcile")
    _address(url)
    client, secret_file, realm, token_file = given
    declared = realms.realms(folder)
    if not declared:
        fail(f"`{folder}` holds no realm: its environment does not render the target `keycloak`", WRONG_USE)
    secret = _secret(secret_file, KEYCLOAK_SECRET) if client is not None else ""
    token = _secret(token_file, KEYCLOAK_TOKEN) if client is None else ""
    if not (token or secret):
        fail(
            "who asks Keycloak is said by `--keycloak-client-id` with the secret's file, or by a token's file;"
            f" {KEYCLOAK_SECRET} and {KEYCLOAK_TOKEN} stand for the files",
            WRONG_USE,
        )
    login = Login(token=token) if token else Login(realm=realm, client_id=client or "", secret=secret)
    return lambda: realms.compare(declared, url, login, ca)


def _kubernetes(
    folder: Path, listing: "Bundle", kubeconfig: Path | None, context: str | None
) -> "Callable[[], Compared]":
    try:
        from stoa_compiler.drift import cluster
    except ModuleNotFoundError as missing:
        _not_installed(missing, "drift")
    if next(cluster.manifests(folder), None) is None:
        fail(f"`{folder}` holds no manifests: its environment renders neither `kubernetes` nor `argocd`", WRONG_USE)
    return lambda: cluster.compare(folder, listing, kubeconfig, context)


def _runtime(listing: "Bundle", url: str, token_file: Path | None, ca: Path | None) -> "Callable[[], Compared]":
    from stoa_compiler.drift import served

    _address(url)
    if listing.digest is None:
        fail("the bundle holds no catalogs: its environment does not render the target `mcp`", WRONG_USE)
    token = _secret(token_file, RUNTIME_TOKEN)
    if not token:
        fail(f"the runtime needs a token: `--runtime-token-file`, or {RUNTIME_TOKEN}", WRONG_USE)
    return lambda: served.compare(listing, url, token, ca)


def _branch(folder: Path, repo: str, branch: str, path: str) -> "Callable[[], Compared]":
    try:
        from stoa_compiler.drift import branch as branches
        from stoa_compiler.publish import NotPublished, Place
    except ModuleNotFoundError as missing:
        _not_installed(missing, "publish")
    except ImportError as error:  # GitPython looks for `git` when it is imported.
        fail(f"Git cannot be used: {str(error).splitlines()[0]}", OUTSIDE)
    try:
        place = Place(repo, branch, path)
    except NotPublished as error:
        fail(str(error), WRONG_USE)
    return lambda: branches.compare(folder, place)


def _address(url: str) -> None:
    from stoa_compiler.drift.served import WrongAddress, checked

    try:
        checked(url)
    except WrongAddress as error:
        fail(str(error), WRONG_USE)


def _secret(file: Path | None, variable: str) -> str:
    """What the file or the variable holds; empty where there is neither."""
    if file is None:
        return os.environ.get(variable, "").strip()
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"a secret cannot be read: {error}", WRONG_USE)


def _not_installed(missing: ModuleNotFoundError, extra: str) -> NoReturn:
    fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[{extra}]'` brings it", OUTSIDE)

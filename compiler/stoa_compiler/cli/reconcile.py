"""`stoa reconcile`: a live system compared with a bundle, and brought in line with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail

if TYPE_CHECKING:
    from stoa_compiler.clients.keycloak import Login, Server
    from stoa_compiler.reconcile.changes import Change, Plan


@click.group("reconcile")
def command() -> None:
    """A live system compared with a bundle, and brought in line with it."""


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@command.command("keycloak")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--url", required=True, help="Where Keycloak is, such as `https://id.acme.example`.")
@click.option("--realm", "only", multiple=True, help="Only this realm of the bundle; can be given again.")
@click.option("--client-id", help="A client with the role `realm-admin`, whose own account is used.")
@click.option("--client-secret-file", type=_FILE, help="The file with that client's secret.")
@click.option("--client-realm", default="master", show_default=True, help="The realm that the client is in.")
@click.option("--admin-token-file", type=_FILE, help="A file with an administrator's access token, instead.")
@click.option("--ca-file", type=_FILE, help="Certificates, PEM, by which the server's is judged.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--allow-deletions",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Deletions that one tenant may have; with more, none of its is made. What a deleted entry gave is revoked "
    "in any case.",
)
@click.option("--adopt", is_flag=True, help="Make entries ours that have a declared name and are not marked as ours.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def keycloak_command(
    bundle: Path,
    url: str,
    only: tuple[str, ...],
    client_id: str | None,
    client_secret_file: Path | None,
    client_realm: str,
    admin_token_file: Path | None,
    ca_file: Path | None,
    dry_run: bool,
    allow_deletions: int,
    adopt: bool,
    form: str,
) -> None:
    """Bring the realms at URL in line with BUNDLE.

    Only what the bundle declares is compared, and only what it once made is changed. With `--dry-run` the exit code is
    0 where nothing differs and 1 where something does; without, 0 where nothing is left to do and 1 where something
    was held back. It is 3 where Keycloak cannot be reached or refuses.
    """
    from stoa_compiler.bundles import problems

    found = list(problems(bundle))
    for problem in found:
        click.echo(f"error: {problem}", err=True)
    if found:
        raise SystemExit(WRONG_USE)
    realms = _realms(bundle, only)
    try:
        from stoa_compiler.clients.keycloak import Login, Refused, Server, Unreachable
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[reconcile]'` brings it", OUTSIDE)
    login = _login(Login, client_realm, client_id, client_secret_file, admin_token_file)
    server = Server(url, login, ca_file)
    done: list[dict[str, Any]] = []
    open_end = False
    try:
        for declared in realms:
            differs = _reconcile(server, declared, dry_run, allow_deletions, adopt, form, done)
            open_end = open_end or differs
    except (Unreachable, Refused) as error:
        if form == "json":
            facts = {"version": 1, "error": str(error), "requests": server.requests, "realms": done}
            click.echo(json.dumps(facts, indent=2))
        fail(str(error), OUTSIDE)
    if form == "json":
        facts = {"version": 1, "dryRun": dry_run, "inSync": not open_end, "requests": server.requests, "realms": done}
        click.echo(json.dumps(facts, indent=2))
    if open_end:
        raise SystemExit(FINDINGS)


def _realms(bundle: Path, only: tuple[str, ...]) -> list[dict[str, Any]]:
    realms = [json.loads(file.read_bytes()) for file in sorted((bundle / "keycloak").glob("*-realm.json"))]
    if not realms:
        fail(f"`{bundle}` holds no realm: its environment does not render the target `keycloak`", WRONG_USE)
    names = {r["realm"] for r in realms}
    if missing := sorted(set(only) - names):
        fail(f"the bundle has no realm `{missing[0]}`; it has {', '.join(f'`{n}`' for n in sorted(names))}", WRONG_USE)
    return [r for r in realms if not only or r["realm"] in only]


def _login(
    login: "type[Login]", realm: str, client_id: str | None, secret_file: Path | None, token_file: Path | None
) -> "Login":
    if (token_file is None) == (client_id is None or secret_file is None):
        fail("either `--client-id` with `--client-secret-file`, or `--admin-token-file` says who is asking", WRONG_USE)
    try:
        if token_file is not None:
            return login(token=token_file.read_text().strip())
        assert secret_file is not None
        return login(realm=realm, client_id=client_id or "", secret=secret_file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        fail(f"a secret cannot be read: {error}", WRONG_USE)


def _reconcile(
    server: "Server",
    declared: dict[str, Any],
    dry_run: bool,
    allowed: int,
    adopt: bool,
    form: str,
    done: list[dict[str, Any]],
) -> bool:
    """Whether something differs afterwards."""
    from stoa_compiler.reconcile.changes import plan
    from stoa_compiler.reconcile.keycloak import changes

    live = server.read(declared["realm"], unmarked=adopt)
    planned = plan(declared["realm"], changes(declared, live, adopt), allowed)
    if form == "text":
        _show(planned, allowed, dry_run)
    facts: dict[str, Any] = {
        "realm": planned.realm,
        "inSync": planned.in_sync,
        "changes": [_as_json(c) for c in planned.changes],
        "held": [_as_json(c) for c in planned.held],
        "made": 0,
    }
    done.append(facts)
    if dry_run:
        return not planned.in_sync
    for _ in server.apply(declared["realm"], live, planned.changes):
        facts["made"] += 1
    if form == "text" and planned.changes:
        click.echo(f"  {_many(facts['made'], 'change')} made")
    return bool(planned.held)


_SIGNS = {"create": "+", "add": "+", "update": "~", "revoke": "-", "delete": "-", "conflict": "!"}


def _show(planned: "Plan", allowed: int, dry_run: bool) -> None:
    if planned.in_sync:
        click.echo(f"realm {planned.realm}: in sync")
        return
    held = f", {len(planned.held)} held back" if planned.held else ""
    verb = "would be made" if dry_run else "to make"
    click.echo(f"realm {planned.realm}: {_many(len(planned.changes), 'change')} {verb}{held}")
    for change in planned.changes:
        click.echo(f"  {_SIGNS[change.action]} {change.tenant}: {change.words}")
        for difference in change.differences:
            click.echo(f"      {difference.key}: {_value(difference.live)} -> {_value(difference.declared)}")
    for change in planned.held:
        why = "it is not marked as ours; `--adopt` makes it ours"
        if change.action == "delete":
            why = f"`{change.tenant}` may have {_many(allowed, 'deletion')} (`--allow-deletions`)"
        click.echo(f"  held back: {change.tenant}: {change.words}: {why}")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _value(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _as_json(change: "Change") -> dict[str, Any]:
    return {
        "action": change.action,
        "kind": change.kind,
        "name": change.name,
        "tenant": change.tenant,
        "differences": [{"key": d.key, "live": d.live, "declared": d.declared} for d in change.differences],
    }

"""`stoa serve`: the runtime."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from stoa_compiler.cli.session import OUTSIDE, WRONG_USE, fail

VARIABLES = "STOA_SERVE"
"""What each option's variable begins with."""

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SECRET_PROPERTY = re.compile(r"password|secret|\.pem$|token")
"""Properties of librdkafka that belong into a file."""


class Size(click.ParamType[int]):
    """A number of bytes: `1048576`, `1024KiB`, `1MiB`, `2GiB`."""

    name = "size"
    _UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes."""
        found = re.fullmatch(r"([0-9]{1,15})(KiB|MiB|GiB)?", str(value))
        if found is None:
            self.fail(f"{value!r} is no number of bytes, as 1048576 or 64MiB is", param, ctx)
        return int(found[1]) * self._UNITS[found[2] or ""]


class Address(click.ParamType["tuple[str, int]"]):
    """An address and a port: `127.0.0.1:9090`, `[::1]:9090`."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The two."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is no address with a port, as 127.0.0.1:9090 is", param, ctx)
        return host, int(port)


def _configured(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Takes the file's values as defaults, once each of its keys is known and of the right form."""
    if value is None:
        return None
    try:
        found = tomllib.loads(value.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{value} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{value} is no TOML: {error}") from None
    ctx.default_map = {**(ctx.default_map or {}), **_values(found, ctx.command, value)}
    return value


def _values(found: Mapping[str, Any], command: click.Command, file: Path) -> dict[str, Any]:
    """The file's values by parameter."""
    known = {_key(param): param for param in command.params if param.name not in (None, "config", "help")}
    values: dict[str, Any] = {}
    for key, value in found.items():
        param = known.get(key)
        if param is None:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; `{near[0]}` is meant, perhaps" if near else ""
            raise click.BadParameter(f"{file}: there is no option `{key}`{hint}")
        if param.name == "audit_kafka_option" and isinstance(value, dict):
            value = [f"{name}={setting}" for name, setting in value.items()]
        several = isinstance(param, click.Option) and param.multiple
        if several and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise click.BadParameter(f"{file}: `{key}` is a list of texts")
        if not several and not isinstance(value, str | int | float):
            raise click.BadParameter(f"{file}: `{key}` is one value")
        if isinstance(param, click.Option) and param.is_flag != isinstance(value, bool):
            raise click.BadParameter(f"{file}: `{key}` is {'true or false' if param.is_flag else 'not true or false'}")
        values[str(param.name)] = value
    return values


def _key(param: click.Parameter) -> str:
    """The option's key in the file: its long name without the dashes."""
    return param.opts[0].removeprefix("--") if isinstance(param, click.Option) else str(param.name)


def _store(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The URL; one with a password is not taken from the command line, which every user of the machine can read."""
    if value is None or ctx.get_parameter_source("store") is not ParameterSource.COMMANDLINE:
        return value
    try:
        has_password = urlsplit(value).password is not None
    except ValueError:
        has_password = True  # It cannot be told, so it is not repeated.
    if has_password or "password=" in value:
        raise click.BadParameter(
            f"the command line shows a password to everybody on this machine: use {VARIABLES}_STORE,"
            " `--store-file`, or `store` in the configuration's file"
        )
    return value


@click.command("serve", context_settings={"auto_envvar_prefix": VARIABLES, "help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=_FOLDER, envvar=f"{VARIABLES}_BUNDLE")
@click.option(
    "--config",
    type=_FILE,
    is_eager=True,
    expose_value=False,
    callback=_configured,
    help='TOML file with values for these options, by their names: `reload = 5`, `key = ["one.pem"]`.',
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that serve. More than one share a store.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".stoa"),
    show_default=True,
    help="Folder of what outlives the process: audit log, approvals, the highest sequence served.",
)
@click.option("--store", callback=_store, help="Valkey or Redis that processes share limits and approvals in: its URL.")
@click.option("--store-file", type=_FILE, help="File that holds that URL.")
@click.option(
    "--approvals-key",
    type=_FILE,
    help="File of the key that seals approvals, the same on all machines; else one is made in the state.",
)
@click.option("--key", multiple=True, type=_FILE, help="Public key; one of those named must have signed.")
@click.option("--allow-rollback", is_flag=True, help="Take a signed bundle that is older than one that was served.")
@click.option(
    "--reload",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks for another bundle; 0 never looks.",
)
@click.option("--allowed-host", multiple=True, help="A `Host` header that is taken besides the gateway's own.")
@click.option("--allowed-origin", multiple=True, help="An `Origin` that is taken besides the gateway's own.")
@click.option(
    "--secrets",
    type=_FOLDER,
    help="Folder that mirrors secret paths, `<folder>/<path>/<key>`; else Vault, else `STOA_SECRET_...` variables.",
)
@click.option("--vault-url", help="Vault or OpenBao that backends' credentials come from.")
@click.option("--vault-token-file", type=click.Path(path_type=Path), help="Login by a token: its file.")
@click.option("--vault-role-id-file", type=click.Path(path_type=Path), help="Login by AppRole: file of the role's id.")
@click.option(
    "--vault-secret-id-file", type=click.Path(path_type=Path), help="Login by AppRole: file of the secret id."
)
@click.option("--vault-kubernetes-role", help="Login by the pod's service account: the role.")
@click.option("--vault-jwt-file", type=click.Path(path_type=Path), help="File of the service account's token.")
@click.option("--vault-login-mount", help="Mount of the login's method, where it is not the usual one.")
@click.option("--vault-mount", default="secret", show_default=True, help="Mount of the KV engine (version 2).")
@click.option("--vault-prefix", default="", help="Path below the mount that stands before that of each reference.")
@click.option("--vault-namespace", help="Vault's namespace.")
@click.option("--vault-ca-file", type=_FILE, help="Certificates that vouch for Vault; else the system's.")
@click.option(
    "--vault-refresh",
    type=click.FloatRange(1, 86_400),
    default=30.0,
    show_default=True,
    help="Seconds between two readings of the secrets.",
)
@click.option(
    "--vault-max-age",
    type=click.FloatRange(1, 604_800),
    default=900.0,
    show_default=True,
    help="Seconds that a secret may be used while Vault cannot be reached.",
)
@click.option(
    "--vault-timeout",
    type=click.FloatRange(0.1, 60),
    default=5.0,
    show_default=True,
    help="Seconds that one request to Vault may take.",
)
@click.option("--audit", type=click.Path(path_type=Path), help="The audit log, instead of `audit.jsonl` in the state.")
@click.option(
    "--audit-rotate", type=Size(), default=0, show_default=True, help="Size that a log's file may have; 0: any."
)
@click.option("--audit-key", type=_FILE, help="File of the secret that seals each line.")
@click.option("--audit-kafka-servers", help="Brokers of a topic that is the log instead of the file.")
@click.option("--audit-kafka-topic", help="That topic.")
@click.option("--audit-kafka-option", multiple=True, help="A property of librdkafka, `name=value`.")
@click.option("--audit-kafka-file", type=_FILE, help="File of such properties, one a line; for secrets.")
@click.option("--metrics", type=Address(), help="Address of the metrics' own page; port 0 takes a free one.")
@click.option("--metrics-tools", is_flag=True, help="Count calls by tool too.")
@click.option("--traces", help="Collector that spans go to, by OTLP over HTTP: `http://HOST:4318`.")
@click.option(
    "--traces-ratio",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of traces that are recorded of those that no caller has decided about.",
)
@click.option(
    "--body-limit", type=Size(), default="1MiB", show_default=True, help="Size that a request's body may have."
)
@click.option(
    "--body-deadline",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds that a body may take to arrive.",
)
@click.option(
    "--drain",
    type=click.IntRange(0, 3600),
    default=20,
    show_default=True,
    help="Seconds that calls in flight may take to end when the process is asked to stop.",
)
@click.option("--development", is_flag=True, help="Take a bundle of a development environment.")
def command(**given: Any) -> None:
    """Serve BUNDLE over MCP at `/mcp`, every digest checked before the first request is taken.

    An option that is not given is read from its variable, `STOA_SERVE_` and its name in capitals
    (`STOA_SERVE_BODY_LIMIT`; several values with spaces or, for files, colons between them), then from the file that
    `--config` names.
    """
    try:
        settings = import_module("stoa_runtime.settings")
        bundles = import_module("stoa_runtime.bundles")
        opening = import_module("stoa_runtime.opening")
        audit = import_module("stoa_runtime.audit")
        vault = import_module("stoa_runtime.vault")
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[runtime]'` brings it", OUTSIDE)
    try:
        wanted = settings.Settings(
            bundle=given["bundle"],
            host=given["host"],
            port=given["port"],
            workers=given["workers"],
            audit=given["audit"] or given["state"] / "audit.jsonl",
            auditing=settings.AuditSettings(given["audit_rotate"], given["audit_key"], _kafka(given, audit)),
            state=given["state"],
            store_url=_store_url(given),
            approvals_key=given["approvals_key"],
            keys=given["key"],
            allow_rollback=given["allow_rollback"],
            reload_seconds=given["reload"],
            allowed_hosts=given["allowed_host"],
            allowed_origins=given["allowed_origin"],
            secrets="vault" if given["vault_url"] else "file" if given["secrets"] else "environment",
            secrets_folder=given["secrets"],
            vault=_vault(given, vault),
            allow_development=given["development"],
            body_limit=given["body_limit"],
            body_deadline=given["body_deadline"],
            drain_seconds=given["drain"],
            telemetry=settings.TelemetrySettings(
                given["metrics"], given["metrics_tools"], given["traces"], given["traces_ratio"]
            ),
        )
    except settings.SettingsRefused as refusal:
        fail(str(refusal), WRONG_USE)
    try:
        begun = opening.begun(wanted)
        server = _server()  # Its modules are read while a large bundle is judged.
        server.serve(
            wanted,
            lambda url: click.echo(f"listening on {url}"),
            lambda url: click.echo(f"metrics at {url}"),
            begun,
        )
    except bundles.BundleError as error:
        fail(str(error), OUTSIDE)


def _server() -> Any:
    try:
        return import_module("stoa_runtime.server")
    except ModuleNotFoundError as missing:
        fail(f"`{missing.name}` is not installed; `pip install 'stoa-platform[runtime]'` brings it", OUTSIDE)


for _option in command.params:
    if isinstance(_option, click.Option):
        _option.show_envvar = True


def _store_url(given: Mapping[str, Any]) -> str | None:
    if given["store_file"] is None:
        return given["store"] or None
    if given["store"]:
        raise click.UsageError("`--store` and `--store-file` both name the store")
    url = _text(given["store_file"]).strip()
    if not url:
        raise click.UsageError(f"{given['store_file']} holds no URL")
    return url


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", OUTSIDE)
    except UnicodeDecodeError:
        fail(f"{file} is no text", OUTSIDE)


def _kafka(given: Mapping[str, Any], audit: Any) -> Any:
    """The topic; None where the log is a file."""
    servers, topic, options, file = (given[f"audit_kafka_{name}"] for name in ("servers", "topic", "option", "file"))
    if not servers and not topic:
        if options or file:
            raise click.UsageError("properties of Kafka are given, but no `--audit-kafka-servers`")
        return None
    if not servers or not topic:
        raise click.UsageError("the audit log on Kafka needs `--audit-kafka-servers` and `--audit-kafka-topic`")
    properties: dict[str, str] = {}
    for line in options:
        name, value = _property(line, "`--audit-kafka-option`")
        if _SECRET_PROPERTY.search(name) and not name.endswith(".location"):
            raise click.UsageError(f"`{name}` is a secret: it belongs into the file of `--audit-kafka-file`")
        properties[name] = value
    for number, line in enumerate(_text(file).splitlines() if file else [], 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, value = _property(line, f"{file}, line {number}")
            properties[name] = value
    return audit.KafkaTopic(servers, topic, properties)


def _property(line: str, where: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"{where}: a property is `name=value`")  # The line itself may be a secret.
    return name.strip(), value.strip()


def _vault(given: Mapping[str, Any], vault: Any) -> Any:
    """Where Vault is; None where credentials come from elsewhere."""
    token, role, secret, pod, jwt = (
        given[f"vault_{name}"]
        for name in ("token_file", "role_id_file", "secret_id_file", "kubernetes_role", "jwt_file")
    )
    if not given["vault_url"]:
        if token or role or secret or pod or jwt:
            raise click.UsageError("a login to Vault is given, but no `--vault-url`")
        return None
    if given["secrets"]:
        raise click.UsageError("`--secrets` and `--vault-url` both say where credentials come from")
    if bool(role) != bool(secret):
        raise click.UsageError("AppRole needs `--vault-role-id-file` and `--vault-secret-id-file`")
    if sum(map(bool, (token, role, pod))) != 1:
        raise click.UsageError(
            "Vault needs one login: `--vault-token-file`, `--vault-role-id-file` with `--vault-secret-id-file`,"
            " or `--vault-kubernetes-role`"
        )
    if jwt and not pod:
        raise click.UsageError("`--vault-jwt-file` belongs to `--vault-kubernetes-role`")
    mount = {"mount": given["vault_login_mount"]} if given["vault_login_mount"] else {}
    if token:
        if mount:
            raise click.UsageError("`--vault-login-mount` has no meaning with a token")
        login = vault.TokenFile(token)
    elif role:
        login = vault.AppRole(role, secret, **mount)
    else:
        login = vault.Kubernetes(pod, **({"jwt_file": jwt} if jwt else {}), **mount)
    return vault.VaultSettings(
        url=given["vault_url"],
        login=login,
        mount=given["vault_mount"],
        prefix=given["vault_prefix"],
        namespace=given["vault_namespace"],
        ca_file=given["vault_ca_file"],
        refresh_seconds=given["vault_refresh"],
        max_age_seconds=given["vault_max_age"],
        timeout_seconds=given["vault_timeout"],
    )

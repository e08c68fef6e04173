"""Every setting by option, variable or file, in that order; what does not go together is refused in words."""

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import serve
from stoa_runtime import bundles, opening, server
from stoa_runtime.audit import KafkaTopic
from stoa_runtime.settings import Settings
from stoa_runtime.vault import AppRole, Kubernetes, TokenFile
from tests.docs import serve_options
from tests.runtime import world

PASSWORD = "hunter2-x9"

Run = Callable[..., tuple[Result, Settings | None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command as far as the settings that it would serve with."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "folder").mkdir()
    for name in ("one.pem", "two.pem", "seal.key", "ca.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "url").write_text(f"redis://:{PASSWORD}@store:6379/0\n")
    (tmp_path / "kafka").write_text(f"# for the broker\nsasl.password={PASSWORD}\nsasl.username = stoa\n")
    monkeypatch.chdir(tmp_path)
    got: list[Settings] = []

    def serving(settings: Settings, *_told: object) -> None:
        got.append(settings)

    monkeypatch.setattr(opening, "begun", lambda _settings: None)
    monkeypatch.setattr(server, "serve", serving)

    def run(*arguments: str, **variables: str) -> tuple[Result, Settings | None]:
        got.clear()
        bundle = [] if "BUNDLE" in variables else ["bundle"]
        env = {f"STOA_SERVE_{name}": value for name, value in variables.items()}
        result = CliRunner().invoke(serve.command, [*bundle, *arguments], env=env)
        return result, got[0] if got else None

    return run


def settings(run: Run, *arguments: str, **variables: str) -> Settings:
    result, found = run(*arguments, **variables)
    assert result.exit_code == 0, result.output
    assert found is not None
    return found


VALUES: dict[str, tuple[Any, str, Callable[[Settings], Any], Any]] = {
    "host": ("0.0.0.0", "0.0.0.0", lambda s: s.host, "0.0.0.0"),
    "port": (9999, "9999", lambda s: s.port, 9999),
    "workers": (3, "3", lambda s: s.workers, 3),
    "state": ("kept", "kept", lambda s: (s.state, s.audit), (Path("kept"), Path("kept/audit.jsonl"))),
    "store": ("redis://store", "redis://store", lambda s: s.store_url, "redis://store"),
    "store-file": ("url", "url", lambda s: s.store_url, f"redis://:{PASSWORD}@store:6379/0"),
    "approvals-key": ("seal.key", "seal.key", lambda s: s.approvals_key, Path("seal.key")),
    "key": (["one.pem", "two.pem"], "one.pem:two.pem", lambda s: s.keys, (Path("one.pem"), Path("two.pem"))),
    "allow-rollback": (True, "true", lambda s: s.allow_rollback, True),
    "reload": (2.5, "2.5", lambda s: s.reload_seconds, 2.5),
    "allowed-host": (["a.example", "b.example"], "a.example b.example", lambda s: s.allowed_hosts,
                     ("a.example", "b.example")),
    "allowed-origin": (["https://a.example"], "https://a.example", lambda s: s.allowed_origins,
                       ("https://a.example",)),
    "secrets": ("folder", "folder", lambda s: (s.secrets, s.secrets_folder), ("file", Path("folder"))),
    "vault-url": ("https://v", "https://v", lambda s: (s.secrets, s.vault and s.vault.url), ("vault", "https://v")),
    "vault-token-file": ("t", "t", lambda s: s.vault and s.vault.login, TokenFile(Path("t"))),
    "vault-role-id-file": ("r", "r", lambda s: s.vault and s.vault.login, AppRole(Path("r"), Path("s"))),
    "vault-secret-id-file": ("x", "x", lambda s: s.vault and s.vault.login, AppRole(Path("r"), Path("x"))),
    "vault-kubernetes-role": ("stoa", "stoa", lambda s: s.vault and s.vault.login, Kubernetes("stoa")),
    "vault-jwt-file": ("j", "j", lambda s: s.vault and s.vault.login, Kubernetes("k", Path("j"))),
    "vault-login-mount": ("m", "m", lambda s: s.vault and s.vault.login, Kubernetes("k", mount="m")),
    "vault-mount": ("kv", "kv", lambda s: s.vault and s.vault.mount, "kv"),
    "vault-prefix": ("stoa", "stoa", lambda s: s.vault and s.vault.prefix, "stoa"),
    "vault-namespace": ("team", "team", lambda s: s.vault and s.vault.namespace, "team"),
    "vault-ca-file": ("ca.pem", "ca.pem", lambda s: s.vault and s.vault.ca_file, Path("ca.pem")),
    "vault-refresh": (5, "5", lambda s: s.vault and s.vault.refresh_seconds, 5.0),
    "vault-max-age": (60, "60", lambda s: s.vault and s.vault.max_age_seconds, 60.0),
    "vault-timeout": (1, "1", lambda s: s.vault and s.vault.timeout_seconds, 1.0),
    "audit": ("log.jsonl", "log.jsonl", lambda s: (s.audit, s.state), (Path("log.jsonl"), Path(".stoa"))),
    "audit-rotate": ("64MiB", "67108864", lambda s: s.auditing.rotate_bytes, 64 * 2**20),
    "audit-key": ("seal.key", "seal.key", lambda s: s.auditing.key, Path("seal.key")),
    "audit-kafka-servers": ("k:9092", "k:9092", lambda s: s.auditing.kafka, KafkaTopic("k:9092", "t")),
    "audit-kafka-topic": ("audit", "audit", lambda s: s.auditing.kafka, KafkaTopic("k", "audit")),
    "audit-kafka-option": (
        ["security.protocol=ssl", "ssl.ca.location=ca.pem"],
        "security.protocol=ssl ssl.ca.location=ca.pem",
        lambda s: s.auditing.kafka and s.auditing.kafka.options,
        {"security.protocol": "ssl", "ssl.ca.location": "ca.pem"},
    ),
    "audit-kafka-file": (
        "kafka", "kafka", lambda s: s.auditing.kafka and s.auditing.kafka.options,
        {"sasl.password": PASSWORD, "sasl.username": "stoa"},
    ),
    "metrics": ("[::1]:9090", "[::1]:9090", lambda s: s.telemetry.metrics, ("::1", 9090)),
    "metrics-tools": (True, "1", lambda s: s.telemetry.metrics_tools, True),
    "traces": ("http://c:4318", "http://c:4318", lambda s: s.telemetry.traces, "http://c:4318"),
    "traces-ratio": (0.25, "0.25", lambda s: s.telemetry.traces_ratio, 0.25),
    "body-limit": ("2KiB", "2048", lambda s: s.body_limit, 2048),
    "body-deadline": (3, "3", lambda s: s.body_deadline, 3.0),
    "drain": (5, "5", lambda s: s.drain_seconds, 5),
    "development": (True, "yes", lambda s: s.allow_development, True),
}  # fmt: skip
"""For each option: its value in a file, the same as a variable, what it sets, and to what."""

VAULT = ["--vault-url", "https://vault"]
KAFKA = ["--audit-kafka-servers", "k", "--audit-kafka-topic", "t"]
BESIDES = {
    "workers": ["--store", "redis://store"],
    "vault-url": ["--vault-token-file", "t"],
    "vault-token-file": VAULT,
    "vault-role-id-file": [*VAULT, "--vault-secret-id-file", "s"],
    "vault-secret-id-file": [*VAULT, "--vault-role-id-file", "r"],
    "vault-kubernetes-role": VAULT,
    "vault-jwt-file": [*VAULT, "--vault-kubernetes-role", "k"],
    "vault-login-mount": [*VAULT, "--vault-kubernetes-role", "k"],
    **{f"vault-{name}": [*VAULT, "--vault-token-file", "t"]
       for name in ("mount", "prefix", "namespace", "ca-file", "refresh", "max-age", "timeout")},
    "audit-kafka-servers": KAFKA[2:],
    "audit-kafka-topic": KAFKA[:2],
    "audit-kafka-option": KAFKA,
    "audit-kafka-file": KAFKA,
}  # fmt: skip
"""What an option has no meaning without."""


def toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def on_the_command_line(option: str, value: Any) -> list[str]:
    if value is True:
        return [f"--{option}"]
    return [part for one in (value if isinstance(value, list) else [value]) for part in (f"--{option}", str(one))]


def test_every_option_is_among_those_that_are_tried_here() -> None:
    options = {p.opts[0].removeprefix("--") for p in serve.command.params if isinstance(p, click.Option)}
    assert options - {"config"} == VALUES.keys()


@pytest.mark.parametrize("option", VALUES)
def test_an_option_is_taken_from_the_command_line_a_variable_or_the_file(run: Run, option: str, tmp_path: Path) -> None:
    value, variable, seen, expected = VALUES[option]
    besides = BESIDES.get(option, [])
    (tmp_path / "stoa.toml").write_text(f"{option} = {toml(value)}\n")
    name = option.upper().replace("-", "_")
    assert seen(settings(run, *besides, *on_the_command_line(option, value))) == expected
    assert seen(settings(run, *besides, **{name: variable})) == expected
    assert seen(settings(run, *besides, "--config", "stoa.toml")) == expected
    assert seen(settings(run, *besides, CONFIG="stoa.toml")) == expected


def test_the_command_line_goes_before_variables_and_those_before_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").write_text('drain = 1\nallowed-host = ["file"]\nbundle = "folder"\n')
    config = ["--config", "stoa.toml"]
    assert settings(run, *config).drain_seconds == 1
    assert settings(run, *config, DRAIN="2").drain_seconds == 2
    assert settings(run, *config, "--drain", "3", DRAIN="2").drain_seconds == 3
    assert settings(run, *config, ALLOWED_HOST="variable").allowed_hosts == ("variable",)
    assert settings(run, *config).bundle == Path("bundle")
    assert settings(run, BUNDLE="bundle").bundle == Path("bundle")
    result = CliRunner().invoke(serve.command, config)
    assert result.exit_code == 0, result.output


def test_every_field_of_the_settings_can_be_set(run: Run) -> None:
    every = [part for o in VALUES if o not in ("store-file", "vault-url", "workers") and not o.startswith("vault-")
             for part in on_the_command_line(o, VALUES[o][0])]  # fmt: skip
    changed = settings(run, *every, "--workers", "2")
    plain = settings(run)
    same = {f.name for f in fields(Settings) if getattr(changed, f.name) == getattr(plain, f.name)}
    assert same == {"bundle", "vault"}, "`vault` excludes `secrets`"
    assert settings(run, *VAULT, "--vault-token-file", "t").vault is not None


def test_without_any_option_the_settings_are_their_own_defaults(run: Run) -> None:
    got, own = settings(run), Settings(bundle=Path("bundle"))
    differing = {f.name for f in fields(Settings) if getattr(got, f.name) != getattr(own, f.name)}
    assert differing == {"port", "state"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reloat = 3", "there is no option `reloat`; `reload` is meant, perhaps"),
        ("zzzzzz = 3", "there is no option `zzzzzz`"),
        ("config = 'x'", "there is no option `config`"),
        ("[vault]\nurl = 'x'", "there is no option `vault`"),
        ("key = 'one.pem'", "`key` is a list of texts"),
        ("drain = [1]", "`drain` is one value"),
        ("drain = true", "`drain` is not true or false"),
        ("development = 1", "`development` is true or false"),
        ("drain = 'soon'", "'soon' is not a valid integer"),
        ("drain = 99999", "99999 is not in the range"),
        ("body-limit = '1MB'", "'1MB' is no number of bytes"),
        ("metrics = '9090'", "'9090' is no address with a port"),
        ("metrics = 'a:99999'", "'a:99999' is no address with a port"),
        ("drain =", "is no TOML"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused(run: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stoa.toml").write_text(text)
    result, found = run("--config", "stoa.toml")
    assert found is None
    assert result.exit_code == 2
    assert said in result.output


def test_properties_of_kafka_may_be_a_table_in_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "stoa.toml").write_text('[audit-kafka-option]\n"security.protocol" = "ssl"\n')
    kafka = settings(run, *KAFKA, "--config", "stoa.toml").auditing.kafka
    assert kafka == KafkaTopic("k", "t", {"security.protocol": "ssl"})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2"], "every limit counts 2 times"),
        (["--store", "redis://a", "--store-file", "url"], "both name the store"),
        (["--secrets", "folder", *VAULT, "--vault-token-file", "t"], "both say where credentials come from"),
        (VAULT, "Vault needs one login"),
        ([*VAULT, "--vault-token-file", "t", "--vault-kubernetes-role", "k"], "Vault needs one login"),
        ([*VAULT, "--vault-role-id-file", "r"], "AppRole needs"),
        (["--vault-token-file", "t"], "no `--vault-url`"),
        ([*VAULT, "--vault-token-file", "t", "--vault-jwt-file", "j"], "belongs to `--vault-kubernetes-role`"),
        ([*VAULT, "--vault-token-file", "t", "--vault-login-mount", "m"], "has no meaning with a token"),
        (KAFKA[:2], "needs `--audit-kafka-servers` and `--audit-kafka-topic`"),
        (["--audit-kafka-option", "a=b"], "no `--audit-kafka-servers`"),
        ([*KAFKA, "--audit-kafka-option", "acks"], "a property is `name=value`"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Run, arguments: list[str], said: str) -> None:
    result, found = run(*arguments)
    assert found is None
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--store", f"redis://:{PASSWORD}@store"],
        ["--store", f"redis://store?password={PASSWORD}"],
        ["--store", f"redis://[:{PASSWORD}@store"],
        [*KAFKA, "--audit-kafka-option", f"sasl.password={PASSWORD}"],
        [*KAFKA, "--audit-kafka-option", f"ssl.key.pem={PASSWORD}"],
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(run: Run, arguments: list[str]) -> None:
    result, found = run(*arguments)
    assert found is None
    assert result.exit_code == 2
    assert PASSWORD not in result.output


def test_a_store_with_a_password_comes_from_a_variable_or_the_file_and_help_does_not_show_it(
    run: Run, tmp_path: Path
) -> None:
    url = f"redis://:{PASSWORD}@store"
    (tmp_path / "stoa.toml").write_text(f'store = "{url}"\n')
    assert settings(run, STORE=url).store_url == url
    assert settings(run, "--config", "stoa.toml").store_url == url
    shown, _ = run("--config", "stoa.toml", "--help", STORE=url)
    assert "STOA_SERVE_STORE" in shown.output
    assert PASSWORD not in shown.output


@pytest.mark.parametrize("url", [f"http://:{PASSWORD}@a", f"redis://:{PASSWORD}@a:port", PASSWORD])
def test_a_store_that_is_none_ends_the_start_and_is_not_repeated(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, url: str
) -> None:
    with pytest.raises(bundles.BundleError, match="URL of the store") as refused:
        server.application(served(tmp_path, issuer, backend, store_url=url))
    assert PASSWORD not in str(refused.value)


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
def test_a_key_of_approvals_may_be_read_by_its_group_and_not_by_everybody(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    key = tmp_path / "approvals.key"
    settings = served(tmp_path, issuer, backend, approvals_key=key)
    with pytest.raises(bundles.BundleError, match="cannot be used as the key of approvals"):
        server.application(settings)
    key.write_text("ab" * 32)
    key.chmod(0o444)
    with pytest.raises(bundles.BundleError, match="can be read by everybody"):
        server.application(settings)
    key.chmod(0o440)
    server.application(settings).audit.close()
    assert not (tmp_path / "state" / "approvals.key").exists()


def served(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder, **more: Any) -> Settings:
    tenants = world.catalogs(backend.url)
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    return Settings(bundle=folder, audit=tmp_path / "state" / "audit.jsonl", secrets_folder=tmp_path, secrets="file",
                    **more)  # fmt: skip


def test_the_page_lists_the_options_as_they_are() -> None:
    page = serve_options.PAGE.read_text()
    assert page == serve_options.written(page), "run `python -m tests.docs.serve_options`"

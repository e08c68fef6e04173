"""A real Keycloak: found or fetched, started with realms to import, and signed in to as a browser would."""

import base64
import hashlib
import html.parser
import http.cookiejar
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

VERSION = "26.7.1"
OLDER = "26.4.7"
CACHES = Path.home() / ".cache" / "stoa-engines"
MAVEN = Path.home() / ".m2/repository/org/keycloak/keycloak-quarkus-dist"
START_LIMIT = 600
"""Seconds. It starts in 20 on an idle machine, and has needed 115 on a busy one."""

JSON = Any


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def distribution(version: str = VERSION) -> Path:
    """The unpacked server, from the cache or from Maven; skips the test where it cannot be had."""
    if shutil.which("java") is None:
        pytest.skip("Keycloak needs Java 17 or newer on PATH")
    cache = CACHES / f"keycloak-{version}"
    packed = MAVEN / version / f"keycloak-quarkus-dist-{version}.zip"
    if cache.is_dir():
        return cache
    if not packed.is_file():
        if shutil.which("mvn") is None:
            pytest.skip(f"Keycloak {version} is fetched with mvn, which is not on PATH")
        artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{version}:zip"
        command = ["mvn", "-q", "-B", "dependency:get", artifact, "-Dtransitive=false"]
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if fetched.returncode or not packed.is_file():
            pytest.skip(f"Keycloak {version} cannot be fetched: {(fetched.stdout + fetched.stderr)[-300:].strip()}")
    CACHES.mkdir(parents=True, exist_ok=True)
    unpacked = CACHES / f".{cache.name}.{secrets.token_hex(4)}"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(unpacked)
    (unpacked / cache.name / "bin" / "kc.sh").chmod(0o755)
    try:
        (unpacked / cache.name).rename(cache)
    except OSError:
        if not cache.is_dir():  # Another test run was first where it is.
            raise
    shutil.rmtree(unpacked)
    return cache


def _home(scratch: Path, realms: Sequence[tuple[str, bytes]], version: str = VERSION) -> Path:
    """A server's folder of its own. Starting writes to it, but never to the jars, which are linked."""
    home = scratch / "keycloak"

    def place(source: str, target: str) -> None:
        if "/lib/lib/" in source:
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(distribution(version), home, copy_function=place)
    imports = home / "data" / "import"
    imports.mkdir(parents=True)
    for name, content in realms:
        (imports / name).write_bytes(content)
    return home


@contextmanager
def running(
    scratch: Path, port: int, realms: Sequence[tuple[str, bytes]], *options: str, version: str = VERSION
) -> Iterator["Keycloak"]:
    """Keycloak on loopback with the realm files imported, each given as its name and its bytes."""
    home = _home(scratch, realms, version)
    password = secrets.token_urlsafe(24)
    command = [str(home / "bin" / "kc.sh"), "start-dev", "--import-realm", *options]
    environment = os.environ | {
        "KC_HTTP_HOST": "127.0.0.1",
        "KC_HTTP_PORT": str(port),
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
    }
    log = scratch / "keycloak.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        server = Keycloak(f"http://127.0.0.1:{port}", password)
        _wait(server, process, log)
        yield server
    finally:
        _stop(process)
        shutil.rmtree(home, ignore_errors=True)


def _wait(server: "Keycloak", process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"Keycloak ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        try:
            if server.get("/realms/master").status == 200:
                return
        except urllib.error.URLError:
            pass
        time.sleep(0.5)
    pytest.fail(f"Keycloak did not start in {START_LIMIT} s:\n{log.read_text()[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and what it started: they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    url: str
    location: str
    """Where it redirects to outside itself."""
    body: bytes

    @property
    def json(self) -> JSON:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class _Outside(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the server; one that leads out is the answer, and is not followed."""

    def __init__(self, base: str) -> None:
        self.base = base

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if newurl.startswith(self.base + "/realms/"):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        return None


class _Forms(html.parser.HTMLParser):
    """The first form of a page: its address, its fields, its buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = values.get("action", "")
        elif tag in ("input", "button") and "name" in values:
            if values.get("type") in ("submit", "image") or tag == "button":
                self.buttons.add(values["name"])
            else:
                self.fields[values["name"]] = values.get("value", "")


class SignInFailed(Exception):
    """The server did not send the browser back with a code."""


@dataclass(frozen=True)
class Keycloak:
    """A running server."""

    url: str
    admin_password: str

    def issuer(self, realm: str) -> str:
        """The realm's issuer."""
        return f"{self.url}/realms/{realm}"

    def get(self, path: str) -> Answer:
        """An answer without a session."""
        return _send(_browser(self.url), "GET", self.url + path)

    def token(self, realm: str, form: Mapping[str, str]) -> Answer:
        """The token endpoint's answer."""
        return _send(_browser(self.url), "POST", f"{self.issuer(realm)}/protocol/openid-connect/token", form=form)

    def admin(self, method: str, path: str, body: JSON = None) -> JSON:
        """The admin API's answer below `/admin/realms`."""
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": "admin",
            "password": self.admin_password,
        }
        bearer = self.token("master", form).json["access_token"]
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        answer = _send(_browser(self.url), method, f"{self.url}/admin/realms{path}", data, headers)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json if answer.body else None

    def user_id(self, realm: str, username: str) -> str:
        """The id that the server gave to an account."""
        (user,) = self.admin("GET", f"/{realm}/users?exact=true&username={urllib.parse.quote(username)}")
        return str(user["id"])

    def set_password(self, realm: str, username: str, password: str) -> None:
        """Gives a person a first password, which the first sign-in replaces."""
        body = {"type": "password", "value": password, "temporary": True}
        self.admin("PUT", f"/{realm}/users/{self.user_id(realm, username)}/reset-password", body)

    def client_secret(self, realm: str, client_id: str) -> str:
        """The secret that the server made for a confidential client."""
        (client,) = self.admin("GET", f"/{realm}/clients?clientId={urllib.parse.quote(client_id)}")
        return str(self.admin("GET", f"/{realm}/clients/{client['id']}/client-secret")["value"])

    def authorize(self, realm: str, query: Mapping[str, str]) -> Answer:
        """The first page of a sign-in, or where the browser is sent instead."""
        endpoint = f"{self.issuer(realm)}/protocol/openid-connect/auth"
        return _send(_browser(self.url), "GET", f"{endpoint}?{urllib.parse.urlencode(query)}")

    def browse(self, address: str, username: str, password: str, new_password: str = "") -> str:
        """Where a person's browser is sent in the end: every page filled in, from an authorization URL on."""
        browser = _browser(self.url)
        answer, asked = _send(browser, "GET", address), set[str]()
        for _ in range(6):
            if answer.location:
                return answer.location
            if "code" in urllib.parse.parse_qs(urllib.parse.urlsplit(answer.url).query):
                return answer.url  # The account console is a page of the server itself.
            form = _Forms(answer.text)
            fields = dict(form.fields)
            # One page asks for both, or with Organizations one after the other.
            if missing := {"username", "password"} & set(fields) - asked:
                asked |= missing
                fields |= {k: v for k, v in (("username", username), ("password", password)) if k in missing}
            elif "password-new" in fields:
                fields |= {"password-new": new_password, "password-confirm": new_password}
            elif "accept" in form.buttons:
                fields["accept"] = "Yes"
            else:
                break
            answer = _send(browser, "POST", urllib.parse.urljoin(answer.url, form.action), form=fields)
        shown = re.sub(r"(?s)<(script|style|head).*?</\1>|<[^>]+>", " ", answer.text)
        raise SignInFailed(f"{answer.status} {answer.url.partition('?')[0]}: {' '.join(shown.split())}")

    def sign_in(
        self,
        realm: str,
        client_id: str,
        redirect_uri: str,
        username: str,
        password: str,
        new_password: str = "",
        scope: str = "openid",
        secret: str = "",
        resource: str = "",
    ) -> JSON:
        """The tokens that a person gets through the code flow with PKCE, for one resource where it is named."""
        state, verifier = secrets.token_urlsafe(8), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "scope": scope,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | ({"resource": resource} if resource else {})
        endpoint = f"{self.issuer(realm)}/protocol/openid-connect/auth?{urllib.parse.urlencode(query)}"
        location = self.browse(endpoint, username, password, new_password)
        target, _, returned = location.partition("?")
        values = dict(urllib.parse.parse_qsl(returned))
        if target != redirect_uri or values.get("state") != state or "code" not in values:
            raise SignInFailed(location)
        exchange = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "code": values["code"],
            "code_verifier": verifier,
        } | ({"resource": resource} if resource else {})
        tokens = self.token(realm, exchange | ({"client_secret": secret} if secret else {}))
        if tokens.status != 200:
            raise SignInFailed(tokens.text)
        return tokens.json


def claims(token: str) -> dict[str, JSON]:
    """What a token says; the signature is for the runtime to check."""
    payload = token.split(".")[1]
    said: dict[str, JSON] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return said


def _browser(base: str) -> urllib.request.OpenerDirector:
    # As browsers do, loopback is trusted with cookies that are marked `Secure`.
    policy = http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https"))
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar(policy))
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies, _Outside(base))


def _send(
    browser: urllib.request.OpenerDirector,
    method: str,
    url: str,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
) -> Answer:
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, dict(headers or {}), method=method)
    try:
        with browser.open(request, timeout=60) as answer:
            return Answer(answer.status, answer.url, "", answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.url or url, error.headers.get("Location", ""), error.read())

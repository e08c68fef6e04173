"""The development issuer over real sockets: what it gives, and everything that it refuses."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import jwt
import pytest

from stoa_runtime.development import NotForDevelopment
from stoa_runtime.development.issuer import issuer_application
from stoa_schemas.bundle import (
    Development,
    DevelopmentClient,
    DevelopmentPerson,
    PlatformIndex,
    RuntimeManifest,
    TenantEntry,
    TokenRules,
)

MCP_URL = "http://127.0.0.1:8080/mcp"
CALLBACK = "http://127.0.0.1:53682/callback"
HOSTED_CALLBACK = "https://assistant.example/callback"


def a_development(*people: DevelopmentPerson) -> Development:
    return Development(
        people=list(people)
        or [
            DevelopmentPerson(
                username="halliday",
                display_name="James Halliday",
                email="halliday@example.com",
                tenant="platform",
                roles=["cpi-admin"],
            ),
            DevelopmentPerson(
                username="parzival",
                display_name="Wade Watts",
                email="parzival@example.com",
                tenant="ioi",
                roles=["devops", "viewer"],
            ),
        ],
        clients=[
            DevelopmentClient(client_id="claude", redirect_uris=[HOSTED_CALLBACK]),
            DevelopmentClient(client_id="ioi.reports", redirect_uris=[], tenant="ioi", roles=["viewer"]),
            DevelopmentClient(client_id="ioi.portal", redirect_uris=["https://portal.ioi.example/back"]),
        ],
    )


def an_index(issuer: str, *, jwks: str | None = None, algorithms: tuple[str, ...] = ("RS256",)) -> PlatformIndex:
    return PlatformIndex(
        name="oasis",
        display_name="The Oasis",
        domain="example.com",
        environment="dev",
        mcp_url=MCP_URL,
        token=TokenRules(
            issuer=issuer,
            audience=MCP_URL,
            jwks_url=jwks or f"{issuer}/protocol/openid-connect/certs",
            algorithms=list(algorithms),
            scopes=["stoa-mcp"],
        ),
        roles={},
        clients=["claude"],
        backend_networks=["127.0.0.0/8"],
        approval_expiry_ms=900_000,
        tenants=[TenantEntry(name="ioi", display_name="Innovative Online Industries", catalog="mcp/tenants/ioi.json")],
    )


def a_manifest(*, development: bool = True) -> RuntimeManifest:
    return RuntimeManifest(platform="oasis", environment="dev", development=development, files=[])


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class _Form(HTMLParser):
    """The hidden fields and buttons of a page's form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.hidden: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "input":
            self.hidden[values["name"]] = values["value"]
        if tag == "button":
            self.buttons.append((values["name"], values["value"]))


@dataclass
class Browser:
    """A person with a browser, and the client that sent it."""

    issuer: str
    clock: Clock
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def authorization(self, **changes: str | None) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": "claude",
            "redirect_uri": CALLBACK,
            "state": "a state",
            "scope": "stoa-mcp",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "resource": MCP_URL,
            **changes,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def open(self, **changes: str | None) -> httpx2.Response:
        return httpx2.get(f"{self.issuer}/authorize", params=self.authorization(**changes))

    def press(
        self, page: httpx2.Response, *, headers: Mapping[str, str] | None = None, **button: str
    ) -> httpx2.Response:
        form = {**_Form(page.text).hidden, **button}
        return httpx2.post(f"{self.issuer}/authorize", data=form, headers=headers)

    def sign_in(self, person: str = "parzival", **changes: str | None) -> dict[str, str]:
        """The parameters with which the browser comes back to the client."""
        back = self.press(self.open(**changes), person=person)
        assert back.status_code == 303, back.text
        return dict(parse_qsl(urlsplit(back.headers["location"]).query))

    def token(self, **form: str) -> httpx2.Response:
        return httpx2.post(f"{self.issuer}/token", data={"client_id": "claude", **form})

    def redeem(self, code: str, **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
            "resource": MCP_URL,
            **changes,
        }
        return self.token(**{name: value for name, value in form.items() if value})

    def refresh(self, token: str, **changes: str) -> httpx2.Response:
        return self.token(grant_type="refresh_token", refresh_token=token, **changes)


@pytest.fixture(scope="module")
def browser(serve: Callable[..., str], module_port: int) -> Browser:
    """One issuer for all tests. Its clock only ever moves on."""
    issuer = f"http://127.0.0.1:{module_port}/realms/oasis"
    clock = Clock()
    serve(issuer_application(a_development(), an_index(issuer), a_manifest(), clock=clock), module_port)
    return Browser(issuer, clock)


def claims_of(browser: Browser, token: str, *, audience: str = MCP_URL) -> dict[str, Any]:
    """The claims, once PyJWT has verified them with the key that the issuer publishes."""
    metadata = httpx2.get(f"{browser.issuer}/.well-known/openid-configuration").json()
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    verified: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience=audience,
        issuer=browser.issuer,
        # The issuer's clock is the test's; PyJWT's is not.
        options={
            "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
            "verify_exp": False,
            "verify_iat": False,
        },
    )
    return verified


def refused(answer: httpx2.Response) -> str:
    assert answer.status_code == 400, answer.text
    assert answer.headers["cache-control"] == "no-store"
    error: str = answer.json()["error"]
    return error


def sent_back(answer: httpx2.Response) -> dict[str, str]:
    """The error that the browser carries back to the client."""
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


# What is served


def test_metadata_is_at_every_place_where_clients_look(browser: Browser) -> None:
    root = browser.issuer.removesuffix("/realms/oasis")
    places = [
        f"{browser.issuer}/.well-known/openid-configuration",
        f"{browser.issuer}/.well-known/oauth-authorization-server",
        f"{root}/.well-known/openid-configuration/realms/oasis",
        f"{root}/.well-known/oauth-authorization-server/realms/oasis",
    ]
    documents = [httpx2.get(place).json() for place in places]
    assert all(document == documents[0] for document in documents)
    assert documents[0]["issuer"] == browser.issuer
    assert documents[0]["code_challenge_methods_supported"] == ["S256"]
    assert documents[0]["grant_types_supported"] == ["authorization_code", "client_credentials", "refresh_token"]


def test_an_issuer_without_a_path(serve: Callable[..., str], free_port: int) -> None:
    issuer = f"http://127.0.0.1:{free_port}"
    clock = Clock()
    serve(issuer_application(a_development(), an_index(issuer), a_manifest(), clock=clock), free_port)
    browser = Browser(issuer, clock)
    token = browser.redeem(browser.sign_in()["code"]).json()["access_token"]
    assert claims_of(browser, token)["iss"] == issuer


def test_the_published_key_is_public(browser: Browser) -> None:
    (key,) = httpx2.get(f"{browser.issuer}/protocol/openid-connect/certs").json()["keys"]
    assert sorted(key) == ["alg", "e", "kid", "kty", "n", "use"]


# Signing in


def test_the_page_offers_each_person_and_a_way_out(browser: Browser) -> None:
    page = browser.open()
    assert page.status_code == 200
    assert _Form(page.text).buttons == [("person", "parzival"), ("person", "halliday"), ("decision", "cancel")]
    assert "Innovative Online Industries" in page.text


def test_the_page_runs_nothing_and_cannot_be_framed(browser: Browser) -> None:
    page = browser.open()
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self' http://127.0.0.1:53682"
    assert page.headers["x-frame-options"] == "DENY"
    style = page.text.split("<style>")[1].split("</style>")[0]
    assert policy["style-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
    assert "<script" not in page.text


def test_names_are_text_on_the_page(serve: Callable[..., str], free_port: int) -> None:
    issuer = f"http://127.0.0.1:{free_port}"
    hostile = DevelopmentPerson(
        username="eve",
        display_name='"><script>alert(1)</script>',
        email="eve@example.com",
        tenant="ioi",
        roles=["<b>viewer</b>"],
    )
    serve(issuer_application(a_development(hostile), an_index(issuer), a_manifest()), free_port)
    page = Browser(issuer, Clock()).open(state="'\"><img>")
    assert "<script" not in page.text
    assert "<b>" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;" in page.text


def test_a_person_gets_a_token_like_the_realms(browser: Browser) -> None:
    back = browser.sign_in("parzival")
    assert back["state"] == "a state"
    assert back["iss"] == browser.issuer
    answer = browser.redeem(back["code"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 900

    token = answer.json()["access_token"]
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    claims = claims_of(browser, token)
    assert claims["aud"] == MCP_URL
    assert claims["tenant"] == ["ioi"]
    assert claims["roles"] == ["devops", "viewer"]
    assert claims["azp"] == "claude"
    assert claims["preferred_username"] == "parzival"
    assert claims["name"] == "Wade Watts"
    assert claims["email"] == "parzival@example.com"
    assert "stoa-mcp" in claims["scope"].split()
    assert claims["exp"] - claims["iat"] == 900
    assert "id_token" not in answer.json()


def test_the_platforms_own_people_carry_the_platforms_tenant(browser: Browser) -> None:
    token = browser.redeem(browser.sign_in("halliday")["code"]).json()["access_token"]
    assert claims_of(browser, token)["tenant"] == ["platform"]


def test_subjects_are_stable_and_distinct_and_tokens_are_not(browser: Browser) -> None:
    tokens = [
        claims_of(browser, browser.redeem(browser.sign_in(person)["code"]).json()["access_token"])
        for person in ("parzival", "parzival", "halliday")
    ]
    assert tokens[0]["sub"] == tokens[1]["sub"] != tokens[2]["sub"]
    assert len({claims["jti"] for claims in tokens}) == 3


def test_openid_gives_an_id_token_for_the_client(browser: Browser) -> None:
    code = browser.sign_in(scope="openid stoa-mcp unheard-of", nonce="n-1")["code"]
    answer = browser.redeem(code).json()
    assert answer["scope"] == "openid stoa-mcp"
    claims = claims_of(browser, answer["id_token"], audience="claude")
    assert claims["nonce"] == "n-1"
    assert claims["sub"] == claims_of(browser, answer["access_token"])["sub"]


def test_a_registered_callback_keeps_its_query_out_of_trouble(browser: Browser) -> None:
    back = browser.press(browser.open(redirect_uri=HOSTED_CALLBACK, state="x&y=z"), person="parzival")
    query = parse_qs(urlsplit(back.headers["location"]).query)
    assert back.headers["location"].startswith(f"{HOSTED_CALLBACK}?")
    assert query["state"] == ["x&y=z"]


def test_cancelling_is_told_to_the_client(browser: Browser) -> None:
    assert sent_back(browser.press(browser.open(), decision="cancel"))["error"] == "access_denied"


# Authorization requests that are refused


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/callback",
        HOSTED_CALLBACK + "/more",
        HOSTED_CALLBACK + "?x=1",
        HOSTED_CALLBACK.upper(),
        "https://127.0.0.1:1234/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://evil.example\\@127.0.0.1/callback",
        "http://user@127.0.0.1/callback",
        "http://127.0.0.1:1234/callback#fragment",
        "http://127.0.0.1:99999/callback",
        "http://10.0.0.1/callback",
        "http://127.0.0.1/call\r\nback",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_foreign_redirect_address_is_never_followed(browser: Browser, redirect_uri: str) -> None:
    answer = browser.open(redirect_uri=redirect_uri)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "Unknown redirect address" in answer.text
    assert "form-action 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "redirect_uri", ["http://127.0.0.1:1/x", "http://localhost:40000/callback", "http://[::1]:8/", "http://127.0.0.1"]
)
def test_loopback_takes_any_port(browser: Browser, redirect_uri: str) -> None:
    assert browser.open(redirect_uri=redirect_uri).status_code == 200


def test_an_unknown_client_is_never_redirected(browser: Browser) -> None:
    answer = browser.open(client_id="nobody")
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"resource": "http://127.0.0.1:8080/other"}, "invalid_target"),
        ({"resource": MCP_URL + "/"}, "invalid_target"),
        ({"prompt": "none"}, "login_required"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"client_id": "ioi.reports"}, "unauthorized_client"),
    ],
)
def test_a_request_out_of_order_goes_back_as_an_error(
    browser: Browser, changes: dict[str, str | None], error: str
) -> None:
    back = sent_back(browser.open(**changes))
    assert back["error"] == error
    assert back["state"] == "a state"
    assert back["iss"] == browser.issuer
    assert "code" not in back


def test_a_parameter_that_comes_twice_is_refused(browser: Browser) -> None:
    pairs = [*browser.authorization().items(), ("redirect_uri", "https://evil.example/")]
    answer = httpx2.get(f"{browser.issuer}/authorize", params=pairs)
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_a_login_is_decided_once(browser: Browser) -> None:
    page = browser.open()
    assert browser.press(page, person="parzival").status_code == 303
    assert browser.press(page, person="halliday").status_code == 400


def test_a_login_expires(browser: Browser) -> None:
    page = browser.open()
    browser.clock.now += 601
    assert browser.press(page, person="parzival").status_code == 400


def test_nobody_else_can_be_chosen(browser: Browser) -> None:
    assert browser.press(browser.open(), person="sorrento").status_code == 400


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_sites_form_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    assert browser.press(browser.open(), headers=headers, person="parzival").status_code == 403


def test_a_rebound_host_name_gets_nothing(browser: Browser) -> None:
    answer = httpx2.get(f"{browser.issuer}/.well-known/openid-configuration", headers={"Host": "evil.example"})
    assert answer.status_code == 403


# Token requests that are refused


def test_a_code_without_its_verifier_is_refused(browser: Browser) -> None:
    assert refused(browser.redeem(browser.sign_in()["code"], code_verifier="")) == "invalid_grant"


def test_a_code_with_another_verifier_is_refused_and_gone(browser: Browser) -> None:
    code = browser.sign_in()["code"]
    assert refused(browser.redeem(code, code_verifier=secrets.token_urlsafe(48))) == "invalid_grant"
    assert refused(browser.redeem(code)) == "invalid_grant"


def test_a_code_used_twice_is_refused_and_ends_what_it_gave(browser: Browser) -> None:
    code = browser.sign_in()["code"]
    refresh_token = browser.redeem(code).json()["refresh_token"]
    assert refused(browser.redeem(code)) == "invalid_grant"
    assert refused(browser.refresh(refresh_token)) == "invalid_grant"


def test_a_code_expires(browser: Browser) -> None:
    code = browser.sign_in()["code"]
    browser.clock.now += 61
    assert refused(browser.redeem(code)) == "invalid_grant"


def test_a_code_is_bound_to_client_and_redirect(browser: Browser) -> None:
    assert refused(browser.redeem(browser.sign_in()["code"], client_id="ioi.portal")) == "invalid_grant"
    assert (
        refused(browser.redeem(browser.sign_in()["code"], redirect_uri="http://127.0.0.1:1/callback"))
        == "invalid_grant"
    )


def test_a_token_for_another_resource_is_refused(browser: Browser) -> None:
    assert refused(browser.redeem(browser.sign_in()["code"], resource="https://api.example/")) == "invalid_target"


def test_a_guessed_code_and_an_unknown_grant_are_refused(browser: Browser) -> None:
    assert refused(browser.redeem("guess")) == "invalid_grant"
    assert refused(browser.token(grant_type="password", username="parzival")) == "unsupported_grant_type"
    assert refused(browser.token()) == "invalid_request"


def test_an_unknown_client_gets_no_token(browser: Browser) -> None:
    answer = browser.redeem(browser.sign_in()["code"], client_id="nobody")
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"


def test_token_requests_are_forms_of_bounded_size(browser: Browser) -> None:
    as_json = httpx2.post(f"{browser.issuer}/token", json={"grant_type": "client_credentials"})
    assert refused(as_json) == "invalid_request"
    assert browser.token(grant_type="x" * 70_000).status_code == 413


# Refresh


def test_a_refresh_token_is_rotated_and_ends_its_family_when_copied(browser: Browser) -> None:
    first = browser.redeem(browser.sign_in()["code"]).json()["refresh_token"]
    second = browser.refresh(first).json()
    assert claims_of(browser, second["access_token"])["preferred_username"] == "parzival"
    assert second["refresh_token"] != first
    assert refused(browser.refresh(first)) == "invalid_grant"
    assert refused(browser.refresh(second["refresh_token"])) == "invalid_grant"


def test_a_refresh_token_belongs_to_its_client(browser: Browser) -> None:
    token = browser.redeem(browser.sign_in()["code"]).json()["refresh_token"]
    assert refused(browser.refresh(token, client_id="ioi.portal")) == "invalid_grant"
    assert refused(browser.refresh(token)) == "invalid_grant"


def test_a_refresh_token_expires(browser: Browser) -> None:
    token = browser.redeem(browser.sign_in()["code"]).json()["refresh_token"]
    browser.clock.now += 8 * 3600 + 1
    assert refused(browser.refresh(token)) == "invalid_grant"


# A client's own account


def test_a_client_with_roles_gets_a_token_of_its_own(browser: Browser) -> None:
    answer = browser.token(client_id="ioi.reports", grant_type="client_credentials", scope="openid stoa-mcp")
    claims = claims_of(browser, answer.json()["access_token"])
    assert claims["tenant"] == ["ioi"]
    assert claims["roles"] == ["viewer"]
    assert claims["azp"] == "ioi.reports"
    assert claims["preferred_username"] == "service-account-ioi.reports"
    assert answer.json().keys().isdisjoint({"refresh_token", "id_token"})


def test_the_client_can_be_named_by_basic_credentials(browser: Browser) -> None:
    form = {"grant_type": "client_credentials"}
    answer = httpx2.post(f"{browser.issuer}/token", data=form, auth=("ioi.reports", "anything"))
    assert claims_of(browser, answer.json()["access_token"])["azp"] == "ioi.reports"


def test_a_client_without_roles_has_no_account(browser: Browser) -> None:
    assert refused(browser.token(grant_type="client_credentials")) == "unauthorized_client"


# Registration


def test_a_loopback_client_registers_and_signs_in(browser: Browser) -> None:
    wanted = {"redirect_uris": [CALLBACK], "client_name": "a command line"}
    registered = httpx2.post(f"{browser.issuer}/register", json=wanted)
    assert registered.status_code == 201
    assert registered.json()["token_endpoint_auth_method"] == "none"
    assert registered.json()["redirect_uris"] == [CALLBACK]
    assert "client_secret" not in registered.json()
    client_id = registered.json()["client_id"]
    code = browser.sign_in(client_id=client_id)["code"]
    assert browser.redeem(code, client_id=client_id).status_code == 200


@pytest.mark.parametrize("redirect_uris", [["https://evil.example/"], [CALLBACK, "https://evil.example/"], [], None, 7])
def test_foreign_callbacks_cannot_register(browser: Browser, redirect_uris: object) -> None:
    answer = httpx2.post(f"{browser.issuer}/register", json={"redirect_uris": redirect_uris})
    assert refused(answer) == "invalid_redirect_uri"


@pytest.mark.parametrize("body", [b"no json", b"[" * 60_000, b"\xff"])
def test_a_registration_that_is_no_json(browser: Browser, body: bytes) -> None:
    assert refused(httpx2.post(f"{browser.issuer}/register", content=body)) == "invalid_client_metadata"


# Where there is no issuer at all


def test_only_a_development_bundle_has_an_issuer() -> None:
    index = an_index("http://127.0.0.1:9000")
    with pytest.raises(NotForDevelopment, match="not a development one"):
        issuer_application(a_development(), index, a_manifest(development=False))


@pytest.mark.parametrize(
    "issuer", ["https://id.example.com/realms/x", "http://10.0.0.8:9000", "https://127.0.0.1:9000", "http://0.0.0.0:9"]
)
def test_only_a_loopback_address_is_an_issuer(issuer: str) -> None:
    with pytest.raises(NotForDevelopment, match="loopback"):
        issuer_application(a_development(), an_index(issuer), a_manifest())


def test_keys_and_algorithm_are_the_bundles() -> None:
    issuer = "http://127.0.0.1:9000"
    with pytest.raises(NotForDevelopment, match="keys"):
        issuer_application(a_development(), an_index(issuer, jwks="http://127.0.0.1:9001/keys"), a_manifest())
    with pytest.raises(NotForDevelopment, match="RS256"):
        issuer_application(a_development(), an_index(issuer, algorithms=("ES256",)), a_manifest())

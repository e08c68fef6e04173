"""B1: tokens that are wrong in one way. Each is answered 401 with a challenge, nothing is called, nothing is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.world import ISSUER, MCP_URL
from tests.threats import wire
from tests.threats.forging import Forge, b64, part
from tests.threats.process import Attacked, serving

TOOL = "ioi_inventory_list_items"
PEM, DER = Encoding.PEM, Encoding.DER
SPKI, PKCS1 = PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1
Make = Callable[[Forge], str]


def now(seconds: int) -> int:
    return int(time.time()) + seconds


def header(**changes: Any) -> Make:
    return lambda forge: forge.signed({"alg": "RS256", "typ": "JWT", "kid": "k1"} | changes)


def claim(**changes: Any) -> Make:
    return lambda forge: forge.token(**changes)


def nested(forge: Forge) -> str:
    """A token whose content is a good token (RFC 7519, A.2)."""
    return forge.signed({"alg": "RS256", "typ": "JWT", "cty": "JWT", "kid": "k1"}, forge.token().encode())


def psychic(forge: Forge) -> str:
    """An ES256 signature of zeros, which broken verifiers take for anything."""
    return f"{part({'alg': 'ES256', 'typ': 'JWT', 'kid': 'e1'})}.{part(forge.claims())}.{b64(bytes(64))}"


def pss(forge: Forge) -> str:
    """A really signed token, by an algorithm that the bundle does not pin."""
    text = f"{part({'alg': 'PS256', 'typ': 'JWT', 'kid': 'k2'})}.{part(forge.claims())}"
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    return f"{text}.{b64(forge.key.sign(text.encode(), scheme, hashes.SHA256()))}"


def raw(header: bytes) -> Make:
    return lambda _: f"{b64(header)}.e30.c2ln"


def parts(change: Callable[[list[str]], str]) -> Make:
    return lambda forge: change(forge.token().split("."))


TOKENS: dict[str, Make] = {
    "wrong audience": claim(aud="https://other.example.test/mcp"),
    "missing audience": claim(aud=None),
    "empty audience": claim(aud=""),
    "empty list of audiences": claim(aud=[]),
    "audiences without ours": claim(aud=["account", "https://other.example.test/mcp"]),
    "audience that ours begins with": claim(aud=MCP_URL[:-1]),
    "audience that begins with ours": claim(aud=MCP_URL + "/x"),
    "audience with a slash": claim(aud=MCP_URL + "/"),
    "audience of another case": claim(aud=MCP_URL.upper()),
    "audience as an object": claim(aud={MCP_URL: True}),
    "audience as nested lists": claim(aud=[[MCP_URL]]),
    "audience beside a number": claim(aud=[MCP_URL, 1]),
    "audience is the client": claim(aud="claude"),
    "wrong issuer": claim(iss="https://evil.test"),
    "issuer with a slash": claim(iss=ISSUER + "/"),
    "issuer of another case": claim(iss=ISSUER.replace("realms", "Realms")),
    "issuer with a port": claim(iss=ISSUER.replace("example.test", "example.test:443")),
    "issuer that begins with ours": claim(iss=ISSUER + "2"),
    "issuer with a space": claim(iss=ISSUER + " "),
    "issuer with a line end": claim(iss=ISSUER + "\n"),
    "issuer as a list": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, f.claims(iss=[ISSUER])),
    "missing issuer": claim(iss=None),
    "expired": lambda f: f.token(exp=now(-31)),
    "expired long ago": claim(exp=1),
    "missing expiry": claim(exp=None),
    "expiry as text": claim(exp="9999999999"),
    "expiry beyond all numbers": claim(exp=10**400),
    "expiry below zero": claim(exp=-1),
    "expiry as a truth value": claim(exp=True),
    "expiry that is infinite": lambda f: f.signed(
        {"alg": "RS256", "kid": "k1"}, json.dumps(f.claims(exp=1e999)).encode()
    ),
    "issue time as text": lambda f: f.token(iat=str(now(0))),
    "not yet valid": lambda f: f.token(nbf=now(120)),
    "issued in the future": lambda f: f.token(iat=now(120)),
    "missing issue time": claim(iat=None),
    "missing subject": claim(sub=None),
    "empty subject": claim(sub=""),
    "subject as a number": claim(sub=7),
    "subject as a list": claim(sub=["parzival"]),
    "alg none": lambda f: f.unsigned("none"),
    "alg None": lambda f: f.unsigned("None"),
    "alg NONE": lambda f: f.unsigned("NONE"),
    "alg nOnE with a signature": lambda f: f.unsigned("nOnE", "c2ln"),
    "alg empty": lambda f: f.unsigned(""),
    "alg missing": lambda f: f"{part({'kid': 'k1'})}.{part(f.claims())}.c2ln",
    "alg as a list": lambda f: f.signed({"alg": ["RS256"], "kid": "k1"}),
    "alg of another case": lambda f: f.signed({"alg": "rs256", "kid": "k1"}),
    "alg with a space": lambda f: f.signed({"alg": "RS256 ", "kid": "k1"}),
    "HS256 with the public key as PEM": lambda f: f.hmac(f.public(PEM, SPKI)),
    "HS256 with the public key as PEM without its last line end": lambda f: f.hmac(f.public(PEM, SPKI).strip()),
    "HS256 with the public key as PKCS1 PEM": lambda f: f.hmac(f.public(PEM, PKCS1)),
    "HS256 with the public key as DER": lambda f: f.hmac(f.public(DER, SPKI)),
    "HS256 with the public key as PKCS1 DER": lambda f: f.hmac(f.public(DER, PKCS1)),
    "HS256 with the public key as JWK": lambda f: f.hmac(json.dumps(f.published("k1", f.key)).encode()),
    "HS256 with the modulus": lambda f: f.hmac(f.key.public_key().public_numbers().n.to_bytes(256, "big")),
    "HS384 with the public key as PEM": lambda f: f.hmac(f.public(PEM, SPKI), "HS384"),
    "HS512 with nothing": lambda f: f.hmac(b"", "HS512"),
    "HS256 with a published secret": lambda f: f.hmac(b"k" * 32, kid="oct"),
    "RS256 with the name of a secret": header(kid="oct"),
    "jku header": header(jku="http://127.0.0.1/jwks"),
    "x5u header": header(x5u="http://127.0.0.1/x5u"),
    "x5c header": header(x5c=["MIIB"]),
    "jwk header": lambda f: f.signed(
        {"alg": "RS256", "typ": "JWT", "kid": "k1", "jwk": f.published("k1", f.other)}, key=f.other
    ),
    "jwk header and no kid": lambda f: f.signed(
        {"alg": "RS256", "typ": "JWT", "jwk": f.published("k1", f.other)}, key=f.other
    ),
    "crit header": header(crit=["exp"]),
    "crit header with its extension": header(crit=["http://evil.test"], **{"http://evil.test": True}),
    "empty crit header": header(crit=[]),
    "b64 header": header(b64=False, crit=["b64"]),
    "b64 header without crit": header(b64=False),
    "zip header": header(zip="DEF"),
    "unknown kid": header(kid="k9"),
    "missing kid": lambda f: f.signed({"alg": "RS256", "typ": "JWT"}),
    "empty kid": header(kid=""),
    "kid as a number": header(kid=1),
    "kid as a path": header(kid="../../../../dev/null"),
    "kid as SQL": header(kid="x' UNION SELECT 'k"),
    "kid with a line end": header(kid="k1\n"),
    "kid with a NUL": header(kid="k1\0"),
    "kid as an address": header(kid="http://evil.test/k1"),
    "kid of a key to encrypt with": lambda f: f.signed({"alg": "RS256", "kid": "enc"}, key=f.other),
    "kid of a broken key": header(kid="broken"),
    "RS256 with an EC key": header(kid="e1"),
    "RS256 with an EC key without alg": header(kid="e2"),
    "ES256 with an RSA key": lambda f: jwt.encode(f.claims(), f.ec, algorithm="ES256", headers={"kid": "k1"}),
    "ES256 with an RSA key without alg": lambda f: jwt.encode(
        f.claims(), f.ec, algorithm="ES256", headers={"kid": "k2"}
    ),
    "ES256 of zeros": psychic,
    "PS256, which is not pinned": pss,
    "RS512, which is not pinned": lambda f: jwt.encode(f.claims(), f.key, algorithm="RS512", headers={"kid": "k2"}),
    "signed by another key": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, key=f.other),
    "signature cut": lambda f: f.token()[:-4],
    "signature missing": parts(lambda p: f"{p[0]}.{p[1]}."),
    "signature of another token": lambda f: ".".join([*f.token().split(".")[:2], f.token(sub="x").split(".")[2]]),
    "signature with characters that decoders skip": parts(lambda p: f"{p[0]}.{p[1]}.!{p[2]}"),
    "signature with padding": parts(lambda p: f"{p[0]}.{p[1]}.{p[2]}=="),
    "signature in the other base64": parts(lambda p: f"{p[0]}.{p[1]}.{p[2].translate(str.maketrans('-_', '+/'))}+"),
    "two parts": parts(lambda p: f"{p[0]}.{p[1]}"),
    "four parts": parts(lambda p: f"{'.'.join(p)}.x"),
    "five parts, as if it were encrypted": parts(lambda p: f"{'.'.join(p)}.x.y"),
    "dots only": lambda _: "..",
    "changed claims": lambda f: ".".join(
        [f.token().split(".")[0], part(f.claims(tenant="greg")), f.token().split(".")[2]]
    ),
    "nested token": nested,
    "claims as a list": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, b"[]"),
    "claims as text": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, b'"x"'),
    "claims as null": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, b"null"),
    "claims that are no JSON": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, b"\xff\xfe{}"),
    "claims nested deeply": lambda f: f.signed({"alg": "RS256", "kid": "k1"}, b"[" * 6000 + b"]" * 6000),
    "header nested deeply": raw(b"[" * 9000),
    "header with a huge number": raw(b'{"alg":' + b"1" * 5000 + b"}"),
    "header as a list": raw(b"[]"),
    "header with a lone surrogate": raw(b'{"alg":"RS256","kid":"\\ud800"}'),
    "ID token by claim": claim(typ="ID"),
    "ID token by audience": claim(aud="claude", typ="ID", nonce="n", at_hash="x"),
    "refresh token": claim(typ="Refresh"),
    "logout token": header(typ="logout+jwt"),
    "token of a DPoP proof": header(typ="dpop+jwt"),
    "typ as an object": header(typ={"JWT": 1}),
    "huge token": claim(padding="x" * 14_000),
    "token of 50,000 characters": claim(padding="x" * 37_000),
}


def presented(value: str) -> Callable[[Forge], list[tuple[str, str]]]:
    """`{}` in the value is a good token."""
    return lambda forge: [("Authorization", value.format(forge.token()))]


PRESENTED: dict[str, Callable[[Forge], list[tuple[str, str]]]] = {
    "two Authorization headers": lambda f: [("Authorization", f"Bearer {f.token()}")] * 2,
    "two Authorization headers, the second bad": lambda f: [
        ("Authorization", f"Bearer {f.token()}"),
        ("authorization", "Bearer x"),
    ],
    "two tokens in one header": presented("Bearer {0}, Bearer {0}"),
    "two tokens with a space": presented("Bearer {0} {0}"),
    "token with a comma": presented("Bearer {0},"),
    "token in quotes": presented('Bearer "{0}"'),
    "white space in the token": lambda f: [("Authorization", f"Bearer {f.token()[:40]} {f.token()[40:]}")],
    "tab in the token": lambda f: [("Authorization", f"Bearer {f.token()[:40]}\t{f.token()[40:]}")],
    "tab after the scheme": presented("Bearer\t{0}"),
    "no-break space after the scheme": presented("Bearer\xa0{0}"),
    "scheme missing": presented("{0}"),
    "scheme Basic": presented("Basic {0}"),
    "scheme DPoP": presented("DPoP {0}"),
    "scheme with a colon": presented("Bearer: {0}"),
    "scheme twice": presented("Bearer Bearer {0}"),
    "scheme alone": presented("Bearer"),
    "scheme and spaces": presented("Bearer    "),
    "token as a parameter": presented("Bearer token={0}"),
    "Proxy-Authorization": lambda f: [("Proxy-Authorization", f"Bearer {f.token()}")],
    "X-Authorization": lambda f: [("X-Authorization", f"Bearer {f.token()}")],
    "underscore for a hyphen": lambda f: [("X_Authorization", f"Bearer {f.token()}")],
    "cookie": lambda f: [("Cookie", f"access_token={f.token()}")],
    "characters outside ASCII": lambda f: [("Authorization", f"Bearer \xe9{f.token()}")],
}


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    forge = Forge()
    yield forge
    forge.server.close()


def settings_of(folder: Any, forge: Forge, backend: world.Recorder, **token: Any) -> tuple[Settings, dict[str, Any]]:
    tenants = world.catalogs(backend.url)
    index = world.index(forge.jwks_url, tenants)
    rules = index.token.model_copy(update={"algorithms": ["RS256", "ES256"], **token})
    written = world.write_bundle(folder / "bundle", index.model_copy(update={"token": rules}), tenants)
    return Settings(bundle=written, port=0, audit=folder / "state" / "audit.jsonl"), tenants


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, forge: Forge, backend: world.Recorder) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("tokens")
    settings, tenants = settings_of(folder, forge, backend)
    with serving(settings, forge, backend, tenants, folder / "process") as made:
        yield made
        assert "Traceback" not in made.printed()


def refused(served: Attacked, data: bytes, secret: str) -> wire.Answer:
    lines = len(served.audit_lines()) if served.audit.exists() else 0
    with served.recording() as got:
        answer = wire.asked(served.address, data)
    assert answer.status == 401
    challenge = answer.header("www-authenticate") or ""
    assert challenge.startswith("Bearer ")
    assert 'resource_metadata="https://mcp.example.test/.well-known/oauth-protected-resource/mcp"' in challenge
    assert f'scope="{bundle.MCP_SCOPE}"' in challenge
    assert answer.header("cache-control") == "private, no-store"
    assert got == []
    [line] = served.audit_lines()[lines:]
    assert (line["decision"], line["subject"], line["tenant"]) == ("refused", None, None)
    assert secret not in served.audit.read_text() + served.printed() + str(answer)
    return answer


@pytest.mark.parametrize("attack", TOKENS)
def test_token(served: Attacked, forge: Forge, attack: str) -> None:
    token = TOKENS[attack](forge)
    answer = refused(served, wire.call(token, TOOL), token[-40:])
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")


@pytest.mark.parametrize("attack", PRESENTED)
def test_token_presented_as(served: Attacked, forge: Forge, attack: str) -> None:
    given = PRESENTED[attack](forge)
    body = wire.message("tools/call", {"name": TOOL, "arguments": {}})
    refused(served, wire.request([*wire.fields("tools/call", None, name=TOOL), *given], body), "xxxxxxxx")


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("key", ["access_token", "token", "authorization", "Authorization", "bearer"])
def test_token_in_the_query_or_a_form(served: Attacked, forge: Forge, key: str, era: str) -> None:
    token = forge.token()
    body = wire.message("tools/call", {"name": TOOL, "arguments": {}}, era=era)
    line = f"POST /mcp?{key}={token} HTTP/1.1"
    refused(served, wire.request(wire.fields("tools/call", None, era=era, name=TOOL), body, line=line), token)
    form = f"{key}={token}".encode()
    fields = [(n, v if n != "Content-Type" else "application/x-www-form-urlencoded") for n, v in wire.fields("", None)]
    refused(served, wire.request(fields, form), token)


def test_token_in_a_trailer_or_a_folded_line_is_none(served: Attacked, forge: Forge) -> None:
    token, body = forge.token(), wire.message("tools/list", {})
    chunks = b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(body), body, token.encode())
    fields = [*wire.fields("tools/list", None), ("Transfer-Encoding", "chunked"), ("Trailer", "Authorization")]
    refused(served, wire.request(fields, chunks, length=False), token)
    folded = wire.listing(token).replace(b"Bearer ", b"Bearer\r\n ")
    assert wire.asked(served.address, folded).status == 400


@pytest.mark.parametrize("kid", ["k1", "k2"])
def test_good_tokens_of_each_key_are_taken_so_that_a_refusal_means_something(
    served: Attacked, forge: Forge, kid: str
) -> None:
    tokens = [
        forge.token(headers={"kid": kid}),
        jwt.encode(forge.claims(), forge.ec, algorithm="ES256", headers={"kid": kid.replace("k", "e")}),
        forge.token(aud=["account", MCP_URL]),
    ]
    for token in tokens:
        for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
            fields = [*wire.fields("tools/list", None), ("Authorization", f"{scheme} {token}")]
            answer = wire.asked(served.address, wire.request(fields, wire.message("tools/list", {})))
            assert answer.status == 200


def test_flood_of_unknown_kids_causes_one_fetch_in_the_pause_and_hurts_nobody(
    tmp_path: Any, backend: world.Recorder
) -> None:
    forge = Forge()
    settings, tenants = settings_of(tmp_path, forge, backend)
    with serving(settings, forge, backend, tenants, tmp_path / "process") as served:
        good = wire.listing(forge.token())
        assert wire.asked(served.address, good).status == 200
        began, fetched = time.monotonic(), len(forge.server.requests)
        bad = [wire.listing(forge.signed({"alg": "RS256", "kid": f"k{n}"})) for n in range(1000, 1200)]
        statuses: list[int] = []
        stop = threading.Event()

        def well_behaved() -> None:
            while not stop.is_set():
                statuses.append(wire.asked(served.address, good).status)

        beside = threading.Thread(target=well_behaved)
        beside.start()
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda data: wire.asked(served.address, data).status, bad * 2))
        stop.set()
        beside.join()
        seconds = time.monotonic() - began
        assert set(answers) == {401}
        assert set(statuses) == {200}
        assert len(statuses) > 5
        assert len(forge.server.requests) - fetched <= 1 + seconds / 10
    forge.server.close()


JWKS: dict[str, Any] = {
    "no keys": {"keys": []},
    "a list": [],
    "a secret only": {"keys": [{"kty": "oct", "kid": "k1", "k": "a2V5", "alg": "HS256"}]},
    "the wrong use": {"keys": [{"kty": "RSA", "kid": "k1", "use": "enc", "n": "AQAB", "e": "AQAB"}]},
    "256 kilobytes and more": {"keys": [], "x": "x" * 300_000},
}


@pytest.mark.parametrize("jwks", [*JWKS, "a redirect", "an error", "nobody there"])
def test_keys_that_cannot_be_had_refuse_everybody(jwks: str, tmp_path: Any, backend: world.Recorder) -> None:
    forge = Forge()
    paths = {"a redirect": "/redirect", "an error": "/crash"}
    address = forge.server.url + paths.get(jwks, "/jwks") if jwks != "nobody there" else "http://127.0.0.1:9/jwks"
    if jwks in JWKS:
        forge.server.documents["/jwks"] = JWKS[jwks]
    settings, tenants = settings_of(tmp_path, forge, backend, jwks_url=address)
    with serving(settings, forge, backend, tenants, tmp_path / "process") as served:
        for token in (forge.token(), forge.hmac(b"key"), forge.unsigned("none")):
            with served.recording() as got:
                assert wire.asked(served.address, wire.call(token, TOOL)).status in (401, 503)
            assert got == []
        assert "Traceback" not in served.printed()
    forge.server.close()

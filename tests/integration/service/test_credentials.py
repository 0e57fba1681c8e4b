"""Which notifications are believed: every policy, every token, every signature."""

import base64
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import redis
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.integration.service.conftest import (
    BODY,
    SECRET,
    Issuer,
    Refuse,
    Start,
    borne,
    segment,
    signed,
)
from workers.contract.keyspace import Keyspace
from workers.contract.settings import Secret
from workers.contract.signing import sign

BEARER = "Bearer"
INVALID_TOKEN = 'Bearer error="invalid_token"'
SIGNATURE = 'Signature header="x-hmac-signature"'
GOOD_SIGNATURE = sign(BODY, Secret(SECRET))
WRONG_SIGNATURE = "sha256=" + "0" * 64

Mint = Callable[[Issuer], str]


def challenges(answer: httpx2.Response) -> list[str]:
    """Give the lines of ``WWW-Authenticate``."""
    return answer.headers.get_list("www-authenticate")


def believing(issuer: Issuer, policy: str = "bearer", **more: str) -> dict[str, str]:
    """Give the settings of a tenant that trusts the issuer."""
    return {"webhook_auth": policy, "webhook_issuer": issuer.url, **more}


def now_s() -> int:
    """Give the time, whole seconds."""
    return int(time.time())


# --- tokens -------------------------------------------------------------------------------------

GOOD_TOKENS: dict[str, Mint] = {
    "webhooks": lambda i: i.mint(),
    "all": lambda i: i.mint(scope="api/all"),
    "several scopes": lambda i: i.mint(scope="api/read  api/webhooks"),
    "scp list": lambda i: i.mint(scope=None, scp=["api/webhooks"]),
    "scp text": lambda i: i.mint(scope=None, scp="api/read api/webhooks"),
    "azp": lambda i: i.mint(client_id=None, azp="client-1"),
    "no token_use": lambda i: i.mint(token_use=None),
    "expired within the leeway": lambda i: i.mint(exp=now_s() - 25),
    "fraction": lambda i: i.mint(exp=now_s() + 60.5),
    "valid in a moment": lambda i: i.mint(nbf=now_s() + 25),
    "for some audience": lambda i: i.mint(aud="whoever"),
    "unknown claims": lambda i: i.mint(custom={"a": 1}),
    "unknown header": lambda i: i.mint({"x": "y", "jku": "https://example.com/keys"}),
    "no key id, one key": lambda i: i.mint({"kid": None}),
    "access token type": lambda i: i.mint({"typ": "at+jwt"}),
}


@pytest.mark.parametrize("mint", GOOD_TOKENS.values(), ids=GOOD_TOKENS)
def test_good_token_is_accepted(start: Start, issuer: Issuer, mint: Mint) -> None:
    """A token of the issuer, in force, for a client we accept, is believed."""
    site = start(**believing(issuer, webhook_client_ids="client-0, client-1"))
    answer = site.notify(BODY, borne(mint(issuer)))
    assert answer.status_code == 202, answer.text


def edited(token: str, part: int, change: Callable[[str], str]) -> str:
    """Give a token with one of its three parts changed."""
    parts = token.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


def with_hmac(issuer: Issuer, algorithm: str = "HS256") -> str:
    """Give a token signed with the public key as if it were a shared secret."""
    secret = OctKey.import_key(issuer.key.as_pem(private=False).replace(b"-----", b""))
    header = {"alg": algorithm, "kid": "one"}
    return jwt.encode(header, issuer.claims(), secret, algorithms=[algorithm])


def with_embedded_key(issuer: Issuer) -> str:
    """Give a token that brings the key that verifies it."""
    return issuer.mint({"jwk": issuer.other.as_dict(private=False)}, key=issuer.other)


def unsigned(issuer: Issuer, header: object = None) -> str:
    """Give a token without a signature."""
    stated = {"alg": "none"} if header is None else header
    assert isinstance(stated, (dict, bytes))
    return f"{segment(stated)}.{segment(issuer.claims())}."


BAD_TOKENS: dict[str, Mint] = {
    "nothing": lambda _: "",
    "garbage": lambda _: "garbage",
    "two parts": lambda _: "a.b",
    "three letters": lambda _: "a.b.c",
    "two dots": lambda _: "..",
    "four parts": lambda i: i.mint() + ".x",
    "space within": lambda i: i.mint().replace(".", " ", 1),
    "comma": lambda i: i.mint() + "," + i.mint(),
    "quotes": lambda i: f'"{i.mint()}"',
    "padding": lambda i: i.mint() + "==",
    "too long": lambda i: i.mint(custom="x" * 8192),
    "header not base64": lambda i: edited(i.mint(), 0, lambda p: p + "~"),
    "header not JSON": lambda i: i.mint(b"{"),
    "header not UTF-8": lambda i: i.mint(b'{"alg":"\xff"}'),
    "header a list": lambda i: i.mint(b'["alg"]'),
    "header a text": lambda i: i.mint(b'"alg"'),
    "header a number": lambda i: i.mint(b"1"),
    "header null": lambda i: i.mint(b"null"),
    "header deep": lambda i: i.mint(b"[" * 5000),
    "header deep object": lambda i: i.mint(b'{"alg":"RS256","x":' + b"[" * 4000),
    "payload not JSON": lambda i: i.mint(payload=b"{"),
    "payload a list": lambda i: i.mint(payload=b"[]"),
    "payload deep": lambda i: i.mint(payload=b'{"a":' + b"[" * 4000),
    "payload empty": lambda i: i.mint(payload=b""),
    "alg none": unsigned,
    "alg None": lambda i: unsigned(i, {"alg": "None", "kid": "one"}),
    "alg none, signed": lambda i: i.mint({"alg": "none"}),
    "alg missing": lambda i: i.mint({"alg": None}),
    "alg a list": lambda i: i.mint({"alg": ["RS256"]}),
    "alg null": lambda i: i.mint(b'{"alg":null}'),
    "alg HS256": with_hmac,
    "alg HS512": lambda i: with_hmac(i, "HS512"),
    "alg RS512": lambda i: jwt.encode(
        {"alg": "RS512", "kid": "one"}, i.claims(), i.key, algorithms=["RS512"]
    ),
    "alg PS256": lambda i: jwt.encode(
        {"alg": "PS256", "kid": "one"}, i.claims(), i.key, algorithms=["PS256"]
    ),
    "alg lower case": lambda i: i.mint({"alg": "rs256"}),
    "crit": lambda i: i.mint({"crit": ["exp"], "exp": 1}),
    "b64": lambda i: i.mint({"crit": ["b64"], "b64": False}),
    "key id a number": lambda i: i.mint({"kid": 1}),
    "key id unknown": lambda i: i.mint({"kid": "unknown"}),
    "key id empty": lambda i: i.mint({"kid": ""}),
    "key of its own": with_embedded_key,
    "signed by another": lambda i: i.mint(key=i.other),
    "signature cut": lambda i: i.mint()[:-4],
    "signature empty": lambda i: edited(i.mint(), 2, lambda _: ""),
    "signature turned": lambda i: edited(i.mint(), 2, lambda p: p[::-1]),
    "payload exchanged": lambda i: edited(
        i.mint(), 1, lambda _: segment(i.claims(scope="api/all"))
    ),
    "other issuer": lambda i: i.mint(iss="https://example.com"),
    "issuer with a slash": lambda i: i.mint(iss=i.url + "/"),
    "issuer in capitals": lambda i: i.mint(iss=i.url.upper()),
    "issuer a list": lambda i: i.mint(iss=[i.url]),
    "no issuer": lambda i: i.mint(iss=None),
    "expired": lambda i: i.mint(exp=now_s() - 31),
    "no expiry": lambda i: i.mint(exp=None),
    "expiry a text": lambda i: i.mint(exp=str(now_s() + 60)),
    "expiry true": lambda i: i.mint(exp=True),
    "expiry NaN": lambda i: i.mint(exp=float("nan")),
    "expiry infinite": lambda i: i.mint(exp=float("inf")),
    "not yet valid": lambda i: i.mint(nbf=now_s() + 90),
    "not before a text": lambda i: i.mint(nbf="0"),
    "id token": lambda i: i.mint(token_use="id"),
    "other client": lambda i: i.mint(client_id="client-2"),
    "no client": lambda i: i.mint(client_id=None),
    "client a list": lambda i: i.mint(client_id=["client-1"]),
    "client told by azp alone": lambda i: i.mint(client_id="client-2", azp="client-1"),
    "scope a list": lambda i: i.mint(scope=["api/webhooks"]),
}


@pytest.mark.parametrize("mint", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_token_is_refused(start: Start, issuer: Issuer, refused: Refuse, mint: Mint) -> None:
    """Whatever is wrong with a token, the answer is one and the same, and repeats none of it."""
    site = start(**believing(issuer, webhook_client_ids="client-1"))
    token = mint(issuer)
    answer = site.notify(BODY, borne(token))
    refused(answer, 401, "invalid_token", never=(token,) if len(token) > 10 else ())
    assert challenges(answer) == [INVALID_TOKEN]


@pytest.mark.parametrize("header", ["Bearer \xff\xfe", "Bearer \x80.\x80.\x80"])
def test_token_of_other_bytes_is_refused(
    start: Start, issuer: Issuer, refused: Refuse, header: str
) -> None:
    """A header need not even be text."""
    site = start(**believing(issuer))
    sent = [(b"content-type", b"application/json"), (b"authorization", header.encode("latin-1"))]
    answer = site.client.post("/webhooks/acme", content=BODY, headers=sent)
    refused(answer, 401, "invalid_token")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_scheme_is_not_case_sensitive(start: Start, issuer: Issuer, scheme: str) -> None:
    """The scheme's name is matched as RFC 9110 says."""
    site = start(**believing(issuer))
    headers = borne("") | {"authorization": f"{scheme} {issuer.mint()}"}
    assert site.notify(BODY, headers).status_code == 202


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNzd29yZA==", "Digest x", "Bearer_x", ""])
def test_other_scheme_counts_as_no_credentials(
    start: Start, issuer: Issuer, refused: Refuse, header: str
) -> None:
    """Who uses another method is told the right one, without an error code (RFC 6750, 3.1)."""
    site = start(**believing(issuer))
    answer = site.notify(BODY, borne("") | {"authorization": header})
    refused(answer, 401, "unauthenticated", never=("dXNlcjpwYXNzd29yZA",))
    assert challenges(answer) == [BEARER]


def test_two_tokens_are_refused(start: Start, issuer: Issuer, refused: Refuse) -> None:
    """Two headers are not one good one."""
    site = start(**believing(issuer))
    good = ("authorization", f"Bearer {issuer.mint()}")
    headers = [("content-type", "application/json"), good, good]
    answer = site.client.post("/webhooks/acme", content=BODY, headers=headers)
    refused(answer, 401, "invalid_token")


def test_token_in_the_address_is_no_credential(
    start: Start, issuer: Issuer, refused: Refuse
) -> None:
    """A token is taken from the header alone."""
    site = start(**believing(issuer))
    answer = site.client.post(
        f"/webhooks/acme?access_token={issuer.mint()}",
        content=BODY,
        headers={"content-type": "application/json"},
    )
    refused(answer, 401, "unauthenticated")


@pytest.mark.parametrize("audience", ["cpdfeed", ["other", "cpdfeed"]])
def test_required_audience_is_accepted(start: Start, issuer: Issuer, audience: object) -> None:
    """A token for our audience, alone or among others, is believed."""
    site = start(**believing(issuer, webhook_audience="cpdfeed"))
    assert site.notify(BODY, borne(issuer.mint(aud=audience))).status_code == 202


@pytest.mark.parametrize("audience", ["cpdfeed2", "cpd", ["other"], [], None, {"cpdfeed": 1}])
def test_other_audience_is_refused(
    start: Start, issuer: Issuer, refused: Refuse, audience: object
) -> None:
    """A token for somebody else, or for nobody, is not."""
    site = start(**believing(issuer, webhook_audience="cpdfeed"))
    refused(site.notify(BODY, borne(issuer.mint(aud=audience))), 401, "invalid_token")


@pytest.mark.parametrize(
    "scope", ["api/read", "", None, "api/webhooks2", "webhooks", "api/read,api/webhooks"]
)
def test_token_without_the_scope_is_refused(
    start: Start, issuer: Issuer, refused: Refuse, scope: str | None
) -> None:
    """A good token that may not notify is told which scope it needs."""
    site = start(**believing(issuer))
    answer = site.notify(BODY, borne(issuer.mint(scope=scope)))
    refused(answer, 403, "insufficient_scope")
    assert challenges(answer) == ['Bearer error="insufficient_scope", scope="api/webhooks"']


# --- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rotated", ["test-secret,new-secret", "old-secret, test-secret"])
def test_any_secret_in_rotation_is_accepted(start: Start, rotated: str) -> None:
    """While secrets are rotated, each of them verifies."""
    assert start(webhook_secrets=rotated).notify().status_code == 202


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(WRONG_SIGNATURE, id="wrong"),
        pytest.param("", id="empty"),
        pytest.param("sha256=", id="no digits"),
        pytest.param(GOOD_SIGNATURE.removeprefix("sha256="), id="no scheme"),
        pytest.param(GOOD_SIGNATURE.upper(), id="capitals"),
        pytest.param(GOOD_SIGNATURE[:-1], id="cut"),
        pytest.param(GOOD_SIGNATURE + "0", id="longer"),
        pytest.param(GOOD_SIGNATURE.replace("sha256", "sha1"), id="other scheme"),
        pytest.param(f"{WRONG_SIGNATURE},{GOOD_SIGNATURE}", id="two in one"),
        pytest.param(sign(BODY + b" ", Secret(SECRET)), id="of another body"),
        pytest.param(sign(BODY, Secret("other")), id="by another secret"),
        pytest.param(sign(BODY, Secret("")), id="by no secret"),
        pytest.param(
            "sha256=" + base64.b64encode(bytes.fromhex(GOOD_SIGNATURE[7:])).decode(), id="base64"
        ),
        pytest.param("\xe9", id="not ASCII"),
    ],
)
def test_wrong_signature_is_refused(start: Start, refused: Refuse, signature: str) -> None:
    """Anything but the lower-case hex HMAC behind ``sha256=`` is refused, all in one way."""
    headers = [
        (b"content-type", b"application/json"),
        (b"x-hmac-signature", signature.encode("latin-1")),
    ]
    answer = start().client.post("/webhooks/acme", content=BODY, headers=headers)
    refused(answer, 401, "invalid_signature", never=(GOOD_SIGNATURE[7:],))
    assert challenges(answer) == [SIGNATURE]


def test_missing_signature_is_refused(start: Start, refused: Refuse) -> None:
    """Without a signature there is nothing to believe."""
    answer = start().notify(BODY, {"content-type": "application/json"})
    refused(answer, 401, "unauthenticated")
    assert challenges(answer) == [SIGNATURE]


def test_two_signatures_are_refused(start: Start, refused: Refuse) -> None:
    """Two headers are not one good one."""
    good = ("x-hmac-signature", GOOD_SIGNATURE)
    headers = [("content-type", "application/json"), good, good]
    answer = start().client.post("/webhooks/acme", content=BODY, headers=headers)
    refused(answer, 401, "invalid_signature")


# --- policies -----------------------------------------------------------------------------------

SIGNATURES = {"none": None, "good": GOOD_SIGNATURE, "bad": WRONG_SIGNATURE}


def send(
    start: Start, issuer: Issuer, policy: str, token: str, signature: str
) -> tuple[httpx2.Response, str]:
    """Notify with some credentials; give the answer and the token that was sent."""
    minted = {"good": issuer.mint(), "weak": issuer.mint(scope="api/read"), "bad": "x.y.z"}
    headers = {"content-type": "application/json"}
    if token != "none":
        headers["authorization"] = f"Bearer {minted[token]}"
    if signature != "none":
        headers["x-hmac-signature"] = SIGNATURES[signature] or ""
    site = start(**believing(issuer, policy))
    return site.notify(BODY, headers), minted.get(token, "-")


@pytest.mark.parametrize(
    ("policy", "token", "signature"),
    [
        ("bearer", "good", "none"),
        ("bearer", "good", "bad"),
        ("signature", "none", "good"),
        ("signature", "bad", "good"),
        ("signature", "weak", "good"),
        ("both", "good", "good"),
        ("either", "good", "none"),
        ("either", "none", "good"),
        ("either", "good", "good"),
    ],
)
def test_policy_accepts(
    start: Start, issuer: Issuer, policy: str, token: str, signature: str
) -> None:
    """What a policy asks for is enough, and what it does not look at does no harm."""
    answer, _ = send(start, issuer, policy, token, signature)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("policy", "token", "signature", "reason", "challenged"),
    [
        ("bearer", "none", "none", "unauthenticated", [BEARER]),
        ("bearer", "none", "good", "unauthenticated", [BEARER]),
        ("bearer", "bad", "good", "invalid_token", [INVALID_TOKEN]),
        ("signature", "none", "none", "unauthenticated", [SIGNATURE]),
        ("signature", "good", "none", "unauthenticated", [SIGNATURE]),
        ("signature", "good", "bad", "invalid_signature", [SIGNATURE]),
        ("both", "none", "none", "unauthenticated", [BEARER, SIGNATURE]),
        ("both", "good", "none", "unauthenticated", [SIGNATURE]),
        ("both", "none", "good", "unauthenticated", [BEARER]),
        ("both", "bad", "good", "invalid_token", [INVALID_TOKEN]),
        ("both", "good", "bad", "invalid_signature", [SIGNATURE]),
        ("both", "bad", "bad", "invalid_token", [INVALID_TOKEN, SIGNATURE]),
        ("both", "none", "bad", "invalid_signature", [BEARER, SIGNATURE]),
        ("both", "bad", "none", "invalid_token", [INVALID_TOKEN, SIGNATURE]),
        ("both", "weak", "bad", "invalid_signature", [SIGNATURE]),
        ("either", "none", "none", "unauthenticated", [BEARER, SIGNATURE]),
        ("either", "bad", "none", "invalid_token", [INVALID_TOKEN, SIGNATURE]),
        ("either", "none", "bad", "invalid_signature", [BEARER, SIGNATURE]),
        ("either", "bad", "good", "invalid_token", [INVALID_TOKEN]),
        ("either", "good", "bad", "invalid_signature", [SIGNATURE]),
        ("either", "bad", "bad", "invalid_token", [INVALID_TOKEN, SIGNATURE]),
    ],
)
def test_policy_refuses(
    start: Start,
    issuer: Issuer,
    refused: Refuse,
    policy: str,
    token: str,
    signature: str,
    reason: str,
    challenged: list[str],
) -> None:
    """What is missing or wrong is asked for, each in a header line of its own."""
    answer, sent = send(start, issuer, policy, token, signature)
    refused(answer, 401, reason, never=(sent,) if len(sent) > 10 else ())
    assert challenges(answer) == challenged


@pytest.mark.parametrize(
    ("policy", "signature"),
    [
        ("bearer", "none"),
        ("both", "good"),
        ("either", "none"),
        ("either", "good"),
    ],
)
def test_policy_needs_the_scope(
    start: Start, issuer: Issuer, refused: Refuse, policy: str, signature: str
) -> None:
    """A good token without the scope spoils even a good signature, where tokens are looked at."""
    answer, _ = send(start, issuer, policy, "weak", signature)
    refused(answer, 403, "insufficient_scope")


def test_either_refuses_another_scheme_beside_a_signature(
    start: Start, issuer: Issuer, refused: Refuse
) -> None:
    """Every credential that is presented must be good, even of a kind we do not take."""
    site = start(**believing(issuer, "either"))
    answer = site.notify(BODY, signed(BODY) | {"authorization": "Basic dXNlcjpwYXNz"})
    refused(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    ("token", "signature", "via"),
    [("good", "none", "bearer"), ("none", "good", "signature"), ("good", "good", "both")],
)
def test_inbox_says_by_what_it_was_believed(
    start: Start,
    issuer: Issuer,
    store: redis.Redis,
    keys: Keyspace,
    token: str,
    signature: str,
    via: str,
) -> None:
    """The inbox keeps which kind of credentials a notification bore."""
    send(start, issuer, "either", token, signature)
    entries: Any = store.xrange(keys.inbox)
    assert [fields[b"via"] for _, fields in entries] == [via.encode()]

"""A notification's signature is the platform's own."""

import pytest

from workers.contract.settings import Secret
from workers.contract.signing import HEADER, sign, verify

BODY = (
    b'{"eventType":"user.activated","tenantId":"acme-corp","user":{"id":"usr_abc123",'
    b'"reference":"EMP-00042","firstName":"Jane","lastName":"Smith",'
    b'"email":"jane.smith@acme.com","status":"active","role":"learner"},'
    b'"createdAt":"2024-03-15T10:30:00.000Z","dispatchedAt":"2024-03-15T10:30:01.234Z"}'
)
SECRET = Secret("test-secret")
SIGNATURE = "sha256=0cba79384557ec24a5e346ab88340f93dd2ca000b792e6d47832a0e06fa3b320"


def test_vector_is_pinned() -> None:
    """The published body and secret give the published signature."""
    assert len(BODY) == 288
    assert sign(BODY, SECRET) == SIGNATURE
    assert HEADER == "x-hmac-signature"


def test_vector_is_accepted() -> None:
    """The published signature is accepted, also with another secret in use."""
    assert verify(BODY, SIGNATURE, [SECRET])
    assert verify(BODY, SIGNATURE, [Secret("newer"), SECRET])


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        SIGNATURE.removeprefix("sha256="),
        SIGNATURE.upper(),
        SIGNATURE[:-1],
        SIGNATURE + "0",
        SIGNATURE + " ",
        SIGNATURE.replace("sha256", "sha1"),
        f"{SIGNATURE},{SIGNATURE}",
    ],
)
def test_near_misses_are_refused(signature: str) -> None:
    """What is not exactly the signature is refused."""
    assert not verify(BODY, signature, [SECRET])


def test_changed_body_is_refused() -> None:
    """One byte more, and the signature holds no longer."""
    assert not verify(BODY + b"\n", SIGNATURE, [SECRET])


def test_other_secret_is_refused() -> None:
    """A signature made with another secret is refused."""
    assert not verify(BODY, SIGNATURE, [Secret("test-secret "), Secret("")])

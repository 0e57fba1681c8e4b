"""A signature is accepted exactly where one of the secrets made it."""

from hypothesis import example, given
from hypothesis import strategies as st

from workers.contract.settings import Secret
from workers.contract.signing import sign, verify

secrets = st.text(min_size=1).map(Secret)


@given(st.binary(), secrets, st.lists(secrets), st.lists(secrets))
def test_verify_accepts_what_sign_made(
    body: bytes, secret: Secret, before: list[Secret], after: list[Secret]
) -> None:
    """A signature is accepted wherever its secret stands among those in use."""
    assert verify(body, sign(body, secret), [*before, secret, *after])


@given(st.binary(), secrets, st.text(st.characters()))
@example(b"", Secret("s"), "sha256=é")
@example(b"", Secret("s"), "sha256=\udcff")
@example(b"", Secret("s"), "sha256=\ud800")
def test_verify_refuses_any_other_text(body: bytes, secret: Secret, text: str) -> None:
    """Any other text is refused, without an exception."""
    assert verify(body, text, [secret]) == (text == sign(body, secret))


@given(st.binary(), st.binary(), secrets)
def test_verify_refuses_another_body(body: bytes, other: bytes, secret: Secret) -> None:
    """The signature of one body opens no other."""
    assert verify(other, sign(body, secret), [secret]) == (other == body)


@given(st.binary(), secrets)
def test_verify_refuses_without_secrets(body: bytes, secret: Secret) -> None:
    """Where no secret is in use nothing is accepted."""
    assert not verify(body, sign(body, secret), [])

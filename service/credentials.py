"""Believe a notification, or not: bearer token, signature, and the tenant's policy about both."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from service.callers import bearer_token, insufficient_scope
from service.inbox import Via
from service.tokens import TokenVerifier
from workers.contract import signing
from workers.contract.errors import Unauthenticated
from workers.contract.settings import Tenant

SCOPE: Final = "api/webhooks"
_SCOPES: Final = frozenset({SCOPE, "api/all"})
"""Either will do. Source: *Query CPD requirements*, section OAuth."""


class _Outcome(Enum):
    ABSENT = auto()
    WRONG = auto()
    GOOD = auto()


class _Check(NamedTuple):
    """What became of one credential, and how to answer if it is not good."""

    outcome: _Outcome
    challenge: str
    reason: str = Unauthenticated.reason
    scopes: frozenset[str] = frozenset()


class NotificationVerifier:
    """Verifies the credentials of one tenant's notifications."""

    def __init__(self, tenant: Tenant, tokens: TokenVerifier) -> None:
        self._policy = tenant.webhook_auth
        self._secrets = tenant.webhook_secrets
        self._tokens = tokens

    async def verify(
        self, body: bytes, authorization: Sequence[str], signatures: Sequence[str]
    ) -> Via:
        """Give what the notification was believed by.

        Args:
            body: The raw bytes that arrived.
            authorization: Values of the ``Authorization`` headers.
            signatures: Values of the ``x-hmac-signature`` headers.

        Raises:
            Unauthenticated: The credentials are missing or wrong, by the tenant's policy.
            Forbidden: The token is good and lacks the scope.
            TemporarilyUnavailable: The token cannot be verified now.
        """
        checks: dict[Via, _Check] = {}
        if self._policy != "signature":
            checks["bearer"] = await self._check_token(authorization)
        if self._policy != "bearer":
            checks["signature"] = self._check_signature(body, signatures)
        good: list[Via] = [via for via, check in checks.items() if check.outcome is _Outcome.GOOD]
        if not good or (len(good) < len(checks) and not self._is_enough(checks)):
            raise _refusal(checks)
        if "bearer" in good and not _SCOPES & checks["bearer"].scopes:
            raise insufficient_scope(SCOPE)
        return "both" if len(good) > 1 else good[0]

    def _is_enough(self, checks: dict[Via, _Check]) -> bool:
        """Tell whether one good credential is enough: the other was not presented at all."""
        wrong = any(check.outcome is _Outcome.WRONG for check in checks.values())
        return self._policy == "either" and not wrong

    async def _check_token(self, authorization: Sequence[str]) -> _Check:
        if not authorization:
            return _Check(_Outcome.ABSENT, "Bearer")
        try:
            token = bearer_token(authorization)
            if token is None:  # another scheme; RFC 6750, section 3.1: no error code then
                return _Check(_Outcome.WRONG, "Bearer")
            grant = await self._tokens.verify(token)
        except Unauthenticated as error:
            return _Check(_Outcome.WRONG, error.challenges[0], error.problem)
        return _Check(_Outcome.GOOD, "Bearer", scopes=grant.scopes)

    def _check_signature(self, body: bytes, signatures: Sequence[str]) -> _Check:
        challenge = f'Signature header="{signing.HEADER}"'
        if not signatures:
            return _Check(_Outcome.ABSENT, challenge)
        if len(signatures) == 1 and signing.verify(body, signatures[0], self._secrets):
            return _Check(_Outcome.GOOD, challenge)
        return _Check(_Outcome.WRONG, challenge, "invalid_signature")


def _refusal(checks: dict[Via, _Check]) -> Unauthenticated:
    """Challenge for every credential that is not good; a wrong one names the reason."""
    failed = [check for check in checks.values() if check.outcome is not _Outcome.GOOD]
    wrong = [check.reason for check in failed if check.outcome is _Outcome.WRONG]
    return Unauthenticated(
        "The notification's credentials are missing or wrong.",
        reason=wrong[0] if wrong else Unauthenticated.reason,
        challenges=[check.challenge for check in failed],
    )

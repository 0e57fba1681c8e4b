"""Sign and verify the raw body of a notification, the platform's way.

``x-hmac-signature: sha256=<lower-case hex>`` = HMAC-SHA256 over the raw body.
Source: the platform's webhook documentation, *Verifying webhooks*.
"""

import hmac
from collections.abc import Iterable
from typing import Final

from workers.contract.settings import Secret

HEADER: Final = "x-hmac-signature"
_SCHEME: Final = "sha256="


def sign(body: bytes, secret: Secret) -> str:
    """Give the header's value for a body."""
    return _SCHEME + hmac.new(secret.reveal().encode(), body, "sha256").hexdigest()


def verify(body: bytes, signature: str, secrets: Iterable[Secret]) -> bool:
    """Tell, in constant time, whether a signature was made with any of the secrets.

    Every secret is tried, so the time taken tells neither which one matched nor how far.
    """
    given = signature.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(sign(body, secret).encode(), given) for secret in secrets]
    return any(matches)

"""Name everything that can go wrong, once.

The tree::

    CpdfeedError
    ├── SettingsError          the process cannot start as configured
    ├── StoreUnavailable       Redis is away, or refuses to write
    ├── SchemaUnknown          Redis holds data of a version this code does not know
    ├── UpstreamError
    │   ├── UpstreamUnavailable    no answer, 5xx, or not an answer of the platform
    │   ├── UpstreamThrottled      429, or the budget is spent: come back later
    │   └── UpstreamRefused        the platform understood and said no
    ├── CommitConflict         another worker's lease or commit came first
    └── RequestRefused         a caller asked for what cannot be given
        ├── BadRequest         malformed: 400
        ├── Unauthenticated    no credentials, or wrong ones: 401
        ├── Forbidden          valid credentials that do not open this: 403
        ├── NotFound           404
        ├── Gone               the cursor's place no longer exists: 410
        ├── BodyTooLarge       413
        ├── UnsupportedMedia   415
        ├── InboxFull          too much is pending: 429
        └── TemporarilyUnavailable  a part we need is away: 503

``reason`` is stable: it stands in logs, metrics and the ``type`` of a problem. Messages never
repeat what a caller sent, and never hold a secret.
"""

from collections.abc import Sequence
from typing import ClassVar


class CpdfeedError(Exception):
    """Something failed in a way this project knows."""

    reason: ClassVar[str] = "internal"
    transient: ClassVar[bool] = False


class SettingsError(CpdfeedError):
    """The settings are wrong or incomplete; every fault is listed."""

    reason = "settings_invalid"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        count = len(self.faults)
        super().__init__(f"cpdfeed cannot start: {count} setting fault(s)\n{lines}")


class StoreUnavailable(CpdfeedError):
    """Redis did not answer, or did not accept a write."""

    reason = "store_unavailable"
    transient = True


class SchemaUnknown(CpdfeedError):
    """Redis holds data written by a version of cpdfeed that this one does not know."""

    reason = "schema_unknown"

    def __init__(self, found: str, known: str) -> None:
        self.found = found
        self.known = known
        super().__init__(
            f"the data in Redis has schema {found}, this version of cpdfeed knows {known}: "
            "run the version that wrote it, or point REDIS_URL at an empty database"
        )


class UpstreamError(CpdfeedError):
    """The platform did not give what was asked of it."""

    reason = "upstream_error"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class UpstreamUnavailable(UpstreamError):
    """The platform did not answer, or something else answered in its place."""

    reason = "upstream_unavailable"
    transient = True


class UpstreamThrottled(UpstreamError):
    """The platform, or our own budget, says: not now; and, unless None, for how long."""

    reason = "upstream_throttled"
    transient = True

    def __init__(
        self, message: str, *, retry_after_s: float | None, status: int | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, status=status)


class UpstreamRefused(UpstreamError):
    """The platform refused the request: credentials, permission or parameters."""

    reason = "upstream_refused"


class CommitConflict(CpdfeedError):
    """The lease was lost, or the base sequence moved: nothing was written."""

    reason = "commit_conflict"
    transient = True


class RequestRefused(CpdfeedError):
    """A caller's request cannot be served; the class says with which status.

    Args:
        detail: One sentence for a person, without anything the caller sent.
        reason: Overrides the class's stable reason where one status has several.
        challenges: Values of ``WWW-Authenticate`` headers.
        retry_after_s: Seconds after which another try makes sense.
    """

    reason = "refused"

    def __init__(
        self,
        detail: str,
        *,
        reason: str | None = None,
        challenges: Sequence[str] = (),
        retry_after_s: int | None = None,
    ) -> None:
        self.detail = detail
        self.problem = reason or type(self).reason
        self.challenges = tuple(challenges)
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class BadRequest(RequestRefused):
    """The request is malformed."""

    reason = "bad_request"


class Unauthenticated(RequestRefused):
    """Credentials are missing or wrong."""

    reason = "unauthenticated"


class Forbidden(RequestRefused):
    """The credentials are valid, and do not open this."""

    reason = "forbidden"


class NotFound(RequestRefused):
    """There is nothing here by that name."""

    reason = "not_found"


class Gone(RequestRefused):
    """The cursor points to a place that no longer exists."""

    reason = "cursor_gone"


class BodyTooLarge(RequestRefused):
    """The body is larger than this installation accepts."""

    reason = "body_too_large"


class UnsupportedMedia(RequestRefused):
    """The body is not of a type this endpoint reads."""

    reason = "unsupported_media_type"


class InboxFull(RequestRefused):
    """More notifications are pending than the inbox may hold."""

    reason = "inbox_full"


class TemporarilyUnavailable(RequestRefused):
    """A part that is needed to answer is away for now."""

    reason = "temporarily_unavailable"

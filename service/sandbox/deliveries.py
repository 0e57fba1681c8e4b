"""The notifications a tenant sends: their target, their payloads and what became of each."""

from typing import Literal

import msgspec

JsonObject = dict[str, object]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a tenant's notifications go, and how they prove who sent them."""

    url: str
    secret: str | None = None
    bearer: bool = False
    tenant_alias: str | None = None
    headers: dict[str, str] = {}


class Attempt(msgspec.Struct, frozen=True):
    """One POST: the status it was answered with, or the error that kept it from an answer."""

    at: str
    status: int | None
    latency_ms: float
    error: str | None = None


class Delivery(msgspec.Struct):
    """A notification on its way, with all attempts so far."""

    id: str
    url: str
    payload: JsonObject
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: list[Attempt] = []


def assignment_updated(
    tenant_id: str, assignment_id: str, audience_id: str | None, now: str
) -> JsonObject:
    """Build the documented notification that mentions an audience."""
    return {
        "eventType": "assignment.updated",
        "tenantId": tenant_id,
        "reason": None,
        "assignment": {
            "id": assignment_id,
            "audienceId": audience_id,
            "primaryContentId": None,
            "completionPeriod": 30,
            "recurring": False,
            "recurrence": None,
        },
        "users": [],
        "createdAt": now,
        "dispatchedAt": now,
    }


def requirement_changed(
    tenant_id: str, requirement_id: str, audience_id: str | None, now: str
) -> JsonObject:
    """Build the notification of a sender that names the requirement itself."""
    payload: JsonObject = {
        "eventType": "cpd.requirement.changed",
        "tenantId": tenant_id,
        "audienceRequirementId": requirement_id,
    }
    if audience_id is not None:
        payload["audienceId"] = audience_id
    return payload | {"createdAt": now, "dispatchedAt": now}

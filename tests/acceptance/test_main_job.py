"""The main job with real processes: uvicorn, Celery workers, beat, a real server, real HTTP."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest

from service.sandbox import Options, Platform, create_app
from tests.installation import (
    API_TOKEN,
    SIGNING_SECRET,
    Installation,
    assert_log_holds,
    installed,
    sandbox_settings,
    wait_until,
)
from workers.contract.settings import Secret
from workers.contract.signing import HEADER, sign

FIRST = "60d5ec49b60b4b3a2c8f9a10"
FIRST_AUDIENCE = "60d5ec49b60b4b3a2c8f9a11"
TENANT_ID = "eu-west-2_Sandbox01"


@pytest.fixture
def base(platform: Platform, serve: Callable[[Any], str]) -> str:
    """Give the base URL of a sandbox."""
    return serve(create_app(platform))


@pytest.fixture
def installation(base: str, tmp_path: Path) -> Iterator[Installation]:
    """Give a running installation with a server of its own, its baseline taken."""
    with installed(tmp_path, sandbox_settings(base)) as running:
        running.has_baseline()
        yield running


def about(audience: str, **more: str) -> dict[str, Any]:
    """Give a notification about an audience, as the platform words it."""
    return {
        "eventType": "assignment.updated",
        "tenantId": TENANT_ID,
        "assignment": {"id": "64b6f4a8c2e4a1b9d3f2c4aa", "audienceId": audience},
        **more,
    }


def test_edit_is_published_once_with_its_cause(
    installation: Installation, platform: Platform
) -> None:
    """660 → 720 at the platform gives one change that names its notification, and the snapshot."""
    cursor = installation.get("/v1/changes")["cursor"]
    platform.tenant(TENANT_ID).update(FIRST, 720)
    answer = installation.notify(about(FIRST_AUDIENCE))
    assert answer.status_code == 202
    got = installation.get("/v1/changes", after=cursor, wait=20)
    (change,) = got["changes"]
    assert change["type"] == "cpd.requirement.updated"
    data = change["data"]
    assert (data["before"]["requiredMinutes"], data["after"]["requiredMinutes"]) == (660, 720)
    assert (data["changed"], data["delta_minutes"]) == (["requiredMinutes"], 60)
    assert data["cause"]["notifications"] == [answer.json()["notification"]]
    found = installation.get(answer.headers["Location"])
    assert found["state"] == "covered"
    assert found["changes"] == [2]
    rows = installation.get("/v1/requirements")["requirements"]
    truth = {
        row.audience_requirement_id: row
        for row in platform.tenant(TENANT_ID).collection.rows.values()
    }
    assert {row["audienceRequirementId"]: row["requiredMinutes"] for row in rows} == {
        id_: row.required_minutes for id_, row in truth.items()
    }


def test_burst_costs_a_handful_of_reads(installation: Installation, platform: Platform) -> None:
    """10,000 notifications about one audience: all 202, at most 10 reads, all covered."""
    tenant = platform.tenant(TENANT_ID)
    tenant.reads.reset()
    tenant.update(FIRST, 720)

    async def burst() -> list[tuple[int, str]]:
        url = f"http://127.0.0.1:{installation.port}/webhooks/default"
        answers: list[tuple[int, str]] = []
        queue = iter(range(10_000))

        async def send(session: aiohttp.ClientSession) -> None:
            for number in queue:
                payload = about(FIRST_AUDIENCE, createdAt=f"2026-01-01T00:00:00.{number:06d}Z")
                body = json.dumps(payload).encode()
                headers = {
                    HEADER: sign(body, Secret(SIGNING_SECRET)),
                    "Content-Type": "application/json",
                }
                async with session.post(url, data=body, headers=headers) as response:
                    answers.append((response.status, (await response.json())["notification"]))

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(send(session) for _ in range(32)))
        return answers

    answers = asyncio.run(burst())
    assert {status for status, _ in answers} == {202}
    assert len({id_ for _, id_ in answers}) == 10_000

    def covered() -> bool:
        last = max(answers, key=lambda answer: int(answer[1].split("-")[1]))[1]
        return bool(installation.get(f"/v1/notifications/{last}")["state"] == "covered")

    wait_until(covered, "coverage of the last")
    for _, id_ in answers[::200]:
        assert installation.get(f"/v1/notifications/{id_}")["state"] == "covered"
    assert tenant.reads.counts["list"] <= 10
    assert [change["data"]["kind"] for change in installation.changes()] == ["baseline", "updated"]


def test_same_notification_again_is_a_duplicate(installation: Installation) -> None:
    """The same notification with a new ``dispatchedAt`` is answered with the first one's id."""
    dated = about(FIRST_AUDIENCE, createdAt="2026-01-01T00:00:00Z")
    first = installation.notify(dated | {"dispatchedAt": "2026-01-01T00:00:01Z"})
    again = installation.notify(dated | {"dispatchedAt": "2026-01-01T00:00:09Z"})
    assert (first.json()["status"], again.json()["status"]) == ("accepted", "duplicate")
    assert first.json()["notification"] == again.json()["notification"]


@pytest.mark.parametrize("victims", [["web"], ["refresh"], ["beat"], ["dispatch"], []])
def test_kill_loses_nothing(
    installation: Installation, platform: Platform, victims: list[str]
) -> None:
    """After SIGKILL of a part, or of all and the server, nothing is lost or repeated."""
    tenant = platform.tenant(TENANT_ID)
    tenant.options = Options(latency_ms=100)  # so that something is under way when it happens
    accepted = []
    for minutes in range(700, 720):
        tenant.update(FIRST, minutes)
        try:
            answer = installation.notify(
                about(FIRST_AUDIENCE, createdAt=f"2026-01-01T00:00:00.{minutes}Z")
            )
        except httpx2.TransportError:
            continue
        if answer.status_code == 202:
            accepted.append(answer.json()["notification"])
        if minutes == 710:
            installation.kill(*victims)
            if not victims:
                installation.start_redis()
            installation.start(*victims)
            installation.ready()
    assert len(accepted) >= 10

    def all_covered() -> bool:
        states = [installation.get(f"/v1/notifications/{id_}")["state"] for id_ in accepted]
        return set(states) == {"covered"}

    wait_until(all_covered, "coverage of all that was accepted", within_s=90)

    def last_is_in() -> bool:
        return bool(installation.changes()[-1]["data"]["after"]["requiredMinutes"] == 719)

    wait_until(last_is_in, "the last edit in the log")
    changes = installation.changes()
    assert_log_holds(changes)
    deltas = sum(change["data"]["delta_minutes"] for change in changes[1:])
    assert deltas == 719 - 660


def test_tenants_never_see_each_other(platform: Platform, base: str, tmp_path: Path) -> None:
    """Two tenants, Basic and OAuth: notifications, rows, changes and tokens stay apart."""
    platform.put("eu-west-2_Other", Options(), rows=3)
    token = "other-token"
    digest = hashlib.sha256(token.encode()).hexdigest()
    (tmp_path / "cpdfeed.toml").write_text(
        f"""
        lag_s = 1
        sweep_s = 1
        rate_per_min = 0
        api_url = "{base}/public/rest/v1"
        webhook_auth = "signature"
        [tenants.first]
        tenant_id = "{TENANT_ID}"
        api_secret = "sandbox-secret"
        webhook_secrets = ["{SIGNING_SECRET}"]
        [tenants.other]
        tenant_id = "eu-west-2_Other"
        api_auth = "oauth"
        client_secret = "sandbox-client-secret"
        webhook_secrets = ["another-secret"]
        api_tokens = ["{digest}:feed:read"]
        """
    )
    with installed(tmp_path, {}) as both:
        both.has_baseline("first")
        both.has_baseline("other")
        first = both.get("/v1/requirements", tenant="first")["requirements"]
        other = both.get("/v1/requirements", tenant="other")["requirements"]
        assert (len(first), len(other)) == (2, 3)
        assert not {row["audienceRequirementId"] for row in first} & {
            row["audienceRequirementId"] for row in other
        }
        assert both.notify(about(FIRST_AUDIENCE), "other").status_code == 401
        accepted = both.notify(about(FIRST_AUDIENCE), "first")
        assert accepted.status_code == 202
        id_ = accepted.json()["notification"]
        url = f"http://127.0.0.1:{both.port}"
        foreign = {"Authorization": f"Bearer {token}"}
        for path in ("/v1/requirements", "/v1/changes", f"/v1/notifications/{id_}"):
            assert httpx2.get(f"{url}{path}?tenant=first", headers=foreign).status_code == 403
        assert httpx2.get(f"{url}/v1/changes?tenant=other", headers=foreign).status_code == 200
        assert both.client.get(f"/v1/notifications/{id_}?tenant=other").status_code == 404
    assert API_TOKEN not in "".join(path.read_text() for path in tmp_path.glob("*.log"))

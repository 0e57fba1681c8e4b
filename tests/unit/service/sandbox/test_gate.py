"""Faults, as a client of the platform feels them."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2
import pytest

TENANT = "eu-west-2_Sandbox01"
LIST = "/cpdRequirementSummaries"
FIRST = "60d5ec49b60b4b3a2c8f9a10"
Fault = Mapping[str, object]


def arm(control: httpx2.Client, *faults: Fault) -> None:
    """Arm these faults of the default tenant."""
    control.put("/faults", json=list(faults)).raise_for_status()


def test_status_fault_is_in_the_envelope(api: httpx2.Client, control: httpx2.Client) -> None:
    """An error status comes in the platform's shape with the seconds to wait."""
    arm(control, {"kind": "status", "status": 429, "retry_after": 2, "times": 1})
    response = api.get(LIST)
    assert (response.status_code, response.json()["error"]) == (429, "Too Many Requests")
    assert response.headers["retry-after"] == "2"
    assert api.get(LIST).status_code == 200


def test_status_fault_as_a_gateway_is_html(api: httpx2.Client, control: httpx2.Client) -> None:
    """A gateway's error is HTML, and its time to wait may be a date."""
    fault = {"kind": "status", "status": 503, "retry_after": "http-date", "html": True}
    arm(control, fault)
    response = api.get(LIST)
    assert response.status_code == 503
    assert response.headers["content-type"].startswith("text/html")
    assert parsedate_to_datetime(response.headers["retry-after"]).tzinfo is not None


def test_status_fault_on_the_token_host(web: httpx2.Client, control: httpx2.Client) -> None:
    """A fault on tokens hits the token host and leaves reads alone."""
    arm(control, {"kind": "status", "status": 500, "on": "token"})
    form = {"grant_type": "client_credentials"}
    assert web.post(f"/public/oauth2/token/{TENANT}", data=form).status_code == 500


def test_slow_fault_answers_late(api: httpx2.Client, control: httpx2.Client) -> None:
    """A slow answer comes after the delay."""
    arm(control, {"kind": "slow", "delay_ms": 80})
    assert api.get(LIST).elapsed.total_seconds() >= 0.08


def test_latency_slows_every_answer(api: httpx2.Client, control: httpx2.Client) -> None:
    """A tenant's latency delays each answer."""
    control.patch("", json={"latency_ms": 80})
    assert api.get(LIST).elapsed.total_seconds() >= 0.08


def test_truncate_fault_breaks_off_the_body(api: httpx2.Client, control: httpx2.Client) -> None:
    """A truncated body ends before its Content-Length, with the connection."""
    arm(control, {"kind": "truncate", "times": 1})
    with pytest.raises(httpx2.RemoteProtocolError):
        api.get(LIST)
    assert api.get(LIST).status_code == 200


def test_garbage_fault_is_html_with_200(api: httpx2.Client, control: httpx2.Client) -> None:
    """Garbage is a 200 that is not JSON."""
    arm(control, {"kind": "garbage"})
    response = api.get(LIST)
    assert response.status_code == 200
    assert response.text.startswith("<html>")


def test_expire_tokens_fault_ends_tokens_once(
    api: httpx2.Client, web: httpx2.Client, control: httpx2.Client
) -> None:
    """The tokens of before are answered 401 from then on; one minted afterwards works."""
    form = {
        "grant_type": "client_credentials",
        "client_id": TENANT,
        "client_secret": "sandbox-client-secret",
    }

    def mint() -> dict[str, str]:
        token = web.post(f"/public/oauth2/token/{TENANT}", data=form).json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def status(headers: dict[str, str]) -> int:
        return web.get(f"/public/rest/v1{LIST}", headers=headers).status_code

    old = mint()
    arm(control, {"kind": "expire_tokens"})
    assert api.get(LIST).status_code == 200, "Basic credentials do not expire"
    assert (status(old), status(old), status(mint())) == (401, 401, 200)


def test_extra_fields_fault_adds_unknown_fields(api: httpx2.Client, control: httpx2.Client) -> None:
    """Unknown fields stand beside the known ones, which keep their values."""
    plain = api.get(LIST).json()
    arm(control, {"kind": "extra_fields"})
    body = api.get(LIST).json()
    for row, known in zip(body["results"], plain["results"], strict=True):
        assert row.keys() > known.keys()
        assert row | known == row


def test_malformed_row_fault_spoils_one_row(api: httpx2.Client, control: httpx2.Client) -> None:
    """The named row has the wrong value and its neighbour is as it was."""
    plain = api.get(LIST).json()["results"]
    fault = {"field": "requiredMinutes", "value": "many", "requirement_id": FIRST}
    arm(control, {"kind": "malformed_row"} | fault)
    first, second = api.get(LIST).json()["results"]
    assert first == plain[0] | {"requiredMinutes": "many"}
    assert second == plain[1]


def test_edit_fault_moves_rows_behind_the_read(api: httpx2.Client, control: httpx2.Client) -> None:
    """A row deleted behind the first page shifts the second one, so that a row is skipped."""
    control.put("", json={"rows": 4})
    api.get(LIST)
    arm(control, {"kind": "edit", "op": "delete", "position": "first", "page": 1, "times": 1})
    before = api.get(LIST, params={"page": 1, "perPage": 2}).json()
    after = api.get(LIST, params={"page": 2, "perPage": 2}).json()
    assert (len(before["results"]), before["pagination"]["totalResults"]) == (2, 4)
    assert (len(after["results"]), after["pagination"]["totalResults"]) == (1, 3)
    (edit,) = control.get("/history").json()
    assert (edit["op"], edit["id"]) == ("delete", before["results"][0]["audienceRequirementId"])


def test_edit_fault_waits_for_an_answered_read(api: httpx2.Client, control: httpx2.Client) -> None:
    """A read that failed is followed by no edit."""
    arm(control, {"kind": "status", "status": 500}, {"kind": "edit", "op": "delete"})
    api.get(LIST)
    assert control.get("/history").json() == []


def test_list_lag_hides_an_edit_from_the_list_alone(
    api: httpx2.Client, control: httpx2.Client
) -> None:
    """With a lagging list the edit shows by id at once, and in the list without the lag."""
    control.patch("", json={"lag_list_s": 3600})
    control.patch(f"/requirements/{FIRST}", json={"requiredMinutes": 5})
    assert api.get(LIST).json()["results"][0]["requiredMinutes"] == 660
    assert api.get(f"{LIST}/{FIRST}").json()["requiredMinutes"] == 5
    control.patch("", json={"lag_list_s": 0})
    assert api.get(LIST).json()["results"][0]["requiredMinutes"] == 5


def test_by_id_lag_answers_404_for_a_new_row(api: httpx2.Client, control: httpx2.Client) -> None:
    """With lagging by-id reads a new row is listed and yet answered 404 by id."""
    control.patch("", json={"lag_by_id_s": 3600})
    row = control.post("/requirements", json={"requiredMinutes": 5}).json()["row"]
    assert row in api.get(LIST).json()["results"]
    assert api.get(f"{LIST}/{row['audienceRequirementId']}").status_code == 404

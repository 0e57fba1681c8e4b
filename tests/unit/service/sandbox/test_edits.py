"""Edits of the true rows through the control interface."""

import httpx2
import pytest

LIST = "/cpdRequirementSummaries"
FIRST = "60d5ec49b60b4b3a2c8f9a10"
TECH_TEAM = "60d5ec49b60b4b3a2c8f9a11"


def test_create_is_served_at_once(api: httpx2.Client, control: httpx2.Client) -> None:
    """A created row is answered 201 and is in the next read of the list."""
    response = control.post("/requirements", json={"requiredMinutes": 45})
    body = response.json()
    assert response.status_code == 201
    assert (body["version"], body["notification"]) == (1, None)
    assert body["row"] == api.get(LIST).json()["results"][-1]
    assert (body["row"]["requiredMinutes"], body["row"]["updatedAt"]) == (45, None)


def test_create_takes_the_given_ids(control: httpx2.Client) -> None:
    """A row is made with the ids that were asked for."""
    body = {"requiredMinutes": 0, "audienceId": TECH_TEAM, "audienceRequirementId": "a" * 24}
    row = control.post("/requirements", json=body).json()["row"]
    assert (row["audienceId"], row["audienceRequirementId"]) == (TECH_TEAM, "a" * 24)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"requiredMinutes": -1}, 400),
        ({}, 400),
        ({"requiredMinutes": 1, "audienceId": "short"}, 400),
        ({"requiredMinutes": 1, "audienceRequirementId": FIRST}, 409),
    ],
)
def test_create_refuses_what_the_platform_would(
    control: httpx2.Client, body: dict[str, object], status: int
) -> None:
    """A wrong row or a taken id is refused and nothing is recorded."""
    assert control.post("/requirements", json=body).status_code == status
    assert control.get("/history").json() == []


def test_update_moves_the_fields_and_the_time(control: httpx2.Client) -> None:
    """An update answers the row as it is from now on, with the time of the edit."""
    body = {"requiredMinutes": 720, "audienceId": "b" * 24}
    edit = control.patch(f"/requirements/{FIRST}", json=body).json()
    assert (edit["row"]["requiredMinutes"], edit["row"]["audienceId"]) == (720, "b" * 24)
    assert edit["row"]["updatedAt"] == edit["at"]


def test_touch_moves_the_time_alone(control: httpx2.Client) -> None:
    """A touch changes nothing but `updatedAt`."""
    row = control.patch(f"/requirements/{FIRST}", json={"touch": True}).json()["row"]
    assert row["requiredMinutes"] == 660
    assert row["updatedAt"] > "2020-08-05T09:37:47.824Z"


def test_update_of_nothing_is_refused(control: httpx2.Client) -> None:
    """An update has to say what to change."""
    assert control.patch(f"/requirements/{FIRST}", json={}).status_code == 400


def test_delete_and_restore(api: httpx2.Client, control: httpx2.Client) -> None:
    """A deleted row is answered 404 by id until it is restored."""
    assert control.delete(f"/requirements/{FIRST}").json()["row"] is None
    assert api.get(f"{LIST}/{FIRST}").status_code == 404
    control.post(f"/requirements/{FIRST}/restore")
    assert api.get(f"{LIST}/{FIRST}").json()["requiredMinutes"] == 660


def test_delete_twice_is_404(control: httpx2.Client) -> None:
    """What is not there cannot be deleted."""
    control.delete(f"/requirements/{FIRST}")
    assert control.delete(f"/requirements/{FIRST}").status_code == 404


def test_restore_of_a_living_row_is_409(control: httpx2.Client) -> None:
    """What is there cannot be restored."""
    assert control.post(f"/requirements/{FIRST}/restore").status_code == 409


def test_random_edits_are_returned(control: httpx2.Client) -> None:
    """A burst answers the edits that the history then holds."""
    edits = control.post("/edits", json={"count": 20, "seed": 3}).json()["edits"]
    assert [edit.pop("notification") for edit in edits] == [None] * 20
    assert edits == control.get("/history").json()


def test_newest_shows_the_last_rows_and_deletions(control: httpx2.Client) -> None:
    """The rows that came last come first, as many as were asked for."""
    new = control.post("/requirements", json={"requiredMinutes": 1}).json()["row"]
    control.delete(f"/requirements/{FIRST}")
    body = control.get("/requirements?limit=1").json()
    assert body == {"rows": [new], "deleted": [FIRST], "total": 2, "version": 2}


def test_audience_is_renamed_and_deleted(api: httpx2.Client, control: httpx2.Client) -> None:
    """A renamed audience has its new name; a deleted one no longer resolves."""
    control.post(f"/audiences/{TECH_TEAM}", json={"name": "Crew", "reference": "crew"})
    assert api.get("/audiences/crew").json()["name"] == "Crew"
    assert control.delete(f"/audiences/{TECH_TEAM}").status_code == 204
    assert api.get(f"/audiences/{TECH_TEAM}").status_code == 404


def test_edit_of_an_unknown_way_to_notify_is_refused(control: httpx2.Client) -> None:
    """A misspelt `notify` is answered 400 and edits nothing."""
    assert control.delete(f"/requirements/{FIRST}?notify=loudly").status_code == 400
    assert control.get("/history").json() == []

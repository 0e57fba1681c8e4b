"""Changes as lines for people."""

from typing import Any

import msgspec
import pytest

from workers.commands import rendering

AUDIENCE = "60d5ec49b60b4b3a2c8f9a11"


def line(kind: str, **data: Any) -> str:  # noqa: ANN401 - JSON
    """Give the line of a change."""
    event = {
        "id": "e:7",
        "time": "2026-01-02T03:04:05.678Z",
        "type": f"cpd.requirement.{kind}",
        "data": {"sequence": 7, "kind": kind, **data},
    }
    return rendering.line(rendering.decode(msgspec.json.encode(event)))


def side(minutes: int, audience: str = AUDIENCE) -> dict[str, Any]:
    """Give a requirement's fields."""
    return {"audienceId": audience, "requiredMinutes": minutes, "createdAt": "", "updatedAt": None}


def test_line_tells_all_of_a_change() -> None:
    """Time, kind, audience by name, hours before and after, sequence."""
    told = line(
        "updated", audience={"id": AUDIENCE, "name": "Tech Team"}, before=side(660), after=side(720)
    )
    assert told.split("  ")[0] == "2026-01-02 03:04:05Z"
    assert told.split() == [
        "2026-01-02",
        "03:04:05Z",
        "updated",
        "Tech",
        "Team",
        "11",
        "h",
        "→",
        "12",
        "h",
        "#7",
    ]


def test_line_names_an_audience_by_id_without_a_name() -> None:
    """An audience whose name is not known is told by its id."""
    audience = {"id": AUDIENCE, "name": None, "reference": None}
    assert AUDIENCE in line("created", audience=audience, before=None, after=side(60))


@pytest.mark.parametrize(
    ("kind", "before", "after", "hours"),
    [("created", None, 60, "- → 1 h"), ("removed", 75, None, "1 h 15 min → -")],
)
def test_line_shows_a_missing_side(
    kind: str, before: int | None, after: int | None, hours: str
) -> None:
    """What was not, or is no more, is a dash."""
    sides = {
        "before": None if before is None else side(before),
        "after": None if after is None else side(after),
    }
    assert hours in line(kind, audience={"id": AUDIENCE}, **sides)


def test_line_shows_a_move() -> None:
    """A requirement that moved to another audience shows both."""
    told = line(
        "updated", audience={"id": AUDIENCE, "name": "New"}, before=side(60, "old"), after=side(60)
    )
    assert "old → New" in told


def test_line_of_a_baseline_counts_rows() -> None:
    """A baseline has no hours, but a number of requirements."""
    assert "2 requirements" in line("baseline", count=2)
    assert "1 requirement " in line("baseline", count=1)


def test_line_disarms_what_a_terminal_obeys() -> None:
    """A name cannot clear the screen, or begin a line of its own."""
    told = line("created", audience={"id": AUDIENCE, "name": "\x1b[2J\nA"}, after=side(1))
    assert told.isprintable()
    assert told.endswith("#7")


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0, "0 min"), (45, "45 min"), (60, "1 h"), (675, "11 h 15 min"), (6000, "100 h")],
)
def test_duration_is_in_hours_and_minutes(minutes: int, text: str) -> None:
    """Minutes are told as a person would."""
    assert rendering.duration(minutes) == text

"""What a tenant begins with: the two rows of the platform's own example, or generated ones."""

import random
from datetime import datetime, timedelta

from service.sandbox.collection import Row, format_time

SEED_ROWS = (
    Row(
        "60d5ec49b60b4b3a2c8f9a10",
        "60d5ec49b60b4b3a2c8f9a11",
        660,
        "2020-05-27T10:44:05.687Z",
        "2020-08-05T09:37:47.824Z",
    ),
    Row(
        "64b6f4a8c2e4a1b9d3f2c4a0",
        "64b6f4a8c2e4a1b9d3f2c4a1",
        1200,
        "2020-06-11T21:03:55.798Z",
        None,
    ),
)
SEED_AUDIENCE = ("60d5ec49b60b4b3a2c8f9a11", "Tech Team", "audience123")

_SPACING = timedelta(minutes=1)


def hex_id(rng: random.Random) -> str:
    """Draw an id of the platform's shape, 24 hex digits."""
    return f"{rng.getrandbits(96):024x}"


def draw_minutes(rng: random.Random) -> int:
    """Draw a plausible requirement: whole quarters of an hour, up to fifty hours."""
    return rng.randrange(0, 3001, 15)


def generate_rows(count: int, now: datetime, rng: random.Random) -> list[Row]:
    """Make rows created a minute apart until `now`, every third of them updated since."""
    rows = []
    for number in range(count):
        created = now - _SPACING * (count - number)
        updated = format_time(created + _SPACING / 2) if number % 3 == 0 else None
        minutes = draw_minutes(rng)
        rows.append(Row(hex_id(rng), hex_id(rng), minutes, format_time(created), updated))
    return rows

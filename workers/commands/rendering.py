"""Write changes for people: one line each. Pure."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

NOTHING: Final = "-"
_MINUTES_PER_HOUR: Final = 60


class Audience(Struct):
    """Whom a requirement is about; the names are null when the platform did not tell."""

    id: str
    name: str | None = None
    reference: str | None = None


class Side(Struct, rename="camel"):
    """What a line shows of a requirement before or after its change."""

    audience_id: str
    required_minutes: int


class Cause(Struct):
    """What a line shows of why a change was found."""

    trigger: str = ""
    notifications: tuple[str, ...] = ()


class Data(Struct):
    """What lines show of a change; `count` is a baseline's."""

    sequence: int
    kind: str
    requirement_id: str = ""
    audience: Audience | None = None
    before: Side | None = None
    after: Side | None = None
    cause: Cause | None = None
    count: int | None = None


class Event(Struct):
    """What lines show of a CloudEvent of the feed."""

    id: str
    time: datetime
    type: str
    data: Data


_decoder: Final = msgspec.json.Decoder(Event)


def decode(event: bytes | msgspec.Raw) -> Event:
    """Read a CloudEvent of the feed.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return _decoder.decode(event)


def line(event: Event) -> str:
    """Give a change in one line: time, kind, audience, hours before and after, sequence."""
    data = event.data
    moment = event.time.strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{moment}  {data.kind:<8}  {audience(data):<24}  {hours(data):<24}  #{data.sequence}"


def audience(data: Data) -> str:
    """Give the audience by name, or by id where it has none; both where a requirement moved."""
    if data.audience is None:
        return ""
    now = printable(data.audience.name or data.audience.id)
    if data.before and data.after and data.before.audience_id != data.after.audience_id:
        return f"{data.before.audience_id} → {now}"
    return now


def hours(data: Data) -> str:
    """Give the required time before and after, `11 h → 12 h`; a baseline's number of rows."""
    if data.count is not None:
        return f"{data.count} requirement{'' if data.count == 1 else 's'}"
    before, after = data.before, data.after
    return (
        f"{duration(before.required_minutes) if before else NOTHING}"
        f" → {duration(after.required_minutes) if after else NOTHING}"
    )


def duration(minutes: int) -> str:
    """Give minutes as a person says them: `11 h`, `11 h 15 min`, `45 min`."""
    whole, rest = divmod(minutes, _MINUTES_PER_HOUR)
    parts = [f"{whole} h"] if whole else []
    if rest or not whole:
        parts.append(f"{rest} min")
    return " ".join(parts)


def printable(text: str) -> str:
    """Give a text of somebody else's without what a terminal would obey."""
    return "".join(char if char.isprintable() else "�" for char in text)

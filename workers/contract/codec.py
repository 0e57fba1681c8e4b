"""Turn records into bytes and back: packed rows, cursors, times, and the digest chain."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import msgspec

from workers.contract.model import Brake, Name, Requirement, Row, Strength, Tombstone

GENESIS: Final = "0" * 64
"""The digest before the first change."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ID_BYTES: Final = 12


# --- ids and rows -----------------------------------------------------------------------------


def pack_id(id_: str) -> bytes:
    """Give an id in its shortest exact form: 12 bytes, or its 24 digits if any is upper case."""
    packed = bytes.fromhex(id_)
    return packed if packed.hex() == id_ else id_.encode("ascii")


def unpack_id(packed: bytes) -> str:
    """Give back the id that ``pack_id`` was given."""
    return packed.hex() if len(packed) == _ID_BYTES else packed.decode("ascii")


class _PackedRow(msgspec.Struct, array_like=True):
    audience: bytes
    minutes: int
    created_us: int
    updated_us: int | None
    page: int
    since_ms: int


_rows = msgspec.msgpack.Decoder(_PackedRow)
_tombstones = msgspec.msgpack.Decoder(Tombstone)
_names = msgspec.msgpack.Decoder(Name)
_id_lists = msgspec.msgpack.Decoder(list[bytes])
_pack = msgspec.msgpack.Encoder().encode


def pack_row(row: Row) -> bytes:
    """Give a row of the snapshot without its id, about 40 bytes."""
    served = row.requirement
    return _pack(
        _PackedRow(
            pack_id(served.audience_id),
            served.required_minutes,
            served.created_us,
            served.updated_us,
            row.page,
            row.since_ms,
        )
    )


def unpack_row(id_: str, packed: bytes) -> Row:
    """Give back the row that ``pack_row`` was given."""
    row = _rows.decode(packed)
    served = Requirement(id_, unpack_id(row.audience), row.minutes, row.created_us, row.updated_us)
    return Row(served, row.page, row.since_ms)


def pack_tombstone(tombstone: Tombstone) -> bytes:
    """Give a tombstone's bytes."""
    return _pack(tombstone)


def unpack_tombstone(packed: bytes) -> Tombstone:
    """Give back the tombstone."""
    return _tombstones.decode(packed)


def pack_ids(ids: Iterable[str]) -> bytes:
    """Give a list of ids in one value."""
    return _pack([pack_id(id_) for id_ in ids])


def unpack_ids(packed: bytes | None) -> list[str]:
    """Give back the ids that ``pack_ids`` was given; none for a missing value."""
    return [] if packed is None else [unpack_id(id_) for id_ in _id_lists.decode(packed)]


def pack_name(name: Name) -> bytes:
    """Give what an audience is called in one value."""
    return _pack(name)


def unpack_name(packed: bytes) -> Name:
    """Give back the name that ``pack_name`` was given."""
    return _names.decode(packed)


def brake_fields(brake: Brake) -> dict[str, str | int | bytes]:
    """Give the fields under which a brake is stored; a released one is never written by us."""
    return {
        "strength": brake.strength,
        "since_ms": brake.since_ms,
        "scan_ms": brake.scan_ms,
        "rows": brake.rows,
        "suspects": len(brake.ids),
        "ids": pack_set(brake.ids),
    }


def read_brake(fields: Mapping[bytes, bytes]) -> Brake | None:
    """Give back the brake, None while nothing is held back."""
    if b"strength" not in fields:
        return None
    return Brake(
        Strength(fields[b"strength"].decode()),
        int(fields[b"since_ms"]),
        int(fields[b"scan_ms"]),
        int(fields[b"rows"]),
        unpack_set(fields[b"ids"]),
        fields.get(b"released") == b"1",
    )


def pack_set(packed_ids: Iterable[bytes]) -> bytes:
    """Give a set of packed ids in one value."""
    return _pack(sorted(packed_ids))


def unpack_set(packed: bytes) -> frozenset[bytes]:
    """Give back the set that ``pack_set`` was given."""
    return frozenset(_id_lists.decode(packed))


# --- times ------------------------------------------------------------------------------------


def to_us(moment: datetime) -> int:
    """Give an aware time as microseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def us_text(us: int) -> str:
    """Give RFC 3339 in UTC, the platform's way: milliseconds, or microseconds where needed."""
    moment = _EPOCH + timedelta(microseconds=us)
    text = moment.isoformat(timespec="microseconds" if us % 1000 else "milliseconds")
    return text.replace("+00:00", "Z")


def ms_text(ms: int) -> str:
    """Give RFC 3339 in UTC with milliseconds."""
    return us_text(ms * 1000)


def served_row(requirement: Requirement) -> dict[str, Any]:
    """Give the fields of a row, but for its id, under the platform's own names."""
    updated = requirement.updated_us
    return {
        "audienceId": requirement.audience_id,
        "requiredMinutes": requirement.required_minutes,
        "createdAt": us_text(requirement.created_us),
        "updatedAt": None if updated is None else us_text(updated),
    }


class _ServedRow(msgspec.Struct, rename="camel"):
    audience_id: str
    required_minutes: int
    created_at: datetime
    updated_at: datetime | None


def parse_served_row(id_: str, row: Mapping[str, Any]) -> Requirement:
    """Give back the requirement whose ``served_row`` this is (``before``/``after`` of a change)."""
    parsed = msgspec.convert(row, _ServedRow)
    updated = parsed.updated_at
    return Requirement(
        id_,
        parsed.audience_id,
        parsed.required_minutes,
        to_us(parsed.created_at),
        None if updated is None else to_us(updated),
    )


# --- ids of notifications -----------------------------------------------------------------------


def id_parts(notification: str) -> tuple[int, int]:
    """Give (time of acceptance in ms, accept sequence) of ``<ms>-<accept sequence>``."""
    ms, _, sequence = notification.partition("-")
    return int(ms), int(sequence)


def accepted_ms(notification: str) -> int:
    """Give when a notification was accepted."""
    return id_parts(notification)[0]


# --- cursors ----------------------------------------------------------------------------------


class Cursor(NamedTuple):
    """A place in the change log: everything up to ``sequence`` of ``epoch`` has been seen."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        """Give the text that consumers keep, which is also the id of the change there."""
        return f"{self.epoch}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor's text.

        Raises:
            ValueError: It is not one of ours.
        """
        epoch, colon, sequence = text.partition(":")
        if not colon or not epoch.isalnum() or not epoch.isascii() or len(epoch) > 32:  # noqa: PLR2004
            raise ValueError("not a cursor")
        if not (sequence.isascii() and sequence.isdecimal() and len(sequence) <= 16):  # noqa: PLR2004
            raise ValueError("not a cursor")
        return cls(epoch, int(sequence))


# --- canonical JSON and the digest chain --------------------------------------------------------

jcs: Final = msgspec.json.Encoder(order="sorted").encode
"""Encode as RFC 8785 (JCS) does, for what we digest: objects with ASCII names, strings, integers
below 2**53, booleans, null and arrays of these. Tests hold it against an independent package."""


def chain_digest(previous: str, change: Mapping[str, Any]) -> str:
    """Give the hex SHA-256 that chains a change to the one before it.

    Args:
        previous: Hex digest of the change before, ``GENESIS`` for the first.
        change: The CloudEvent; its ``data.digest`` does not count.
    """
    data = {name: value for name, value in change["data"].items() if name != "digest"}
    return hashlib.sha256(bytes.fromhex(previous) + jcs({**change, "data": data})).hexdigest()


class RowsDigest:
    """The digest of a whole snapshot's material fields, fed in the order of ids."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, requirement: Requirement) -> None:
        """Add the next row; rows come sorted by id."""
        material = [requirement.id, requirement.audience_id, requirement.required_minutes]
        self._sha.update(jcs(material))

    def hexdigest(self) -> str:
        """Give the digest of the rows so far."""
        return self._sha.hexdigest()

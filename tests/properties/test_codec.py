"""Whatever is packed comes back, and digests are what an independent computation says."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.records import ids, moments_us, requirements, rows, tombstones
from workers.contract.codec import (
    Cursor,
    RowsDigest,
    chain_digest,
    jcs,
    pack_id,
    pack_ids,
    pack_row,
    pack_tombstone,
    parse_served_row,
    served_row,
    to_us,
    unpack_id,
    unpack_ids,
    unpack_row,
    unpack_tombstone,
    us_text,
)
from workers.contract.model import Requirement, Row, Tombstone

names = st.text(st.characters(max_codepoint=127))
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20
)


@given(ids)
def test_id_comes_back(id_: str) -> None:
    """An id comes back exactly, in whatever case its digits are."""
    assert unpack_id(pack_id(id_)) == id_


@given(st.lists(ids))
def test_ids_come_back(given_ids: list[str]) -> None:
    """A list of ids comes back in its order."""
    assert unpack_ids(pack_ids(given_ids)) == given_ids


@given(st.lists(ids, unique=True))
def test_ids_stay_apart(given_ids: list[str]) -> None:
    """Ids that differ, if only in case, are packed differently."""
    assert len({pack_id(id_) for id_ in given_ids}) == len(given_ids)


@given(rows)
def test_row_comes_back(row: Row) -> None:
    """A row of the snapshot comes back whole."""
    assert unpack_row(row.requirement.id, pack_row(row)) == row


@given(tombstones)
def test_tombstone_comes_back(tombstone: Tombstone) -> None:
    """A tombstone comes back whole."""
    assert unpack_tombstone(pack_tombstone(tombstone)) == tombstone


@given(requirements)
def test_served_row_comes_back(requirement: Requirement) -> None:
    """What a change says of a row, through JSON, gives the row back."""
    row = json.loads(msgspec.json.encode(served_row(requirement)))
    assert parse_served_row(requirement.id, row) == requirement


@given(moments_us)
def test_time_is_exact_to_the_microsecond(us: int) -> None:
    """A time's text gives the same microsecond back."""
    assert to_us(datetime.fromisoformat(us_text(us))) == us


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_time_is_the_same_in_every_zone(moment: datetime, offset_min: int) -> None:
    """A time with an offset is the moment it names."""
    zone = timezone(timedelta(minutes=offset_min))
    local = moment.replace(tzinfo=zone)
    assert to_us(local) == to_us(local.astimezone(UTC))


@given(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=32),
    st.integers(0, 10**16 - 1),
)
def test_cursor_comes_back(epoch: str, sequence: int) -> None:
    """A cursor's text gives the cursor back."""
    assert Cursor.parse(str(Cursor(epoch, sequence))) == Cursor(epoch, sequence)


@given(st.text())
def test_cursor_is_read_or_refused(text: str) -> None:
    """Any text is a cursor, or is refused as one."""
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert text.startswith(f"{cursor.epoch}:")


@given(documents)
def test_canonical_json_is_rfc_8785(document: Any) -> None:  # noqa: ANN401 - any JSON
    """What we digest is encoded as an independent RFC 8785 encoder does it."""
    assert jcs(document) == rfc8785.dumps(document)


@given(st.binary(min_size=32, max_size=32), st.dictionaries(names, documents), documents)
def test_chain_digest_is_the_independent_one(
    previous: bytes,
    data: dict[str, Any],
    other: Any,  # noqa: ANN401 - any JSON
) -> None:
    """A chain digest is SHA-256 over the previous one's bytes and the change without its own."""
    bare = {name: value for name, value in data.items() if name != "digest"}
    expected = hashlib.sha256(previous + rfc8785.dumps({"id": other, "data": bare})).hexdigest()
    sealed = {"id": other, "data": {**bare, "digest": "whatever"}}
    assert chain_digest(previous.hex(), sealed) == expected
    assert sealed["data"] == {**bare, "digest": "whatever"}


@given(st.lists(requirements))
def test_rows_digest_is_the_independent_one(given_rows: list[Requirement]) -> None:
    """A rows digest is SHA-256 over the rows' material fields, without a separator."""
    digest = RowsDigest()
    sha = hashlib.sha256()
    for row in given_rows:
        digest.add(row)
        sha.update(rfc8785.dumps([row.id, row.audience_id, row.required_minutes]))
    assert digest.hexdigest() == sha.hexdigest()

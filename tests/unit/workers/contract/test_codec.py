"""The bytes and texts of records are pinned: older data has them."""

import pytest

from workers.contract.codec import (
    GENESIS,
    Cursor,
    RowsDigest,
    chain_digest,
    ms_text,
    pack_id,
    pack_ids,
    pack_row,
    pack_tombstone,
    parse_served_row,
    served_row,
    unpack_ids,
    us_text,
)
from workers.contract.model import Requirement, Row, Tombstone

LOWER = "60d5ec49b60b4b3a2c8f9a10"
UPPER = "60D5EC49B60B4B3A2C8F9A10"
AUDIENCE = "60d5ec49b60b4b3a2c8f9a11"


def test_lower_case_id_takes_twelve_bytes() -> None:
    """An id in lower case is stored as its bytes."""
    assert pack_id(LOWER) == bytes.fromhex("60d5ec49b60b4b3a2c8f9a10")


def test_upper_case_id_keeps_its_case() -> None:
    """An id with an upper-case digit is stored as its text."""
    assert pack_id(UPPER) == b"60D5EC49B60B4B3A2C8F9A10"


def test_missing_list_has_no_ids() -> None:
    """A value that is not there holds no ids, and neither does an empty list."""
    assert unpack_ids(None) == []
    assert unpack_ids(pack_ids([])) == []


def test_row_bytes_are_pinned() -> None:
    """A packed row is this MessagePack array: audience, minutes, times, page, first seen."""
    row = Row(Requirement(LOWER, AUDIENCE, 660, 1, None), 2, 3)
    assert pack_row(row).hex() == "96c40c60d5ec49b60b4b3a2c8f9a11cd029401c00203"


def test_tombstone_bytes_are_pinned() -> None:
    """A packed tombstone is this MessagePack array: when, and by which change."""
    assert pack_tombstone(Tombstone(1000, 7)).hex() == "92cd03e807"


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_590_576_245_687_000, "2020-05-27T10:44:05.687Z"),
        (1_590_576_245_687_001, "2020-05-27T10:44:05.687001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_time_is_written_the_platforms_way(us: int, text: str) -> None:
    """Times have milliseconds, and microseconds only where they are needed."""
    assert us_text(us) == text


def test_milliseconds_are_written_alike() -> None:
    """A time in milliseconds is written as one in microseconds is."""
    assert ms_text(1_590_576_245_687) == "2020-05-27T10:44:05.687Z"


def test_served_row_has_the_platforms_names() -> None:
    """A row in a change has the platform's names, and null where nothing was updated."""
    row = Requirement(LOWER, AUDIENCE, 660, 1_590_576_245_687_000, None)
    served = {
        "audienceId": AUDIENCE,
        "requiredMinutes": 660,
        "createdAt": "2020-05-27T10:44:05.687Z",
        "updatedAt": None,
    }
    assert served_row(row) == served
    assert parse_served_row(LOWER, served) == row


@pytest.mark.parametrize(("text", "cursor"), [("e1:0", ("e1", 0)), ("A9:42", ("A9", 42))])
def test_cursor_is_read(text: str, cursor: tuple[str, int]) -> None:
    """An epoch, a colon and a sequence are a cursor."""
    assert Cursor.parse(text) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "e1",
        "e1:",
        ":1",
        "e1:-1",
        "e1:+1",
        "e1: 1",
        "e1:1 ",
        "e1:1:2",
        "e1:1.0",
        "e-1:1",
        "é:1",
        "e1:\u0663",
        "e" * 33 + ":1",
        "e1:" + "1" * 17,
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_chain_digest_is_pinned() -> None:
    """The first change's digest follows from 32 zero bytes and its canonical form."""
    change = {"id": "e:1", "data": {"b": 1, "a": "é", "digest": "ignored"}}
    assert GENESIS == "0" * 64
    assert (  # sha256 of 32 zero bytes and {"data":{"a":"é","b":1},"id":"e:1"}
        chain_digest(GENESIS, change)
        == "ab9cbd684284dd6743cfda5c0ed9415a9bef131fdd189b1fea5c673dce642162"
    )


def test_rows_digest_is_pinned() -> None:
    """The digest of no rows is that of nothing; one row adds its material fields alone."""
    digest = RowsDigest()
    assert digest.hexdigest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    digest.add(Requirement(LOWER, AUDIENCE, 660, 1, None))
    assert digest.hexdigest() == "72cfef0b13b4b691c8681f69ad12972abf89233aa1b6cff87db8777195a93cb8"

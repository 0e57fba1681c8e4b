"""What the platform serves is taken row by row, and nothing else is taken for a page."""

import json
from typing import Any

import pytest

from workers.contract.errors import UpstreamUnavailable
from workers.contract.model import Page, Requirement
from workers.upstream.pages import body_digest, decode_one, decode_page, is_not_found

SEED = b"""{"pagination":{"totalResults":2,"totalPages":1,"page":1,"perPage":20},
 "results":[{"audienceRequirementId":"60d5ec49b60b4b3a2c8f9a10","audienceId":"60d5ec49b60b4b3a2c8f9a11","requiredMinutes":660,
             "createdAt":"2020-05-27T10:44:05.687Z","updatedAt":"2020-08-05T09:37:47.824Z"},
            {"audienceRequirementId":"64b6f4a8c2e4a1b9d3f2c4a0","audienceId":"64b6f4a8c2e4a1b9d3f2c4a1","requiredMinutes":1200,
             "createdAt":"2020-06-11T21:03:55.798Z","updatedAt":null}]}"""
FIRST = Requirement(
    "60d5ec49b60b4b3a2c8f9a10",
    "60d5ec49b60b4b3a2c8f9a11",
    660,
    1_590_576_245_687_000,
    1_596_620_267_824_000,
)
SECOND = Requirement(
    "64b6f4a8c2e4a1b9d3f2c4a0", "64b6f4a8c2e4a1b9d3f2c4a1", 1200, 1_591_909_435_798_000, None
)
DEEP = b"[" * 200_000
NO_PAGE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"<html><body>502 Bad Gateway</body></html>",
    SEED[:-1],
    SEED[: len(SEED) // 2],
    SEED + b"}",
    b"\xff\xfe" + SEED,
    b'{"pagination":null,"results":[]}',
    b'{"pagination":{"totalResults":0,"totalPages":0,"page":1}}',
    b'{"pagination":{"totalResults":0,"totalPages":0,"page":1},"results":null}',
    b'{"pagination":{"totalResults":0,"totalPages":0,"page":1},"results":{}}',
    b'{"pagination":{"totalResults":-1,"totalPages":0,"page":1},"results":[]}',
    b'{"pagination":{"totalResults":"0","totalPages":0,"page":1},"results":[]}',
    b'{"pagination":{"totalResults":0,"page":1},"results":[]}',
    b'{"results":[]}',
    b'{"status":404,"error":"Not Found","message":"no"}',
    DEEP,
    b'{"pagination":{"totalResults":0,"totalPages":0,"page":1},"results":[' + DEEP,
    b'{"x":' + DEEP,
]


def page(*changes: dict[str, Any]) -> bytes:
    """Give the seed's page, each row with changes; ``...`` takes a field out."""
    document = json.loads(SEED)
    for place, change in enumerate(changes):
        row = document["results"][place] | change
        document["results"][place] = {n: value for n, value in row.items() if value is not ...}
    return json.dumps(document).encode()


def test_example_is_read() -> None:
    """The documented example gives its two rows, times to the millisecond."""
    assert decode_page(SEED, 7) == Page(1, 2, 1, body_digest(SEED), 7, (FIRST, SECOND))


def test_empty_list_is_a_page() -> None:
    """A list without rows is a page, whether it counts none or one of them."""
    for count in (0, 1):
        body = b'{"pagination":{"totalResults":0,"totalPages":%d,"page":1},"results":[]}' % count
        assert decode_page(body, 7).rows == ()


def test_unknown_fields_are_ignored() -> None:
    """The platform adds fields anywhere; nothing changes for us."""
    document = json.loads(SEED)
    document["links"] = {"next": None}
    document["pagination"]["cursor"] = "x"
    document["results"][0]["title"] = [{"en": "Minutes"}]
    assert decode_page(json.dumps(document).encode(), 7).rows == (FIRST, SECOND)


def test_missing_update_time_is_none() -> None:
    """A row without ``updatedAt`` was not updated."""
    assert decode_page(page({}, {"updatedAt": ...}), 7).rows == (FIRST, SECOND)


def test_offsets_are_understood() -> None:
    """A time with an offset is the moment it names."""
    body = page({}, {"createdAt": "2020-06-11T23:03:55.798+02:00"})
    assert decode_page(body, 7).rows == (FIRST, SECOND)


@pytest.mark.parametrize(
    "misfit",
    [
        {"requiredMinutes": "many"},
        {"requiredMinutes": -1},
        {"requiredMinutes": 1.5},
        {"requiredMinutes": 2**53},
        {"requiredMinutes": None},
        {"requiredMinutes": ...},
        {"audienceId": None},
        {"audienceId": "audience123"},
        {"audienceId": ...},
        {"createdAt": None},
        {"createdAt": "yesterday"},
        {"createdAt": "2020-05-27T10:44:05.687"},
        {"createdAt": "9999-12-31T23:59:59-12:00"},
        {"createdAt": "0001-01-01T00:00:00+12:00"},
        {"createdAt": 1_590_576_245},
        {"updatedAt": ""},
        {"updatedAt": "2020-13-01T00:00:00Z"},
    ],
)
def test_misfit_leaves_its_neighbours_alone(misfit: dict[str, Any]) -> None:
    """A row that does not fit is named by its id; the others are taken."""
    decoded = decode_page(page(misfit), 7)
    assert decoded.rows == (SECOND,)
    assert [misfit.id for misfit in decoded.misfits] == [FIRST.id]
    assert (decoded.number, decoded.total_results, decoded.total_pages) == (1, 2, 1)


@pytest.mark.parametrize("stated", [None, 5, "", "short", FIRST.id + "0", ["x"], ...])
def test_misfit_without_an_id_has_no_name(stated: object) -> None:
    """A row whose id cannot be read is counted without a name."""
    decoded = decode_page(page({}, {"audienceRequirementId": stated}), 7)
    assert (decoded.rows, [m.id for m in decoded.misfits]) == ((FIRST,), [""])


@pytest.mark.parametrize("row", ["null", "5", "[]", '"text"', "[[[]]]"])
def test_row_that_is_no_object_is_a_misfit(row: str) -> None:
    """Whatever stands among the rows, the others are taken."""
    body = SEED.replace(b'"results":[', b'"results":[' + row.encode() + b",")
    decoded = decode_page(body, 7)
    assert (decoded.rows, [m.id for m in decoded.misfits]) == ((FIRST, SECOND), [""])


@pytest.mark.parametrize("body", NO_PAGE)
def test_what_is_no_page_is_unavailable(body: bytes) -> None:
    """Whatever else answers, the platform counts as away: nothing is concluded from it."""
    with pytest.raises(UpstreamUnavailable):
        decode_page(body, 7)


def test_known_body_is_not_decoded() -> None:
    """A body with the known digest gives its pagination, and no rows."""
    digest = body_digest(SEED)
    assert decode_page(SEED, 7, digest) == Page(1, 2, 1, digest, 7, None)


def test_other_body_is_decoded() -> None:
    """One byte more, and the rows are read again."""
    assert decode_page(SEED + b"\n", 7, body_digest(SEED)).rows == (FIRST, SECOND)


def test_body_digest_is_pinned() -> None:
    """A digest is that of the decoder's version and the body: stored ones stay good."""
    assert body_digest(b"{}").hex() == (
        "5b005ea94400c6292bf37723819a2155587051d20183105c71b68bbdc9555317"
    )


def test_single_requirement_is_read() -> None:
    """A read by id serves the bare object."""
    assert decode_one(json.dumps(json.loads(SEED)["results"][0]).encode()) == FIRST


@pytest.mark.parametrize("body", [*NO_PAGE, SEED, b'{"audienceRequirementId":"x"}'])
def test_what_is_no_requirement_is_unavailable(body: bytes) -> None:
    """Whatever else answers a read by id is no requirement."""
    with pytest.raises(UpstreamUnavailable):
        decode_one(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":404,"error":"Not Found","message":"No such requirement"}',
        b'{"status":404,"error":"","message":"","path":"/rest"}',
    ],
)
def test_envelope_is_evidence(body: bytes) -> None:
    """The platform's own envelope says that there is no such requirement."""
    assert is_not_found(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"Not Found",
        b"<html>404 Not Found</html>",
        b'{"message":"Not Found"}',
        b'{"status":"404","error":"Not Found","message":"no"}',
        b'{"status":403,"error":"Forbidden","message":"no"}',
        b'{"status":404,"error":"Not Found"}',
        b'{"status":404,"error":null,"message":"no"}',
        b'[{"status":404,"error":"Not Found","message":"no"}]',
        b'{"status":404,"error":"Not Found","message":"no"',
        DEEP,
        b'{"x":' + DEEP,
    ],
)
def test_other_404_is_no_evidence(body: bytes) -> None:
    """What a gateway or a wrong address says proves nothing."""
    assert not is_not_found(body)

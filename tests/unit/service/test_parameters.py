"""The queries of GETs: names, types and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.feed import ChangesQuery
from service.parameters import NoQuery, read_query
from workers.contract.errors import BadRequest


def request(query: str) -> Request:
    """Give a request with a query."""
    scope = {"type": "http", "query_string": query.encode(), "headers": []}
    return Request(scope)


def test_query_has_defaults() -> None:
    """What is not given has the call's default."""
    assert read_query(request(""), ChangesQuery) == ChangesQuery()


def test_query_is_read_with_its_types() -> None:
    """Numbers are numbers, and lists are repeated, comma-separated, or both."""
    query = read_query(
        request(
            "after=e1:5&limit=7&wait=1.5&audience_id=0123456789abcdefABCDEF01"
            "&type=cpd.requirement.created,cpd.requirement.removed&type=cpd.requirement.updated"
        ),
        ChangesQuery,
    )
    assert query == ChangesQuery(
        limit=7,
        wait=1.5,
        after="e1:5",
        type=("cpd.requirement.created", "cpd.requirement.removed", "cpd.requirement.updated"),
        audience_id=("0123456789abcdefABCDEF01",),
    )


def test_every_call_may_name_the_tenant() -> None:
    """The tenant is no call's own parameter, and none refuses it."""
    assert read_query(request("tenant=acme"), NoQuery) == NoQuery()


@pytest.mark.parametrize(
    ("query", "reason", "detail"),
    [
        ("limit=0", "bad_parameter", "limit must be a whole number from 1 to 1000."),
        ("limit=1&limit=2", "bad_parameter", "limit must be a whole number from 1 to 1000."),
        ("after=e1:1&after=e1:2", "bad_parameter", "after must be one cursor."),
        ("wait=", "bad_parameter", "wait must be seconds from 0 to 30."),
        ("audience_id=a,", "bad_parameter", "audience_id must be 24 hexadecimal digits."),
        ("as_of=1", "unknown_parameter", "Known parameters here: "),
    ],
)
def test_wrong_query_is_told_what_is_right(query: str, reason: str, detail: str) -> None:
    """A refusal says what the parameter must be."""
    with pytest.raises(BadRequest) as refused:
        read_query(request(query), ChangesQuery)
    assert refused.value.problem == reason
    assert refused.value.detail.startswith(detail)


@given(
    st.sampled_from(["limit", "wait", "type", "audience_id", "QQ"]), st.text("Q?&=,%", max_size=9)
)
def test_refusals_never_repeat_what_was_sent(name: str, value: str) -> None:
    """Whatever the query holds, a refusal is of one class and shows none of it."""
    with pytest.raises(BadRequest) as refused:
        read_query(request(f"{name}=Q{value}"), ChangesQuery)
    assert "Q" not in refused.value.detail

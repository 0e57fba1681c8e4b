"""The stream of server-sent events: resuming, filters, heartbeats, and how it ends."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from service.feed import Pace
from service.tail import WINDOW
from tests.integration.service.feed.conftest import (
    DEADLINE_S,
    TOKEN,
    Connect,
    Consumer,
    Log,
    wait_until,
)


def test_stream_begins_now(consumer: Consumer, log: Log) -> None:
    """Without a cursor, a stream has what is committed after it began, and nothing else."""
    log.baseline()
    with consumer.stream() as stream:
        log.put(log.row(1), log.row(2))
        assert stream.sequences(2) == [2, 3]


def test_stream_sends_cursor_type_and_event(consumer: Consumer, log: Log) -> None:
    """An event's id is the cursor after it, its data the CloudEvent on one line."""
    log.baseline()
    with consumer.stream(after="e1:0") as stream:
        [event] = stream.events(1)
    assert (event.id, event.type) == ("e1:1", "cpd.requirements.baseline")
    assert json.loads(event.data) == log.events[0]


@pytest.mark.parametrize("given", ["header", "query"])
def test_stream_resumes_without_gap_or_repeat(consumer: Consumer, log: Log, given: str) -> None:
    """A stream goes on after the last event its consumer had, by header or by query."""
    log.baseline()
    log.put(*(log.row(number) for number in range(5)))
    with consumer.stream(after="e1:0") as stream:
        last = stream.events(3)[-1].id
    log.put(log.row(9))
    with consumer.stream(last) if given == "header" else consumer.stream(after=last) as stream:
        assert stream.sequences(4) == [4, 5, 6, 7]


def test_stream_prefers_where_it_was_to_where_it_began(consumer: Consumer, log: Log) -> None:
    """A browser that comes back with Last-Event-ID to a URL with a cursor is not sent back."""
    log.baseline()
    log.put(log.row(1), log.row(2))
    with consumer.stream("e1:2", after="e1:0") as stream:
        assert stream.sequences(1) == [3]


def test_stream_catches_up_from_far_behind(consumer: Consumer, log: Log) -> None:
    """Changes beyond what the process holds come from Redis, and the newest follow them."""
    log.baseline()
    log.put(*(log.row(number) for number in range(WINDOW)))
    with consumer.stream() as ahead, consumer.stream(after="e1:0") as behind:
        log.put(*(log.row(number, minutes=90) for number in range(WINDOW)))
        log.put(*(log.row(number) for number in range(WINDOW)))
        end = 3 * WINDOW + 1
        assert ahead.sequences(2 * WINDOW) == list(range(WINDOW + 2, end + 1))
        assert behind.sequences(end) == list(range(1, end + 1))


def test_streams_share_one_log_and_keep_their_own_places(consumer: Consumer, log: Log) -> None:
    """Streams at different places with different filters each get their own changes."""
    log.baseline()
    log.put(log.row(1, audience=7), log.row(2, audience=8))
    with (
        consumer.stream(after="e1:1") as one,
        consumer.stream(after="e1:2") as two,
        consumer.stream(after="e1:1", audience_id=log.id(7)) as filtered,
    ):
        log.put(log.row(1, audience=8), log.row(2, minutes=90, audience=8))
        assert one.sequences(4) == [2, 3, 4, 5]
        assert two.sequences(3) == [3, 4, 5]
        assert filtered.sequences(2) == [2, 4]


def test_stream_before_the_baseline_begins_with_it(consumer: Consumer, log: Log) -> None:
    """Who listens before there is a log hears all of it."""
    with consumer.stream() as stream:
        wait_until(lambda: consumer.watchers() == 1)
        log.baseline()
        log.put(log.row(1))
        assert stream.sequences(2) == [1, 2]


def test_heartbeat_carries_the_place(connect: Connect, log: Log) -> None:
    """Between events a comment keeps the connection, and moves a filtered consumer's place on."""
    log.baseline()
    consumer = connect(Pace(heartbeat_s=0.05))
    with consumer.stream(type="cpd.requirement.removed") as stream:
        blocks = stream.blocks()
        first = next(blocks)
        assert (first.id, first.type, first.data) == ("e1:1", "", "")
        log.put(log.row(1))
        assert any(block.id == "e1:2" for block in blocks)


@pytest.mark.parametrize("last_event_id", ["x", "e1:"])
def test_malformed_last_event_id_is_refused(
    consumer: Consumer, log: Log, last_event_id: str
) -> None:
    """A stream that cannot begin is answered with a problem instead."""
    log.baseline()
    answer = consumer.http.get("/v1/changes/stream", headers={"Last-Event-ID": last_event_id})
    assert (answer.status_code, answer.json()["reason"]) == (400, "cursor_malformed")


def test_stream_takes_no_parameters_of_pages(consumer: Consumer) -> None:
    """A stream has no limit and no wait."""
    assert consumer.refusal("/v1/changes/stream", limit=1) == (400, "unknown_parameter")


def test_stream_ends_with_its_epoch(consumer: Consumer, log: Log) -> None:
    """When another epoch begins, a stream ends; coming back, its consumer is told why."""
    log.baseline()
    with consumer.stream() as stream:
        wait_until(lambda: consumer.watchers() == 1)
        log.begin_epoch("e2")
        log.put(log.row(1))
        assert list(stream.blocks()) == []
    assert consumer.refusal("/v1/changes/stream", after="e1:1") == (410, "cursor_gone")


def test_stream_ends_when_it_falls_off_the_log(consumer: Consumer, log: Log) -> None:
    """A stream whose next change was trimmed away ends instead of skipping it."""
    log.baseline()
    with consumer.stream() as stream:
        wait_until(lambda: consumer.watchers() == 1)
        log.put(*(log.row(number) for number in range(10)), trim=8)
        assert list(stream.blocks()) == []


def test_stream_ends_when_the_process_does(consumer: Consumer, log: Log) -> None:
    """A process that ends does not wait for its streams: they end at once, and whole."""
    log.baseline()
    with consumer.stream() as stream:
        wait_until(lambda: consumer.watchers() == 1)
        consumer.shut_down()
        assert list(stream.blocks()) == []


def test_reader_that_leaves_is_forgotten(consumer: Consumer, log: Log) -> None:
    """Nothing is kept for a consumer that closed its stream."""
    log.baseline()
    with consumer.stream():
        wait_until(lambda: consumer.watchers() == 1)
    wait_until(lambda: consumer.watchers() == 0)


def test_slow_reader_is_closed(connect: Connect, log: Log) -> None:
    """A consumer that stops reading is cut off, having been sent only a part of what was due."""
    consumer = connect(Pace(send_timeout_s=0.2))
    log.baseline()
    log.padding = "x" * 100_000
    for start in range(0, 300, 50):
        log.put(*(log.row(number) for number in range(start, start + 50)))
    due = 300 * len(log.padding)
    with connection(consumer, "/v1/changes/stream?after=e1:0") as reader:
        wait_until(lambda: consumer.watchers() == 1)
        wait_until(lambda: consumer.watchers() == 0)
        received = b"".join(iter(lambda: reader.recv(1 << 20), b""))
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")
    assert len(received) < due


def test_slow_reader_holds_nobody_back(connect: Connect, log: Log) -> None:
    """While one consumer does not read, another gets everything."""
    consumer = connect(Pace(send_timeout_s=DEADLINE_S))
    log.baseline()
    log.padding = "x" * 100_000
    with (
        connection(consumer, "/v1/changes/stream?after=e1:0"),
        consumer.stream(after="e1:0") as stream,
    ):
        for start in range(0, 300, 50):
            log.put(*(log.row(number) for number in range(start, start + 50)))
        assert stream.sequences(301) == list(range(1, 302))


def test_head_of_the_stream_does_not_open_it(consumer: Consumer, log: Log) -> None:
    """HEAD tells the type and ends."""
    log.baseline()
    answer = consumer.http.head("/v1/changes/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert consumer.watchers() == 0


def connection(consumer: Consumer, target: str) -> socket.socket:
    """Ask for something over a connection that only its owner reads from."""
    parts = urlsplit(consumer.url)
    reader = socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_S)
    request = f"GET {target} HTTP/1.1\r\nHost: feed\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    reader.sendall(request.encode())
    return reader

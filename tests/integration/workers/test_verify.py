"""`cpdfeed verify` proves what the refresh wrote, and names the change that is not as it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from tests.feed import TENANT_ID, Feed
from tests.log import Log, id_of
from workers.cli import main
from workers.commands.verify import prove
from workers.contract.codec import pack_id, pack_row, unpack_row
from workers.contract.keyspace import SCHEMA_KEY
from workers.contract.model import Row
from workers.entry import Fault
from workers.proof import Proven

FIRST = "60d5ec49b60b4b3a2c8f9a10"
SECOND = "64b6f4a8c2e4a1b9d3f2c4a0"
OTHER_AUDIENCE = "b" * 24


def verify(feed: Feed, *options: str, **env: str) -> Result:
    """Run the command with the settings of the tenant."""
    return CliRunner().invoke(main, ["verify", *options], env=feed.env | env)


def proven(feed: Feed) -> Proven | Fault | None:
    """Give what is found of the tenant."""
    return prove(feed.store, "acme", lambda *_: None)


def faulty(feed: Feed) -> int:
    """Give the sequence at which log and snapshot disagree."""
    fault = proven(feed)
    assert isinstance(fault, Fault), fault
    return fault.sequence


def entries(feed: Feed) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Give the log as it is stored."""
    found: Any = feed.store.xrange(feed.keys.changes)
    return list(found)


def rewrite(feed: Feed, log: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    """Put another log in the place of the one there is."""
    pipe: Any = feed.store.pipeline(transaction=True)
    pipe.delete(feed.keys.changes)
    for entry_id, fields in log:
        pipe.xadd(feed.keys.changes, fields, id=entry_id)
    pipe.execute()


def alter_row(feed: Feed, id_: str, **fields: Any) -> None:  # noqa: ANN401 - of a requirement
    """Alter a row of the snapshot, past the log."""
    packed: Any = feed.store.hget(feed.keys.rows, pack_id(id_))
    row = unpack_row(id_, packed)
    altered = Row(replace(row.requirement, **fields), row.page, row.since_ms)
    feed.store.hset(feed.keys.rows, pack_id(id_), pack_row(altered))


@pytest.fixture
def edited(feed: Feed) -> Feed:
    """Give a tenant after edits of every kind: a log of 7 changes; the second row had none."""
    feed.reconcile()
    rows = feed.collection
    edits: list[Callable[[], object]] = [
        lambda: rows.update(FIRST, 720, None),
        lambda: rows.create("a" * 24, OTHER_AUDIENCE, 90, None),
        lambda: rows.update(FIRST, None, None),  # a touch: no change
        lambda: rows.delete("a" * 24),
        lambda: rows.restore("a" * 24),
        lambda: rows.update(FIRST, 600, OTHER_AUDIENCE),
        lambda: rows.update("a" * 24, 30, None),
        lambda: rows.update(SECOND, None, None),  # likewise
    ]
    for edit in edits:
        edit()
        feed.reconcile()
    assert feed.kinds() == [
        "baseline",
        "updated",
        "created",
        "removed",
        "restored",
        "updated",
        "updated",
    ]
    return feed


# --- what is proven -------------------------------------------------------------------------------


def test_what_the_refresh_wrote_is_proven(edited: Feed) -> None:
    """After edits of every kind a line says what was proven, and the exit code is 0."""
    result = verify(edited)
    chain = edited.head("digest")[:12]
    assert result.stdout == f"ok    acme  7 changes, chain to {chain}, 3 rows, baseline proven\n"
    assert result.stderr == ""
    assert result.exit_code == 0


def test_new_epoch_is_proven(edited: Feed) -> None:
    """A log that goes on in a new epoch is proven back to its very beginning."""
    seen = f"{edited.head('epoch')}:{int(edited.head('sequence')) + 5}"
    edited.store.hset(edited.keys.head, "remembered", seen)
    edited.collection.update(FIRST, 60, None)
    edited.reconcile()
    assert edited.kinds()[7:] == ["baseline", "updated"]
    found = proven(edited)
    assert isinstance(found, Proven), found
    assert (found.changes, found.baseline) == (9, 1)


def test_json_says_what_was_proven(edited: Feed) -> None:
    """A program reads the same, and nothing else is written."""
    result = verify(edited, "--json")
    assert json.loads(result.stdout) == {
        "tenants": [
            {
                "tenant": "acme",
                "verdict": "ok",
                "changes": 7,
                "first": 1,
                "sequence": 7,
                "digest": edited.head("digest"),
                "rows": 3,
                "untouched": 1,
                "baseline": 1,
            }
        ]
    }
    assert (result.stderr, result.exit_code) == ("", 0)


def test_trimmed_log_says_what_is_not_proven(edited: Feed) -> None:
    """Where the baseline was trimmed it is said, with the rows that nothing tells about."""
    edited.store.xtrim(edited.keys.changes, minid="4-0", approximate=False)
    result = verify(edited)
    assert "4 changes" in result.stdout
    assert "baseline trimmed, 1 row without a change since" in result.stdout
    assert result.exit_code == 0


def test_before_the_first_scan_there_is_no_log(feed: Feed) -> None:
    """A tenant that was not read yet has nothing to prove, which is no fault."""
    assert verify(feed).stdout == "ok    acme  no log yet: it begins with the first complete scan\n"
    result = verify(feed, "--json")
    assert json.loads(result.stdout) == {"tenants": [{"tenant": "acme", "verdict": "empty"}]}
    assert result.exit_code == 0


# --- what is not ----------------------------------------------------------------------------------


def test_fault_is_named_with_exit_code_1(edited: Feed) -> None:
    """A line names the sequence and what disagrees, for people and for programs."""
    alter_row(edited, FIRST, required_minutes=601)
    result = verify(edited)
    assert result.stdout == (
        "fail  acme  sequence 6: the snapshot does not hold requirement "
        f"{FIRST} as this change left it (row)\n"
    )
    assert result.exit_code == 1
    result = verify(edited, "--json")
    (found,) = json.loads(result.stdout)["tenants"]
    assert (found["verdict"], found["sequence"], found["reason"]) == ("fail", 6, "row")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("id_", "fields", "sequence"),
    [
        (FIRST, {"required_minutes": 601}, 6),
        (FIRST, {"audience_id": "c" * 24}, 6),
        ("a" * 24, {"required_minutes": 31}, 7),
        (SECOND, {"required_minutes": 1}, 1),
        (SECOND, {"audience_id": "c" * 24}, 1),
    ],
)
def test_altered_row_names_its_last_change(
    edited: Feed, id_: str, fields: dict[str, Any], sequence: int
) -> None:
    """A material field altered in the snapshot names the row's last change, or the baseline."""
    assert isinstance(proven(edited), Proven)
    alter_row(edited, id_, **fields)
    assert faulty(edited) == sequence


def test_altered_times_of_a_row_are_no_fault(edited: Feed) -> None:
    """Times are not material: a touch moves them without a change."""
    alter_row(edited, FIRST, updated_us=1)
    assert isinstance(proven(edited), Proven)


def test_added_and_missing_rows_are_named(edited: Feed) -> None:
    """A row too many names the baseline, one too few its last change."""
    packed: Any = edited.store.hget(edited.keys.rows, pack_id(FIRST))
    edited.store.hset(edited.keys.rows, pack_id("d" * 24), packed)
    assert faulty(edited) == 1
    edited.store.hdel(edited.keys.rows, pack_id("d" * 24), pack_id(FIRST))
    assert faulty(edited) == 6


def test_every_byte_of_a_change_counts(edited: Feed) -> None:
    """Whichever byte of an event is altered, the fault is at that change, or the next."""
    log = entries(edited)
    entry_id, fields = log[4]
    event = fields[b"event"]
    missed = []
    for place in range(len(event)):
        altered = bytearray(event)
        altered[place] ^= 1 << place % 8
        rewrite(edited, [*log[:4], (entry_id, fields | {b"event": bytes(altered)}), *log[5:]])
        if faulty(edited) not in {5, 6}:
            missed.append(place)
    assert missed == []
    rewrite(edited, log)
    assert isinstance(proven(edited), Proven)


@pytest.mark.parametrize("field", [b"event", b"type", b"requirement_id", b"audience_id", b"tenant"])
def test_every_field_of_every_entry_counts(edited: Feed, field: bytes) -> None:
    """Whatever is altered in an entry, be it the first or the last, is named by its sequence."""
    log = entries(edited)
    for place, (entry_id, fields) in enumerate(log):
        altered = fields | {field: fields[field] + b" "}
        rewrite(edited, [*log[:place], (entry_id, altered), *log[place + 1 :]])
        assert faulty(edited) == place + 1


def test_missing_change_is_named(edited: Feed) -> None:
    """An entry taken out of the log, within it or at its end, is missed."""
    log = entries(edited)
    rewrite(edited, [*log[:3], *log[4:]])
    assert faulty(edited) == 4
    rewrite(edited, log[:6])
    assert faulty(edited) == 7
    rewrite(edited, [])
    assert faulty(edited) == 1


def test_change_beyond_the_head_is_named(edited: Feed) -> None:
    """An entry that no commit counted is named."""
    edited.store.xadd(edited.keys.changes, {"event": "{}"}, id="8-0")
    assert faulty(edited) == 8


@pytest.mark.parametrize(("field", "value"), [("sequence", "6"), ("sequence", "x"), ("digest", "")])
def test_altered_head_is_named(edited: Feed, field: str, value: str) -> None:
    """A head that does not stand at the log's last change is a fault."""
    edited.store.hset(edited.keys.head, field, value)
    assert isinstance(proven(edited), Fault)


# --- a log that moves -----------------------------------------------------------------------------


def long_log(feed: Feed, changes: int) -> Log:
    """Store a log of so many changes."""
    log = Log(1)
    log.baseline()
    for number in range(changes - 1):
        log.update(1, 61 + number % 2)
    log.store(feed.store, feed.keys)
    return log


def test_log_trimmed_meanwhile_is_begun_again(feed: Feed) -> None:
    """What is trimmed while it is read is no gap: the rest is proven from a new beginning."""
    long_log(feed, 3000)

    def watch(_done: int, _length: int) -> None:
        feed.store.xtrim(feed.keys.changes, minid="1501-0", approximate=False)

    found = prove(feed.store, "acme", watch)
    assert isinstance(found, Proven)
    assert (found.first, found.changes, found.baseline) == (1501, 1500, None)


def test_log_trimmed_again_and_again_is_given_up(feed: Feed) -> None:
    """A log that is trimmed faster than it is read is no fault, and says to try again."""
    long_log(feed, 8000)
    kept = [1]

    def watch(_done: int, _length: int) -> None:
        kept[0] += 2000
        feed.store.xtrim(feed.keys.changes, minid=f"{kept[0]}-0", approximate=False)

    with pytest.raises(click.ClickException, match="try again"):
        prove(feed.store, "acme", watch)


def test_log_that_grows_meanwhile_is_proven_to_its_head(feed: Feed) -> None:
    """What is committed while it is read is left to the next time."""
    log = long_log(feed, 1500)

    def watch(_done: int, _length: int) -> None:
        log.update(1, 90 + len(log.events))
        log.store(feed.store, feed.keys)

    found = prove(feed.store, "acme", watch)
    assert isinstance(found, Proven)
    assert found.changes == 1500


def test_long_log_shows_its_progress(feed: Feed) -> None:
    """A log that takes a while says so on standard error, unless a program reads."""
    long_log(feed, 10_000)
    told = verify(feed)
    assert "10000 changes" in told.stderr
    assert told.stdout.startswith("ok    acme  10000 changes")
    assert verify(feed, "--json").stderr == ""


# --- where it looks -------------------------------------------------------------------------------


def test_every_tenant_is_verified(feed: Feed, tmp_path: Path) -> None:
    """Without --tenant each tenant has its line, in their order; one fault fails all."""
    (tmp_path / "cpdfeed.toml").write_text(
        f'api_url = "{feed.base}/public/rest/v1"\nwebhook_auth = "signature"\n'
        f"redis_url = '{feed.url}'\n"
        + "".join(
            f"[tenants.{slug}]\ntenant_id = '{TENANT_ID}-{slug}'\napi_secret = 'x'\n"
            "webhook_secrets = ['x']\n"
            for slug in ("bolt", "acme")
        )
    )
    log = Log(1)
    log.baseline()
    log.store(feed.store, feed.keys)
    runner = CliRunner()
    assert [row.split()[:2] for row in runner.invoke(main, ["verify"]).stdout.splitlines()] == [
        ["ok", "bolt"],
        ["ok", "acme"],
    ]
    feed.store.hdel(feed.keys.rows, pack_id(id_of(1)))
    result = runner.invoke(main, ["verify"])
    assert [row.split()[:2] for row in result.stdout.splitlines()] == [
        ["ok", "bolt"],
        ["fail", "acme"],
    ]
    assert result.exit_code == 1
    only = runner.invoke(main, ["verify", "--tenant", "bolt"])
    assert (only.stdout.split()[:2], only.exit_code) == (["ok", "bolt"], 0)


def test_unknown_tenant_is_refused(feed: Feed) -> None:
    """A tenant that the settings do not name is a wrong call, which names those they do."""
    result = verify(feed, "--tenant", "bolt")
    assert result.exit_code == 2
    assert "acme" in result.stderr


def test_embedded_server_is_found(feed: Feed, tmp_path: Path) -> None:
    """Without REDIS_URL the server of a running `up` is found by its data folder."""
    (tmp_path / "redis.url").write_text(feed.url)
    result = verify(feed, REDIS_URL="", CPDFEED_DATA=str(tmp_path))
    assert (result.stdout[:10], result.exit_code) == ("ok    acme", 0)


def test_without_redis_it_says_what_to_do(feed: Feed) -> None:
    """No Redis, or none that answers, is one clear message and exit code 1."""
    for url, says in (("", "cpdfeed up"), ("redis://127.0.0.1:1/0", "REDIS_URL")):
        result = verify(feed, REDIS_URL=url)
        assert result.exit_code == 1
        assert says in result.stderr
        assert result.stdout == ""


def test_unknown_schema_is_refused(feed: Feed) -> None:
    """Data of another version are not judged."""
    feed.store.set(SCHEMA_KEY, "99")
    result = verify(feed)
    assert result.exit_code == 1
    assert "schema 99" in result.stderr

"""A tenant's log and snapshot as a test writes them, and forges them, without any read."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import redis

from workers.contract.codec import (
    GENESIS,
    RowsDigest,
    chain_digest,
    pack_id,
    pack_row,
    pack_tombstone,
    served_row,
)
from workers.contract.keyspace import Keyspace
from workers.contract.model import Head, Requirement, Row, Tombstone

Entries = list[tuple[bytes, dict[bytes, bytes]]]


def id_of(number: int) -> str:
    """Give the id of a requirement, or of an audience."""
    return f"{number:024x}"


class Log:
    """Rows, and the changes that made them what they are; the one before the first is given."""

    def __init__(self, *rows: int, first: int = 1, previous: str = GENESIS) -> None:
        self.epoch = "e1"
        self.first = first
        self.previous = previous
        self.rows = {id_of(number): _row(id_of(number), 60) for number in rows}
        self.events: list[dict[str, Any]] = []
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.step = timedelta(seconds=1)

    # --- what happens -------------------------------------------------------------------------

    def baseline(self, epoch: str | None = None) -> None:
        """Tell of all rows there are, in a new epoch if one is given."""
        self.epoch = epoch or self.epoch
        digest = RowsDigest()
        for id_ in sorted(self.rows):
            digest.add(self.rows[id_])
        data = {"count": len(self.rows), "rows_digest": digest.hexdigest()}
        self._append("cpd.requirements.baseline", "baseline", "", data)

    def create(self, number: int, minutes: int = 60) -> None:
        """Let a row appear."""
        self._change("created", number, _row(id_of(number), minutes))

    def restore(self, number: int, minutes: int = 60) -> None:
        """Let a row that was removed be back."""
        self._change("restored", number, _row(id_of(number), minutes))

    def update(self, number: int, minutes: int, audience: int = 0xAA) -> None:
        """Let a row change."""
        self._change("updated", number, _row(id_of(number), minutes, audience))

    def remove(self, number: int) -> None:
        """Let a row go."""
        self._change("removed", number, None)

    def touch(self, number: int) -> None:
        """Let the times of a row move, both of them: no change tells of that."""
        old = self.rows[id_of(number)]
        moved = msgspec.structs.replace(old, created_us=1, updated_us=10**15)
        self.rows[id_of(number)] = moved

    def forge(self, sequence: int, edit: Callable[[dict[str, Any]], object]) -> None:
        """Alter a change, and chain all that follow anew: no digest tells."""
        edit(self.events[sequence - self.first])
        self._seal()

    # --- what is stored -----------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """Give the head that belongs to it."""
        last = self.events[-1]["data"]["digest"] if self.events else GENESIS
        sequence = self.first + len(self.events) - 1
        return Head(epoch=self.epoch, sequence=sequence, digest=last)

    @property
    def packed(self) -> dict[bytes, bytes]:
        """Give the snapshot as it is stored."""
        return {pack_id(id_): pack_row(Row(row, 1, 1)) for id_, row in self.rows.items()}

    @property
    def entries(self) -> Entries:
        """Give the log as it is stored."""
        return [
            (b"%d-0" % (self.first + place), _fields(event))
            for place, event in enumerate(self.events)
        ]

    def store(self, store: redis.Redis, keys: Keyspace) -> None:
        """Store all that a tenant's commits would have, as far as the log is concerned."""
        pipe: Any = store.pipeline(transaction=False)
        pipe.delete(keys.changes, keys.history, keys.tombstones, keys.rows)
        for entry_id, fields in self.entries:
            pipe.xadd(keys.changes, fields, id=entry_id)
        pipe.hset(keys.head, mapping=self.fields)
        for key, mapping in (
            (keys.rows, self.packed),
            (keys.history, self.history),
            (keys.tombstones, self.tombstones),
        ):
            if mapping:
                pipe.hset(key, mapping=mapping)
        pipe.execute()

    @property
    def fields(self) -> dict[str, str | int]:
        """Give the fields of the head as they are stored."""
        head = self.head
        return {
            "epoch": head.epoch,
            "sequence": head.sequence,
            "digest": head.digest,
            "baseline_ms": 1,
        }

    @property
    def history(self) -> dict[bytes, bytes]:
        """Give which changes each requirement had, as it is stored."""
        history: dict[bytes, bytes] = {}
        for event in self.events:
            if "subject" in event:
                packed, sequence = pack_id(event["subject"]), event["data"]["sequence"]
                history[packed] = history.get(packed, b"") + sequence.to_bytes(8, "big")
        return history

    @property
    def tombstones(self) -> dict[bytes, bytes]:
        """Give what is kept of the removed rows, as it is stored."""
        return {
            pack_id(event["subject"]): pack_tombstone(Tombstone(1, event["data"]["sequence"]))
            for event in self.events
            if event["data"]["kind"] == "removed" and event["subject"] not in self.rows
        }

    # --- how it is written --------------------------------------------------------------------

    def _change(self, kind: str, number: int, after: Requirement | None) -> None:
        id_ = id_of(number)
        before = self.rows.pop(id_, None)
        if after is not None:
            self.rows[id_] = after
        about = after or before
        assert about is not None
        data: dict[str, Any] = {
            "requirement_id": id_,
            "audience": {"id": about.audience_id, "name": 'Köche "Süd"', "reference": None},
            "before": None if before is None else served_row(before),
            "after": None if after is None else served_row(after),
            "changed": [],
            "delta_minutes": (after.required_minutes if after else 0)
            - (before.required_minutes if before else 0),
        }
        if before is not None and after is not None:
            fields = ("audienceId", "requiredMinutes")
            data["changed"] = [f for f in fields if data["before"][f] != data["after"][f]]
        self._append(f"cpd.requirement.{kind}", kind, id_, data)

    def _append(self, type_: str, kind: str, id_: str, data: dict[str, Any]) -> None:
        sequence = self.first + len(self.events)
        self.moment += self.step
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"{self.epoch}:{sequence}",
            "source": "/tenants/acme/cpdRequirementSummaries",
            "type": type_,
            **({"subject": id_} if id_ else {}),
            "time": self.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "sequence": f"{sequence:020d}",
            "data": {"sequence": sequence, "kind": kind, **data},
        }
        self.events.append(event)
        self._seal(sequence)

    def _seal(self, since: int = 0) -> None:
        for place in range(max(0, since - self.first), len(self.events)):
            data = self.events[place]["data"]
            previous = self.events[place - 1]["data"]["digest"] if place else self.previous
            data |= {"previous_digest": previous}
            data["digest"] = chain_digest(previous, self.events[place])


def _row(id_: str, minutes: int, audience: int = 0xAA) -> Requirement:
    return Requirement(id_, id_of(audience), minutes, 1_000_000, None)


def _fields(event: dict[str, Any]) -> dict[bytes, bytes]:
    data = event["data"]
    about = data.get("after") or data.get("before") or {"audienceId": ""}
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return {
        b"event": text.encode(),
        b"type": event["type"].encode(),
        b"requirement_id": data.get("requirement_id", "").encode(),
        b"audience_id": about["audienceId"].encode(),
        b"tenant": b"acme",
    }

"""Claim what is to be read again, before the first request to the platform goes out."""

import random
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

import msgspec
import redis
from msgspec import Struct

from workers.contract.codec import GENESIS, id_parts
from workers.contract.keyspace import Keyspace
from workers.contract.model import NAMED, Due, Head, Mark, Source, Trigger
from workers.contract.scope import COLLECTION, Scope

RECONCILE: Final = "reconcile"
"""The member of ``due`` that stands for the timed scan."""

_GRACE_MS: Final = 2_000
_CHUNK: Final = 500
_scripts = files("workers.intake")
_CLAIM: Final = (_scripts / "claim.lua").read_text()
_SWEEP: Final = (_scripts / "sweep.lua").read_text()
_due = msgspec.json.Decoder(Due)


class Claim(Struct, frozen=True):
    """What one round has to serve: everything accepted up to ``head.claimed``, and what is due."""

    head: Head
    marks: tuple[Mark, ...]
    due: Mapping[str, Due]
    waiting: Mapping[str, Due]
    """What the marked scopes are on the timetable for, due or not."""
    sources: tuple[Source, ...]


class Early(NamedTuple):
    """A round may not start before this time."""

    not_before_ms: int


class Idle:
    """There is nothing to do."""


class Lost:
    """The lease is no longer ours."""


def claim(
    store: redis.Redis, keys: Keyspace, token: str, now_ms: int
) -> Claim | Early | Idle | Lost:
    """Claim all marks and whatever has become due.

    Keys: lease, head, marks, due, due:why, wake; reads inbox afterwards. Atomic.
    """
    reply = store.register_script(_CLAIM)(
        [keys.lease, keys.head, keys.marks, keys.due, keys.due_why, keys.wake], [token, now_ms]
    )
    match reply[0]:
        case b"lost":
            return Lost()
        case b"early":
            return Early(int(reply[1]))
        case b"idle":
            return Idle()
    head = _head(_pairs(reply[1]))
    marks = tuple(_mark(scope, value) for scope, value in _pairs(reply[2]).items())
    due = {
        member.decode(): _due.decode(why) if why else Due(Trigger.SETTLE)
        for member, why in zip(reply[3], reply[4], strict=True)
    }
    noted = _notifications(store, keys, marks, head.claimed)
    waiting = due_reasons(store, keys, [str(mark.scope) for mark in marks])
    return Claim(head, marks, due, waiting, tuple(_sources(marks, due, noted)))


def overdue(
    store: redis.Redis, keys: Keyspace, now_ms: int, reconcile_s: float, chance: random.Random
) -> bool:
    """Tell whether a wake-up call was lost, and put the timed scan on the timetable.

    A tenant without a baseline is scanned at once, any other at a random phase of the period.

    Keys: lease, head, marks, due, due:why, wake. Atomic.
    """
    known = store.hexists(keys.head, "baseline_ms")
    phase_ms = int(chance.uniform(0, reconcile_s) * 1000) if known else 0
    why = msgspec.json.encode(Due(Trigger.RECONCILE))
    reply = store.register_script(_SWEEP)(
        [keys.lease, keys.head, keys.marks, keys.due, keys.due_why, keys.wake],
        [now_ms, now_ms + phase_ms, why, _GRACE_MS],
    )
    return bool(reply)


def due_reasons(store: redis.Redis, keys: Keyspace, members: Sequence[str]) -> dict[str, Due]:
    """Give why these are on the timetable, those that are. Only the lease's holder changes it.

    Keys: due:why.
    """
    found: Any = store.hmget(keys.due_why, list(members)) if members else []
    return {member: _due.decode(why) for member, why in zip(members, found, strict=True) if why}


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _head(fields: Mapping[str, str]) -> Head:
    def number(name: str) -> int:
        return int(fields.get(name, 0))

    return Head(
        epoch=fields.get("epoch", ""),
        sequence=number("sequence"),
        digest=fields.get("digest", GENESIS),
        claimed=number("claimed"),
        last_ms=number("last_ms"),
        baseline_ms=number("baseline_ms") or None,
        complete_ms=number("complete_ms") or None,
        clean_ms=number("clean_ms") or None,
        scan_ms=number("scan_ms"),
        total=number("total") if "total" in fields else None,
        per_page=number("per_page"),
        ascending=fields.get("ascending") == "1",
        round_ms=number("round_ms"),
        spacing_ms=number("spacing_ms"),
        time_ms=number("time_ms"),
        server=fields.get("server", ""),
        remembered=fields.get("remembered", ""),
    )


def _mark(scope: str, value: str) -> Mark:
    first_id, last, count, manual = value.split(" ")
    return Mark(Scope.parse(scope), first_id, int(last), int(count), int(manual))


def _notifications(
    store: redis.Redis, keys: Keyspace, marks: Iterable[Mark], claimed: int
) -> dict[Scope, list[str]]:
    """Give the first few notifications of each mark, in one pass over the inbox."""
    wanted = {mark.scope: min(mark.count, NAMED) for mark in marks}
    since = {mark.scope: id_parts(mark.first_id) for mark in marks}
    found: dict[Scope, list[str]] = {scope: [] for scope in wanted}
    start = min((id_parts(mark.first_id) for mark in marks), default=None)
    while start is not None and any(len(found[scope]) < wanted[scope] for scope in wanted):
        entries: Any = store.xrange(keys.inbox, "{}-{}".format(*start), count=_CHUNK)
        for id_, fields in entries:
            for text in fields[b"scopes"].decode().split():
                scope = Scope.parse(text)
                if scope not in wanted or len(found[scope]) == wanted[scope]:
                    continue
                if id_parts(id_.decode()) >= since[scope]:
                    found[scope].append(id_.decode())
        if len(entries) < _CHUNK:
            break
        ms, sequence = id_parts(entries[-1][0].decode())
        start = None if sequence >= claimed else (ms, sequence + 1)
    return found


def _sources(
    marks: Iterable[Mark], due: Mapping[str, Due], noted: Mapping[Scope, list[str]]
) -> Iterable[Source]:
    for mark in marks:
        trigger = Trigger.MANUAL if mark.manual == mark.count else Trigger.NOTIFICATION
        yield Source(mark.scope, trigger, tuple(noted[mark.scope]), mark.count)
    for member, why in due.items():
        scope = COLLECTION if member == RECONCILE else Scope.parse(member)
        yield Source(scope, why.trigger, why.notifications, why.count)

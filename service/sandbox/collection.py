"""The requirements of one tenant and the true history of every row; pure memory, no I/O."""

import bisect
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal

import msgspec

Clock = Callable[[], datetime]
Op = Literal["create", "update", "touch", "delete", "restore"]

TICK = timedelta(milliseconds=1)  # the platform's timestamps have milliseconds


class UnknownIdError(LookupError):
    """Nothing of that id is there."""


class ConflictError(ValueError):
    """The row is already in the state that the edit asks for."""


class Row(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A requirement as the platform serves it, under the platform's own names."""

    audience_requirement_id: str
    audience_id: str
    required_minutes: int
    created_at: str
    updated_at: str | None


class Version(msgspec.Struct, frozen=True, gc=False):
    """One edit: what the row was before it and what it is from `at` on."""

    version: int
    at: datetime
    id: str
    op: Op
    before: Row | None
    row: Row | None


def format_time(moment: datetime) -> str:
    """Write an aware time in the platform's form, `2020-05-27T10:44:05.687Z`."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def rows_digest(rows: Iterable[Row]) -> str:
    """Hash the material fields: hex SHA-256 over the JCS of `[id, audienceId, minutes]`, by id."""
    digest = sha256()
    for row in sorted(rows, key=lambda row: row.audience_requirement_id):
        material = (row.audience_requirement_id, row.audience_id, row.required_minutes)
        digest.update(msgspec.json.encode(material))
    return digest.hexdigest()


class Collection:
    """A tenant's rows, every edit made to them, and the rows as they were at any version.

    Version 0 is what the collection was made with; each edit adds one.
    """

    def __init__(self, rows: Iterable[Row], clock: Clock) -> None:
        self._clock = clock
        self.rows = {row.audience_requirement_id: row for row in rows}
        self.deleted: dict[str, Row] = {}
        self.history: list[Version] = []

    @property
    def version(self) -> int:
        """Count the edits made so far."""
        return len(self.history)

    def create(
        self,
        requirement_id: str,
        audience_id: str,
        minutes: int,
        created_at: datetime | None = None,
    ) -> Version:
        """Add a row.

        Raises:
            ConflictError: the id is taken, or was and can be restored.
        """
        if requirement_id in self.rows or requirement_id in self.deleted:
            raise ConflictError(f"{requirement_id} exists already")
        created = format_time(created_at or self._clock())
        row = Row(requirement_id, audience_id, minutes, created, None)
        return self._record("create", None, row)

    def update(
        self, requirement_id: str, minutes: int | None = None, audience_id: str | None = None
    ) -> Version:
        """Set the fields that are given; without a material difference it is a touch.

        Raises:
            UnknownIdError: there is no such row.
        """
        before = self.row(requirement_id)
        new_minutes = before.required_minutes if minutes is None else minutes
        new_audience = before.audience_id if audience_id is None else audience_id
        moved = (new_minutes, new_audience) != (before.required_minutes, before.audience_id)
        row = Row(
            requirement_id, new_audience, new_minutes, before.created_at, self._next_stamp(before)
        )
        return self._record("update" if moved else "touch", before, row)

    def delete(self, requirement_id: str) -> Version:
        """Remove a row, keeping it for a restore.

        Raises:
            UnknownIdError: there is no such row.
        """
        return self._record("delete", self.row(requirement_id), None)

    def restore(self, requirement_id: str) -> Version:
        """Bring a deleted row back as it was, with a later `updatedAt`.

        Raises:
            ConflictError: the row is there.
            UnknownIdError: there never was such a row.
        """
        if requirement_id in self.rows:
            raise ConflictError(f"{requirement_id} is not deleted")
        if (last := self.deleted.get(requirement_id)) is None:
            raise UnknownIdError(f"{requirement_id} never existed")
        row = msgspec.structs.replace(last, updated_at=self._next_stamp(last))
        return self._record("restore", None, row)

    def row(self, requirement_id: str) -> Row:
        """Return the row as it is now.

        Raises:
            UnknownIdError: there is no such row.
        """
        if (row := self.rows.get(requirement_id)) is None:
            raise UnknownIdError(f"CPD requirement {requirement_id} not found")
        return row

    def version_at(self, moment: datetime) -> int:
        """Name the version that was current at a moment; 0 before the first edit."""
        if not self.history or moment >= self.history[-1].at:
            return len(self.history)
        return bisect.bisect_right(self.history, moment, key=lambda version: version.at)

    def rows_at(self, version: int) -> dict[str, Row]:
        """Undo the history from the head back to a version: `{id: row}`."""
        if version >= len(self.history):
            return self.rows
        rows = dict(self.rows)
        for later in reversed(self.history[version:]):
            if later.before is None:
                rows.pop(later.id, None)
            else:
                rows[later.id] = later.before
        return rows

    def row_at(self, requirement_id: str, version: int) -> Row:
        """Return one row as it was at a version.

        Raises:
            UnknownIdError: there was no such row then.
        """
        for later in self.history[version:]:
            if later.id == requirement_id:
                if later.before is None:
                    raise UnknownIdError(f"CPD requirement {requirement_id} not found")
                return later.before
        return self.row(requirement_id)

    def _next_stamp(self, row: Row) -> str:
        last = datetime.fromisoformat(row.updated_at or row.created_at)
        return format_time(max(self._clock(), last + TICK))

    def _record(self, op: Op, before: Row | None, row: Row | None) -> Version:
        now = self._clock()
        at = max(now, self.history[-1].at) if self.history else now
        if row is not None:
            requirement_id = row.audience_requirement_id
            self.rows[requirement_id] = row
            self.deleted.pop(requirement_id, None)
        elif before is not None:
            requirement_id = before.audience_requirement_id
            self.deleted[requirement_id] = self.rows.pop(requirement_id)
        else:
            raise ValueError("an edit has a row before it or after it")
        version = Version(len(self.history) + 1, at, requirement_id, op, before, row)
        self.history.append(version)
        return version

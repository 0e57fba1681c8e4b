"""A platform that moves while it is read, the same way each time for the same seed.

Time stands still but for what the seed says: it goes on with every read of the list and of single
requirements, and with every step of a reader. So lag matters without anybody waiting.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox import Options, Platform, create_app
from service.sandbox.collection import Row, Version
from service.sandbox.listing import Direction, Order, in_order
from service.sandbox.platform import Tenant
from service.sandbox.seed import draw_minutes, hex_id
from tests.conftest import running
from tests.feed import TENANT_ID

ORDERS: Final[tuple[Order, ...]] = ("created", "id", "updated", "unstable")
DIRECTIONS: Final[tuple[Direction, ...]] = ("ascending", "descending")
MOST_ROWS: Final = 40
START: Final = datetime(2026, 1, 1, tzinfo=UTC)

Look = Literal["scan", "notify", "serve"]
_Op = Literal["create", "update", "delete", "touch", "restore", "move"]
_OPS: Final[tuple[_Op, ...]] = ("create", "update", "delete", "touch", "restore", "move")
_WEIGHTS: Final = (20, 18, 27, 5, 22, 8)


class Step(Struct, frozen=True):
    """What happens before a reader looks, and how it then looks.

    First a share of all rows is ``purged`` and ``edits`` are made, then ``wait_ms`` go by, and
    while the reader reads at most ``meanwhile`` edits more are made. To ``serve`` is to do what is
    due by then, and nothing else.
    """

    purged: float
    edits: int
    wait_ms: int
    meanwhile: int
    look: Look


class Course(Struct, frozen=True):
    """All that a seed says about a run."""

    seed: int
    order: Order
    direction: Direction
    per_page: int
    rows: int
    audiences: int
    lag_s: int
    jitter: bool
    settle_s: tuple[int, ...]
    tick_ms: int
    """A read takes up to this long."""
    drift: float
    """How likely it is that edits are made before a read, as long as any are left."""
    steps: tuple[Step, ...]


class Edited(Struct, frozen=True):
    """An edit, as a notification would tell of it."""

    id: str
    audiences: tuple[str, ...]


def draw(seed: int) -> Course:
    """Give the course of the run of a seed."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    per_page = chance.randint(2, 7)
    pages = chance.choice([0, 1, 2, 3, 3, 4, 4, 5, 6, 8])
    lag_s = chance.choice([0, 0, chance.randint(1, 5), chance.randint(6, 60), 60])
    return Course(
        seed=seed,
        order=chance.choice(ORDERS),
        direction=chance.choice(DIRECTIONS),
        per_page=per_page,
        rows=min(MOST_ROWS, max(0, pages * per_page - chance.randrange(per_page))),
        audiences=chance.randint(1, 6),
        lag_s=lag_s,
        jitter=chance.random() < 0.7,
        settle_s=chance.choice([(5, 60), (1,), (60,)]),
        tick_ms=chance.choice([1, 100, 2_000, 20_000]),
        drift=chance.choice([0.0, 0.2, 0.5, 0.9]),
        steps=tuple(_step(chance, lag_s) for _ in range(chance.randint(2, 4))),
    )


def _step(chance: random.Random, lag_s: int) -> Step:
    wait_s = chance.choice([0, 0, chance.uniform(0, 5), lag_s / 2, lag_s, 90])
    looks: tuple[Look, ...] = ("scan", "scan", "notify", "notify", "serve")
    return Step(
        purged=chance.choice([0.5, 1]) if chance.random() < 0.05 else 0,
        edits=chance.choice([0, 1, 1, 2, 4]),
        wait_ms=int(wait_s * 1000),
        meanwhile=chance.choice([0, 1, 2, 4]),
        look=chance.choice(looks),
    )


class World:
    """The platform, its clock, and whoever edits it; one run after another."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.edited: list[Edited] = []
        """What was edited since somebody last took it away."""
        self.platform = Platform(self.clock, random.Random(0))  # noqa: S311 - reproducible
        self.course = draw(0)
        self._chance = random.Random(0)  # noqa: S311 - reproducible
        self._left = 0
        self._audiences: list[str] = []

    @property
    def tenant(self) -> Tenant:
        """Give the tenant, with its true rows and their history."""
        return self.platform.tenant(TENANT_ID)

    def clock(self) -> datetime:
        """Give the time."""
        return START + timedelta(milliseconds=self.now_ms)

    def begin(self, course: Course) -> None:
        """Make the world anew."""
        self.course, self.now_ms, self._left = course, 0, 0
        self._chance.seed(course.seed)
        self.platform.rng.seed(f"platform {course.seed}")  # or it would draw the edits' ids
        lag_s = course.lag_s
        options = Options(
            order=course.order,
            direction=course.direction,
            lag_list_s=lag_s,
            lag_by_id_s=lag_s,
            lag_jitter=course.jitter,
        )
        tenant = self.platform.put(TENANT_ID, options, course.rows)
        self._audiences = [hex_id(self._chance) for _ in range(course.audiences)]
        rows = tenant.collection.rows
        for id_, row in rows.items():
            audience = self._chance.choice(self._audiences)
            rows[id_] = Row(id_, audience, row.required_minutes, row.created_at, row.updated_at)
        for audience in self._audiences:
            tenant.directory.ensure(audience)
        self.edited = []

    def before(self, step: Step) -> None:
        """Let happen what happens before a reader looks."""
        rows = self.tenant.collection.rows
        for id_ in self._chance.sample(list(rows), int(step.purged * len(rows))):
            self._note(self.tenant.collection.delete(id_))
        for _ in range(step.edits):
            self._edit()
        self.now_ms += step.wait_ms
        self._left = step.meanwhile

    def rest(self) -> None:
        """Let nobody edit any more, until every replica shows the last edit."""
        self._left = 0
        self.now_ms += self.course.lag_s * 1000

    def before_read(self) -> None:
        """Let time go on, and edits happen, before the platform answers a read."""
        self.now_ms += int(self._chance.uniform(0, self.course.tick_ms))
        while self._left and self._chance.random() < self.course.drift:
            self._left -= 1
            self._edit()

    def take_edited(self) -> list[Edited]:
        """Give what was edited since this was last asked."""
        edited, self.edited = self.edited, []
        return edited

    # --- edits ------------------------------------------------------------------------------------

    def _edit(self) -> None:
        """Make one edit somewhere; what has no row to work on becomes a new row."""
        chance, tenant = self._chance, self.tenant
        (op,) = chance.choices(_OPS, _WEIGHTS)
        gone = list(tenant.collection.deleted)
        if op == "restore" and gone:
            version = tenant.collection.restore(chance.choice([gone[-1], chance.choice(gone)]))
        elif op in {"update", "delete", "touch", "move"} and tenant.collection.rows:
            id_ = self._somewhere().audience_requirement_id
            if op == "delete":
                version = tenant.collection.delete(id_)
            else:
                minutes = draw_minutes(chance) if op == "update" else None
                audience = chance.choice(self._audiences) if op == "move" else None
                version = tenant.update(id_, minutes, audience)
        elif len(tenant.collection.rows) < MOST_ROWS:
            created = self._created_at() if chance.random() < 0.4 else None
            audience = chance.choice(self._audiences)
            version = tenant.create(draw_minutes(chance), audience, hex_id(chance), created)
        else:
            return
        self._note(version)

    def _note(self, version: Version) -> None:
        """Remember an edit, for whoever is to be notified."""
        rows = [row for row in (version.before, version.row) if row is not None]
        self.edited.append(Edited(version.id, tuple({row.audience_id: 0 for row in rows})))

    def _somewhere(self) -> Row:
        """Choose a row: the first or last one served, or any between."""
        rows = in_order(self.tenant.collection.rows, self.course.order)
        return self._chance.choice([rows[0], rows[-1], self._chance.choice(rows)])

    def _created_at(self) -> datetime:
        """Choose a time at which a row may come in between those that are there."""
        times = [row.created_at for row in self.tenant.collection.rows.values()]
        first = datetime.fromisoformat(min(times, default=self.clock().isoformat()))
        first -= timedelta(minutes=1)
        return first + (self.clock() - first) * self._chance.random()


class _Moving:
    """Lets the world move before each read of requirements."""

    def __init__(self, app: ASGIApp, before_read: Callable[[], None]) -> None:
        self._app = app
        self._before_read = before_read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "/cpdRequirementSummaries" in scope["path"]:
            self._before_read()
        await self._app(scope, receive, send)


@contextmanager
def serving(world: World) -> Iterator[str]:
    """Serve the world's platform over HTTP; gives its base URL."""
    app = create_app(world.platform)
    app.add_middleware(_Moving, before_read=world.before_read)
    with running(app, []) as base:
        yield base

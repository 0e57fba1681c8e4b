"""The platform in memory: its tenants, and what each is, holds, is asked and sends."""

import random
from collections import deque
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from service.sandbox.audiences import Directory
from service.sandbox.collection import Clock, Collection, Row, UnknownIdError, Version
from service.sandbox.deliveries import Delivery, Target
from service.sandbox.faults import FaultSet
from service.sandbox.listing import Direction, Listing, Order
from service.sandbox.reads import ReadLog
from service.sandbox.seed import SEED_AUDIENCE, SEED_ROWS, generate_rows, hex_id
from service.sandbox.tokens import Grant, Issuer

DEFAULT_TENANT = "eu-west-2_Sandbox01"
DELIVERIES_KEPT = 10_000

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set per tenant; `client_id` defaults to the tenant's id."""

    api_secret: str = "sandbox-secret"  # noqa: S105 - the documented secret of an emulator
    client_id: str | None = None
    client_secret: str = "sandbox-client-secret"  # noqa: S105 - likewise
    audience: str | None = None
    token_ttl_s: Annotated[int, msgspec.Meta(ge=1)] = 3600
    opaque_tokens: bool = False
    latency_ms: Seconds = 0
    order: Order = "created"
    direction: Direction = "ascending"
    lag_list_s: Seconds = 0
    lag_by_id_s: Seconds = 0
    lag_jitter: bool = False


class Tenant:
    """One tenant: the true rows with their history, and the view of them that it serves."""

    def __init__(
        self, tenant_id: str, options: Options, rows: list[Row], platform: "Platform"
    ) -> None:
        self.id = tenant_id
        self.options = options
        self._clock = platform.clock
        self._rng = platform.rng
        self.collection = Collection(rows, platform.clock)
        self.listing = Listing(self.collection, platform.rng)
        self.directory = Directory(platform.clock, platform.rng)
        self.faults = FaultSet(platform.rng)
        self.issuer = Issuer(tenant_id, platform.grants, platform.clock, platform.rng)
        self.reads = ReadLog()
        self.target: Target | None = None
        self.deliveries: deque[Delivery] = deque(maxlen=DELIVERIES_KEPT)
        self.directory.rename(*SEED_AUDIENCE)
        for row in rows:
            self.directory.ensure(row.audience_id)

    @property
    def client_id(self) -> str:
        """Name the client that may mint this tenant's tokens."""
        return self.options.client_id or self.id

    def now(self) -> datetime:
        """Read the platform's clock."""
        return self._clock()

    def list_page(self, page: int, per_page: int) -> bytes:
        """Return the JSON body of a page of the list, as old as the list's lag makes it."""
        version = self._seen_version(self.options.lag_list_s)
        return self.listing.page(
            version, self.options.order, self.options.direction, page, per_page
        )

    def one(self, requirement_id: str) -> Row:
        """Return one row, as old as the by-id lag makes it.

        Raises:
            UnknownIdError: there was no such row then.
        """
        version = self._seen_version(self.options.lag_by_id_s)
        return self.collection.row_at(requirement_id, version)

    def create(
        self,
        minutes: int,
        audience_id: str | None = None,
        requirement_id: str | None = None,
        created_at: datetime | None = None,
    ) -> Version:
        """Add a requirement; ids that are not given are drawn.

        Raises:
            ConflictError: the id is taken.
        """
        audience_id = audience_id or hex_id(self._rng)
        version = self.collection.create(
            requirement_id or hex_id(self._rng), audience_id, minutes, created_at
        )
        self.directory.ensure(audience_id)
        return version

    def update(
        self, requirement_id: str, minutes: int | None = None, audience_id: str | None = None
    ) -> Version:
        """Set the fields that are given, and `updatedAt`.

        Raises:
            UnknownIdError: there is no such row.
        """
        version = self.collection.update(requirement_id, minutes, audience_id)
        if audience_id is not None:
            self.directory.ensure(audience_id)
        return version

    def _seen_version(self, lag_s: float) -> int:
        if not lag_s:
            return self.collection.version
        lag = self._rng.uniform(0, lag_s) if self.options.lag_jitter else lag_s
        return self.collection.version_at(self._clock() - timedelta(seconds=lag))


class Platform:
    """All tenants; the clock and the randomness are the caller's."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        retry_base_s: float = 1.0,
        *,
        default_tenant: bool = True,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.retry_base_s = retry_base_s
        self.grants: dict[str, Grant] = {}
        self.tenants: dict[str, Tenant] = {}
        if default_tenant:
            self.put(DEFAULT_TENANT)

    def put(
        self,
        tenant_id: str,
        options: Options | None = None,
        rows: int | Literal["seed"] = "seed",
    ) -> Tenant:
        """Make a tenant, or make it anew: nothing of an earlier one of that id is left."""
        if (old := self.tenants.get(tenant_id)) is not None:
            old.issuer.revoke_all()
        initial = list(SEED_ROWS) if rows == "seed" else generate_rows(rows, self.clock(), self.rng)
        tenant = self.tenants[tenant_id] = Tenant(tenant_id, options or Options(), initial, self)
        return tenant

    def tenant(self, tenant_id: str) -> Tenant:
        """Return a tenant.

        Raises:
            UnknownIdError: there is no such tenant.
        """
        if (tenant := self.tenants.get(tenant_id)) is None:
            raise UnknownIdError(f"Tenant {tenant_id} not found")
        return tenant

"""One round of a refresh: what was claimed together is planned, read and committed together."""

from collections.abc import Collection
from typing import Any, Final

import redis
from msgspec import Struct

from workers.changes.agenda import Agenda
from workers.changes.commit import Commits, Finish
from workers.changes.event import Causes, Telling
from workers.changes.read import Platform, Read
from workers.changes.scan import Seen
from workers.changes.suspects import Inquiry
from workers.context import Context
from workers.contract.codec import accepted_ms, pack_id, unpack_ids, unpack_row
from workers.contract.errors import UpstreamError, UpstreamThrottled
from workers.contract.keyspace import Keyspace
from workers.contract.logs import get_logger
from workers.contract.model import Due, Head, Trigger
from workers.contract.scope import Scope, ScopeKind
from workers.contract.settings import Tenant
from workers.intake.claim import RECONCILE, Claim, due_reasons
from workers.intake.lease import Lease
from workers.intake.plan import Plan, plan
from workers.intake.retention import DAY_MS, forget, trim
from workers.intake.settle import settle
from workers.upstream.budget import Budget
from workers.upstream.client import Client
from workers.upstream.names import Names
from workers.upstream.tokens import Tokens

LONGEST_SPACING_MS: Final = 30_000
SHORTEST_RETRY_MS: Final = 1_000

log = get_logger(__name__)


class Round(Struct):
    """What belongs to one round: what was claimed together is read and committed together."""

    context: Context
    tenant: Tenant
    keys: Keyspace
    claimed: Claim
    started_ms: int
    client: Client
    causes: Causes
    commits: Commits
    agenda: Agenda
    read: Read
    served: set[Scope]
    """Scopes that were read anew."""
    seen: Seen | None = None
    """What a scan saw, if there was one."""
    error: UpstreamError | None = None
    """The first thing that could not be had."""


def work(context: Context, tenant: Tenant, keys: Keyspace, lease: Lease, claimed: Claim) -> int:
    """Read what was claimed, and commit it as one read; give when what is left can be served."""
    head, started_ms = claimed.head, context.now_ms()
    asked = {
        Scope.parse(member).id
        for member, why in claimed.due.items()
        if why.by_id and head.baseline_ms is not None
    }
    aims = _plan(context.store, keys, claimed)
    # One page is the whole collection: to read it is to scan it.
    whole = head.baseline_ms is None or head.per_page != tenant.per_page or _is_one_page(head)
    scan_ms = 0 if whole else head.scan_ms + int(tenant.scan_min_s * 1000)
    may_scan = started_ms >= scan_ms
    if not (aims.pages or asked or may_scan):
        least_ms = int(tenant.refresh_min_s * 1000)
        context.store.hset(keys.head, "not_before_ms", started_ms + least_ms)
        return scan_ms
    _space_rounds(context.store, keys, head, started_ms, int(tenant.refresh_min_s * 1000))
    round_ = _open(context, tenant, keys, lease, claimed, started_ms)
    moved = False
    if aims.pages and not (may_scan and (whole or aims.by_scan)):
        moved = _read_targets(round_, aims)
    if may_scan and (whole or moved or aims.by_scan):
        _scan(round_)
    elif moved:
        round_.agenda.scan(scan_ms)
    if head.baseline_ms is not None:
        _ask(round_, asked)
    _finish(round_)
    if round_.seen is not None and round_.seen.complete:
        _tidy(context, keys, lease)
    return 0 if may_scan else scan_ms


def _plan(store: redis.Redis, keys: Keyspace, claimed: Claim) -> Plan:
    """Look up where the claimed scopes were last seen, and plan.

    Keys: audiences, rows.
    """
    by_id = {member for member, why in claimed.due.items() if why.by_id}
    marked = {mark.scope for mark in claimed.marks}
    scopes = {
        source.scope
        for source in claimed.sources
        if source.scope in marked or str(source.scope) not in by_id
    }
    audiences = [scope.id for scope in scopes if scope.kind is ScopeKind.AUDIENCE]
    ids = [scope.id for scope in scopes if scope.kind is ScopeKind.REQUIREMENT]
    members: dict[str, list[str]] = {}
    if audiences:
        found: Any = store.hmget(keys.audiences, [pack_id(audience) for audience in audiences])
        members = {
            audience: unpack_ids(packed) for audience, packed in zip(audiences, found, strict=True)
        }
        ids += [id_ for known in members.values() for id_ in known]
    last_seen: dict[str, int] = {}
    if ids:
        rows: Any = store.hmget(keys.rows, [pack_id(id_) for id_ in ids])
        last_seen = {
            id_: unpack_row(id_, packed).page
            for id_, packed in zip(ids, rows, strict=True)
            if packed is not None
        }
    return plan(scopes, members, last_seen)


def _open(
    context: Context,
    tenant: Tenant,
    keys: Keyspace,
    lease: Lease,
    claimed: Claim,
    started_ms: int,
) -> Round:
    """Put together what a round works with."""
    client = Client(
        context.connections,
        tenant,
        Tokens(context.store, keys, tenant),
        Budget(context.store, keys, tenant.rate_per_min),
        context.now_ms,
    )
    causes = Causes(claimed.sources)
    agenda = Agenda(causes)
    names = Names(context.store, keys, client, context.now_ms, tenant.names_s)
    commits = Commits(
        context.store,
        keys,
        lease.token,
        claimed.head,
        Telling(causes, names.of),
        started_ms=started_ms,
        now_ms=context.now_ms,
        new_id=context.new_id,
    )
    inquiry = Inquiry(
        client.read_many,
        frozenset(claimed.due),
        lambda members: due_reasons(context.store, keys, members),
        int(tenant.lag_s * 1000),
        60_000 / tenant.rate_per_min if tenant.rate_per_min else 1,
        tenant.remove_unseen,
    )
    platform = Platform(
        client.read_pages,
        inquiry,
        frozenset(claimed.due),
        tenant.per_page,
        int(next(iter(tenant.settle_s), tenant.lag_s) * 1000),
    )
    read = Read(context.store, keys, claimed.head, commits, agenda, platform, context.now_ms)
    return Round(
        context, tenant, keys, claimed, started_ms, client, causes, commits, agenda, read, set()
    )


def _read_targets(round_: Round, aims: Plan) -> bool:
    """Read the planned pages; tell whether one shows that the collection moved."""
    targeted = round_.read.target({page: target.expected for page, target in aims.pages.items()})
    round_.served = aims.served(targeted.agreed)
    round_.error = targeted.error
    return targeted.moved


def _ask(round_: Round, ids: Collection[str]) -> None:
    """Ask by id for what is due to be, unless a scan has just shown it, and for sightings."""
    seen, suspects = round_.seen, round_.read.suspects
    shown = seen.ids if seen is not None and seen.complete else set()
    suspects.ask([id_ for id_ in ids if pack_id(id_) not in shown])
    suspects.confirm()
    marked = {mark.scope for mark in round_.claimed.marks}
    round_.served |= {Scope(ScopeKind.REQUIREMENT, id_) for id_ in ids} - marked
    round_.served -= {Scope(ScopeKind.REQUIREMENT, id_) for id_ in suspects.left} - marked


def _scan(round_: Round) -> None:
    """Read the whole collection; the first time, take it as the baseline."""
    round_.context.store.hset(round_.keys.head, "scan_ms", round_.started_ms)
    seen = round_.read.scan(round_.started_ms)
    round_.seen, round_.error = seen, seen.error or round_.error
    if not seen.complete:
        return
    round_.served = {source.scope for source in round_.claimed.sources}
    if round_.claimed.head.baseline_ms is None:
        round_.commits.baseline()


def _finish(round_: Round) -> None:
    """Make the read's last commit: what it served, what is due later, where the tenant stands."""
    head, commits, read, seen = round_.claimed.head, round_.commits, round_.read, round_.seen
    agenda, now_ms = round_.agenda, round_.context.now_ms()
    scanned = seen is not None and seen.complete
    if scanned or head.baseline_ms is not None:
        again, settled = settle(
            round_.claimed.marks,
            round_.claimed.sources,
            round_.claimed.due,
            round_.claimed.waiting,
            round_.served,
            commits.showed(),
            round_.tenant.settle_s,
            now_ms,
        )
        agenda.add(again)
        if scanned:
            agenda.again[RECONCILE] = (now_ms + _period_ms(round_), Due(Trigger.RECONCILE))
        left = [mark for mark in round_.claimed.marks if mark.scope not in round_.served]
        commits.finish(
            Finish(
                trigger=round_.causes.every().trigger,
                served=[mark for mark in round_.claimed.marks if mark.scope in round_.served],
                scopes=sorted(str(scope) for scope in _covered(round_)),
                due_set=agenda.again,
                due_del=sorted((settled | agenda.resolved) - set(agenda.again)),
                head=_standing(round_) if scanned else {},
                stats={"reads": round_.client.reads, **agenda.stats},
                oldest_ms=min(
                    (accepted_ms(mark.first_id) for mark in left), default=round_.started_ms
                ),
                quarantined=read.quarantine.kept,
                freed=read.quarantine.freed,
                suspended=read.suspects.suspended,
                last_page=seen.pages if seen is not None and scanned else None,
            )
        )
        round_.context.remember(round_.tenant.slug, commits)
    _report(round_)


def _tidy(context: Context, keys: Keyspace, lease: Lease) -> None:
    """Forget notifications and changes that are too old."""
    settings, now_ms = context.settings, context.now_ms()
    forget(context.store, keys, now_ms - int(settings.inbox_days * DAY_MS))
    trimmed = trim(context.store, keys, lease.token, now_ms, settings.log_max, settings.log_days)
    if trimmed:
        log.info("log.trimmed", tenant=keys.tenant, changes=trimmed)


def _period_ms(round_: Round) -> int:
    """Give when the timer is to fire next; tenants that began together go ever further apart."""
    period_ms = round_.tenant.reconcile_s * 1000
    shortest = 0 if round_.claimed.head.baseline_ms is None else 0.9
    return int(period_ms * round_.context.chance.uniform(shortest, 1))


def _covered(round_: Round) -> set[Scope]:
    """Give the scopes that a notification can be covered by: not those that were asked by id."""
    due = round_.claimed.due
    marked = {mark.scope for mark in round_.claimed.marks}
    by_id = {Scope.parse(member) for member, why in due.items() if why.by_id}
    return round_.served - (by_id - marked)


def _standing(round_: Round) -> dict[str, int | str]:
    """Give the fields of the head that a complete scan sets."""
    seen = round_.seen
    if seen is None:
        return {}
    fields: dict[str, int | str] = {
        "complete_ms": round_.started_ms,
        "total": seen.total,
        "per_page": round_.tenant.per_page,
        "ascending": int(seen.ascending),
    }
    if not (seen.drifted or round_.read.suspects.open):
        fields["clean_ms"] = round_.started_ms
    return fields


def _is_one_page(head: Head) -> bool:
    return head.total is not None and head.total <= head.per_page


def _space_rounds(
    store: redis.Redis, keys: Keyspace, head: Head, started_ms: int, least_ms: int
) -> None:
    """Keep rounds apart: ever further while they find nothing, unless the tenant was quiet.

    Keys: head.
    """
    quiet = started_ms - head.round_ms - head.spacing_ms > LONGEST_SPACING_MS
    doubled_ms = 0 if quiet else min(head.spacing_ms * 2, LONGEST_SPACING_MS)
    spacing_ms = max(doubled_ms, least_ms)
    store.hset(
        keys.head,
        mapping={
            "round_ms": started_ms,
            "spacing_ms": spacing_ms,
            "not_before_ms": started_ms + spacing_ms,
        },
    )


def _report(round_: Round) -> None:
    """Log what a round came to, and put the next one where that leads.

    Keys: head.
    """
    commits, error, now_ms = round_.commits, round_.error, round_.context.now_ms()
    bound = log.bind(
        tenant=round_.keys.tenant,
        upstream_reads=round_.client.reads,
        changes=len(commits.changes),
        sequence=commits.sequence,
        ms=now_ms - round_.started_ms,
    )
    least_ms = int(round_.tenant.refresh_min_s * 1000)
    if error is not None:
        bound.warning("refresh.incomplete", reason=error.reason, error=str(error))
        wait_ms = max(round_.claimed.head.spacing_ms * 2, SHORTEST_RETRY_MS)
        wait_ms = min(wait_ms, LONGEST_SPACING_MS)
        if isinstance(error, UpstreamThrottled) and error.retry_after_s is not None:
            wait_ms = max(wait_ms, int(error.retry_after_s * 1000))
        round_.context.store.hset(round_.keys.head, "not_before_ms", now_ms + wait_ms)
        return
    bound.info("refresh.done")
    if commits.changes:
        round_.context.store.hset(
            round_.keys.head,
            mapping={"spacing_ms": 0, "not_before_ms": round_.started_ms + least_ms},
        )

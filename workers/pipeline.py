"""The way of a change, from a wake-up call to the log: claim, plan, fetch, diff, commit.

Plain functions over what they are given. Nothing here enqueues: what is to be called next is
returned.
"""

import time
from typing import Final

from workers.changes.commit import Commits, Finish
from workers.changes.event import Causes, Telling
from workers.context import Context
from workers.contract import calls
from workers.contract.calls import Call
from workers.contract.keyspace import Keyspace
from workers.contract.logs import get_logger
from workers.contract.model import Due, Trigger
from workers.contract.settings import Tenant
from workers.intake.claim import RECONCILE, Claim, claim, overdue
from workers.intake.continuity import loss, run_id
from workers.intake.lease import Lease, acquire, kept
from workers.rounds import work

MOST_ROUNDS: Final = 10
LONGEST_TASK_S: Final = 30.0

log = get_logger(__name__)


def sweep(context: Context) -> list[Call]:
    """Repair lost wake-up calls: give one for every tenant that waits for a refresh."""
    return [
        calls.refresh(tenant.slug)
        for tenant in context.settings.tenants.values()
        if overdue(
            context.store,
            Keyspace(tenant.slug),
            context.now_ms(),
            tenant.reconcile_s,
            context.chance,
        )
    ]


def refresh(context: Context, slug: str) -> list[Call]:
    """Serve everything that was accepted or is due for a tenant; give the calls to make next.

    When somebody else holds the tenant's lease there is nothing to do: whoever lets go of it looks
    once more.
    """
    tenant, keys = context.settings.tenants.get(slug), Keyspace(slug)
    lease = None if tenant is None else acquire(context.store, keys)
    if tenant is None or lease is None:
        return []
    left_ms = 0
    try:
        with kept(lease):
            left_ms = _rounds(context, tenant, keys, lease)
    finally:
        now_ms = context.now_ms()
        wake_ms = lease.release(now_ms, left_ms)
    if wake_ms is None:
        return []
    return [calls.refresh(slug, (wake_ms - now_ms) / 1000)]


def _rounds(context: Context, tenant: Tenant, keys: Keyspace, lease: Lease) -> int:
    """Work in rounds while there is work; give when what is left behind can be served, in ms."""
    deadline = time.monotonic() + LONGEST_TASK_S
    for _ in range(MOST_ROUNDS):
        if time.monotonic() > deadline or context.stopping.is_set():
            break
        claimed = claim(context.store, keys, lease.token, context.now_ms())
        if not isinstance(claimed, Claim):
            break
        if _begin_epoch(context, tenant, keys, lease, claimed):
            continue
        left_ms = work(context, tenant, keys, lease, claimed)
        if left_ms:
            return left_ms
    return 0


def _begin_epoch(
    context: Context, tenant: Tenant, keys: Keyspace, lease: Lease, claimed: Claim
) -> bool:
    """Go on under a new name when Redis has lost some of the log; tell whether it had to be.

    The rows there are stay, a baseline tells of them, and a scan finds what they have missed.
    """
    head, server = claimed.head, run_id(context.store)
    lost = loss(
        context.store, keys, head, context.remembered.get((tenant.slug, head.epoch)), server
    )
    if lost is None:
        if server is not None and server != head.server:
            context.store.hset(keys.head, "server", server)
        return False
    now_ms = context.now_ms()
    commits = Commits(
        context.store,
        keys,
        lease.token,
        head,
        Telling(Causes(()), lambda _: {}),
        started_ms=now_ms,
        now_ms=context.now_ms,
        new_id=context.new_id,
    )
    commits.begin_epoch(context.new_id())
    commits.finish(
        Finish(
            trigger=Trigger.RECONCILE,
            due_set={RECONCILE: (now_ms, Due(Trigger.RECONCILE))},
            head={"server": server or ""},
            stats={"epochs": 1},
        )
    )
    context.remember(tenant.slug, commits)
    log.error("epoch.begun", tenant=tenant.slug, why=lost, sequence=commits.sequence)
    return True

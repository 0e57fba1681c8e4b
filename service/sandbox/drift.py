"""Random edits: those a tenant is asked to make at once, and those between two page reads."""

import random
from datetime import datetime, timedelta

from service.sandbox.collection import Version, format_time
from service.sandbox.faults import EditFault, Position
from service.sandbox.listing import in_order
from service.sandbox.platform import Tenant
from service.sandbox.seed import draw_minutes, hex_id

_OPS = ("create", "update", "delete", "restore", "touch")
_WEIGHTS = (25, 40, 15, 10, 10)


def random_edits(tenant: Tenant, count: int, rng: random.Random) -> list[Version]:
    """Make `count` edits of all kinds; an op that has no row to work on becomes a create."""
    living = list(tenant.collection.rows)
    deleted = list(tenant.collection.deleted)
    made = []
    for _ in range(count):
        (op,) = rng.choices(_OPS, _WEIGHTS)
        if op == "restore" and deleted:
            requirement_id = _draw(deleted, rng)
            living.append(requirement_id)
            version = tenant.collection.restore(requirement_id)
        elif op == "delete" and living:
            requirement_id = _draw(living, rng)
            deleted.append(requirement_id)
            version = tenant.collection.delete(requirement_id)
        elif op in {"update", "touch"} and living:
            requirement_id = rng.choice(living)
            version = tenant.update(requirement_id, draw_minutes(rng) if op == "update" else None)
        else:
            version = tenant.create(draw_minutes(rng), hex_id(rng), _unused_id(tenant, rng))
            living.append(version.id)
        made.append(version)
    return made


def apply_edit(tenant: Tenant, fault: EditFault, rng: random.Random) -> Version | None:
    """Make the edit of a fault at its position in the list; nothing to edit is no edit."""
    if fault.op == "create":
        return _create_at(tenant, fault.position, rng)
    rows = in_order(tenant.collection.rows, tenant.options.order)
    if tenant.options.direction == "descending":
        rows.reverse()
    if not rows:
        return None
    row = {"first": rows[0], "last": rows[-1]}.get(fault.position) or rng.choice(rows)
    requirement_id = row.audience_requirement_id
    if fault.op == "delete":
        return tenant.collection.delete(requirement_id)
    return tenant.update(
        requirement_id, row.required_minutes + 15 if fault.op == "update" else None
    )


def _create_at(tenant: Tenant, position: Position, rng: random.Random) -> Version:
    """Choose the id and the creation time so that the row lands at the position in any order."""
    rows = tenant.collection.rows
    if position == "random" or not rows:
        created_at = None
        if rows:
            created_at = datetime.fromisoformat(rng.choice(list(rows.values())).created_at)
        return tenant.create(draw_minutes(rng), created_at=created_at)
    at_low_end = (position == "first") == (tenant.options.direction == "ascending")
    step = -1 if at_low_end else 1
    edge_id = min(rows) if at_low_end else max(rows)
    times = [row.updated_at or row.created_at for row in rows.values()]
    times += [row.created_at for row in rows.values()]
    edge_time = min(times) if at_low_end else max(*times, format_time(tenant.now()))
    return tenant.create(
        draw_minutes(rng),
        requirement_id=f"{max(int(edge_id, 16) + step, 0):024x}",
        created_at=datetime.fromisoformat(edge_time) + step * timedelta(milliseconds=1),
    )


def _unused_id(tenant: Tenant, rng: random.Random) -> str:
    """Draw an id that no row has or had: a seed used twice draws the same ids again."""
    while True:
        requirement_id = hex_id(rng)
        known = tenant.collection.rows, tenant.collection.deleted
        if not any(requirement_id in ids for ids in known):
            return requirement_id


def _draw(ids: list[str], rng: random.Random) -> str:
    """Take one out in constant time; the order of the others is not kept."""
    index = rng.randrange(len(ids))
    ids[index], ids[-1] = ids[-1], ids[index]
    return ids.pop()

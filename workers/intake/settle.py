"""Decide what is read again later: a notification can outrun the platform's replicas. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence

from workers.contract.model import NAMED, Due, Mark, Source, Trigger
from workers.contract.scope import Scope

_NONE = Due(Trigger.SETTLE)


def settle(
    marks: Sequence[Mark],
    sources: Sequence[Source],
    due: Mapping[str, Due],
    waiting: Mapping[str, Due],
    served: Collection[Scope],
    showed_change: Callable[[Scope], bool],
    settle_s: Sequence[float],
    now_ms: int,
) -> tuple[dict[str, tuple[int, Due]], set[str]]:
    """Give (scopes to read again: time in ms and why; scopes that need it no more).

    A hinted scope that was served and showed no change is read again at each of ``settle_s``
    seconds after its last notification; one that showed a change has settled. What was asked for
    by hand is not read again. What was ``waiting`` for the same scope keeps its notifications.
    """
    again: dict[str, tuple[int, Due]] = {}
    settled: set[str] = set()
    hinted = {mark.scope: mark for mark in marks if mark.count > mark.manual}
    for source in sources:
        member = str(source.scope)
        if source.scope not in served or source.trigger is Trigger.RECONCILE:
            continue
        if showed_change(source.scope):
            settled.add(member)
        elif source.scope in hinted:
            if source.trigger is Trigger.NOTIFICATION and settle_s:
                earlier = waiting.get(member, _NONE)
                named = dict.fromkeys([*earlier.notifications, *source.notifications])
                why = Due(Trigger.SETTLE, 0, tuple(named)[:NAMED], earlier.count + source.count)
                again[member] = (now_ms + int(settle_s[0] * 1000), why)
        elif member in due:
            step = due[member].step + 1
            if step < len(settle_s):
                wait_s = settle_s[step] - settle_s[step - 1]
                why = Due(Trigger.SETTLE, step, source.notifications, source.count)
                again[member] = (now_ms + int(wait_s * 1000), why)
            else:
                settled.add(member)
    return again, settled - set(again)

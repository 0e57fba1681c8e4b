"""Decide which pages to read for what was claimed. Pure."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from workers.contract.scope import Scope, ScopeKind


class Target(Struct, frozen=True):
    """A page to read: the scopes it serves, and the ids that were last seen there."""

    scopes: frozenset[Scope]
    expected: frozenset[str]


class Plan(Struct, frozen=True):
    """What to read; ``by_scan`` are the scopes that only the whole collection can serve."""

    pages: Mapping[int, Target]
    by_scan: frozenset[Scope]

    def served(self, pages: Iterable[int]) -> set[Scope]:
        """Give the scopes that are served once exactly these pages were read."""
        unread = set(self.pages) - set(pages)
        missed = {scope for page in unread for scope in self.pages[page].scopes}
        return {scope for page in pages for scope in self.pages[page].scopes} - missed


def plan(
    scopes: Iterable[Scope],
    audiences: Mapping[str, Iterable[str]],
    last_seen: Mapping[str, int],
) -> Plan:
    """Map scopes to the pages where they were last seen.

    Args:
        scopes: What is to be read again.
        audiences: Audience → ids of its requirements; absent or empty when unknown.
        last_seen: Requirement → the page it was last seen on; absent or 0 when unknown.

    A requirement or audience that is unknown, or in part of unknown place, takes the collection:
    nobody can say on which page it is.
    """
    wanted: dict[int, tuple[set[Scope], set[str]]] = {}
    by_scan = set()
    for scope in scopes:
        ids = [scope.id] if scope.kind is ScopeKind.REQUIREMENT else audiences.get(scope.id, ())
        places = {id_: last_seen.get(id_, 0) for id_ in ids}
        if scope.kind is ScopeKind.COLLECTION or not places or 0 in places.values():
            by_scan.add(scope)
            continue
        for id_, page in places.items():
            on_page = wanted.setdefault(page, (set(), set()))
            on_page[0].add(scope)
            on_page[1].add(id_)
    pages = {
        page: Target(frozenset(scopes_), frozenset(ids))
        for page, (scopes_, ids) in sorted(wanted.items())
    }
    return Plan(pages, frozenset(by_scan))

"""Name every Redis key, once: its type, how long it lives, who writes and who reads it.

All keys of a tenant share one hash tag, literal braces around the slug, so every atomic step is
one script on one slot. ``docs/keys.md`` is this table.
"""

from typing import Final, Literal

from msgspec import Struct

SCHEMA_KEY: Final = "cpdfeed:schema"
SCHEMA_VERSION: Final = "1"

Kind = Literal["string", "hash", "stream", "sorted set", "set", "channel"]
PERMANENT: Final = "permanent"


class Key(Struct, frozen=True):
    """One row of the key table; ``suffix`` follows ``cpdfeed:{<tenant>}:``."""

    suffix: str
    kind: Kind
    lifetime: str
    holds: str
    writer: str
    reader: str


KEYS: Final = (
    Key("head", "hash", PERMANENT, "Counters and marks of progress, fields below", "all", "all"),
    Key("rows", "hash", PERMANENT, "Snapshot: id → packed row", "commit", "refresh, /v1"),
    Key("pages", "hash", PERMANENT, "Page number → body digest, ids", "commit", "refresh"),
    Key("audiences", "hash", PERMANENT, "Audience → its requirement ids", "commit", "plan, /v1"),
    Key(
        "tombstones",
        "hash",
        PERMANENT,
        "Removed id → when, by which change",
        "commit, trim",
        "diff",
    ),
    Key(
        "changes",
        "stream",
        PERMANENT,
        "Change log, entry <sequence>-0",
        "commit, trim",
        "consumers",
    ),
    Key("history", "hash", PERMANENT, "Changed id → its sequences", "commit, trim", "/v1 history"),
    Key(
        "inbox",
        "stream",
        PERMANENT,
        "Notifications, <ms>-<accept sequence>",
        "accept, refresh",
        "claim, /v1",
    ),
    Key(
        "dedupe:<hash>", "string", "CPDFEED_DEDUPE_S", "Identity → notification", "accept", "accept"
    ),
    Key(
        "marks",
        "hash",
        PERMANENT,
        "Scope → what is accepted and not covered",
        "accept, commit",
        "claim",
    ),
    Key(
        "due",
        "sorted set",
        PERMANENT,
        "Re-reads that are due later, by time in ms",
        "commit, sweep, web",
        "claim",
    ),
    Key(
        "due:why",
        "hash",
        PERMANENT,
        "Scope → why and how often it was read again",
        "commit, sweep, web",
        "claim",
    ),
    Key(
        "reads",
        "stream",
        PERMANENT,
        "Committed reads, <claimed>-<number>",
        "commit, refresh",
        "/v1",
    ),
    Key("quarantine", "hash", PERMANENT, "Misfit rows: id or hash → JSON", "commit", "/v1"),
    Key(
        "stats",
        "hash",
        PERMANENT,
        "Counters since the first start",
        "commit, accept",
        "metrics, /v1",
    ),
    Key("lease", "string", "15 s", "Fencing token of the one who refreshes", "claim", "commit"),
    Key("wake", "string", "5 s", "A call was sent", "accept, sweep, claim", "accept, sweep"),
    Key(
        "budget", "string", "an hour", "When the next upstream request may start", "fetch", "fetch"
    ),
    Key("token", "string", "the token's", "Access token for the platform's API", "fetch", "fetch"),
    Key("token:lock", "string", "45 s", "One worker mints", "fetch", "fetch"),
    Key("names", "hash", PERMANENT, "Audience → name, reference, when asked", "refresh", "commit"),
    Key(
        "brake",
        "hash",
        PERMANENT,
        "Removals that are held back, fields below",
        "commit, /v1",
        "refresh, /v1",
    ),
    Key(
        "unseen",
        "hash",
        PERMANENT,
        "Rows a clean scan missed, where by-id reads are refused: scan_ms, ids",
        "commit",
        "refresh",
    ),
    Key(
        "subscriptions",
        "hash",
        PERMANENT,
        "Subscription → settings, secrets encrypted",
        "/v1",
        "dispatch",
    ),
    Key("cursors", "hash", PERMANENT, "Subscription → epoch, sequence", "dispatch", "dispatch"),
    Key(
        "sub:<id>:lease",
        "string",
        "15 s",
        "Fencing token of its dispatcher",
        "dispatch",
        "dispatch",
    ),
    Key(
        "sub:<id>:parked",
        "hash",
        PERMANENT,
        "Requirement → deliveries waiting",
        "dispatch",
        "dispatch",
    ),
    Key(
        "sub:<id>:retries",
        "sorted set",
        PERMANENT,
        "Requirement → next attempt",
        "dispatch",
        "dispatch",
    ),
    Key("sub:<id>:attempts", "stream", PERMANENT, "Delivery log, bounded", "dispatch", "/v1"),
    Key(
        "sub:<id>:digest",
        "hash",
        PERMANENT,
        "Changes gathered for one message",
        "dispatch",
        "dispatch",
    ),
    Key("dead", "stream", PERMANENT, "Dead letters", "dispatch", "/v1"),
    Key("audit", "stream", PERMANENT, "Who changed which subscription", "/v1", "/v1"),
    Key("committed", "channel", "never stored", "Announces the head sequence", "commit", "web"),
)
"""Permanent keys are bounded by the tenant's size, or trimmed with the log and the inbox."""

HEAD_FIELDS: Final = {
    "epoch": "Names this log; a new one when it cannot be continued",
    "sequence": "Of the last change",
    "digest": "Of the last change, hex",
    "baseline_ms": "When the baseline was observed; absent before it",
    "accept": "Last accept sequence given",
    "last_ms": "Time of the last notification, never going back",
    "pending": "Notifications accepted and not covered",
    "claimed": "Highest accept sequence that was claimed",
    "fence": "Last fencing token given",
    "commit": "Id of the last commit",
    "read": "Number of the last committed read",
    "per_page": "perPage the page index was built with",
    "total": "totalResults when last seen",
    "complete_ms": "Start of the last complete scan",
    "clean_ms": "Start of the last complete scan that did not drift and left no suspect open",
    "ascending": "1 when that list was ordered by createdAt: new rows come last",
    "time_ms": "Time of the last change, never going back",
    "oldest_ms": "No notification that is pending is older; absent when none is",
    "server": "run_id of the server at the last refresh",
    "remembered": "<epoch>:<sequence> that a web process saw; written when the log stood lower",
    "scan_ms": "Start of the last scan",
    "round_ms": "Start of the last round",
    "spacing_ms": "Distance the next round keeps from it",
    "not_before_ms": "No round starts earlier",
    "alarm_ms": "When the next delayed wake-up call arrives",
}
"""The fields of ``head``; times are Unix milliseconds."""

BRAKE_FIELDS: Final = {
    "strength": "scan: a second scan lets go; operator: only a person",
    "since_ms": "When removals were first held back",
    "scan_ms": "Start of the scan whose suspects are held",
    "rows": "Rows of the snapshot then",
    "suspects": "How many of them were not shown",
    "ids": "Which: packed ids",
    "released": "1 once an operator let go",
}
"""The fields of ``brake``; there is none while nothing is held back."""

STATS: Final = {
    "accepted": "Notifications accepted",
    "duplicate": "Notifications that repeated an earlier one",
    "ignored": "Notifications that a rule ignored",
    "reads": "Requests to the platform for pages, requirements and audiences",
    "changes": "Changes published, baselines among them",
    "unannounced": "Changes that no notification had announced",
    "pages_unchanged": "Pages recognised by their digest, without decoding",
    "scans": "Complete scans",
    "drifted": "Scans during which the list moved",
    "suspects": "Known rows that a read did not show",
    "healed": "Suspects that were still there: the list had skipped them",
    "witness_refused": "Suspects about whom the platform refused to answer",
    "held": "Scans whose removals the brake held back",
    "stale": "Rows served older than what was known",
    "misfits": "Rows served that do not fit the schema",
    "epochs": "Logs begun anew because Redis had lost some of the old one",
}
"""The fields of ``stats``, all of them counters."""


class Keyspace:
    """The keys of one tenant."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.prefix = f"cpdfeed:{{{tenant}}}:"
        self.head = self.prefix + "head"
        self.rows = self.prefix + "rows"
        self.pages = self.prefix + "pages"
        self.audiences = self.prefix + "audiences"
        self.tombstones = self.prefix + "tombstones"
        self.changes = self.prefix + "changes"
        self.history = self.prefix + "history"
        self.inbox = self.prefix + "inbox"
        self.marks = self.prefix + "marks"
        self.due = self.prefix + "due"
        self.due_why = self.prefix + "due:why"
        self.reads = self.prefix + "reads"
        self.stats = self.prefix + "stats"
        self.lease = self.prefix + "lease"
        self.wake = self.prefix + "wake"
        self.budget = self.prefix + "budget"
        self.token = self.prefix + "token"
        self.token_lock = self.prefix + "token:lock"
        self.quarantine = self.prefix + "quarantine"
        self.names = self.prefix + "names"
        self.brake = self.prefix + "brake"
        self.unseen = self.prefix + "unseen"
        self.committed = self.prefix + "committed"

    def dedupe(self, identity: str) -> str:
        """Give the key that remembers one notification's identity."""
        return f"{self.prefix}dedupe:{identity}"

"""Every Redis key is named once, and its name never changes."""

from workers.contract.keyspace import HEAD_FIELDS, KEYS, SCHEMA_KEY, SCHEMA_VERSION, Keyspace


def names(keys: Keyspace) -> dict[str, str]:
    """Give the plain keys of a tenant by attribute."""
    return {name: key for name, key in vars(keys).items() if name not in {"tenant", "prefix"}}


def test_key_strings_are_pinned() -> None:
    """Each key of the tenant ``acme`` is this string, braces and all."""
    assert names(Keyspace("acme")) == {
        "head": "cpdfeed:{acme}:head",
        "rows": "cpdfeed:{acme}:rows",
        "pages": "cpdfeed:{acme}:pages",
        "audiences": "cpdfeed:{acme}:audiences",
        "tombstones": "cpdfeed:{acme}:tombstones",
        "changes": "cpdfeed:{acme}:changes",
        "history": "cpdfeed:{acme}:history",
        "inbox": "cpdfeed:{acme}:inbox",
        "marks": "cpdfeed:{acme}:marks",
        "due": "cpdfeed:{acme}:due",
        "due_why": "cpdfeed:{acme}:due:why",
        "reads": "cpdfeed:{acme}:reads",
        "stats": "cpdfeed:{acme}:stats",
        "lease": "cpdfeed:{acme}:lease",
        "wake": "cpdfeed:{acme}:wake",
        "budget": "cpdfeed:{acme}:budget",
        "token": "cpdfeed:{acme}:token",
        "token_lock": "cpdfeed:{acme}:token:lock",
        "quarantine": "cpdfeed:{acme}:quarantine",
        "names": "cpdfeed:{acme}:names",
        "brake": "cpdfeed:{acme}:brake",
        "unseen": "cpdfeed:{acme}:unseen",
        "committed": "cpdfeed:{acme}:committed",
    }


def test_dedupe_key_is_pinned() -> None:
    """A notification's identity stands at the end of its key."""
    assert Keyspace("acme").dedupe("0a1b") == "cpdfeed:{acme}:dedupe:0a1b"


def test_schema_is_pinned() -> None:
    """The version of what is stored is found under one key of the installation."""
    assert (SCHEMA_KEY, SCHEMA_VERSION) == ("cpdfeed:schema", "1")


def test_every_key_is_in_the_table() -> None:
    """Whatever a tenant's keyspace names has its row in the key table."""
    keys = Keyspace("acme")
    suffixes = {key.removeprefix(keys.prefix) for key in names(keys).values()}
    assert suffixes | {keys.dedupe("<hash>").removeprefix(keys.prefix)} <= {
        key.suffix for key in KEYS
    }


def test_attribute_says_its_suffix() -> None:
    """A row of the table that the keyspace has an attribute for is the key of that attribute."""
    keys = Keyspace("acme")
    for key in KEYS:
        name = key.suffix.replace(":", "_")
        if name in names(keys):
            assert names(keys)[name] == keys.prefix + key.suffix


def test_table_names_each_key_once() -> None:
    """No key has two rows in the table."""
    suffixes = [key.suffix for key in KEYS]
    assert len(suffixes) == len(set(suffixes))


def test_tenants_share_no_key() -> None:
    """Two tenants have no key in common."""
    assert not set(names(Keyspace("acme")).values()) & set(names(Keyspace("bolt")).values())


def test_head_fields_are_pinned() -> None:
    """The fields of ``head`` keep their names: older data has them."""
    assert sorted(HEAD_FIELDS) == [
        "accept",
        "alarm_ms",
        "ascending",
        "baseline_ms",
        "claimed",
        "clean_ms",
        "commit",
        "complete_ms",
        "digest",
        "epoch",
        "fence",
        "last_ms",
        "not_before_ms",
        "oldest_ms",
        "pending",
        "per_page",
        "read",
        "remembered",
        "round_ms",
        "scan_ms",
        "sequence",
        "server",
        "spacing_ms",
        "time_ms",
        "total",
    ]

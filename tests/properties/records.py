"""Strategies for the records that travel from a page to a change."""

from typing import Final

from hypothesis import strategies as st

from workers.contract.model import Requirement, Row, Tombstone

FIRST_US: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z."""
LAST_US: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

ids: Final = st.one_of(
    st.binary(min_size=12, max_size=12).map(bytes.hex),
    st.text("0123456789abcdefABCDEF", min_size=24, max_size=24),
)
moments_us: Final = st.integers(FIRST_US, LAST_US)
minutes: Final = st.integers(0, 2**53 - 1)
times_ms: Final = st.integers(0, 2**47)
requirements: Final = st.builds(Requirement, ids, ids, minutes, moments_us, st.none() | moments_us)
rows: Final = st.builds(Row, requirements, st.integers(0, 100_000), times_ms)
tombstones: Final = st.builds(Tombstone, times_ms, st.integers(1, 2**53 - 1))

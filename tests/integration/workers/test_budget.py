"""All workers of a tenant share one request budget."""

import pytest
import redis

from workers.contract.errors import UpstreamThrottled
from workers.contract.keyspace import Keyspace
from workers.upstream.budget import BURST, Budget


def test_burst_goes_at_once(store: redis.Redis, keys: Keyspace) -> None:
    """Twenty requests go without a wait."""
    budget = Budget(store, keys, per_min=6)
    assert BURST == 20
    assert [budget.take() for _ in range(BURST)] == [0] * BURST


def test_after_the_burst_requests_are_paced(store: redis.Redis, keys: Keyspace) -> None:
    """After the burst each request waits for one interval more than the one before it."""
    budget = Budget(store, keys, per_min=30)
    for _ in range(BURST):
        budget.take()
    assert budget.take() == pytest.approx(2, abs=1)
    assert budget.take() == pytest.approx(4, abs=1)


def test_workers_share_it(store: redis.Redis, keys: Keyspace) -> None:
    """What one worker took the others have not; another tenant has its own."""
    for _ in range(BURST):
        Budget(store, keys, per_min=30).take()
    assert Budget(store, keys, per_min=30).take() > 0
    assert Budget(store, Keyspace("bolt"), per_min=30).take() == 0


def test_long_wait_is_given_up(store: redis.Redis, keys: Keyspace) -> None:
    """A request that would wait longer than ten seconds is refused, and takes nothing."""
    budget = Budget(store, keys, per_min=1)
    for _ in range(BURST):
        budget.take()
    for _ in range(2):
        with pytest.raises(UpstreamThrottled) as refused:
            budget.take()
        assert refused.value.retry_after_s == pytest.approx(60, abs=5)


@pytest.mark.parametrize("per_min", [300, 0])
def test_platform_slows_everybody_down(store: redis.Redis, keys: Keyspace, per_min: float) -> None:
    """After the platform's word no worker starts a request for that long, paced or not."""
    budget = Budget(store, keys, per_min)
    assert budget.take() == 0
    budget.slow_down(5)
    assert Budget(store, keys, per_min).take() == pytest.approx(5, abs=1)


def test_slow_down_never_shortens(store: redis.Redis, keys: Keyspace) -> None:
    """A shorter wait that is named later does not shorten a longer one; a longer one counts."""
    budget = Budget(store, keys, per_min=300)
    budget.slow_down(6)
    budget.slow_down(1)
    assert budget.take() == pytest.approx(6, abs=1)
    budget.slow_down(9)
    assert budget.take() == pytest.approx(9, abs=1)


def test_unpaced_requests_do_not_wait(store: redis.Redis, keys: Keyspace) -> None:
    """With a rate of 0 nothing is counted."""
    budget = Budget(store, keys, per_min=0)
    assert [budget.take() for _ in range(100)] == [0] * 100
    assert not store.exists(keys.budget)

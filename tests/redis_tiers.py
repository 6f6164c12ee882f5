"""Redis servers and tiers above them, for tests of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protein_lab.store.redis import RedisTier
from tests.servers import RedisServer, redis_binaries, redis_server

TIMEOUT = 0.2
GENEROUS = 20 * TIMEOUT
"""A deadline against hanging, on a machine that may be busy with something else."""


@pytest.fixture(scope="module", params=redis_binaries() or [None], ids=str)
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """Give each Redis server that is installed."""
    if request.param is None:
        pytest.skip("no Redis server is installed here")
    return request.param


@pytest.fixture(scope="module")
def shared_redis(redis_binary: Path) -> Iterator[RedisServer]:
    """Run a server for tests that leave it as it was."""
    with redis_server(
        redis_binary, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"
    ) as server:
        yield server


@pytest.fixture
def own_redis(redis_binary: Path) -> Iterator[RedisServer]:
    """Run a server for one test to disturb."""
    with redis_server(redis_binary) as server:
        yield server


def connect(server: RedisServer) -> Any:
    """Give a client that sees what is really there."""
    from redis import Redis

    return Redis.from_url(server.url)


def tier_of(port: int, ttl: float = 3600.0, capacity: int = 10**8, **options: Any) -> RedisTier:
    """Make a tier with the timeout that users have."""
    url = f"redis://127.0.0.1:{port}/0"
    return RedisTier(url, **{"capacity": capacity, "ttl": ttl, "timeout": TIMEOUT, **options})


def patient(port: int, **options: Any) -> RedisTier:
    """Make a tier that a busy machine does not make give up."""
    return tier_of(port, timeout=GENEROUS, **options)

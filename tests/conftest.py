"""Structures and servers that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import pytest

from protein_lab.training.corpus import Corpus, CorpusChain
from tests.servers import (
    MissingServerError,
    PostgresServer,
    RedisServer,
    S3Server,
    Server,
    postgres_server,
    redis_server,
    s3_server,
)

S = TypeVar("S", bound=Server)

pytest_plugins = ["tests.redis_tiers"]


@pytest.fixture(scope="session")
def real_chains() -> list[CorpusChain]:
    """Twenty-four real chains of 60 to 220 residues, spread over the corpus, of every split."""
    corpus = Corpus.open()
    chosen = corpus.indices(min_length=60, max_length=220)
    spread = chosen[np.linspace(0, len(chosen) - 1, 24).astype(int)]
    return [corpus.chain(int(index)) for index in spread]


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """Run a Redis server for all tests of a process; who disturbs it starts one of its own."""
    yield from _serve(redis_server())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server for all tests of a process; each makes a database of its own."""
    yield from _serve(postgres_server())


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Run an S3-compatible server for all tests of a process; each makes a bucket of its own."""
    yield from _serve(s3_server())


def _serve(starting: AbstractContextManager[S]) -> Iterator[S]:
    try:
        with starting as server:
            yield server
    except MissingServerError as error:
        pytest.skip(str(error))

"""Connections to PostgreSQL that give up when their time is over."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Self

import psycopg

_SHORTEST = 2  # seconds; psycopg waits for a connection at least so long


class LimitedConnection(psycopg.Connection[Any]):
    """A connection on which nothing takes longer than what is left of the caller's time.

    A server that hangs keeps its sockets open and says nothing; only the client can notice.
    """

    _remaining: Callable[[], float]

    @classmethod
    def open(cls, remaining: Callable[[], float], given: Mapping[str, Any]) -> Self:
        """Connect.

        Parameters
        ----------
        remaining : callable
            Gives the seconds that are left for the work of the calling thread.
        given : mapping
            What :func:`psycopg.connect` takes.

        Raises
        ------
        psycopg.OperationalError
            When nobody answers in time.
        """
        left = remaining()
        if left <= 0:
            raise psycopg.OperationalError("no time was left to connect")
        connection = cls.connect(**{**given, "connect_timeout": max(_SHORTEST, int(left))})
        connection._remaining = remaining
        return connection

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer, as long as there is time; after that the connection is closed."""
        return super().wait(self._limited(gen), *args, **kwargs)

    def _limited(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Pass on what is waited for, and look at the time whenever nothing came."""
        ready: Any = None
        while True:
            try:
                wanted = steps.send(ready)
            except StopIteration as done:
                return done.value
            ready = yield wanted
            if not ready and hasattr(self, "_remaining") and self._remaining() <= 0:
                self.pgconn.finish()
                raise psycopg.OperationalError("it did not answer in time")

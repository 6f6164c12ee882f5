"""Keeps calls away from a tier that does not answer, until it does again."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar, runtime_checkable

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    CircuitBreaker,
    CircuitBreakerListener,
    CircuitMemoryStorage,
)

from protein_lab.errors import IntegrityError, TierError
from protein_lab.store.entries import Clock, Entry, Tier

R = TypeVar("R")

_LOGGER = logging.getLogger(__name__)


class RefusedError(TierError):
    """A tier was not asked, since it did not answer before."""


@runtime_checkable
class Burying(Protocol):
    """A tier of several processes that for a while refuses what was deleted."""

    def bury(self, key: str) -> None:
        """Forget an entry, and refuse for a while what is not newer than this call."""
        ...


class Guard:
    """A tier behind a circuit breaker, whose every failure is a :class:`TierError`.

    After some failures in a row the tier is left alone, then one call tries whether it answers
    again. A copy may fail in any way that its library knows: none of them reaches a user. Only that
    an entry is damaged passes through.

    Parameters
    ----------
    tier : Tier
        Where entries are; it keeps its own timeouts.
    failures : int
        So many failures in a row keep calls away ...
    seconds : float
        ... for so long.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self, tier: Tier, failures: int = 3, seconds: float = 5.0, clock: Clock = time.monotonic
    ) -> None:
        self.name = tier.name
        self.ttl = tier.ttl
        self.capacity = tier.capacity
        self._tier = tier
        self._lock = threading.Lock()
        self._is_tried = False
        self._storage = _Storage(seconds, clock)
        self._breaker = CircuitBreaker(
            fail_max=failures,
            reset_timeout=seconds,
            state_storage=self._storage,
            listeners=[_Teller(tier.name, seconds)],
            throw_new_error_on_trip=False,
        )

    @property
    def is_open(self) -> bool:
        """Whether calls are kept away just now."""
        return self._storage.state != STATE_CLOSED

    def get(self, key: str) -> Entry | None:
        """Read an entry; see :meth:`Tier.get`."""
        return self._ask(self._tier.get, key, may_be_damaged=True)

    def put(self, entry: Entry) -> bool:
        """Keep an entry; see :meth:`Tier.put`."""
        return self._ask(self._tier.put, entry)

    def delete(self, key: str) -> None:
        """Forget an entry; see :meth:`Tier.delete`."""
        self._ask(self._tier.delete, key)

    def bury(self, key: str) -> None:
        """Forget an entry for good; see :meth:`Burying.bury`."""
        self._ask(self._tier.bury if isinstance(self._tier, Burying) else self._tier.delete, key)

    def keys(self) -> Iterator[str]:
        """Give the keys of all entries that still live."""
        keys = iter(self._tier.keys())

        def following() -> str | None:
            return next(keys, None)

        while (key := self._ask(following)) is not None:
            yield key

    def usage(self) -> int:
        """Count the bytes that are used."""
        return self._ask(self._tier.usage)

    def _ask(self, call: Callable[..., R], *arguments: Any, may_be_damaged: bool = False) -> R:
        is_trial = self._admit()
        # The breaker holds its lock while it calls. It is told only what came out, so that calls
        # to a tier that hangs do not wait for each other.
        has_answered = False
        try:
            answer = call(*arguments)
            has_answered = True
        except TierError:
            raise
        except Exception as error:
            if may_be_damaged and isinstance(error, IntegrityError):
                has_answered = True
                raise
            raise TierError(f"The {self.name} tier failed: {type(error).__name__}.") from error
        finally:
            self._settle(has_answered, is_trial)
        return answer

    def _admit(self) -> bool:
        """See whether a call may pass, and whether it is the one that tries an open tier."""
        if self._storage.state == STATE_CLOSED:
            return False
        with self._lock:
            if self._storage.state == STATE_CLOSED:
                return False
            if not self._is_tried and self._storage.opened_at is None:
                self._is_tried = True
                if self._storage.state != STATE_HALF_OPEN:
                    self._breaker.half_open()
                return True
        raise RefusedError(f"The {self.name} tier did not answer; it is left alone for a while.")

    def _settle(self, has_answered: bool, is_trial: bool) -> None:
        with self._lock:
            if is_trial:
                self._is_tried = False
            elif self.is_open or (has_answered and not self._breaker.fail_counter):
                return  # a call from before it opened, or nothing new
            with suppress(_FailedCall):
                self._breaker.call(_come_out, has_answered)


class _FailedCall(Exception):  # noqa: N818 it never leaves this module
    pass


def _come_out(has_answered: bool) -> None:
    if not has_answered:
        raise _FailedCall


class _Storage(CircuitMemoryStorage):
    """Remembers when the breaker opened by a clock that never jumps; the library's own may."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        super().__init__(STATE_CLOSED)
        self._seconds = seconds
        self._clock = clock
        self._until = clock()

    @property
    def opened_at(self) -> dt.datetime | None:
        """Now while the breaker stays open, None afterwards."""
        return dt.datetime.now(dt.UTC) if self._clock() < self._until else None

    @opened_at.setter
    def opened_at(self, datetime: dt.datetime) -> None:
        self._until = self._clock() + self._seconds


class _Teller(CircuitBreakerListener):
    """Says when a tier is left alone, and when it is back."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds

    def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:
        """Write a line to the log."""
        if new_state.name == STATE_CLOSED:
            _LOGGER.info("The %s tier answers again.", self._name)
        elif new_state.name != STATE_HALF_OPEN and old_state.name == STATE_CLOSED:
            _LOGGER.warning(
                "The %s tier does not answer; it is tried every %g s, work goes on without it.",
                self._name,
                self._seconds,
            )

"""One look-up at a time for each key, and none that outlives a change of its key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from protein_lab.errors import StoreError

R = TypeVar("R")

_ALIVE_SECONDS = 1.0
"""How often a waiter sees whether the thread that works for it still lives."""


@dataclass(eq=False)
class Flight(Generic[R]):
    """Work on a key that is under way; whoever needs it too waits for it.

    Attributes
    ----------
    is_overtaken : bool
        Whether the key was changed since it began: what it found may go to those who waited for
        it, and nowhere else.
    """

    is_overtaken: bool
    owner: threading.Thread = field(default_factory=threading.current_thread)
    done: threading.Event = field(default_factory=threading.Event)
    result: R | None = None
    error: Exception | None = None
    is_abandoned: bool = True


@dataclass(eq=False)
class _Change:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Flights(Generic[R]):
    """Work that is under way, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, Flight[R]] = {}
        self._changes: dict[str, _Change] = {}

    def run(self, key: str, work: Callable[[Flight[R]], R]) -> R:
        """Do the work, or wait for the one who does it already and take what comes out.

        An error of the work reaches all who wait. When the thread that works is gone, as after a
        fork or an interrupt, one that waits takes over.

        Parameters
        ----------
        key : str
            What the work is about.
        work : callable
            Gets its flight.

        Returns
        -------
        object
            What the work gave.

        Raises
        ------
        StoreError
            When the work asks for itself.
        """
        while True:
            flight = self._join(key)
            if flight.owner is threading.current_thread():
                return self._work(key, flight, work)
            while not flight.done.wait(_ALIVE_SECONDS):
                if not flight.owner.is_alive():
                    self._remove(key, flight)
                    break
            if flight.done.is_set() and not flight.is_abandoned:
                if flight.error is not None:
                    raise flight.error
                return flight.result  # type: ignore[return-value] it is not abandoned

    def unless_overtaken(self, flight: Flight[R], action: Callable[[], object]) -> bool:
        """Do something that no change of the key may come before; say whether it was done."""
        with self._lock:
            if not flight.is_overtaken:
                action()
            return not flight.is_overtaken

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Change a key: one at a time, and no look-up brings back what was before."""
        with self._lock:
            change = self._changes.setdefault(key, _Change())
            change.users += 1
            self._overtake(key)
        try:
            with change.lock:
                try:
                    yield
                finally:
                    with self._lock:
                        self._overtake(key)
        finally:
            with self._lock:
                change.users -= 1
                if not change.users:
                    del self._changes[key]

    def _join(self, key: str) -> Flight[R]:
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = Flight(is_overtaken=key in self._changes)
            elif flight.owner is threading.current_thread():
                raise StoreError(f"Computing {key[:12]} asks for {key[:12]} itself.")
            return flight

    def _work(self, key: str, flight: Flight[R], work: Callable[[Flight[R]], R]) -> R:
        try:
            flight.result = work(flight)
            flight.is_abandoned = False
        except Exception as error:
            flight.error = error
            flight.is_abandoned = False
            raise
        finally:
            self._remove(key, flight)
            flight.done.set()
        return flight.result

    def _remove(self, key: str, flight: Flight[R]) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _overtake(self, key: str) -> None:
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.is_overtaken = True

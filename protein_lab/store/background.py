"""A thread for what may as well not be done."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

_LOGGER = logging.getLogger(__name__)

WAITING = 256
"""So many pieces of work wait at most; more are dropped."""

_NICE = 10
_CLOSE_SECONDS = 5.0


class Background:
    """Does work on keys in one thread of low priority that starts with the first of them.

    Parameters
    ----------
    work : callable
        Gets a key; an error is written to the log.
    name : str
        Of the thread.
    """

    def __init__(self, work: Callable[[str], object], name: str) -> None:
        self._work = work
        self._name = name
        self._lock = threading.Lock()
        self._waiting: queue.Queue[str] = queue.Queue(WAITING)
        self._known: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    def add(self, keys: Iterable[str]) -> int:
        """Take what there is room for, each key once; returns how many were taken."""
        taken = 0
        with self._lock:
            for key in keys:
                if self._is_closed.is_set() or key in self._known:
                    continue
                try:
                    self._waiting.put_nowait(key)
                except queue.Full:
                    break
                self._known.add(key)
                taken += 1
            if taken and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        return taken

    def close(self) -> None:
        """Drop what waits and end after the piece that is under way."""
        with self._lock:
            self._is_closed.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        with suppress(AttributeError, OSError):  # not every system ranks threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._is_closed.is_set():
            try:
                key = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._work(key)
            except Exception as error:  # noqa: BLE001 nobody waits for this work
                _LOGGER.info("Could not preload %s: %s", key[:12], error)
            finally:
                with self._lock:
                    self._known.discard(key)

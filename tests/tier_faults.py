"""Tiers that fail on demand, and a proxy that makes a real server slow, hang or babble."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from protein_lab.errors import IntegrityError, StoreError, TierError
from protein_lab.store.entries import Entry, pack_entry, unpack_entry
from protein_lab.store.memory import MemoryTier
from protein_lab.store.tiered import TieredStore

Fault = Literal["", "dead", "full", "crash", "rotten", "stranger"]


class ManualClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class BytesCodec:
    """Values are bytes; a mark in front shows what was never encoded."""

    def encode(self, value: bytes) -> bytes:
        """Write a value."""
        return b"value:" + value

    def decode(self, key: str, data: bytes) -> bytes:
        """Read a value."""
        if not data.startswith(b"value:"):
            raise IntegrityError(f"{key} holds no value")
        return data.removeprefix(b"value:")

    def size(self, data: bytes) -> int:
        """Count bytes."""
        return len(data)


class FaultyTier:
    """A tier that keeps its contract until it is told to fail."""

    def __init__(self, name: str, ttl: float, clock: ManualClock) -> None:
        self.name = name
        self.ttl = ttl
        self.capacity = 10_000
        self.fault: Fault = ""
        self.calls = 0
        self.held: dict[str, tuple[bytes, int, float]] = {}
        self.after_get: Callable[[], object] | None = None
        self.before_put: Callable[[], object] | None = None
        self.after_delete: Callable[[], object] | None = None
        self._clock = clock

    def get(self, key: str) -> Entry | None:
        """Read an entry."""
        self._answer()
        found = self._live(key)
        remaining = found[2] - self._clock() if found else 0.0
        self._meanwhile("after_get")
        if found is None:
            return None
        entry = unpack_entry(key, found[0], remaining)
        if self.fault == "stranger":
            return Entry(key="other", value=entry.value, version=entry.version, remaining=1e9)
        return entry

    def put(self, entry: Entry) -> bool:
        """Keep an entry."""
        self._answer()
        if self.fault == "full":
            raise TierError("full")
        self._meanwhile("before_put")
        life = self.ttl if entry.remaining is None else min(self.ttl, entry.remaining)
        found = self._live(entry.key)
        until = self._clock() + life
        if life <= 0 or (found and (found[1], found[2]) >= (entry.version, until)):
            return False
        self.held[entry.key] = (pack_entry(entry), entry.version, until)
        return True

    def delete(self, key: str) -> None:
        """Forget an entry."""
        self._answer()
        self.held.pop(key, None)
        self._meanwhile("after_delete")

    def keys(self) -> Iterator[str]:
        """Give the keys that live."""
        self._answer()
        return iter([key for key in self.held if self._live(key)])

    def usage(self) -> int:
        """Count bytes."""
        self._answer()
        return sum(len(data) for data, _, _ in self.held.values())

    def _live(self, key: str) -> tuple[bytes, int, float] | None:
        found = self.held.get(key)
        return found if found and found[2] > self._clock() else None

    def _meanwhile(self, moment: str) -> None:
        """Do what another thread would do just now, once."""
        action = getattr(self, moment)
        if action is not None:
            setattr(self, moment, None)
            action()

    def _answer(self) -> None:
        self.calls += 1
        if self.fault == "dead":
            raise TierError("dead")
        if self.fault == "crash":
            raise ValueError("a library that was given nonsense")
        if self.fault == "rotten":
            raise IntegrityError("the whole tier is damaged")


class DictRecord:
    """A record in memory; the last value written stands, unless it is written once."""

    name = "objects"

    def __init__(self, is_written_once: bool = False) -> None:
        self.held: dict[str, tuple[bytes, int]] = {}
        self.reads = 0
        self.is_written_once = is_written_once
        self.failure: StoreError | None = None
        self.after_read: Callable[[], object] | None = None

    def read(self, key: str) -> tuple[bytes, int] | None:
        """Read a value."""
        if self.failure:
            raise self.failure
        self.reads += 1
        found = self.held.get(key)
        if self.after_read is not None:
            action, self.after_read = self.after_read, None
            action()
        return found

    def write(self, key: str, value: bytes, version: int) -> bool:
        """Keep a value."""
        if self.failure:
            raise self.failure
        if self.is_written_once and key in self.held:
            return False
        self.held[key] = (value, version)
        return True

    def delete(self, key: str) -> None:
        """Forget an entry."""
        if self.failure:
            raise self.failure
        self.held.pop(key, None)

    def usage(self) -> int:
        """Count bytes."""
        return sum(len(value) for value, _ in self.held.values())


class FaultProxy:
    """Passes bytes between clients and a server on loopback, late, slowly, not at all or changed.

    Attributes
    ----------
    port : int
        Where clients connect.
    latency : float
        Seconds by which every answer is late.
    bytes_per_second : float or None
        How fast answers trickle; None for as fast as they come.
    babble : bytes or None
        What is answered instead of the server's words.
    """

    def __init__(self, server_port: int) -> None:
        self.latency = 0.0
        self.bytes_per_second: float | None = None
        self.babble: bytes | None = None
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._is_closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._is_closed.set()
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                continue
            self._sockets += [client, server]
            for source, target, is_answer in ((client, server, False), (server, client, True)):
                arguments = (source, target, is_answer)
                threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    self._is_closed.wait(self.latency)
                    data = self.babble if self.babble is not None else data
                    if self.bytes_per_second:
                        self._trickle(target, data, self.bytes_per_second)
                        continue
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _trickle(self, target: socket.socket, data: bytes, speed: float) -> None:
        step = max(1, int(speed / 20))
        for start in range(0, len(data), step):
            target.sendall(data[start : start + step])
            if self._is_closed.wait(step / speed):
                return


@contextmanager
def fault_proxy(server_port: int) -> Iterator[FaultProxy]:
    """Run a proxy in front of a server."""
    proxy = FaultProxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()


def wait_until(is_true: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for something that another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_true():
            return True
        time.sleep(0.02)
    return is_true()


Parts = tuple[TieredStore[bytes], MemoryTier[bytes], list[FaultyTier], DictRecord, ManualClock]


def store_of_copies(is_written_once: bool = False) -> Parts:
    """Make a store with two copies on a clock that stands still."""
    clock = ManualClock()
    copies = [FaultyTier("redis", 3600.0, clock), FaultyTier("database", 86_400.0, clock)]
    memory: MemoryTier[bytes] = MemoryTier(100_000, 300.0, clock)
    record = DictRecord(is_written_once)
    store = TieredStore(memory, copies, record, BytesCodec(), failures=2, clock=clock)
    return store, memory, copies, record, clock

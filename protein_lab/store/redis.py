"""Copies in Redis, shared by all processes; it may hang, die, fill up or lie at any time.

Every call ends at its deadline, however slowly bytes come in. What comes back is believed only
when its digest is right. Lives are kept and counted down by the server alone.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from protein_lab.errors import IntegrityError, MissingExtraError, StoreError, TierError
from protein_lab.store.entries import Entry, pack_entry, unpack_entry

if TYPE_CHECKING:
    from redis import Redis

_LOGGER = logging.getLogger(__name__)

SCHEMA = 1
"""Part of every key; another layout never meets values of this one."""

POOL = 20
"""Connections of a process at most."""

GRAVE_SECONDS = 60.0
"""How long a deleted entry is refused; longer than any reader holds on to one."""

_DIGITS = 20
_PAGE = 500

# ARGV: version, entry, life in ms. KEYS: entry, grave. Versions are digits of one length, so that
# they compare as text; Lua's numbers would round them.
_PUT = """
local grave = redis.pcall('GET', KEYS[2])
if type(grave) == 'string' and grave >= ARGV[1] then return 0 end
local held = redis.pcall('GETRANGE', KEYS[1], 0, 19)
if type(held) == 'string' and #held == 20 and not held:find('%D') then
  if held > ARGV[1] then return 0 end
  if held == ARGV[1] and redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
end
local done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if done.err then
  redis.call('DEL', KEYS[1])
  return done
end
return 1
"""

# ARGV: version of the deletion, life of the grave in ms.
_BURY = """
local version = ARGV[1]
local held = redis.pcall('GETRANGE', KEYS[1], 0, 19)
if type(held) == 'string' and #held == 20 and not held:find('%D') and held > version then
  version = held
end
redis.call('DEL', KEYS[1])
local done = redis.pcall('SET', KEYS[2], version, 'PX', ARGV[2])
if done.err then return 0 end
return 1
"""


class RedisTier:
    """Entries in a Redis server.

    Parameters
    ----------
    url : str
        As ``redis://host:6379/0``; ``rediss://`` and ``unix://`` work too.
    capacity : int
        Bytes; the server's own ``maxmemory`` keeps it.
    ttl : float
        Seconds that an entry lives here at most.
    timeout : float
        Seconds that a call may take, with waiting for a connection and connecting.
    prefix : str
        Beginning of all keys.
    stamp : callable
        Nanoseconds since 1970, for the version of a deletion.

    Raises
    ------
    StoreError
        When the URL is none.
    MissingExtraError
        When the client is not installed.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        capacity: int,
        ttl: float,
        timeout: float = 0.2,
        prefix: str = "protein_lab:result",
        stamp: Callable[[], int] = time.time_ns,
    ) -> None:
        self.capacity = capacity
        self.ttl = ttl
        self._timeout = timeout
        self._prefix = f"{prefix}:{SCHEMA}:"
        self._graves = f"{prefix}:grave:{SCHEMA}:"
        self._stamp = stamp
        self._slots = threading.BoundedSemaphore(POOL)
        self._deadline = _Deadline()
        self._client, self._place = _connect(url, timeout, self._deadline)
        self._put_script = self._client.register_script(_PUT)
        self._bury_script = self._client.register_script(_BURY)
        self._is_checked = False

    def get(self, key: str) -> Entry | None:
        """Read an entry with the life that is left; see :meth:`Tier.get`.

        What is damaged is removed.
        """
        name = self._name(key)
        with self._asking() as client:
            pipe = client.pipeline(transaction=False)
            pipe.get(name)
            pipe.pttl(name)
            data, life = pipe.execute(raise_on_error=False)
            if data is None:
                return None
            entry = _read(key, data, life, self.ttl)
            if isinstance(entry, IntegrityError):
                with suppress(_redis_error()):
                    client.delete(name)
                raise entry
            return entry

    def put(self, entry: Entry) -> bool:
        """Keep an entry unless a newer one, or a longer life, is there; see :meth:`Tier.put`."""
        life = self.ttl if entry.remaining is None else min(self.ttl, entry.remaining)
        milliseconds = int(life * 1000)
        version = _digits(entry.version)
        data = version + pack_entry(entry)
        if milliseconds <= 0 or len(data) > self.capacity:
            return False
        with self._asking() as client:
            self._check_memory(client)
            keys = [self._name(entry.key), self._grave(entry.key)]
            return bool(self._put_script(keys=keys, args=[version, data, milliseconds]))

    def delete(self, key: str) -> None:
        """Forget an entry; one that is not there is no error."""
        with self._asking() as client:
            client.delete(self._name(key))

    def bury(self, key: str) -> None:
        """Forget an entry, and refuse for a while what is not newer than this call.

        So a reader in another process, that found it before, does not bring it back.
        """
        with self._asking():
            keys = [self._name(key), self._grave(key)]
            life = int(GRAVE_SECONDS * 1000)
            self._bury_script(keys=keys, args=[_digits(self._stamp()), life])

    def keys(self) -> Iterator[str]:
        """Give the keys of all entries that still live."""
        cursor = None
        while cursor != 0:
            with self._asking() as client:
                found: Any = client.scan(cursor or 0, match=f"{self._prefix}*", count=_PAGE)
            cursor, names = found
            for name in names:
                yield name.decode().removeprefix(self._prefix + "{").removesuffix("}")

    def usage(self) -> int:
        """Count the bytes that the server uses for everything that it holds."""
        with self._asking() as client:
            info: Any = client.info("memory")
            return int(info["used_memory"])

    def close(self) -> None:
        """Close all connections."""
        self._client.connection_pool.disconnect()

    @contextmanager
    def _asking(self) -> Iterator[Redis]:
        """Allow a call, up to the deadline, and say what went wrong without credentials."""
        self._deadline.start(self._timeout)
        if not self._slots.acquire(timeout=self._timeout):
            raise TierError(f"Expected Redis at {self._place} to answer; {POOL} calls wait for it.")
        try:
            yield self._client
        except (_redis_error(), OSError) as error:
            raise TierError(
                f"Expected an answer from Redis at {self._place} within {self._timeout:g} s; "
                f"got {type(error).__name__}.",
                "Work goes on without it; see that it runs, and check PROTEIN_LAB_STORE_REDIS.",
            ) from error
        finally:
            self._slots.release()

    def _check_memory(self, client: Redis) -> None:
        """Warn once when the server does not make room by itself."""
        if self._is_checked:
            return
        self._is_checked = True
        info: Any = client.info("memory")
        limit, policy = int(info.get("maxmemory", 0)), info.get("maxmemory_policy", "noeviction")
        if limit == 0 or limit > self.capacity or policy == "noeviction":
            _LOGGER.warning(
                "Redis at %s holds %s with policy %s; set maxmemory to at most %d and "
                "maxmemory-policy to allkeys-lru, so that old copies make room for new ones.",
                self._place,
                f"up to {limit} bytes" if limit else "as much as it likes",
                policy,
                self.capacity,
            )

    def _name(self, key: str) -> str:
        return f"{self._prefix}{{{key}}}"  # a cluster keeps what is in braces on one node

    def _grave(self, key: str) -> str:
        return f"{self._graves}{{{key}}}"


class _Deadline(threading.local):
    """When the call of this thread has to be over."""

    at = 0.0

    def start(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call took too long")
        return left


class _TimedSocket:
    """A socket whose waits together end at the deadline of the call.

    The client's own timeout is that of one wait: an answer that trickles in never ends it.
    """

    def __init__(self, inner: Any, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline
        self._own: float | None = inner.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        self._own = seconds

    def recv(self, *arguments: Any) -> bytes:
        return self._armed().recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        return self._armed().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._armed().sendall(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _armed(self) -> Any:
        if self._own != 0:  # 0 asks whether something is there already, and never waits
            self._inner.settimeout(self._deadline.left())
        else:
            self._inner.settimeout(0)
        return self._inner


def _connect(url: str, timeout: float, deadline: _Deadline) -> tuple[Redis, str]:
    """Make a client that connects when it is first used; also where it connects to."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.connection import AbstractConnection, Connection, parse_url
        from redis.exceptions import ConnectionError as NoConnectionError
        from redis.retry import Retry
    except ImportError:
        raise MissingExtraError("redis", "stack") from None
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        raise StoreError(
            "Expected a URL as redis://host:6379/0 in PROTEIN_LAB_STORE_REDIS.",
            "It begins with redis://, rediss:// or unix://, and its port is a number.",
        ) from None
    base: Any = options.pop("connection_class", Connection)

    class TimedConnection(base):
        def _connect(self) -> Any:
            self.socket_connect_timeout = deadline.left()
            return _TimedSocket(super()._connect(), deadline)

    # What a URL may say of time or size is not taken: the settings do.
    options |= {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # A connection that the server closed meanwhile is opened anew; a late answer is final.
        "retry": Retry(NoBackoff(), 1, supported_errors=(NoConnectionError,)),
        "max_connections": POOL,
        "protocol": 2,  # no greeting that would cost a round trip
        "decode_responses": False,
        "health_check_interval": 0,
    }
    options.pop("retry_on_timeout", None)
    known = inspect.signature(AbstractConnection.__init__).parameters
    quiet = ("driver_info",) if "driver_info" in known else ("lib_name", "lib_version")
    options |= dict.fromkeys(quiet)  # a client that names itself costs two round trips
    place = options.get("path") or (
        f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    )
    pool = redis.ConnectionPool(connection_class=TimedConnection, **options)
    return redis.Redis(connection_pool=pool), place


def _redis_error() -> type[Exception]:
    from redis.exceptions import RedisError

    return RedisError


def _digits(version: int) -> bytes:
    return b"%020d" % max(version, 0)


def _read(key: str, data: Any, life: Any, ttl: float) -> Entry | IntegrityError | None:
    """Judge what a server gave for a key; it may be anything."""
    if isinstance(data, Exception) and not str(data).startswith("WRONGTYPE"):
        raise data
    if isinstance(life, Exception):
        raise life
    if isinstance(data, bytes) and isinstance(life, int):
        if life < 0:
            return None  # over, or without an end: nothing that was put here
        try:
            entry = unpack_entry(key, data[_DIGITS:], min(life / 1000, ttl))
        except IntegrityError as error:
            return error
        if data[:_DIGITS] == _digits(entry.version):
            return entry
    return IntegrityError(f"Expected an intact entry under {key[:12]}; got something else.")

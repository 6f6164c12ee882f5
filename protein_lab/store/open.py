"""Opening the store: memory, Redis, database and objects put together from the settings."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from protein_lab.errors import MissingExtraError, StoreError, TierError
from protein_lab.settings import Settings, StoreSettings
from protein_lab.store.blobs import open_objects
from protein_lab.store.database import Database
from protein_lab.store.database_tier import DatabaseTier
from protein_lab.store.entries import Tier
from protein_lab.store.index import Index
from protein_lab.store.indexed_records import IndexedRecords, ResultCodec
from protein_lab.store.marker import has_marker
from protein_lab.store.memory import MemoryTier
from protein_lab.store.records import Records
from protein_lab.store.result_store import TieredResults
from protein_lab.store.tiered import TieredStore

_LOGGER = logging.getLogger(__name__)
_INSIDE = "beside the results"
_FEW = 1000  # results that a new index reads at once; more are a command of their own
_FORMS = "a folder, file:///FOLDER, s3://BUCKET/PREFIX or memory://"


def open_store(
    settings: StoreSettings | None = None, uri: str | None = None, *, must_exist: bool = False
) -> TieredResults:
    """Open the store of results, or make it.

    Redis that is missing or does not answer is left out; a database that does not answer just now
    is tried again with every call. An index that is new, as after the database was lost, is filled
    from the results.

    Parameters
    ----------
    settings : StoreSettings or None
        Tiers; those of the environment unless given.
    uri : str or None
        Another place for the bytes of record: a folder, ``file:///FOLDER``,
        ``s3://BUCKET/PREFIX``, or ``memory://`` for this process alone. Unless it is that of the
        settings it has an index of its own, in SQLite.
    must_exist : bool
        Whether a place without a store is an error; else it becomes one.

    Raises
    ------
    StoreError
        When a place is none, belongs to something else, was written by a newer version, or the
        database refuses the user.
    """
    with ExitStack() as resources:
        chosen = _settings(settings, uri, resources)
        records = Records(open_objects(chosen))
        _enter(records, must_exist)
        database = Database(chosen.database_url, chosen.database_timeout_seconds)
        resources.callback(database.close)
        index = Index(database)
        place = _place(chosen)
        tiers = TieredStore(
            MemoryTier(chosen.memory_bytes, chosen.memory_seconds),
            _copies(chosen, database, place),
            IndexedRecords(records, index),
            ResultCodec(),
            failures=chosen.breaker_failures,
            seconds=chosen.breaker_seconds,
        )
        store = TieredResults(tiers, records, index, resources.pop_all())
    try:
        _claim(store, place)
    except TierError as error:
        _LOGGER.warning("%s Results are found without it, but not listed.", error.problem)
    except BaseException:
        store.close()
        raise
    return store


def adopt_place(settings: StoreSettings | None = None, uri: str | None = None) -> None:
    """Let an index that speaks for results in another place speak for those that are here now.

    It is wrong until it is built again.

    Raises
    ------
    StoreError
        When the database does not answer.
    """
    with ExitStack() as resources:
        chosen = _settings(settings, uri, resources)
        database = Database(chosen.database_url, chosen.database_timeout_seconds)
        resources.callback(database.close)
        Index(database).place(change_to=_place(chosen))


def _settings(
    settings: StoreSettings | None, uri: str | None, resources: ExitStack
) -> StoreSettings:
    """Take the settings, for another place if one is named."""
    chosen = Settings.from_environment().store if settings is None else settings
    if uri is None or uri == chosen.objects:
        uri, has_moved = chosen.objects, False
    else:
        has_moved = True
    parts = urlsplit(uri)
    if parts.scheme == "memory" and not parts.netloc and not parts.path:
        folder = tempfile.TemporaryDirectory(prefix="protein_lab_", ignore_cleanup_errors=True)
        uri = resources.enter_context(folder)
    elif parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        uri = unquote(parts.path)
    elif not uri or "\0" in uri or ("://" in uri and parts.scheme != "s3"):
        shown = f"one of {parts.scheme}://" if "://" in uri else repr(uri)
        raise StoreError(f"Expected {_FORMS} for the store, got {shown}.")
    database = "" if has_moved else chosen.database
    return msgspec.structs.replace(chosen, objects=uri, database=database)


def _enter(records: Records, must_exist: bool) -> None:
    """See that the place is a store of ours, or make it one, before anything is written there.

    Raises
    ------
    StoreError
        When it is none, holds something else, or was laid out by a newer version.
    """
    try:
        if not must_exist:
            records.marker.before_writing()
        elif not has_marker(records.objects) and next(records.ids(), None) is None:
            raise StoreError(
                f"Expected a store of results in {records.objects.uri}; there is none.",
                "Check the place; `protein-lab design REQUEST.json --store PLACE` makes one.",
            )
    except TierError as error:
        _LOGGER.warning("%s Copies are found without them.", error)


def _place(settings: StoreSettings) -> str:
    """Name the place of results for their index and their copies."""
    if "://" in settings.objects:
        return settings.objects
    folder = Path(settings.objects).resolve()
    inside = msgspec.structs.replace(settings, database="").database_url
    # a folder that carries its index can be moved as a whole
    return _INSIDE if settings.database_url == inside else str(folder)


def _copies(settings: StoreSettings, database: Database, place: str) -> list[Tier]:
    """Open the tiers between memory and the bytes of record, the fastest first."""
    copies: list[Tier] = []
    if settings.redis:
        from protein_lab.store.redis import RedisTier

        named = str(Path(settings.objects).resolve()) if place == _INSIDE else place
        try:
            redis = RedisTier(
                settings.redis,
                capacity=settings.redis_bytes,
                ttl=settings.redis_seconds,
                timeout=settings.timeout_seconds,
                prefix=f"protein_lab:{hashlib.sha256(named.encode()).hexdigest()[:12]}",
            )
            copies.append(redis)
        except MissingExtraError as error:
            _LOGGER.warning("The store works without Redis. %s", error)
    tier = DatabaseTier(database, ttl=settings.database_seconds, capacity=settings.database_bytes)
    return [*copies, tier]


def _claim(store: TieredResults, place: str) -> None:
    """See that the index is that of these results; a new one is filled.

    Raises
    ------
    StoreError
        When it is the index of others.
    """
    found = store.index.place()
    if found == place:
        return
    if found is not None:
        raise StoreError(
            f"Expected the index of {store.uri}; the database is that of results "
            f"{found if found == _INSIDE else f'in {found}'}.",
            "Set PROTEIN_LAB_STORE_DATABASE to another database; where the results were moved, "
            "run `protein-lab store reindex --adopt`.",
        )
    number = 0
    for number, _ in enumerate(store.records.ids(), start=1):
        if number > _FEW:
            break
    store.index.place(change_to=place)
    if number > _FEW:
        _LOGGER.warning("The index is new; fill it with `protein-lab store reindex`.")
    elif number:
        _LOGGER.warning("The index is new; %d results are listed again.", number)
        store.reindex()

"""How bytes of record grow old: hot, warm, cold, and their end.

Age decides, unless somebody read the result lately: then it stays hot, or becomes hot again. A
legal hold never keeps a result from getting smaller, and always from being deleted. The manifest
of each result is the truth about its class and its hold; the index only knows when it was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from protein_lab.errors import StoreError, TierError
from protein_lab.settings import StoreSettings
from protein_lab.store.base import LifecycleClass, RunRow
from protein_lab.store.manifest import Manifest
from protein_lab.store.moves import class_of, move
from protein_lab.store.packing import repack
from protein_lab.store.records import Records


class LifecycleIndex(Protocol):
    """What a migration asks of the index, and tells it."""

    def rows(self) -> Iterable[RunRow]:
        """Give all results that the index knows."""
        ...

    def set_lifecycle(self, request_id: str, lifecycle: LifecycleClass, size: int) -> None:
        """Note the class of a result and its bytes."""
        ...

    def remove(self, request_id: str) -> None:
        """Forget a result that was deleted."""
        ...


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One result that changes.

    Attributes
    ----------
    request_id : str
        The result.
    source : {"hot", "warm", "cold"}
        Its class.
    target : {"hot", "warm", "cold", "deleted"}
        What it becomes.
    size, new_size : int
        Bytes before and after.
    """

    request_id: str
    source: LifecycleClass
    target: LifecycleClass | Literal["deleted"]
    size: int
    new_size: int


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration did, or would do.

    Attributes
    ----------
    steps : tuple of Step
        Results that change.
    expired : tuple of str
        Results at the end of their life that are still there: nobody said that they may be
        deleted, or they are under a legal hold.
    problems : dict of str to str
        Results that could not be moved, and why; they stay as they were.
    """

    steps: tuple[Step, ...]
    expired: tuple[str, ...]
    problems: dict[str, str]

    @property
    def saved(self) -> int:
        """Bytes that are saved; negative where more become hot again."""
        return sum(step.size - step.new_size for step in self.steps)


def target_class(
    created_at: datetime, accessed_at: datetime, now: datetime, settings: StoreSettings
) -> LifecycleClass:
    """Tell the class that a result should have.

    Parameters
    ----------
    created_at, accessed_at : datetime
        When it was stored, and read last.
    now : datetime
        The time.
    settings : StoreSettings
        Days of each class.
    """
    age = now - created_at
    was_read = accessed_at > created_at and now - accessed_at < timedelta(days=settings.idle_days)
    if was_read or age < timedelta(days=settings.hot_days):
        return "hot"
    return "warm" if age < timedelta(days=settings.warm_days) else "cold"


def is_expired(
    created_at: datetime, accessed_at: datetime, now: datetime, settings: StoreSettings
) -> bool:
    """Whether a result is at the end of its life; one that was read lately is not."""
    if target_class(created_at, accessed_at, now, settings) != "cold":
        return False
    return now - created_at >= timedelta(days=settings.cold_days)


def migrate(
    records: Records,
    index: LifecycleIndex,
    settings: StoreSettings,
    *,
    dry_run: bool = False,
    delete_expired: bool = False,
) -> Migration:
    """Give every result the class of its age, and delete those whose life is over.

    Parameters
    ----------
    records : Records
        The bytes of record; its clock is the one that counts.
    index : LifecycleIndex
        Knows when results were read.
    settings : StoreSettings
        Days of each class.
    dry_run : bool
        Only tell what would change and what it saves; each result is packed in memory for that.
    delete_expired : bool
        Whether results at the end of their life are deleted.

    Raises
    ------
    StoreError
        When the place or the index does not answer. What was moved until then stays moved.
    """
    read = {row.request_id: _in_utc(row.accessed_at) for row in index.rows()}
    steps: list[Step] = []
    expired: list[str] = []
    problems: dict[str, str] = {}
    for request_id, manifest in _manifests(records, problems):
        created = records.created_at(request_id, manifest)
        times = (created, read.get(request_id, created), records.now(), settings)
        try:
            if is_expired(*times):
                if delete_expired and not manifest.hold:
                    steps.append(_end(records, index, request_id, manifest, dry_run))
                    continue
                expired.append(request_id)
            target = target_class(*times)
            if target != class_of(manifest):
                steps.append(_step(records, index, request_id, manifest, target, dry_run))
        except TierError:
            raise
        except StoreError as error:
            problems[request_id] = str(error)
    return Migration(steps=tuple(steps), expired=tuple(expired), problems=problems)


def _in_utc(time: datetime) -> datetime:
    """Give a time its zone; SQLite keeps none."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _manifests(records: Records, problems: dict[str, str]) -> Iterator[tuple[str, Manifest]]:
    """Give all results; a damaged manifest is a problem of its own, not the end."""
    for request_id in list(records.ids()):
        try:
            manifest = records.manifest(request_id)
        except TierError:
            raise
        except StoreError as error:
            problems[request_id] = str(error)
            continue
        if manifest is not None:
            yield request_id, manifest


def _step(
    records: Records,
    index: LifecycleIndex,
    request_id: str,
    manifest: Manifest,
    target: LifecycleClass,
    dry_run: bool,
) -> Step:
    if dry_run:
        packed = repack(records.content(request_id, manifest), target)
        new_size = sum(map(len, packed.values()))
    else:
        new_size = move(records, request_id, target).size
        index.set_lifecycle(request_id, target, new_size)
    return Step(
        request_id=request_id,
        source=class_of(manifest),
        target=target,
        size=manifest.size,
        new_size=new_size,
    )


def _end(
    records: Records, index: LifecycleIndex, request_id: str, manifest: Manifest, dry_run: bool
) -> Step:
    """Delete a result; the manifest is asked once more whether it is under a hold."""
    if not dry_run:
        records.delete(request_id)
        index.remove(request_id)
    return Step(
        request_id=request_id,
        source=class_of(manifest),
        target="deleted",
        size=manifest.size,
        new_size=0,
    )

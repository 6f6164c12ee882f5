"""Objects by path: the bytes of record, in a local folder or on an S3-compatible server."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from protein_lab.errors import StoreError
from protein_lab.settings import StoreSettings
from protein_lab.store.files import (
    create_durable,
    is_scratch,
    scratch_folder,
    storing,
    sync_folder,
    sync_tree,
    write_durable,
)

if TYPE_CHECKING:
    from zarr.abc.store import Store

_LOCK = ".lock"
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
_TRIES = 8


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An object, without its content.

    Attributes
    ----------
    path : str
        Relative to the root, with forward slashes.
    size : int
        Bytes.
    modified : datetime
        When it was written, in UTC.
    """

    path: str
    size: int
    modified: datetime


class MissingObjectError(StoreError):
    """There is no object of this path."""


class Objects(Protocol):
    """Holds objects; each is written whole or not at all, and is durable when written.

    Every method raises :class:`~protein_lab.errors.StoreError` when the place cannot be used,
    with what to do about it.
    """

    uri: str
    """Where the objects are, without credentials."""

    def read(self, path: str) -> bytes:
        """Read an object.

        Raises
        ------
        MissingObjectError
            When it is not there.
        """
        ...

    def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object.

        Returns
        -------
        bool
            False when ``if_absent`` and one is there already, which stays as it is: of several
            writers exactly one gets True.
        """
        ...

    def replace(self, path: str, data: bytes, expected: bytes) -> bool:
        """Write an object in the place of one whose content is known, in one step.

        Returns
        -------
        bool
            False when the content is not ``expected``, or none is there: of several writers that
            saw the same content exactly one gets True.
        """
        ...

    def write_folder(self, folder: str, objects: Mapping[str, bytes]) -> bool:
        """Write a folder of objects in one step, if it is absent.

        Returns
        -------
        bool
            False, and nothing is written, when something is there, or when the place cannot do
            this in one step.
        """
        ...

    def delete(self, *paths: str) -> None:
        """Remove objects; one that is not there is no error."""
        ...

    def discard(self, path: str, expected: bytes) -> None:
        """Remove an object whose content is known; it stays where that is not one step."""
        ...

    def sweep(self, until: datetime, dry_run: bool = False) -> Iterator[ObjectInfo]:
        """Remove what writers that died before ``until`` left half written, and tell what."""
        ...

    def arrays(self, folder: str) -> Store:
        """Give a folder as a store that Zarr reads from."""
        ...

    def folders(self, prefix: str = "") -> list[str]:
        """Name the folders directly below ``prefix``, sorted."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Give all objects whose path begins with ``prefix``, a folder that ends in a slash."""
        ...


class LocalObjects:
    """Objects as files below a folder.

    Parameters
    ----------
    root : Path or str
        The folder; made when something is written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.uri = str(self.root)

    def read(self, path: str) -> bytes:
        """Read an object; see :meth:`Objects.read`."""
        place = self._place(path)
        try:
            return place.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise MissingObjectError(f"Expected an object {path} in {self.uri}.") from error
        except OSError as error:
            raise StoreError(f"Cannot read {place}: {error.strerror}.") from error

    def write(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object; see :meth:`Objects.write`."""
        place = self._place(path)

        def attempt() -> bool:
            self._make_folder(place.parent)
            if if_absent:
                return create_durable(place, data)
            write_durable(place, data)
            return True

        with storing(place):
            return _with_folder(attempt)

    def replace(self, path: str, data: bytes, expected: bytes) -> bool:
        """Write in the place of known content; see :meth:`Objects.replace`."""
        place = self._place(path)
        with self._locked(place):
            if not _holds(place, expected):
                return False
            write_durable(place, data)
            return True

    def write_folder(self, folder: str, objects: Mapping[str, bytes]) -> bool:
        """Write a folder of objects and give it its name last; see :meth:`Objects.write_folder`."""
        place = self._place(folder)
        with storing(place):
            self._make_folder(place.parent)
            with scratch_folder(place) as scratch:
                for path, data in objects.items():
                    target = scratch.joinpath(*Path(path).parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
                sync_tree(scratch)
                try:
                    scratch.rename(place)
                except OSError as error:
                    if error.errno in _OCCUPIED:
                        return False
                    raise
            sync_folder(place.parent)
        return True

    def delete(self, *paths: str) -> None:
        """Remove objects and folders that are empty then; see :meth:`Objects.delete`."""
        places = [self._place(path) for path in paths]
        for place in places:
            with storing(place):
                place.unlink(missing_ok=True)
        for place in places:
            with suppress(OSError):
                for folder in place.relative_to(self.root).parents:
                    if folder != Path():
                        (self.root / folder).rmdir()
        changed = {next((p for p in place.parents if p.is_dir()), self.root) for place in places}
        for folder in changed:
            with storing(folder), suppress(FileNotFoundError):
                sync_folder(folder)

    def discard(self, path: str, expected: bytes) -> None:
        """Remove an object whose content is known; see :meth:`Objects.discard`."""
        with self._locked(self._place(path)):
            if _holds(self._place(path), expected):
                self.delete(path)

    def sweep(self, until: datetime, dry_run: bool = False) -> Iterator[ObjectInfo]:
        """Remove scratch of writers that died; see :meth:`Objects.sweep`."""
        for parent, folders, names in os.walk(self.root):
            scratch = [name for name in folders + names if is_scratch(Path(name))]
            folders[:] = [name for name in folders if name not in scratch]
            for name in scratch:
                place = Path(parent, name)
                with suppress(FileNotFoundError):
                    info = self._info(place)
                    if info.modified > until:
                        continue
                    yield info
                    if not dry_run:
                        with storing(place):
                            shutil.rmtree(place) if place.is_dir() else place.unlink()

    def arrays(self, folder: str) -> Store:
        """Give a folder as a store that Zarr reads from."""
        from zarr.storage import LocalStore

        return LocalStore(self._place(folder), read_only=True)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Give all finished objects below ``prefix``; see :meth:`Objects.list`."""
        start = self._place(prefix) if prefix else self.root
        for parent, folders, names in os.walk(start, onerror=self._unlisted):
            folders[:] = [name for name in sorted(folders) if not is_scratch(Path(name))]
            for name in sorted(names):
                place = Path(parent, name)
                if not is_scratch(place) and name != _LOCK:
                    with suppress(FileNotFoundError):
                        yield self._info(place)

    def folders(self, prefix: str = "") -> list[str]:
        """Name the folders directly below ``prefix``; see :meth:`Objects.folders`."""
        start = self._place(prefix) if prefix else self.root
        for _, folders, _ in os.walk(start, onerror=self._unlisted):
            return sorted(name for name in folders if not is_scratch(Path(name)))
        return []

    def _info(self, place: Path) -> ObjectInfo:
        found = place.stat()
        return ObjectInfo(
            path=place.relative_to(self.root).as_posix(),
            size=found.st_size,
            modified=datetime.fromtimestamp(found.st_mtime, UTC),
        )

    def _unlisted(self, error: OSError) -> None:
        """Refuse a listing that leaves something out; what is gone meanwhile is no error."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise StoreError(
                f"Cannot list {error.filename}: {error.strerror}.",
                "Choose a folder that you may read.",
            ) from error

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        """Let no other process replace or discard an object meanwhile.

        The system releases the lock when a process ends, however it ends.
        """
        with storing(place):
            if not self.root.is_dir():
                yield
                return
            with (self.root / _LOCK).open("ab") as handle:
                try:
                    import fcntl

                    fcntl.flock(handle, fcntl.LOCK_EX)
                except ImportError:  # pragma: no cover - systems without POSIX locks go without
                    pass
                yield

    def _place(self, path: str) -> Path:
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts:
            raise StoreError(f"Expected a path inside {self.uri}, got {path!r}.")
        return self.root.joinpath(*parts)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and its parents durable, so that no file is lost with its folder."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def open_objects(settings: StoreSettings) -> Objects:
    """Open the place of the bytes of record that the settings name.

    Parameters
    ----------
    settings : StoreSettings
        ``objects`` is a folder or ``s3://BUCKET/PREFIX``.

    Raises
    ------
    StoreError
        When the place is none of these.
    """
    if settings.objects.startswith("s3://"):
        from protein_lab.store.bucket import open_bucket

        return open_bucket(settings)
    if "://" in settings.objects:
        kind = settings.objects.split("://", 1)[0]
        raise StoreError(
            f"Expected a folder or s3://BUCKET/PREFIX for the store, got one of {kind}://.",
            "Set PROTEIN_LAB_STORE_OBJECTS to one of these.",
        )
    return LocalObjects(settings.objects)


def _holds(place: Path, expected: bytes) -> bool:
    try:
        return place.read_bytes() == expected
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _with_folder(attempt: Callable[[], bool]) -> bool:
    """Try again when another process removed the folder, empty just then, under the writer."""
    for _ in range(_TRIES - 1):
        with suppress(FileNotFoundError):
            return attempt()
        time.sleep(0.001)
    return attempt()

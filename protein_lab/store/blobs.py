"""Objects by path: the bytes of record, in a local folder or on an S3-compatible server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from protein_lab.errors import StoreError
from protein_lab.store.files import (
    is_scratch,
    scratch_name,
    storing,
    sync_folder,
    write_durable,
)


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

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""
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
        with storing(place):
            self._make_folder(place.parent)
            if not if_absent:
                write_durable(place, data)
                return True
            return _create_durable(place, data)

    def delete(self, path: str) -> None:
        """Remove an object and folders that are empty then; see :meth:`Objects.delete`."""
        place = self._place(path)
        with storing(place):
            place.unlink(missing_ok=True)
        with suppress(OSError):
            for folder in place.relative_to(self.root).parents:
                if folder != Path():
                    (self.root / folder).rmdir()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Give all finished objects below ``prefix``; see :meth:`Objects.list`."""
        for parent, _, names in os.walk(self._place(prefix) if prefix else self.root):
            for name in sorted(names):
                place = Path(parent, name)
                if is_scratch(place):
                    continue
                with suppress(FileNotFoundError):
                    found = place.stat()
                    yield ObjectInfo(
                        path=place.relative_to(self.root).as_posix(),
                        size=found.st_size,
                        modified=datetime.fromtimestamp(found.st_mtime, UTC),
                    )

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


def _create_durable(path: Path, data: bytes) -> bool:
    """Write a file unless one is there; of several writers one wins."""
    temporary = scratch_name(path)
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True

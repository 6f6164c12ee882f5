"""Writing that survives a crash: temporary sibling, fsync, rename.

A rename on one file system is atomic, and after fsync of the file and of its folder it is also
durable; neither zarr nor Python's ``write`` does the second by itself.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from protein_lab.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SUFFIX = ".writing"
_THREADS = 16


@contextmanager
def storing(target: Path) -> Iterator[None]:
    """Turn an :class:`OSError` on the way to ``target`` into a message that says how to mend it.

    Raises
    ------
    StoreError
        When the disk is full, the place is read-only, or anything else in the way of writing.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            remedy = "Free some space and run the same command again; finished designs are kept."
        elif error.errno in _FORBIDDEN:
            remedy = "Choose a folder in which you may write."
        else:
            remedy = "Choose another folder, or mend this one."
        raise StoreError(f"Cannot write to {target}: {reason}.", remedy) from error


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` durable."""
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make every file and every folder below ``folder`` durable."""
    paths = [Path(parent) for parent, _, _ in os.walk(folder)]
    paths += [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    with ThreadPoolExecutor(_THREADS) as pool:  # a disk makes many things durable at once
        list(pool.map(_sync, paths))


def write_durable(path: Path, data: bytes) -> None:
    """Write a file so that, whatever happens, its old or its new content is there, and whole."""
    with scratch_file(path, data) as temporary:
        temporary.replace(path)
    sync_folder(path.parent)


def create_durable(path: Path, data: bytes) -> bool:
    """Write a file so, unless one is there; of several writers one wins."""
    with scratch_file(path, data) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
    sync_folder(path.parent)
    return True


@contextmanager
def scratch_file(path: Path, data: bytes) -> Iterator[Path]:
    """Yield a new file beside ``path`` whose content is on disk; what keeps that name goes."""
    temporary = scratch_name(path)
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def scratch_name(path: Path) -> Path:
    """Give a name beside ``path`` that no other writer uses; hidden from listings."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")


def is_scratch(path: Path) -> bool:
    """Whether a path was made by :func:`scratch_name` and holds nothing finished."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that disappears unless it was renamed meanwhile."""
    folder = scratch_name(path)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)

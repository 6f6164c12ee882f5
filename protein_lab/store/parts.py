"""Designs of runs that are not finished: ``parts/ID/design-000123.bin``.

Any number of workers write; whoever comes second with a design changes nothing, since the same
index of the same request is the same design. Damaged ones are left out, and made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from protein_lab.errors import IntegrityError
from protein_lab.store.blobs import MissingObjectError, Objects
from protein_lab.store.marker import Marker
from protein_lab.store.schema import Design, decode_design, encode_design

PARTS = "parts"
THREADS = 8
_NAME = re.compile(rf"{PARTS}/([^/]+)/design-(\d+)\.bin")


class Parts:
    """Single designs of runs.

    Parameters
    ----------
    objects : Objects
        Where they are kept.
    marker : Marker or None
        The mark of the store, where it was looked for already.
    """

    def __init__(self, objects: Objects, marker: Marker | None = None) -> None:
        self._objects = objects
        self._marker = marker or Marker(objects)

    def keep(self, request_id: str, design: Design) -> None:
        """Keep a design; when this returns, no crash loses it.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        self._marker.before_writing()
        path = _path(request_id, design.index)
        data = encode_design(design)
        is_new = self._objects.write(path, data, if_absent=True)
        if not is_new and self._read(path, design.index) is None:  # what is there is damaged
            self._objects.write(path, data)

    def kept(self, request_id: str, indices: Iterable[int] | None = None) -> dict[int, Design]:
        """Read designs by index; damaged ones are left out.

        Parameters
        ----------
        request_id : str
            The run.
        indices : iterable of int or None
            Which ones; all by default.
        """
        self._marker.before_reading()
        wanted = self.indices(request_id) if indices is None else sorted(set(indices))
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda index: self._read(_path(request_id, index), index), wanted)
            return {design.index: design for design in found if design is not None}

    def indices(self, request_id: str) -> list[int]:
        """List the indices for which there is something, damaged or not."""
        paths = (item.path for item in self._objects.list(f"{PARTS}/{request_id}/"))
        return sorted(int(found[2]) for path in paths if (found := _NAME.fullmatch(path)))

    def runs(self) -> list[str]:
        """List the runs of which designs are kept."""
        names = self._objects.folders(f"{PARTS}/")
        return [name for name in names if self.indices(name)]

    def forget(self, request_id: str) -> None:
        """Remove the designs of a run."""
        self._objects.delete(*[item.path for item in self._objects.list(f"{PARTS}/{request_id}/")])

    def _read(self, path: str, index: int) -> Design | None:
        try:
            design = decode_design(self._objects.read(path), path)
        except (MissingObjectError, IntegrityError):
            return None
        return design if design.index == index else None


def _path(request_id: str, index: int) -> str:
    return f"{PARTS}/{request_id}/design-{index:06d}.bin"

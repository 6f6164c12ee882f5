"""Legal holds as objects of their own, ``holds/ID.json``: a second copy of what manifests say.

The manifest's own word counts, since it is part of every switch. The copy is there for the case
that the manifest is damaged or lost, and keeps collectors away from what is left.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from protein_lab.store.blobs import MissingObjectError, Objects
from protein_lab.store.manifest import Hold

HOLDS = "holds"


class Holds:
    """Copies of legal holds.

    Parameters
    ----------
    objects : Objects
        Where they are kept.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def keep(self, request_id: str, hold: Hold) -> None:
        """Keep the copy of a hold, before the manifest says so."""
        self._objects.write(_path(request_id), msgspec.json.encode(hold))

    def kept(self, request_id: str) -> Hold | UnsetType:
        """Read a copy; one that is damaged is a hold for an unknown reason."""
        try:
            return msgspec.json.decode(self._objects.read(_path(request_id)), type=Hold)
        except MissingObjectError:
            return UNSET
        except msgspec.DecodeError:
            since = datetime.fromtimestamp(0, UTC)
            return Hold(reason="its record is damaged, so it stands", holder="?", since=since)

    def forget(self, request_id: str) -> None:
        """Remove a copy, after the manifest says so."""
        self._objects.delete(_path(request_id))

    def ids(self) -> set[str]:
        """List the results for which there is a copy."""
        paths = (info.path for info in self._objects.list(f"{HOLDS}/"))
        return {path.removeprefix(f"{HOLDS}/").removesuffix(".json") for path in paths}


def _path(request_id: str) -> str:
    return f"{HOLDS}/{request_id}.json"

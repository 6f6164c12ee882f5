"""Where a worker keeps finished designs itself, so that only a summary travels back.

Whether worker and caller see the same store cannot be told from its path: a folder of that name
may be another one on another machine. So the caller puts a random identity into the store, and a
worker that reads the same one works on the same store.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from protein_lab.errors import StoreError
from protein_lab.settings import StoreSettings
from protein_lab.store.blobs import Objects, open_objects
from protein_lab.store.marker import Marker, mark
from protein_lab.store.parts import PARTS, Parts

_IDENTITY: Final = f"{PARTS}/identity"


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """Where designs are kept, as it travels to workers; without credentials.

    Attributes
    ----------
    objects, s3_endpoint, s3_region : str
        As in :class:`~protein_lab.settings.StoreSettings`; a folder is given whole.
    identity : str
        What is found there.
    """

    objects: str
    s3_endpoint: str
    s3_region: str
    identity: str

    def settings(self) -> StoreSettings:
        """Give the settings that open the place."""
        return StoreSettings(
            objects=self.objects, s3_endpoint=self.s3_endpoint, s3_region=self.s3_region
        )


def keeping_of(settings: StoreSettings) -> Keeping:
    """Describe a store so that workers can find out whether they see it too.

    Raises
    ------
    StoreError
        When it cannot be written, or belongs to something else.
    """
    objects = open_objects(settings)
    mark(objects)
    place = settings.objects
    if "://" not in place:
        place = str(Path(place).absolute())
    return Keeping(
        objects=place,
        s3_endpoint=settings.s3_endpoint,
        s3_region=settings.s3_region,
        identity=_identity(objects),
    )


@lru_cache(maxsize=8)
def reachable_parts(keeping: Keeping) -> Parts | None:
    """Open the store in a worker; None where it is not the caller's, or cannot be reached."""
    try:
        objects = open_objects(keeping.settings())
        found = objects.read(_IDENTITY)
    except StoreError:
        return None
    return Parts(objects, Marker(objects)) if found == keeping.identity.encode() else None


def open_parts(settings: StoreSettings) -> Parts:
    """Open the designs of unfinished runs in a store."""
    objects = open_objects(settings)
    return Parts(objects, Marker(objects))


def _identity(objects: Objects) -> str:
    """Read what distinguishes this store from all others, and write it where it is missing."""
    objects.write(_IDENTITY, secrets.token_hex(16).encode(), if_absent=True)
    return objects.read(_IDENTITY).decode()

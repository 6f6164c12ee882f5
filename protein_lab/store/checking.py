"""Arrays that are compared with their manifest when they are read."""

from __future__ import annotations

from collections.abc import Mapping

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from protein_lab.errors import IntegrityError
from protein_lab.store.manifest import StoredObject, compare, raise_for


class CheckedStore(WrapperStore[Store]):
    """A store of Zarr that raises an error where bytes are not those of the manifest.

    Zarr takes a chunk that is not there for missing values; so a result that is moved or deleted
    while somebody reads from it would turn into NaN without a word.

    Parameters
    ----------
    store : Store
        Gives the bytes.
    items : mapping
        What the manifest says of each key.
    name : str
        What to call the place in an error.
    """

    def __init__(self, store: Store, items: Mapping[str, StoredObject], name: str) -> None:
        super().__init__(store)
        self._items = items
        self._name = name

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a key and compare it.

        Raises
        ------
        IntegrityError
            When it is missing or damaged.
        """
        found = await super().get(key, prototype, byte_range)
        item = self._items.get(key)
        if item is None:
            return found
        if found is None:
            raise IntegrityError(
                f"Expected {item.size} bytes of {item.path} in {self._name}; they are gone.",
                "Open the result again; if that fails, repair the store.",
            )
        if byte_range is None:
            raise_for(filter(None, [compare(item, found.to_bytes())]), self._name)
        return found

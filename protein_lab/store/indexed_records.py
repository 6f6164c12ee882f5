"""Results as values of the tiers: their bytes for copies, and what keeps them for good."""

from __future__ import annotations

from protein_lab.errors import IntegrityError, StoreError
from protein_lab.store.base import LifecycleClass, RunRow
from protein_lab.store.index import Index
from protein_lab.store.manifest import Manifest
from protein_lab.store.records import Records
from protein_lab.store.schema import DesignResult, decode_result, encode_result

REINDEX = "Run `protein-lab store reindex` when the database answers again."
_UNPACKED = 4  # times the size of a packed result in memory, about


class ResultCodec:
    """Results as bytes, for copies."""

    def encode(self, value: DesignResult) -> bytes:
        """Write a result."""
        return encode_result(value)

    def decode(self, key: str, data: bytes) -> DesignResult:
        """Read a result whose arrays nobody can change.

        Raises
        ------
        IntegrityError
            When the bytes are damaged, or are another result.
        """
        result = decode_result(data, key)
        if result.request_id != key:
            raise IntegrityError(f"Expected the result {key[:12]}, got {result.request_id[:12]}.")
        for design in result.designs:
            design.backbone.flags.writeable = False
            design.uncertainty.flags.writeable = False
        return result

    def size(self, data: bytes) -> int:
        """Estimate the bytes that a result takes in memory."""
        return _UNPACKED * len(data)


class IndexedRecords:
    """Results for good: their bytes first, then their row.

    Parameters
    ----------
    records : Records
        The bytes.
    index : Index
        The rows.
    """

    name = "objects"

    def __init__(self, records: Records, index: Index) -> None:
        self._records = records
        self._index = index

    def read(self, key: str) -> tuple[DesignResult, int] | None:
        """Read a result and its version; None when there is none."""
        found = self._records.get_with_manifest(key)
        if found is None:
            return None
        result, manifest = found
        return result, int(self._records.created_at(key, manifest).timestamp() * 1e9)

    def write(self, key: str, value: DesignResult, version: int) -> bool:
        """Keep a result; False when one is there already, which then has its row for sure."""
        is_new = self._records.put(value)
        try:
            self._index.add(self.row(value, self._records.expect(key)))
        except StoreError as error:
            raise StoreError(
                f"The result {key[:12]} is kept, but not listed: {error.problem}", REINDEX
            ) from error
        return is_new

    def delete(self, key: str) -> None:
        """Remove a result and its row, unless it is held."""
        self._records.delete(key)
        try:
            self._index.remove(key)
        except StoreError as error:
            raise StoreError(
                f"The result {key[:12]} is removed, but still listed: {error.problem}", REINDEX
            ) from error

    def usage(self) -> int:
        """Count the bytes of all results."""
        return self._index.usage()

    def row(self, result: DesignResult, manifest: Manifest) -> RunRow:
        """Describe a result for the index."""
        made = self._records.created_at(result.request_id, manifest)
        lifecycle: LifecycleClass = manifest.lifecycle or "hot"  # type: ignore[assignment]
        return RunRow(
            request_id=result.request_id,
            name=result.request.name,
            created_at=made,
            accessed_at=made,
            num_designs=len(result.designs),
            num_accepted=result.num_accepted,
            length=max((design.length for design in result.designs), default=0),
            operator=result.request.operator,
            constraints=tuple(sorted({item.kind for item in result.request.constraints})),
            size=manifest.size,
            lifecycle=lifecycle,
            held=manifest.hold.reason if manifest.hold else "",
            outcome=result.outcome,
        )

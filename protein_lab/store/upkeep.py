"""Care for a whole store: what the bytes of record need, told to index and copies as well."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from protein_lab.errors import StoreError
from protein_lab.settings import StoreSettings
from protein_lab.store.lifecycle import Migration, migrate
from protein_lab.store.maintenance import repair, verify
from protein_lab.store.manifest import Damage
from protein_lab.store.result_store import TieredResults


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what came out.

    Attributes
    ----------
    damages : tuple of Damage
        Objects that differ from their manifests; of those that could be mended none.
    index : tuple of str
        Damage of the index.
    mended : tuple of str
        Objects that were mended.
    hopeless : dict of str to str
        Results that nothing gives back, and what to do.
    """

    damages: tuple[Damage, ...]
    index: tuple[str, ...]
    mended: tuple[str, ...] = ()
    hopeless: dict[str, str] = {}

    @property
    def is_intact(self) -> bool:
        """Whether no damage is left."""
        return not self.damages and not self.index


def verify_store(
    store: TieredResults, request_ids: Iterable[str] | None = None, *, mends: bool = False
) -> Verification:
    """Compare results with their manifests and the index with its seals, and mend what differs.

    Parameters
    ----------
    store : TieredResults
        The store.
    request_ids : iterable of str or None
        Which results; all of them and the index by default.
    mends : bool
        Whether damage is mended: results from what is intact of them and from faster tiers, the
        index from the results.

    Raises
    ------
    StoreError
        When the results cannot be reached.
    """
    wanted = None if request_ids is None else list(request_ids)
    damages = verify(store.records, wanted)
    faults = store.index.verify() if wanted is None else []
    if not mends or not (damages or faults):
        return Verification(damages=tuple(damages), index=tuple(faults))
    mended: list[str] = []
    hopeless: dict[str, str] = {}
    for request_id in dict.fromkeys(damage.path.split("/", 1)[0] for damage in damages):
        try:
            mended += repair(store.records, request_id, [store.tiers.get])
        except StoreError as error:
            hopeless[request_id] = str(error)
    store.reindex()
    return Verification(
        damages=tuple(verify(store.records, wanted)),
        index=tuple(store.index.verify() if wanted is None else []),
        mended=tuple(mended),
        hopeless=hopeless,
    )


def migrate_store(
    store: TieredResults,
    settings: StoreSettings,
    *,
    dry_run: bool = False,
    delete_expired: bool = False,
) -> Migration:
    """Give every result the class of its age; see :func:`protein_lab.store.lifecycle.migrate`.

    Copies of what is deleted go too.

    Raises
    ------
    StoreError
        When results or index cannot be reached.
    """
    made = migrate(
        store.records, store.index, settings, dry_run=dry_run, delete_expired=delete_expired
    )
    if not dry_run:
        for step in made.steps:
            if step.target == "deleted":
                store.delete(step.request_id)
    return made

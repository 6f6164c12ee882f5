"""Commands that look after stored results: gc, verify, migrate, reindex."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from protein_lab.cli.app import Json, print_json, say
from protein_lab.cli.storing import (
    SHORT_ID,
    Store,
    opened_store,
    print_table,
    store_app,
)
from protein_lab.errors import EXIT_DONE, EXIT_FAILED


@store_app.command
def gc(
    *, store: Store = None, dry_run: bool = False, grace_hours: float = 24.0, as_json: Json = False
) -> int:
    """Remove what no result names: leftovers of writers that died, designs of finished runs.

    Parameters
    ----------
    dry_run
        Only tell what would be removed.
    grace_hours
        Younger objects stay, as somebody may be writing them; at least an hour.
    as_json
        Print JSON.
    """
    from protein_lab.store.maintenance import gc as collect
    from protein_lab.store.table import readable_size

    with opened_store(store) as opened, _working("Looking for what no result names", as_json):
        removed = collect(opened.records, timedelta(hours=grace_hours), dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "removed": removed})
        return EXIT_DONE
    for item in removed:
        print(f"{item.path}  {readable_size(item.size)}")
    freed = readable_size(sum(item.size for item in removed))
    print(f"{len(removed)} objects {'would go' if dry_run else 'removed'}, {freed}.")
    return EXIT_DONE


@store_app.command
def verify(
    request_id: str | None = None, *, store: Store = None, repair: bool = False,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Compare results with their manifests, and the index with its seals.

    Parameters
    ----------
    request_id
        One result, by its id or the beginning of it; all results and the index unless given.
    repair
        Mend damage, from what is intact and from faster tiers.
    as_json
        Print JSON.
    """
    from protein_lab.store.table import full_id
    from protein_lab.store.upkeep import verify_store

    with opened_store(store) as opened, _working("Comparing objects with manifests", as_json):
        wanted = None if request_id is None else [full_id(opened, request_id)]
        found = verify_store(opened, wanted, mends=repair)
    if as_json:
        print_json(found)
    else:
        for path in found.mended:
            print(f"mended: {path}")
        for damage in found.damages:
            print(f"damaged: {damage.path}: {damage.message}")
        for fault in found.index:
            print(f"damaged: index: {fault}")
        for hopeless, why in found.hopeless.items():
            print(f"lost: {hopeless[:SHORT_ID]}: {why}")
        if found.is_intact:
            print("All is intact.")
    return EXIT_DONE if found.is_intact else EXIT_FAILED


@store_app.command
def migrate(
    *, store: Store = None, dry_run: bool = False, delete_expired: bool = False,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Pack results that are old and not read any more, and unpack those that are read again.

    Parameters
    ----------
    dry_run
        Only tell what would change, and what it saves.
    delete_expired
        Delete results at the end of their life that no legal hold keeps.
    as_json
        Print JSON.
    """
    from protein_lab.settings import Settings
    from protein_lab.store.table import readable_size
    from protein_lab.store.upkeep import migrate_store

    settings = Settings.from_environment().store
    with opened_store(store) as opened, _working("Looking at the age of results", as_json):
        made = migrate_store(opened, settings, dry_run=dry_run, delete_expired=delete_expired)
    if as_json:
        print_json({"dry_run": dry_run, "saved": made.saved, "migration": made})
        return EXIT_FAILED if made.problems else EXIT_DONE
    print_table(
        ("id", "is", "becomes", "size", "new size"),
        [
            (
                step.request_id[:SHORT_ID], step.source, step.target, readable_size(step.size),
                readable_size(step.new_size),
            )
            for step in made.steps
        ],
    )  # fmt: skip
    moves = Counter(f"{step.source} to {step.target}" for step in made.steps)
    told = ", ".join(f"{number} {name}" for name, number in sorted(moves.items())) or "no result"
    how = "would change" if dry_run else "changed"
    print(f"{told} {how}; {readable_size(made.saved)} {'would be ' if dry_run else ''}saved.")
    if made.expired:
        print(f"{len(made.expired)} results are at the end of their life and kept.")
    for request_id, why in made.problems.items():
        say(f"{request_id[:SHORT_ID]}: {why}")
    return EXIT_FAILED if made.problems else EXIT_DONE


@store_app.command
def reindex(*, store: Store = None, adopt: bool = False, as_json: Json = False) -> int:
    """Build the index again from the results, as after the database was lost or replaced.

    Parameters
    ----------
    adopt
        Also where the database was the index of results in another place, which were moved.
    as_json
        Print JSON.
    """
    from protein_lab.store.open import adopt_place

    if adopt:
        adopt_place(uri=store)
    with opened_store(store) as opened, _Counter("results", as_json) as counter:
        made = opened.reindex(counter.tell)
    if as_json:
        print_json(made)
    else:
        print(
            f"{made.num_results} results: {made.added} rows written, {made.removed} removed, "
            f"{len(made.damaged)} results damaged."
        )
        for request_id in made.damaged:
            print(f"damaged: {request_id}")
    return EXIT_FAILED if made.damaged else EXIT_DONE


@contextmanager
def _working(what: str, is_quiet: bool) -> Iterator[None]:
    """Show on a terminal that long work goes on."""
    from rich.console import Console

    if is_quiet or not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(f"{what} …"):
        yield


class _Counter:
    """Tells how far long work is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, unit: str, is_quiet: bool) -> None:
        from tqdm import tqdm

        self._unit = unit
        self._is_terminal = sys.stderr.isatty() and not is_quiet
        self._is_quiet = is_quiet
        self._bar = tqdm(unit=f" {unit}", disable=not self._is_terminal)

    def __enter__(self) -> _Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tell(self, done: int) -> None:
        """Show how many are done."""
        self._bar.update(done - self._bar.n)
        if not self._is_terminal and not self._is_quiet and done % 1000 == 0:
            say(f"{done} {self._unit}")

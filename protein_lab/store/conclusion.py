"""What is kept of all the designs that a run made, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from protein_lab.design.request import DesignRequest
from protein_lab.design.selection import outcome, rank_key
from protein_lab.design.until import Relaxation, Search, advice, relaxations
from protein_lab.store.schema import Design


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What a run comes to.

    Attributes
    ----------
    designs : tuple of Design
        Best first. Of a search all accepted ones, and as many of the best others as were wanted.
    outcome : str
        What came out and, where less than asked, what to do.
    search : Search or None
        The search with the number of near misses that are kept.
    relaxations : tuple of Relaxation
        What each constraint that designs miss costs, counted over all designs that were made.
    """

    designs: tuple[Design, ...]
    outcome: str
    search: Search | None
    relaxations: tuple[Relaxation, ...]


def conclude(
    request: DesignRequest, designs: Sequence[Design], search: Search | None = None
) -> Conclusion:
    """Rank designs, choose which are kept, and sum up.

    Parameters
    ----------
    request : DesignRequest
        The question.
    designs : sequence of Design
        In any order; failed ones too.
    search : Search or None
        How they came about, where the request says until when.
    """
    ranked = sorted(
        designs,
        key=lambda item: rank_key(
            item.failed, item.checks, item.measurements, item.metrics, item.index
        ),
    )
    said = outcome([set(item.losses) for item in ranked], request.num_wanted)
    costs = _costs(request, ranked)
    accepted = [item for item in ranked if item.accepted]
    if search is not None:
        misses = [item for item in ranked if not item.accepted][: search.num_wanted]
        ranked = accepted + misses
        search = msgspec.structs.replace(search, num_near_misses=len(misses))
        # the reason gives the same counts, of all that were made
        said = said.removeprefix(f"{len(accepted)} of {request.num_wanted} designs pass every ")
        said = f"{search.reason} {said.removeprefix('check and constraint.').lstrip()}".rstrip()
    if len(accepted) < request.num_wanted:
        said = f"{said} {advice(costs, len(accepted))}".rstrip()
    return Conclusion(designs=tuple(ranked), outcome=said, search=search, relaxations=costs)


def _costs(request: DesignRequest, designs: Sequence[Design]) -> tuple[Relaxation, ...]:
    """Tell what each constraint costs, over the designs that have a backbone."""
    whole = [item for item in designs if item.failed is None]
    return relaxations(
        [item.kind for item in request.constraints],
        [item.measurements for item in whole],
        [len(item.losses) for item in whole],
    )

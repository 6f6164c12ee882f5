"""How near a structure is to real chains.

A design that starts from the fold of a real chain cannot be assumed to be new, so its nearest
relative is named with its TM-score.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.fold_search import MIN_LENGTH, FoldSearch, Neighbor
from protein_lab.typing import Check
from protein_lab.validation.base import Rule, not_run

SAME_FOLD: Final = 0.5
"""Two chains with a TM-score above this have, as a rule, the same fold (Xu & Zhang, 2010)."""

MAX_LENGTH: Final = 1024
"""Longest chain that is searched for; TM-align takes time in proportion to the length."""

_RULE: Final = Rule(
    unit="TM-score",
    reason="Chains above 0.5 have the same fold (Xu & Zhang, 2010); a number, not a verdict.",
)


def measure_novelty(protein: Protein, search: FoldSearch) -> Check:
    """Find the real chain that a structure resembles most.

    Parameters
    ----------
    protein : Protein
        Each of its chains is searched for by itself; the one with the nearest relative counts.
    search : FoldSearch
        Real chains.

    Returns
    -------
    Check
        The largest TM-score that was found, normalized by the length of the structure, without a
        verdict; the details name the chain. Low is new. A chain with missing backbone atoms is
        searched for without those residues. ``not_run`` for chains that are too short or long.
    """
    whole = np.asarray(protein.has_backbone)
    best: tuple[Neighbor, int] | None = None
    for chain in range(len(protein.chain_ids)):
        atoms = np.asarray(protein.backbone)[whole & (protein.chain_index == chain)]
        if not MIN_LENGTH <= len(atoms) <= MAX_LENGTH:
            continue
        found = search.nearest(np.asarray(atoms[:, 1], dtype=np.float64), dssp(atoms))[0]
        if best is None or found.tm > best[0].tm:
            best = (found, chain)
    if best is None:
        return novelty_not_run(
            f"No chain has {MIN_LENGTH} to {MAX_LENGTH} residues with all backbone atoms."
        )
    nearest, chain = best
    of = f" to chain {protein.chain_ids[chain]}" if len(protein.chain_ids) > 1 else ""
    fold = "same fold" if nearest.tm > SAME_FOLD else "no chain of the same fold was found"
    return Check(
        name="novelty",
        value=nearest.tm,
        unit=_RULE.unit,
        threshold=None,
        verdict="not_applicable",
        details=f"{nearest.id} is nearest{of} of {len(search.chains)} chains: {fold}.",
    )


def novelty_not_run(why: str = "Not asked for.") -> Check:
    """Report that novelty was not measured."""
    return not_run("novelty", why, _RULE)

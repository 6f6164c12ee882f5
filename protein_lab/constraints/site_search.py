"""Where in a finished structure a site fits best, and where in a chain to be made it may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from protein_lab.constants import CA_CA_TRANS
from protein_lab.constraints.rigid import superposition_rmsd
from protein_lab.constraints.wells import CA, CB
from protein_lab.errors import ProteinLabError
from protein_lab.typing import BoolArray, FloatArray

SEARCH_REACH: Final = 2.5
"""Angstrom that a distance of CA or CB atoms may be off for a residue to be looked at."""

MAX_PARTIAL: Final = 2000
"""Incomplete matches that are followed, nearest distances first."""

LEAST_SPACING: Final = 8
"""Residues between which no local geometry is shared."""

_TRIES: Final = 400


def find_site(
    atoms: FloatArray, goal: FloatArray, allowed: BoolArray
) -> tuple[float, tuple[int, ...]] | None:
    """Find the residues of a structure that superimpose best on a template.

    Parameters
    ----------
    atoms : ndarray, shape=(residue, 4, 3)
        N, CA, C and ideal CB, angstrom.
    goal : ndarray, shape=(site, 4, 3)
        The template.
    allowed : ndarray of bool, shape=(site, residue)
        Which residues may stand for which of the template.

    Returns
    -------
    (rmsd, residues) or None
        None when no residues have distances within :data:`SEARCH_REACH` of those of the template.
    """
    names = (CA, CB)
    apart = [_apart(atoms[:, name]) for name in names]
    wanted = [_apart(goal[:, name]) for name in names]
    partial: list[tuple[float, tuple[int, ...]]] = [
        (0.0, (int(residue),)) for residue in np.flatnonzero(allowed[0])
    ]
    for place in range(1, len(goal)):
        following: list[tuple[float, tuple[int, ...]]] = []
        for cost, taken in partial:
            off = np.stack(
                [
                    np.abs(have[list(taken)] - want[:place, place, None])
                    for have, want in zip(apart, wanted, strict=True)
                ]
            )
            fits = allowed[place] & (off < SEARCH_REACH).all(axis=(0, 1))
            fits[list(taken)] = False
            total = off.sum(axis=(0, 1))
            following += [
                (cost + float(total[new]), (*taken, int(new))) for new in np.flatnonzero(fits)
            ]
        partial = sorted(following)[:MAX_PARTIAL]
    found = [(superposition_rmsd(atoms[list(taken)], goal), taken) for _, taken in partial]
    return min(found, default=None)


def _apart(points: FloatArray) -> FloatArray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def draw_positions(
    known: Sequence[int | None],
    spacing: Sequence[Sequence[int | None]],
    distance: FloatArray,
    length: int,
    rng: np.random.Generator,
) -> tuple[int, ...]:
    """Draw places for the residues of a site that are left open.

    Parameters
    ----------
    known : sequence of int or None
        0-based places that are given.
    spacing : sequence of sequence of int or None
        Signed separation that two residues keep because they lie near each other along the
        template; None where they are far apart or of different chains.
    distance : ndarray, shape=(site, site)
        Distances of CA atoms, angstrom; the chain between two residues must reach that far.
    length : int
        Residues of the design.
    rng : Generator

    Raises
    ------
    ProteinLabError
        When no places are found.
    """
    order = sorted(range(len(known)), key=lambda site: known[site] is None)
    for _ in range(_TRIES):
        taken: dict[int, int] = {}
        for site in order:
            near = [(taken[o], spacing[o][site]) for o in taken if spacing[o][site] is not None]
            given = known[site]
            if given is not None:
                place = given
            elif near:
                place = near[0][0] + int(near[0][1] or 0)
            else:
                place = int(rng.integers(1, max(length - 1, 2)))
            taken[site] = place
        if _fit(taken, known, spacing, distance, length):
            return tuple(taken[site] for site in range(len(known)))
    raise ProteinLabError(
        f"In {length} residues no places were found for a site of {len(known)} residues.",
        "Ask for a longer chain, or give the positions.",
    )


def _fit(
    taken: dict[int, int],
    known: Sequence[int | None],
    spacing: Sequence[Sequence[int | None]],
    distance: FloatArray,
    length: int,
) -> bool:
    if not all(0 <= place < length for place in taken.values()):
        return False
    for one in range(len(known)):
        for other in range(one + 1, len(known)):
            gap = abs(taken[one] - taken[other])
            if gap == 0 or CA_CA_TRANS * gap < distance[one, other]:
                return False
            drawn = known[one] is None or known[other] is None
            if drawn and spacing[one][other] is None and gap < LEAST_SPACING:
                return False
    return True

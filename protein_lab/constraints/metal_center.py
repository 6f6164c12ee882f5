"""The best place for a metal ion between residues of a finished structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constraints.metal_rotamers import Rotamers
from protein_lab.typing import FloatArray

IDEAL_ANGLES: Final = {"tetrahedral": (109.5,), "trigonal": (120.0,), "octahedral": (90.0, 180.0)}
"""Angles donor-metal-donor of a geometry, degrees."""

_STARTS: Final = 6
_ROUNDS: Final = 25
_NEAR: Final = 0.3
_CANDIDATES: Final = 80
_SWEEPS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class MetalCenter:
    """A place for an ion and how well residues hold it there.

    Attributes
    ----------
    place : ndarray, shape=(3,)
        Angstrom.
    miss : ndarray, shape=(site,)
        How far from there the nearest rotamer of each residue would have the ion, angstrom.
    angle : float
        Mean deviation of the angles donor-metal-donor from the nearest ideal one, degrees, over
        rotamers that miss hardly more than the nearest.
    """

    place: FloatArray
    miss: FloatArray
    angle: float

    @property
    def rms(self) -> float:
        """Root mean square of what the residues miss, angstrom."""
        return float(np.sqrt((self.miss**2).mean()))


def find_center(clouds: Sequence[Rotamers], ideal: Sequence[float]) -> MetalCenter:
    """Find the place that rotamers of all residues come nearest to.

    Parameters
    ----------
    clouds : sequence of Rotamers
        Of each residue.
    ideal : sequence of float
        Angles of the geometry, degrees.
    """
    from scipy.spatial import KDTree

    trees = [KDTree(cloud.metal) for cloud in clouds]
    smallest = min(clouds, key=lambda cloud: len(cloud.metal))
    cost = sum(tree.query(smallest.metal)[0] ** 2 for tree in trees)
    best: tuple[float, FloatArray] | None = None
    for start in np.argsort(cost, kind="stable")[:_STARTS]:
        place = smallest.metal[start]
        for _ in range(_ROUNDS):
            # each residue takes its nearest rotamer, then the place goes between them
            nearest = [
                cloud.metal[tree.query(place)[1]] for cloud, tree in zip(clouds, trees, strict=True)
            ]
            place = np.mean(nearest, axis=0)
        rms = float(np.sqrt(np.mean([tree.query(place)[0] ** 2 for tree in trees])))
        if best is None or rms < best[0]:
            best = rms, place
    assert best is not None
    miss = np.array([tree.query(best[1])[0] for tree in trees])
    return MetalCenter(best[1], miss, _angle(clouds, best[1], ideal))


def _angle(clouds: Sequence[Rotamers], place: FloatArray, ideal: Sequence[float]) -> float:
    """Choose rotamers near the place so that their donors stand as the geometry wants them."""
    options: list[FloatArray] = []
    for cloud in clouds:
        apart = np.linalg.norm(cloud.metal - place, axis=1)
        order = np.argsort(apart, kind="stable")[:_CANDIDATES]
        kept = order[apart[order] <= apart[order[0]] + _NEAR]
        to = cloud.donor[kept] - cloud.metal[kept]
        options.append(to / np.linalg.norm(to, axis=1, keepdims=True))
    chosen = [option[0] for option in options]
    for _ in range(_SWEEPS):
        for site, option in enumerate(options):
            others = np.array([chosen[other] for other in range(len(chosen)) if other != site])
            off = _deviation(option @ others.T, ideal).sum(axis=1)
            chosen[site] = option[int(off.argmin())]
    table = np.array(chosen)
    pairs = np.triu_indices(len(table), 1)
    return float(_deviation((table @ table.T)[pairs], ideal).mean())


def _deviation(cosine: FloatArray, ideal: Sequence[float]) -> FloatArray:
    angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return np.min([np.abs(angle - value) for value in ideal], axis=0)

"""Where cysteine, histidine, aspartate and glutamate can hold a zinc ion, over their rotamers.

Bonds and angles of side chains are those of Engh & Huber (1991); distances from zinc are the means
that Harding found in small molecules and proteins (*Acta Cryst.* D57, 401-411, 2001): 2.31 angstrom
to S of cysteine, 2.03 to N of histidine, 1.99 to O of a carboxylate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from protein_lab.typing import FloatArray

DONORS: Final = "CHDE"
"""Amino acids that hold zinc, by one-letter code."""

_ZINC_S, _ZINC_N, _ZINC_O = 2.31, 2.03, 1.99
_STEP: Final = {"C": 8.0, "H": 8.0, "D": 12.0, "E": 15.0}
"""Degrees between rotamers; more torsions, fewer steps."""

_SYN_ANTI: Final = (-30.0, 0.0, 30.0, 150.0, 180.0, 210.0)


@dataclass(frozen=True, slots=True, eq=False)
class Rotamers:
    """Metal and donor atoms that a residue can have.

    Attributes
    ----------
    metal, donor : ndarray, shape=(rotamer, 3)
        Places of the ion and of the atom that holds it, angstrom.
    """

    metal: FloatArray
    donor: FloatArray


def rotamers(letter: str, residue: FloatArray) -> Rotamers:
    """Place donor and metal over all rotamers of a residue.

    Parameters
    ----------
    letter : str
        One of :data:`DONORS`.
    residue : ndarray, shape=(4, 3)
        N, CA, C and ideal CB, angstrom.
    """
    from protein_lab.geometry import frames

    rotation, origin = frames(residue[None, :3])
    local = (residue - origin[0]) @ rotation[0]
    # the ideal CB depends on the angle N-CA-C a little; the cloud is built for a rounded residue
    known = _local(letter, tuple(map(tuple, local.round(2).tolist())))
    metal, donor = known.metal @ rotation[0].T, known.donor @ rotation[0].T
    return Rotamers(metal + origin[0], donor + origin[0])


@lru_cache(maxsize=256)
def _local(letter: str, residue: tuple[tuple[float, ...], ...]) -> Rotamers:
    nitrogen, alpha, _, beta = np.array(residue)
    build = {"C": _cysteine, "H": _histidine, "D": _aspartate, "E": _glutamate}[letter]
    return build(nitrogen, alpha, beta)


def _chi(letter: str, count: int) -> list[FloatArray]:
    """All combinations of torsions, radians."""
    values = np.radians(np.arange(0.0, 360.0, _STEP[letter]))
    return [grid.ravel() for grid in np.meshgrid(*[values] * count, indexing="ij")]


def _add(
    a: FloatArray, b: FloatArray, c: FloatArray, bond: float, angle: float, torsion: FloatArray
) -> FloatArray:
    from protein_lab.geometry.backbone import place_atom

    shape = (len(torsion), 3)
    one, two, three = (
        np.broadcast_to(np.asarray(point, dtype=np.float64), shape) for point in (a, b, c)
    )
    bent = np.full(len(torsion), np.radians(angle))
    return place_atom(one, two, three, bond, bent, np.asarray(torsion, dtype=np.float64))


def _cysteine(nitrogen: FloatArray, alpha: FloatArray, beta: FloatArray) -> Rotamers:
    first, second = _chi("C", 2)
    sulfur = _add(nitrogen, alpha, beta, 1.81, 114.0, first)
    return Rotamers(_add(alpha, beta, sulfur, _ZINC_S, 107.0, second), sulfur)


def _histidine(nitrogen: FloatArray, alpha: FloatArray, beta: FloatArray) -> Rotamers:
    first, second = _chi("H", 2)
    flat, turned = np.zeros(len(first)), np.full(len(first), np.pi)
    gamma = _add(nitrogen, alpha, beta, 1.497, 113.8, first)
    delta = _add(alpha, beta, gamma, 1.378, 122.7, second)
    carbon = _add(beta, gamma, delta, 1.321, 109.0, turned)
    epsilon = _add(gamma, delta, carbon, 1.321, 108.5, flat)
    # the ion lies in the plane of the ring, on the bisector at either nitrogen
    near = _add(beta, gamma, delta, _ZINC_N, 125.5, flat)
    far = _add(delta, carbon, epsilon, _ZINC_N, 125.5, turned)
    return Rotamers(np.concatenate([near, far]), np.concatenate([delta, epsilon]))


def _carboxylate(
    before: FloatArray, last: FloatArray, carbon: FloatArray, torsion: FloatArray
) -> Rotamers:
    """Ion at one oxygen of a carboxylate, syn or anti, within 30 degrees of its plane."""
    oxygen = _add(before, last, carbon, 1.249, 118.4, torsion)
    metal = [
        _add(last, carbon, oxygen, _ZINC_O, 120.0, np.full(len(torsion), np.radians(side)))
        for side in _SYN_ANTI
    ]
    return Rotamers(np.concatenate(metal), np.concatenate([oxygen] * len(_SYN_ANTI)))


def _aspartate(nitrogen: FloatArray, alpha: FloatArray, beta: FloatArray) -> Rotamers:
    first, second = _chi("D", 2)
    gamma = _add(nitrogen, alpha, beta, 1.516, 112.6, first)
    return _carboxylate(alpha, beta, gamma, second)


def _glutamate(nitrogen: FloatArray, alpha: FloatArray, beta: FloatArray) -> Rotamers:
    first, second, third = _chi("E", 3)
    gamma = _add(nitrogen, alpha, beta, 1.520, 114.1, first)
    delta = _add(alpha, beta, gamma, 1.516, 112.6, second)
    return _carboxylate(beta, gamma, delta, third)

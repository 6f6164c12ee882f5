"""Fields brought back to the curve that they were drawn around.

An operator draws local structure well but the course of the chain only to about an angstrom: its
axis strays from the curve that it was given. The stray part is smooth, so every residue can be
moved by it as a whole, which leaves helices, strands and the places of atoms in a residue alone.
Where the curve itself is doubtful, the operator is more often right than the curve.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.geometry import axis_curve, superimpose
from protein_lab.typing import FloatArray

_ROUNDS: Final = 2
"""A move changes its own axis by less than itself at the ends; the second round makes up for it."""

_DOUBTED: Final = 0.55
_TRUSTED: Final = 0.65
"""Expected TM-scores of a fold up to which its curve is not followed, and from which it is."""


def trust_in_curve(expected: float) -> float:
    """Say how far fields shall follow the curve of a fold.

    Parameters
    ----------
    expected : float
        Expected TM-score of the fold.

    Returns
    -------
    float
        Share of the way back to the curve, 0 to 1.
    """
    return float(np.clip((expected - _DOUBTED) / (_TRUSTED - _DOUBTED), 0.0, 1.0))


def follow_curve(fields: FloatArray, curve: FloatArray, share: float = 1.0) -> FloatArray:
    """Move the residues of fields so that their axes follow a curve.

    Parameters
    ----------
    fields : ndarray, shape=(sample, residue, 3, 3)
        N, CA, C, angstrom.
    curve : ndarray, shape=(residue, 3)
        Axis curve, angstrom.
    share : float
        How much of the way the residues are moved; at 0 the fields are returned as they are.

    Returns
    -------
    ndarray, shape=(sample, residue, 3, 3), dtype=float32
        Superimposed on the curve; each residue moved without being turned.
    """
    if share == 0.0:
        return fields
    moved = np.asarray(fields, dtype=np.float64)
    goal = np.asarray(curve, dtype=np.float64)
    for _ in range(_ROUNDS):
        axis = axis_curve(moved[:, :, 1])
        rotation, shift = superimpose(axis, np.broadcast_to(goal, axis.shape))
        turned = np.swapaxes(rotation, -1, -2)
        axis = axis @ turned + shift[:, None]
        moved = moved @ turned[:, None] + shift[:, None, None]
        moved = moved + share * (goal - axis)[:, :, None]
    return moved.astype(np.float32)

"""Atoms that follow from N, CA and C: O and H of the peptide plane, and a virtual CB.

O and H are linear in the coordinates; CB also needs a cross product, whose gradient is carried
back by :func:`add_beta_gradient`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from protein_lab.constants import BOND_C_O
from protein_lab.design.ideal_chain import NITROGEN_HYDROGEN, OXYGEN_FROM_CA, OXYGEN_FROM_N, cross
from protein_lab.typing import FloatArray, IntArray

NITROGEN, ALPHA, CARBON, OXYGEN, BETA, HYDROGEN = range(6)
ATOMS = 6
"""Atoms of a residue in the expanded model: N, CA, C, O, virtual CB, virtual H."""

_CB_CROSS, _CB_FIRST, _CB_SECOND = -0.58273431, 0.56802827, -0.54067466
_HYDROGEN_SCALE = NITROGEN_HYDROGEN / BOND_C_O


def expand(trace: FloatArray) -> FloatArray:
    """Add O, CB and H to N, CA and C.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.

    Returns
    -------
    (residue, 6, 3) array
        In the order N, CA, C, O, CB, H. The last O and the first H lie on C and N, for they need
        a neighbor that is not there.
    """
    atoms = trace.reshape(-1, 3, 3)
    nitrogen, alpha, carbon = atoms[:, 0], atoms[:, 1], atoms[:, 2]
    out = np.empty((len(atoms), ATOMS, 3))
    out[:, :3] = atoms
    to_oxygen = OXYGEN_FROM_CA * (alpha - carbon)[:-1]
    to_oxygen += OXYGEN_FROM_N * (nitrogen[1:] - carbon[:-1])
    out[:, OXYGEN] = carbon
    out[:-1, OXYGEN] += to_oxygen
    first, second = alpha - nitrogen, carbon - alpha
    out[:, BETA] = alpha + _CB_FIRST * first + _CB_SECOND * second
    out[:, BETA] += _CB_CROSS * cross(first, second)
    out[:, HYDROGEN] = nitrogen
    out[1:, HYDROGEN] -= _HYDROGEN_SCALE * to_oxygen
    return out


def beta(trace: FloatArray) -> FloatArray:
    """Virtual CB ``(residue, 3)`` of a trace ``(3 * residue, 3)``."""
    atoms = trace.reshape(-1, 3, 3)
    first, second = atoms[:, 1] - atoms[:, 0], atoms[:, 2] - atoms[:, 1]
    return atoms[:, 1] + _CB_FIRST * first + _CB_SECOND * second + _CB_CROSS * cross(first, second)


def add_beta_gradient(gradient: FloatArray, beta: FloatArray, trace: FloatArray) -> None:
    """Carry a gradient on the virtual CB atoms back to N, CA and C."""
    atoms, out = trace.reshape(-1, 3, 3), gradient.reshape(-1, 3, 3)
    first, second = atoms[:, 1] - atoms[:, 0], atoms[:, 2] - atoms[:, 1]
    by_first = _CB_FIRST * beta + _CB_CROSS * cross(second, beta)
    by_second = _CB_SECOND * beta + _CB_CROSS * cross(beta, first)
    out[:, 0] -= by_first
    out[:, 1] += beta + by_first - by_second
    out[:, 2] += by_second


@lru_cache(maxsize=16)
def expansion(residues: int) -> Any:
    """Sparse matrix from ``[N, CA, C of each residue; CB of each residue]`` to all atoms.

    Like :func:`expand`, which it stands for: the last O and the first H lie on C and N.
    """
    from scipy.sparse import csr_array

    residue = np.arange(residues)
    backbone = 3 * residue
    parts: list[tuple[IntArray, IntArray, float]] = [
        (ATOMS * residue + atom, backbone + atom, 1.0) for atom in range(3)
    ]
    parts.append((ATOMS * residue + BETA, 3 * residues + residue, 1.0))
    parts.append((ATOMS * residue + OXYGEN, backbone + CARBON, 1.0))
    parts.append((ATOMS * residue + HYDROGEN, backbone + NITROGEN, 1.0))
    inner = residue[:-1]
    for row, scale in (
        (ATOMS * inner + OXYGEN, 1.0),
        (ATOMS * (inner + 1) + HYDROGEN, -_HYDROGEN_SCALE),
    ):
        parts.append((row, 3 * inner + ALPHA, scale * OXYGEN_FROM_CA))
        parts.append((row, 3 * inner + CARBON, -scale * (OXYGEN_FROM_CA + OXYGEN_FROM_N)))
        parts.append((row, 3 * inner + 3 + NITROGEN, scale * OXYGEN_FROM_N))
    rows = np.concatenate([row for row, _, _ in parts])
    columns = np.concatenate([column for _, column, _ in parts])
    values = np.concatenate([np.full(len(row), value) for row, _, value in parts])
    return csr_array((values, (rows, columns)), shape=(ATOMS * residues, 4 * residues))

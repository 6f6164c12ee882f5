"""Turn single peptide planes over where a residue is trapped in a forbidden torsion basin.

Between the basins of the Ramachandran map lie barriers that a minimizer cannot climb, and an
operator that places CA well may still draw a peptide plane the wrong way round. Turning the plane
of C and N about the line from CA to CA by half a turn shifts psi before it and phi behind it by
about 180 degrees and moves no CA, so it is the smallest move that changes basin.
"""

from __future__ import annotations

import numpy as np

from protein_lab.design.ideal_chain import torsions
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.typing import FloatArray

TRAPPED = 6.0
"""Well energy, nats, above which a residue counts as being in no allowed basin."""

_MIN_GAIN = 2.0
_DISTRUST = 0.1


def residue_torsions(trace: FloatArray) -> FloatArray:
    """Phi and psi ``(residue, 2)`` of a trace, radians; those that do not exist are zero."""
    angles, _ = torsions(trace)
    out = np.zeros((len(trace) // 3, 2))
    out[1:, 0], out[:-1, 1] = angles[2::3], angles[0::3]
    return out


def inner_energies(phi_psi: FloatArray, wells: TorsionWells) -> FloatArray:
    """Well energies ``(residue,)``; zero at the two ends, which have one torsion only."""
    energies, _ = wells.energy(phi_psi)
    energies[[0, -1]] = 0.0
    return energies


def flip_trapped(
    trace: FloatArray, wells: TorsionWells, trust: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Turn over the peptide planes that free trapped residues.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.
    wells : TorsionWells
        What each residue may do.
    trust : (3 * residue,) array
        Weights of the position restraints.

    Returns
    -------
    trace : (3 * residue, 3) array
        With the planes turned.
    trust : (3 * residue,) array
        Lowered for N and C beside trapped residues: there the field is wrong.
    """
    trace, trust = trace.copy(), trust.copy()
    phi_psi = residue_torsions(trace)
    energies = inner_energies(phi_psi, wells)
    for residue in np.argsort(-energies, kind="stable"):
        if energies[residue] < TRAPPED:
            break
        for plane in (residue - 1, residue):
            # Plane k joins residues k and k + 1; its atoms are C of k and N of k + 1.
            trust[[3 * plane + 2, 3 * plane + 3]] *= _DISTRUST
        options = [_flipped(phi_psi, plane) for plane in (residue - 1, residue)]
        trials = [inner_energies(option, wells) for option in options]
        best = int(np.argmin([trial.sum() for trial in trials]))
        if trials[best].sum() < energies.sum() - _MIN_GAIN:
            phi_psi, energies = options[best], trials[best]
            _turn_plane(trace, int(residue) - 1 + best)
    return trace, trust


def _flipped(phi_psi: FloatArray, plane: int) -> FloatArray:
    """Torsions after a plane is turned over, to first order."""
    out = phi_psi.copy()
    out[plane, 1] += np.pi
    out[plane + 1, 0] += np.pi
    return out


def _turn_plane(trace: FloatArray, plane: int) -> None:
    """Turn C and N of a plane by half a turn about the line between its two CA, in place."""
    first, second = trace[3 * plane + 1], trace[3 * plane + 4]
    axis = (second - first) / (np.linalg.norm(second - first) + 1e-9)
    for atom in (3 * plane + 2, 3 * plane + 3):
        arm = trace[atom] - first
        trace[atom] = first + 2.0 * (arm @ axis) * axis - arm

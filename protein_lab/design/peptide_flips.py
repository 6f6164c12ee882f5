"""Turn peptide planes about the line from CA to CA until phi and psi lie in allowed basins.

Between the basins of the Ramachandran map lie barriers that a minimizer cannot climb, and an
operator that places CA well may still draw a peptide plane the wrong way round. Turning the plane
of C and N moves no CA and changes the torsions of its two residues only, so all planes of a chain
together are a chain of states with costs between neighbors, whose best setting dynamic programming
finds exactly.
"""

from __future__ import annotations

import numpy as np

from protein_lab.constants import ANGLE_N_CA_C
from protein_lab.design.ideal_chain import cross, torsions
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.typing import BoolArray, FloatArray, IntArray

TRAPPED = 6.0
"""Well energy, nats, above which a residue counts as being in no allowed basin."""

_TURNS = 18
_TURN_COST = 2.0
_HELD_COST = 12.0
_TAU_SPREAD = np.radians(7.0)
_DISTRUST = 0.1
_TURNED = np.radians(45.0)


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


def turn_planes(
    trace: FloatArray, wells: TorsionWells, trust: FloatArray, held: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Turn the peptide planes so that all residues together are in their best basins.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.
    wells : TorsionWells
        What each residue may do.
    trust : (3 * residue,) array
        Weights of the position restraints.
    held : (residue - 1,) array of bool
        Planes whose hydrogen bonds a turn would break; these turn only for much gain.

    Returns
    -------
    trace : (3 * residue, 3) array
        With the planes turned.
    trust : (3 * residue,) array
        Lowered for N and C of planes that were turned far: there the field is wrong.
    """
    angles = 2.0 * np.pi * np.arange(_TURNS) / _TURNS
    carbon, nitrogen = _turned(trace, angles)
    swing = 0.5 * (1.0 - np.cos(angles))
    own = np.where(held, _HELD_COST, _TURN_COST)[:, None] * swing
    between = _costs(trace, carbon, nitrogen, wells)
    choice = _cheapest(own, between)
    plane = np.arange(len(choice))
    trace, trust = trace.copy(), trust.copy()
    trace[2:-1:3], trace[3::3] = carbon[plane, choice], nitrogen[plane, choice]
    far = plane[np.minimum(angles[choice], 2.0 * np.pi - angles[choice]) > _TURNED]
    trust[3 * far + 2] *= _DISTRUST
    trust[3 * far + 3] *= _DISTRUST
    return trace, trust


def _turned(trace: FloatArray, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
    """C and N ``(plane, turn, 3)`` of all planes, turned about the line between their CA."""
    alpha = trace[1::3]
    axis = alpha[1:] - alpha[:-1]
    axis = axis / (np.linalg.norm(axis, axis=-1, keepdims=True) + 1e-9)
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    placed = []
    for atom in (trace[2:-1:3], trace[3::3]):
        arm = atom - alpha[:-1]
        along = np.einsum("px,px->p", arm, axis)[:, None] * axis
        aside = arm - along
        turned = cosine * aside[:, None] + sine * cross(axis, aside)[:, None]
        placed.append((alpha[:-1] + along)[:, None] + turned)
    return placed[0], placed[1]


def _costs(
    trace: FloatArray, carbon: FloatArray, nitrogen: FloatArray, wells: TorsionWells
) -> FloatArray:
    """Costs ``(inner residue, turn before, turn behind)`` of phi, psi and N-CA-C."""
    alpha = trace[1::3][1:-1, None]
    peptide = nitrogen[:-1] - carbon[:-1]
    inward = alpha - nitrogen[:-1]
    outward = carbon[1:] - alpha
    following = nitrogen[1:] - carbon[1:]
    before, behind = cross(peptide, inward), cross(outward, following)
    across = np.swapaxes(outward, 1, 2)
    opening = inward @ across
    inward_length = np.linalg.norm(inward, axis=-1)[:, :, None]
    outward_length = np.linalg.norm(outward, axis=-1)[:, None]
    # Normals of the plane N, CA, C: their length follows from sides and opening.
    normal = np.sqrt(np.maximum((inward_length * outward_length) ** 2 - opening**2, 1e-6))
    phi_scale = 1.0 / (normal * (np.linalg.norm(before, axis=-1)[:, :, None] + 1e-6))
    psi_scale = 1.0 / (normal * (np.linalg.norm(behind, axis=-1)[:, None] + 1e-6))
    circle = np.stack(
        [
            (cross(before, inward) @ across) * phi_scale,
            (before @ across) * inward_length * phi_scale,
            (inward @ np.swapaxes(cross(outward, behind), 1, 2)) * psi_scale,
            (inward @ np.swapaxes(behind, 1, 2)) * outward_length * psi_scale,
        ]
    )
    cosine = -opening / (inward_length * outward_length)
    bend = (np.arccos(np.clip(cosine, -1.0, 1.0)) - np.radians(ANGLE_N_CA_C)) / _TAU_SPREAD
    return wells.inner_table(circle) + bend**2


def _cheapest(own: FloatArray, between: FloatArray) -> IntArray:
    """Turn of each plane on the cheapest path (Viterbi)."""
    total = own[0]
    back = np.zeros(own.shape, dtype=np.int64)
    for plane in range(1, len(own)):
        options = total[:, None] + between[plane - 1]
        back[plane] = options.argmin(axis=0)
        total = options.min(axis=0) + own[plane]
    choice = np.zeros(len(own), dtype=np.int64)
    choice[-1] = total.argmin()
    for plane in range(len(own) - 1, 0, -1):
        choice[plane - 1] = back[plane, choice[plane]]
    return choice

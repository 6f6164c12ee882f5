"""The ideal polypeptide chain: exact bonds and angles as constraints on N, CA and C.

Atoms are kept as one flat *trace* ``(3 * residue, 3)`` in the order N, CA, C, N, CA, C ... so that
bonds, angles and torsions are always over consecutive atoms: torsion ``t`` spans the atoms
``t .. t + 3`` and is psi, omega or phi for ``t % 3`` equal to 0, 1 or 2.

:func:`project` moves a trace onto the constraint manifold by Gauss-Newton steps, each of which
is the smallest displacement that meets the linearized constraints (the idea of SHAKE, Ryckaert,
Ciccotti & Berendsen, J. Comput. Phys. 23, 1977, solved for all constraints at once). A chain
rebuilt from torsions would turn a small angle error into a large shift at its far end; a
projection has no such lever arm, and its system is banded, so the cost is linear in length.
"""

from __future__ import annotations

import numpy as np

from protein_lab import constants
from protein_lab.typing import FloatArray

BONDS = np.array([constants.BOND_N_CA, constants.BOND_CA_C, constants.BOND_C_N])
"""Lengths of the bonds that start at N, CA and C, angstrom."""

NITROGEN_HYDROGEN = 1.01
"""N-H bond length of the virtual hydrogen, angstrom (Kabsch & Sander, 1983, use 1.0)."""

_TAU_FREEDOM = 3.0
_OMEGA_FREEDOM = 7.0
_MAX_STEP = 0.4
_SIDE_SLACK = 0.004
_VOLUME_SLACK = 0.02
_EXACT = 1e-6


def _third_side(first: float, second: float, degrees: float) -> float:
    return float(np.sqrt(first**2 + second**2 - 2.0 * first * second * np.cos(np.radians(degrees))))


def _tau_side(degrees: float) -> float:
    return _third_side(constants.BOND_N_CA, constants.BOND_CA_C, degrees)


_CA_N = _third_side(constants.BOND_CA_C, constants.BOND_C_N, constants.ANGLE_CA_C_N)
_C_CA = _third_side(constants.BOND_C_N, constants.BOND_N_CA, constants.ANGLE_C_N_CA)
SIDES_LOW = np.array([_tau_side(constants.ANGLE_N_CA_C - _TAU_FREEDOM), _CA_N, _C_CA])
"""Shortest distances N..C, CA..N and C..CA of one angle each, angstrom."""
SIDES_HIGH = np.array([_tau_side(constants.ANGLE_N_CA_C + _TAU_FREEDOM), _CA_N, _C_CA])
"""Longest distances N..C, CA..N and C..CA of one angle each, angstrom."""

# Triple product (C-CA) x (N-C) . (CA'-N) of a peptide is this constant times sin(omega).
_OMEGA_VOLUME = (
    constants.BOND_CA_C
    * constants.BOND_C_N
    * constants.BOND_N_CA
    * np.sin(np.radians(constants.ANGLE_CA_C_N))
    * np.sin(np.radians(constants.ANGLE_C_N_CA))
)
_MAX_VOLUME = _OMEGA_VOLUME * np.sin(np.radians(_OMEGA_FREEDOM))


def _oxygen_weights() -> tuple[float, float]:
    """Weights of CA-C and N-C in O-C for a planar carbonyl with exact angles."""
    opening = np.cos(np.radians(constants.ANGLE_CA_C_N))
    cosines = np.cos(
        np.radians(
            [constants.ANGLE_CA_C_O, 360.0 - constants.ANGLE_CA_C_N - constants.ANGLE_CA_C_O]
        )
    )
    alpha, beta = np.linalg.solve(np.array([[1.0, opening], [opening, 1.0]]), cosines)
    length = constants.BOND_C_O
    return float(alpha * length / constants.BOND_CA_C), float(beta * length / constants.BOND_C_N)


OXYGEN_FROM_CA, OXYGEN_FROM_N = _oxygen_weights()


def cross(first: FloatArray, second: FloatArray) -> FloatArray:
    """Cross product over the last axis; several times faster than NumPy's for small arrays."""
    out = np.empty(np.broadcast_shapes(first.shape, second.shape))
    a0, a1, a2 = first[..., 0], first[..., 1], first[..., 2]
    b0, b1, b2 = second[..., 0], second[..., 1], second[..., 2]
    out[..., 0] = a1 * b2 - a2 * b1
    out[..., 1] = a2 * b0 - a0 * b2
    out[..., 2] = a0 * b1 - a1 * b0
    return out


def torsions(trace: FloatArray) -> tuple[FloatArray, FloatArray]:
    """All torsion angles of consecutive atoms and their gradients.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.

    Returns
    -------
    angles : (3 * residue - 3,) array
        psi, omega, phi of the next residue, psi ... in radians.
    gradients : (3 * residue - 3, 4, 3) array
        Derivative with respect to the four atoms (Blondel & Karplus, J. Comput. Chem. 17, 1996).
    """
    bonds = trace[1:] - trace[:-1]
    before, axis, after = -bonds[:-2], -bonds[1:-1], bonds[2:]
    normal_a, normal_b = cross(before, axis), cross(after, axis)
    length = np.sqrt(np.einsum("ti,ti->t", axis, axis) + 1e-12)
    square_a = np.einsum("ti,ti->t", normal_a, normal_a) + 1e-6
    square_b = np.einsum("ti,ti->t", normal_b, normal_b) + 1e-6
    sine = np.einsum("ti,ti->t", cross(normal_b, normal_a), axis) / length
    angles = np.arctan2(sine, np.einsum("ti,ti->t", normal_a, normal_b))
    gradients = np.empty((len(angles), 4, 3))
    gradients[:, 0] = (-length / square_a)[:, None] * normal_a
    gradients[:, 3] = (length / square_b)[:, None] * normal_b
    lean = (np.einsum("ti,ti->t", before, axis) / (square_a * length))[:, None] * normal_a
    lean -= (np.einsum("ti,ti->t", after, axis) / (square_b * length))[:, None] * normal_b
    gradients[:, 1] = lean - gradients[:, 0]
    gradients[:, 2] = -lean - gradients[:, 3]
    return angles, gradients


def _beyond(
    value: FloatArray, low: FloatArray | float, high: FloatArray | float, slack: float
) -> FloatArray:
    """How far values lie above or below their limits; zero well inside.

    A value just inside a limit counts as lying on it. Were it free there, neighboring limits
    would take turns in being violated, and the steps would converge slowly or not at all.
    """
    above, below = value - high, value - low
    beyond = np.where(above > -slack, above, np.where(below < slack, below, 0.0))
    return np.where(np.equal(low, high), above, beyond)


def _constraints(trace: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Violations ``(atom, 3)`` and Jacobian ``(atom, 3, 4, 3)`` of bond, angle and omega slots.

    Slot ``t`` holds the constraints whose first atom is ``t``; slots that do not exist at the end
    of the chain, and inequalities that hold, have zero rows.
    """
    count = len(trace)
    violations = np.zeros((count, 3))
    jacobian = np.zeros((count, 3, 4, 3))
    kind = np.arange(count) % 3
    for slot, (reach, low, high) in enumerate(((1, BONDS, BONDS), (2, SIDES_LOW, SIDES_HIGH))):
        step = trace[reach:] - trace[:-reach]
        distance = np.sqrt(np.einsum("ti,ti->t", step, step) + 1e-12)
        which = kind[:-reach]
        error = _beyond(distance, low[which], high[which], _SIDE_SLACK)
        direction = step / distance[:, None] * (error != 0.0)[:, None]
        violations[:-reach, slot] = error
        jacobian[:-reach, slot, reach] = direction
        jacobian[:-reach, slot, 0] = -direction
    start = np.arange(1, count - 3, 3)
    first, second, third = (trace[start + k + 1] - trace[start + k] for k in range(3))
    volume = np.einsum("ti,ti->t", cross(first, second), third)
    error = _beyond(volume, -_MAX_VOLUME, _MAX_VOLUME, _VOLUME_SLACK)
    active = (error != 0.0)[:, None]
    by_bond = [cross(second, third), cross(third, first), cross(first, second)]
    violations[start, 2] = error
    for k, gradient in enumerate(by_bond):
        jacobian[start, 2, k + 1] += gradient * active
        jacobian[start, 2, k] -= gradient * active
    return violations, jacobian


def _smallest_step(violations: FloatArray, jacobian: FloatArray) -> FloatArray:
    """Least-squares displacement ``-J^T (J J^T)^-1 c`` by one banded solve."""
    from scipy.linalg import solveh_banded

    count = len(violations)
    bands = np.zeros((12, 3 * count))
    for shift in range(4):
        blocks = np.einsum(
            "tsox,tuox->tsu",
            jacobian[: count - shift, :, shift:],
            jacobian[shift:, :, : 4 - shift],
        )
        for row in range(3):
            for column in range(3):
                diagonal = 3 * shift + row - column
                if diagonal >= 0:
                    stop = 3 * (count - shift)
                    bands[diagonal, column:stop:3] += blocks[:, column, row]
    bands[0] += 1e-9 + (bands[0] == 0.0)
    multipliers = solveh_banded(bands, violations.reshape(-1), lower=True).reshape(count, 3)
    step = np.zeros((count, 3))
    for offset in range(4):
        part = np.einsum("ts,tsx->tx", multipliers, jacobian[:, :, offset])
        step[offset:] -= part[: count - offset]
    return step


def project(trace: FloatArray, max_steps: int = 60) -> tuple[FloatArray, float]:
    """Move a trace onto exact bonds and angles, near-planar omega and bounded N-CA-C.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom.
    max_steps : int
        Bound on the number of Gauss-Newton steps.

    Returns
    -------
    trace : (3 * residue, 3) array
        The projected chain.
    violation : float
        Largest remaining violation, angstrom.
    """
    trace = trace.copy()
    violation = np.inf
    for _ in range(max_steps):
        violations, jacobian = _constraints(trace)
        violation = float(np.abs(violations).max())
        if violation < _EXACT:
            break
        step = _smallest_step(violations, jacobian)
        longest = float(np.sqrt(np.einsum("ti,ti->t", step, step).max()))
        trace += step * min(1.0, _MAX_STEP / max(longest, 1e-12))
    return trace, violation


def with_oxygen(trace: FloatArray, last_psi: float = np.radians(130.0)) -> FloatArray:
    """Add carbonyl oxygens in the peptide plane.

    Parameters
    ----------
    trace : (3 * residue, 3) array
        N, CA, C of each residue, angstrom, on the constraint manifold.
    last_psi : float
        Psi of the last residue, which has no following N, radians.

    Returns
    -------
    (residue, 4, 3) array
        N, CA, C, O.
    """
    atoms = trace.reshape(-1, 3, 3)
    following = np.concatenate([atoms[1:, 0], _next_nitrogen(atoms[-1], last_psi)[None]])
    oxygen = (
        atoms[:, 2]
        + OXYGEN_FROM_CA * (atoms[:, 1] - atoms[:, 2])
        + OXYGEN_FROM_N * (following - atoms[:, 2])
    )
    return np.concatenate([atoms, oxygen[:, None]], axis=1)


def _next_nitrogen(residue: FloatArray, psi: float) -> FloatArray:
    """Place the N that would follow a residue (natural extension of the chain)."""
    nitrogen, alpha, carbon = residue
    axis = (carbon - alpha) / np.linalg.norm(carbon - alpha)
    normal = cross(alpha - nitrogen, axis)
    normal = normal / np.linalg.norm(normal)
    angle = np.pi - np.radians(constants.ANGLE_CA_C_N)
    inside = np.array([np.cos(angle), np.sin(angle) * np.cos(psi), np.sin(angle) * np.sin(psi)])
    return carbon + constants.BOND_C_N * inside @ np.stack([axis, cross(normal, axis), normal])

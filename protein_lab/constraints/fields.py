"""The functions on the chain that a neural operator is conditioned on.

A design question becomes three functions of the chain parameter: the axis curve y(sigma), the
secondary structure c(sigma) and the pairing b(sigma, tau). This module samples them, one sample a
residue; nothing here knows how they were obtained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.constants import SECONDARY_STRUCTURE_STATES, UNSPECIFIED
from protein_lab.errors import GeometryError
from protein_lab.typing import FloatArray

SECONDARY_STRUCTURE_CHANNELS: Final = SECONDARY_STRUCTURE_STATES + UNSPECIFIED
"""Order of the channels of ``Conditions.secondary_structure``."""

PAIRING_CHANNELS: Final = ("parallel", "antiparallel", "crossing")
"""Order of the channels of ``Conditions.pairing``."""

_SHORTEST_STEP: Final = 0.4
"""Axis curves rise by 1.5 (helix) to 3.3 (strand) angstrom a residue; in nanometers, by a tenth."""

_FARTHEST: Final = 1e4
"""No chain is so long that a point of it lies so far from its center, angstrom."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Inputs of a neural operator for one chain, sampled at evenly spaced points along it.

    Attributes
    ----------
    axis_curve : ndarray, shape=(residue, 3), dtype=float32
        The coarse path of the chain, in angstrom.
    secondary_structure : ndarray, shape=(residue, 4), dtype=float32
        One-hot in the order of :data:`SECONDARY_STRUCTURE_CHANNELS`.
    pairing : ndarray, shape=(residue, residue, 3), dtype=float32
        Symmetric; 1 over the block of two paired elements, in the channel of their orientation
        (:data:`PAIRING_CHANNELS`), 0 elsewhere.
    mask : ndarray, shape=(residue,), dtype=float32
        1 for residues of the chain, 0 for padding.
    spacing : float
        Residues between two samples; 1 where every residue is a sample.
    """

    axis_curve: FloatArray
    secondary_structure: FloatArray
    pairing: FloatArray
    mask: FloatArray
    spacing: float = 1.0

    @property
    def length(self) -> int:
        """Number of samples along the chain, padding included."""
        return self.axis_curve.shape[0]


def check_finite(name: str, values: FloatArray) -> None:
    """Refuse numbers that are not finite: an operator would spread them everywhere.

    Parameters
    ----------
    name : str
        What the numbers are, for the message.
    values : ndarray

    Raises
    ------
    GeometryError
        With how many there are and where the first is.
    """
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise GeometryError(
            f"Expected finite numbers, but the {name} has {int(wrong.sum())} that are not, "
            f"the first at {tuple(int(k[0]) for k in np.nonzero(wrong))}."
        )


def check_conditions(conditions: Conditions) -> None:
    """Refuse conditions that no operator can take.

    Parameters
    ----------
    conditions : Conditions

    Raises
    ------
    GeometryError
        If a number is not finite, or the curve can hardly be in angstrom.
    """
    check_finite("axis curve", conditions.axis_curve)
    check_finite("secondary structure", conditions.secondary_structure)
    check_finite("pairing", conditions.pairing)
    curve = np.asarray(conditions.axis_curve)
    reach = float(np.abs(curve - curve.mean(axis=0)).max())
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=-1)
    step = float(np.median(steps)) if len(steps) else np.inf
    if reach > _FARTHEST or (reach > 0.0 and step < _SHORTEST_STEP * conditions.spacing):
        raise GeometryError(
            f"Expected an axis curve in angstrom, but its points are {step:.3f} apart and up to "
            f"{reach:.0f} from their center.",
            "Coordinates in nanometers must be multiplied by 10.",
        )


def compile_conditions(
    secondary_structure: str,
    elements: Sequence[tuple[int, int]],
    pairs: Sequence[tuple[int, int, str]],
    axis_curve: FloatArray,
) -> Conditions:
    """Sample the functions of a design question at every residue.

    Parameters
    ----------
    secondary_structure : str
        One letter a residue: ``H``, ``E``, ``L``, or ``-`` where nothing is asked.
    elements : sequence of (start, stop)
        Residue spans of the helices and strands in order of the chain, 0-based and half-open.
    pairs : sequence of (first, second, orientation)
        Indices into ``elements`` and one of :data:`PAIRING_CHANNELS`.
    axis_curve : ndarray, shape=(residue, 3)
        Coarse path of the chain, in angstrom.

    Returns
    -------
    Conditions
        Nothing is masked.

    Raises
    ------
    GeometryError
        When the curve's shape is not (residue, 3) or holds a number that is not finite.
    ValueError
        For an unknown letter or orientation, or an element that does not lie in the chain.
    """
    length = len(secondary_structure)
    curve = np.asarray(axis_curve, dtype=np.float32)
    if curve.shape != (length, 3):
        raise GeometryError(
            f"Expected an axis curve of shape ({length}, 3), but got {curve.shape}.",
            "Give one point for each letter of the secondary structure.",
        )
    if not np.isfinite(curve).all():
        raise GeometryError("The axis curve holds numbers that are not finite.")
    return Conditions(
        axis_curve=curve,
        secondary_structure=encode_secondary_structure(secondary_structure),
        pairing=encode_pairing(length, elements, pairs),
        mask=np.ones(length, dtype=np.float32),
    )


def encode_secondary_structure(secondary_structure: str) -> FloatArray:
    """One-hot encode letters ``H E L -`` to an array of shape (residue, 4), float32.

    Raises
    ------
    ValueError
        For any other letter.
    """
    unknown = sorted(set(secondary_structure) - set(SECONDARY_STRUCTURE_CHANNELS))
    if unknown:
        raise ValueError(
            f"Expected the letters {' '.join(SECONDARY_STRUCTURE_CHANNELS)}, but got {unknown}."
        )
    channel = [SECONDARY_STRUCTURE_CHANNELS.index(letter) for letter in secondary_structure]
    return np.eye(len(SECONDARY_STRUCTURE_CHANNELS), dtype=np.float32)[channel]


def encode_pairing(
    length: int,
    elements: Sequence[tuple[int, int]],
    pairs: Sequence[tuple[int, int, str]],
) -> FloatArray:
    """Paint paired elements as blocks into an array (residue, residue, 3), float32.

    Raises
    ------
    ValueError
        For an unknown orientation or an element that does not lie in the chain.
    """
    pairing = np.zeros((length, length, len(PAIRING_CHANNELS)), dtype=np.float32)
    for first, second, orientation in pairs:
        if orientation not in PAIRING_CHANNELS:
            raise ValueError(f"Expected one of {PAIRING_CHANNELS}, but got {orientation!r}.")
        for element in (first, second):
            if not 0 <= element < len(elements):
                raise ValueError(f"Pair names element {element}, but there are {len(elements)}.")
        channel = PAIRING_CHANNELS.index(orientation)
        (a, b), (c, d) = elements[first], elements[second]
        if not (0 <= a < b <= length and 0 <= c < d <= length):
            raise ValueError(f"Elements ({a}, {b}) and ({c}, {d}) must lie in 0..{length}.")
        pairing[a:b, c:d, channel] = 1.0
        pairing[c:d, a:b, channel] = 1.0
    return pairing

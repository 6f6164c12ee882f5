"""Smooth torsion wells: where phi and psi may lie in helices, strands and loops.

The wells are mixtures of independent von Mises densities, fitted by expectation maximization to
the phi and psi of 279,000 residues in 1,500 real chains (glycine left out, components that only
catch outliers left out). A well's energy is minus the logarithm of the mixture, so between two
basins the nearer one wins, and every angle outside the allowed regions feels a pull into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from protein_lab.typing import FloatArray

# weight, phi, psi, standard deviation of phi, of psi; degrees
_HELIX = ((1.0, -63.0, -42.0, 9.0, 9.0),)
_STRAND = ((0.75, -110.0, 130.0, 22.0, 15.0), (0.25, -140.0, 153.0, 14.0, 14.0))
_LOOP = (
    (0.27, -110.0, 140.0, 26.0, 22.0),
    (0.24, -68.0, 142.0, 11.0, 14.0),
    (0.22, -63.0, -34.0, 10.0, 11.0),
    (0.18, -94.0, -2.0, 13.0, 15.0),
    (0.04, 57.0, 38.0, 8.0, 11.0),
)
_GIVEN_SPREAD = np.radians(10.0)
"""How far torsions that are given may be off before it costs half a nat."""

_WELLS = {"H": _HELIX, "E": _STRAND, "L": _LOOP}
_SLOTS = max(len(wells) for wells in _WELLS.values())


@dataclass(frozen=True, eq=False)
class TorsionWells:
    """Wells of every residue.

    Attributes
    ----------
    centers : (residue, well, 2) array
        Phi and psi of the basins, radians.
    stiffness : (residue, well, 2) array
        Concentrations, 1 / variance.
    heights : (residue, well) array
        Logarithm of the peak density; minus infinity for unused slots.
    """

    centers: FloatArray
    stiffness: FloatArray
    heights: FloatArray

    @classmethod
    def of(cls, secondary_structure: str, given: FloatArray | None = None) -> TorsionWells:
        """Look the wells up for each letter; what is neither H nor E is loop.

        Parameters
        ----------
        secondary_structure : str
            One letter a residue.
        given : ndarray, shape=(residue, 2), optional
            Phi and psi that residues must have, radians, NaN where either is free; such a residue
            has a single, narrow well.
        """
        tables = {letter: _table(wells) for letter, wells in _WELLS.items()}
        rows = np.stack([tables.get(letter, tables["L"]) for letter in secondary_structure])
        if given is not None:
            known = np.isfinite(given)
            held = known.any(axis=1)
            rows[held, 1:, 4] = -np.inf
            rows[held, 0, 4] = 0.0
            rows[held, 0, :2] = np.where(known, given, 0.0)[held]
            rows[held, 0, 2:4] = (known / _GIVEN_SPREAD**2)[held]
        return cls(rows[..., :2], rows[..., 2:4], rows[..., 4])

    def energy(self, phi_psi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Minus the log density, zero at the highest peak, and its gradient.

        Parameters
        ----------
        phi_psi : (residue, 2) array
            Radians.

        Returns
        -------
        energy : (residue,) array
            In nats.
        gradient : (residue, 2) array
            Derivative with respect to phi and psi.
        """
        circle = np.stack([np.cos(phi_psi), np.sin(phi_psi)], axis=-1).reshape(-1, 4).T
        energy, gradient = _mixture(self._waves, self._offsets, circle)
        return energy, gradient.T

    def inner_energy(self, circle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies of all residues but the first and the last, which have one torsion only.

        Parameters
        ----------
        circle : (4, residue - 2) array
            Cosine and sine of phi, cosine and sine of psi.

        Returns
        -------
        energy : (residue - 2,) array
            In nats.
        gradient : (2, residue - 2) array
            Derivative with respect to phi and psi.
        """
        return _mixture(self._waves[:, :, 1:-1], self._offsets[:, 1:-1], circle)

    def inner_table(self, circle: FloatArray) -> FloatArray:
        """Energies (residue - 2, ...) of many trials for each residue but the first and last.

        Parameters
        ----------
        circle : (4, residue - 2, ...) array
            Cosine and sine of phi, cosine and sine of psi.
        """
        residues = circle.shape[1]
        flat = circle.reshape(4, residues, -1)
        total = np.zeros(flat.shape[1:])
        for waves, offset in zip(
            self._waves[:, :, 1:-1].transpose(1, 0, 2), self._offsets[:, 1:-1], strict=True
        ):
            total += np.exp((waves[..., None] * flat).sum(axis=0) + offset[:, None])
        return -np.log(np.maximum(total, 1e-300)).reshape(circle.shape[1:])

    @cached_property
    def _waves(self) -> FloatArray:
        """Factors (4, well, residue) of cos phi, sin phi, cos psi and sin psi in the exponent."""
        circle = np.stack([np.cos(self.centers), np.sin(self.centers)], axis=-1)
        waves = self.stiffness[..., None] * circle
        return np.ascontiguousarray(waves.reshape(*waves.shape[:2], 4).transpose(2, 1, 0))

    @cached_property
    def _offsets(self) -> FloatArray:
        """What the exponent (well, residue) has beside the waves."""
        return np.ascontiguousarray((self.heights - self.stiffness.sum(-1)).T)


def _mixture(
    waves: FloatArray, offsets: FloatArray, circle: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Minus the log of the mixture, and its derivative with respect to phi and psi."""
    share = np.exp((waves * circle[:, None]).sum(axis=0) + offsets)
    total = share.sum(axis=0)
    pull = (waves * (share / total)).sum(axis=1)
    gradient = pull[0::2] * circle[1::2] - pull[1::2] * circle[0::2]
    return -np.log(total), gradient


def _table(wells: tuple[tuple[float, ...], ...]) -> FloatArray:
    """Rows of center, stiffness and height, padded to the same number of wells."""
    rows = np.zeros((_SLOTS, 5))
    rows[:, 4] = -np.inf
    for row, (weight, phi, psi, phi_spread, psi_spread) in zip(rows, wells, strict=False):
        row[:2] = np.radians([phi, psi])
        row[2:4] = 1.0 / np.radians([phi_spread, psi_spread]) ** 2
        row[4] = np.log(weight / (phi_spread * psi_spread))
    rows[:, 4] -= rows[:, 4].max()
    return rows

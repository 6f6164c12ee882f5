"""Inputs of operators sampled as densely as one likes: from formulas and from residues.

An operator acts on functions of the chain coordinate; how densely they are sampled must matter as
little as the quadrature allows. This module offers one chain at 1, 2, 3, ... points a residue. The
chain is the interval [0, L] and residue i the cell [i, i + 1]. With an odd number of points a
residue, points are the centers of equal cells (midpoint rule); with an even number they are the
ends of the cells (trapezoid rule). Either way the residues' own places i + 1/2 are among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from protein_lab.backends import Array, Backend
from protein_lab.constraints.fields import Conditions
from protein_lab.errors import GeometryError
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import ChainInputs
from protein_lab.operators.embedding import separation_features

Values = NDArray[np.float64]
_FRAME_POINTS = 45


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Points along one chain.

    Attributes
    ----------
    points_per_residue : int
    coordinate, weight : ndarray, shape=(point,)
        Places and quadrature weights, residues.
    residues : ndarray, shape=(residue,)
        Which points are the places of residues.
    """

    points_per_residue: int
    coordinate: Values
    weight: Values
    residues: NDArray[np.intp]


def make_sampling(length: int, points_per_residue: int) -> Sampling:
    """Place points along a chain of ``length`` residues.

    Raises
    ------
    GeometryError
        If there are no points or no residues.
    """
    count = points_per_residue
    if length < 1 or count < 1:
        raise GeometryError(f"Expected residues and points, but got {length} and {count}.")
    if count % 2:
        coordinate = (np.arange(length * count) + 0.5) / count
        weight = np.full(len(coordinate), 1.0 / count)
    else:
        coordinate = np.arange(length * count + 1) / count
        weight = np.full(len(coordinate), 1.0 / count)
        weight[[0, -1]] *= 0.5
    return Sampling(count, coordinate, weight, np.arange(length) * count + count // 2)


@dataclass(frozen=True, slots=True, eq=False)
class ChainFunctions:
    """The functions that an operator maps, to be evaluated anywhere on the chain.

    Attributes
    ----------
    length : int
        Residues.
    curve, secondary_structure, field : callable
        From places (point,) to (point, 3), (point, 4) and (point, 3, 3).
    frame : callable
        To (point, 3, 3), rows are axes.
    pairing : callable
        To (point, point, 3).
    """

    length: int
    curve: Callable[[Values], Values]
    frame: Callable[[Values], Values]
    secondary_structure: Callable[[Values], Values]
    pairing: Callable[[Values], Values]
    field: Callable[[Values], Values]

    def inputs(
        self,
        backend: Backend,
        sampling: Sampling,
        num_scales: int,
        *,
        curve_error: float = 1.0,
        dtype: str = "float32",
    ) -> tuple[ChainInputs, Array]:
        """Sample the conditions as a batch of one chain, and the noisy field with them."""
        places = sampling.coordinate

        def bring(values: Values) -> Array:
            return backend.asarray(np.asarray(values)[None], dtype)

        inputs = ChainInputs(
            curve=bring(self.curve(places)),
            frame=bring(self.frame(places)),
            secondary_structure=bring(self.secondary_structure(places)),
            pairing=bring(self.pairing(places)),
            separation=bring(separation_features(places, num_scales).astype(np.float64)),
            weight=bring(sampling.weight),
            curve_error=backend.asarray(np.array([curve_error]), dtype),
            coordinate=bring(places),
        )
        return inputs, bring(self.field(places))


def smooth_chain(rng: np.random.Generator, length: int, cycles: int = 6) -> ChainFunctions:
    """Make up a chain whose functions are sums of waves of at most ``cycles`` cycles.

    Parameters
    ----------
    rng : Generator
    length : int
        Residues.
    cycles : int
        Highest frequency, cycles per chain.
    """

    def waves(columns: int, size: float) -> Callable[[Values], Values]:
        frequency = 2.0 * np.pi * np.arange(1, cycles + 1) / length
        phase = rng.uniform(0.0, 2.0 * np.pi, (cycles, columns))
        amplitude = rng.standard_normal((cycles, columns)) * size / np.sqrt(cycles)
        return lambda places: np.einsum(
            "kc,nkc->nc", amplitude, np.cos(places[:, None, None] * frequency[:, None] + phase)
        )

    wander, shape, bond = waves(3, 5.0), waves(4, 0.5), waves(9, 2.0)
    drift = rng.standard_normal(3)
    drift *= 1.2 / np.linalg.norm(drift)
    partner = waves(3, 1.0)

    def curve(places: Values) -> Values:
        return places[:, None] * drift + wander(places)

    def pairing(places: Values) -> Values:
        one = partner(places)
        return 0.5 * (1.0 + np.sin(one[:, None, :] + one[None, :, :]))

    return ChainFunctions(
        length=length,
        curve=curve,
        frame=_frames_of(curve, length),
        secondary_structure=lambda places: 0.25 + 0.2 * np.sin(shape(places)),
        pairing=pairing,
        field=lambda places: curve(places)[:, None, :] + bond(places).reshape(-1, 3, 3),
    )


def _frames_of(curve: Callable[[Values], Values], length: int) -> Callable[[Values], Values]:
    """Frames along a curve, made once on a fine sampling: a function like the others."""
    fine = make_sampling(length, _FRAME_POINTS).coordinate
    return _turning(fine, parallel_transport_frames(curve(fine)))


def _turning(places: Values, frames: Values) -> Callable[[Values], Values]:
    """Interpolate frames smoothly; at the given places they are met exactly."""
    spline = CubicSpline(places, frames, axis=0)

    def frame(wanted: Values) -> Values:
        rows = spline(wanted)
        tangent = rows[:, 0] / np.linalg.norm(rows[:, 0], axis=-1, keepdims=True)
        normal = rows[:, 1] - (rows[:, 1] * tangent).sum(-1, keepdims=True) * tangent
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return np.stack([tangent, normal, np.cross(tangent, normal)], axis=1)

    return frame


def residue_chain(conditions: Conditions, field: NDArray[np.floating]) -> ChainFunctions:
    """Read conditions and a field, sampled at residues, as functions.

    Curve, frames and field are splines through their values at residues, which the trained
    operator saw; secondary structure and pairing are constant on each residue's cell.

    Parameters
    ----------
    conditions : Conditions
        One sample a residue.
    field : ndarray, shape=(residue, 3, 3)
        N, CA, C in angstrom.
    """
    length = conditions.length
    centers: Values = np.arange(length, dtype=np.float64) + 0.5
    frames = parallel_transport_frames(conditions.axis_curve)

    def cells(places: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        # a point between two cells belongs to both by half
        left = np.clip(np.ceil(places - 1e-9).astype(np.intp) - 1, 0, length - 1)
        return left, np.clip(np.floor(places + 1e-9).astype(np.intp), 0, length - 1)

    def states(places: Values) -> Values:
        left, right = cells(places)
        values = conditions.secondary_structure.astype(np.float64)
        return 0.5 * (values[left] + values[right])

    def pairing(places: Values) -> Values:
        left, right = cells(places)
        values = conditions.pairing.astype(np.float64)
        rows = 0.5 * (values[left] + values[right])
        return 0.5 * (rows[:, left] + rows[:, right])

    return ChainFunctions(
        length=length,
        curve=CubicSpline(centers, conditions.axis_curve.astype(np.float64), axis=0),
        frame=_turning(centers, frames),
        secondary_structure=states,
        pairing=pairing,
        field=CubicSpline(centers, np.asarray(field, dtype=np.float64), axis=0),
    )

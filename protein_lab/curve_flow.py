"""The coarse flow: axis curves at a few residues' spacing, from a polymer or from a known curve.

The state of the flow is the curve itself. Frames run along the present guess of the clean curve,
which the operator gives at every step, so it is turned with its input whatever it draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from protein_lab.backends import Array, Backend
from protein_lab.collation import collate
from protein_lab.constants import RADIUS_OF_GYRATION_EXPONENT, RADIUS_OF_GYRATION_FACTOR
from protein_lab.constraints.fields import Conditions
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.operators.prior import ornstein_uhlenbeck
from protein_lab.typing import FloatArray

RANGE_OF_CORRELATION = 0.15
"""Correlation length of the polymer prior over the length of the chain."""

NO_GUESS = 1.0
"""What the operator is told where the guess is the noisy curve itself; 0 for its own guess."""


def coarse_coordinates(length: int, spacing: float) -> NDArray[np.float64]:
    """Centers of the cells that a chain is cut into, in residues counted from the first.

    Parameters
    ----------
    length : int
        Residues.
    spacing : float
        Wanted size of the cells; theirs is the nearest that divides the chain evenly.
    """
    count = max(4, round(length / spacing))
    return np.asarray((np.arange(count) + 0.5) * (length / count) - 0.5, dtype=np.float64)


def coarsen(conditions: Conditions, spacing: float) -> Conditions:
    """Sample the conditions of a chain more coarsely.

    Secondary structure and pairing are averaged over the cells, the curve is interpolated and
    centered.

    Parameters
    ----------
    conditions : Conditions
        One sample a residue, nothing masked.
    spacing : float
        Wanted distance of the samples, residues.
    """
    length = conditions.length
    coordinate = coarse_coordinates(length, spacing)
    size = length / len(coordinate)
    # share of each cell that each residue, a cell of one residue itself, covers
    low, high = coordinate - size / 2, coordinate + size / 2
    residue = np.arange(length)[None]
    overlap = np.minimum(high[:, None], residue + 0.5) - np.maximum(low[:, None], residue - 0.5)
    share = np.maximum(overlap, 0.0) / size
    curve = CubicSpline(residue[0], conditions.axis_curve)(coordinate)
    pairing = np.einsum("ai,ijk,bj->abk", share, conditions.pairing, share, optimize=True)
    return Conditions(
        axis_curve=np.asarray(curve - curve.mean(axis=0), dtype=np.float32),
        secondary_structure=np.asarray(share @ conditions.secondary_structure, dtype=np.float32),
        pairing=np.asarray(pairing, dtype=np.float32),
        mask=np.ones(len(coordinate), dtype=np.float32),
        spacing=size,
    )


def refine_curve(curve: FloatArray, length: int) -> NDArray[np.float64]:
    """Interpolate a coarse curve at every residue.

    Parameters
    ----------
    curve : ndarray, shape=(point, 3)
        At :func:`coarse_coordinates`, angstrom.
    length : int
        Residues.

    Returns
    -------
    ndarray, shape=(residue, 3)
    """
    coordinate = (np.arange(len(curve)) + 0.5) * (length / len(curve)) - 0.5
    return np.asarray(CubicSpline(coordinate, curve)(np.arange(length)), dtype=np.float64)


def draw_polymer(
    rng: np.random.Generator, length: int, num_points: int, num_samples: int
) -> NDArray[np.float64]:
    """Draw centered curves of an ideal polymer as compact as a folded chain.

    Parameters
    ----------
    rng : Generator
    length : int
        Residues.
    num_points, num_samples : int

    Returns
    -------
    ndarray, shape=(sample, point, 3)
        Angstrom; the radius of gyration of a chain of 2.2 L^0.38 on average.
    """
    size = RADIUS_OF_GYRATION_FACTOR * length**RADIUS_OF_GYRATION_EXPONENT
    correlation = max(6.0, RANGE_OF_CORRELATION * length)
    spacing = length / num_points
    drawn = ornstein_uhlenbeck(rng, np.arange(num_points) * spacing, num_samples, 1.0, correlation)
    drawn -= drawn.mean(axis=1, keepdims=True)
    # what centering takes away is known: the mean square of the law, not of the single draw
    lag = np.abs(np.subtract.outer(np.arange(num_points), np.arange(num_points))) * spacing
    variance = 1.0 - np.exp(-lag / correlation).mean()
    return drawn * (size / np.sqrt(3.0 * variance))


def guess_inputs(
    backend: Backend, inputs: ChainInputs, guess: FloatArray, own: bool
) -> ChainInputs:
    """Put the frames on a new guess of the curves.

    Parameters
    ----------
    backend : Backend
    inputs : ChainInputs
        Of a batch; its curves and frames are replaced.
    guess : ndarray, shape=(batch, point, 3)
        Angstrom; padding is ignored.
    own : bool
        Whether the guess is the operator's own, else it is the noisy curve.
    """
    weight = backend.to_numpy(inputs.weight)
    curve = np.zeros(guess.shape)
    frame = np.tile(np.eye(3), (*guess.shape[:2], 1, 1))
    counts, wide = (weight > 0).sum(axis=1), np.asarray(guess, dtype=np.float64)
    for count in np.unique(counts):
        rows = counts == count  # curves of one length together
        curve[rows, :count] = wide[rows, :count]
        frame[rows, :count] = parallel_transport_frames(wide[rows, :count])
    told = np.full(len(guess), 0.0 if own else NO_GUESS)
    return inputs._replace(
        curve=backend.asarray(curve),
        frame=backend.asarray(frame),
        curve_error=backend.asarray(told),
    )


@dataclass(frozen=True, slots=True, eq=False)
class CurveSample:
    """Curves drawn for one chain.

    Attributes
    ----------
    curve : ndarray, shape=(sample, point, 3)
        Centered, angstrom.
    log_sigma : ndarray, shape=(sample,)
        Logarithm of the standard deviation that the operator predicted on the way, averaged over
        points and steps: how sure it was of where the curve was going. Zero without steps.
    """

    curve: NDArray[np.float64]
    log_sigma: NDArray[np.float64]


def sample_curves(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: FloatArray,
    steps: int = 20,
    *,
    start: float = 0.0,
) -> CurveSample:
    """Integrate the coarse flow.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Trained on the coarse scale.
    conditions : Conditions
        From :func:`coarsen`; where ``start`` is 0 their curve is not looked at.
    noise : ndarray, shape=(sample, point, 3)
        From :func:`draw_polymer`, angstrom.
    steps : int
        Euler steps from 0 to 1; a later start takes fewer.
    start : float
        Flow time to start from: there the state is the known curve, mixed with noise. At 0
        nothing of it is left, at 1 nothing is changed.

    Returns
    -------
    CurveSample

    Raises
    ------
    GeometryError
        If the operator gives numbers that are not finite.
    ProteinLabError
        If ``start`` is not in [0, 1] or there is no step.
    """
    if not 0.0 <= start <= 1.0 or steps < 1:
        raise ProteinLabError(f"Expected a start in [0, 1] and a step, but got {start}, {steps}.")
    backend, count = operator.backend, len(noise)
    known = np.asarray(conditions.axis_curve, dtype=np.float64)
    state = (1.0 - start) * noise + start * known
    log_sigma = np.zeros(count)
    if start == 1.0:
        return CurveSample(state, log_sigma)
    blank = replace(conditions, axis_curve=np.zeros_like(conditions.axis_curve))
    inputs = collate(
        backend, [blank] * count, [NO_GUESS] * count, [0.0] * count,
        operator.config.separation_scales,
    )  # fmt: skip
    times = np.linspace(start, 1.0, max(1, round(steps * (1.0 - start))) + 1)
    guess: FloatArray = state
    for step, (now, following) in enumerate(pairwise(times)):
        placed = guess_inputs(backend, inputs, guess, own=step > 0)
        field: Array = backend.asarray(state[:, :, None, :])
        time = backend.asarray(np.full(count, now))
        predicted = operator.predict(field, time, operator.encode(placed))
        guess = np.asarray(backend.to_numpy(predicted.mean)[:, :, 0], dtype=np.float64)
        guess = guess - guess.mean(axis=1, keepdims=True)
        log_sigma += backend.to_numpy(predicted.log_sigma).mean(axis=1) / (len(times) - 1)
        state = state + (guess - state) * ((following - now) / (1.0 - now))
    if not np.isfinite(state).all():
        raise GeometryError(
            f"The operator {operator.name!r} gave curves that are not finite "
            f"for a chain of {len(known)} points."
        )
    return CurveSample(state, log_sigma)

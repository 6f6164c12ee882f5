"""Conditional flow matching on backbone fields: path, inputs and sampler.

The path is straight, ``x_t = (1 - t) x_0 + t x_1`` with ``x_0`` drawn from a polymer prior around
the coarse axis curve and ``x_1`` the backbone (Lipman et al., ICLR 2023; on functions: Kerrigan
et al., AISTATS 2024). The operator predicts the clean field, from which the velocity follows as
``(x_1 - x_t) / (1 - t)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.constants import SAMPLING_STEPS
from protein_lab.constraints.fields import Conditions
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.operators.embedding import separation_features
from protein_lab.operators.prior import backbone_noise

_POINT_PAIRS = 256 * 256
"""Pairs of points that are computed together: samples gain nothing from a larger batch."""

LIBRARY_CURVE_ERROR = 1.0
"""How far a curve warped from a library fold is taken to be from the true axis, angstrom."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowSample:
    """Backbone fields drawn for one chain.

    Attributes
    ----------
    field : ndarray, shape=(sample, residue, 3, 3), dtype=float32
        N, CA, C in angstrom, as the operator draws them: geometry is near, not exactly, ideal.
    sigma : ndarray, shape=(sample, residue), dtype=float32
        Standard deviation per coordinate predicted at the last step, angstrom.
    """

    field: NDArray[np.float32]
    sigma: NDArray[np.float32]


def draw_noise(
    rng: np.random.Generator | np.random.SeedSequence,
    num_samples: int,
    length: int,
    *,
    scale: float = 3.0,
    correlation: float = 2.0,
) -> NDArray[np.float32]:
    """Draw polymer noise for N, CA and C.

    Parameters
    ----------
    rng : Generator or SeedSequence
        Noise comes from NumPy, so every backend starts from the same.
    num_samples, length : int
    scale, correlation : float
        Angstrom and residues; those that the operator was trained with.

    Returns
    -------
    ndarray, shape=(sample, residue, 3, 3), dtype=float32
    """
    if isinstance(rng, np.random.SeedSequence):
        rng = np.random.default_rng(rng)
    return backbone_noise(rng, length, num_samples, scale, correlation)


def collate(
    backend: Backend,
    chains: Sequence[Conditions],
    curve_error: Sequence[float],
    angles: Sequence[float],
    num_scales: int,
) -> ChainInputs:
    """Pad the conditions of several chains to one length and bring them to the backend.

    Parameters
    ----------
    backend : Backend
    chains : sequence of Conditions
    curve_error : sequence of float
        How far each curve may be from the true axis, angstrom.
    angles : sequence of float
        Turn of each chain's frames about its curve, radians.
    num_scales : int
        Scales of the embedded chain separation.

    Returns
    -------
    ChainInputs
        Padded points have zero weight and the identity as frame.
    """
    size, count = max(chain.length for chain in chains), len(chains)
    curve = np.zeros((count, size, 3))
    frame = np.tile(np.eye(3), (count, size, 1, 1))
    states = np.zeros((count, size, 4))
    pairing = np.zeros((count, size, size, 3))
    weight = np.zeros((count, size))
    for row, (chain, angle) in enumerate(zip(chains, angles, strict=True)):
        length = chain.length
        curve[row, :length] = chain.axis_curve
        frame[row, :length] = parallel_transport_frames(chain.axis_curve, angle)
        states[row, :length] = chain.secondary_structure
        pairing[row, :length, :length] = chain.pairing
        # samples are the centers of cells: the midpoint rule, with weights in residues
        weight[row, :length] = chain.mask * chain.spacing
    separation = _separations(size, [chain.spacing for chain in chains], num_scales)
    to_backend = backend.asarray
    return ChainInputs(
        curve=to_backend(curve),
        frame=to_backend(frame),
        secondary_structure=to_backend(states),
        pairing=to_backend(pairing),
        separation=to_backend(separation),
        weight=to_backend(weight),
        curve_error=to_backend(np.asarray(curve_error)),
        coordinate=to_backend(np.outer([chain.spacing for chain in chains], np.arange(size) + 0.5)),
    )


def _separations(size: int, spacings: Sequence[float], num_scales: int) -> NDArray[np.float32]:
    """Embed the separations of all pairs of points, for each chain by its own spacing."""
    points = np.arange(size, dtype=np.float64)
    if len(set(spacings)) == 1:
        one = separation_features(points * spacings[0], num_scales)
        return np.broadcast_to(one, (len(spacings), *one.shape))
    return np.stack([separation_features(points * spacing, num_scales) for spacing in spacings])


def time_schedule(steps: int) -> NDArray[np.float64]:
    """Place the steps between 0 and 1, closer together towards the data.

    Raises
    ------
    ProteinLabError
        If ``steps`` is not positive.
    """
    if steps < 1:
        raise ProteinLabError(f"The sampler needs at least 1 step, but {steps} came.")
    return 1.0 - (1.0 - np.arange(steps + 1) / steps) ** 1.5


def _effective_delay(now: float, following: float) -> float:
    """Time after ``now`` at which a clean field that changes linearly acts on a step.

    The exact solution weighs the clean field at time s by 1 / (1 - s)^2.
    """
    start, end = 1.0 - now, 1.0 - following
    return start - math.log(start / end) / (1.0 / end - 1.0 / start)


def sample(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: NDArray[np.float32],
    steps: int = SAMPLING_STEPS,
    *,
    curve_error: float = LIBRARY_CURVE_ERROR,
    progress: Callable[[int, int], None] | None = None,
) -> FlowSample:
    """Integrate the flow from noise to backbone fields.

    From the second step on the clean field is taken to go on changing as it did between the last
    two evaluations, which makes the method second-order at no cost (a linear multistep method
    like DPM-Solver++(2M), Lu et al., 2022, for a straight path). The last step takes the operator
    at its word.

    Parameters
    ----------
    operator : BaseNeuralOperator
    conditions : Conditions
        Curve, secondary structure and pairing of one chain.
    noise : ndarray, shape=(sample, residue, 3, 3)
        From :func:`draw_noise`; it alone decides which sample comes out.
    steps : int
        Evaluations of the operator.
    curve_error : float
        How far the curve may be from the true axis, angstrom: the larger, the more freedom the
        operator takes to mend the curve.
    progress : callable, optional
        Called with the number of evaluations done and of all of them.

    Returns
    -------
    FlowSample

    Raises
    ------
    GeometryError
        If the noise does not fit the conditions, or the operator gives numbers that are not finite.
    """
    count, length = noise.shape[:2]
    if noise.shape[1:] != (conditions.length, 3, 3):
        raise GeometryError(
            f"Expected noise of shape (sample, {conditions.length}, 3, 3), but got {noise.shape}."
        )
    at_once = max(1, _POINT_PAIRS // length**2)
    parts = [noise[start : start + at_once] for start in range(0, count, at_once)]
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps * len(parts))

    found = [_integrate(operator, conditions, part, steps, curve_error, tick) for part in parts]
    drawn = np.concatenate([field for field, _ in found])
    if not np.isfinite(drawn).all():
        raise GeometryError(
            f"The operator {operator.name!r} gave coordinates that are not finite "
            f"for a chain of {length} residues."
        )
    return FlowSample(drawn, np.exp(np.concatenate([log_sigma for _, log_sigma in found])))


def _integrate(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: NDArray[np.float32],
    steps: int,
    curve_error: float,
    tick: Callable[[], None],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Integrate samples together; give their fields and the logarithm of their sigma."""
    backend, count = operator.backend, len(noise)
    scales = operator.config.separation_scales
    inputs = collate(backend, [conditions] * count, [curve_error] * count, [0.0] * count, scales)
    encoded = operator.encode(inputs)
    field: Array = backend.asarray(noise) + inputs.curve[:, :, None, :]
    log_sigma: Array = None
    times = time_schedule(steps)
    last: Array = None
    for step in range(steps):
        now, following = float(times[step]), float(times[step + 1])
        time = backend.asarray(np.full(count, now))
        predicted = operator.predict(field, time, encoded)
        clean = predicted.mean
        if 0 < step < steps - 1:
            ahead = _effective_delay(now, following) / (now - float(times[step - 1]))
            clean = clean + (clean - last) * ahead
        field = field + (clean - field) * ((following - now) / (1.0 - now))
        last, log_sigma = predicted.mean, predicted.log_sigma
        tick()
    return backend.to_numpy(field), backend.to_numpy(log_sigma)

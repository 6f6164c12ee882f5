"""Conditional flow matching on backbone fields: path, inputs and sampler.

The path is straight, ``x_t = (1 - t) x_0 + t x_1`` with ``x_0`` drawn from a polymer prior around
the coarse axis curve and ``x_1`` the backbone (Lipman et al., ICLR 2023; on functions: Kerrigan
et al., AISTATS 2024). The operator predicts the clean field, from which the velocity follows as
``(x_1 - x_t) / (1 - t)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.constants import UNSPECIFIED
from protein_lab.constraints.fields import SECONDARY_STRUCTURE_CHANNELS, Conditions
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.operators.embedding import separation_features
from protein_lab.operators.prior import backbone_noise

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
    size: int = 0,
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
    size : int
        Points to pad to, where the longest chain has fewer.

    Returns
    -------
    ChainInputs
        Padded points have zero weight and the identity as frame.
    """
    size, count = max(size, *(chain.length for chain in chains)), len(chains)
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


def _unasked(backend: Backend, inputs: ChainInputs) -> ChainInputs:
    """Take secondary structure and pairing away, as is done to some chains in training."""
    states = np.zeros(inputs.secondary_structure.shape)
    states[..., SECONDARY_STRUCTURE_CHANNELS.index(UNSPECIFIED)] = 1.0
    return inputs._replace(
        secondary_structure=backend.asarray(states), pairing=inputs.pairing * 0.0
    )


def time_schedule(steps: int) -> NDArray[np.float64]:
    """Place the Euler steps between 0 and 1, closer together towards the data.

    Raises
    ------
    ProteinLabError
        If ``steps`` is not positive.
    """
    if steps < 1:
        raise ProteinLabError(f"The sampler needs at least 1 step, but {steps} came.")
    return 1.0 - (1.0 - np.arange(steps + 1) / steps) ** 1.5


def sample(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: NDArray[np.float32],
    steps: int = 25,
    *,
    curve_error: float = LIBRARY_CURVE_ERROR,
    guidance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> FlowSample:
    """Integrate the flow from noise to backbone fields.

    Parameters
    ----------
    operator : BaseNeuralOperator
    conditions : Conditions
        Curve, secondary structure and pairing of one chain.
    noise : ndarray, shape=(sample, residue, 3, 3)
        From :func:`draw_noise`; it alone decides which sample comes out.
    steps : int
        Euler steps.
    curve_error : float
        How far the curve may be from the true axis, angstrom: the larger, the more freedom the
        operator takes to mend the curve.
    guidance : float
        How far to go beyond what the operator draws, away from what it would draw without
        secondary structure and pairing (Ho & Salimans, 2022); doubles the cost unless it is 0.
    progress : callable, optional
        Called with the number of steps done and of all steps.

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
    backend = operator.backend
    scales = operator.config.separation_scales
    inputs = collate(backend, [conditions] * count, [curve_error] * count, [0.0] * count, scales)
    encoded = operator.encode(inputs)
    blind = operator.encode(_unasked(backend, inputs)) if guidance else None
    field: Array = backend.asarray(noise) + inputs.curve[:, :, None, :]
    log_sigma: Array = None
    times = time_schedule(steps)
    for step in range(steps):
        now, following = float(times[step]), float(times[step + 1])
        time = backend.asarray(np.full(count, now))
        predicted = operator.predict(field, time, encoded)
        mean = predicted.mean
        if blind is not None:
            unasked = operator.predict(field, time, blind).mean
            mean = mean + (mean - unasked) * guidance
        if operator.looks_back:
            encoded = encoded._replace(guess=predicted.mean)
        field = field + (mean - field) * ((following - now) / (1.0 - now))
        log_sigma = predicted.log_sigma
        if progress is not None:
            progress(step + 1, steps)
    drawn = backend.to_numpy(field)
    if not np.isfinite(drawn).all():
        raise GeometryError(
            f"The operator {operator.name!r} gave coordinates that are not finite "
            f"for a chain of {length} residues."
        )
    return FlowSample(drawn, np.exp(backend.to_numpy(log_sigma)))

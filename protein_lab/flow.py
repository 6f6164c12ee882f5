"""Conditional flow matching on backbone fields: path and sampler.

The path is straight, ``x_t = (1 - t) x_0 + t x_1`` with ``x_0`` drawn from a polymer prior around
the coarse axis curve and ``x_1`` the backbone (Lipman et al., ICLR 2023; on functions: Kerrigan
et al., AISTATS 2024). The operator predicts the clean field, from which the velocity follows as
``(x_1 - x_t) / (1 - t)``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.collation import collate, unasked
from protein_lab.constants import SAMPLING_STEPS
from protein_lab.constraints.fields import Conditions, check_conditions, check_finite
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.operators.prior import backbone_noise
from protein_lab.typing import FloatArray

LIBRARY_CURVE_ERROR = 1.0
"""How far a curve warped from a library fold is taken to be from the true axis, angstrom."""


_PAIRS_AT_ONCE = 256 * 256
"""Pairs of points, over all samples, that an operator is given at once.

Samples gain nothing from a larger batch on a CPU, and long chains are drawn sample by sample, which
keeps memory in bounds.
"""

_NO_MEMORY = ("out of memory", "can't allocate memory", "resource_exhausted")
"""How array libraries say it; none of them shares an error with the others."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowSample:
    """Backbone fields drawn for one chain.

    Attributes
    ----------
    field : ndarray, shape=(sample, residue, 3, 3), dtype=float32
        N, CA, C in angstrom, as the operator draws them: geometry is near, not exactly, ideal.
    sigma : ndarray, shape=(sample, residue), dtype=float32
        Standard deviation per coordinate predicted at the last step, angstrom.
    guess : ndarray, shape=(sample, residue, 3, 3), dtype=float32, optional
        Field that the operator expects at the first step, from noise alone.
    guess_sigma : ndarray, shape=(sample, residue), dtype=float32, optional
        Standard deviation per coordinate predicted with it: that of the whole answer, where
        ``sigma`` is only that of the last step.
    """

    field: NDArray[np.float32]
    sigma: NDArray[np.float32]
    guess: NDArray[np.float32] | None = None
    guess_sigma: NDArray[np.float32] | None = None


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


def effective_delay(now: float, following: float) -> float:
    """Find the time after ``now`` at which a clean field that changes linearly acts on a step.

    The exact solution weighs the clean field at time s by 1 / (1 - s)^2.

    Parameters
    ----------
    now, following : float
        Times of the flow between which the step leads, 0 to below 1.
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
    guidance: float = 0.0,
    steer: Callable[[FloatArray], FloatArray] | None = None,
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
    guidance : float
        How far to go beyond what the operator draws, away from what it would draw without
        secondary structure and pairing (Ho & Salimans, 2022); doubles the cost unless it is 0.
    steer : callable, optional
        Moves the clean fields (sample, residue, 3, 3) that the operator expects, in angstrom, at
        every step, to where constraints hold.
    progress : callable, optional
        Called with the number of evaluations done and of all of them.

    Returns
    -------
    FlowSample

    Raises
    ------
    GeometryError
        If the noise does not fit the conditions, or the operator gives numbers that are not finite.
    ProteinLabError
        If not even one sample fits in memory; before, fewer at a time are tried with a warning.
    """
    count, length = noise.shape[:2]
    if noise.shape[1:] != (conditions.length, 3, 3):
        raise GeometryError(
            f"Expected noise of shape (sample, {conditions.length}, 3, 3), but got {noise.shape}."
        )
    check_conditions(conditions)
    check_finite("noise", noise)
    if not 0.0 <= curve_error < np.inf:
        raise GeometryError(f"Expected an error of the curve of 0 or more, but got {curve_error}.")
    at_once = max(1, min(count, _PAIRS_AT_ONCE // length**2))
    waiting = [noise[first : first + at_once] for first in range(0, count, at_once)]
    drawn: list[FlowSample] = []
    while waiting:
        group = waiting.pop(0)
        before, groups = steps * len(drawn), len(drawn) + 1 + len(waiting)

        def told(step: int, before: int = before, total: int = steps * groups) -> None:
            if progress is not None:
                progress(before + step, total)

        try:
            drawn.append(
                _integrate(operator, conditions, group, steps, curve_error, guidance, steer, told)
            )
        except (MemoryError, RuntimeError) as error:
            waiting = [*_smaller(group, conditions.length, error), *waiting]
    return _joined(drawn)


def _joined(drawn: Sequence[FlowSample]) -> FlowSample:
    """Put samples that went through the operator one group after the other together."""
    if len(drawn) == 1:
        return drawn[0]
    guesses = [item.guess for item in drawn if item.guess is not None]
    guess_sigmas = [item.guess_sigma for item in drawn if item.guess_sigma is not None]
    return FlowSample(
        np.concatenate([item.field for item in drawn]),
        np.concatenate([item.sigma for item in drawn]),
        np.concatenate(guesses) if guesses else None,
        np.concatenate(guess_sigmas) if guess_sigmas else None,
    )


def _smaller(
    group: NDArray[np.float32], length: int, error: MemoryError | RuntimeError
) -> list[NDArray[np.float32]]:
    """Halve samples that did not fit in memory together; other errors go on."""
    told = str(error).lower()
    full = isinstance(error, MemoryError) or any(words in told for words in _NO_MEMORY)
    if not full:
        raise error
    if len(group) == 1:
        raise ProteinLabError(
            f"There is not enough memory to draw one backbone of {length} residues.",
            "Ask for a shorter chain, use fewer workers, or use a machine with more memory.",
        ) from error
    half = len(group) // 2
    warnings.warn(
        f"{len(group)} samples of {length} residues did not fit in memory; "
        f"{len(group) - half} at a time are tried.",
        ResourceWarning,
        stacklevel=3,
    )
    return [group[:-half], group[-half:]]


def _steered(
    backend: Backend, mean: Array, steer: Callable[[FloatArray], FloatArray] | None
) -> Array:
    """Move clean fields outside of the array library; where nothing steers, leave them there."""
    return mean if steer is None else backend.asarray(steer(backend.to_numpy(mean)))


def _integrate(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: NDArray[np.float32],
    steps: int,
    curve_error: float,
    guidance: float,
    steer: Callable[[FloatArray], FloatArray] | None,
    progress: Callable[[int], None],
) -> FlowSample:
    """Integrate the flow for samples that go through the operator together."""
    backend, count = operator.backend, len(noise)
    scales = operator.config.separation_scales
    inputs = collate(
        backend, [conditions] * count, [curve_error] * count, [0.0] * count, scales,
        all_pairs=operator.sees_all_pairs,
    )  # fmt: skip
    encoded = operator.encode(inputs)
    blind = operator.encode(unasked(backend, inputs)) if guidance else None
    field: Array = backend.asarray(noise) + inputs.curve[:, :, None, :]
    log_sigma: Array = None
    first: tuple[Array, Array] = (None, None)
    times = time_schedule(steps)
    last: Array = None
    for step in range(steps):
        now, following = float(times[step]), float(times[step + 1])
        time = backend.asarray(np.full(count, now))
        predicted = operator.predict(field, time, encoded)
        mean = predicted.mean
        if blind is not None:
            mean = mean + (mean - operator.predict(field, time, blind).mean) * guidance
        clean = mean = _steered(backend, mean, steer)
        if 0 < step < steps - 1:
            ahead = effective_delay(now, following) / (now - float(times[step - 1]))
            clean = mean + (mean - last) * ahead
        if operator.looks_back:
            encoded = encoded._replace(guess=predicted.mean)
        field = field + (clean - field) * ((following - now) / (1.0 - now))
        last, log_sigma = mean, predicted.log_sigma
        if step == 0:
            first = (predicted.mean, log_sigma)
        progress(step + 1)
    drawn = backend.to_numpy(field)
    if not np.isfinite(drawn).all():
        raise GeometryError(
            f"The operator {operator.name!r} gave coordinates that are not finite "
            f"for a chain of {conditions.length} residues."
        )
    guess, guess_log_sigma = (backend.to_numpy(value) for value in first)
    return FlowSample(drawn, np.exp(backend.to_numpy(log_sigma)), guess, np.exp(guess_log_sigma))

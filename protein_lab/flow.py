"""Conditional flow matching on backbone fields: path, inputs and sampler.

The path is straight, ``x_t = (1 - t) x_0 + t x_1`` with ``x_0`` drawn from a polymer prior around
the coarse axis curve and ``x_1`` the backbone (Lipman et al., ICLR 2023; on functions: Kerrigan
et al., AISTATS 2024). The operator predicts the clean field, from which the velocity follows as
``(x_1 - x_t) / (1 - t)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend
from protein_lab.constraints.fields import Conditions
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.operators.embedding import separation_features
from protein_lab.operators.prior import backbone_noise

LIBRARY_CURVE_ERROR = 1.0
"""How far a curve warped from a library fold is taken to be from the true axis, angstrom."""


_PAIRS_AT_ONCE = 1 << 20
"""Pairs of points, over all samples, that an operator is given at once: 1,024 residues squared.

Four samples go together up to 512 residues; longer chains are drawn sample by sample, which keeps
memory in bounds.
"""

_PARTNERS = 16

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
    *,
    all_pairs: bool = True,
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
    all_pairs : bool
        Whether to make functions of all pairs of points, or of paired ones alone; see
        ``BaseNeuralOperator.sees_all_pairs``.

    Returns
    -------
    ChainInputs
        Padded points have zero weight and the identity as frame.
    """
    size, count = max(chain.length for chain in chains), len(chains)
    curve = np.zeros((count, size, 3))
    frame = np.tile(np.eye(3), (count, size, 1, 1))
    states = np.zeros((count, size, 4))
    weight = np.zeros((count, size))
    for row, (chain, angle) in enumerate(zip(chains, angles, strict=True)):
        length = chain.length
        curve[row, :length] = chain.axis_curve
        frame[row, :length] = parallel_transport_frames(chain.axis_curve, angle)
        states[row, :length] = chain.secondary_structure
        # samples are the centers of cells: the midpoint rule, with weights in residues
        weight[row, :length] = chain.mask * chain.spacing
    to_backend = backend.asarray
    if all_pairs:
        pairing = np.zeros((count, size, size, 3))
        for row, chain in enumerate(chains):
            pairing[row, : chain.length, : chain.length] = chain.pairing
        separation = _separations(size, [chain.spacing for chain in chains], num_scales)
        partners = (None, None)
    else:
        pairing, separation = np.zeros((count, 0, 0, 3)), np.zeros((count, 0, 0, num_scales))
        found, values = _partners(chains, size)
        partners = (to_backend(found, "int32"), to_backend(values))
    return ChainInputs(
        curve=to_backend(curve),
        frame=to_backend(frame),
        secondary_structure=to_backend(states),
        pairing=to_backend(pairing),
        separation=to_backend(separation),
        weight=to_backend(weight),
        curve_error=to_backend(np.asarray(curve_error)),
        coordinate=to_backend(np.outer([chain.spacing for chain in chains], np.arange(size) + 0.5)),
        partner=partners[0],
        partner_pairing=partners[1],
    )


def _partners(
    chains: Sequence[Conditions], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """List the points that each point is paired with, and how."""
    paired = [chain.pairing.any(axis=-1) for chain in chains]
    most = max(int(mask.sum(axis=1).max(initial=0)) for mask in paired)
    # few different sizes: compiled functions are made for each
    width = max(_PARTNERS, -(-most // _PARTNERS) * _PARTNERS)
    found = np.zeros((len(chains), size, width), dtype=np.int32)
    values = np.zeros((len(chains), size, width, 3), dtype=np.float32)
    for row, (chain, mask) in enumerate(zip(chains, paired, strict=True)):
        first, second = np.nonzero(mask)
        starts = np.searchsorted(first, np.arange(chain.length))
        place = np.arange(len(first)) - starts[first]
        found[row, first, place] = second
        values[row, first, place] = chain.pairing[first, second]
    return found, values


def _separations(size: int, spacings: Sequence[float], num_scales: int) -> NDArray[np.float32]:
    """Embed the separations of all pairs of points, for each chain by its own spacing."""
    points = np.arange(size, dtype=np.float64)
    if len(set(spacings)) == 1:
        one = separation_features(points * spacings[0], num_scales)
        return np.broadcast_to(one, (len(spacings), *one.shape))
    return np.stack([separation_features(points * spacing, num_scales) for spacing in spacings])


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
    progress : callable, optional
        Called with the number of steps done and of all steps.

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
    _check_finite(noise, conditions, curve_error)
    at_once = max(1, min(count, _PAIRS_AT_ONCE // length**2))
    waiting = [noise[first : first + at_once] for first in range(0, count, at_once)]
    drawn: list[FlowSample] = []
    while waiting:
        group = waiting.pop(0)
        before = sum(len(item.field) for item in drawn)

        def told(step: int, before: int = before, size: int = len(group)) -> None:
            if progress is not None:
                progress((before * steps + size * step) // count, steps)

        try:
            drawn.append(_integrate(operator, conditions, group, steps, curve_error, told))
        except (MemoryError, RuntimeError) as error:
            waiting = [*_smaller(group, conditions.length, error), *waiting]
    return FlowSample(
        np.concatenate([item.field for item in drawn]),
        np.concatenate([item.sigma for item in drawn]),
    )


_SHORTEST_STEP = 0.4
"""Axis curves rise by 1.5 (helix) to 3.3 (strand) angstrom a residue; in nanometers, by a tenth."""

_FARTHEST = 1e4
"""No chain is so long that a point of it lies so far from its center, angstrom."""


def _check_finite(noise: NDArray[np.float32], conditions: Conditions, curve_error: float) -> None:
    """Refuse what no operator can take; a number that is not finite would spread everywhere."""
    for name, values in (
        ("noise", noise),
        ("axis curve", conditions.axis_curve),
        ("secondary structure", conditions.secondary_structure),
        ("pairing", conditions.pairing),
        ("curve error", np.asarray(curve_error)),
    ):
        wrong = ~np.isfinite(values)
        if wrong.any():
            raise GeometryError(
                f"Expected finite numbers, but the {name} has {int(wrong.sum())} that are not, "
                f"the first at {tuple(int(k[0]) for k in np.nonzero(np.atleast_1d(wrong)))}."
            )
    curve = np.asarray(conditions.axis_curve)
    reach = float(np.abs(curve - curve.mean(axis=0)).max())
    if reach > _FARTHEST or curve_error < 0.0:
        raise GeometryError(
            f"Expected a curve in angstrom and an error of it of 0 or more, but a point lies "
            f"{reach:.0f} from the center and the error is {curve_error:g}.",
            "Give coordinates in angstrom.",
        )
    step = (
        float(np.median(np.linalg.norm(np.diff(curve, axis=0), axis=-1))) if len(curve) > 1 else 1
    )
    if step < _SHORTEST_STEP * conditions.spacing and reach > 0.0:
        raise GeometryError(
            f"Expected an axis curve in angstrom, but its points are {step:.3f} apart.",
            "Coordinates in nanometers must be multiplied by 10.",
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


def _integrate(
    operator: BaseNeuralOperator[Any],
    conditions: Conditions,
    noise: NDArray[np.float32],
    steps: int,
    curve_error: float,
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
    field: Array = backend.asarray(noise) + inputs.curve[:, :, None, :]
    log_sigma: Array = None
    times = time_schedule(steps)
    for step in range(steps):
        now, following = float(times[step]), float(times[step + 1])
        time = backend.asarray(np.full(count, now))
        predicted = operator.predict(field, time, encoded)
        field = field + (predicted.mean - field) * ((following - now) / (1.0 - now))
        log_sigma = predicted.log_sigma
        progress(step + 1)
    drawn = backend.to_numpy(field)
    if not np.isfinite(drawn).all():
        raise GeometryError(
            f"The operator {operator.name!r} gave coordinates that are not finite "
            f"for a chain of {conditions.length} residues."
        )
    return FlowSample(drawn, np.exp(backend.to_numpy(log_sigma)))

"""What is measured of operators as maps between functions: sampling, length, place and hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import get_backend
from protein_lab.experiments.operator_sampling import (
    ChainFunctions,
    make_sampling,
    residue_chain,
)
from protein_lab.flow import time_schedule
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.operators.spectral import KNOTS, spectral_convolution
from protein_lab.training.batches import BatchSource, TrainingChain
from protein_lab.training.chains import BatchOptions
from protein_lab.training.corpus import Corpus

Values = NDArray[np.float64]
Operator = BaseNeuralOperator[Any]

HELIX_PERIOD = 3.6
"""Residues in a turn of an alpha helix."""


class FieldAtResidues(NamedTuple):
    """What an operator predicts at the places of residues.

    Attributes
    ----------
    mean : ndarray, shape=(residue, 3, 3)
        N, CA, C relative to the curve, angstrom.
    update : ndarray, shape=(residue, 3, 3)
        The part that the network gave; the rest is a multiple of the input, exact anywhere.
    """

    mean: Values
    update: Values


def predict_at(
    operator: Operator,
    chain: ChainFunctions,
    points_per_residue: int,
    *,
    time: float = 0.5,
    curve_error: float = 1.0,
    dtype: str = "float64",
) -> FieldAtResidues:
    """Give an operator the functions of a chain at some sampling; return what it says of residues.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Its parameters have the precision ``dtype``.
    chain : ChainFunctions
    points_per_residue : int
    time : float
        Flow time.
    curve_error : float
        Angstrom.
    dtype : {"float32", "float64"}
    """
    xp, resampled = operator.backend, operator.resampled(points_per_residue)
    sampling = make_sampling(chain.length, points_per_residue)
    scales = operator.config.separation_scales
    inputs, field = chain.inputs(xp, sampling, scales, curve_error=curve_error, dtype=dtype)
    now = xp.asarray(np.array([time]), dtype)
    found = resampled.predict(field, now, resampled.encode(inputs)).mean
    center = xp.to_numpy(inputs.curve)[0, sampling.residues, None, :]
    mean = xp.to_numpy(found)[0, sampling.residues].astype(np.float64) - center
    skip = xp.to_numpy(operator.preconditioning(now, inputs.curve_error)[1])[0]
    noisy = xp.to_numpy(field)[0, sampling.residues] - center
    return FieldAtResidues(mean, mean - noisy * skip)


def in_precision(operator: Operator, dtype: str) -> Operator:
    """Return the operator with parameters of another precision."""
    xp = operator.backend
    params = {name: xp.asarray(xp.to_numpy(v), dtype) for name, v in operator.params.items()}
    return type(operator)(operator.config, params, xp)


def sampling_errors(
    operator: Operator, chain: ChainFunctions, counts: Sequence[int], reference: int
) -> list[float]:
    """Relative errors of what the network gives at residues, against a much finer sampling.

    Parameters
    ----------
    operator : BaseNeuralOperator
        With float64 parameters.
    chain : ChainFunctions
    counts : sequence of int
        Points a residue to measure.
    reference : int
        Points a residue that are taken as exact.
    """
    exact = predict_at(operator, chain, reference).update
    return [relative(predict_at(operator, chain, count).update, exact) for count in counts]


def observed_order(errors: dict[int, float], coarse: int, fine: int) -> float:
    """Power with which errors fall from ``coarse`` to ``fine`` points a residue."""
    return float(np.log(errors[coarse] / errors[fine]) / np.log(fine / coarse))


def relative(found: Values, expected: Values) -> float:
    """Euclidean norm of the difference over that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def moved_chain(chain: ChainFunctions, matrix: Values, shift: Values) -> ChainFunctions:
    """Turn, mirror and shift all functions of a chain; frames stay right-handed."""
    sign = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(matrix)))])
    return ChainFunctions(
        chain.length,
        lambda x: chain.curve(x) @ matrix.T + shift,
        lambda x: sign @ chain.frame(x) @ matrix.T,
        chain.secondary_structure,
        chain.pairing,
        lambda x: chain.field(x) @ matrix.T + shift,
    )


def cut_chain(chain: ChainFunctions, start: int, length: int) -> ChainFunctions:
    """Take a stretch of a chain as a chain of its own."""
    return ChainFunctions(
        length,
        lambda x: chain.curve(x + start),
        lambda x: chain.frame(x + start),
        lambda x: chain.secondary_structure(x + start),
        lambda x: chain.pairing(x + start),
        lambda x: chain.field(x + start),
    )


def rotation_error(operator: Operator, chain: ChainFunctions, dtype: str) -> float:
    """Relative difference between the output of a moved chain and the moved output."""
    matrix = random_rotation(np.random.default_rng(4))
    still = predict_at(operator, chain, 1, dtype=dtype).mean
    moved = moved_chain(chain, matrix, np.array([5.0, -3.0, 8.0]))
    return relative(predict_at(operator, moved, 1, dtype=dtype).mean, still @ matrix.T)


def mirror_difference(operator: Operator, chain: ChainFunctions, dtype: str) -> float:
    """Relative difference between the output of the mirrored chain and the mirrored output."""
    mirror = np.diag([1.0, 1.0, -1.0])
    still = predict_at(operator, chain, 1, dtype=dtype).update
    moved = moved_chain(chain, mirror, np.zeros(3))
    return relative(predict_at(operator, moved, 1, dtype=dtype).update, still @ mirror)


def random_rotation(rng: np.random.Generator) -> Values:
    """Rotation drawn uniformly."""
    matrix, upper = np.linalg.qr(rng.standard_normal((3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    return matrix * np.sign(np.linalg.det(matrix))


def length_difference(operator: Operator, chain: ChainFunctions, window: int = 24) -> float:
    """Compare a chain with the half in its middle, around the center, relative."""
    middle = chain.length // 4
    whole = predict_at(operator, chain, 1).update
    half = predict_at(operator, cut_chain(chain, middle, chain.length // 2), 1).update
    center = chain.length // 4
    inside = slice(center - window, center + window)
    return relative(half[inside], whole[middle:][inside])


def layer_length_differences(rng: np.random.Generator, channels: int = 8) -> tuple[float, float]:
    """Give one packet to untrained Fourier layers in chains of 128 and of 256 residues.

    Returns
    -------
    ours, integer_modes : float
        Relative difference of the outputs around the packet, of the layer in cycles per residue
        and of one whose weights belong to whole cycles per chain.
    """
    multiplier = rng.standard_normal((len(KNOTS), channels, channels, 2))
    modes = rng.standard_normal((129, channels, channels, 2)) @ np.array([1.0, 1.0j])
    ours, integer = [], []
    for length in (128, 256):
        places = make_sampling(length, 1).coordinate - length / 2
        envelope = np.cos(0.5 * np.pi * np.clip(places / 15.0, -1, 1)) ** 4
        waves = np.cos(places[:, None] * 2 * np.pi / HELIX_PERIOD + np.arange(channels))
        value = (envelope[:, None] * waves)[None]
        inside = slice(length // 2 - 24, length // 2 + 24)
        found = spectral_convolution(
            get_backend("numpy"), {"k.multiplier": multiplier}, "k", value, np.ones((1, length))
        )
        ours.append(found[0, inside])
        spectrum = np.fft.rfft(value[0], axis=0, norm="forward")
        mixed = np.einsum("kc,kcd->kd", spectrum, modes[: len(spectrum)])
        integer.append(np.fft.irfft(mixed, length, axis=0, norm="forward")[inside])
    return relative(ours[0], ours[1]), relative(integer[0], integer[1])


def real_chains(corpus: Corpus, count: int, longest: int = 80) -> list[TrainingChain]:
    """Draw test chains with their true curves, as the operators were trained on."""
    options = BatchOptions(residues=longest, max_length=longest, exact_curve=1.0)
    source = BatchSource(corpus, "test", options, 20, 3.0, 2.0)
    return [source.batch(step)[0] for step in range(count)]


def resolution_losses(
    operator: Operator, chain: TrainingChain, counts: Sequence[int], times: Sequence[float]
) -> Values:
    """Loss at residues of an operator trained there, when it is given denser samplings.

    Parameters
    ----------
    operator : BaseNeuralOperator
        With float32 parameters.
    chain : TrainingChain
    counts : sequence of int
        Points a residue.
    times : sequence of float
        Flow times.

    Returns
    -------
    ndarray, shape=(count,)
        Squared error over the error that is left to make, mean over residues and times.
    """
    target = chain.target - chain.conditions.axis_curve[:, None]
    losses = np.zeros(len(counts))
    for time in times:
        start = chain.conditions.axis_curve[:, None] + chain.noise
        functions = residue_chain(chain.conditions, start * (1.0 - time) + chain.target * time)
        error = operator.backend.asarray(np.array([chain.curve_error]))
        now = operator.backend.asarray(np.array([time]))
        scale = float(operator.preconditioning(now, error)[2][0])
        for row, count in enumerate(counts):
            found = predict_at(
                operator, functions, count,
                time=time, curve_error=chain.curve_error, dtype="float32",
            )  # fmt: skip
            losses[row] += np.mean((found.mean - target) ** 2) / scale**2 / len(times)
    return losses


def integrate_flow(
    operator: Operator, chain: ChainFunctions, points_per_residue: int, steps: int = 20
) -> Values:
    """Integrate the flow of a whole function from ``chain.field``; return it at residues.

    Parameters
    ----------
    operator : BaseNeuralOperator
        With float32 parameters.
    chain : ChainFunctions
    points_per_residue : int
    steps : int
        Euler steps.

    Returns
    -------
    ndarray, shape=(residue, 3, 3)
        Angstrom.
    """
    xp, resampled = operator.backend, operator.resampled(points_per_residue)
    sampling = make_sampling(chain.length, points_per_residue)
    inputs, field = chain.inputs(xp, sampling, operator.config.separation_scales)
    encoded, times = resampled.encode(inputs), time_schedule(steps)
    for now, following in pairwise(times.tolist()):
        clean = resampled.predict(field, xp.asarray(np.array([now])), encoded).mean
        field = field + (clean - field) * ((following - now) / (1.0 - now))
    return xp.to_numpy(field)[0, sampling.residues].astype(np.float64)


def flow_difference(operator: Operator, chain: ChainFunctions, first: int, second: int) -> float:
    """Root mean square distance of the atoms that two samplings of one noise end at, angstrom."""
    ends = [integrate_flow(operator, chain, count) for count in (first, second)]
    return float(np.sqrt(((ends[0] - ends[1]) ** 2).sum(-1).mean()))

"""What a sampled field starts from: the noise, and slow bends of the coarse curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array
from protein_lab.backends.base import Parameters
from protein_lab.collation import collate
from protein_lab.constraints.fields import Conditions
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.objective import Evaluation, Objective, Subject, with_beta
from protein_lab.design.sampling import conditions_of
from protein_lab.design.virtual_atoms import add_beta_gradient
from protein_lab.errors import GeometryError
from protein_lab.flow import LIBRARY_CURVE_ERROR, effective_delay, sample, time_schedule
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.operators.prior import ATOM_OFFSETS
from protein_lab.typing import FloatArray

NOISE_SCALE: Final = 3.0
NOISE_CORRELATION: Final = 2.0
"""Of the noise that operators are trained with, angstrom and residues."""

_FARTHEST: Final = 2.0


class Latents:
    """Backbone fields that an operator draws; points are bends of the curve, and the noise.

    The first ``3 * modes`` numbers bend the curve by cosines along the chain, the slower, the
    farther; ``bend`` is the root mean square shift, angstrom, of a typical draw, and twice that is
    never passed. The others, if the noise is searched too, are its independent innovations; they
    are scaled to the length that random ones have, for an operator knows no other noise.

    Parameters
    ----------
    operator : BaseNeuralOperator
    blueprint : Blueprint
        States and pairs that the operator is told.
    curve : ndarray, shape=(residue, 3)
        Axis curve to bend, angstrom.
    steps : int
        Evaluations of the operator for a field.
    noise : ndarray, shape=(residue, 3, 3), optional
        Noise that stays; without it the noise is searched.
    modes : int
        Cosines for each coordinate of the curve.
    bend : float
        Angstrom.
    """

    name = "latents"

    def __init__(
        self,
        operator: BaseNeuralOperator[Any],
        blueprint: Blueprint,
        curve: FloatArray,
        steps: int,
        noise: FloatArray | None = None,
        modes: int = 8,
        bend: float = 1.5,
    ) -> None:
        self.operator, self.blueprint, self.steps = operator, blueprint, steps
        self.curve, self.noise = np.asarray(curve, dtype=np.float64), noise
        length = blueprint.length
        if self.curve.shape != (length, 3):
            raise GeometryError(
                f"Expected a curve of shape ({length}, 3), but got {self.curve.shape}."
            )
        self.waves = bend * cosines(length, modes)
        self.whole = noise_matrix(length) if noise is None else None
        self._bends = 3 * modes
        self.size = self._bends + (9 * length if noise is None else 0)

    def draw(self, rng: np.random.Generator, count: int) -> list[FloatArray]:
        """Draw bends and noise."""
        return [rng.standard_normal(self.size) for _ in range(count)]

    def center(self, rng: np.random.Generator) -> FloatArray:
        """Begin at the curve as it is."""
        return np.zeros(self.size)

    @property
    def spread(self) -> float:
        """Numbers of a draw have unit variance."""
        return 1.0

    def curve_at(self, point: FloatArray) -> FloatArray:
        """Bend the curve, shape (residue, 3), angstrom."""
        return self.curve + self.waves @ _held(self._modes(point))

    def _modes(self, point: FloatArray) -> FloatArray:
        return np.asarray(point[: self._bends], dtype=np.float64).reshape(-1, 3)

    def noise_at(self, point: FloatArray) -> NDArray[np.float32]:
        """Give the noise, shape (residue, 3, 3), angstrom."""
        if self.whole is None:
            return np.asarray(self.noise, dtype=np.float32)
        innovations = _on_sphere(point[self._bends :])
        noise = self.whole @ innovations.reshape(-1, 3)
        return noise.reshape(-1, 3, 3).astype(np.float32)

    def subject(self, point: FloatArray) -> Subject:
        """Draw the field."""
        conditions = conditions_of(self.blueprint, self.curve_at(point))
        drawn = sample(self.operator, conditions, self.noise_at(point)[None], self.steps)
        return Subject(backbone=drawn.field[0].astype(np.float64), blueprint=self.blueprint)

    def with_gradient(
        self, point: FloatArray, objective: Objective
    ) -> tuple[Evaluation, FloatArray]:
        """Evaluate the field and carry the gradient back through all steps of the sampler.

        Frames along the curve are taken to stay as they are while it bends, so the gradient by the
        bends is an approximation; that by the noise is exact.
        """
        xp = self.operator.backend
        curve = self.curve_at(point)
        conditions = conditions_of(self.blueprint, curve)
        start = self.noise_at(point)[None] + curve[None, :, None, :]
        draw = xp.pullback(field_function(self.operator, conditions, self.steps))
        field, pull = draw({"field": xp.asarray(start), "curve": xp.asarray(curve[None])})
        atoms = with_beta(xp.to_numpy(field)[0].astype(np.float64))
        found, force = objective.with_gradient(atoms)
        trace = np.ascontiguousarray(force[:, :3]).reshape(-1, 3)
        add_beta_gradient(trace, force[:, 3], atoms[:, :3].reshape(-1, 3))
        back = pull(xp.asarray(trace.reshape(field.shape)))
        by_field, by_curve = (
            xp.to_numpy(back[name])[0].astype(np.float64) for name in ("field", "curve")
        )
        bends = self.waves.T @ (by_curve + by_field.sum(axis=1))
        gradient = _held_back(self._modes(point), bends).ravel()
        if self.whole is not None:
            noise = (self.whole.T @ by_field.reshape(-1, 3)).ravel()
            gradient = np.concatenate([gradient, _on_sphere_back(point[self._bends :], noise)])
        return found, gradient

    def move(self, point: FloatArray, size: float, rng: np.random.Generator) -> FloatArray:
        """Mix in fresh noise so that a random point stays one.

        The proposal of preconditioned Crank-Nicolson (Cotter et al., Statist. Sci. 28, 2013).
        """
        share = 0.1 + 0.5 * min(size, 1.0)
        return np.sqrt(1.0 - share**2) * point + share * rng.standard_normal(self.size)

    def cross(self, first: FloatArray, second: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Take every number from either parent."""
        return np.where(rng.random(self.size) < 0.5, first, second)


def cosines(length: int, modes: int) -> FloatArray:
    """Waves along a chain, the slower, the higher, of unit root mean square together.

    Parameters
    ----------
    length : int
        Residues.
    modes : int
        The first has half a period on the chain; a constant would only shift it.

    Returns
    -------
    ndarray, shape=(residue, mode)
        For independent standard normal factors the expected square of a point's shift, over three
        coordinates and averaged over the chain, is one.
    """
    number = np.arange(1, modes + 1)
    place = (np.arange(length) + 0.5) / length
    waves = np.sqrt(2.0) * np.cos(np.pi * place[:, None] * number) / number
    return waves / np.sqrt(3.0 * (1.0 / number**2).sum())


def noise_matrix(length: int) -> FloatArray:
    """Matrix that turns independent innovations of a chain's atoms into noise of the prior.

    Parameters
    ----------
    length : int
        Residues.

    Returns
    -------
    ndarray, shape=(3 * residue, 3 * residue)
        Lower triangular: the path of Ornstein and Uhlenbeck along N, CA, C of all residues.
    """
    place = (np.arange(length)[:, None] + np.array(ATOM_OFFSETS)).ravel()
    decay = np.exp(-np.diff(place, prepend=place[:1]) / NOISE_CORRELATION)
    spread = NOISE_SCALE * np.sqrt(1.0 - decay**2)
    spread[0] = NOISE_SCALE
    kept = np.exp(-np.abs(place[:, None] - place) / NOISE_CORRELATION)
    return np.tril(kept) * spread


def _shift(modes: FloatArray) -> FloatArray:
    """Share of each mode in the mean square shift of the curve, over that of a typical draw."""
    number = np.arange(1, len(modes) + 1)[:, None]
    return 1.0 / (number**2 * 3.0 * (1.0 / number**2).sum())


def _held(modes: FloatArray) -> FloatArray:
    """Keep modes from growing without bound: twice the shift of a typical draw is the most."""
    square = (_shift(modes) * modes**2).sum()
    return modes / np.sqrt(1.0 + square / _FARTHEST**2)


def _held_back(modes: FloatArray, gradient: FloatArray) -> FloatArray:
    share = _shift(modes)
    scale = 1.0 + (share * modes**2).sum() / _FARTHEST**2
    along = (modes * gradient).sum() / (_FARTHEST**2 * scale)
    return (gradient - along * share * modes) / np.sqrt(scale)


def _on_sphere(innovations: FloatArray) -> FloatArray:
    """Scale to the length that independent standard normal numbers have."""
    length = max(float(np.linalg.norm(innovations)), 1e-12)
    return innovations * (np.sqrt(innovations.size) / length)


def _on_sphere_back(innovations: FloatArray, gradient: FloatArray) -> FloatArray:
    length = max(float(np.linalg.norm(innovations)), 1e-12)
    axis = innovations / length
    return (gradient - axis * float(axis @ gradient)) * (np.sqrt(innovations.size) / length)


def field_function(
    operator: BaseNeuralOperator[Any], conditions: Conditions, steps: int
) -> Callable[[Parameters], Array]:
    """Give the sampler as a pure function that can be differentiated.

    It is what :func:`protein_lab.flow.sample` computes without guidance.

    Parameters
    ----------
    operator : BaseNeuralOperator
    conditions : Conditions
        Of one chain; their curve is replaced by the one that the function is given.
    steps : int
        Evaluations of the operator.

    Returns
    -------
    callable
        Maps ``field``, the start with the curve added, shape (1, residue, 3, 3), and ``curve``,
        shape (1, residue, 3), to the field.
    """
    backend = operator.backend
    inputs = collate(
        backend, [conditions], [LIBRARY_CURVE_ERROR], [0.0], operator.config.separation_scales,
        all_pairs=operator.sees_all_pairs,
    )  # fmt: skip
    times = time_schedule(steps)

    def run(start: Parameters) -> Array:
        encoded = operator.encode(inputs._replace(curve=start["curve"]))
        field, last = start["field"], None
        for step in range(steps):
            now, following = float(times[step]), float(times[step + 1])
            mean = operator.predict(field, backend.asarray(np.full(1, now)), encoded).mean
            clean = mean
            if 0 < step < steps - 1:
                ahead = effective_delay(now, following) / (now - float(times[step - 1]))
                clean = mean + (mean - last) * ahead
            if operator.looks_back:
                encoded = encoded._replace(guess=mean)
            field = field + (clean - field) * ((following - now) / (1.0 - now))
            last = mean
        return field

    return run

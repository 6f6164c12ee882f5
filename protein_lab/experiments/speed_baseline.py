"""A denoising transformer over torsion angles, of the size of FoldingDiff, to compare speed with.

FoldingDiff (Wu et al., *Nat. Commun.* 15, 2024) is a transformer encoder of 12 layers, 384 wide
with 12 heads, that predicts the noise of six angles of every residue in each of 1,000 steps. What a
step costs does not depend on the weights, so they are drawn at random; the angles mean nothing.
"""

from __future__ import annotations

import math
import time
from typing import Final

import numpy as np

from protein_lab.backends import Array, Backend
from protein_lab.backends.base import Parameters
from protein_lab.geometry import backbone_from_internal
from protein_lab.models.parameters import Initializer
from protein_lab.operators.embedding import time_features
from protein_lab.operators.kernel import dense, normalize

LAYERS: Final = 12
WIDTH: Final = 384
HEADS: Final = 12
HIDDEN: Final = 768
ANGLES: Final = 6
STEPS: Final = 1000


def draw_parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw random weights; about 14 million."""
    make = Initializer(rng)
    make.dense("in", ANGLES, WIDTH)
    make.dense("time", WIDTH, WIDTH)
    for layer in range(LAYERS):
        for part in ("query", "key", "value", "mixed"):
            make.dense(f"{layer}.{part}", WIDTH, WIDTH)
        make.dense(f"{layer}.up", WIDTH, HIDDEN)
        make.dense(f"{layer}.down", HIDDEN, WIDTH)
        make.norm(f"{layer}.first", WIDTH)
        make.norm(f"{layer}.second", WIDTH)
    make.dense("head", WIDTH, WIDTH)
    make.norm("head.norm", WIDTH)
    make.dense("out", WIDTH, ANGLES)
    return make.params


def predict_noise(xp: Backend, params: Parameters, angles: Array, moment: Array) -> Array:
    """Predict the noise in angles.

    Parameters
    ----------
    xp : Backend
    params : mapping
        From :func:`draw_parameters`, on the backend.
    angles : Array, shape=(batch, residue, 6)
        Radians.
    moment : Array, shape=(batch,)
        Step over the number of steps.

    Returns
    -------
    Array, shape=(batch, residue, 6)
    """
    batch, size = angles.shape[:2]
    embedded = dense(xp, params, "time", time_features(xp, moment, WIDTH))
    hidden = dense(xp, params, "in", angles) + embedded[:, None, :]

    def heads(name: str, value: Array) -> Array:
        split = xp.reshape(dense(xp, params, name, value), (batch, size, HEADS, WIDTH // HEADS))
        return xp.transpose(split, (0, 2, 1, 3))

    for layer in range(LAYERS):
        key = xp.transpose(heads(f"{layer}.key", hidden), (0, 1, 3, 2))
        logits = (heads(f"{layer}.query", hidden) @ key) * (1.0 / math.sqrt(WIDTH // HEADS))
        mixed = xp.transpose(xp.softmax(logits) @ heads(f"{layer}.value", hidden), (0, 2, 1, 3))
        mixed = dense(xp, params, f"{layer}.mixed", xp.reshape(mixed, (batch, size, WIDTH)))
        hidden = normalize(xp, params, f"{layer}.first", hidden + mixed)
        up = xp.silu(dense(xp, params, f"{layer}.up", hidden))
        hidden = normalize(
            xp, params, f"{layer}.second", hidden + dense(xp, params, f"{layer}.down", up)
        )
    last = normalize(xp, params, "head.norm", xp.silu(dense(xp, params, "head", hidden)))
    return dense(xp, params, "out", last)


def seconds_of_a_backbone(xp: Backend, length: int, measured_steps: int) -> tuple[float, float]:
    """Time a backbone of a denoising model of this size.

    Parameters
    ----------
    xp : Backend
    length : int
        Residues.
    measured_steps : int
        Steps that are run, of :data:`STEPS`; the time of the others follows from them.

    Returns
    -------
    seconds, parameters : float
        Processor time of all steps and of building the chain; number of weights.
    """
    rng = np.random.default_rng(0)
    drawn = draw_parameters(rng)
    params = {name: xp.asarray(value) for name, value in drawn.items()}
    schedule = np.linspace(1e-4, 2e-2, STEPS)
    kept = np.cumprod(1.0 - schedule)
    angles = xp.asarray(rng.standard_normal((1, length, ANGLES)))
    predict_noise(xp, params, angles, xp.asarray(np.ones(1)))
    start = time.process_time()
    for step in range(STEPS - 1, STEPS - 1 - measured_steps, -1):
        noise = predict_noise(xp, params, angles, xp.asarray(np.full(1, step / STEPS)))
        fresh = xp.asarray(rng.standard_normal((1, length, ANGLES)))
        rate, left = float(schedule[step]), float(kept[step])
        angles = (angles - noise * (rate / math.sqrt(1.0 - left))) * (1.0 / math.sqrt(1.0 - rate))
        angles = angles + fresh * math.sqrt(rate)
    stepped = (time.process_time() - start) * STEPS / measured_steps
    start = time.process_time()
    phi, psi, omega = xp.to_numpy(angles)[0, :, :3].astype(np.float64).T
    backbone_from_internal(phi, psi, omega)
    built = time.process_time() - start
    return stepped + built, float(sum(value.size for value in drawn.values()))

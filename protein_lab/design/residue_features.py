"""What tells how far each residue of a design may be off, for a calibrated uncertainty."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from protein_lab.design.sampling import superimpose_samples
from protein_lab.errors import GeometryError
from protein_lab.flow import FlowSample
from protein_lab.geometry import axis_curve, superimpose
from protein_lab.typing import FloatArray

FEATURES: Final = (
    "intercept",
    "distance",
    "head",
    "spread",
    "off_curve",
    "length",
    "helix",
    "strand",
    "helix_depth",
    "strand_depth",
    "loop_depth",
    "chain_end",
)
"""All features, in the order of a fit; see :func:`residue_features`."""

NEEDS_SAMPLES: Final = ("spread",)
"""Features that one sample alone does not have."""

_SHARE_OF_GUESS: Final = 0.6
"""Of the first guess in what is expected; the rest is the mean of the samples."""

_FLOOR: Final = 0.05
_REACH: Final = 6
_END: Final = 3.0
_SMOOTH: Final = 2.0
"""Residues over which noisy squares are averaged: neighbors err together."""


def residue_features(
    drawn: FlowSample, shown: FloatArray, states: str, curve: FloatArray
) -> dict[str, FloatArray]:
    """Describe every residue of a chain that was drawn around a curve.

    Lengths enter as logarithms, so that a model that is linear in the features is a product of
    powers of them.

    Parameters
    ----------
    drawn : FlowSample
        All samples of the chain, with the operator's first guess.
    shown : ndarray, shape=(residue, 3)
        CA atoms of the one chain whose error is asked: a sample, or a refined backbone.
    states : str
        Asked secondary structure, H, E or L.
    curve : ndarray, shape=(residue, 3)
        Axis curve that the samples were drawn around, angstrom.

    Returns
    -------
    dict of str to ndarray
        Each of shape ``(residue,)``. ``head``: standard deviation that the operator predicts
        from noise alone; ``spread``: of the samples about their mean; ``distance``: root of the
        square of ``head`` and of the distance between ``shown`` and what is expected, a mean of
        first guesses and samples; ``off_curve``: distance of the axis of ``shown`` from the
        curve; ``*_depth``: 0 at the ends of a run of one state to 1 inside. Those of
        :data:`NEEDS_SAMPLES` are missing when there is a single sample.

    Raises
    ------
    GeometryError
        If the lengths differ, or the samples come without a first guess.
    """
    length = drawn.field.shape[1]
    if not len(shown) == len(states) == len(curve) == length:
        raise GeometryError(
            f"Expected {length} residues everywhere, but there are {len(shown)} CA atoms, "
            f"{len(states)} states and {len(curve)} points of the curve."
        )
    if drawn.guess is None or drawn.guess_sigma is None:
        raise GeometryError("Expected samples of the flow with the operator's first guess.")
    ca, center = superimpose_samples(np.asarray(drawn.field[:, :, 1], dtype=np.float64))
    placed = _place(np.asarray(shown, dtype=np.float64), center)
    expected = _place(drawn.guess[:, :, 1].mean(axis=0, dtype=np.float64), center)
    count = len(ca)
    if count > 1:
        expected = _SHARE_OF_GUESS * expected + (1.0 - _SHARE_OF_GUESS) * center
    # designs may have moved as a whole; their curve is where the samples are
    off_curve = np.linalg.norm(axis_curve(placed) - curve, axis=-1)
    head = 3.0 * _smooth((drawn.guess_sigma.astype(np.float64) ** 2).mean(axis=0))
    away = ((placed - expected) ** 2).sum(-1)
    found = {
        "intercept": np.ones(length),
        "distance": _log(np.sqrt(head + away)),
        "head": _log(np.sqrt(head)),
        "off_curve": _log(np.sqrt(_smooth(off_curve**2))),
        "length": np.full(length, np.log(length / 128.0)),
        **_along_the_chain(states),
    }
    if count > 1:
        # unbiased, so that the number of samples matters little
        squares = ((ca - center) ** 2).sum(-1).sum(axis=0) / (count - 1.0)
        found["spread"] = _log(np.sqrt(_smooth(squares)))
    return found


def _place(moved: FloatArray, still: FloatArray) -> FloatArray:
    rotation, shift = superimpose(moved, still)
    return moved @ rotation.T + shift


def _smooth(squares: FloatArray) -> FloatArray:
    return np.asarray(gaussian_filter1d(squares, _SMOOTH, mode="nearest"))


def _log(value: FloatArray | float) -> FloatArray:
    return np.asarray(np.log(np.asarray(value, dtype=np.float64) + _FLOOR))


def _along_the_chain(states: str) -> dict[str, FloatArray]:
    """State of each residue, how deep it lies in its run, how near the ends of the chain are."""
    depth = np.concatenate(
        [
            np.minimum(np.arange(size), np.arange(size)[::-1])
            for size in (len(list(run)) for _, run in groupby(states))
        ]
    )
    depth = np.minimum(depth, _REACH) / _REACH
    letters = np.array(list(states))
    place = np.arange(len(states))
    ends = np.minimum(place, place[::-1])
    return {
        "helix": (letters == "H").astype(np.float64),
        "strand": (letters == "E").astype(np.float64),
        "helix_depth": depth * (letters == "H"),
        "strand_depth": depth * (letters == "E"),
        "loop_depth": depth * ((letters != "H") & (letters != "E")),
        "chain_end": np.exp(-ends / _END),
    }

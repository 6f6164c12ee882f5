"""CA traces of ideal helices and strands, and elements made longer by them."""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.contacts import STRAND
from protein_lab.geometry import superimpose
from protein_lab.typing import FloatArray

HELIX_RISE: Final = 1.5
HELIX_RADIUS: Final = 2.29
HELIX_TURN: Final = np.deg2rad(100.0)
STRAND_RISE: Final = 3.32
STRAND_RADIUS: Final = 0.93
STRAND_TURN: Final = np.deg2rad(-168.0)
"""Cylinder coordinates of CA: angstrom and turn a residue; the strand carries the usual twist."""

_OVERLAP: Final = (7, 4)
"""Residues of a helix and of a strand on which its continuation is superimposed."""


def ideal_trace(kind: int, length: int) -> FloatArray:
    """CA trace of a straight ideal element along z, shape (residue, 3), angstrom.

    Parameters
    ----------
    kind : int
        0 helix, 1 strand.
    length : int
        Number of residues.

    Returns
    -------
    ndarray
        Right-handed helix or twisted strand, centered on the origin.
    """
    if kind == STRAND:
        rise, radius, turn = STRAND_RISE, STRAND_RADIUS, STRAND_TURN
    else:
        rise, radius, turn = HELIX_RISE, HELIX_RADIUS, HELIX_TURN
    step = np.arange(length)
    trace = np.stack(
        [radius * np.cos(turn * step), radius * np.sin(turn * step), rise * step], axis=-1
    )
    return trace - trace.mean(axis=0)


def extend(trace: FloatArray, kind: int, before: int, after: int) -> FloatArray:
    """Continue an element at both ends in the direction that it has there.

    Parameters
    ----------
    trace : ndarray, shape=(residue, 3)
        CA of the real element, angstrom.
    kind : int
        0 helix, 1 strand.
    before, after : int
        Residues to add.

    Returns
    -------
    ndarray, shape=(before + residue + after, 3)
        The real residues are unchanged.
    """
    parts = [trace]
    overlap = min(_OVERLAP[kind], len(trace))
    if before:
        ideal = ideal_trace(kind, before + overlap)
        rotation, shift = superimpose(ideal[before:], trace[:overlap])
        parts.insert(0, (ideal @ rotation.T + shift)[:before])
    if after:
        ideal = ideal_trace(kind, overlap + after)
        rotation, shift = superimpose(ideal[:overlap], trace[-overlap:])
        parts.append((ideal @ rotation.T + shift)[overlap:])
    return np.concatenate(parts)

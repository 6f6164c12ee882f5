"""Conditions of several chains padded to one length, as operators take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend
from protein_lab.constants import UNSPECIFIED
from protein_lab.constraints.fields import SECONDARY_STRUCTURE_CHANNELS, Conditions
from protein_lab.geometry import parallel_transport_frames
from protein_lab.models.base import ChainInputs
from protein_lab.operators.embedding import separation_features

_PARTNERS = 16


def collate(
    backend: Backend,
    chains: Sequence[Conditions],
    curve_error: Sequence[float],
    angles: Sequence[float],
    num_scales: int,
    size: int = 0,
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
    size : int
        Points to pad to, where the longest chain has fewer.
    all_pairs : bool
        Whether to make functions of all pairs of points, or of paired ones alone; see
        ``BaseNeuralOperator.sees_all_pairs``.

    Returns
    -------
    ChainInputs
        Padded points have zero weight and the identity as frame.
    """
    size, count = max(size, *(chain.length for chain in chains)), len(chains)
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


def unasked(backend: Backend, inputs: ChainInputs) -> ChainInputs:
    """Take secondary structure and pairing away, as is done to some chains in training."""
    states = np.zeros(inputs.secondary_structure.shape)
    states[..., SECONDARY_STRUCTURE_CHANNELS.index(UNSPECIFIED)] = 1.0
    return inputs._replace(
        secondary_structure=backend.asarray(states), pairing=inputs.pairing * 0.0
    )

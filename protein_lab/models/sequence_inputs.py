"""Backbones as the sequence operator takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Backend
from protein_lab.constants import AMINO_ACIDS
from protein_lab.geometry.backbone import virtual_cb
from protein_lab.geometry.motion import backbone_dihedrals, frames, unit
from protein_lab.models.sequence import NUM_TYPES, BackboneInputs
from protein_lab.operators.neighborhood import ATOMS, find_neighbors

SIDE_CHAIN_REACH = 2.4
"""Distance from CA, along the bond to CB, of the point that stands for a side chain, angstrom."""


_CODES = np.full(256, NUM_TYPES, dtype=np.int32)
_CODES[np.frombuffer(AMINO_ACIDS[:NUM_TYPES].encode(), dtype=np.uint8)] = np.arange(NUM_TYPES)


def residue_types(sequence: str) -> NDArray[np.int32]:
    """Give indices into :data:`~protein_lab.constants.AMINO_ACIDS`; 20 where unknown."""
    return _CODES[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]


def visibility(order: NDArray[np.integer], index: NDArray[np.integer]) -> NDArray[np.int32]:
    """Say which neighbors each residue sees the type of: those earlier in the order.

    Parameters
    ----------
    order : ndarray, shape=(batch, point)
    index : ndarray, shape=(batch, point, neighbor)
        Rows of the batch's points laid end to end.

    Returns
    -------
    ndarray of int, shape=(batch, point, neighbor)
    """
    return (order.ravel()[index] < order[:, :, None]).astype(np.int32)


def seen_atoms(backbone: NDArray[np.floating]) -> NDArray[np.float64]:
    """N, CA, C, O and the point where the side chain would begin, about the center of the chain.

    Parameters
    ----------
    backbone : ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom.

    Returns
    -------
    ndarray, shape=(residue, ATOMS, 3)
    """
    atoms = np.asarray(backbone, dtype=np.float64)
    atoms = atoms - atoms[:, 1].mean(axis=0)
    ca = atoms[:, 1]
    tip = ca + SIDE_CHAIN_REACH * unit(virtual_cb(atoms) - ca)
    return np.concatenate([atoms[:, :4], tip[:, None]], axis=1)


def torsion_features(atoms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sine and cosine of phi, psi and omega, zero where they do not exist, and whether they do."""
    angles = backbone_dihedrals(atoms)
    known = np.isfinite(angles)
    angles = np.where(known, angles, 0.0)
    return np.concatenate([np.sin(angles) * known, np.cos(angles) * known, known], axis=-1)


def collate_backbones(
    backend: Backend, backbones: Sequence[NDArray[np.floating]], neighbors: int
) -> BackboneInputs:
    """Pad backbones to one length and bring them to a backend.

    Parameters
    ----------
    backend : Backend
    backbones : sequence of ndarray, shape=(residue, 4, 3)
        N, CA, C, O, angstrom; consecutive residues are taken as bonded.
    neighbors : int
        Residues in the ball around each.

    Returns
    -------
    BackboneInputs
    """
    batch, size = len(backbones), max(len(backbone) for backbone in backbones)
    atoms = np.zeros((batch, size, ATOMS, 3))
    frame = np.tile(np.eye(3), (batch, size, 1, 1))
    torsion = np.zeros((batch, size, 9))
    coordinate = np.zeros((batch, size))
    weight = np.zeros((batch, size))
    partner = np.tile(np.arange(batch * size).reshape(batch, size, 1), (1, 1, neighbors))
    radius = np.ones((batch, size))
    present = np.zeros((batch, size, neighbors))
    for row, backbone in enumerate(backbones):
        length = len(backbone)
        own = seen_atoms(backbone)
        found = find_neighbors(own[:, 1], neighbors)
        atoms[row, :length] = own
        frame[row, :length] = np.swapaxes(frames(own)[0], -1, -2)
        torsion[row, :length] = torsion_features(own)
        coordinate[row, :length] = np.arange(length)
        weight[row, :length] = 1.0
        partner[row, :length] = found.partner + row * size
        radius[row, :length] = found.radius
        present[row, :length] = found.present
    return BackboneInputs(
        atoms=backend.asarray(atoms),
        frame=backend.asarray(frame),
        torsion=backend.asarray(torsion),
        coordinate=backend.asarray(coordinate),
        weight=backend.asarray(weight),
        partner=backend.asarray(partner, "int32"),
        radius=backend.asarray(radius),
        present=backend.asarray(present),
    )

"""How alike two structures are: RMSD, TM-score, lDDT, and the diversity of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from protein_lab.errors import GeometryError
from protein_lab.geometry import coordinates, superimpose
from protein_lab.geometry.motion import Array
from protein_lab.typing import IntArray

LDDT_RADIUS = 15.0
LDDT_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)

_MIN_FRAGMENT = 4
_MAX_PARTS = 32
_PROMISING = 32
_ROUNDS = 12
_POLISH_ROUNDS = 60
_CONVERGED = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class TmAlignment:
    """Structural alignment of two chains.

    Attributes
    ----------
    tm_a, tm_b : float
        TM-score normalized by the length of the first and of the second chain.
    rmsd : float
        Over the aligned residues, angstrom.
    aligned : ndarray
        ``(pair, 2)``: indices of aligned residues in the first and in the second chain.
    """

    tm_a: float
    tm_b: float
    rmsd: float
    aligned: IntArray


def _pair(mobile: ArrayLike, fixed: ArrayLike) -> tuple[Array, Array]:
    first, second = coordinates(mobile, "mobile"), coordinates(fixed, "fixed")
    if first.shape[-2:] != second.shape[-2:]:
        raise GeometryError(
            f"Both structures must have the same points; {first.shape} and {second.shape} came.",
            "Select the residues that correspond, or use tm_align.",
        )
    return first, second


def rmsd(a: ArrayLike, b: ArrayLike, superimposed: bool = True) -> Array:
    """Root mean square deviation of corresponding points.

    Parameters
    ----------
    a, b : array_like
        ``(..., point, 3)``, angstrom; usually the CA atoms.
    superimposed : bool
        Superimpose ``a`` on ``b`` first, the default; else take the coordinates as they are.

    Returns
    -------
    ndarray
        ``(...)``, angstrom. A structure and its mirror image do not have an RMSD of 0.

    Raises
    ------
    GeometryError
        If shapes differ or a coordinate is not finite.
    """
    first, second = _pair(a, b)
    if superimposed:
        rotation, translation = superimpose(first, second)
        first = first @ np.swapaxes(rotation, -1, -2) + translation[..., None, :]
    return np.sqrt(((first - second) ** 2).sum(-1).mean(-1))


def tm_scale(length: int) -> float:
    """Distance d0 at which a residue pair counts half in the TM-score, angstrom, at least 0.5."""
    return max(1.24 * np.cbrt(length - 15) - 1.8, 0.5)


def tm_score(mobile: ArrayLike, fixed: ArrayLike) -> float:
    """TM-score of two structures whose residues correspond one to one (Zhang & Skolnick, 2004).

    The score is maximized over superpositions. Fragments of many lengths give the starting
    superpositions; each is improved by weighted superpositions that raise the score in every
    step, because the score is a concave function of the squared distances.

    Parameters
    ----------
    mobile, fixed : array_like
        CA atoms ``(residue, 3)``, angstrom.

    Returns
    -------
    float
        Between 0 and 1, normalized by the common length.

    Raises
    ------
    GeometryError
        If shapes differ, there are fewer than three residues or a coordinate is not finite.
    """
    first, second = _pair(mobile, fixed)
    if first.ndim != 2 or len(first) < 3:
        raise GeometryError(f"tm_score takes two chains (residue>=3, 3); {first.shape} came.")
    scale = tm_scale(len(first))
    masks = _seed_masks(len(first))
    scores, closeness = _tm_step(first, second, masks, scale)
    best = scores.max()
    kept = np.argsort(-scores)[:_PROMISING]
    closeness = closeness[kept]
    for _ in range(_ROUNDS):
        scores, closeness = _tm_step(first, second, closeness**2, scale)
        best = max(best, scores.max())
    closeness = closeness[[scores.argmax()]]
    for _ in range(_POLISH_ROUNDS):
        scores, closeness = _tm_step(first, second, closeness**2, scale)
        if scores[0] - best < _CONVERGED:
            break
        best = scores[0]
    return float(max(best, scores[0]))


def _seed_masks(length: int) -> Array:
    """Return weights ``(seed, residue)`` that select overlapping fragments of halving lengths."""
    rows, size = [np.ones(length)], length // 2
    index = np.arange(length)
    # Many short fragments find the rare good superposition of unrelated chains; in long chains
    # their number would grow without use.
    while size >= max(_MIN_FRAGMENT, length // _MAX_PARTS):
        starts = np.append(np.arange(0, length - size, max(size // 4, 1)), length - size)
        rows.extend((index >= start) & (index < start + size) for start in starts)
        size //= 2
    return np.array(rows, dtype=np.float64)


def _tm_step(mobile: Array, fixed: Array, weights: Array, scale: float) -> tuple[Array, Array]:
    """Superimpose with weights ``(seed, residue)``; return scores and the closeness of residues.

    The closeness 1 / (1 + d^2 / d0^2), squared, is the weight that makes the next step rise.
    """
    share = weights / weights.sum(-1, keepdims=True)
    mobile_center, fixed_center = share @ mobile, share @ fixed
    # Covariances of all seeds from one matrix product over outer products.
    outer = (mobile[:, :, None] * fixed[:, None, :]).reshape(len(mobile), 9)
    covariance = (share @ outer).reshape(-1, 3, 3)
    covariance -= mobile_center[:, :, None] * fixed_center[:, None, :]
    left, _, right = np.linalg.svd(covariance)
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    turn = left @ right
    moved = mobile @ turn + (fixed_center[:, None] - mobile_center[:, None] @ turn)
    squared = ((moved - fixed) ** 2).sum(-1)
    closeness = 1.0 / (1.0 + squared / scale**2)
    return closeness.mean(-1), closeness


def tm_align(ca_a: ArrayLike, seq_a: str, ca_b: ArrayLike, seq_b: str) -> TmAlignment:
    """Align two chains by structure with TM-align (Zhang & Skolnick, 2005; package tmtools).

    Parameters
    ----------
    ca_a, ca_b : array_like
        CA atoms ``(residue, 3)``, angstrom; the lengths may differ.
    seq_a, seq_b : str
        One-letter sequences of the same lengths; they do not influence the alignment.

    Returns
    -------
    TmAlignment
        TM-scores in both normalizations, RMSD and the aligned residues.

    Raises
    ------
    GeometryError
        If a sequence does not fit its coordinates or a coordinate is not finite.
    """
    import tmtools  # loading its library takes longer than importing this package

    first, second = coordinates(ca_a, "ca_a", minimum=3), coordinates(ca_b, "ca_b", minimum=3)
    if first.shape != (len(seq_a), 3) or second.shape != (len(seq_b), 3):
        raise GeometryError(
            f"Chains of shape {first.shape} and {second.shape} came with sequences of "
            f"{len(seq_a)} and {len(seq_b)} letters.",
            "Give one letter for every residue.",
        )
    found = tmtools.tm_align(
        np.ascontiguousarray(first), np.ascontiguousarray(second), seq_a, seq_b
    )
    row_a, row_b = (np.array(list(row)) != "-" for row in (found.seqxA, found.seqyA))
    both = row_a & row_b
    aligned = np.stack([np.cumsum(row_a)[both] - 1, np.cumsum(row_b)[both] - 1], axis=-1)
    return TmAlignment(
        tm_a=float(found.tm_norm_chain1),
        tm_b=float(found.tm_norm_chain2),
        rmsd=float(found.rmsd),
        aligned=aligned,
    )


def lddt(model: ArrayLike, reference: ArrayLike) -> Array:
    """Local distance difference test per residue on CA atoms (Mariani et al., 2013).

    Parameters
    ----------
    model : array_like
        ``(..., residue, 3)``, angstrom.
    reference : array_like
        ``(residue, 3)``, angstrom; its distances up to 15 angstrom are tested.

    Returns
    -------
    ndarray
        ``(..., residue)``: share of distances kept within 0.5, 1, 2 and 4 angstrom, averaged; NaN
        for a residue with no neighbor. No superposition is involved; mirror images score 1.

    Raises
    ------
    GeometryError
        If shapes differ or a coordinate is not finite.
    """
    first, second = _pair(model, reference)
    if second.ndim != 2:
        raise GeometryError(f"The reference must be (residue, 3); {second.shape} came.")
    expected = np.linalg.norm(second[:, None] - second, axis=-1)
    near = (expected <= LDDT_RADIUS) & ~np.eye(len(second), dtype=bool)
    row, column = np.nonzero(near)
    distance = np.linalg.norm(first[..., row, :] - first[..., column, :], axis=-1)
    deviation = np.abs(distance - expected[row, column])
    kept = np.zeros(deviation.shape)
    for threshold in LDDT_THRESHOLDS:
        kept += (deviation <= threshold) / len(LDDT_THRESHOLDS)
    share = np.zeros((*first.shape[:-2], *near.shape))
    share[..., row, column] = kept
    count = near.sum(-1)
    return np.where(count > 0, share.sum(-1) / np.maximum(count, 1), np.nan)


def pairwise_tm(cas: Sequence[ArrayLike]) -> Array:
    """TM-align every pair of structures and keep the smaller of the two normalizations.

    Parameters
    ----------
    cas : sequence of array_like
        CA atoms ``(residue, 3)`` of each structure, angstrom; lengths may differ.

    Returns
    -------
    ndarray
        ``(structure, structure)``, symmetric, with a diagonal of 1.

    Raises
    ------
    GeometryError
        If a structure has a wrong shape or a coordinate is not finite.
    """
    chains = [coordinates(ca, "cas") for ca in cas]
    matrix = np.eye(len(chains))
    for i, first in enumerate(chains):
        for j in range(i):
            second = chains[j]
            found = tm_align(first, "A" * len(first), second, "A" * len(second))
            matrix[i, j] = matrix[j, i] = min(found.tm_a, found.tm_b)
    return matrix


def diversity(cas: Sequence[ArrayLike], threshold: float = 0.5) -> float:
    """Divide the number of structural clusters by the number of structures.

    Complete linkage on :func:`pairwise_tm`: all members of a cluster have a TM-score of at least
    ``threshold`` to each other. Single linkage and greedy clustering give other numbers.

    Parameters
    ----------
    cas : sequence of array_like
        CA atoms ``(residue, 3)`` of each structure, angstrom; lengths may differ.
    threshold : float
        TM-score of one fold; 0.5 is usual.

    Returns
    -------
    float
        1 when all differ; NaN without structures.

    Raises
    ------
    GeometryError
        If a structure has a wrong shape or a coordinate is not finite.
    """
    if len(cas) == 0:
        return float("nan")
    return num_clusters(pairwise_tm(cas), threshold) / len(cas)


def num_clusters(similarity: ArrayLike, threshold: float) -> int:
    """Count clusters of complete linkage.

    Parameters
    ----------
    similarity : array_like
        ``(structure, structure)``, symmetric; the diagonal is not looked at.
    threshold : float
        Least similarity of any two members of a cluster.

    Returns
    -------
    int
        0 without structures.
    """
    similarity = np.array(similarity, dtype=np.float64)
    np.fill_diagonal(similarity, -np.inf)
    count = len(similarity)
    while count and similarity.max() >= threshold:
        # Merging the nearest two keeps the smaller similarity to every other cluster.
        keep, gone = np.unravel_index(similarity.argmax(), similarity.shape)
        merged = np.minimum(similarity[keep], similarity[gone])
        similarity[keep], similarity[:, keep] = merged, merged
        similarity[gone], similarity[:, gone] = -np.inf, -np.inf
        count -= 1
    return count

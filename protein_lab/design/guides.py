"""Where a fold leads the residues of a blueprint, and what several folds agree on.

A guide is a CA trace of the blueprint's length: aligned elements keep their real coordinates,
loops follow the real ones, stretched or compressed along the chain. It knows nothing of residues
that the fold has no counterpart for. Since guides of one blueprint have the same residues, they
can be compared and averaged without an alignment. Folds that resemble the wanted one err in
different directions, so their mean lies closer to it than most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from protein_lab.design.pieces import Piece, is_copied
from protein_lab.geometry import superimpose
from protein_lab.typing import BoolArray, FloatArray

_STRETCH: Final = (0.4, 2.0, 4)
"""Residues of a real loop for each asked one, from and to; and residues that are always allowed."""

_ROUNDS: Final = 4
_TINY: Final = 1e-9


def guide_trace(pieces: Sequence[Piece], ca: FloatArray, length: int) -> FloatArray:
    """Lead a blueprint along a real fold.

    Parameters
    ----------
    pieces : sequence of Piece
        Elements of the blueprint, laid on those of the fold.
    ca : ndarray, shape=(residue, 3)
        CA of the fold, angstrom.
    length : int
        Residues of the blueprint.

    Returns
    -------
    ndarray, shape=(length, 3)
        Angstrom; NaN where the fold says nothing.
    """
    guide = np.full((length, 3), np.nan)
    laid = [piece for piece in pieces if piece.trace is not None and piece.shift is not None]
    for piece in laid:
        guide[piece.start : piece.stop] = piece.trace
    for first, second in pairwise(laid):
        _lead_between(guide, first, second, ca)
    if laid:
        _lead_tails(guide, laid[0], laid[-1], ca)
    return guide


def _lead_between(guide: FloatArray, first: Piece, second: Piece, ca: FloatArray) -> None:
    """Follow the real chain from one laid element to the next, over any element between."""
    start, stop = first.stop, second.start
    begin, end = start + (first.shift or 0), stop + (second.shift or 0)
    asked, found = stop - start, end - begin
    if asked == 0 or found < 0:
        return
    if is_copied(first, second):
        guide[start:stop] = ca[begin:end]
        return
    low, high, more = _STRETCH
    if not low * asked - more <= found <= high * asked + more:
        return
    path = np.concatenate([guide[start - 1 : start], ca[begin:end], guide[stop : stop + 1]])
    place = np.linspace(0, found + 1, asked + 2)[1:-1]
    for axis in range(3):
        guide[start:stop, axis] = np.interp(place, np.arange(found + 2), path[:, axis])


def _lead_tails(guide: FloatArray, first: Piece, last: Piece, ca: FloatArray) -> None:
    """Follow the real tails as far as they go."""
    begin = first.start + (first.shift or 0) + first.before
    size = min(first.start, begin)
    guide[first.start - size : first.start] = (
        ca[begin - size : begin] - ca[begin] + guide[first.start]
    )
    end = last.stop + (last.shift or 0) - last.after
    size = min(len(guide) - last.stop, len(ca) - end)
    guide[last.stop : last.stop + size] = ca[end : end + size] - ca[end - 1] + guide[last.stop - 1]


def tm_distance(length: int) -> float:
    """Distance at which a residue counts half in the TM-score, angstrom."""
    return max(0.5, 1.24 * float(np.cbrt(max(0.0, length - 15.0))) - 1.8)


def fit(moving: FloatArray, fixed: FloatArray, known: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Superimpose guides so that as many residues as possible lie close.

    Parameters
    ----------
    moving, fixed : ndarray, shape=(guide, residue, 3)
        Angstrom, finite everywhere.
    known : ndarray, shape=(guide, residue)
        Residues that both know.

    Returns
    -------
    moved : ndarray, shape=(guide, residue, 3)
        After the superposition with the highest score.
    near : ndarray, shape=(guide, residue)
        Terms of the TM-score, 0 to 1, also of residues that are not known.
    """
    scale = tm_distance(moving.shape[1])
    weight = known + _TINY
    best = np.full(len(moving), -1.0)
    kept, kept_near = np.empty_like(moving), np.empty(known.shape)
    for _ in range(_ROUNDS):
        rotation, shift = superimpose(moving, fixed, weight)
        moved = moving @ np.swapaxes(rotation, -1, -2) + shift[:, None]
        near = 1 / (1 + ((moved - fixed) ** 2).sum(-1) / scale**2)
        score = (near * known).sum(axis=1)
        better = score > best
        best = np.maximum(best, score)
        kept[better], kept_near[better] = moved[better], near[better]
        weight = known * near**2 + _TINY
    return kept, kept_near


def likeness(guides: FloatArray) -> FloatArray:
    """TM-score of every two guides, over residues that both know.

    Parameters
    ----------
    guides : ndarray, shape=(guide, residue, 3)
        Angstrom; NaN where nothing is known.

    Returns
    -------
    ndarray, shape=(guide, guide)
        Symmetric, 1 on the diagonal.
    """
    known = np.isfinite(guides[..., 0])
    filled = np.where(known[..., None], guides, 0.0)
    close = np.eye(len(guides))
    first, second = np.triu_indices(len(guides), 1)
    if first.size:
        both = known[first] & known[second]
        _, near = fit(filled[first], filled[second], both)
        score = (near * both).sum(axis=1) / guides.shape[1]
        close[first, second] = close[second, first] = score
    return close


def mean_guide(own: FloatArray, others: FloatArray, weight: FloatArray) -> FloatArray:
    """Average a guide with others that resemble it.

    Every residue of another guide counts as much as it lies close to that residue of the own one,
    so that parts which differ leave no trace.

    Parameters
    ----------
    own : ndarray, shape=(residue, 3)
        Angstrom; NaN where nothing is known.
    others : ndarray, shape=(guide, residue, 3)
        Guides of the same blueprint.
    weight : ndarray, shape=(guide,)
        Of the others; the own guide has weight 1.

    Returns
    -------
    ndarray, shape=(residue, 3)
        In the place of the own guide; NaN where no guide knows anything.
    """
    if len(others) == 0:
        return own
    mine = np.isfinite(own[:, 0])
    known = np.isfinite(others[..., 0])
    fixed = np.broadcast_to(np.where(mine[:, None], own, 0.0), others.shape)
    both = known & mine
    moved, near = fit(np.where(known[..., None], others, 0.0), fixed, both)
    usual = (near * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    share = weight[:, None] * known * np.where(mine, near, usual[:, None]) ** 2
    total = mine + share.sum(axis=0)
    mean = np.where(mine[:, None], own, 0.0) + (share[..., None] * moved).sum(axis=0)
    return np.where(total[:, None] > 0, mean / np.maximum(total, _TINY)[:, None], np.nan)

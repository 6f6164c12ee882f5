"""Alignment of a blueprint's elements to those of every chain of a library at once.

The alignment of secondary-structure elements by dynamic programming (after Needleman & Wunsch,
1970) runs over all chains together: one array operation for each cell of the table. Agreement of
pairing then enters as a bonus that depends on the alignment so far, as in double dynamic
programming (Taylor & Orengo, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.typing import FloatArray, IntArray

_STEPS: Final = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1))
"""Moves in the table: elements passed in the blueprint and in the chain; (1, 1) skips none."""

_IMPOSSIBLE: Final = -1e6


@dataclass(frozen=True, slots=True)
class Weights:
    """What a match, a difference and a gap cost, in residues.

    Fitted on training chains as queries, so that the score follows the TM-score of the hit.
    """

    length: float = 0.6
    loop: float = 0.25
    loop_limit: float = 20.0
    skip_asked: float = 0.9
    skip_found: float = 0.5
    skip_end: float = 0.15
    strand: float = 1.8
    pair_same: float = 2.0
    pair_missing: float = 1.0
    pair_other: float = 1.5
    pair_near: float = 0.3
    pair_extra: float = 0.7
    pair_extra_helix: float = 0.3


WEIGHTS: Final = Weights()


def residue_value(kind: IntArray, length: IntArray, weights: Weights = WEIGHTS) -> FloatArray:
    """Worth of an element: residues, where one of a strand counts more (it reaches farther)."""
    return np.asarray(length * np.where(kind == 1, weights.strand, 1.0), dtype=np.float64)


def match_scores(
    query: ElementTable, table: ElementTable, weights: Weights = WEIGHTS
) -> FloatArray:
    """Score of laying every element of the blueprint on every element of each chain.

    Parameters
    ----------
    query : ElementTable
        The blueprint, as a table of one chain.
    table : ElementTable
        The library.
    weights : Weights
        Costs.

    Returns
    -------
    ndarray, shape=(asked, element, chain), dtype=float32
        Impossible where the kinds differ.
    """
    asked = (query.stop - query.start)[0][:, None, None]
    found = (table.stop - table.start).T[None]
    kind = query.kind[0][:, None, None]
    shared = np.minimum(asked, found) - weights.length * np.abs(asked - found)
    value = residue_value(kind, shared, weights)
    return np.where(kind == table.kind.T[None], value, _IMPOSSIBLE).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """Arrays of the table of one alignment that every cell needs; element first, chain last."""

    asked_sum: FloatArray
    found_sum: FloatArray
    asked_start: IntArray
    asked_stop: IntArray
    found_start: IntArray
    found_stop: IntArray

    @classmethod
    def of(cls, query: ElementTable, table: ElementTable, weights: Weights) -> _Costs:
        asked = residue_value(query.kind[0], query.stop[0] - query.start[0], weights)
        found = residue_value(table.kind, table.stop - table.start, weights).T
        return cls(
            np.concatenate([[0.0], np.cumsum(asked)]).astype(np.float32),
            np.concatenate([np.zeros_like(found[:1]), np.cumsum(found, axis=0)]).astype(np.float32),
            query.start[0],
            query.stop[0],
            np.ascontiguousarray(table.start.T),
            np.ascontiguousarray(table.stop.T),
        )


def _cell(
    i: int, j: int, best: FloatArray, costs: _Costs, weights: Weights
) -> tuple[FloatArray, IntArray]:
    """Best way, for every chain, to reach the match of asked element i and found element j."""
    top = -weights.skip_asked * costs.asked_sum[i] - weights.skip_end * costs.found_sum[j]
    move = np.full(top.size, -1, dtype=np.int8)
    for number, (di, dj) in enumerate(_STEPS):
        if di > i or dj > j:
            continue
        span = costs.asked_start[i] - costs.asked_stop[i - di]
        change = np.abs(costs.found_start[j] - costs.found_stop[j - dj] - span)
        value = best[i - di, j - dj] - weights.loop * np.minimum(change, weights.loop_limit)
        if di > 1:
            value -= weights.skip_asked * (costs.asked_sum[i] - costs.asked_sum[i - di + 1])
        if dj > 1:
            value -= weights.skip_found * (costs.found_sum[j] - costs.found_sum[j - dj + 1])
        move[value > top] = number
        np.maximum(top, value, out=top)
    return top, move


def align(
    query: ElementTable, table: ElementTable, match: FloatArray, weights: Weights = WEIGHTS
) -> tuple[FloatArray, IntArray]:
    """Align the blueprint to every chain.

    Parameters
    ----------
    query, table : ElementTable
        The blueprint, as a table of one chain, and the library.
    match : ndarray, shape=(asked, element, chain)
        Scores of single matches.
    weights : Weights
        Costs.

    Returns
    -------
    score : ndarray, shape=(chain,)
        Of the best alignment.
    element_map : ndarray, shape=(chain, asked)
        Element of the chain for each element of the blueprint; -1 for none.
    """
    costs = _Costs.of(query, table, weights)
    best = np.empty_like(match)
    came = np.empty(match.shape, dtype=np.int8)
    for i in range(match.shape[0]):
        for j in range(match.shape[1]):
            top, came[i, j] = _cell(i, j, best, costs, weights)
            best[i, j] = top + match[i, j]
    tail = weights.skip_asked * (costs.asked_sum[-1] - costs.asked_sum[1:])
    rest = weights.skip_end * (costs.found_sum[-1] - costs.found_sum[1:])
    return _trace(best - tail[:, None, None] - rest[None], came)


def _trace(total: FloatArray, came: IntArray) -> tuple[FloatArray, IntArray]:
    """Walk back from the best last match of every chain."""
    asked, width, chains = total.shape
    flat = total.reshape(asked * width, chains)
    last = flat.argmax(axis=0)
    everyone = np.arange(chains)
    score = flat[last, everyone]
    i, j = last // width, last % width
    element_map = np.full((chains, asked), -1, dtype=np.int64)
    moves = np.array([*_STEPS, (0, 0)])
    alive = score > _IMPOSSIBLE / 2
    for _ in range(asked):
        element_map[everyone[alive], i[alive]] = j[alive]
        number = came[i, j, everyone]
        alive &= number >= 0
        step = moves[number]
        i = np.where(alive, i - step[:, 0], i)
        j = np.where(alive, j - step[:, 1], j)
    return score, element_map


def _agreement(weights: Weights) -> FloatArray:
    """Reward of (kind, asked code, found code): the same pair, another, a missing or extra one."""
    reward = np.full((2, 4, 4), -weights.pair_other)
    reward[:, :, 0] = -weights.pair_missing
    reward[:, 0, :] = -weights.pair_extra
    reward[0, 0, :] = -weights.pair_extra_helix
    reward[:, 0, 0] = 0.0
    reward[:, range(1, 4), range(1, 4)] = weights.pair_same
    reward[0, [1, 2, 3, 3], [3, 3, 1, 2]] = weights.pair_near
    return reward


def _pair_size(query: ElementTable, weights: Weights) -> FloatArray:
    """Worth of each pair: that of its shorter element."""
    value = residue_value(query.kind[0], query.stop[0] - query.start[0], weights)
    return np.minimum(value[:, None], value[None, :])


def pairing_score(
    query: ElementTable, table: ElementTable, element_map: IntArray, weights: Weights = WEIGHTS
) -> FloatArray:
    """Agreement of pairing under an alignment, in residues of paired elements.

    Parameters
    ----------
    query, table : ElementTable
        The blueprint, as a table of one chain, and the library.
    element_map : ndarray, shape=(chain, asked)
        Alignment of every chain.
    weights : Weights
        Rewards and costs.

    Returns
    -------
    ndarray, shape=(chain,)
        Rewards of pairs that both have in one orientation, less the costs of the others.
    """
    rows = np.arange(table.kind.shape[0])[:, None, None]
    mapped = element_map >= 0
    found = table.pairs[rows, element_map[:, :, None], element_map[:, None, :]]
    reward = _agreement(weights)[query.kind[0][:, None], query.pairs[0], found]
    missing = np.where(query.pairs[0] > 0, -weights.pair_missing, 0.0)
    both = mapped[:, :, None] & mapped[:, None, :]
    return (np.where(both, reward, missing) * _pair_size(query, weights)).sum((1, 2)) / 2


def pairing_bonus(
    query: ElementTable, table: ElementTable, element_map: IntArray, weights: Weights = WEIGHTS
) -> FloatArray:
    """Reward for each single match if all other matches stay as they are.

    Parameters
    ----------
    query, table, element_map, weights
        As for :func:`pairing_score`.

    Returns
    -------
    ndarray, shape=(asked, element, chain), dtype=float32
        To be added to the scores of single matches in the next alignment.
    """
    chains, width = table.kind.shape
    rows = np.arange(chains)[:, None]
    found = table.pairs[rows, element_map]
    mapped = (element_map >= 0)[:, :, None]
    reward, size = _agreement(weights), _pair_size(query, weights)
    bonus = np.empty((element_map.shape[1], width, chains), dtype=np.float32)
    for i in range(element_map.shape[1]):
        single = reward[query.kind[0, i], query.pairs[0, i][None, :, None], found]
        others = mapped.copy()
        others[:, i] = False
        bonus[i] = (single * others * size[i][None, :, None]).sum(axis=1).T
    return bonus


def align_with_pairing(
    query: ElementTable, table: ElementTable, rounds: int = 2, weights: Weights = WEIGHTS
) -> tuple[FloatArray, IntArray]:
    """Align by elements, then again with the agreement of pairing of the alignment before.

    Parameters
    ----------
    query, table, weights
        As for :func:`align`.
    rounds : int
        Alignments with a bonus.

    Returns
    -------
    score : ndarray, shape=(chain,)
        Elements plus pairing, of the best round.
    element_map : ndarray, shape=(chain, asked)
        The alignment of that round.
    """
    match = match_scores(query, table, weights)
    score, element_map = align(query, table, match, weights)
    score = score + pairing_score(query, table, element_map, weights)
    rows = np.arange(table.kind.shape[0])
    asked = np.arange(element_map.shape[1])[:, None]
    latest = element_map
    for _ in range(rounds):
        bonus = pairing_bonus(query, table, latest, weights)
        value, latest = align(query, table, match + bonus, weights)
        given = np.where(latest.T >= 0, bonus[asked, latest.T, rows], 0.0).sum(axis=0)
        value = value - given + pairing_score(query, table, latest, weights)
        better = value > score
        score = np.where(better, value, score)
        element_map = np.where(better[:, None], latest, element_map)
    return score, element_map

"""What an alignment of elements says about a fold: features, and a first estimate of its TM-score.

The expected TM-score is a linear function of the features and their square roots, fitted on
training chains as queries. It is quick enough for hundreds of chains.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protein_lab.design.element_table import ElementTable
from protein_lab.typing import FloatArray, IntArray

_COEFFICIENTS: Final = {
    "match_helix": (0.0403, 0.0549),
    "change_helix": (-0.2502, -0.2447),
    "lost_helix": (-0.8818, -0.0323),
    "match_strand": (-0.3144, 0.0994),
    "change_strand": (-0.3373, -0.2848),
    "lost_strand": (-0.8958, -0.0497),
    "loop": (0.0086, -0.0722),
    "loop_capped": (-0.0579, -0.1443),
    "loop_other": (0.0457, -0.0430),
    "loop_same": (0.2394, -0.0962),
    "inserted": (0.0270, -0.0240),
    "insertions": (-0.0411, -0.0119),
    "overhang": (0.0092, -0.0459),
    "cut": (-0.0092, 0.0022),
    "start": (0.0222, -0.0398),
    "end": (0.0246, -0.0553),
    "length": (0.0124, -0.0096),
    "pair_helix": (-0.1094, 0.1411),
    "no_pair_helix": (-0.2541, 0.0007),
    "turned_helix": (-0.2571, 0.0615),
    "new_pair_helix": (-0.2152, -0.0385),
    "pair_strand": (0.3157, 0.1379),
    "no_pair_strand": (-0.1320, -0.1065),
    "turned_strand": (0.5580, -0.1452),
    "new_pair_strand": (0.0040, -0.1473),
}
"""Weight of each feature and of its square root, fitted by ridge regression on 240 queries.

All features but ``overhang`` and ``cut`` are shares of the blueprint's residues, elements or loops.
"""

_LOG_LENGTH: Final = 0.0411
_ELEMENTS: Final = 1.4681
_CONSTANT: Final = 0.4462
_CALIBRATION: Final = (1.470, -0.301)
"""The first few hits of a query are better than the regression on all says: scale and offset."""

_LOOP_CAP: Final = 8
_TAIL_CAP: Final = 15
_LOOP_OTHER: Final = 3


def expected_tm(query: ElementTable, table: ElementTable, element_map: IntArray) -> FloatArray:
    """Estimate the TM-score that each aligned fold will have to the wanted one.

    Parameters
    ----------
    query, table : ElementTable
        The blueprint, as a table of one chain, and the chains.
    element_map : ndarray, shape=(chain, asked)
        Element of the chain for each element of the blueprint; -1 for none.

    Returns
    -------
    ndarray, shape=(chain,)
        Estimates, comparable between blueprints; not limited to 0..1.
    """
    features = alignment_features(query, table, element_map)
    value = np.full(len(element_map), _CONSTANT + _LOG_LENGTH * np.log(query.length[0]))
    value += _ELEMENTS * element_map.shape[1] / query.length[0]
    for name, (linear, root) in _COEFFICIENTS.items():
        value += linear * features[name] + root * np.sqrt(np.maximum(features[name], 0.0))
    return _CALIBRATION[0] * value + _CALIBRATION[1]


def alignment_features(
    query: ElementTable, table: ElementTable, element_map: IntArray
) -> dict[str, FloatArray]:
    """Measure what alignments match, change, lose and add.

    Parameters
    ----------
    query, table, element_map
        As for :func:`expected_tm`.

    Returns
    -------
    dict of str to ndarray, shape=(chain,)
        Not negative; by the names that the estimate and the ranking use.
    """
    return {
        **_element_features(query, table, element_map),
        **_loop_features(query, table, element_map),
        **_pair_features(query, table, element_map),
    }


def _element_features(
    query: ElementTable, table: ElementTable, element_map: IntArray
) -> dict[str, FloatArray]:
    """Residues of elements that match, change in length, or have no counterpart."""
    rows = np.arange(len(element_map))[:, None]
    mapped = element_map >= 0
    asked = (query.stop - query.start)[0]
    found = (table.stop - table.start)[rows, element_map]
    features = {}
    for kind, name in enumerate(("helix", "strand")):
        here = mapped & (query.kind[0] == kind)
        lost = ~mapped & (query.kind[0] == kind)
        features[f"match_{name}"] = np.where(here, np.minimum(asked, found), 0).sum(axis=1)
        features[f"change_{name}"] = np.where(here, np.abs(asked - found), 0).sum(axis=1)
        features[f"lost_{name}"] = np.where(lost, asked, 0).sum(axis=1)
    return {name: value / query.length[0] for name, value in features.items()}


def _loop_features(
    query: ElementTable, table: ElementTable, element_map: IntArray
) -> dict[str, FloatArray]:
    """Count changes of loops, elements of the chain skipped or left over, and the ends."""
    chains, asked = element_map.shape
    length = float(query.length[0])
    rows = np.arange(chains)
    mapped = element_map >= 0
    size = table.stop - table.start
    before = np.concatenate([np.zeros((chains, 1)), np.cumsum(size, axis=1)], axis=1)
    names = ("loop", "loop_capped", "loop_other", "loop_same", "inserted", "insertions")
    total: dict[str, FloatArray] = {name: np.zeros(chains) for name in names}
    previous = np.full(chains, -1)
    for i in range(asked):
        ok = mapped[:, i] & (previous >= 0)
        here, last = element_map[:, i], element_map[rows, previous]
        span = query.start[0, i] - query.stop[0, previous]
        change = np.where(ok, np.abs(table.start[rows, here] - table.stop[rows, last] - span), 0)
        skipped = np.where(ok, before[rows, here] - before[rows, last + 1], 0.0)
        total["loop"] += change / length
        total["loop_capped"] += np.minimum(change, _LOOP_CAP) / length
        total["loop_other"] += (change > _LOOP_OTHER) / asked
        total["loop_same"] += (ok & (change == 0)) / asked
        total["inserted"] += skipped / length
        total["insertions"] += (skipped > 0) / asked
        previous = np.where(mapped[:, i], i, previous)
    count = (table.kind >= 0).sum(axis=1)
    first = np.where(mapped, element_map, table.kind.shape[1]).min(axis=1)
    last = element_map.max(axis=1)
    head = table.start[rows, np.minimum(first, count - 1)] - query.start[0, 0]
    tail = table.length - table.stop[rows, last] - (query.length[0] - query.stop[0, -1])
    over = before[rows, first] + before[:, -1] - before[rows, last + 1]
    ends: dict[str, FloatArray] = {
        "overhang": over / length,
        "cut": (first > 0).astype(float) + (last < count - 1),
        "start": np.minimum(np.abs(head), _TAIL_CAP) / length,
        "end": np.minimum(np.abs(tail), _TAIL_CAP) / length,
        "length": np.abs(np.log(table.length / length)),
    }
    return total | ends


def _pair_features(
    query: ElementTable, table: ElementTable, element_map: IntArray
) -> dict[str, FloatArray]:
    """Residues in pairs that the fold has too, lacks, has in another orientation, or adds."""
    rows = np.arange(len(element_map))[:, None, None]
    mapped = element_map >= 0
    both = mapped[:, :, None] & mapped[:, None, :]
    asked = query.pairs[0]
    found = table.pairs[rows, element_map[:, :, None], element_map[:, None, :]]
    found = np.where(both, found, 0)
    size = (query.stop - query.start)[0]
    share = np.minimum(size[:, None], size[None, :]) / query.length[0] / 2
    groups = {
        "pair": (asked > 0) & (found == asked),
        "no_pair": (asked > 0) & (found == 0),
        "turned": (asked > 0) & (found > 0) & (found != asked),
        "new_pair": (asked == 0) & (found > 0),
    }
    return {
        f"{group}_{name}": np.where(where & (query.kind[0] == kind)[:, None], share, 0).sum((1, 2))
        for group, where in groups.items()
        for kind, name in enumerate(("helix", "strand"))
    }

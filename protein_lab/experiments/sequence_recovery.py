"""How well the sequence operator gives back the amino acids of held-out chains.

Two baselines are fitted on the training split in the same run: how frequent amino acids are, and
how frequent they are in each secondary-structure state at each degree of burial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.constants import AMINO_ACIDS, SECONDARY_STRUCTURE_STATES
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.design.sequences import design_sequences, sequence_stream
from protein_lab.experiments.rows import Row
from protein_lab.geometry import virtual_cb
from protein_lab.models.sequence import NUM_TYPES, SequenceOperator
from protein_lab.models.sequence_inputs import collate_backbones, residue_types, visibility
from protein_lab.models.weights import load_sequence_operator
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

RECOVERY_FLOOR: Final = 38.0
PERPLEXITY_FLOOR: Final = 6.5
BURIAL_REACH: Final = 10.0
"""Distance of virtual CB atoms up to which residues count as neighbors, angstrom."""

BURIAL_BINS: Final = (4, 7, 10, 13, 16, 19, 22, 25)
TEMPERATURES: Final = (0.1, 0.5)
"""Temperatures that sequences are drawn at."""

_SEED: Final = 20
_RESAMPLES: Final = 2000
_BATCH_RESIDUES: Final = 1500
_PRIOR_COUNT: Final = 10.0
_LEVELS: Final = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True, slots=True, eq=False)
class ChainScores:
    """Probabilities for the residues of one chain whose type is known.

    Attributes
    ----------
    residues : ndarray of int, shape=(residue,)
    given : dict of str to ndarray, shape=(residue, 20)
        Probabilities by the name of what gives them.
    """

    residues: NDArray[np.int32]
    given: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ResidueCalibration:
    """How often an amino acid occurs where the operator expects it, from the backbone alone.

    Attributes
    ----------
    residue : str
    observed, expected : float
        Share of residues of this type, and mean probability of it, percent.
    recovery : float
        Share of its residues that are given back, percent.
    error : float
        Mean difference of observed and expected share over ten levels of probability, weighted
        by the number of residues, percent.
    """

    residue: str
    observed: float
    expected: float
    recovery: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class SequenceReport:
    """Figures of one run.

    Attributes
    ----------
    rows : list of Row
    calibration : list of ResidueCalibration
    """

    rows: list[Row] = field(default_factory=list)
    calibration: list[ResidueCalibration] = field(default_factory=list)


def run_sequence_recovery(
    split: str = "test",
    backend: str = "auto",
    folder: Path | None = None,
    num_chains: int | None = None,
    noise: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> SequenceReport:
    """Measure recovery and perplexity of the operator and of the baselines.

    Parameters
    ----------
    split : str
        Split of the corpus to measure on.
    backend : str
    folder : Path, optional
        Where the weights lie; the shipped ones by default.
    num_chains : int, optional
        A random selection of so many chains instead of all.
    noise : float
        Standard deviation of noise that is added to every coordinate, angstrom. The baselines
        are not disturbed, and the floors hold for backbones as they were measured only.
    progress : callable, optional
        Called with the numbers of finished and of all chains, once for each temperature.

    Returns
    -------
    SequenceReport
    """
    corpus = Corpus.open()
    operator = load_sequence_operator(backend, folder=folder)
    chains = corpus.indices(split)
    if num_chains is not None:
        rng = np.random.default_rng(_SEED)
        chains = np.sort(rng.choice(chains, min(num_chains, len(chains)), replace=False))
    baselines = Baselines.fit(corpus)
    scores = [
        ChainScores(item.residues, item.given | baselines.of(corpus, index, item.residues))
        for index, item in score_chains(operator, corpus, chains, noise)
    ]
    rows = _rows(scores, has_floors=noise == 0.0)
    native = [residue_types(corpus.sequence(int(index))) for index in chains]
    for temperature in TEMPERATURES:
        made = _draw_chains(operator, corpus, chains, noise, temperature, progress)
        drawn = [residue_types(text) for text in made]
        rows += _drawn_rows(drawn, native, temperature)
    return SequenceReport(rows, calibrate(scores))


def _draw_chains(
    operator: SequenceOperator,
    corpus: Corpus,
    chains: NDArray[np.integer],
    noise: float,
    temperature: float,
    progress: Callable[[int, int], None] | None,
) -> Iterator[str]:
    """Draw one sequence for each chain, the way designs get theirs."""
    options = SequenceOptions(num_sequences=1, temperature=temperature)
    for number, index in enumerate(chains, start=1):
        stream = sequence_stream(_SEED, int(index))
        backbone = _disturbed(corpus, int(index), noise)
        made = design_sequences(operator, backbone, options, stream)
        yield made[0].sequence
        if progress is not None:
            progress(number, len(chains))


def _disturbed(corpus: Corpus, index: int, noise: float) -> FloatArray:
    """Give a backbone with noise that depends on its chain alone."""
    backbone = np.asarray(corpus.backbone(index), dtype=np.float64)
    rng = np.random.default_rng([_SEED, index, 1])
    return backbone + noise * rng.standard_normal(backbone.shape)


def _drawn_rows(
    drawn: Sequence[NDArray[np.int32]],
    native: Sequence[NDArray[np.int32]],
    temperature: float,
) -> list[Row]:
    """Recovery of drawn sequences, and how far their composition is from the native one."""
    picks = np.random.default_rng(_SEED).integers(len(drawn), size=(_RESAMPLES, len(drawn)))
    hits, sizes = np.zeros(len(drawn)), np.zeros(len(drawn))
    counts = np.zeros((2, len(drawn), NUM_TYPES))
    for number, (made, true) in enumerate(zip(drawn, native, strict=True)):
        known = true < NUM_TYPES
        hits[number], sizes[number] = (made == true)[known].sum(), known.sum()
        for side, codes in enumerate((made, true)):
            counts[side, number] = np.bincount(codes[known], minlength=NUM_TYPES)
    whole = np.arange(len(drawn))[None]
    apart = []
    for chosen in (whole, *picks[:, None]):
        share = counts[:, chosen[0]].sum(axis=1)
        share /= share.sum(axis=-1, keepdims=True)
        apart.append(50.0 * np.abs(share[0] - share[1]).sum())
    name = f"drawn at temperature {temperature:g}"
    return [
        _row(f"{name}: recovery", 100.0 * _ratio(hits, sizes, picks), "%", None, 1),
        _row(f"{name}: composition off", np.array(apart), "%", None, -1),
    ]


class Baselines:
    """Amino acid frequencies of the training split.

    Parameters
    ----------
    counts : ndarray, shape=(state, burial bin, 20)
    """

    def __init__(self, counts: NDArray[np.float64]) -> None:
        total = counts.sum(axis=(0, 1))
        self.background = total / total.sum()
        smoothed = counts + _PRIOR_COUNT * self.background
        self.local = smoothed / smoothed.sum(axis=-1, keepdims=True)

    @classmethod
    def fit(cls, corpus: Corpus, num_chains: int = 3000) -> Baselines:
        """Count residues in randomly chosen training chains."""
        counts = np.zeros((len(SECONDARY_STRUCTURE_STATES), len(BURIAL_BINS) + 1, NUM_TYPES))
        pool = corpus.indices("train")
        picked = np.random.default_rng(_SEED).permutation(pool)[:num_chains]
        for index in picked:
            residues = residue_types(corpus.sequence(int(index)))
            known = residues < NUM_TYPES
            state, burial = _surroundings(corpus, int(index))
            np.add.at(counts, (state[known], burial[known], residues[known]), 1.0)
        return cls(counts)

    def of(
        self, corpus: Corpus, index: int, residues: NDArray[np.int32]
    ) -> dict[str, NDArray[np.float64]]:
        """Give the probabilities of both baselines for the known residues of a chain."""
        known = residue_types(corpus.sequence(index)) < NUM_TYPES
        state, burial = _surroundings(corpus, index)
        return {
            "background frequencies": np.tile(self.background, (len(residues), 1)),
            "state and burial": self.local[state[known], burial[known]],
        }


def _surroundings(corpus: Corpus, index: int) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Secondary-structure state and burial bin of every residue of a chain."""
    letters = corpus.secondary_structure(index)
    state = np.array([SECONDARY_STRUCTURE_STATES.index(letter) for letter in letters])
    place = virtual_cb(corpus.backbone(index))
    squared = ((place[:, None] - place[None]) ** 2).sum(-1)
    near = (squared < BURIAL_REACH**2).sum(axis=1) - 1
    return state, np.digitize(near, BURIAL_BINS)


def score_chains(
    operator: SequenceOperator,
    corpus: Corpus,
    chains: Sequence[int] | NDArray[np.integer],
    noise: float = 0.0,
) -> Iterator[tuple[int, ChainScores]]:
    """Score chains from the backbone alone, and residue by residue in one random order.

    Parameters
    ----------
    operator : SequenceOperator
    corpus : Corpus
    chains : sequence of int
    noise : float
        Standard deviation of noise on every coordinate, angstrom.

    Yields
    ------
    tuple of int and ChainScores
        ``from the backbone`` and ``in random order``.
    """
    by_length = sorted((int(index) for index in chains), key=lambda k: int(corpus.lengths[k]))
    start = 0
    while start < len(by_length):
        stop = start + 1
        while (
            stop < len(by_length)
            and (stop + 1 - start) * corpus.lengths[by_length[stop]] <= _BATCH_RESIDUES
        ):
            stop += 1
        yield from _score_batch(operator, corpus, by_length[start:stop], noise)
        start = stop


def _score_batch(
    operator: SequenceOperator, corpus: Corpus, chains: Sequence[int], noise: float
) -> Iterator[tuple[int, ChainScores]]:
    xp = operator.backend
    inputs = collate_backbones(
        xp, [_disturbed(corpus, index, noise) for index in chains], operator.config.neighbors
    )
    residues = np.full(tuple(inputs.weight.shape), NUM_TYPES, dtype=np.int32)
    order = np.zeros(residues.shape, dtype=np.int64)
    for row, index in enumerate(chains):
        own = residue_types(corpus.sequence(index))
        residues[row, : len(own)] = own
        # the order of a chain must not depend on what else is in the batch
        order[row, : len(own)] = np.random.default_rng([_SEED, index]).permutation(len(own))
    encoded = operator.embed(inputs)
    visible = xp.asarray(visibility(order, xp.to_numpy(inputs.partner)), "int32")
    first = _probabilities(xp.to_numpy(operator.first_logits(encoded)))
    final = operator.predict(encoded, xp.asarray(residues, "int32"), visible)
    final = _probabilities(xp.to_numpy(final))
    for row, index in enumerate(chains):
        known = residues[row] < NUM_TYPES
        given = {"from the backbone": first[row, known], "in random order": final[row, known]}
        yield index, ChainScores(residues[row, known], given)


def _probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _rows(scores: Sequence[ChainScores], has_floors: bool) -> list[Row]:
    """Make rows with bootstrap intervals over chains."""
    sizes = np.array([len(item.residues) for item in scores], dtype=np.float64)
    picks = np.random.default_rng(_SEED).integers(len(scores), size=(_RESAMPLES, len(scores)))
    rows: list[Row] = []
    for name in scores[0].given:
        hits, losses = np.zeros(len(scores)), np.zeros(len(scores))
        for number, item in enumerate(scores):
            given = item.given[name]
            hits[number] = (given.argmax(axis=-1) == item.residues).sum()
            own = np.take_along_axis(given, item.residues[:, None], axis=-1)[:, 0]
            losses[number] = -np.log(np.maximum(own, 1e-9)).sum()
        is_first = name == "from the backbone"
        is_operator = is_first or name == "in random order"
        least = RECOVERY_FLOOR if is_first and has_floors else None
        most = PERPLEXITY_FLOOR if is_operator and has_floors else None
        recovered = 100.0 * _ratio(hits, sizes, picks)
        rows.append(_row(f"{name}: recovery", recovered, "%", least, 1))
        perplexity = np.exp(_ratio(losses, sizes, picks))
        rows.append(_row(f"{name}: perplexity", perplexity, "", most, -1))
        if is_first:
            by_chain = 100.0 * hits / sizes
            middle = np.median(np.concatenate([by_chain[None], by_chain[picks]]), axis=1)
            rows.append(_row(f"{name}: median recovery of a chain", middle, "%", None, 1))
    return rows


def _ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], picks: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Pooled ratio over all chains, then over each selection."""
    whole = numerator.sum() / denominator.sum()
    drawn = numerator[picks].sum(axis=1) / denominator[picks].sum(axis=1)
    return np.concatenate([[whole], drawn])


def _row(name: str, values: NDArray[np.float64], unit: str, floor: float | None, sign: int) -> Row:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    value = float(values[0])
    reached = floor is None or sign * value >= sign * floor
    note = "" if floor is None else ("At least." if sign > 0 else "At most.")
    return Row(name, value, float(low), float(high), unit, floor, reached, note)


def calibrate(scores: Sequence[ChainScores]) -> list[ResidueCalibration]:
    """Compare expected and observed frequencies of each amino acid.

    Parameters
    ----------
    scores : sequence of ChainScores
        With probabilities ``from the backbone``.
    """
    residues = np.concatenate([item.residues for item in scores])
    given = np.concatenate([item.given["from the backbone"] for item in scores])
    best = given.argmax(axis=-1)
    table = []
    for code in range(NUM_TYPES):
        own, expected = residues == code, given[:, code]
        level = np.clip(np.digitize(expected, _LEVELS) - 1, 0, len(_LEVELS) - 2)
        gaps = [
            abs(float(own[level == k].sum() - expected[level == k].sum()))
            for k in range(len(_LEVELS) - 1)
        ]
        table.append(
            ResidueCalibration(
                AMINO_ACIDS[code],
                100.0 * float(own.mean()),
                100.0 * float(expected.mean()),
                100.0 * float((best[own] == code).mean()) if own.any() else float("nan"),
                100.0 * sum(gaps) / len(residues),
            )
        )
    return table

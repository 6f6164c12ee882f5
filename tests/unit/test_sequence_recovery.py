"""The benchmark of the sequence operator: figures that can be worked out by hand, and one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import DesignedSequence
from protein_lab.experiments.designed_sequences import (
    DrawnCounts,
    composition_rows,
    run_designed_sequences,
)
from protein_lab.experiments.sequence_recovery import (
    Baselines,
    ChainScores,
    calibrate,
    run_sequence_recovery,
    score_chains,
)
from protein_lab.models.sequence import SequenceConfig, SequenceOperator
from protein_lab.models.sequence_inputs import residue_types
from protein_lab.models.weights import save_weights
from protein_lab.testing.results import ideal_helix_design
from protein_lab.training.corpus import Corpus

SMALL = SequenceConfig(
    channels=16, pair_channels=8, heads=2, neighbors=12, encoder_blocks=1, decoder_blocks=1
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small operator."""
    folder = tmp_path_factory.mktemp("weights")
    params = SequenceOperator.initialize(SMALL, np.random.default_rng(0))
    save_weights(params, folder, "sequence", SMALL, {})
    return folder


def test_a_run_gives_every_figure_and_misses_floors_untrained(weights: Path) -> None:
    """Without training the operator guesses; the baselines do better, and floors are missed."""
    seen: list[tuple[int, int]] = []
    report = run_sequence_recovery(
        "calibration",
        "numpy",
        weights,
        6,
        progress=lambda done, all_: seen.append((done, all_)),
    )
    rows = {row.name: row for row in report.rows}
    guess = rows["from the backbone: perplexity"].value
    assert guess == pytest.approx(20.0, rel=0.1)
    assert not rows["from the backbone: perplexity"].ok
    assert not rows["from the backbone: recovery"].ok
    assert not rows["in random order: perplexity"].ok
    background = rows["background frequencies: perplexity"].value
    local = rows["state and burial: perplexity"].value
    assert background is not None
    assert local is not None
    assert 10.0 < local < background < 20.0
    for row in report.rows:
        assert row.value is not None
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high or "median" in row.name or "off" in row.name
    off = rows["drawn at temperature 0.1: composition off"].value
    assert off is not None
    assert 0.0 <= off <= 100.0
    assert seen[-1] == (6, 6)
    assert "".join(item.residue for item in report.calibration) == "ARNDCQEGHILKMFPSTWYV"


def test_scores_do_not_depend_on_the_batch(weights: Path) -> None:
    """A chain has the same probabilities alone and among others."""
    corpus = Corpus.open()
    xp = get_backend("numpy")
    params = SequenceOperator.initialize(SMALL, np.random.default_rng(0))
    operator = SequenceOperator(SMALL, params, xp)
    chains = corpus.indices("test", 40, 80)[:4]
    together = dict(score_chains(operator, corpus, chains))
    assert sorted(together) == sorted(chains.tolist())
    for index in chains.tolist():
        ((_, alone),) = score_chains(operator, corpus, [index])
        for name, given in alone.given.items():
            np.testing.assert_allclose(together[index].given[name], given, atol=1e-5)


def test_baselines_are_distributions_of_the_training_split() -> None:
    """Frequencies sum to one; glycine is commoner in loops, leucine where it is buried."""
    baselines = Baselines.fit(Corpus.open(), 60)
    np.testing.assert_allclose(baselines.local.sum(axis=-1), 1.0)
    np.testing.assert_allclose(baselines.background.sum(), 1.0)
    helix, _, loop = baselines.local
    assert loop[2, 7] > helix[2, 7]
    assert helix[6, 10] > helix[1, 10]


def test_calibration_tells_true_from_false_confidence() -> None:
    """Probabilities that equal the frequencies have no error; doubled confidence has one."""
    rng = np.random.default_rng(0)
    given = rng.dirichlet(np.full(20, 0.3), size=40_000)
    residues = (given.cumsum(axis=1) > rng.random((len(given), 1))).argmax(axis=1)
    honest = calibrate([_scores(residues, given)])
    sharper = given**2 / (given**2).sum(axis=1, keepdims=True)
    vain = calibrate([_scores(residues, sharper)])
    assert max(item.error for item in honest) < 0.35
    assert np.mean([item.error for item in vain]) > 3 * np.mean([item.error for item in honest])
    assert sum(item.observed for item in honest) == pytest.approx(100.0)


def _scores(residues: np.ndarray, given: np.ndarray) -> ChainScores:
    return ChainScores(residues.astype(np.int32), {"from the backbone": given})


def test_composition_can_be_worked_out_by_hand() -> None:
    """A helix of glycine and a loop of alanine, against a background of one half each."""
    made = DesignedSequence(
        sequence="G" * 20 + "A" * 4, score=-1.0, probability=(0.4,) * 24, entropy=(1.0,) * 24
    )
    backbone = ideal_helix_design(0, 24).backbone
    counted = DrawnCounts.of(backbone, made)
    glycine, alanine = (int(residue_types(letter)[0]) for letter in "GA")
    assert (counted.residues[glycine], counted.residues[alanine]) == (20, 4)
    background = np.zeros(20)
    background[[glycine, alanine]] = 0.5
    rows = {row.name: row for row in composition_rows("x", [counted] * 3, background)}
    assert rows["x: perplexity"].value == pytest.approx(np.e)
    assert rows["x: composition off"].value == pytest.approx(100.0 * (20 / 24 - 0.5))
    inside = counted.helix[glycine] / counted.helix.sum()
    assert rows["x: glycine in helices"].value == pytest.approx(100.0 * inside)
    assert rows["x: perplexity"].low == pytest.approx(np.e)
    (nothing,) = composition_rows("x", [], background)
    assert nothing.value == 0.0


def test_designs_are_compared_with_native_backbones() -> None:
    """Both get the same figures, the designs from the request that was given."""
    request = DesignRequest(length=40, steps=2, samples_per_design=1, seed=1)
    rows = run_designed_sequences(2, "numpy", [request])
    assert [row.name.split(": ")[0] for row in rows] == ["native backbones"] * 3 + ["designs"] * 3
    assert {row.note for row in rows} == {"2 backbones."}
    perplexity = [row.value for row in rows if row.name.endswith("perplexity")]
    assert all(value is not None and 1.0 < value < 20.0 for value in perplexity)

"""Predicted quality: the operator, its decoys, its calibration, and what the weights can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from protein_lab.backends import get_backend
from protein_lab.errors import GeometryError, ProteinLabError, WeightsError
from protein_lab.experiments.decoys import NATIVE, DecoyMaker, Decoys, make_decoys, read_decoys
from protein_lab.experiments.predictor_benchmark import judge, run_predictor
from protein_lab.experiments.predictor_calibration import fit_curve, fit_quality
from protein_lab.experiments.predictor_data import Model, models_of
from protein_lab.experiments.predictor_plots import draw_quality
from protein_lab.experiments.predictor_run import write_quality
from protein_lab.experiments.predictor_training import OPTIONS, train_quality
from protein_lab.metrics import lddt
from protein_lab.models.quality import QualityConfig, QualityOperator
from protein_lab.models.weights import load_operator, load_quality_operator
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray
from protein_lab.validation import validate
from protein_lab.validation.quality import QualityPredictor, raw_predictions

CORPUS = Corpus.open()
SMALL = QualityConfig(channels=16, pair_channels=8, heads=2, neighbors=8, blocks=2)


def some(split: str, count: int) -> list[int]:
    """Choose short chains with helices and strands, whose residues are all known."""
    order = np.random.default_rng(4).permutation(CORPUS.indices(split, 50, 80))
    known = [int(i) for i in order if "X" not in CORPUS.sequence(int(i))]
    usual = [i for i in known if {"H", "E"} <= set(CORPUS.secondary_structure(i))]
    return usual[:count]


@pytest.fixture(scope="module")
def decoys(tmp_path_factory: pytest.TempPathFactory) -> list[Decoys]:
    """Make decoys of two test chains, every kind once."""
    folder = tmp_path_factory.mktemp("decoys")
    operator = load_operator("enhanced_deeponet")
    return list(make_decoys(lambda: DecoyMaker(operator, CORPUS), some("test", 2), 7, folder))


@pytest.fixture(scope="module")
def models(decoys: list[Decoys]) -> list[Model]:
    """Lay the decoys out."""
    return models_of(decoys, CORPUS)


def untrained(backend: str) -> QualityOperator:
    """Draw an untrained operator whose output is not flat."""
    chosen = get_backend(backend)
    params = QualityOperator.initialize(SMALL, np.random.default_rng(0))
    params["head.out.weight"] = 30.0 * params["head.out.weight"]
    return QualityOperator(SMALL, {n: chosen.asarray(v) for n, v in params.items()}, chosen)


def raw(operator: QualityOperator, backbone: FloatArray, sequence: str | None) -> FloatArray:
    """Predict one chain."""
    return raw_predictions(operator, [backbone], [sequence])[0]


def test_backends_predict_the_same() -> None:
    """One set of weights gives one answer on NumPy, torch and JAX."""
    index = some("test", 1)[0]
    chain, sequence = CORPUS.backbone(index), CORPUS.sequence(index)
    expected = raw(untrained("numpy"), chain, sequence)
    assert expected.std() > 0.01
    for backend in ("torch", "jax"):
        found = raw(untrained(backend), chain, sequence)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_motion_changes_nothing_but_a_mirror_does() -> None:
    """A prediction belongs to the shape, hand included."""
    operator, index = untrained("numpy"), some("test", 1)[0]
    chain = np.asarray(CORPUS.backbone(index), dtype=np.float64)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    before = raw(operator, chain, None)
    np.testing.assert_allclose(raw(operator, chain @ turn.T + 40.0, None), before, atol=1e-4)
    assert np.abs(raw(operator, chain * [1.0, 1.0, -1.0], None) - before).max() > 0.01


def test_company_in_a_batch_changes_nothing() -> None:
    """Padding and neighbors in the batch must not leak into a prediction."""
    operator = untrained("numpy")
    chains = [CORPUS.backbone(index) for index in some("test", 3)]
    together = raw_predictions(operator, chains, [None] * 3)
    for chain, found in zip(chains, together, strict=True):
        np.testing.assert_allclose(found, raw(operator, chain, None), atol=1e-4)


def test_decoys_have_true_errors(decoys: list[Decoys]) -> None:
    """The truth is the lDDT to the real chain, and there are good and bad models."""
    for item in decoys:
        assert item.kinds[0] == NATIVE
        assert {"sampled", "fold", "torsions", "bend"} <= set(item.kinds)
        truth = lddt(item.backbones[:, :, 1], CORPUS.backbone(item.index)[:, 1])
        np.testing.assert_allclose(item.lddt, truth, atol=1e-4)
        means = item.lddt.mean(axis=1)
        assert means[0] > 0.99
        assert means.min() < 0.65


def test_decoys_are_kept_and_damage_is_told(decoys: list[Decoys], tmp_path: Path) -> None:
    """A chain gives the same decoys whenever it is made; a broken file is no decoy."""
    maker = DecoyMaker(load_operator("enhanced_deeponet"), CORPUS)
    index = decoys[0].index
    (again,) = make_decoys(lambda: maker, [index], 7, tmp_path)
    np.testing.assert_array_equal(again.backbones, decoys[0].backbones)
    path = tmp_path / f"{index}.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProteinLabError, match="cannot be read"):
        read_decoys(path)


def test_training_learns_and_is_repeatable(models: list[Model]) -> None:
    """A few steps on a few models lower the loss, and the same seed gives the same weights."""
    options = msgspec.structs.replace(OPTIONS, total_steps=12, warmup=2)
    one, two = (train_quality(models, get_backend("torch"), SMALL, options) for _ in range(2))
    assert one.loss == two.loss
    for name, value in one.params.items():
        np.testing.assert_array_equal(value, two.params[name])
    longer = msgspec.structs.replace(options, total_steps=30)
    assert train_quality(models, get_backend("torch"), SMALL, longer).loss < one.loss
    with pytest.raises(ProteinLabError, match="none"):
        train_quality([], get_backend("torch"), SMALL, options)


def test_curves_rise_and_their_interval_holds_nine_of_ten() -> None:
    """Calibration is monotonous, and covers what it has not seen."""
    rng = np.random.default_rng(0)
    chains = np.repeat(np.arange(80), 10)
    raw_values = rng.uniform(0.0, 1.0, len(chains))
    truth = np.clip(raw_values**2 + 0.05 * rng.standard_normal(len(chains)), 0.0, 1.0)
    curve = fit_curve(raw_values, truth, chains)
    assert (np.diff(curve.expected) >= 0.0).all()
    fresh = rng.uniform(0.0, 1.0, 4000)
    true = np.clip(fresh**2 + 0.05 * rng.standard_normal(4000), 0.0, 1.0)
    inside = np.abs(curve.apply(fresh) - true) <= curve.interval
    assert 0.87 < inside.mean() < 0.93


def test_written_weights_are_read_back(models: list[Model], tmp_path: Path) -> None:
    """What is trained, calibrated and written predicts the same when it is loaded."""
    options = msgspec.structs.replace(OPTIONS, total_steps=2, warmup=1)
    config = QualityConfig()
    found = train_quality(models, get_backend("torch"), config, options)
    write_quality(tmp_path, found, models, models, CORPUS, "protein-lab train quality --steps 2")
    operator = load_quality_operator("numpy", folder=tmp_path)
    assert operator.card["training"]["models"] == len(models)
    params: Any = found.params
    direct = QualityOperator(config, params, get_backend("numpy"))
    chain = models[0].backbone
    np.testing.assert_allclose(raw(operator, chain, None), raw(direct, chain, None), atol=1e-6)
    assert fit_quality(operator, models).chains == 2


def test_the_shipped_predictor_tells_natives_from_decoys(
    models: list[Model], tmp_path: Path
) -> None:
    """On test chains it ranks models, and says so in rows and in a picture."""
    predictor = QualityPredictor.load("numpy")
    judged = judge(predictor, models)
    truth = np.array([item.model.lddt.mean() for item in judged])
    score = np.array([item.known.score for item in judged])
    assert np.corrcoef(truth, score)[0, 1] > 0.6
    for item in judged:
        assert 0.0 <= item.known.low <= item.known.score <= item.known.high <= 1.0
        assert item.known.lddt.shape == item.model.lddt.shape
        assert ((item.known.lddt >= 0.0) & (item.known.lddt <= 1.0)).all()
    rows = {row.name: row for row in run_predictor(judged)}
    for name in (
        "rank correlation, residues",
        "rank correlation, models",
        "native above its decoys",
    ):
        row = rows[name]
        assert row.floor is not None
        assert row.value is not None
        assert row.ok == (row.value >= row.floor)
        assert (row.low or 0.0) <= row.value <= (row.high or 0.0)
    draw_quality(judged, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_bad_chains_and_cards_are_told(tmp_path: Path) -> None:
    """What cannot be predicted is said before anything is computed."""
    predictor = QualityPredictor.load("numpy")
    chain = CORPUS.backbone(some("test", 1)[0])
    with pytest.raises(GeometryError, match="20 to 1024"):
        predictor.predict(chain[:10])
    broken = chain.copy()
    broken[3, 1] = np.nan
    with pytest.raises(GeometryError, match="finite"):
        predictor.predict(broken)
    with pytest.raises(WeightsError, match="no calibration"):
        QualityPredictor(untrained("numpy"))
    with pytest.raises(WeightsError, match="cannot be read"):
        QualityPredictor.load("numpy", tmp_path)


def test_validation_reports_the_prediction_with_its_interval() -> None:
    """Both predictions stand in the standard preset, with the worst residue in the details."""
    index = some("test", 1)[0]
    protein = Protein.from_backbone(CORPUS.backbone(index), CORPUS.sequence(index))
    checks = {check.name: check for check in validate(protein, "standard")}
    for name in ("predicted_lddt", "predicted_lddt_of_sequence"):
        assert checks[name].value is not None
        assert "90% interval" in checks[name].details
    bare = {c.name: c for c in validate(Protein.from_backbone(protein.backbone), "standard")}
    assert bare["predicted_lddt"].value == pytest.approx(checks["predicted_lddt"].value)
    assert bare["predicted_lddt_of_sequence"].verdict == "not_applicable"
    assert bare["predicted_lddt_of_sequence"].value is None

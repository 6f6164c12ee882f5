"""Calibrated uncertainty: bands that keep their promise, and none where none was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from protein_lab.design.calibration import (
    BAND_LEVELS,
    RATIO_LEVELS,
    SCHEMA,
    Calibration,
    Calibrator,
    SigmaModel,
    UncertaintyKind,
    read_calibration,
)
from protein_lab.design.residue_features import FEATURES, NEEDS_SAMPLES, residue_features
from protein_lab.design.sampling import uncertainty
from protein_lab.errors import GeometryError, ProteinLabError, WeightsError
from protein_lab.experiments.uncertainty_benchmark import judge_calibrated, judge_spread
from protein_lab.experiments.uncertainty_fit import (
    Errors,
    conformal_model,
    fit_model,
    fit_sigma,
    offsets,
    save_calibration,
    weighted_quantiles,
)
from protein_lab.flow import FlowSample
from protein_lab.geometry import axis_curve
from protein_lab.models.weights import available, calibration_file, read_card, weights_digest
from protein_lab.settings import Settings

TRUE = {"intercept": 0.3, "head": 0.8}


def chain(rng: np.random.Generator, heavy: bool = False) -> Errors:
    """Make up a chain: errors that neighbors share, of a size that one feature tells."""
    length = int(rng.integers(20, 60))
    head = np.repeat(rng.normal(0.0, 0.5, length), 4)[:length]
    sigma = np.exp(TRUE["intercept"] + TRUE["head"] * head)
    whole = rng.standard_t(4) if heavy else 0.0
    noise = rng.standard_normal((length + 2, 3))
    smooth = (noise[:-2] + noise[1:-1] + noise[2:]) / 3.0 + 0.5 * whole
    features = {"intercept": np.ones(length), "head": head}
    return Errors(features, np.full(length, 1.0), sigma[:, None] * smooth)


def drawn_chain(samples: int, length: int = 30, seed: int = 0) -> tuple[FlowSample, np.ndarray]:
    """Make up samples about a helix, and its curve."""
    rng = np.random.default_rng(seed)
    turn = np.arange(length) * np.deg2rad(100.0)
    ca = np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(length)], axis=1)
    field = np.repeat(ca[:, None], 3, axis=1) + rng.normal(0, 0.5, (samples, length, 3, 3))
    guess = field + rng.normal(0, 0.3, field.shape)
    small, wide = (np.full((samples, length), value, np.float32) for value in (0.1, 0.7))
    made = FlowSample(field.astype(np.float32), small, guess.astype(np.float32), wide)
    return made, axis_curve(ca)


def calibration(**changes: object) -> Calibration:
    """Make a calibration by hand."""
    several = SigmaModel(
        coefficients={"intercept": 0.5},
        ratio_quantiles=tuple(np.linspace(0.1, 2.0, len(RATIO_LEVELS)).tolist()),
        band={"0.5": 1.5, "0.8": 2.0, "0.9": 2.5, "0.95": 3.0},
        fitted_chains=10,
        conformal_chains=20,
    )
    made = Calibration(
        schema=SCHEMA, operator="fno", weights_sha256="a" * 64, corpus_digest="b" * 64,
        split="calibration", samples=4, steps=25, lengths=(20, 40), several=several,
        single=several,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize("heavy", [False, True])
def test_band_holds_new_chains_as_often_as_it_says(heavy: bool) -> None:
    """Whole chains lie in the band with 90 %, on average over calibrations, whatever the law."""
    found = {level: [] for level in BAND_LEVELS}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        model = fit_model([chain(rng, heavy) for _ in range(60)])
        judged = [judge_calibrated(chain(rng, heavy), model) for _ in range(200)]
        for level, shares in found.items():
            shares.append(np.mean([item.is_inside(level) for item in judged]))
    size = 40
    for level, shares in found.items():
        error = float(np.std(shares)) / np.sqrt(len(shares))
        assert level - 3 * error <= np.mean(shares) <= level + 1 / (size + 1) + 3 * error


def test_band_is_the_conformal_quantile_of_the_largest_ratio() -> None:
    """With sigma 1 and 39 chains, 90 % is the 36th smallest of the largest errors."""
    rng = np.random.default_rng(1)
    tops = rng.permutation(np.arange(1.0, 40.0))
    chains = [
        Errors(
            {"intercept": np.ones(3)},
            np.ones(3),
            np.array([[0.0, 0.0, 0.1], [0.0, -top, 0.0], [0.3, 0.0, 0.0]]),
        )
        for top in tops
    ]
    model = conformal_model({"intercept": 0.0}, 5, chains)
    assert model.band == {"0.5": 20.0, "0.8": 32.0, "0.9": 36.0, "0.95": 38.0}
    assert (model.fitted_chains, model.conformal_chains) == (5, 39)
    with pytest.raises(ProteinLabError, match="too few"):
        conformal_model({"intercept": 0.0}, 5, chains[:10])


def test_fit_finds_the_law_of_the_errors() -> None:
    """Coefficients and mean square come back; half the chains do not change them much."""
    rng = np.random.default_rng(3)
    chains = [chain(rng) for _ in range(150)]
    found = fit_sigma(chains)
    assert list(found) == ["intercept", "head"]
    assert found["head"] == pytest.approx(TRUE["head"], abs=0.05)
    # three coordinates, each the mean of three: the mean square of a length is sigma squared
    assert found["intercept"] == pytest.approx(TRUE["intercept"], abs=0.05)
    with pytest.raises(ProteinLabError, match="at least one chain"):
        fit_sigma([])
    with pytest.raises(ProteinLabError, match="at least 30"):
        fit_model(chains[:10])


def test_ratio_quantiles_are_probabilities() -> None:
    """What is predicted with them is uniform; the spread, which is off here, is not."""
    rng = np.random.default_rng(4)
    model = fit_model([chain(rng) for _ in range(120)])
    new = [chain(rng) for _ in range(200)]
    after = np.concatenate([judge_calibrated(item, model).probability for item in new])
    assert abs(np.mean(after <= 0.9) - 0.9) < 0.03
    assert abs(np.mean(after <= 0.5) - 0.5) < 0.05
    before = np.concatenate([judge_spread(item).probability for item in new])
    assert abs(np.mean(before <= 0.5) - 0.5) > 0.1


def test_weighted_quantiles() -> None:
    """A value counts by its weight."""
    values, weight = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert weighted_quantiles(values, weight, (0.5, 0.51, 0.75, 1.0)).tolist() == [1, 2, 2, 3]


def test_offsets_forget_where_a_chain_lies() -> None:
    """Turned and shifted copies have no error; a moved residue has one."""
    rng = np.random.default_rng(5)
    truth = rng.normal(0.0, 5.0, (40, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.linalg.det(turn)
    assert np.abs(offsets(truth @ turn.T + 4.0, truth)).max() < 1e-9
    moved = truth.copy()
    moved[7, 0] += 2.0
    error = np.linalg.norm(offsets(moved, truth), axis=-1)
    assert error.argmax() == 7
    assert 1.5 < error[7] < 2.0


def test_features_of_several_and_of_one_sample() -> None:
    """Every feature is there, one number a residue; a turned design has the same."""
    drawn, curve = drawn_chain(4)
    states = "L" * 5 + "H" * 20 + "L" * 5
    shown = drawn.field[2, :, 1]
    found = residue_features(drawn, shown, states, curve)
    assert set(found) == set(FEATURES)
    assert all(value.shape == (30,) and np.isfinite(value).all() for value in found.values())
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    again = residue_features(drawn, shown @ turn.T + 9.0, states, curve)
    for name, value in found.items():
        np.testing.assert_allclose(again[name], value, atol=1e-5, err_msg=name)
    alone, _ = drawn_chain(1)
    few = residue_features(alone, alone.field[0, :, 1], states, curve)
    assert set(FEATURES) - set(few) == set(NEEDS_SAMPLES)
    far = shown.copy()
    far[12] += 4.0
    assert residue_features(drawn, far, states, curve)["distance"].argmax() == 12


def test_features_ask_for_what_they_need() -> None:
    """Lengths must agree, and the flow must have told its first guess."""
    drawn, curve = drawn_chain(2)
    with pytest.raises(GeometryError, match="Expected 30 residues"):
        residue_features(drawn, drawn.field[0, :, 1], "H" * 29, curve)
    bare = FlowSample(drawn.field, drawn.sigma)
    with pytest.raises(GeometryError, match="first guess"):
        residue_features(bare, drawn.field[0, :, 1], "H" * 30, curve)


def test_calibration_is_used_only_for_its_weights(tmp_path: Path) -> None:
    """With other weights, other steps or another length the plain spread is told as such."""
    save_calibration(calibration(), tmp_path)
    drawn, curve = drawn_chain(3)
    shown, states = drawn.field[0, :, 1], "H" * 30

    right = Calibrator.load("fno", "a" * 64, tmp_path)
    kind = right.kind(3, 25)
    assert kind.kind == kind.of_length(30) == "calibrated"
    assert kind.band_factor(30) == 2.5
    assert kind.band_factor(30, 0.5) == 1.5
    assert len(kind.digest) == 64
    told = right.uncertainty(drawn, 25, shown, states, curve)
    np.testing.assert_allclose(told, np.exp(0.5), rtol=1e-6)
    assert told.dtype == np.float32

    spread = uncertainty(drawn)
    other = Calibrator.load("fno", "c" * 64, tmp_path)
    assert other.kind(3, 25).kind == "uncalibrated"
    assert "not_run" in other.kind(3, 25).reason
    assert "protein-lab calibrate --operator fno" in other.kind(3, 25).reason
    absent = Calibrator.load("deeponet", "a" * 64, tmp_path)
    for calibrator, steps in ((other, 25), (absent, 25), (right, 10)):
        kind = calibrator.kind(3, steps)
        assert (kind.kind, kind.band_factor(30)) == ("uncalibrated", None)
        assert kind.reason.startswith("not_run")
        told = calibrator.uncertainty(drawn, steps, shown, states, curve)
        assert told.tobytes() == spread.tobytes()

    long, long_curve = drawn_chain(3, length=50)
    told = right.uncertainty(long, 25, long.field[0, :, 1], "H" * 50, long_curve)
    assert told.tobytes() == uncertainty(long).tobytes()
    assert right.kind(3, 25).of_length(50) == "uncalibrated"
    assert right.kind(3, 25).band_factor(50) is None


def test_kind_survives_the_provenance() -> None:
    """What the provenance holds as JSON is read back."""
    kind = UncertaintyKind(kind="calibrated", lengths=(20, 40), band={"0.9": 2.5})
    plain = msgspec.json.decode(msgspec.json.encode(kind))
    assert msgspec.convert(plain, UncertaintyKind) == kind
    assert msgspec.convert({}, UncertaintyKind).kind == "uncalibrated"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"{", b"", "cannot be read"),
        (b"uncertainty@1", b"uncertainty@9", "Expected protein_lab/uncertainty@1"),
        (b'"intercept"', b'"weather"', "unknown features"),
        (b'"0.9": 2.5', b'"0.9": 9.5', "not ordered"),
        (b'"0.9": 2.5', b'"0.7": 2.5', "not of the levels"),
        (b'"0.5": 1.5', b'"0.5": 0.0', "quantiles"),
    ],
)
def test_damaged_calibration_is_an_error(
    tmp_path: Path, old: bytes, new: bytes, match: str
) -> None:
    """A file that was changed by hand is refused with its name."""
    path = save_calibration(calibration(), tmp_path)
    assert read_calibration(path).several.band["0.9"] == 2.5
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(WeightsError, match=match):
        Calibrator.load("fno", "a" * 64, tmp_path)


def test_calibration_is_part_of_what_a_request_is_identified_by(tmp_path: Path) -> None:
    """Another calibration gives other uncertainties, so it must give another id."""
    (tmp_path / "fno.toml").write_text('sha256 = "a"\n[config]\n')
    digests = {weights_digest("fno", tmp_path)}
    for samples in (4, 8):
        save_calibration(calibration(samples=samples), tmp_path)
        digests.add(weights_digest("fno", tmp_path))
    assert len(digests) == 3


def test_shipped_calibrations_belong_to_the_shipped_weights() -> None:
    """After every training the calibration is made again."""
    folder = Settings().weights
    names = [name for name in available(folder) if calibration_file(name, folder).is_file()]
    assert "enhanced_deeponet" in names
    for name in names:
        digest = str(read_card(folder / f"{name}.toml")["sha256"])
        found = Calibrator.load(name, digest, folder).calibration
        assert found is not None, f"protein-lab calibrate --operator {name}"
        assert found.split == "calibration"
        assert found.several.conformal_chains >= 60

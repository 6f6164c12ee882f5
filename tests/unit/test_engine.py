"""The engine: one stream a design, nothing dropped, the best first."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from protein_lab import attempt, engine
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design import selection
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.calibration import SCHEMA, Calibration, SigmaModel, UncertaintyKind
from protein_lab.design.request import DesignRequest
from protein_lab.design.sampling import complete_pairs
from protein_lab.design.sequence_options import FixedResidue, SequenceOptions
from protein_lab.errors import GeometryError, InvalidRequestError, WeightsError
from protein_lab.experiments.uncertainty_fit import save_calibration
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet
from protein_lab.models.weights import save_weights
from protein_lab.runtime import NUM_HITS
from protein_lab.settings import Settings
from protein_lab.typing import Check

HAIRPIN = "LL" + "E" * 7 + "LLLL" + "E" * 7 + "LLL" + "H" * 12 + "LL"
REQUEST = DesignRequest(
    constraints=(
        SecondaryStructure(string=HAIRPIN),
        Pairing(first=1, second=2, orientation="antiparallel"),
    ),
    num_designs=2,
    seed=4,
    steps=3,
    samples_per_design=2,
)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> engine.Runtime:
    """Open a small operator with random weights: what is tested here does not need good ones."""
    folder = tmp_path_factory.mktemp("weights")
    config = EnhancedDeepONetConfig()
    params = EnhancedProteinDeepONet.initialize(config, np.random.default_rng(0))
    save_weights(params, folder, "enhanced_deeponet", config, {})
    return engine.Runtime.open(backend="numpy", settings=Settings(weights=folder))


@pytest.fixture(scope="module")
def result(runtime: engine.Runtime) -> engine.DesignResult:
    """Answer the request once."""
    return engine.design(REQUEST, runtime)


def test_a_request_is_answered_in_full(
    runtime: engine.Runtime, result: engine.DesignResult
) -> None:
    """Every design is there with geometry, uncertainty, a measurement a constraint and checks."""
    assert sorted(item.index for item in result.designs) == [0, 1]
    assert result.request_id == runtime.request_id(REQUEST)
    for item in result.designs:
        assert item.failed is None
        assert item.backbone.shape == (len(HAIRPIN), 4, 3)
        assert item.backbone.dtype == item.uncertainty.dtype == np.float32
        assert (item.uncertainty > 0.0).all()
        assert [found.constraint for found in item.measurements] == [
            "secondary_structure", "pairing",
        ]  # fmt: skip
        checks = {check.name: check for check in item.checks}
        assert checks["bond_lengths"].verdict == "pass"
        assert checks["novelty"].value == item.metrics["tm_to_nearest"]
        assert item.metrics["tm_to_nearest"] >= item.metrics["tm_to_source"] - 0.1
        nearest = checks["novelty"].details.split()[0]
        assert nearest in runtime.corpus.ids
        assert {"helix_obtained", "strand_obtained", "ca_ca_ok"} == set(item.field_metrics)
        assert item.source in runtime.corpus.ids
        assert item.blueprint.secondary_structure == HAIRPIN


def test_uncertainty_says_what_it_is(
    runtime: engine.Runtime, result: engine.DesignResult, tmp_path: Path
) -> None:
    """Without a calibration it is the spread; with one of these weights it is what that says."""
    told = result.provenance["uncertainty"]
    assert told["kind"] == "uncalibrated"
    assert told["reason"].startswith("not_run: enhanced_deeponet has no calibration")

    model = SigmaModel(
        coefficients={"intercept": 0.5}, ratio_quantiles=tuple(np.linspace(0.1, 2.0, 99).tolist()),
        band={"0.5": 1.5, "0.8": 2.0, "0.9": 2.5, "0.95": 3.0}, fitted_chains=10,
        conformal_chains=20,
    )  # fmt: skip
    calibration = Calibration(
        schema=SCHEMA, operator=runtime.operator.name, weights_sha256=runtime.operator.digest,
        corpus_digest="", split="calibration", samples=2, steps=REQUEST.steps, lengths=(20, 60),
        several=model, single=model,
    )  # fmt: skip
    save_calibration(calibration, tmp_path)
    measured = dataclasses.replace(runtime, weights=tmp_path)
    item = engine.design_one(REQUEST, 0, measured)
    before = next(item for item in result.designs if item.index == 0)
    assert item.backbone.tobytes() == before.backbone.tobytes()
    np.testing.assert_allclose(item.uncertainty, np.exp(0.5), rtol=1e-6)
    made = engine.assemble(REQUEST, [item], measured)
    kind = msgspec.convert(made.provenance["uncertainty"], UncertaintyKind)
    assert kind.of_length(item.length) == "calibrated"
    assert kind.band_factor(item.length) == 2.5


def test_a_design_depends_on_seed_and_index_alone(
    runtime: engine.Runtime, result: engine.DesignResult
) -> None:
    """Made alone and first, the second design has the same bits; another seed has others."""
    again = engine.design_one(REQUEST, 1, runtime)
    before = next(item for item in result.designs if item.index == 1)
    assert again.backbone.tobytes() == before.backbone.tobytes()
    assert again.uncertainty.tobytes() == before.uncertainty.tobytes()
    assert again.source == before.source
    other = engine.design_one(DesignRequest(**{**_fields(REQUEST), "seed": 5}), 1, runtime)
    assert other.backbone.tobytes() != before.backbone.tobytes()


def _fields(request: DesignRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_a_design_that_fails_stays_with_its_reason(
    runtime: engine.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is part of the answer, ranked last, and the outcome counts it."""
    real = selection.refine

    def refuse(*arguments: Any, **options: Any) -> Any:
        if len(calls := refused) < 2:
            calls.append(1)
            raise GeometryError("The field has no shape.")
        return real(*arguments, **options)

    refused: list[int] = []
    monkeypatch.setattr(selection, "refine", refuse)
    bad = engine.design_one(REQUEST, 0, runtime)
    monkeypatch.undo()
    good = engine.design_one(REQUEST, 1, runtime)
    answer = engine.assemble(REQUEST, [bad, good], runtime)
    assert bad.failed == "The field has no shape."
    assert bad.backbone.shape == (0, 4, 3)
    assert bad.blueprint.secondary_structure == HAIRPIN
    assert [item.index for item in answer.designs] == [1, 0]
    assert "no backbone (1)" in answer.outcome


def test_unsound_backbones_are_replaced_while_there_are_others(
    runtime: engine.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples and folds are tried until a backbone passes its checks, and no longer."""
    real, calls = engine.validate, list[bool]()

    def refuse_first(*arguments: Any, **options: Any) -> tuple[Check, ...]:
        checks = tuple(real(*arguments, **options))
        calls.append(len(calls) < 3)
        return tuple(_failed(check) for check in checks) if calls[-1] else checks

    def _failed(check: Check) -> Check:
        return msgspec.structs.replace(check, verdict="fail")

    for module in (attempt, engine):
        monkeypatch.setattr(module, "validate", refuse_first)
    made = engine.design_one(REQUEST, 0, runtime)
    assert made.failed is None
    # Two samples of the first fold and one of the second are refused; its other one is the last
    # that is made, and the design itself is validated once more.
    assert calls == [True, True, True, False, False]
    assert "fail" not in {check.verdict for check in made.checks}


def test_where_no_fold_suits_the_operator_folds_alone(
    shipped: engine.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last try takes nothing from the library, so a blueprint unlike any fold has a chance."""
    real, calls = engine.validate, list[bool]()

    def refuse_three_folds(*arguments: Any, **options: Any) -> tuple[Check, ...]:
        checks = tuple(real(*arguments, **options))
        calls.append(len(calls) < 2 * (engine.MAX_ATTEMPTS - 1))
        if not calls[-1]:
            return checks
        return tuple(msgspec.structs.replace(check, verdict="fail") for check in checks)

    for module in (attempt, engine):
        monkeypatch.setattr(module, "validate", refuse_three_folds)
    made = engine.design_one(REQUEST, 0, shipped)
    assert made.failed is None
    assert made.source == "polymer"


@pytest.mark.parametrize("operator", ["enhanced_deeponet", "fno", "deeponet"])
def test_every_operator_gives_sound_geometry_at_any_length(
    operator: Literal["enhanced_deeponet", "fno", "deeponet"],
) -> None:
    """Short and long chains of each shipped operator pass every check of the geometry preset."""
    opened = engine.Runtime.open(operator)
    for length in (40, 150):
        request = DesignRequest(length=length, seed=3, operator=operator, samples_per_design=2)
        made = engine.design_one(request, 0, opened)
        assert made.failed is None
        assert made.backbone.shape == (length, 4, 3)
        assert [check.name for check in made.checks if check.verdict == "fail"] == []


def test_requests_with_faults_are_refused_before_anything_is_computed(
    runtime: engine.Runtime,
) -> None:
    """The plan checks the request; its warnings are handed on."""
    with pytest.raises(InvalidRequestError, match=r"\$.num_designs"):
        engine.design(DesignRequest(length=60, num_designs=0), runtime)
    found = engine.plan(REQUEST, runtime)
    assert found.blueprint is not None
    assert found.blueprint.secondary_structure == HAIRPIN
    assert 1 < len(set(found.sources)) == len(found.sources) <= NUM_HITS
    assert engine.plan(DesignRequest(length=(50, 60)), runtime).blueprint is None


@pytest.fixture(scope="module")
def shipped() -> engine.Runtime:
    """Open the weights of the package."""
    return engine.Runtime.open()


def test_the_operator_folds_chains_by_itself(
    runtime: engine.Runtime, shipped: engine.Runtime
) -> None:
    """No fold of the library has a part in it; without weights for curves nothing is computed."""
    request = msgspec.structs.replace(REQUEST, prior="polymer", num_designs=1, samples_per_design=1)
    with pytest.raises(WeightsError, match="curve_deeponet"):
        engine.design(request, runtime)
    first = engine.design_one(request, 0, shipped)
    assert first.failed is None
    assert first.source == "polymer"
    assert "tm_to_source" not in first.metrics
    np.testing.assert_array_equal(first.backbone, engine.design_one(request, 0, shipped).backbone)
    half = msgspec.structs.replace(request, prior="library", novelty=0.5)
    mixed = engine.design_one(half, 0, shipped)
    assert mixed.failed is None
    assert mixed.source != "polymer"
    assert np.abs(mixed.backbone - first.backbone).max() > 1.0


def test_sequences_are_drawn_beside_the_backbone(
    runtime: engine.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They depend on seed and index alone and change no coordinate; names are in the checks."""
    shipped = engine.Runtime.open(backend="numpy")
    options = SequenceOptions(num_sequences=3, fixed=(FixedResidue(position=2, residue="W"),))
    request = msgspec.structs.replace(REQUEST, sequence=options)
    made = engine.design_one(request, 1, shipped)
    assert made.sequence_failed is None
    assert [len(item.sequence) for item in made.sequences] == [len(HAIRPIN)] * 3
    assert made.sequence == max(made.sequences, key=lambda item: item.score).sequence
    assert {item.sequence[1] for item in made.sequences} == {"W"}
    assert made.metrics["sequence_perplexity"] == made.sequences[0].perplexity
    assert engine.design_one(request, 1, shipped).sequences == made.sequences
    other = engine.design_one(request, 0, shipped)
    assert other.sequence != made.sequence

    off = msgspec.structs.replace(request, sequence=SequenceOptions(num_sequences=0))
    bare = engine.design_one(off, 1, shipped)
    assert (bare.sequence, bare.sequences, bare.sequence_failed) == (None, (), None)
    assert bare.backbone.tobytes() == made.backbone.tobytes()
    assert bare.uncertainty.tobytes() == made.uncertainty.tobytes()
    answer = engine.assemble(request, [made, other], shipped)
    assert answer.provenance["sequence_weights_digest"] == shipped.sequences.digest
    seen: list[str] = []
    real = engine.validate
    monkeypatch.setattr(
        engine, "validate", lambda protein, *_: seen.append(protein.sequence) or real(protein)
    )
    engine.design_one(request, 1, shipped)
    assert seen[-1] == made.sequence


def test_without_sequence_weights_the_backbone_stays(
    runtime: engine.Runtime, result: engine.DesignResult, tmp_path: Path
) -> None:
    """Missing weights are warned of and told with each design; damaged ones stop the request."""
    warnings = {fault.path: fault.severity for fault in engine.plan(REQUEST, runtime).warnings}
    assert warnings["$.sequence"] == "warning"
    for item in result.designs:
        assert item.failed is None
        assert item.sequences == ()
        assert "sequence.toml" in (item.sequence_failed or "")
    assert result.provenance["sequence_weights_digest"] is None
    off = msgspec.structs.replace(REQUEST, sequence=SequenceOptions(num_sequences=0))
    assert "$.sequence" not in {fault.path for fault in engine.plan(off, runtime).warnings}
    shutil.copytree(runtime.weights, tmp_path, dirs_exist_ok=True)
    shutil.copy(Settings().weights / "sequence.toml", tmp_path)
    (tmp_path / "sequence.safetensors").write_bytes(b"torn")
    damaged = engine.Runtime.open(backend="numpy", settings=Settings(weights=tmp_path))
    with pytest.raises(WeightsError, match=r"sequence\.safetensors"):
        engine.plan(REQUEST, damaged)


def test_a_fault_while_drawing_sequences_loses_no_backbone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights that give no numbers, and a backend that gives up, leave a reason and a backbone."""
    shipped = engine.Runtime.open(backend="numpy")
    sound = shipped.sequences
    broken = {name: value * np.float32(np.nan) for name, value in sound.params.items()}
    shipped.__dict__["sequences"] = type(sound)(sound.config, broken, sound.backend)
    made = engine.design_one(REQUEST, 0, shipped)
    assert made.failed is None
    assert len(made.backbone) == len(HAIRPIN)
    assert "not finite" in (made.sequence_failed or "")

    def give_up(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    shipped.__dict__["sequences"] = sound
    monkeypatch.setattr(type(sound), "encode", give_up)
    assert engine.design_one(REQUEST, 0, shipped).sequence_failed == "out of memory"


def test_designs_of_one_blueprint_share_curves(shipped: engine.Runtime) -> None:
    """Each of eight takes another curve, other eights draw others, and the order is no matter."""
    blueprint = Blueprint(HAIRPIN)
    curves = [shipped.shared_curve(blueprint, 5, index, 0) for index in range(8)]
    assert len({curve.tobytes() for curve in curves}) == 8
    again = shipped.shared_curve(blueprint, 5, 0, 1)
    assert all(np.abs(again - curve).max() > 0.0 for curve in curves)
    assert np.abs(shipped.shared_curve(blueprint, 5, 8, 0) - curves[0]).max() > 0.0
    fresh = dataclasses.replace(shipped, _folded={})
    np.testing.assert_array_equal(fresh.shared_curve(blueprint, 5, 3, 0), curves[3])


def test_missing_weights_are_said_to_be_missing(tmp_path: Path) -> None:
    """Nothing is made up when the operator is not there."""
    with pytest.raises(WeightsError, match="cannot be read"):
        engine.Runtime.open(settings=Settings(weights=tmp_path))


def test_the_provenance_is_json_and_says_how(
    runtime: engine.Runtime, result: engine.DesignResult
) -> None:
    """Whoever reads the result can run it again."""
    import json

    found = json.loads(json.dumps(result.provenance))
    assert found["weights_digest"] == runtime.digest
    assert found["corpus_digest"] == runtime.corpus.digest
    assert (found["backend"], found["seed"]) == ("numpy", REQUEST.seed)
    assert found["versions"]["numpy"] == np.__version__
    assert found["timings"]["total"] > 0.0


def test_pairs_of_the_fold_are_added_but_asked_ones_win(runtime: engine.Runtime) -> None:
    """The fold tells what lies beside what, unless the request has said otherwise."""
    plain = Blueprint(HAIRPIN)
    hit = runtime.hits(plain)[0]
    found = complete_pairs(plain, hit, runtime.corpus)
    assert found.secondary_structure == HAIRPIN
    assert found.pairs
    turned = {"parallel": "antiparallel", "antiparallel": "crossing", "crossing": "parallel"}
    changed = dataclasses.replace(hit)
    first = found.pairs[0]
    asked = type(first)(first.first, first.second, turned[first.orientation])  # pyright: ignore
    kept = complete_pairs(Blueprint(HAIRPIN, (asked,)), changed, runtime.corpus).pairs
    assert asked in kept
    assert len(kept) == len(found.pairs)

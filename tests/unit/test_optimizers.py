"""Optimizers: exact gradients, resumable states, records, and what happens when a term fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protein_lab.backends import available_backends, get_backend
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.objective import Objective, Subject, sloped, with_beta
from protein_lab.design.optimizers.annealing import Annealing
from protein_lab.design.optimizers.base import Optimizer, Problem, run
from protein_lab.design.optimizers.evolutionary import (
    Covariance,
    Pareto,
    front_of,
    hypervolume,
    select,
)
from protein_lab.design.optimizers.gradient import GRADIENT_COST, Gradient
from protein_lab.design.optimizers.resampling import Resampling
from protein_lab.design.optimizers.saving import load_state, save_state
from protein_lab.design.optimizing import near_torsions
from protein_lab.design.sequence_options import FixedResidue, SequenceOptions
from protein_lab.design.spaces.blueprints import (
    Blueprints,
    contact_order,
    contact_order_term,
)
from protein_lab.design.spaces.latents import Latents, cosines, field_function, noise_matrix
from protein_lab.design.spaces.sequences import Sequences, charge_term
from protein_lab.design.spaces.torsions import Torsions
from protein_lab.design.terms import (
    chain_term,
    checks_term,
    clash_term,
    compactness_term,
    gyration,
    near_term,
    protein_of,
    torsion_term,
)
from protein_lab.errors import BackendError, ProteinLabError
from protein_lab.experiments.optimizer_benchmark import Size, run_optimizers, shown_courses
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import axis_curve, backbone_dihedrals
from protein_lab.models.weights import load_operator, load_sequence_operator
from protein_lab.training.corpus import Corpus, CorpusChain
from protein_lab.typing import FloatArray

STATES = "LL" + "H" * 12 + "LLLL" + "E" * 6 + "LLL" + "E" * 6 + "LLLLL" + "H" * 10 + "LL"


def ends(atoms: FloatArray) -> tuple[float, FloatArray]:
    """Give the distance between CA of the first and the last residue, with its gradient."""
    step = atoms[0, 1] - atoms[-1, 1]
    length = float(np.linalg.norm(step))
    gradient = np.zeros(atoms.shape)
    gradient[0, 1], gradient[-1, 1] = step / length, -step / length
    return length, gradient


def problem(kind: str = "") -> Problem:
    """Bring the ends of a chain together; for a Pareto front also make it compact."""
    close = Objective([sloped("ends", "angstrom", ends), clash_term(0.1)], "close")
    if kind != Pareto.kind:
        return Problem(Torsions(STATES), (close,))
    return Problem(Torsions(STATES), (close, Objective([torsion_term(STATES)], "usual")))


STRATEGIES: tuple[Optimizer, ...] = (
    Resampling(), Gradient(), Annealing(budget=300), Covariance(), Pareto(population=12),
)  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda item: item.kind)
def test_search_resumes_to_the_bit(strategy: Optimizer, tmp_path: Path) -> None:
    """A state that was written and read goes on as if nothing had been."""
    asked = problem(strategy.kind)
    state = strategy.init(asked, np.random.default_rng(3))
    state, first = strategy.step(state)
    path = tmp_path / "search.safetensors"
    save_state(state, path)
    going = run(strategy, state, 250)
    again = run(strategy, load_state(path, asked, strategy.kind), 250)
    assert len(going.records) > 1
    assert np.array_equal(going.state.best, again.state.best)
    for name, array in going.state.arrays.items():
        if not name.endswith("funhist_values"):  # not yet written places hold anything
            assert np.array_equal(array, again.state.arrays[name]), name
    one, other = (json.dumps(i.state.numbers, sort_keys=True) for i in (going, again))
    assert one == other
    for mine, theirs in zip(going.records, again.records, strict=True):
        assert (mine.step, mine.value, mine.best, mine.terms) == (
            theirs.step, theirs.value, theirs.best, theirs.terms,
        )  # fmt: skip
    assert first.step == 1
    assert [item.step for item in going.records] == list(range(2, len(going.records) + 2))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda item: item.kind)
def test_search_depends_on_the_seed_alone(strategy: Optimizer) -> None:
    """The same stream gives the same search, another one another; states are never changed."""
    asked = problem(strategy.kind)
    state = strategy.init(asked, np.random.default_rng(1))
    kept = {name: array.copy() for name, array in state.arrays.items()}
    one = strategy.step(state)[0]
    two = strategy.step(strategy.init(asked, np.random.default_rng(1)))[0]
    other = strategy.step(strategy.init(asked, np.random.default_rng(2)))[0]
    assert np.array_equal(one.best, two.best)
    assert not np.array_equal(one.best, other.best)
    assert all(
        np.array_equal(kept[name], array)
        for name, array in state.arrays.items()
        if not name.endswith("funhist_values")
    )


@pytest.mark.parametrize("strategy", STRATEGIES[:4], ids=lambda item: item.kind)
def test_records_tell_the_truth(strategy: Optimizer) -> None:
    """The best never rises, and is what its point evaluates to."""
    asked = problem()
    found = run(strategy, strategy.init(asked, np.random.default_rng(0)), 300)
    best = [record.best for record in found.records]
    assert best == sorted(best, reverse=True)
    again = asked.evaluate(found.state.best)
    assert again.total == pytest.approx(found.state.value, abs=1e-9)
    assert {item.name: pytest.approx(item.value) for item in again.terms} == dict(
        found.records[-1].terms
    )
    assert sum(item.weight * item.value for item in again.terms) == pytest.approx(again.total)
    assert 300 <= found.state.numbers["evaluations"] < 300 + 10 * GRADIENT_COST + 8


def test_gradients_on_atoms_and_torsions_are_exact() -> None:
    """Every term's gradient agrees with differences, on atoms and through the chain."""
    space = Torsions(STATES)
    point = space.draw(np.random.default_rng(0), 1)[0]
    terms = (
        compactness_term(20), clash_term(), chain_term(), torsion_term(STATES),
        sloped("ends", "angstrom", ends), sloped("size", "angstrom", gyration),
    )  # fmt: skip
    for term in terms:
        objective = Objective([term])
        _, gradient = space.with_gradient(point, objective)
        atoms = with_beta(space.subject(point).require_backbone())
        _, pull = objective.with_gradient(atoms)
        rng = np.random.default_rng(1)
        for _ in range(4):
            step = 1e-5 * rng.standard_normal(atoms.shape)
            up, down = (objective.with_gradient(atoms + way * step)[0].total for way in (1, -1))
            assert (up - down) / 2 == pytest.approx((pull * step).sum(), rel=1e-4, abs=1e-11)
            turn = 1e-5 * rng.standard_normal(point.shape)
            up, down = (
                objective.evaluate(space.subject(point + way * turn)).total for way in (1, -1)
            )
            assert (up - down) / 2 == pytest.approx((gradient * turn).sum(), rel=1e-4, abs=1e-11)


def test_torsion_search_keeps_ideal_geometry() -> None:
    """Whatever is found has exact bonds and angles, and what was held has not turned."""
    asked = problem()
    found = run(Gradient(), Gradient().init(asked, np.random.default_rng(0)), 300).state
    protein = protein_of(asked.space.subject(found.best))
    assert checks_term().measure(asked.space.subject(found.best)) <= 2
    angles = np.degrees(backbone_dihedrals(protein.backbone))
    helix = slice(3, 13)
    assert angles[helix, 0] == pytest.approx(-63.0, abs=0.1)
    steps = np.linalg.norm(np.diff(protein.ca, axis=0), axis=-1)
    assert steps == pytest.approx(3.80, abs=0.03)


@pytest.fixture(scope="module")
def chain(real_chains: list[CorpusChain]) -> CorpusChain:
    """Give the shortest of the shared real chains."""
    return min(real_chains, key=lambda item: len(item.sequence))


def latents(chain: CorpusChain, backend: str, **options: Any) -> Latents:
    """Search what the small operator starts from around a real axis curve."""
    blueprint = blueprint_of(chain.backbone, chain.secondary_structure)
    curve = axis_curve(chain.backbone[:, 1])
    return Latents(load_operator("deeponet", backend), blueprint, curve, 4, **options)


@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "numpy"])
def test_gradient_goes_through_the_sampler(chain: CorpusChain, backend: str) -> None:
    """The gradient by the noise is exact; that by the curve, frames held, points the same way."""
    space = latents(chain, backend)
    point = space.draw(np.random.default_rng(0), 1)[0]
    objective = Objective([sloped("ends", "angstrom", ends), sloped("size", "angstrom", gyration)])
    found, gradient = space.with_gradient(point, objective)
    assert found.total == pytest.approx(objective.evaluate(space.subject(point)).total, abs=1e-3)
    bends = 24
    for part, tolerance in ((slice(bends, None), 0.01), (slice(0, bends), 0.25)):
        direction = np.zeros_like(point)
        direction[part] = gradient[part] / np.linalg.norm(gradient[part])
        up, down = (
            objective.evaluate(space.subject(point + way * 0.03 * direction)).total
            for way in (1, -1)
        )
        assert (up - down) / 0.06 == pytest.approx(gradient @ direction, rel=tolerance)


def test_sampler_as_a_function_is_the_sampler(chain: CorpusChain) -> None:
    """What is differentiated computes what designs are sampled with."""
    space = latents(chain, "torch")
    point = space.draw(np.random.default_rng(5), 1)[0]
    from protein_lab.design.sampling import conditions_of

    conditions = conditions_of(space.blueprint, space.curve_at(point))
    plain = sample(space.operator, conditions, space.noise_at(point)[None], 4).field
    xp = space.operator.backend
    start = space.noise_at(point)[None] + conditions.axis_curve[None, :, None]
    run_once = field_function(space.operator, conditions, 4)
    curve = xp.asarray(conditions.axis_curve[None])
    field = xp.to_numpy(run_once({"field": xp.asarray(start), "curve": curve}))
    assert field == pytest.approx(plain, abs=1e-4)


def test_noise_has_the_law_of_the_prior() -> None:
    """The matrix of the noise has the covariance that draws have; its length is held."""
    matrix = noise_matrix(6)
    drawn = draw_noise(np.random.default_rng(0), 20000, 6)[..., 0].reshape(20000, -1)
    assert matrix @ matrix.T == pytest.approx(np.cov(drawn.T), abs=0.35)
    waves = cosines(80, 8)
    shifts = np.einsum("lk,nkx->nlx", waves, np.random.default_rng(1).normal(size=(2000, 8, 3)))
    assert (shifts**2).sum(-1).mean() == pytest.approx(1.0, abs=0.05)


def test_bends_and_noise_stay_in_bounds(chain: CorpusChain) -> None:
    """However far a point runs off, curve and noise stay near what the operator knows."""
    space = latents(chain, "torch", bend=1.5)
    point = 1e4 * space.draw(np.random.default_rng(0), 1)[0]
    point[:3] *= 100.0  # the slowest wave shifts the most
    shift = space.curve_at(point) - space.curve
    assert np.sqrt((shift**2).sum(-1).mean()) == pytest.approx(2.0 * 1.5, rel=1e-3)
    assert 2.0 < np.std(space.noise_at(point)) < 4.0


def test_numpy_says_that_it_has_no_gradients(chain: CorpusChain) -> None:
    """The NumPy backend refuses with a remedy, but can be searched without gradients."""
    space = latents(chain, "numpy")
    objective = Objective([sloped("size", "angstrom", gyration)])
    with pytest.raises(BackendError, match="torch"):
        space.with_gradient(space.center(np.random.default_rng(0)) + 1.0, objective)
    with pytest.raises(BackendError):
        get_backend("numpy").pullback(lambda inputs: inputs)


def test_sequences_keep_what_is_fixed_and_excluded(chain: CorpusChain) -> None:
    """No draw, move or child touches given residues or brings in excluded ones."""
    options = SequenceOptions(
        fixed=(FixedResidue(position=3, residue="W"), FixedResidue(position=9, residue="P")),
        excluded="CM",
    )
    operator = load_sequence_operator("torch")
    backbone = np.asarray(chain.backbone)
    space = Sequences(operator, backbone, options, np.random.default_rng(0))
    objective = Objective([space.likelihood_term(), charge_term(0.0, 0.02)])
    asked = Problem(space, (objective,))
    strategy = Annealing(budget=60, moves=10, starts=2)
    state = strategy.init(asked, np.random.default_rng(1))
    found = run(strategy, state, 60).state
    assert found.value < state.value
    rng = np.random.default_rng(2)
    child = space.cross(found.best, state.best, rng)
    for point in (found.best, state.best, child, space.move(child, 1.0, rng)):
        letters = space.subject(point).require_sequence()
        assert (letters[2], letters[8]) == ("W", "P")
        assert not set(letters) & set("CM")


def test_blueprints_stay_blueprints() -> None:
    """Draws, moves and children have the length, and pairs only between elements that exist."""
    space, rng = Blueprints(80, Corpus.open()), np.random.default_rng(0)
    parents = space.draw(rng, 6)
    moved = [space.move(parents[0], 1.0, rng) for _ in range(20)]
    crossed = [space.cross(parents[i % 6], parents[(i + 1) % 6], rng) for i in range(20)]
    for point in (*parents, *moved, *crossed):
        blueprint = space.subject(point).require_blueprint()
        assert blueprint.length == 80
        assert len(point) == len(parents[0])
        for pair in blueprint.pairs:
            assert 0 <= pair.first < pair.second < len(blueprint.elements)
    assert len({tuple(point) for point in moved}) > 10
    asked = Problem(space, (Objective([contact_order_term(0.5)]),))
    walk = Annealing(budget=200)
    state = walk.init(asked, rng)
    found = run(walk, state, 200).state
    assert found.value < min(state.value, 0.05)
    order = contact_order(space.subject(found.best).require_blueprint())
    assert abs(order - 0.5) == pytest.approx(found.value)


def test_search_ends_where_it_is_good_enough() -> None:
    """A target ends a search before its budget is spent."""
    asked = problem()
    state = Gradient().init(asked, np.random.default_rng(0))
    found = run(Gradient(), state, 10_000, target=12.0)
    assert found.state.value <= 12.0
    assert "12" in found.stopped
    assert found.state.numbers["evaluations"] < 1000


def test_near_term_and_near_torsions(chain: CorpusChain) -> None:
    """A backbone's own torsions give it back; moving away costs what it says."""
    ideal = Torsions(STATES)
    backbone = ideal.subject(ideal.center(np.random.default_rng(1))).require_backbone()
    space = near_torsions(STATES, backbone)
    again = space.subject(space.center(np.random.default_rng(0))).require_backbone()
    objective = Objective([near_term(backbone[:, 1])])
    assert objective.evaluate(Subject(backbone=again)).total < 1e-4
    point = space.move(space.center(np.random.default_rng(0)), 1.0, np.random.default_rng(3))
    found, gradient = space.with_gradient(point, objective)
    assert found.total > 0.01
    step = 1e-5 * np.random.default_rng(4).standard_normal(point.shape)
    up, down = (objective.evaluate(space.subject(point + way * step)).total for way in (1, -1))
    assert (up - down) / 2 == pytest.approx((gradient * step).sum(), rel=1e-3)


def test_the_benchmark_finds_what_is_better() -> None:
    """On two chains and a small budget the rows are whole and the walk beats plain draws."""
    size = Size(2, 1, 60, 16, 8, 120, "deeponet")
    figures = run_optimizers(only="gradient", size=size)
    rows = {row.name: row for row in figures.rows}
    assert len(rows) == 8
    for name, row in rows.items():
        if name.startswith("gradient: torsions"):
            assert row.value is not None
            assert row.low is not None
            assert row.high is not None
            assert row.low <= row.value <= row.high
            assert row.value > 0.0
    summary = rows["gradient: tasks better than resampling"]
    assert summary.floor == 3.0
    assert summary.ok == (summary.value is not None and summary.value >= 3.0)
    place, best = shown_courses(figures.courses["torsions, distance"])["resampling"]
    assert place[0] < place[-1]
    assert (np.diff(best) <= 0.0).all()
    with pytest.raises(ProteinLabError, match="annealing, covariance, gradient, pareto"):
        run_optimizers(only="magic", size=size)


def test_survivors_and_volume_of_a_front() -> None:
    """The front survives first; volumes are those of the rectangles that one can draw."""
    totals = np.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0], [2.0, 2.0], [4.0, 4.0], [1.0, 1.0]])
    assert set(front_of(totals)) <= {0, 1, 2, 5}
    assert [totals[item].tolist() for item in front_of(totals)] == [[0, 3], [1, 1], [3, 0]]
    assert set(select(totals, 4)) == {0, 1, 2, 5}
    assert hypervolume(totals, np.array([4.0, 4.0]), np.ones(2)) == pytest.approx(4 + 6 + 1)
    assert hypervolume(totals, np.array([4.0, 4.0]), np.full(2, 2.0)) == pytest.approx(11 / 4)

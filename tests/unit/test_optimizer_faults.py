"""Searches that go wrong say so and keep the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.objective import Objective, ObjectiveError, Subject, Term, sloped
from protein_lab.design.optimizers.annealing import Annealing
from protein_lab.design.optimizers.base import Problem, run
from protein_lab.design.optimizers.evolutionary import (
    Pareto,
)
from protein_lab.design.optimizers.gradient import Gradient
from protein_lab.design.optimizers.resampling import Resampling
from protein_lab.design.optimizers.saving import load_state, save_state
from protein_lab.design.spaces.torsions import Torsions
from protein_lab.design.terms import (
    checks_term,
    clash_term,
    function_term,
    margin_term,
    torsion_term,
)
from protein_lab.errors import ProteinLabError
from protein_lab.training.corpus import CorpusChain
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


@pytest.fixture(scope="module")
def chain(real_chains: list[CorpusChain]) -> CorpusChain:
    """Give the shortest of the shared real chains."""
    return min(real_chains, key=lambda item: len(item.sequence))


def test_a_failing_term_is_named_and_the_best_is_kept() -> None:
    """Whatever a term does wrong, the message names it and the search keeps what it has."""

    def breaks(after: int, how: str) -> Term:
        calls: list[int] = []

        def measure(subject: Subject) -> float:
            calls.append(1)
            if len(calls) <= after:
                return 1.0
            if how == "raises":
                raise KeyError("no such residue")
            return float("nan")

        return Term("my wish", "angstrom", measure)

    for how, told in (("raises", "no such residue"), ("nan", "not finite")):
        asked = Problem(
            Torsions(STATES),
            (Objective([sloped("ends", "angstrom", ends), breaks(60, how)]),),
        )
        strategy = Resampling()
        found = run(strategy, strategy.init(asked, np.random.default_rng(0)), 300)
        assert "my wish" in found.stopped
        assert told in found.stopped
        assert len(found.records) == 6
        assert found.state.value == found.records[-1].best
        with pytest.raises(ObjectiveError, match="my wish"):
            asked.evaluate(found.state.best)


def test_a_wrong_gradient_is_named() -> None:
    """A slope of the wrong shape, or with NaN, is told as such."""
    atoms = np.zeros((5, 4, 3))
    for bad in (np.zeros((5, 3)), np.full((5, 4, 3), np.nan)):
        objective = Objective([sloped("slope", "nats", lambda _, bad=bad: (0.0, bad))])
        with pytest.raises(ObjectiveError, match=r"slope.*\(5, 4, 3\)"):
            objective.with_gradient(atoms)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Objective([]), "at least one term"),
        (lambda: Objective([clash_term(), clash_term()]), "different names"),
        (lambda: Objective([clash_term(float("inf"))]), "weight"),
        (lambda: Pareto().init(problem(), np.random.default_rng(0)), "two objectives"),
        (lambda: Gradient().init(problem("pareto"), np.random.default_rng(0)), "one objective"),
        (
            lambda: Gradient().init(
                Problem(Torsions(STATES), (Objective([checks_term()]),)), np.random.default_rng(0)
            ),
            "checks",
        ),
        (lambda: Torsions("H"), "no torsions"),
        (lambda: Torsions("HHH", start=np.zeros((2, 2))), "for each of 3"),
    ],
)
def test_wrong_use_is_explained(make: Any, told: str) -> None:
    """Errors say what was expected."""
    with pytest.raises(ProteinLabError, match=told):
        make()


def test_states_of_others_are_refused(tmp_path: Path) -> None:
    """A missing, broken or foreign state gives a clear message."""
    asked, path = problem(), tmp_path / "search.safetensors"
    with pytest.raises(ProteinLabError, match="cannot be read"):
        load_state(path, asked, "gradient")
    path.write_bytes(b"nothing of use")
    with pytest.raises(ProteinLabError, match="cannot be read"):
        load_state(path, asked, "gradient")
    save_state(Annealing().init(asked, np.random.default_rng(0)), path)
    with pytest.raises(ProteinLabError, match="by annealing"):
        load_state(path, asked, "gradient")


def test_terms_of_constraints_and_functions(chain: CorpusChain) -> None:
    """A constraint without energy counts what it lacks; a user's function sees a protein."""
    subject = Subject(backbone=np.asarray(chain.backbone), sequence=chain.sequence)
    size = len(chain.sequence)
    layout = Layout(size, ())
    right = SecondaryStructure(string=chain.secondary_structure)
    wrong = SecondaryStructure(string="H" * size)
    assert margin_term(right, layout).measure(subject) == 0.0
    assert margin_term(wrong, layout).measure(subject) > 0.0
    term = function_term("residues", "count", lambda protein: float(protein.num_residues))
    assert term.measure(subject) == size
    with pytest.raises(ObjectiveError, match="needs a backbone"):
        Objective([term]).evaluate(Subject(blueprint=Blueprint("LLL")))

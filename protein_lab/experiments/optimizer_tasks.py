"""Tasks that optimizers are measured on, each anew for every held-out chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from protein_lab.constraints.base import Layout, Restraint
from protein_lab.constraints.burial import Burial
from protein_lab.constraints.content import Content
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration
from protein_lab.design.blueprint import Blueprint, blueprint_of
from protein_lab.design.objective import Objective, Term, sloped, with_beta
from protein_lab.design.optimizers.base import Problem
from protein_lab.design.sequence_options import FixedResidue, SequenceOptions
from protein_lab.design.spaces.blueprints import Blueprints, contact_order_term
from protein_lab.design.spaces.latents import Latents
from protein_lab.design.spaces.sequences import Sequences, charge_term, identity_term
from protein_lab.design.spaces.torsions import Torsions
from protein_lab.design.terms import (
    blueprint_term,
    chain_term,
    clash_term,
    compactness_term,
    torsion_term,
)
from protein_lab.flow import draw_noise
from protein_lab.geometry import axis_curve, radius_of_gyration
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.sequence import SequenceOperator
from protein_lab.training.corpus import Corpus, CorpusChain

STEPS: Final = 8
"""Evaluations of the operator for a field."""

_REACH: Final = 0.2
_CLOSE: Final = 10.0
_DEEP: Final = 4
_FIXED: Final = 5


@dataclass(frozen=True)
class Tools:
    """What tasks need besides a chain.

    Attributes
    ----------
    corpus : Corpus
    operator : BaseNeuralOperator
        Makes fields.
    sequences : SequenceOperator
        Knows amino acids.
    """

    corpus: Corpus
    operator: BaseNeuralOperator[Any]
    sequences: SequenceOperator


@dataclass(frozen=True)
class Case:
    """A held-out chain of which tasks are made.

    Attributes
    ----------
    chain : CorpusChain
        Gives the blueprint, the curve and the backbone.
    tools : Tools
    seed : int
        Draws what a task leaves open.
    """

    chain: CorpusChain
    tools: Tools
    seed: int

    @cached_property
    def length(self) -> int:
        """Residues."""
        return len(self.chain.sequence)

    @cached_property
    def layout(self) -> Layout:
        """All elements are asked."""
        return Layout(self.length, self.blueprint.elements, self.blueprint.secondary_structure)

    @cached_property
    def blueprint(self) -> Blueprint:
        """Of the chain."""
        return blueprint_of(self.chain.backbone, self.chain.secondary_structure)

    def rng(self, number: int = 0) -> np.random.Generator:
        """One of the streams of the case."""
        return np.random.default_rng([self.seed, number])


def distance_restraint(case: Case) -> Restraint:
    """Bring two residues, a fifth of the chain from its ends, within 10 angstrom."""
    first = 1 + round(_REACH * case.length)
    second = round((1.0 - _REACH) * case.length)
    return Distance(first=first, second=second, max=_CLOSE).restraint(case.layout)


def size_restraint(case: Case) -> Restraint:
    """Make the chain as compact as proteins of its length are."""
    return RadiusOfGyration(max=1.0, unit="relative").restraint(case.layout)


def burial_restraint(case: Case) -> Restraint:
    """Bury the four residues that are deepest in the real chain."""
    atoms = with_beta(case.chain.backbone)
    apart = np.linalg.norm(atoms[:, None, 3] - atoms[None, :, 3], axis=-1)
    deepest = np.argsort(-(apart < 10.0).sum(axis=1), kind="stable")[:_DEEP]
    return Burial(buried=tuple(int(item) + 1 for item in deepest)).restraint(case.layout)


WISHES: Final[Mapping[str, Callable[[Case], Restraint]]] = {
    "distance": distance_restraint,
    "radius of gyration": size_restraint,
    "burial": burial_restraint,
}
"""What is asked of coordinates."""


def torsion_problem(wish: str, case: Case) -> Problem:
    """Turn loops between ideal elements until a wish is met."""
    states = case.blueprint.secondary_structure
    terms = [
        sloped(wish, "nats", WISHES[wish](case)),
        clash_term(0.5),
        torsion_term(states),
    ]
    return Problem(Torsions(states), (Objective(terms),))


def latent_problem(wish: str, case: Case, *, whole: bool) -> Problem:
    """Bend the curve, and choose the noise too if ``whole``, until the field meets a wish."""
    noise = None if whole else draw_noise(case.rng(1), 1, case.length)[0]
    curve = axis_curve(np.asarray(case.chain.backbone, dtype=np.float64)[:, 1])
    space = Latents(case.tools.operator, case.blueprint, curve, STEPS, noise)
    terms = [
        sloped(wish, "nats", LATENT_WISHES[wish](case)),
        chain_term(2.0),
        clash_term(0.2),
        compactness_term(case.length),
    ]
    return Problem(space, (Objective(terms),))


def tight_restraint(case: Case) -> Restraint:
    """Ask for a chain that is a tenth more compact than the real one."""
    ca = np.asarray(case.chain.backbone, dtype=np.float64)[:, 1]
    real = float(radius_of_gyration(ca))
    return RadiusOfGyration(max=0.9 * real).restraint(case.layout)


def near_restraint(case: Case) -> Restraint:
    """Bring two residues 4 angstrom nearer than they are in the real chain."""
    first, second = round(_REACH * case.length), round((1.0 - _REACH) * case.length) - 1
    beta = with_beta(case.chain.backbone)[:, 3]
    real = float(np.linalg.norm(beta[first] - beta[second]))
    wanted = Distance(first=first + 1, second=second + 1, max=max(real - 4.0, 5.0))
    return wanted.restraint(case.layout)


LATENT_WISHES: Final[Mapping[str, Callable[[Case], Restraint]]] = {
    "distance": near_restraint,
    "radius of gyration": tight_restraint,
    "burial": burial_restraint,
}
"""What is asked of fields around the real curve, which meet much already."""


def sequence_space(case: Case) -> Sequences:
    """Sequences of the backbone with five residues of the real one given."""
    places = np.sort(case.rng(2).choice(case.length, _FIXED, replace=False))
    known = [number for number in places if case.chain.sequence[number] != "X"]
    fixed = tuple(
        FixedResidue(position=int(number) + 1, residue=case.chain.sequence[number])
        for number in known
    )
    backbone = np.asarray(case.chain.backbone)
    return Sequences(case.tools.sequences, backbone, SequenceOptions(fixed=fixed), case.rng(3))


def likelihood_problem(case: Case) -> Problem:
    """Find the likeliest sequence with five residues given."""
    space = sequence_space(case)
    return Problem(space, (Objective([space.likelihood_term()]),))


def charge_problem(case: Case) -> Problem:
    """Find a likely sequence with a net charge of +6."""
    space = sequence_space(case)
    return Problem(space, (Objective([space.likelihood_term(), charge_term(6.0, 0.1)]),))


def blueprint_terms() -> tuple[Term, Term]:
    """Ask for a complex topology, and for as much helix as strand."""
    content = Content(helix=(35, 40), strand=(35, 40))
    return contact_order_term(0.5, 4.0), blueprint_term(content, "content", 0.2)


def blueprint_problem(case: Case) -> Problem:
    """Find a blueprint of a complex topology with given shares of helix and strand."""
    space = Blueprints(case.length, case.tools.corpus)
    return Problem(space, (Objective(blueprint_terms()),))


def front_problem(name: str, case: Case) -> Problem:
    """Ask for two things that stand in each other's way."""
    if name.startswith("torsions"):
        wish = "burial" if name == "torsions" else "radius of gyration"
        usual = torsion_problem("distance", case)
        other = Objective([sloped(wish, "nats", WISHES[wish](case))], wish)
        return Problem(usual.space, (Objective(usual.objective.terms, "distance"), other))
    if name == "sequences":
        space = sequence_space(case)
        likely = Objective([space.likelihood_term()], "likelihood")
        return Problem(space, (likely, Objective([identity_term(case.chain.sequence)], "identity")))
    # as complex as can be, with as little loop as can be: more than real chains have of either
    order = Objective([contact_order_term(1.0)], "order")
    loops = Objective([blueprint_term(Content(loop=(0, 10)), "loop")], "loop")
    return Problem(Blueprints(case.length, case.tools.corpus), (order, loops))


FRONTS: Final = ("torsions", "torsions and size", "sequences", "blueprints")


def cases(tools: Tools, count: int, seed: int) -> list[Case]:
    """Draw held-out chains of 60 to 80 residues.

    Parameters
    ----------
    tools : Tools
    count : int
        Chains.
    seed : int
        Draws them.
    """
    pool = tools.corpus.indices("calibration", 60, 80)
    rng = np.random.default_rng(seed)
    found: list[Case] = []
    for index in rng.permutation(pool):
        case = Case(tools.corpus.chain(int(index)), tools, seed + len(found))
        if len(case.blueprint.elements) >= 3:
            found.append(case)
        if len(found) == count:
            break
    return found

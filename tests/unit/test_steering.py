"""Constraints pull at curves, fields and traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from protein_lab.constraints.base import Layout
from protein_lab.design.bending import bend_curve
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.refinement import refine
from protein_lab.design.steering import Steering
from protein_lab.design.virtual_atoms import beta
from protein_lab.geometry import axis_curve
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import Fault, FloatArray, Measurement

Chain = tuple[FloatArray, Blueprint]


@dataclass(frozen=True)
class Tether:
    """Two CA atoms at a distance: the simplest constraint that pulls."""

    kind: ClassVar[str] = "tether"
    first: int
    second: int
    distance: float

    def faults(self, path: str) -> list[Fault]:
        """Find nothing."""
        return []

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Measure the distance."""
        value = float(np.linalg.norm(_beta(protein.backbone, self.first, self.second)))
        margin = 1.0 - abs(value - self.distance)
        return Measurement(
            constraint="tether",
            value=value,
            unit="angstrom",
            target=self.distance,
            margin=margin,
            verdict="pass" if margin >= 0 else "fail",
        )

    def restraint(self, layout: Layout) -> Tether:
        """Pull by itself."""
        return self

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Pull at two points."""
        step = curve[self.first] - curve[self.second]
        length = np.linalg.norm(step)
        off = length - self.distance
        root = np.sqrt(1.0 + off**2 / 4.0)
        gradient = np.zeros_like(curve)
        gradient[self.first] = 2.0 * off / root / length * step
        gradient[self.second] = -gradient[self.first]
        return float(8.0 * (root - 1.0)), gradient

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Pull at CB."""
        value, on_alpha = self.on_curve(atoms[:, 3])
        gradient = np.zeros_like(atoms)
        gradient[:, 3] = on_alpha
        return value, gradient


def _beta(backbone: FloatArray, first: int, second: int) -> FloatArray:
    found = beta(backbone[:, :3].reshape(-1, 3).astype(np.float64))
    return found[first] - found[second]


@pytest.fixture(scope="module")
def chain() -> Chain:
    """Look up a real chain and its states."""
    corpus = Corpus.open()
    for index in range(len(corpus.ids)):
        found = corpus.chain(index)
        if 60 <= len(found.backbone) <= 70:
            return found.backbone, Blueprint(found.secondary_structure)
    raise LookupError


def steering_of(first: int, second: int, distance: float, length: int) -> Steering:
    """Tether two residues."""
    found = Steering.of([Tether(first, second, distance)], Layout(length, ()))
    assert found is not None
    return found


def test_nothing_pulls_where_only_elements_are_asked() -> None:
    """Blueprints have their own way into the operator."""
    assert Steering.of([], Layout(60, ())) is None


def test_the_gradient_of_a_trace_is_that_of_its_energy(chain: Chain) -> None:
    """By central differences, over CB as well."""
    backbone, _ = chain
    trace = backbone[:, :3].reshape(-1, 3).astype(np.float64)
    steering = steering_of(5, 50, 4.0, len(backbone))
    _, gradient = steering.on_trace(trace)
    for atom, axis in ((15, 0), (16, 1), (17, 2), (151, 0), (30, 0)):
        moved = np.zeros_like(trace)
        moved[atom, axis] = 1e-5
        higher, lower = steering.on_trace(trace + moved)[0], steering.on_trace(trace - moved)[0]
        assert gradient[atom, axis] == pytest.approx((higher - lower) / 2e-5, abs=1e-5)


def test_a_curve_is_bent_and_its_elements_keep_their_shape(
    chain: tuple[FloatArray, Blueprint],
) -> None:
    """The distance grows nearly as asked, elements stay as long as they are."""
    backbone, blueprint = chain
    curve = axis_curve(backbone[:, 1])
    before = float(np.linalg.norm(curve[3] - curve[-4]))
    steering = steering_of(3, len(curve) - 4, before + 8.0, len(curve))
    bent, strain = bend_curve(curve, blueprint, steering)
    after = float(np.linalg.norm(bent[3] - bent[-4]))
    assert before + 4.0 < after <= before + 8.5
    assert 0.0 < strain < 100.0
    for element in blueprint.elements:
        own = slice(element.start, element.stop)
        rise = np.linalg.norm(np.diff(curve[own], axis=0), axis=-1)
        assert np.abs(np.linalg.norm(np.diff(bent[own], axis=0), axis=-1) - rise).max() < 0.5


def test_fields_follow_and_nothing_moves_that_is_not_pulled(
    chain: tuple[FloatArray, Blueprint],
) -> None:
    """A field where the constraint holds stays as it is."""
    backbone, _ = chain
    fields = backbone[None, :, :3].astype(np.float32)
    trace = fields[0].reshape(-1, 3).astype(np.float64)
    steering = steering_of(10, 40, 12.0, len(backbone))
    moved = steering.move_fields(fields)
    assert steering.on_trace(moved[0].reshape(-1, 3).astype(float))[0] < steering.on_trace(trace)[0]
    still = np.linalg.norm(moved[0, 22:28] - fields[0, 22:28], axis=-1)
    assert still.max() < 0.01
    there = steering_of(10, 40, float(np.linalg.norm(_beta(backbone, 10, 40))), len(backbone))
    assert np.abs(there.move_fields(fields) - fields).max() < 1e-3


def test_a_refined_backbone_meets_what_pulls_at_it(chain: Chain) -> None:
    """And one that was not pulled does not."""
    backbone, blueprint = chain
    length = len(backbone)
    distance = float(np.linalg.norm(_beta(backbone, 14, 50))) + 4.0
    steering = steering_of(14, 50, distance, length)
    plain = refine(backbone[:, :3], blueprint)
    (moved,) = steering.move_fields(backbone[None, :, :3])
    pulled = refine(moved, blueprint, steering=steering)
    assert steering.num_missed(plain.backbone) == 1
    assert steering.num_missed(pulled.backbone) == 0


def test_given_torsions_replace_the_wells_of_a_state() -> None:
    """Also where only one of the two is given."""
    given = np.full((5, 2), np.nan)
    given[2] = np.radians([60.0, 30.0])
    given[3, 0] = np.radians(-150.0)
    wells = TorsionWells.of("HHHHH", given)
    here = np.radians([[-63.0, -42.0], [-63.0, -42.0], [60.0, 30.0], [-150.0, 77.0], [-63, -42]])
    energy, _ = wells.energy(here)
    assert np.abs(energy).max() < 1e-9
    assert wells.energy(np.radians(np.full((5, 2), -60.0)))[0][2] > 20.0

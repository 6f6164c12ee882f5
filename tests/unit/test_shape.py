"""Shapes that a chain fills: bodies, poses, energies and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from protein_lab.constraints.base import Layout
from protein_lab.constraints.shape import Shape
from protein_lab.constraints.shape_fit import best_pose, two_sided_distance
from protein_lab.constraints.solids import Box, Cylinder, Ellipsoid, Solid, Torus, fill
from protein_lab.design.request import check_request
from protein_lab.protein import Protein
from protein_lab.testing.gradients import worst_gradient_error
from protein_lab.training.corpus import CorpusChain
from protein_lab.typing import FloatArray

SOLIDS: list[Solid] = [
    Ellipsoid(x=3.0, y=4.0, z=9.0),
    Cylinder(radius=5.0, height=12.0),
    Cylinder(radius=5.0, height=12.0, inner_radius=3.0),
    Box(x=4.0, y=7.0, z=9.0),
    Torus(radius=6.0, tube=2.0),
]


def turned(points: FloatArray, seed: int) -> FloatArray:
    """Move points as a rigid body."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    return points @ turn.T + rng.normal(scale=40.0, size=3)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda item: f"{item.form}-{item.volume:.0f}")
def test_bodies_are_filled_evenly(solid: Solid) -> None:
    """Points lie inside, their box is that of the body, and the volume is that by counting."""
    points = fill(solid, 4000)
    assert solid.holds(points).all()
    half = np.array(solid.half_extents)
    assert (np.abs(points).max(axis=0) > 0.93 * half).all()
    trial = np.random.default_rng(0).uniform(-half, half, size=(100_000, 3))
    share = solid.holds(trial).mean()
    assert share * np.prod(2.0 * half) == pytest.approx(solid.volume, rel=0.02)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda item: f"{item.form}-{item.volume:.0f}")
def test_a_moved_cloud_is_found_again(solid: Solid) -> None:
    """The distance of a body to itself is small wherever it lies, and that to another larger."""
    cloud = 3.0 * fill(solid, 120)
    moved = turned(cloud, 3)
    assert two_sided_distance(moved, cloud) == pytest.approx((0.0, 0.0), abs=0.3)
    rotation, _ = best_pose(moved, cloud)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    rod = fill(Cylinder(radius=1.0, height=12.0), 120)
    rod *= (solid.volume * 27.0 / (12.0 * np.pi)) ** (1.0 / 3.0)
    assert sum(two_sided_distance(moved, rod)) > 3.0


def test_the_distance_is_that_of_nearest_points(real_chains: list[CorpusChain]) -> None:
    """The measure agrees with a plain search in the pose that it finds."""
    chain = real_chains[3]
    ca = np.asarray(chain.backbone[:, 1], dtype=np.float64)
    asked = Shape(solid=Ellipsoid(x=1.0, y=1.0, z=1.5))
    protein, layout = Protein.from_backbone(chain.backbone), Layout(len(ca), ())
    cloud = asked.cloud(len(ca))
    rotation, shift = best_pose(ca, cloud)
    laid = cloud @ rotation.T + shift
    out = np.sqrt((KDTree(laid).query(ca)[0] ** 2).mean())
    empty = np.sqrt((KDTree(ca).query(laid)[0] ** 2).mean())
    found = asked.evaluate(protein, layout)
    assert found.value == pytest.approx(0.5 * (out + empty), abs=1e-3)
    assert found.margin == pytest.approx(4.0 - 0.5 * (out + empty), abs=1e-3)
    points: Any = tuple(map(tuple, turned(ca, 1).tolist()))
    own = Shape(points=points).evaluate(protein, layout)
    assert (own.verdict, own.value) == ("pass", pytest.approx(0.0, abs=0.3))


def test_the_energy_has_a_true_gradient_and_fills_the_shape() -> None:
    """A ball of residues is drawn into a rod, and the energy falls to where it is filled."""
    ball = turned(3.0 * fill(Ellipsoid(x=4.0, y=4.0, z=4.0), 60), 2)
    atoms = np.repeat(ball[:, None], 4, axis=1)
    asked = Shape(solid=Cylinder(radius=1.0, height=10.0))
    restraint = asked.restraint(Layout(60, ()))
    cloud = asked.cloud(60)
    first = restraint(atoms)[0]
    assert first > 10.0
    for _ in range(30):
        restraint(atoms)
    assert worst_gradient_error(restraint, atoms, step=1e-4) < 1e-2
    assert np.abs(restraint(atoms)[1]).max() < 20.0
    before = np.mean(two_sided_distance(atoms[:, 1], cloud))
    for _ in range(300):
        energy, gradient = restraint(atoms)
        if energy == 0.0:
            break
        atoms = atoms - 0.3 * gradient
    assert restraint(atoms)[0] < 0.02 * first
    assert np.mean(two_sided_distance(atoms[:, 1], cloud)) < 4.0 < before


@pytest.mark.parametrize(
    ("constraint", "place", "message"),
    [
        ({}, "", "neither"),
        ({"points": [[0, 0, 0]]}, ".points", "at least 8"),
        ({"points": [[0, 0, 0.01 * k] for k in range(9)]}, ".points", "within 1 angstrom"),
        ({"points": [[0, 0, 1.0 * k] for k in range(9)]}, ".points", "radius of gyration"),
        ({"points": [[0, 0]] * 9}, ".points[0]", "a list of 3"),
        ({"solid": {"x": 1, "y": 1, "z": 1}}, ".solid", "'form'"),
        ({"solid": {"form": "cone"}}, ".solid.form", "'cone'"),
        ({"solid": {"form": "box", "x": 1, "y": 1, "z": 0}}, ".solid.z", "0.1"),
        ({"solid": {"form": "torus", "radius": 2, "tube": 2}}, ".solid.tube", "thinner"),
        (
            {"solid": {"form": "cylinder", "radius": 2, "height": 5, "inner_radius": 3}},
            ".solid.inner_radius",
            "less than the radius",
        ),
        (
            {"solid": {"form": "box", "x": 10, "y": 10, "z": 10}, "size": "given"},
            ".solid",
            "room for 60",
        ),
    ],
    ids=lambda item: str(item)[:40],
)
def test_bad_shapes_are_named(constraint: dict[str, Any], place: str, message: str) -> None:
    """Every fault says where it is and what came."""
    found = check_request({"length": 60, "constraints": [{"kind": "shape"} | constraint]})
    assert (found[0].severity, found[0].path) == ("error", f"$.constraints[0]{place}")
    assert message in found[0].message


def test_a_shape_that_is_hardly_filled_is_warned_of() -> None:
    """Too much room is possible, but not what a chain does by itself."""
    solid = {"form": "ellipsoid", "x": 30, "y": 30, "z": 30}
    shape = {"kind": "shape", "solid": solid, "size": "given"}
    (fault,) = check_request({"length": 60, "constraints": [shape]})
    assert fault.severity == "warning"
    assert "7%" in fault.message

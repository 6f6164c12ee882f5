"""Constraints on distances and on the chain as a whole: energies, verdicts and bad input."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from biotite.structure import AtomArray
from biotite.structure.sasa import sasa
from scipy.optimize import minimize
from scipy.stats import spearmanr

from protein_lab.constants import AMINO_ACIDS
from protein_lab.constraints.base import Layout, Restraining, Restraint
from protein_lab.constraints.burial import BURIED, EXPOSED, Burial, count_neighbors
from protein_lab.constraints.contacts import Contact, Contacts
from protein_lab.constraints.content import Content
from protein_lab.constraints.distance import Distance
from protein_lab.constraints.radius_of_gyration import RadiusOfGyration, expected_radius
from protein_lab.constraints.spans import bounds
from protein_lab.constraints.wells import TEMPERATURE, best_of, well
from protein_lab.design.request import check_request
from protein_lab.geometry import axis_curve, radius_of_gyration, virtual_cb
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.corpus import CorpusChain
from protein_lab.typing import Fault, FloatArray

LENGTH = 24
LAYOUT = Layout(LENGTH, ())
RESTRAINTS: list[Restraining] = [
    Distance(first=3, second=20, max=6.0),
    Distance(first=(2, 6), second=(15, 20), atom="CA", min=40.0),
    Distance(first=5, second=12, target=9.0, tolerance=0.5),
    Contacts(pairs=(Contact(first=3, second=20), Contact(first=(5, 9), second=(15, 22)))),
    Contacts(
        pairs=tuple(Contact(first=k, second=k + 12) for k in range(1, 8)), distance=5.0, at_least=3
    ),
    Burial(buried=(6, (9, 11)), exposed=(2, 20)),
    Burial(buried=((3, 20),), at_least=5),
    RadiusOfGyration(target=9.0),
    RadiusOfGyration(min=1.5, unit="relative"),
]


def atoms_of(backbone: FloatArray) -> FloatArray:
    """N, CA, C and virtual CB of a backbone."""
    exact = np.asarray(backbone, dtype=np.float64)
    return np.concatenate([exact[:, :3], virtual_cb(exact)[:, None]], axis=1)


def random_chain(seed: int = 0) -> FloatArray:
    """Draw four atoms a residue of a random walk."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(scale=3.0, size=(LENGTH, 3)), axis=0)
    return path[:, None] + rng.normal(scale=0.8, size=(LENGTH, 4, 3))


def assert_gradient(energy: Any, point: FloatArray) -> None:
    """Compare an analytic gradient with central differences."""
    value, gradient = energy(point)
    assert value > 0.0
    rng = np.random.default_rng(1)
    for _ in range(5):
        way = rng.normal(size=point.shape)
        way /= np.linalg.norm(way)
        step = 1e-5
        slope = (energy(point + step * way)[0] - energy(point - step * way)[0]) / (2.0 * step)
        assert (gradient * way).sum() == pytest.approx(slope, rel=1e-5, abs=1e-6)


def num_asked(constraint: Restraining) -> int:
    """Count the pairs or residues that a constraint names."""
    if isinstance(constraint, Contacts):
        return len(constraint.pairs)
    assert isinstance(constraint, Burial)
    spans = [bounds(span) for span in (*constraint.buried, *constraint.exposed)]
    return sum(stop - start for start, stop in spans)


def num_met(constraint: Restraining, atoms: FloatArray) -> int:
    """Count contacts that touch, or residues that lie as asked."""
    if isinstance(constraint, Contacts):
        points = atoms[:, 3]
        nearest = [
            np.linalg.norm(
                points[slice(*bounds(pair.first)), None] - points[slice(*bounds(pair.second))],
                axis=-1,
            ).min()
            for pair in constraint.pairs
        ]
        return sum(value < constraint.distance for value in nearest)
    assert isinstance(constraint, Burial)
    counts, _ = count_neighbors(atoms[:, 1], atoms[:, 3], np.arange(LENGTH))
    buried = [k for span in constraint.buried for k in range(*bounds(span))]
    exposed = [k for span in constraint.exposed for k in range(*bounds(span))]
    return int((counts[buried] >= BURIED).sum() + (counts[exposed] <= EXPOSED).sum())


@pytest.mark.parametrize("constraint", RESTRAINTS, ids=repr)
def test_gradients_are_those_of_the_energy(constraint: Restraining) -> None:
    """Steering and refinement follow the gradient, so it must be the true one."""
    restraint: Restraint = constraint.restraint(LAYOUT)
    atoms = random_chain()
    assert_gradient(restraint, atoms)
    curves = [scale * atoms[:, 1] for scale in (1.0, 0.2, 4.0)]
    if isinstance(constraint, Burial):
        assert not restraint.on_curve(curves[0])[1].any()
        return
    assert_gradient(restraint.on_curve, max(curves, key=lambda curve: restraint.on_curve(curve)[0]))


@pytest.mark.parametrize("constraint", RESTRAINTS, ids=repr)
def test_energies_do_not_depend_on_the_place_and_pull_with_bounded_force(
    constraint: Restraining,
) -> None:
    """Rigid motion changes nothing, and a chain far away is pulled, not torn."""
    restraint = constraint.restraint(LAYOUT)
    atoms = random_chain()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert restraint(atoms @ turn.T + 30.0)[0] == pytest.approx(restraint(atoms)[0])
    for scale in (0.0, 1.0, 1e3):
        center = atoms[:, 1:2]
        gradient = restraint(scale * center + (atoms - center))[1]
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() < 15.0


@pytest.mark.parametrize("constraint", RESTRAINTS, ids=repr)
def test_the_lowest_energy_is_where_the_constraint_holds(constraint: Restraining) -> None:
    """What is minimized is what is measured."""
    restraint = constraint.restraint(LAYOUT)
    shape = (LENGTH, 4, 3)

    def energy(flat: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = restraint(flat.reshape(shape))
        return value, gradient.ravel()

    found = minimize(energy, random_chain().ravel(), jac=True, method="L-BFGS-B").x.reshape(shape)
    if isinstance(constraint, RadiusOfGyration):
        low, high = constraint.limits(LENGTH)
        assert low <= radius_of_gyration(found[:, 1]) <= high
    elif isinstance(constraint, Distance):
        points = found[:, 1 if constraint.atom == "CA" else 3]
        one, other = (
            points[slice(*bounds(span))].mean(axis=0)
            for span in (constraint.first, constraint.second)
        )
        low, high = constraint.limits
        assert low <= np.linalg.norm(one - other) <= high
    else:
        needed = getattr(constraint, "at_least", None) or num_asked(constraint)
        assert num_met(constraint, random_chain()) < needed <= num_met(constraint, found)


def test_energies_of_some_of_many_are_the_sum_over_all_ways() -> None:
    """The recursion agrees with counting every way of choosing, and is smooth at ties."""
    energies = np.array([0.3, 2.0, 0.0, 5.0, 2.0])
    ways = [list(way) for way in combinations(range(5), 3)]
    weights = np.array([np.exp(-energies[way].sum() / TEMPERATURE) for way in ways])
    energy, shares = best_of(energies, 3)
    assert energy == pytest.approx(-TEMPERATURE * np.log(weights.mean()))
    expected = [sum(w for w, way in zip(weights, ways, strict=True) if k in way) for k in range(5)]
    assert shares == pytest.approx(np.array(expected) / weights.sum())
    assert best_of(np.zeros(5), 2)[0] == pytest.approx(0.0, abs=1e-12)
    assert best_of(np.array([0.0, 0.0, 900.0]), 2)[0] < 1.2


def test_neighbors_agree_with_the_accessible_surface(real_chains: list[CorpusChain]) -> None:
    """Neighbors in the cone and the surface that biotite rolls a ball over tell the same."""
    for chain in real_chains[:4]:
        backbone = np.asarray(chain.backbone, dtype=np.float64)
        beta, length = virtual_cb(backbone), len(backbone)
        counts, _ = count_neighbors(backbone[:, 1], beta, np.arange(length))
        atoms = AtomArray(5 * length)
        atoms.coord = np.concatenate([backbone, beta[:, None]], axis=1).reshape(-1, 3)
        atoms.element = np.array(["N", "C", "C", "O", "C"] * length)
        atoms.res_id = np.repeat(np.arange(length), 5)
        surface = sasa(atoms, probe_radius=3.0, vdw_radii="Single")
        of_beta = surface.reshape(length, 5)[:, 4]
        assert float(spearmanr(counts, of_beta)[0]) < -0.85  # pyright: ignore
        assert of_beta[counts >= BURIED].mean() < 0.3 * of_beta[counts <= EXPOSED].mean()


def test_real_chains_hold_the_contacts_and_the_burial_they_have(
    real_chains: list[CorpusChain],
) -> None:
    """What is read from a structure is met by it, and its opposite is not."""
    for chain in real_chains[:8]:
        protein = Protein.from_backbone(chain.backbone)
        backbone = np.asarray(chain.backbone, dtype=np.float64)
        length = protein.num_residues
        layout, beta = Layout(length, ()), virtual_cb(backbone)
        apart = np.linalg.norm(beta[:, None] - beta[None], axis=-1)
        near = [(int(i) + 1, int(j) + 1) for i, j in np.argwhere(np.triu(apart < 7.5, 8))][:5]
        far = [(int(i) + 1, int(j) + 1) for i, j in np.argwhere(np.triu(apart > 9.0, 8))][:5]
        pairs = tuple(Contact(first=i, second=j) for i, j in near + far)
        some = Contacts(pairs=pairs, at_least=len(near))
        assert some.evaluate(protein, layout).margin == 0.0
        assert Contacts(pairs=pairs).evaluate(protein, layout).margin == -len(far)
        counts, _ = count_neighbors(backbone[:, 1], beta, np.arange(length))
        inner = tuple(int(k) + 1 for k in np.argsort(counts)[-5:] if counts[k] >= BURIED)
        outer = tuple(int(k) + 1 for k in np.argsort(counts)[:5])
        assert Burial(buried=inner, exposed=outer).evaluate(protein, layout).verdict == "pass"
        opposite = Burial(buried=outer, exposed=inner).evaluate(protein, layout)
        assert (opposite.value, opposite.verdict) == (0.0, "fail")


def test_buried_residues_are_asked_to_be_hydrophobic() -> None:
    """The bias on the sequence follows what is asked, and leaves other residues alone."""
    bias = Burial(buried=(3,), exposed=((5, 6),)).residue_bias(LAYOUT)
    leucine, lysine = AMINO_ACIDS.index("L"), AMINO_ACIDS.index("K")
    assert bias[2, leucine] > 0.0 > bias[2, lysine]
    assert bias[5, lysine] > 0.0 > bias[5, leucine]
    assert not np.delete(bias, [2, 4, 5], axis=0).any()


def test_a_well_is_flat_inside_quadratic_near_and_linear_far() -> None:
    """The law that all restraints are built from."""
    value, slope = well(np.array([5.0, 8.0, 8.1, 1008.0]), 4.0, 8.0, 2.0)
    assert value[:2] == pytest.approx([0.0, 0.0])
    assert value[2] == pytest.approx(0.01, rel=1e-2)
    assert slope[3] == pytest.approx(4.0, rel=1e-4)


def test_real_chains_are_measured_as_they_are(real_chains: list[CorpusChain]) -> None:
    """Numbers agree with plain formulas, and verdicts with the numbers."""
    for chain in real_chains[:8]:
        protein = Protein.from_backbone(chain.backbone)
        length = protein.num_residues
        layout = Layout(length, ())
        cb = virtual_cb(np.asarray(chain.backbone, dtype=np.float64))
        apart = float(np.sqrt(((cb[4] - cb[40]) ** 2).sum()))
        near = Distance(first=5, second=41, max=apart + 1.0).evaluate(protein, layout)
        assert near.value == pytest.approx(apart, abs=1e-3)
        assert (near.verdict, near.margin) == ("pass", pytest.approx(1.0, abs=1e-3))
        far = Distance(first=5, second=41, min=apart + 2.0).evaluate(protein, layout)
        assert (far.verdict, far.margin) == ("fail", pytest.approx(-2.0, abs=1e-3))
        radius = float(radius_of_gyration(chain.backbone[:, 1])) / expected_radius(length)
        asked = RadiusOfGyration(max=radius + 0.1, unit="relative")
        assert asked.evaluate(protein, layout).margin == pytest.approx(0.1, abs=1e-4)
        states = dssp(chain.backbone)
        helix = round(100 * states.count("H") / length)
        content = Content(helix=(max(helix - 5, 0), min(helix + 5, 100)))
        assert content.evaluate(protein, layout).verdict == "pass"
        assert content.blueprint_cost(states, []) < 0.5
        other = Content(helix=(min(helix + 10, 100), 100)).evaluate(protein, layout)
        assert other.verdict == ("fail" if helix < 100 else "pass")


def test_the_curve_is_as_compact_as_the_chain_when_the_energy_says_so(
    real_chains: list[CorpusChain],
) -> None:
    """A real chain that holds the constraint hardly has energy on its curve."""
    for chain in real_chains:
        length = len(chain.secondary_structure)
        radius = float(radius_of_gyration(chain.backbone[:, 1]))
        restraint = RadiusOfGyration(target=radius, tolerance=1.0).restraint(
            Layout(length, (), chain.secondary_structure)
        )
        energy, _ = restraint.on_curve(axis_curve(chain.backbone[:, 1]))
        assert energy < 0.2 * length


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "distance", "first": 3, "second": 9}, "", "got none"),
    ({"kind": "distance", "first": 3, "second": 3, "max": 8}, ".second", "twice"),
    ({"kind": "distance", "first": 0, "second": 9, "max": 8}, ".first", "from 1 to"),
    ({"kind": "distance", "first": [9, 3], "second": 20, "max": 8}, ".first", "before the last"),
    ({"kind": "distance", "first": 3, "second": 99, "max": 8}, ".second", "1 to 60, but got 99"),
    ({"kind": "distance", "first": 3, "second": 9, "min": 9, "max": 8}, ".max", "at least 9"),
    ({"kind": "distance", "first": 3, "second": 9, "min": 90}, ".min", "stretched chain"),
    ({"kind": "distance", "first": 3, "second": 9, "target": 5, "max": 8}, ".target", "both"),
    ({"kind": "distance", "first": 3, "second": 30, "max": 2}, ".max", "no nearer"),
    ({"kind": "distance", "first": 3, "second": 30, "max": 8, "min": -1}, ".min", "from 0"),
    ({"kind": "distance", "first": "3", "second": 30, "max": 8}, ".first", "integer"),
    ({"kind": "contacts", "pairs": []}, ".pairs", "empty"),
    ({"kind": "contacts", "pairs": [{"first": 3, "second": 9}], "at_least": 2}, ".at_least", "1,"),
    ({"kind": "contacts", "pairs": [{"first": 3, "second": 99}]}, ".pairs[0].second", "99"),
    ({"kind": "contacts", "pairs": [{"first": 3, "second": [2, 9]}]}, ".pairs[0]", "share"),
    ({"kind": "contacts", "pairs": 2 * [{"first": 3, "second": 9}]}, ".pairs[1]", "same pair"),
    ({"kind": "contacts", "pairs": [{"first": 3}]}, ".pairs[0].second", "missing"),
    ({"kind": "burial"}, "", "got none"),
    ({"kind": "burial", "buried": [3, [2, 5]], "exposed": [4]}, ".exposed", "Residue 4"),
    ({"kind": "burial", "buried": [3, 70]}, ".buried[1]", "1 to 60"),
    ({"kind": "burial", "buried": [[1, 60]]}, ".buried", "at most about 20"),
    ({"kind": "burial", "buried": [[5, 9]], "at_least": 6}, ".at_least", "at most 5"),
    ({"kind": "radius_of_gyration"}, "", "got none"),
    ({"kind": "radius_of_gyration", "max": 5.0}, ".max", "solid sphere"),
    ({"kind": "radius_of_gyration", "min": 500.0}, ".min", "stretched chain"),
    ({"kind": "radius_of_gyration", "target": 0.5, "unit": "relative"}, ".target", "sphere"),
    ({"kind": "content"}, "", "got none"),
    ({"kind": "content", "helix": [60, 40]}, ".helix", "smaller number first"),
    ({"kind": "content", "helix": [60, 80], "strand": [50, 60]}, "", "110 %"),
    ({"kind": "content", "helix": [0, 20], "strand": [0, 30], "loop": [0, 40]}, "", "90 %"),
    ({"kind": "content", "helix": [0, 120]}, ".helix", "0 to 100"),
    ({"kind": "content", "helix": [0, 0], "helices": 2}, ".helices", "agree"),
    ({"kind": "content", "helices": [9, 20], "strands": [8, 9]}, ".helices", "fit 60"),
    ({"kind": "content", "helix": [0, 20], "helices": [4, 5]}, ".helices", "20 %"),
]


def faults_of(constraint: dict[str, Any], **others: Any) -> list[Fault]:
    """Check a request with one constraint."""
    return check_request({"length": 60, "constraints": [constraint]} | others)


@pytest.mark.parametrize(("constraint", "place", "message"), BAD, ids=lambda item: str(item)[:60])
def test_bad_input_is_named_with_its_place(
    constraint: dict[str, Any], place: str, message: str
) -> None:
    """Every fault says where it is, what came and how to mend it."""
    (fault,) = faults_of(constraint)
    assert fault.path == f"$.constraints[0]{place}"
    assert message in fault.message
    assert fault.severity == "error"


def test_what_the_secondary_structure_excludes_is_found() -> None:
    """Distances in one helix and shares are given by the asked states."""
    states = {"kind": "secondary_structure", "string": "L" + "H" * 40 + "-" * 19}
    for constraint, place in (
        ({"kind": "distance", "first": 5, "second": 25, "max": 8.0}, ""),
        ({"kind": "content", "helix": [10, 40]}, ".helix"),
        ({"kind": "content", "strand": [50, 60]}, ".strand"),
        ({"kind": "content", "helices": 0}, ".helices"),
        ({"kind": "contacts", "pairs": [{"first": 5, "second": 25}]}, ".pairs[0]"),
    ):
        (fault,) = check_request({"length": 60, "constraints": [states, constraint]})
        assert (fault.path, fault.severity) == (f"$.constraints[1]{place}", "error")
    good = {"kind": "distance", "first": 5, "second": 25, "target": 30.0}
    assert check_request({"length": 60, "constraints": [states, good]}) == []


def test_unusual_wishes_are_warned_of() -> None:
    """What few real chains have is no error."""
    for constraint in (
        {"kind": "radius_of_gyration", "max": 0.91, "unit": "relative"},
        {"kind": "radius_of_gyration", "min": 1.5, "unit": "relative"},
        {"kind": "content", "strands": 1},
        {"kind": "content", "helix": [1, 9], "helices": 0},
    ):
        (fault,) = faults_of(constraint)
        assert fault.severity == "warning"
    short = faults_of({"kind": "distance", "first": 3, "second": 55, "max": 8}, length=[50, 60])
    assert [fault.path for fault in short] == ["$.constraints[0].second"]


def test_blueprints_are_told_how_far_off_they_are() -> None:
    """The cost is 0 where all is met and grows with what is missing."""
    asked = Content(helix=(40, 60), helices=2, strands=0)
    good = "LL" + "H" * 12 + "LLLLLLLL" + "H" * 13 + "L" * 15
    assert asked.blueprint_cost(good, []) == 0.0
    worse = good.replace("H" * 12, "L" * 12)
    assert 0.0 < asked.blueprint_cost(worse, []) < asked.blueprint_cost("L" * 50, [])


WHOLE: list[dict[str, Any]] = [
    {"kind": "distance", "first": 3, "second": [20, 22], "min": 5.0, "max": 9.0},
    {"kind": "contacts", "pairs": [{"first": 3, "second": [20, 25]}], "at_least": 1},
    {"kind": "burial", "buried": [3, [5, 9]], "exposed": [20], "at_least": 2},
    {"kind": "radius_of_gyration", "target": 1.1, "tolerance": 0.1, "unit": "relative"},
    {"kind": "content", "helix": [10, 60], "strands": [2, 3]},
    {"kind": "segments", "segments": [{"state": "H", "length": [20, 30]}]},
    {"kind": "shape", "points": [[5.0 * (k % 3), 5.0 * (k // 3), 9.0] for k in range(9)]},
    {"kind": "shape", "solid": {"form": "torus", "radius": 3, "tube": 1}, "size": "given"},
    {"kind": "topology", "order": [2, 1], "orientations": ["parallel"], "crossovers": "right"},
]


def spoiled(data: Any) -> Iterator[Any]:
    """Replace every value of a JSON document in turn by one that cannot be right."""
    if not isinstance(data, dict | list):
        return
    for key, value in data.items() if isinstance(data, dict) else enumerate(data[:2]):
        if key == "kind":
            continue
        for bad in ("x", [None], {}, -7e9):
            copied = data.copy()
            copied[key] = bad
            yield copied
        for inner in spoiled(value):
            copied = data.copy()
            copied[key] = inner
            yield copied


@pytest.mark.parametrize("constraint", WHOLE, ids=lambda item: str(item)[:40])
def test_values_that_cannot_be_read_are_faults_and_never_tracebacks(
    constraint: dict[str, Any],
) -> None:
    """Cross-checks pass over what could not be read."""
    states = {"kind": "secondary_structure", "string": "LEEEEELLLEEEEELLHHHHHHHHHHLLLL"}
    for bad in spoiled(constraint):
        found = check_request({"length": 30, "constraints": [bad, states]})
        assert any(fault.path.startswith("$.constraints[0]") for fault in found)

"""The fold library: search by blueprint, bending of folds, and what happens when nothing fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protein_lab.design.blueprint import Blueprint, blueprint_of, resize, sample_blueprint
from protein_lab.design.element_table import ElementTable, load_table
from protein_lab.design.fold_library import FoldLibrary, curve_distance
from protein_lab.design.ideal_elements import extend, ideal_trace
from protein_lab.design.registration import residue_shifts
from protein_lab.design.relaxation import Bridge, relax
from protein_lab.errors import CorpusError
from protein_lab.geometry import arc_speed, axis_curve, dihedral
from protein_lab.training.corpus import Corpus

KEPT = 600


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the corpus that ships with the package."""
    return Corpus.open()


@pytest.fixture(scope="module")
def library(corpus: Corpus) -> FoldLibrary:
    """Keep some hundred chains only, so that the tests are fast."""
    train = corpus.indices("train")
    return FoldLibrary(corpus, exclude=train[KEPT:])


@pytest.fixture(scope="module")
def own(corpus: Corpus) -> Callable[[int], Blueprint]:
    """Read the blueprint of a chain."""
    return lambda chain: blueprint_of(corpus.backbone(chain), corpus.secondary_structure(chain))


def some_chains(library: FoldLibrary) -> list[int]:
    """Chains of usual size with a fold worth the name."""
    rich = (library.table.kind >= 0).sum(axis=1) >= 5
    usual = (library.table.length >= 60) & (library.table.length <= 130)
    return [int(chain) for chain in library.chains[rich & usual][:6]]


def test_own_blueprint_finds_the_chain_and_gives_its_curve_back(
    corpus: Corpus, library: FoldLibrary, own: Callable[[int], Blueprint]
) -> None:
    """The best fold for a chain's own blueprint is that chain, and nothing needs bending."""
    for chain in some_chains(library):
        blueprint = own(chain)
        hits = {hit.chain_index: hit for hit in library.search(blueprint, 4)}
        hit = hits[chain]
        assert hit.kind == "fold"
        assert hit.element_map == tuple(range(len(blueprint.elements)))
        curve = library.warp(hit, blueprint, np.random.default_rng(0))
        assert np.allclose(curve, axis_curve(corpus.backbone(chain)[:, 1]), atol=1e-3)


def test_only_training_chains_that_are_not_excluded_are_used(
    corpus: Corpus, library: FoldLibrary, own: Callable[[int], Blueprint]
) -> None:
    """No test chain and no excluded chain is ever a hit."""
    allowed = {int(chain) for chain in corpus.indices("train")[:KEPT]}
    assert {int(chain) for chain in library.chains} <= allowed
    chain = some_chains(library)[0]
    smaller = FoldLibrary(corpus, exclude=[*corpus.indices("train")[KEPT:], chain])
    assert chain not in [hit.chain_index for hit in smaller.search(own(chain), 8)]


def test_everything_excluded_is_an_error(corpus: Corpus) -> None:
    """A library without chains cannot be searched and says so at once."""
    with pytest.raises(CorpusError, match="no training chain"):
        FoldLibrary(corpus, exclude=range(corpus.num_chains))


def test_hits_are_not_all_one_chain_and_aligned_in_order(
    library: FoldLibrary, own: Callable[[int], Blueprint]
) -> None:
    """Five of eight hits at most are one chain; elements ascend and have the kinds asked."""
    blueprint = own(some_chains(library)[1])
    hits = library.search(blueprint, 8)
    chains = [hit.chain_index for hit in hits]
    assert len(hits) == 8
    assert max(map(chains.count, chains)) <= 5
    for hit in hits:
        row = int(np.searchsorted(library.chains, hit.chain_index))
        pairs = [(e.kind, j) for e, j in zip(blueprint.elements, hit.element_map, strict=True)]
        used = [(kind, j) for kind, j in pairs if j >= 0]
        assert [j for _, j in used] == sorted({j for _, j in used})
        assert all("HE"[library.table.kind[row, j]] == kind for kind, j in used)
        assert (hit.kind == "fold") == (len(used) == len(pairs))


def test_bent_curves_have_the_length_and_the_speed_of_real_chains(
    library: FoldLibrary, own: Callable[[int], Blueprint]
) -> None:
    """Other lengths: the curve runs 1.5 a residue in helices and 3.3 in strands, and no jumps."""
    speeds: dict[str, list[float]] = {"H": [], "E": []}
    for chain in some_chains(library):
        blueprint = own(chain)
        asked = resize(blueprint, int(blueprint.length * 1.2), np.random.default_rng(chain))
        curve = library.warp(library.search(asked, 1)[0], asked, np.random.default_rng(1))
        assert curve.shape == (asked.length, 3)
        assert np.isfinite(curve).all()
        speed = arc_speed(curve)
        assert speed.max() < 5.0
        for element in asked.elements:
            inner = speed[element.start + 2 : element.stop - 2]
            speeds[element.kind] += [float(value) for value in inner]
    assert np.median(speeds["H"]) == pytest.approx(1.5, abs=0.15)
    assert np.median(speeds["E"]) == pytest.approx(3.2, abs=0.35)


def test_same_generator_same_curve_other_generator_another(
    library: FoldLibrary, own: Callable[[int], Blueprint]
) -> None:
    """Bending is reproducible, and repeated draws differ a little where something was rebuilt."""
    blueprint = own(some_chains(library)[2])
    asked = resize(blueprint, blueprint.length + 15, np.random.default_rng(0))
    hit = library.search(asked, 1)[0]
    first, again, other = (library.warp(hit, asked, np.random.default_rng(s)) for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert 0.0 < curve_distance(first, other) < 6.0


@pytest.mark.parametrize(
    ("states", "kind"),
    [("L" * 40, "assembled"), ("L" * 12 + "H" * 60 + "L" * 5, "fold"), ("E" * 40, "fold")],
)
def test_odd_blueprints_get_a_curve(library: FoldLibrary, states: str, kind: str) -> None:
    """No element at all, and elements longer than any real one, still give a finite curve."""
    blueprint = Blueprint(states)
    hit = library.search(blueprint, 2)[0]
    assert hit.kind == kind
    curve = library.warp(hit, blueprint, np.random.default_rng(0))
    assert curve.shape == (len(states), 3)
    assert np.isfinite(curve).all()
    assert 0.1 < np.median(arc_speed(curve)) < 4.0


def test_long_blueprints_are_assembled_from_domains(corpus: Corpus, library: FoldLibrary) -> None:
    """Longer than any real chain: domains end to end, compact, hardly overlapping."""
    blueprint = sample_blueprint(700, np.random.default_rng(5), corpus)
    hit = library.search(blueprint, 1)[0]
    assert hit.kind == "assembled"
    assert hit.chain_index == -1
    assert [part.start for part in hit.parts[1:]] == [part.stop for part in hit.parts[:-1]]
    assert (hit.parts[0].start, hit.parts[-1].stop) == (0, 700)
    trace = library.warp_trace(hit, blueprint, np.random.default_rng(0))
    assert trace.shape == (700, 3)
    assert np.linalg.norm(np.diff(trace, axis=0), axis=-1).max() < 12.0
    radius = np.sqrt(((trace - trace.mean(axis=0)) ** 2).sum(axis=-1).mean())
    assert radius < 2.5 * 2.2 * 700**0.38


def test_stored_table_equals_a_measured_one(corpus: Corpus) -> None:
    """The file beside the corpus is only a cache: measuring again gives the same elements."""
    chains = np.array([5, 77, 1234])
    stored, measured = load_table(corpus).take(chains), ElementTable.of_corpus(corpus, chains)
    for name in ("kind", "start", "stop", "pairs", "length"):
        assert np.array_equal(getattr(stored, name), getattr(measured, name)), name


def test_shifts_follow_ends_that_did_not_change() -> None:
    """An unchanged loop keeps one shift on both sides; a longer one changes it by its growth."""
    assert residue_shifts([(2, 10), (14, 22)], [(5, 13), (17, 25)]).tolist() == [3, 3]
    assert residue_shifts([(2, 10), (14, 22)], [(5, 13), (20, 28)]).tolist() == [3, 6]


@pytest.mark.parametrize("kind", [0, 1])
def test_continued_elements_keep_their_real_part_and_their_hand(kind: int) -> None:
    """Longer at both ends: the middle is untouched and every four CA turn the same way."""
    real = ideal_trace(kind, 9) @ np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]) + 4.0
    longer = extend(real, kind, 3, 4)
    assert longer.shape == (16, 3)
    assert np.array_equal(longer[3:12], real)
    turns = np.rad2deg(dihedral(longer[:-3], longer[1:-2], longer[2:-1], longer[3:]))
    assert np.ptp(np.mod(turns, 360)) < 1.0
    assert np.allclose(np.linalg.norm(np.diff(longer, axis=0), axis=-1), 3.8, atol=0.1)


def test_relaxation_leaves_what_is_right_and_mends_the_rest() -> None:
    """Loops in range: not moved. A loop too short to bridge: the bodies come together, rigid."""
    first, second = ideal_trace(0, 12), ideal_trace(0, 12) + np.array([10.0, 0.0, 30.0])
    gap = float(np.linalg.norm(first[-1] - second[0]))
    still = relax([first, second], [Bridge(0, 1, 4.0, gap + 1)])
    assert np.allclose(still[1], second)
    moved = relax([first, second], [Bridge(0, 1, 4.0, 12.0)])
    assert np.linalg.norm(moved[0][-1] - moved[1][0]) < 13.0
    inner = np.linalg.norm(second[:, None] - second[None], axis=-1)
    assert np.allclose(np.linalg.norm(moved[1][:, None] - moved[1][None], axis=-1), inner)


def test_curve_distance_tells_hands_apart() -> None:
    """A moved curve is at no distance; its mirror image is."""
    curve = np.random.default_rng(0).standard_normal((20, 3)) * 8
    turned = curve[:, [1, 2, 0]] + 3.0
    assert curve_distance(curve, turned) == pytest.approx(0.0, abs=1e-6)
    assert curve_distance(curve, curve * [1, 1, -1]) > 3.0

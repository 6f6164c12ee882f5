"""Knots of curves with a known knot, and of proteins whose knot is in the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal
from protein_lab.metrics.knots import find_knot
from protein_lab.training.corpus import Corpus

ANGLE = np.linspace(0.0, 2.0 * np.pi, 121)[:-1]


def torus(p: int, q: int) -> np.ndarray:
    """Torus knot that winds p times around the axis and q times around the tube."""
    radius = 2.0 + np.cos(q * ANGLE)
    return np.stack(
        [radius * np.cos(p * ANGLE), radius * np.sin(p * ANGLE), -np.sin(q * ANGLE)], axis=1
    )


def figure_eight() -> np.ndarray:
    """Figure-eight knot."""
    radius = 2.0 + np.cos(2.0 * ANGLE)
    return np.stack(
        [radius * np.cos(3 * ANGLE), radius * np.sin(3 * ANGLE), np.sin(4 * ANGLE)], axis=1
    )


def lissajous(first: int, second: int, third: int, shift: tuple[float, float]) -> np.ndarray:
    """Lissajous curve; which knot it is was worked out by Bogle et al. (1994)."""
    return np.stack(
        [
            np.cos(first * ANGLE + shift[0]),
            np.cos(second * ANGLE + shift[1]),
            np.cos(third * ANGLE),
        ],
        axis=1,
    )


def cut_open(curve: np.ndarray) -> np.ndarray:
    """Start the curve at its outermost point and lead both ends away, as a chain has them."""
    start = int(np.linalg.norm(curve, axis=1).argmax())
    chain = 10.0 * np.roll(curve, -start, axis=0)
    out = chain[0] / np.linalg.norm(chain[0])
    return np.concatenate([[chain[0] + 20.0 * out], chain, [chain[-1] + 20.0 * out]])


@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("0_1", torus(1, 3)),
        ("0_1", torus(3, 1)),
        ("3_1", torus(2, 3)),
        ("3_1", torus(3, 2)),
        ("5_1", torus(2, 5)),
        ("7_1", torus(2, 7)),
        ("4_1", figure_eight()),
        ("5_2", lissajous(3, 2, 7, (0.7, 0.2))),
        ("6_1", lissajous(3, 2, 5, (1.5, 0.2))),
    ],
)
def test_known_curves(name: str, curve: np.ndarray) -> None:
    """Idea: the name is that of the textbook, for the mirror image and when run backwards too."""
    chain = cut_open(curve)
    for image in (chain, chain * [1.0, 1.0, -1.0], chain[::-1]):
        found = find_knot(image)
        assert found.name == name
        assert found.share > 0.7


def test_a_composite_knot() -> None:
    """Idea: two trefoils one after the other are not one trefoil."""
    at = np.linspace(-2.3, 2.3, 80)
    # a trefoil whose ends leave in opposite directions (Shastri, 1992)
    first = np.stack([at**3 - 3 * at, at**4 - 4 * at**2, at**5 - 10 * at], axis=1)
    assert find_knot(first).name == "3_1"
    second = first + (first[-1] - first[0])
    assert find_knot(np.concatenate([first, second[1:]])).name == "3_1#3_1"


def test_turning_and_fine_sampling_change_nothing() -> None:
    """Idea: the knot is that of the curve, not of its place or its points."""
    chain = cut_open(torus(2, 3))
    halved = np.empty((2 * len(chain) - 1, 3))
    halved[::2], halved[1::2] = chain, (chain[1:] + chain[:-1]) / 2
    for seed in range(5):
        turn = Rotation.random(random_state=seed)
        assert find_knot(turn.apply(halved) + 7.0).name == "3_1"


def test_straightened_chains_have_no_knot() -> None:
    """Idea: pulling a strand of the trefoil across another undoes it."""
    chain = cut_open(torus(2, 3))
    flat = chain * [1.0, 1.0, 0.0] + np.arange(len(chain))[:, None] * [0.0, 0.0, 0.01]
    assert find_knot(flat).name == "0_1"
    helix = backbone_from_internal(*np.full((3, 60), [[-1.05], [-0.79], [np.pi]]))[:, 1]
    assert find_knot(helix) == ("0_1", 1.0)


@pytest.mark.parametrize(
    ("chain", "name"),
    [
        ("2EFV_A", "3_1"),  # MJ0366, the smallest knotted protein
        ("1NS5_A", "3_1"),  # YbeA, a SPOUT methyltransferase
        ("1X7O_B", "3_1"),  # another one
        ("2HA8_A", "3_1"),  # TAR RNA-binding protein
        ("1XD3_A", "5_2"),  # UCH-L3, a ubiquitin hydrolase
    ],
)
def test_knotted_proteins(chain: str, name: str) -> None:
    """Idea: proteins that KnotProt lists as knotted are found, with the knot it lists."""
    corpus = Corpus.open()
    found = find_knot(corpus.backbone(corpus.ids.index(chain))[:, 1])
    assert found.name == name
    assert found.share > 0.5


def test_most_proteins_have_no_knot() -> None:
    """Idea: knots are rare in real chains, about one in a hundred."""
    corpus = Corpus.open()
    chosen = corpus.indices("test", 50, 128)[::4]
    names = [find_knot(corpus.backbone(int(index))[:, 1]).name for index in chosen]
    assert len(chosen) > 40
    assert sum(name != "0_1" for name in names) <= 2


def test_what_is_no_chain_is_refused() -> None:
    """Idea: shapes and numbers that mean nothing are errors; four points cannot be knotted."""
    with pytest.raises(GeometryError):
        find_knot(np.zeros((2, 10, 3)))
    with pytest.raises(GeometryError):
        find_knot(np.full((10, 3), np.nan))
    with pytest.raises(GeometryError):
        find_knot(np.eye(3).repeat(4, axis=0), directions=0)
    assert find_knot(np.eye(4, 3)).name == "0_1"

"""Blueprints: elements, measured pairs, and blueprints drawn for a length."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.design.blueprint import (
    Blueprint,
    Element,
    Pair,
    blueprint_of,
    elements_of,
    join,
    resize,
    sample_blueprint,
)
from protein_lab.errors import GeometryError
from protein_lab.geometry import backbone_from_internal
from protein_lab.training.corpus import Corpus


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the corpus that ships with the package."""
    return Corpus.open()


def helix(length: int) -> np.ndarray:
    """Straight ideal alpha helix with its axis along z, centered on the origin."""
    angle = np.full(length, 0.0)
    backbone = backbone_from_internal(angle - 1.0, angle - 0.82, angle + np.pi)
    centered = backbone - backbone[:, 1].mean(axis=0)
    half = length // 2
    axis = centered[half:, 1].mean(axis=0) - centered[:half, 1].mean(axis=0)
    axis = axis / np.linalg.norm(axis)
    across = np.cross(axis, [0.3, 0.5, 0.8])
    across /= np.linalg.norm(across)
    return centered @ np.stack([across, np.cross(axis, across), axis], axis=-1)


def two_helices(angle: float, distance: float) -> tuple[np.ndarray, str]:
    """Two helices of 20 residues whose axes cross at their middles at an angle in degrees."""
    turn = np.deg2rad(angle)
    rotation = np.array(
        [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    )
    first, second = helix(20), helix(20) @ rotation.T + [distance, 0, 0]
    along = np.linspace(0.1, 0.9, 8)[:, None, None]
    loop = (1 - along) * first[-1] + along * second[0]
    return np.concatenate([first, loop, second]), "H" * 20 + "L" * 8 + "H" * 20


def test_elements_are_runs_that_are_long_enough() -> None:
    """Short runs are loop, and runs that touch stay apart."""
    assert elements_of("HHHLEEEHHHHHLEE") == (Element("E", 4, 7), Element("H", 7, 12))
    assert elements_of("HHHLEE", min_helix=3, min_strand=2) == (
        Element("H", 0, 3),
        Element("E", 4, 6),
    )
    assert elements_of("") == ()


@pytest.mark.parametrize(
    ("angle", "orientation"), [(20, "parallel"), (160, "antiparallel"), (90, "crossing")]
)
def test_helix_pairs_by_angle(angle: float, orientation: str) -> None:
    """The angle between the axes decides the orientation of packed helices."""
    backbone, states = two_helices(angle, 8.5)
    assert blueprint_of(backbone, states).pairs == (Pair(0, 1, orientation),)  # pyright: ignore


def test_distant_helices_are_not_paired() -> None:
    """Helices that do not touch are no pair, however they lie."""
    backbone, states = two_helices(160, 16.0)
    assert blueprint_of(backbone, states).pairs == ()


def test_hairpins_of_real_chains_are_antiparallel(corpus: Corpus) -> None:
    """Paired strands joined by at most 3 residues are hairpins, but for a few kinked strands."""
    found = []
    for chain in corpus.indices("train", 60, 90)[:150]:
        blueprint = blueprint_of(
            corpus.backbone(int(chain)), corpus.secondary_structure(int(chain))
        )
        elements = blueprint.elements
        for pair in blueprint.pairs:
            first, second = elements[pair.first], elements[pair.second]
            near = pair.second == pair.first + 1 and second.start - first.stop <= 3
            if first.kind == "E" and near:
                found.append(pair.orientation)
    assert len(found) > 30
    assert found.count("antiparallel") >= 0.95 * len(found)


def test_pairs_join_elements_of_one_kind(corpus: Corpus) -> None:
    """Strands pair with strands and helices with helices; strands in a sheet never cross."""
    for chain in corpus.indices("train", 100, 160)[:60]:
        blueprint = blueprint_of(
            corpus.backbone(int(chain)), corpus.secondary_structure(int(chain))
        )
        kinds = [element.kind for element in blueprint.elements]
        for pair in blueprint.pairs:
            assert pair.first < pair.second
            assert kinds[pair.first] == kinds[pair.second]
            assert kinds[pair.first] == "H" or pair.orientation != "crossing"


def test_blueprint_survives_rotation(corpus: Corpus) -> None:
    """A blueprint says nothing about where a chain lies."""
    chain = int(corpus.indices("train", 80, 120)[3])
    backbone, states = corpus.backbone(chain).astype(float), corpus.secondary_structure(chain)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    rotation *= np.linalg.det(rotation)
    assert blueprint_of(backbone @ rotation.T + 5.0, states) == blueprint_of(backbone, states)


def test_wrong_number_of_states_is_an_error() -> None:
    """One letter a residue is asked for, with the numbers in the message."""
    with pytest.raises(GeometryError, match="20 letters"):
        blueprint_of(helix(20), "H" * 19)


@pytest.mark.parametrize("length", [10, 37, 100, 256, 300, 2000])
def test_sampled_blueprint_has_the_length(corpus: Corpus, length: int) -> None:
    """Any length from 10 to 2000 gives a blueprint with elements and valid pairs."""
    blueprint = sample_blueprint(length, np.random.default_rng(length), corpus)
    assert blueprint.length == length
    assert set(blueprint.secondary_structure) <= set("HEL")
    count = len(blueprint.elements)
    assert count >= max(1, length // 60)
    assert all(0 <= pair.first < pair.second < count for pair in blueprint.pairs)


def test_sampling_is_reproducible_and_varies(corpus: Corpus) -> None:
    """The generator alone decides: same seed, same blueprint; other seeds, others."""
    draws = [sample_blueprint(90, np.random.default_rng(seed), corpus) for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


@pytest.mark.parametrize("length", [0, -3])
def test_length_must_be_positive(corpus: Corpus, length: int) -> None:
    """A chain has at least one residue."""
    with pytest.raises(ValueError, match="at least 1 residue"):
        sample_blueprint(length, np.random.default_rng(0), corpus)


def test_resizing_keeps_elements_and_pairs() -> None:
    """Elements change their lengths, not their order, number or pairing."""
    pairs = (Pair(0, 1, "antiparallel"), Pair(1, 2, "parallel"))
    blueprint = Blueprint("LEEEEELLEEEEELLLHHHHHHHHLLLEEEEL", pairs)
    kinds = [element.kind for element in blueprint.elements]
    for length in (26, 29, 40, 60):
        resized = resize(blueprint, length, np.random.default_rng(length))
        assert resized.length == length
        assert [element.kind for element in resized.elements] == kinds
        assert resized.pairs == pairs


def test_joined_blueprints_keep_their_pairs() -> None:
    """Numbers of elements in the second part go on from those of the first."""
    hairpin = Blueprint("EEEELLEEEE", (Pair(0, 1, "antiparallel"),))
    both = join([hairpin, hairpin], "LLL")
    assert both.secondary_structure == "EEEELLEEEELLLEEEELLEEEE"
    assert both.pairs == (Pair(0, 1, "antiparallel"), Pair(2, 3, "antiparallel"))

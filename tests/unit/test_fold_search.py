"""The search for the nearest real chain finds what TM-align against all chains would find."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.errors import CorpusError, GeometryError
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.training.fold_search import MIN_LENGTH, FoldSearch
from protein_lab.validation import measure_novelty

CHAINS = 3000
"""Searched in these tests: more than the first step lets through."""


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Open the corpus of the package."""
    return Corpus.open()


@pytest.fixture(scope="module")
def search(corpus: Corpus) -> FoldSearch:
    """Index chains drawn at random."""
    drawn = np.random.default_rng(3).permutation(corpus.num_chains)[:CHAINS]
    return FoldSearch(corpus, np.sort(drawn))


def of_length(search: FoldSearch, low: int, high: int, count: int) -> list[int]:
    """Choose chains of the search by length."""
    lengths = search.corpus.lengths[search.chains]
    return [int(i) for i in search.chains[(lengths >= low) & (lengths <= high)][:count]]


@pytest.mark.parametrize("span", [(40, 45), (80, 90), (150, 180), (240, 256)])
def test_a_chain_finds_itself(search: FoldSearch, span: tuple[int, int]) -> None:
    """A chain of the corpus is its own nearest relative, with a TM-score of one."""
    (index,) = of_length(search, *span, 1)
    chain = search.corpus.chain(index)
    found = search.nearest(chain.backbone[:, 1], chain.secondary_structure, 3)[0]
    assert found.id == chain.id
    assert found.tm == pytest.approx(1.0, abs=1e-3)
    check = measure_novelty(Protein.from_backbone(chain.backbone), search)
    assert check.value == pytest.approx(1.0, abs=1e-3)
    assert chain.id in check.details


def test_a_turned_and_disturbed_copy_finds_its_source(search: FoldSearch) -> None:
    """Neither the place nor an angstrom of noise hides where a copy comes from."""
    rng = np.random.default_rng(1)
    for index in of_length(search, 70, 110, 5):
        chain = search.corpus.chain(index)
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        moved = chain.backbone @ turn.T + rng.standard_normal(3) * 30.0
        noised = moved[:, 1] + rng.standard_normal((len(moved), 3))
        found = search.nearest(noised, chain.secondary_structure, 5)[0]
        assert found.id == chain.id
        assert 0.5 < found.tm < 0.99


def test_a_mirror_image_is_not_its_source(search: FoldSearch) -> None:
    """The hand of a fold counts."""
    (index,) = of_length(search, 100, 120, 1)
    chain = search.corpus.chain(index)
    found = search.nearest(-chain.backbone[:, 1], chain.secondary_structure, 10)[0]
    assert found.tm < 0.8


def test_hardly_anything_nearer_is_missed(search: FoldSearch) -> None:
    """Twenty alignments find nearly the best of all: the chain itself does not count."""
    few = FoldSearch(search.corpus, search.chains[:1600])
    for index in of_length(few, 42, 60, 2):
        chain = search.corpus.chain(index)
        ca = chain.backbone[:, 1]
        others = few.chains[few.chains != index]
        best = max(few.align(ca, others[::4]), key=lambda item: item.tm)
        found = few.nearest(ca, chain.secondary_structure, exclude=[index])
        assert index not in {item.index for item in found}
        assert found[0].tm > best.tm - 0.03
        assert [item.tm for item in found] == sorted((i.tm for i in found), reverse=True)


def test_likely_chains_are_nearer_than_others(search: FoldSearch) -> None:
    """The order of candidates is worth something: the first are nearer than those drawn blindly."""
    rng = np.random.default_rng(2)
    (index,) = of_length(search, 60, 75, 1)
    chain = search.corpus.chain(index)
    ca = chain.backbone[:, 1]
    likely = search.candidates(ca, dssp(chain.backbone))
    blind = rng.choice(search.chains, 20, replace=False)
    first = np.mean([item.tm for item in search.align(ca, likely[1:21])])
    assert first > np.mean([item.tm for item in search.align(ca, blind)]) + 0.1


def test_what_cannot_be_searched_is_said(search: FoldSearch) -> None:
    """Too short structures, letters that do not fit, and nothing to search in."""
    short = np.zeros((MIN_LENGTH - 1, 3))
    with pytest.raises(GeometryError, match="at least 24 residues"):
        search.candidates(short, "L" * len(short))
    with pytest.raises(GeometryError, match="letters"):
        search.candidates(np.zeros((40, 3)), "L")
    with pytest.raises(CorpusError, match="to search"):
        FoldSearch(search.corpus, [])
    helix = search.corpus.backbone(0)[: MIN_LENGTH - 1]
    check = measure_novelty(Protein.from_backbone(helix), search)
    assert check.verdict == "not_run"
    assert "24" in check.details

"""Measures whose reference is the corpus: backbone clashes and torsion densities."""

from __future__ import annotations

import tomllib

import biotite.structure as struc
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from protein_lab.metrics import NATIVE_CLASHES_PER_1000, backbone_clash_per_1000
from protein_lab.training.corpus import Corpus, CorpusChain
from protein_lab.validation import ramachandran

RADII = {"N": 1.55, "C": 1.70, "O": 1.52}


def clashes_by_loop(atoms: np.ndarray) -> float:
    """Count in a plain loop over pairs of atoms."""
    count = 0
    for i in range(len(atoms)):
        for j in range(i + 2, len(atoms)):
            for a, one in enumerate("NCCO"):
                for b, two in enumerate("NCCO"):
                    limit = RADII[one] + RADII[two] - 0.4
                    if {one, two} == {"N", "O"}:
                        limit = 2.5
                    count += np.linalg.norm(atoms[i, a] - atoms[j, b]) <= limit
    return 1000.0 * count / (4 * len(atoms))


def test_clashes_are_those_of_a_plain_loop(real_chains: list[CorpusChain]) -> None:
    """Idea: a chain pressed together clashes at many places, and each is counted once."""
    for chain in real_chains[:4]:
        atoms = np.asarray(chain.backbone[:45], dtype=np.float64)
        for factor in (1.0, 0.8):
            pressed = factor * atoms
            assert backbone_clash_per_1000(pressed) == pytest.approx(clashes_by_loop(pressed))
    assert backbone_clash_per_1000(0.8 * atoms) > 50.0


def test_the_native_percentile_is_that_of_the_corpus() -> None:
    """Idea: the constant is read off training chains, every eighth of them here."""
    corpus = Corpus.open()
    chosen = corpus.indices("train")[::8]
    found = [backbone_clash_per_1000(corpus.backbone(int(index))) for index in chosen]
    assert np.percentile(found, 95) == pytest.approx(NATIVE_CLASHES_PER_1000, abs=0.25)


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    """Torsions of all training chains, counted."""
    return ramachandran.count_torsions(Corpus.open())


def test_the_table_in_the_package_is_made_from_the_corpus(counts: np.ndarray) -> None:
    """Idea: the shipped figures can be made again from what is shipped, and say from what."""
    provenance = tomllib.loads(ramachandran.TABLE.with_suffix(".toml").read_text())
    assert provenance["corpus_digest"] == Corpus.open().digest
    assert provenance["num_residues"] == counts.sum()
    shipped = np.load(ramachandran.TABLE)
    made = ramachandran.density_table(counts)
    # bins of equal density may change places where rounding differs
    assert np.abs(made.astype(int) - shipped).max() <= 1
    assert (made != shipped).mean() < 0.01


def test_torsions_are_counted_as_biotite_measures_them() -> None:
    """Idea: phi and psi of a split, chain by chain by another library, fill the same bins."""
    corpus = Corpus.open()
    expected = np.zeros((72, 72), dtype=np.int64)
    for index in corpus.indices("test"):
        chain = corpus.chain(int(index))
        size = len(chain.sequence)
        array = struc.AtomArray(4 * size)
        array.coord = chain.backbone.reshape(-1, 3)
        array.atom_name = np.tile(["N", "CA", "C", "O"], size)
        array.res_id = np.repeat(np.arange(size), 4)
        array.res_name[:], array.chain_id[:] = "ALA", "A"
        phi, psi, _ = struc.dihedral_backbone(array)
        bond = np.linalg.norm(chain.backbone[1:, 0] - chain.backbone[:-1, 2], axis=1) < 2.0
        keep = np.isfinite(phi + psi) & np.isin(list(chain.sequence), list("GPX"), invert=True)
        keep[1:] &= bond
        keep[:-1] &= bond
        edges = np.linspace(-np.pi, np.pi, 73)
        expected += np.histogram2d(phi[keep], psi[keep], bins=[edges, edges])[0].astype(np.int64)
    found = ramachandran.count_torsions(corpus, "test")
    assert found.sum() == expected.sum()
    # single precision puts a few residues into the next bin
    assert np.abs(found - expected).sum() < 0.001 * found.sum()


def test_favored_regions_hold_their_share_of_unseen_residues(counts: np.ndarray) -> None:
    """Idea: on chains that were not counted, 98 and 99.8 % are inside, within half a percent."""
    share = np.load(ramachandran.TABLE) / ramachandran.STEPS
    unseen = ramachandran.count_torsions(Corpus.open(), "test")
    for region in (ramachandran.FAVORED, ramachandran.ALLOWED):
        assert unseen[share < region].sum() / unseen.sum() == pytest.approx(region, abs=0.005)
    # the region is where the density is high: none of its bins is sparser than one outside
    smooth = gaussian_filter(counts.astype(float), 1.0, mode="wrap")
    inside = share < ramachandran.FAVORED
    assert smooth[inside].min() >= smooth[~inside].max()

"""The corpus of real chains: what ships, how it is built, and how damage shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from protein_lab.errors import CorpusError
from protein_lab.protein import Protein
from protein_lab.training import corpus_format
from protein_lab.training.corpus import Corpus, build_corpus, write_corpus
from protein_lab.training.filters import CorpusOptions, rejection
from protein_lab.training.novel_folds import (
    FoldVerdict,
    Journal,
    add_novel_folds,
    find_novel_folds,
    flag_novel_folds,
)
from protein_lab.training.sources import FolderSource, RawChain
from protein_lab.typing import IntArray


@pytest.fixture(scope="module")
def shipped() -> Corpus:
    """Open the corpus of the package once."""
    return Corpus.open()


def alone(sequences: Sequence[str]) -> IntArray:
    """Every sequence is its own cluster."""
    return np.arange(len(sequences), dtype=np.int32)


def raw(corpus: Corpus, index: int, name: str | None = None) -> RawChain:
    """Give a chain of a corpus as if it came from a source."""
    chain = corpus.chain(index)
    return RawChain(name or chain.id, chain.sequence, chain.secondary_structure, chain.backbone)


class Listed:
    """A source of chains that are there already."""

    name = "a list"

    def __init__(self, chains: Sequence[RawChain]) -> None:
        self.listed = chains

    def describe(self) -> dict[str, str]:
        """Say that there is no origin."""
        return {"kind": "list"}

    def chains(self) -> Iterator[RawChain]:
        """Yield them as they are."""
        yield from self.listed


@pytest.fixture
def small(shipped: Corpus, tmp_path: Path) -> Corpus:
    """Six chains in a corpus of their own."""
    chains = [raw(shipped, index) for index in range(6)]
    return build_corpus(Listed(chains), tmp_path / "small.zarr", cluster=alone)


def test_shipped_corpus_is_whole_and_small(shipped: Corpus) -> None:
    """What ships must be what its digest says, and fit the size promised."""
    shipped.verify()
    size = sum(path.stat().st_size for path in shipped.path.rglob("*") if path.is_file())
    assert size < 40e6
    assert shipped.num_chains > 10_000
    assert len(set(shipped.ids)) == shipped.num_chains
    assert shipped.num_residues == shipped.lengths.sum()


def test_shipped_splits_share_no_cluster(shipped: Corpus) -> None:
    """A cluster of similar sequences lies in one split; otherwise testing is remembering."""
    assert (shipped.arrays.split[shipped.cluster] == shipped.arrays.split).all()
    shares = [len(shipped.indices(name)) / shipped.num_chains for name in corpus_format.SPLITS]
    assert shares[0] > 0.85
    assert min(shares) > 0.03


def test_novel_folds_are_test_chains(shipped: Corpus) -> None:
    """The flag is a statement about test chains only."""
    assert set(shipped.split[shipped.novel_fold]) == {"test"}
    assert len(shipped.indices(novel_fold=True)) == shipped.novel_fold.sum()


def test_shipped_chains_pass_the_filters(shipped: Corpus) -> None:
    """Chains taken at random hold to the published limits and use the known letters."""
    options = CorpusOptions()
    for index in np.random.default_rng(0).choice(shipped.num_chains, 200, replace=False):
        chain = shipped.chain(int(index))
        assert rejection(raw(shipped, int(index)), options) is None
        assert set(chain.secondary_structure) <= set("HEL")
        bonds = np.linalg.norm(chain.backbone[:, 1] - chain.backbone[:, 0], axis=1)
        assert np.median(bonds) == pytest.approx(1.46, abs=0.03)


def test_indices_select_by_split_and_length(shipped: Corpus) -> None:
    """Selections are what they say, and together they are everything."""
    chosen = shipped.indices("calibration", min_length=80, max_length=100)
    assert len(chosen) > 0
    assert set(shipped.split[chosen]) == {"calibration"}
    assert shipped.lengths[chosen].min() >= 80
    assert shipped.lengths[chosen].max() <= 100
    assert sum(len(shipped.indices(name)) for name in corpus_format.SPLITS) == len(shipped)
    with pytest.raises(CorpusError, match="'training'"):
        shipped.indices("training")
    with pytest.raises(IndexError):
        shipped.backbone(shipped.num_chains)


def test_coding_keeps_every_coordinate() -> None:
    """Differences along the chain and byte planes are undone exactly, chain by chain."""
    rng = np.random.default_rng(1)
    positions = rng.integers(-30_000, 30_000, (50, 4, 3)).astype(np.int16) // 4
    offsets = np.array([0, 7, 8, 50])
    decoded = corpus_format.decode(*corpus_format.encode(positions, offsets), offsets)
    np.testing.assert_array_equal(decoded, positions)


def test_quantizing_refuses_what_does_not_fit() -> None:
    """Not-a-number and far-away atoms are errors, not wrapped integers."""
    backbone = np.zeros((50, 4, 3))
    backbone[3, 1, 0] = np.nan
    with pytest.raises(CorpusError, match="finite"):
        corpus_format.quantize(backbone)
    backbone[3, 1, 0] = 900.0
    with pytest.raises(CorpusError, match="327"):
        corpus_format.quantize(backbone)


def test_part_of_the_corpus_is_rebuilt_from_mmcif(shipped: Corpus, tmp_path: Path) -> None:
    """Structure files give the same chains as the database: coordinates, sequence, states."""
    folder = tmp_path / "files"
    folder.mkdir()
    wanted = [0, 10, 30, 50]
    for index in wanted:
        protein = Protein.from_backbone(shipped.backbone(index), shipped.sequence(index))
        (folder / f"{shipped.ids[index]}.cif").write_text(protein.to_mmcif())
    (folder / "broken.cif").write_text("data_nothing\n")
    rebuilt = build_corpus(FolderSource(folder), tmp_path / "new.zarr", cluster=alone)
    assert rebuilt.ids == sorted(f"{shipped.ids[index]}_A" for index in wanted)
    for place, name in enumerate(rebuilt.ids):
        index = shipped.ids.index(name.removesuffix("_A"))
        difference = np.abs(rebuilt.backbone(place) - shipped.backbone(index)).max()
        assert difference <= 0.01
        assert rebuilt.sequence(place) == shipped.sequence(index)
        states = zip(
            rebuilt.secondary_structure(place), shipped.secondary_structure(index), strict=True
        )
        assert np.mean([new == old for new, old in states]) > 0.95
    assert "broken.cif" in rebuilt.attributes["provenance"]["source"]["skipped"]


def test_digest_depends_on_content_only(small: Corpus, tmp_path: Path) -> None:
    """The same chains give the same digest; one moved atom or one other split changes it."""
    arrays = small.arrays
    again = write_corpus(tmp_path / "again.zarr", arrays, {"anything": "else"})
    assert again.digest == small.digest
    moved = arrays.positions.copy()
    moved[5, 2, 1] += 1
    changed = corpus_format.CorpusArrays(
        **{
            **{name: getattr(arrays, name) for name in arrays.__slots__},
            "positions": moved,
        }
    )
    assert corpus_format.content_digest(changed) != small.digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b[:39], "length"),
        (lambda b: np.where(np.arange(len(b))[:, None, None] == 9, np.nan, b), "missing"),
        (lambda b: b + 2.0 * (np.arange(len(b)) >= 30)[:, None, None], "chain break"),
        (lambda b: _stretched(b), "radius of gyration"),
    ],
)
def test_filters_name_the_reason(shipped: Corpus, change, reason: str) -> None:
    """Short, incomplete, broken and unfolded chains are left out, each for its own reason."""
    index = int(shipped.indices(min_length=60, max_length=80)[0])
    good = raw(shipped, index)
    backbone = change(good.backbone.astype(float))
    bad = RawChain("bad", good.sequence[: len(backbone)], "L" * len(backbone), backbone)
    assert rejection(good, CorpusOptions()) is None
    assert reason in str(rejection(bad, CorpusOptions()))


def _stretched(backbone: np.ndarray) -> np.ndarray:
    """Repeat the first three residues along their own direction: a straight rod."""
    unit, step = backbone[:3], backbone[3, 0] - backbone[0, 0]
    copies = [unit + turn * step for turn in range(len(backbone) // 3)]
    return np.concatenate(copies)


def test_duplicates_and_empty_sources(shipped: Corpus, tmp_path: Path) -> None:
    """An id comes in once; a source without one good chain is an error that counts reasons."""
    chain = raw(shipped, 0)
    built = build_corpus(Listed([chain, chain]), tmp_path / "one.zarr", cluster=alone)
    assert built.num_chains == 1
    assert built.attributes["provenance"]["rejected"] == {"duplicate id": 1}
    with pytest.raises(CorpusError, match="length: 1"):
        build_corpus(
            Listed([chain]), tmp_path / "none.zarr", CorpusOptions(min_length=500), cluster=alone
        )
    assert not (tmp_path / "none.zarr").exists()


def test_building_leaves_nothing_half_written(small: Corpus, tmp_path: Path) -> None:
    """A build that fails at the end keeps the corpus that was there and clears its traces."""

    def fail(sequences: Sequence[str]) -> IntArray:
        raise CorpusError("clustering failed")

    before = sorted(path.name for path in small.path.parent.iterdir())
    chains = [raw(small, 0)]
    with pytest.raises(CorpusError, match="clustering failed"):
        build_corpus(Listed(chains), small.path, cluster=fail)
    with pytest.raises(TypeError):
        write_corpus(small.path, small.arrays, {"not json": object()})
    assert sorted(path.name for path in small.path.parent.iterdir()) == before
    Corpus.open(small.path, verify=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(CorpusError, match="mine"):
        write_corpus(tmp_path / "mine", small.arrays, {})


def test_missing_corpus_says_how_to_mend(tmp_path: Path) -> None:
    """A wrong path gives the command that builds a corpus."""
    with pytest.raises(CorpusError, match="corpus build"):
        Corpus.open(tmp_path / "nowhere.zarr")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(CorpusError, match="cannot be read"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("member", ["backbone_low", "backbone_high", "sequence", "split"])
def test_flipped_byte_is_found(small: Corpus, member: str) -> None:
    """Every chunk has a checksum: one changed byte is an error that names the array."""
    chunk = next(path for path in (small.path / member / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0x10
    chunk.write_bytes(content)
    with pytest.raises(CorpusError, match=member):
        _ = Corpus.open(small.path).arrays


def test_lost_chunk_is_found(small: Corpus) -> None:
    """Zarr reads a chunk that is not there as zeros; we do not."""
    shutil.rmtree(small.path / "backbone_low" / "c")
    with pytest.raises(CorpusError, match="missing"):
        _ = Corpus.open(small.path).arrays


def test_forged_content_is_found(small: Corpus, tmp_path: Path) -> None:
    """Whole arrays put in place of others pass the checksums but not the digest."""
    arrays = small.arrays
    flipped = corpus_format.CorpusArrays(
        **{
            **{name: getattr(arrays, name) for name in arrays.__slots__},
            "positions": -arrays.positions,
        }
    )
    other = write_corpus(tmp_path / "mirror.zarr", flipped, {})
    for member in ("backbone_low", "backbone_high"):
        shutil.rmtree(small.path / member)
        shutil.copytree(other.path / member, small.path / member)
    with pytest.raises(CorpusError, match="digest"):
        Corpus.open(small.path, verify=True)


def test_novel_folds_are_verified_against_all(shipped: Corpus, tmp_path: Path) -> None:
    """A copy of a training chain is settled at once; a fold nobody has is compared with all."""
    lengths = shipped.lengths
    states = [shipped.secondary_structure(index) for index in range(1000)]
    helical = [i for i, text in enumerate(states) if "E" not in text and lengths[i] < 60][:3]
    strands = next(i for i, text in enumerate(states) if "H" not in text and lengths[i] > 90)
    chains = [raw(shipped, index) for index in helical]
    chains += [raw(shipped, helical[0], "copy"), raw(shipped, strands, "strands")]
    built = build_corpus(Listed(chains), tmp_path / "folds.zarr", cluster=alone)
    arrays = corpus_format.CorpusArrays(
        **{
            **{name: getattr(built.arrays, name) for name in built.arrays.__slots__},
            "split": np.array([0, 0, 0, 2, 2], dtype=np.uint8),
        }
    )
    corpus = write_corpus(tmp_path / "folds.zarr", arrays, {})
    verdicts = find_novel_folds(corpus, Journal(tmp_path / "one", corpus.digest), quick=1)
    assert verdicts["copy"].verdict == "has_neighbor"
    assert (verdicts["copy"].neighbor, verdicts["copy"].num_aligned) == (chains[0].id, 1)
    assert verdicts["strands"].verdict == "novel"
    flagged = add_novel_folds(corpus, tmp_path / "two")
    assert flagged.novel_fold.tolist() == [False] * 4 + [True]
    assert flagged.digest == corpus.digest
    assert flagged.attributes["provenance"]["novel_fold"]["novel"] == 1
    assert flagged.summary()["splits"] == {"train": 3, "calibration": 0, "test": 2}
    undecided = find_novel_folds(
        corpus, Journal(tmp_path / "three", corpus.digest), quick=1, max_exhaustive=0
    )
    arrays, summary = flag_novel_folds(arrays, undecided)
    assert (summary["novel"], summary["open"]) == (0, 1)
    assert not arrays.novel_fold.any()


def test_journal_survives_interruption(tmp_path: Path) -> None:
    """A line that was cut off is forgotten; a journal of another corpus is refused."""
    path = tmp_path / "journal.jsonl"
    verdict = FoldVerdict(
        chain="1ABC_A", verdict="open", best_tm=0.4, neighbor="2ABC_A", num_aligned=3
    )
    Journal(path, "digest").add(verdict)
    with path.open("a") as stream:
        stream.write('{"chain": "1AB')
    assert Journal(path, "digest").verdicts == {"1ABC_A": verdict}
    with pytest.raises(CorpusError, match="another corpus"):
        Journal(path, "other")

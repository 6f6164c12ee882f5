"""The corpus of real protein structures: reading it and building it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from protein_lab.errors import CorpusError
from protein_lab.settings import Settings
from protein_lab.training import corpus_format
from protein_lab.training.clustering import ClusterFunction, assign_splits, cluster_sequences
from protein_lab.training.corpus_format import REBUILD, RESOLUTION, SPLITS, CorpusArrays
from protein_lab.training.filters import CorpusOptions, rejection
from protein_lab.training.sources import RawChain, StructureSource
from protein_lab.typing import BoolArray, FloatArray, IntArray

Progress = Callable[[str, int], None]
"""Called with the name of the stage and the number of chains done in it."""


@dataclass(frozen=True, slots=True, eq=False)
class CorpusChain:
    """One chain of the corpus.

    Attributes
    ----------
    id : str
        PDB id and chain, such as ``1UBQ_A``.
    sequence : str
        One-letter codes, ``X`` for anything but the twenty amino acids.
    secondary_structure : str
        H, E, L for each residue (DSSP; its G, I, B, T and S are L).
    backbone : ndarray of float32, shape (residue, 4, 3)
        N, CA, C, O in angstrom, centered on the CA centroid, exact to 0.01 angstrom.
    split : str
        ``train``, ``calibration`` or ``test``.
    novel_fold : bool
        A test chain verified to have TM-score below 0.5 to every training chain.
    """

    id: str
    sequence: str
    secondary_structure: str
    backbone: FloatArray
    split: str
    novel_fold: bool


class Corpus:
    """Read-only view of a corpus; arrays are read once, on first use.

    Use :meth:`open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group = corpus_format.open_group(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, verify: bool = False) -> Corpus:
        """Open a corpus.

        Parameters
        ----------
        path : path, optional
            Zarr group; the one of the settings (by default the one in the package) if omitted.
        verify : bool
            Read everything now and compare the digests.

        Raises
        ------
        CorpusError
            The corpus is missing, of another format, or damaged. Damage to a chunk shows when
            the arrays are first used, or here with ``verify``.
        """
        corpus = cls(Path(path) if path is not None else Settings.from_environment().corpus)
        if verify:
            corpus.verify()
        return corpus

    def verify(self) -> None:
        """Compare the stored digests with the content.

        Raises
        ------
        CorpusError
            They differ, or a chunk is missing or damaged.
        """
        found = corpus_format.content_digest(self.arrays)
        if found != self.digest:
            raise CorpusError(
                f"The corpus at {self.path} should have the digest {self.digest}; it has {found}.",
                REBUILD,
            )
        expected = self.attributes.get("novel_fold_digest")
        if corpus_format.novel_fold_digest(self.arrays) != expected:
            raise CorpusError(f"The novel-fold flags at {self.path} were changed.", REBUILD)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Digest, counts and provenance."""
        return dict(self._group.attrs)

    @cached_property
    def arrays(self) -> CorpusArrays:
        """All arrays, decoded."""
        return corpus_format.read(self._group)

    @property
    def digest(self) -> str:
        """SHA-256 over ids, splits, sequences, states and coordinates, as recorded."""
        return str(self.attributes["digest"])

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return int(self.attributes["num_chains"])

    @property
    def num_residues(self) -> int:
        """Number of residues in all chains."""
        return int(self.attributes["num_residues"])

    def __len__(self) -> int:
        return self.num_chains

    @cached_property
    def ids(self) -> list[str]:
        """Source id of each chain."""
        return list(self.arrays.ids)

    @cached_property
    def lengths(self) -> IntArray:
        """Number of residues of each chain, shape (chain,)."""
        return np.diff(self.arrays.offsets)

    @cached_property
    def split(self) -> np.ndarray[Any, np.dtype[np.str_]]:
        """``train``, ``calibration`` or ``test`` for each chain, shape (chain,)."""
        return np.array(SPLITS)[self.arrays.split]

    @property
    def cluster(self) -> IntArray:
        """Index of the chain that represents each chain's sequence cluster, shape (chain,)."""
        return self.arrays.cluster

    @property
    def novel_fold(self) -> BoolArray:
        """Verified novel folds, shape (chain,)."""
        return self.arrays.novel_fold

    def summary(self) -> dict[str, Any]:
        """Give counts and digest as one JSON-ready object.

        Returns
        -------
        dict
            ``num_chains``, ``num_residues``, ``splits`` (chains in each), ``num_novel_folds``,
            ``digest`` and ``provenance``.
        """
        return {
            "num_chains": self.num_chains,
            "num_residues": self.num_residues,
            "splits": {name: len(self.indices(name)) for name in SPLITS},
            "num_novel_folds": int(self.novel_fold.sum()),
            "digest": self.digest,
            "provenance": self.attributes["provenance"],
        }

    def _span(self, index: int) -> slice:
        if not 0 <= index < self.num_chains:
            raise IndexError(f"Chain index must be in 0..{self.num_chains - 1}; {index} came.")
        return slice(int(self.arrays.offsets[index]), int(self.arrays.offsets[index + 1]))

    def backbone(self, index: int) -> FloatArray:
        """N, CA, C, O of one chain in angstrom, float32, shape (residue, 4, 3)."""
        units = self.arrays.positions[self._span(index)]
        return (units * RESOLUTION).astype(np.float32)

    def secondary_structure(self, index: int) -> str:
        """H, E, L for each residue of one chain."""
        return self.arrays.secondary_structure[self._span(index)].tobytes().decode("ascii")

    def sequence(self, index: int) -> str:
        """One-letter codes of one chain."""
        return self.arrays.sequence[self._span(index)].tobytes().decode("ascii")

    def chain(self, index: int) -> CorpusChain:
        """Everything known about one chain.

        Raises
        ------
        IndexError
            There is no such chain.
        """
        return CorpusChain(
            id=self.arrays.ids[index],
            sequence=self.sequence(index),
            secondary_structure=self.secondary_structure(index),
            backbone=self.backbone(index),
            split=SPLITS[int(self.arrays.split[index])],
            novel_fold=bool(self.arrays.novel_fold[index]),
        )

    def indices(
        self,
        split: str | None = None,
        min_length: int = 0,
        max_length: int = 10**9,
        novel_fold: bool | None = None,
    ) -> IntArray:
        """Chains that meet all conditions, in corpus order.

        Parameters
        ----------
        split : str, optional
            ``train``, ``calibration`` or ``test``.
        min_length, max_length : int
            Bounds on the number of residues, both included.
        novel_fold : bool, optional
            Only (or only not) verified novel folds.
        """
        if split is not None and split not in SPLITS:
            raise CorpusError(f"Expected a split of {', '.join(SPLITS)}; {split!r} came.")
        chosen = (self.lengths >= min_length) & (self.lengths <= max_length)
        if split is not None:
            chosen &= self.arrays.split == SPLITS.index(split)
        if novel_fold is not None:
            chosen &= self.novel_fold == novel_fold
        return np.flatnonzero(chosen)


@dataclass(slots=True)
class _Collected:
    chains: list[RawChain] = field(default_factory=list)
    positions: list[IntArray] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)


def _collect(
    source: StructureSource, options: CorpusOptions, progress: Progress | None
) -> _Collected:
    kept = _Collected()
    seen: set[str] = set()
    for count, chain in enumerate(source.chains(), start=1):
        reason = "duplicate id" if chain.id in seen else rejection(chain, options)
        if reason is None:
            seen.add(chain.id)
            kept.positions.append(corpus_format.quantize(chain.backbone))
            # The coordinates are kept as integers only: half the memory.
            kept.chains.append(replace(chain, backbone=np.empty((0, 4, 3), np.float32)))
        else:
            kept.rejected[reason] += 1
        if progress is not None:
            progress("read", count)
    if not kept.chains:
        reasons = ", ".join(f"{name}: {number}" for name, number in kept.rejected.items())
        raise CorpusError(
            f"No chain of {source.name} passed the filters ({reasons or 'none was there'}).",
            "Widen the options or give another source.",
        )
    return kept


def _assemble(kept: _Collected, options: CorpusOptions, cluster: ClusterFunction) -> CorpusArrays:
    ids = tuple(chain.id for chain in kept.chains)
    clusters = np.asarray(cluster([chain.sequence for chain in kept.chains]), dtype=np.int32)
    lengths = [len(chain.sequence) for chain in kept.chains]
    return CorpusArrays(
        ids=ids,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        positions=np.concatenate(kept.positions),
        sequence=corpus_format.letters([chain.sequence for chain in kept.chains]),
        secondary_structure=corpus_format.letters(
            [chain.secondary_structure for chain in kept.chains]
        ),
        split=assign_splits(ids, clusters, options.fractions),
        cluster=clusters,
        novel_fold=np.zeros(len(ids), dtype=bool),
    )


def write_corpus(destination: Path, arrays: CorpusArrays, provenance: Mapping[str, Any]) -> Corpus:
    """Write a corpus next to its place and move it there when it is complete.

    An existing corpus at ``destination`` is replaced; anything else there is an error.

    Parameters
    ----------
    destination : Path
        Folder of the Zarr group.
    arrays : CorpusArrays
        Content.
    provenance : mapping
        JSON-ready facts about the origin.
    """
    if destination.exists():
        corpus_format.open_group(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        corpus_format.write(work / "new", arrays, dict(provenance))
        if destination.exists():
            destination.rename(work / "old")
        try:
            (work / "new").rename(destination)
        except OSError:
            if (work / "old").exists():
                (work / "old").rename(destination)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Corpus(destination)


def build_corpus(
    source: StructureSource,
    destination: str | os.PathLike[str],
    options: CorpusOptions | None = None,
    progress: Progress | None = None,
    cluster: ClusterFunction = cluster_sequences,
) -> Corpus:
    """Build a corpus from a source of structures.

    Parameters
    ----------
    source : StructureSource
        Where the chains come from.
    destination : path
        Folder of the new Zarr group; appears only when it is complete.
    options : CorpusOptions, optional
        Filters and split.
    progress : callable, optional
        Called with the stage and the number of chains done.
    cluster : callable
        Sequence clustering; MMseqs2 at 30 % identity unless given.

    Returns
    -------
    Corpus
        The new corpus. Its novel-fold flags are all false until
        :func:`protein_lab.training.novel_folds.add_novel_folds` has run.

    Raises
    ------
    CorpusError
        No chain passed, a tool is missing, or the source failed.
    """
    options = options or CorpusOptions()
    kept = _collect(source, options, progress)
    if progress is not None:
        progress("cluster", len(kept.chains))
    arrays = _assemble(kept, options, cluster)
    if progress is not None:
        progress("write", len(kept.chains))
    provenance = {
        "source": source.describe(),
        "options": msgspec.to_builtins(options),
        "rejected": dict(sorted(kept.rejected.items())),
        "novel_fold": "not computed",
    }
    return write_corpus(Path(destination), arrays, provenance)

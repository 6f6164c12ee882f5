"""Split chains so that no test chain resembles a training chain in sequence."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from protein_lab.errors import CorpusError
from protein_lab.training.corpus_format import SPLITS
from protein_lab.typing import IntArray

ClusterFunction = Callable[[Sequence[str]], IntArray]
"""From sequences to, for each, the index of the sequence that represents its cluster."""


class MissingToolError(CorpusError):
    """A program that building a corpus needs is not installed."""


def cluster_sequences(
    sequences: Sequence[str], identity: float = 0.3, coverage: float = 0.8, threads: int = 1
) -> IntArray:
    """Cluster sequences with MMseqs2 (Steinegger & Söding, 2017).

    Parameters
    ----------
    sequences : sequence of str
        One-letter codes.
    identity : float
        Least fraction of identical residues in an alignment of two members.
    coverage : float
        Least fraction of both sequences that the alignment covers.
    threads : int
        Threads that MMseqs2 may use.

    Returns
    -------
    ndarray of int32, shape (sequence,)
        Index of the representative of each sequence's cluster.

    Raises
    ------
    MissingToolError
        ``mmseqs`` is not on the path.
    CorpusError
        ``mmseqs`` failed; the message holds the end of what it said.
    """
    program = shutil.which("mmseqs")
    if program is None:
        raise MissingToolError(
            "Splitting by sequence clusters needs the program 'mmseqs', which is not on the path.",
            "Install MMseqs2: 'apt install mmseqs2' or 'conda install -c bioconda mmseqs2'.",
        )
    with tempfile.TemporaryDirectory(prefix="protein_lab_mmseqs_") as name:
        folder = Path(name)
        fasta = "".join(f">{index}\n{text}\n" for index, text in enumerate(sequences))
        (folder / "in.fasta").write_text(fasta)
        command = [program, "easy-cluster", str(folder / "in.fasta"), str(folder / "out")]
        command += [str(folder / "work"), "--min-seq-id", str(identity), "-c", str(coverage)]
        # Connected components: whatever MMseqs2 finds similar ends up in one cluster.
        command += ["--cov-mode", "0", "--cluster-mode", "1", "-s", "7.5"]
        command += ["--threads", str(threads), "-v", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        table = folder / "out_cluster.tsv"
        if done.returncode != 0 or not table.is_file():
            said = (done.stderr or done.stdout).strip()[-500:]
            raise CorpusError(f"mmseqs ended with status {done.returncode}: {said}")
        return _read_clusters(table, len(sequences))


def _read_clusters(table: Path, count: int) -> IntArray:
    representative = np.full(count, -1, dtype=np.int32)
    for line in table.read_text().splitlines():
        leader, member = line.split("\t")
        representative[int(member)] = int(leader)
    if (representative < 0).any():
        lost = int((representative < 0).sum())
        raise CorpusError(f"mmseqs left {lost} of {count} sequences without a cluster.")
    return representative


def assign_splits(
    ids: Sequence[str], clusters: IntArray, fractions: Mapping[str, float]
) -> IntArray:
    """Give every cluster to one split, by a hash of its representative's id.

    The same representative falls into the same split in every build.

    Parameters
    ----------
    ids : sequence of str
        Chain ids.
    clusters : ndarray, shape (chain,)
        Index of the representative chain.
    fractions : mapping
        Wanted share of clusters for each of ``train``, ``calibration`` and ``test``.

    Returns
    -------
    ndarray of uint8, shape (chain,)
        Index into ``SPLITS``.
    """
    bounds = np.cumsum([fractions[name] for name in SPLITS])
    if not np.isclose(bounds[-1], 1.0):
        raise CorpusError(f"Shares of the splits must add up to 1; they add up to {bounds[-1]:g}.")
    chosen = {}
    for leader in np.unique(clusters):
        digest = hashlib.sha256(ids[int(leader)].encode()).digest()
        draw = int.from_bytes(digest[:8], "little") / 2.0**64
        chosen[leader] = min(int(np.searchsorted(bounds, draw, side="right")), len(SPLITS) - 1)
    return np.array([chosen[leader] for leader in clusters], dtype=np.uint8)

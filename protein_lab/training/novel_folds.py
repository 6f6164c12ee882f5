"""Find test chains whose fold no training chain has.

A flag means that TM-align (Zhang & Skolnick, 2005) was run against *every* training chain that is
long enough, and no TM-score normalised by the test chain reached 0.5. A training chain shorter
than half the test chain cannot reach it, because the score is at most the ratio of the lengths.

Most test chains do have a neighbor. :mod:`protein_lab.training.fold_search` puts likely neighbors
first, so that a few alignments settle them; only the rest is compared with everything. A journal
keeps what is done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from protein_lab.errors import CorpusError
from protein_lab.training.corpus import Corpus, Progress, write_corpus
from protein_lab.training.corpus_format import CorpusArrays
from protein_lab.training.fold_search import MIN_LENGTH, FoldSearch
from protein_lab.typing import IntArray

THRESHOLD: Final = 0.5
"""Two proteins with a TM-score above this have, as a rule, the same fold (Xu & Zhang, 2010)."""


class FoldVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the fold of one test chain.

    Attributes
    ----------
    chain : str
        Id of the test chain.
    verdict : {"has_neighbor", "novel", "open"}
        ``open``: no neighbor among the likeliest, not yet compared with all.
    best_tm : float
        Highest TM-score seen, normalised by the test chain.
    neighbor : str
        Id of the training chain with that score.
    num_aligned : int
        Alignments that were run.
    """

    chain: str
    verdict: Literal["has_neighbor", "novel", "open"]
    best_tm: float
    neighbor: str
    num_aligned: int


def _order(corpus: Corpus, search: FoldSearch, index: int) -> IntArray:
    """All training chains at least half as long as a test chain, the likeliest first."""
    training = corpus.indices("train", int(np.ceil(THRESHOLD * corpus.lengths[index])))
    if corpus.lengths[index] < MIN_LENGTH:
        return training
    ca = corpus.backbone(index)[:, 1]
    likely = search.candidates(ca, corpus.secondary_structure(index))
    likely = likely[np.isin(likely, training)]
    return np.concatenate([likely, np.setdiff1d(training, likely)])


def _compare(
    search: FoldSearch, index: int, order: IntArray, previous: FoldVerdict | None
) -> FoldVerdict:
    corpus = search.corpus
    best, neighbor, done = 0.0, "", 0
    if previous is not None:
        best, neighbor, done = previous.best_tm, previous.neighbor, previous.num_aligned
    for found in search.align(corpus.backbone(index)[:, 1], order[done:]):
        done += 1
        if found.tm > best:
            best, neighbor = found.tm, found.id
        if best >= THRESHOLD:
            break
    return FoldVerdict(
        chain=corpus.ids[index],
        verdict="has_neighbor" if best >= THRESHOLD else "open",
        best_tm=round(best, 4),
        neighbor=neighbor,
        num_aligned=done,
    )


class Journal:
    """Verdicts on disk, one JSON object a line; the last line about a chain counts.

    Parameters
    ----------
    path : Path
        File; its first line names the corpus, so that verdicts cannot be mixed up.
    digest : str
        Digest of the corpus.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self.verdicts: dict[str, FoldVerdict] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"corpus": digest}) + "\n")
        lines = path.read_text().splitlines()
        if not lines or json.loads(lines[0]).get("corpus") != digest:
            raise CorpusError(
                f"The journal {path} belongs to another corpus than {digest}.",
                "Remove it or name another file.",
            )
        for line in lines[1:]:
            try:
                verdict = msgspec.json.decode(line, type=FoldVerdict)
            except msgspec.DecodeError:
                continue  # The last line of an interrupted run may be cut off.
            self.verdicts[verdict.chain] = verdict

    def add(self, verdict: FoldVerdict) -> None:
        """Append a verdict and make it durable."""
        self.verdicts[verdict.chain] = verdict
        with self.path.open("ab") as stream:
            stream.write(msgspec.json.encode(verdict) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def find_novel_folds(
    corpus: Corpus,
    journal: Journal,
    quick: int = 100,
    max_exhaustive: int | None = None,
    progress: Progress | None = None,
) -> dict[str, FoldVerdict]:
    """Compare the test chains with the training chains, going on where the journal stops.

    Parameters
    ----------
    corpus : Corpus
        Corpus with splits.
    journal : Journal
        Where verdicts are kept.
    quick : int
        Alignments, likeliest first, before a chain is put off to the exhaustive part.
    max_exhaustive : int, optional
        Compare at most so many chains with everything, shortest first; the others stay open.
    progress : callable, optional
        Called with the stage and the number of chains done.

    Returns
    -------
    dict
        Verdict for each test chain id.
    """
    search = FoldSearch(corpus, corpus.indices("train"))
    chains = corpus.indices("test")
    todo = [index for index in chains if corpus.ids[index] not in journal.verdicts]
    for done, index in enumerate(todo, start=1):
        journal.add(_compare(search, index, _order(corpus, search, index)[:quick], None))
        if progress is not None:
            progress("likely neighbors", done)
    survivors = sorted(_still_open(corpus, journal, chains), key=lambda i: int(corpus.lengths[i]))
    for done, index in enumerate(survivors[:max_exhaustive], start=1):
        before = journal.verdicts[corpus.ids[index]]
        verdict = _compare(search, index, _order(corpus, search, index), before)
        if verdict.verdict == "open":
            verdict = msgspec.structs.replace(verdict, verdict="novel")
        journal.add(verdict)
        if progress is not None:
            progress("all training chains", done)
    return journal.verdicts


def _still_open(corpus: Corpus, journal: Journal, chains: IntArray) -> Iterator[int]:
    for index in chains:
        if journal.verdicts[corpus.ids[index]].verdict == "open":
            yield int(index)


def flag_novel_folds(
    arrays: CorpusArrays, verdicts: dict[str, FoldVerdict]
) -> tuple[CorpusArrays, dict[str, Any]]:
    """Arrays with the verified flags, and a summary for the provenance.

    Parameters
    ----------
    arrays : CorpusArrays
        Corpus content.
    verdicts : dict
        From :func:`find_novel_folds`; chains without verdict or with ``open`` are not flagged.
    """
    flags = np.array(
        [name in verdicts and verdicts[name].verdict == "novel" for name in arrays.ids]
    )
    counts = {
        kind: sum(verdict.verdict == kind for verdict in verdicts.values())
        for kind in ("has_neighbor", "novel", "open")
    }
    summary = {
        "method": "TM-align against every training chain of at least half the length",
        "threshold": THRESHOLD,
        "num_alignments": sum(verdict.num_aligned for verdict in verdicts.values()),
        **counts,
    }
    return replace(arrays, novel_fold=flags), summary


def add_novel_folds(
    corpus: Corpus,
    journal: str | os.PathLike[str],
    max_exhaustive: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Find the novel folds of a corpus and write it again with their flags.

    The digest of the corpus stays the same; hours of work can be interrupted and gone on with.

    Parameters
    ----------
    corpus : Corpus
        Corpus with splits.
    journal : path
        File with the verdicts; made if it is not there.
    max_exhaustive : int, optional
        Compare at most so many chains with all training chains.
    progress : callable, optional
        Called with the stage and the number of chains done.

    Returns
    -------
    Corpus
        The corpus with flags, at the same place.
    """
    book = Journal(Path(journal), corpus.digest)
    verdicts = find_novel_folds(corpus, book, max_exhaustive=max_exhaustive, progress=progress)
    arrays, summary = flag_novel_folds(corpus.arrays, verdicts)
    provenance = {**corpus.attributes["provenance"], "novel_fold": summary}
    return write_corpus(corpus.path, arrays, provenance)

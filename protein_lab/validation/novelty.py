"""How near a design is to real chains.

A design that starts from the fold of a real chain cannot be assumed to be new, so its nearest
relative is named with its TM-score.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from protein_lab.metrics import tm_align
from protein_lab.protein import Protein
from protein_lab.training.corpus import Corpus
from protein_lab.typing import Check
from protein_lab.validation.base import Rule, not_run

_RULE: Final = Rule(
    unit="TM-score",
    reason="Chains above 0.5 have the same fold (Xu & Zhang, 2010); a number, not a verdict.",
)


def measure_novelty(protein: Protein, corpus: Corpus, candidates: Iterable[int]) -> Check:
    """Find the nearest of some real chains.

    Parameters
    ----------
    protein : Protein
        One chain.
    corpus : Corpus
        Real chains.
    candidates : iterable of int
        Indices of the chains to compare with; the number holds for these only, so it is a lower
        bound for the whole corpus.

    Returns
    -------
    Check
        The largest TM-score, normalized by the length of the design, without a verdict.
    """
    best, nearest, count = -1.0, "", 0
    for index in candidates:
        chain = corpus.chain(int(index))
        score = tm_align(protein.ca, protein.sequence, chain.backbone[:, 1], chain.sequence).tm_a
        count += 1
        if score > best:
            best, nearest = score, chain.id
    if not count:
        return novelty_not_run("There was no chain to compare with.")
    return Check(
        name="novelty",
        value=best,
        unit=_RULE.unit,
        threshold=None,
        verdict="not_applicable",
        details=f"Nearest of {count} chains: {nearest}.",
    )


def novelty_not_run(why: str = "Not asked for.") -> Check:
    """Report that novelty was not measured."""
    return not_run("novelty", why, _RULE)

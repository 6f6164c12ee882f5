"""Structures that many tests share."""

from __future__ import annotations

import numpy as np
import pytest

from protein_lab.training.corpus import Corpus, CorpusChain


@pytest.fixture(scope="session")
def real_chains() -> list[CorpusChain]:
    """Twenty-four real chains of 60 to 220 residues, spread over the corpus, of every split."""
    corpus = Corpus.open()
    chosen = corpus.indices(min_length=60, max_length=220)
    spread = chosen[np.linspace(0, len(chosen) - 1, 24).astype(int)]
    return [corpus.chain(int(index)) for index in spread]

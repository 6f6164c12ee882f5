"""What designing needs besides a request: operator, corpus and library, opened once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.fold_library import FoldLibrary, Hit
from protein_lab.design.request import DesignRequest, request_id
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.weights import load_operator, weights_digest
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus

NUM_HITS: Final = 8
"""Hits of one blueprint, likely folds repeated; design ``i`` takes hit ``i mod 8``."""


@dataclass(eq=False)
class Runtime:
    """What designing needs besides the request; open one and use it for many requests.

    Attributes
    ----------
    operator : BaseNeuralOperator
        With trained weights, on one backend.
    library : FoldLibrary
        Real folds that give the coarse curve.
    corpus : Corpus
        Real chains.
    weights : Path
        Folder of all weights.
    digest : str
        Identity of all weights that can have a part in a design.
    """

    operator: BaseNeuralOperator[Any]
    library: FoldLibrary
    corpus: Corpus
    weights: Path
    digest: str
    _hits: dict[Blueprint, tuple[Hit, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        operator: str | DesignRequest = "enhanced_deeponet",
        backend: str | None = None,
        settings: Settings | None = None,
        exclude: Iterable[int] = (),
    ) -> Runtime:
        """Load weights, corpus and library.

        Parameters
        ----------
        operator : str or DesignRequest
            Name of the operator, or a request that names operator and backend.
        backend : str, optional
            Array backend; by default that of the request, or of the settings.
        settings : Settings, optional
            Where the assets are; by default as the environment says.
        exclude : iterable of int
            Chains of the corpus that must not be used as folds.

        Raises
        ------
        WeightsError
            When the weights are missing, damaged or of another card.
        CorpusError
            When the corpus is missing or damaged.
        BackendError
            When the backend is unknown or cannot be used here.
        """
        places = settings or Settings.from_environment()
        name = operator if isinstance(operator, str) else operator.operator
        asked = backend or ("auto" if isinstance(operator, str) else operator.backend)
        chosen = places.backend if asked == "auto" else asked
        loaded = load_operator(name, chosen, folder=places.weights)
        corpus = Corpus.open(places.corpus)
        digest = weights_digest(name, places.weights)
        return cls(loaded, FoldLibrary(corpus, exclude), corpus, places.weights, digest)

    @cached_property
    def curves(self) -> BaseNeuralOperator[Any]:
        """The operator that draws coarse curves, loaded when it is first needed.

        Raises
        ------
        WeightsError
            When its weights are missing or damaged.
        """
        backend = self.operator.backend
        return load_operator(CurveDeepONet.name, backend.name, folder=self.weights)

    def request_id(self, request: DesignRequest) -> str:
        """Identify the answer that a request gets here."""
        return request_id(request, self.digest, self.corpus.digest)

    def hits(self, blueprint: Blueprint) -> tuple[Hit, ...]:
        """Search the library, once for each blueprint."""
        if blueprint not in self._hits:
            if len(self._hits) >= 256:
                self._hits.clear()
            self._hits[blueprint] = tuple(self.library.search(blueprint, NUM_HITS))
        return self._hits[blueprint]


@contextmanager
def one_thread(runtime: Runtime) -> Iterator[None]:
    """Compute with one thread: sums in another order differ in their last bit."""
    from threadpoolctl import threadpool_limits

    runtime.operator.backend.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield

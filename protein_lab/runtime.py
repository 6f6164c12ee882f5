"""What designing needs besides a request: operator, corpus and library, opened once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.calibration import Calibrator
from protein_lab.design.curves import POOL, SHARED_BY, fold_curves
from protein_lab.design.fold_library import FoldLibrary, Hit
from protein_lab.design.request import DesignRequest, request_id
from protein_lab.design.sequence_options import SequenceDraw
from protein_lab.design.sequences import draw_sequences, sequence_stream
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.curve_deeponet import CurveDeepONet
from protein_lab.models.sequence import SequenceOperator
from protein_lab.models.weights import (
    load_operator,
    load_sequence_operator,
    read_card,
    weights_digest,
)
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus
from protein_lab.training.fold_search import FoldSearch
from protein_lab.typing import Fault, FloatArray, IntArray

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
    _folded: dict[tuple[Blueprint, int, int], tuple[FloatArray, ...]] = field(
        default_factory=dict, repr=False
    )

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

    @property
    def has_curves(self) -> bool:
        """Whether there are weights of the operator that draws coarse curves."""
        return (self.weights / f"{CurveDeepONet.name}.toml").is_file()

    @cached_property
    def sequences(self) -> SequenceOperator:
        """The operator that draws sequences, loaded when it is first needed.

        Raises
        ------
        WeightsError
            When its weights are missing or damaged.
        """
        return load_sequence_operator(self.operator.backend.name, folder=self.weights)

    @property
    def sequence_digest(self) -> str | None:
        """SHA-256 of the sequence operator's weights, None where there are none."""
        card = self.weights / f"{SequenceOperator.name}.toml"
        return str(read_card(card)["sha256"]) if card.is_file() else None

    def sequence_warnings(self, request: DesignRequest) -> list[Fault]:
        """Tell before computing that sequences were asked for but there are no weights for them.

        Raises
        ------
        WeightsError
            When there are weights, but damaged ones.
        """
        if not request.sequence.num_sequences:
            return []
        if self.sequence_digest is not None:
            _ = self.sequences
            return []
        message = f"There are no weights for sequences in {self.weights}; backbones come without."
        remedy = "Put sequence.safetensors and sequence.toml there, or set num_sequences to 0."
        return [Fault(path="$.sequence", message=message, remedy=remedy, severity="warning")]

    def draw_sequences(
        self,
        request: DesignRequest,
        index: int,
        backbone: FloatArray,
        bias: FloatArray | None = None,
        equal: IntArray | None = None,
    ) -> SequenceDraw:
        """Draw the sequences of one design from a stream that no coordinate depends on.

        Parameters
        ----------
        request : DesignRequest
        index : int
            Number of the design; with the seed it fixes the stream.
        backbone : ndarray, shape=(residue, 4, 3)
            N, CA, C, O, angstrom.
        bias : ndarray, shape=(residue, 20), optional
            What the constraints say of amino acids, nats; from
            :func:`protein_lab.design.sequence_bias.sequence_bias`.
        equal : ndarray, shape=(residue,), dtype=int, optional
            Residues of equal number get equal amino acids.
        """
        stream = sequence_stream(request.seed, index)
        return draw_sequences(
            lambda: self.sequences, backbone, request.sequence, stream, bias, equal
        )

    @cached_property
    def calibrator(self) -> Calibrator:
        """What makes uncertainties calibrated, read when it is first needed.

        Raises
        ------
        WeightsError
            When the calibration is damaged.
        """
        return Calibrator.load(self.operator.name, self.operator.digest, self.weights)

    @cached_property
    def relatives(self) -> FoldSearch:
        """All chains of the corpus, ready to be searched for the nearest of a design."""
        return FoldSearch(self.corpus)

    def shared_curve(self, blueprint: Blueprint, seed: int, index: int, attempt: int) -> FloatArray:
        """Take the curve of one design from those that it shares with others of its blueprint.

        Eight designs draw as many curves as each would for itself, but together, so that they
        know of each other and differ. Which curve a design gets depends on seed and index alone.

        Parameters
        ----------
        blueprint : Blueprint
            What every design of the request gets.
        seed : int
            Of the request.
        index : int
            Number of the design.
        attempt : int
            0, then 1, 2 ... where no sound backbone came of the curves before.

        Returns
        -------
        ndarray, shape=(residue, 3)
            Axis curve, angstrom.
        """
        group, place = divmod(index, SHARED_BY)
        key = (blueprint, seed, group)
        if key not in self._folded:
            if len(self._folded) >= 32:
                self._folded.clear()
            # three numbers, so that no design has the same stream
            rng = np.random.default_rng(np.random.SeedSequence([seed, group, POOL]))
            self._folded[key] = tuple(
                fold_curves(self.curves, blueprint, rng, POOL // 2, num_curves=POOL)
            )
        curves = self._folded[key]
        return curves[(place + attempt * SHARED_BY) % len(curves)]

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

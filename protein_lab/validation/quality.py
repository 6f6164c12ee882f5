"""Learned quality: the lDDT that a structure is predicted to have to the real one.

The prediction is calibrated on decoys of held-out chains, and comes with an interval that held
nine of ten of them. It was learned from models of natural proteins; for a design it says how much
the backbone looks like a model without errors, not that the sequence folds into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from protein_lab.errors import BackendError, GeometryError, ProteinLabError, WeightsError
from protein_lab.models.quality import QualityOperator
from protein_lab.models.quality_inputs import collate_quality
from protein_lab.models.weights import load_quality_operator
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.validation.base import Finding, Measure, Once
from protein_lab.validation.chains import read_chain
from protein_lab.validation.evidence import evidence_of
from protein_lab.validation.options import ValidationOptions
from protein_lab.validation.potentials import load_potentials, split_chains

SHORTEST: Final = 20
LONGEST: Final = 1024
COVERAGE: Final = 0.9
"""Share of held-out models whose true lDDT lies in the interval."""

_BATCH_RESIDUES: Final = 2048


class QualityCurve(msgspec.Struct, frozen=True, kw_only=True):
    """How raw predictions become expected lDDT.

    Attributes
    ----------
    raw, expected : tuple of float
        Knots of a monotonous curve; linear in between, constant beyond.
    interval : float
        Half-width of the interval around an expected value.
    """

    raw: tuple[float, ...]
    expected: tuple[float, ...]
    interval: float

    def apply(self, values: FloatArray) -> FloatArray:
        """Calibrate raw predictions."""
        return np.interp(values, self.raw, self.expected)


class QualityCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """Curves with and without a known sequence, as a card holds them.

    Attributes
    ----------
    residue, whole : QualityCurve
        Of residues and of means over models, where the sequence is known.
    residue_unknown, whole_unknown : QualityCurve
        Where it is not.
    models, chains : int
        Held-out models, and the real chains that they are models of.
    """

    residue: QualityCurve
    whole: QualityCurve
    residue_unknown: QualityCurve
    whole_unknown: QualityCurve
    models: int
    chains: int


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Predicted quality of one chain.

    Attributes
    ----------
    lddt : ndarray, shape=(residue,)
        Expected lDDT of each residue, 0 to 1.
    residue_interval : float
        Half-width of its interval.
    score, low, high : float
        Expected lDDT of the whole chain, and its interval.
    """

    lddt: FloatArray
    residue_interval: float
    score: float
    low: float
    high: float


class QualityPredictor:
    """Predicts the quality of backbones.

    Parameters
    ----------
    operator : QualityOperator
        With a calibration in its card.

    Raises
    ------
    WeightsError
        If the card holds no calibration.
    """

    def __init__(self, operator: QualityOperator) -> None:
        self.operator = operator
        try:
            stored = operator.card["calibration"]
            self.calibration = msgspec.convert(stored, QualityCalibration)
        except (KeyError, msgspec.ValidationError) as error:
            raise WeightsError(
                f"The card of the quality operator holds no calibration ({error}).",
                "Train it again with: protein-lab train quality.",
            ) from error

    @classmethod
    def load(cls, backend: str = "auto", folder: Path | None = None) -> QualityPredictor:
        """Load the trained operator.

        Raises
        ------
        WeightsError
            If weights or card are missing or broken.
        """
        return cls(load_quality_operator(backend, folder=folder))

    def predict(self, backbone: FloatArray, sequence: str | None = None) -> Quality:
        """Predict the quality of one chain.

        Parameters
        ----------
        backbone : ndarray, shape=(residue, 4, 3)
            N, CA, C, O, angstrom.
        sequence : str, optional
            One-letter codes; with it the prediction is about whether this sequence has this
            structure.

        Raises
        ------
        GeometryError
            If the chain is too short or long, or not finite.
        """
        return self.predict_many([backbone], [sequence])[0]

    def predict_many(
        self, backbones: Sequence[FloatArray], sequences: Sequence[str | None]
    ) -> list[Quality]:
        """Predict the quality of many chains; parameters as for :meth:`predict`."""
        found = []
        raw = raw_predictions(self.operator, backbones, sequences)
        for values, sequence in zip(raw, sequences, strict=True):
            known = sequence is not None and sequence.strip("X") != ""
            given = self.calibration
            residue = given.residue if known else given.residue_unknown
            whole = given.whole if known else given.whole_unknown
            score = float(whole.apply(np.asarray(values.mean())))
            found.append(
                Quality(
                    lddt=residue.apply(values),
                    residue_interval=residue.interval,
                    score=score,
                    low=max(0.0, score - whole.interval),
                    high=min(1.0, score + whole.interval),
                )
            )
        return found


def raw_predictions(
    operator: QualityOperator,
    backbones: Sequence[FloatArray],
    sequences: Sequence[str | None],
) -> list[FloatArray]:
    """Predict the lDDT of residues, uncalibrated.

    Parameters
    ----------
    operator : QualityOperator
    backbones : sequence of ndarray, shape=(residue, 4, 3)
        Angstrom.
    sequences : sequence of str or None

    Returns
    -------
    list of ndarray, shape=(residue,)

    Raises
    ------
    GeometryError
        If a chain is too short or long, or not finite.
    """
    tables, xp = load_potentials(), operator.backend
    for backbone in backbones:
        if not SHORTEST <= len(backbone) <= LONGEST or not np.isfinite(backbone).all():
            raise GeometryError(
                f"Expected finite chains of {SHORTEST} to {LONGEST} residues, but one has "
                f"{len(backbone)}."
            )
    order = np.argsort([len(item) for item in backbones], kind="stable")
    found: dict[int, FloatArray] = {}
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and (stop - start + 1) * len(backbones[order[stop]]) <= _BATCH_RESIDUES
        ):
            stop += 1
        rows = [int(k) for k in order[start:stop]]
        chosen = [np.asarray(backbones[k], dtype=np.float64) for k in rows]
        evidence = [
            evidence_of(backbone, sequences[k], tables)
            for k, backbone in zip(rows, chosen, strict=True)
        ]
        inputs = collate_quality(xp, chosen, evidence, operator.config.neighbors)
        values = xp.to_numpy(operator.predict(inputs)).astype(np.float64)
        for row, k in enumerate(rows):
            found[k] = values[row, : len(backbones[k])]
        start = stop
    return [found[k] for k in range(len(backbones))]


def measures(options: ValidationOptions) -> dict[str, Measure]:
    """Give the measures of predicted quality, which load the operator once when first asked.

    Parameters
    ----------
    options : ValidationOptions
        Backend and weights.
    """
    loaded: list[QualityPredictor] = []

    def predictor() -> QualityPredictor:
        if not loaded:
            loaded.append(QualityPredictor.load(options.backend, options.weights))
        return loaded[0]

    def measure(with_sequence: bool) -> Callable[[Protein], Finding]:
        return Once(lambda protein: _predicted(protein, predictor, with_sequence))

    return {"predicted_lddt": measure(False), "predicted_lddt_of_sequence": measure(True)}


def _predicted(
    protein: Protein, predictor: Callable[[], QualityPredictor], with_sequence: bool
) -> Finding:
    """Predict the quality of the worst chain."""
    try:
        judge: Any = predictor()
    except (WeightsError, BackendError, ProteinLabError) as error:
        return Finding.missing(str(error))
    worst: tuple[float, str] | None = None
    reason = f"No chain has {SHORTEST} to {LONGEST} residues with whole backbone."
    for part in split_chains(read_chain(protein)):
        if not SHORTEST <= len(part.labels) <= LONGEST:
            continue
        if with_sequence and part.sequence.count("X") > 0.1 * len(part.sequence):
            reason = "The sequence is not known."
            continue
        made = judge.predict(part.atoms, part.sequence if with_sequence else None)
        low = int(np.argmin(made.lddt))
        text = (
            f"{COVERAGE:.0%} interval {made.low:.2f} to {made.high:.2f}; lowest "
            f"{made.lddt[low]:.2f} at {part.labels[low]}."
        )
        if worst is None or made.score < worst[0]:
            worst = (made.score, text)
    return Finding(None, reason) if worst is None else Finding(*worst)

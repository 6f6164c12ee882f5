"""Calibrated uncertainty: how far each residue of a design may be off, given its curve.

The claim is about a real chain that had the design's blueprint and an axis curve as near to the
one that was drawn around as curves in training are: how far its CA atoms would lie from those of
the design, after superposition. Nothing is claimed about whether the fold itself is right.

A calibration belongs to one set of weights and says so; with others, the uncertainty is the plain
spread of the samples and is called uncalibrated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from protein_lab.design.residue_features import FEATURES, NEEDS_SAMPLES, residue_features
from protein_lab.design.sampling import uncertainty
from protein_lab.errors import WeightsError
from protein_lab.flow import FlowSample
from protein_lab.models.weights import calibration_file
from protein_lab.typing import FloatArray

SCHEMA: Final = "protein_lab/uncertainty@1"
BAND_LEVELS: Final = (0.5, 0.8, 0.9, 0.95)
"""Shares of chains that a band holds at every residue."""

BAND: Final = 0.9
"""Level of the band that is shown."""

RATIO_LEVELS: Final = tuple(round(0.01 * number, 2) for number in range(1, 100))

_LARGEST: Final = 100.0


class SigmaModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Predicts the error of every residue, and how errors scatter about the prediction.

    Attributes
    ----------
    coefficients : dict of str to float
        Of the features; their weighted sum is the logarithm of sigma in angstrom.
    ratio_quantiles : tuple of float
        Error over sigma that the shares :data:`RATIO_LEVELS` of residues do not exceed.
    band : dict of str to float
        By level: sigma times this number holds all residues of that share of chains.
    fitted_chains, conformal_chains : int
        Chains that the coefficients, and those that all quantiles come from.
    """

    coefficients: dict[str, float]
    ratio_quantiles: tuple[float, ...]
    band: dict[str, float]
    fitted_chains: int
    conformal_chains: int

    def sigma(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Root mean square error expected of every residue, angstrom."""
        total = sum(weight * features[name] for name, weight in self.coefficients.items())
        return np.minimum(np.exp(np.asarray(total)), _LARGEST)


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured on held-out chains for one set of weights.

    Attributes
    ----------
    schema : str
        Name and version of this format.
    operator, weights_sha256 : str
        The operator, and the digest of its weights file.
    corpus_digest, split : str
        Where the chains came from.
    samples, steps : int
        Fields drawn for a chain, and Euler steps of each.
    lengths : tuple of int
        Of the shortest and the longest chains that could be drawn, residues.
    several, single : SigmaModel
        For designs chosen from several samples, and for those of one sample.
    """

    schema: str
    operator: str
    weights_sha256: str
    corpus_digest: str
    split: str
    samples: int
    steps: int
    lengths: tuple[int, int]
    several: SigmaModel
    single: SigmaModel


class UncertaintyKind(msgspec.Struct, frozen=True, kw_only=True):
    """What the uncertainty of a request's designs means.

    Attributes
    ----------
    kind : str
        ``calibrated``, or ``uncalibrated``: the spread of the samples.
    reason : str
        Why it is not calibrated; otherwise what was measured.
    digest : str
        SHA-256 of the calibration; empty without one.
    lengths : tuple of int
        Designs shorter or longer are uncalibrated.
    band : dict of str to float
        By level, sigma times this number is the half-width of the band.
    """

    kind: Literal["calibrated", "uncalibrated"] = "uncalibrated"
    reason: str = ""
    digest: str = ""
    lengths: tuple[int, int] = (0, 0)
    band: dict[str, float] = {}

    def of_length(self, length: int) -> Literal["calibrated", "uncalibrated"]:
        """Kind for a design of ``length`` residues."""
        inside = self.lengths[0] <= length <= self.lengths[1]
        return "calibrated" if self.kind == "calibrated" and inside else "uncalibrated"

    def band_factor(self, length: int, level: float = BAND) -> float | None:
        """Half-width of the band over sigma; None where nothing is calibrated."""
        if self.of_length(length) != "calibrated":
            return None
        return self.band.get(f"{level:g}")


class Calibrator:
    """The calibration of one operator, or the reason why there is none.

    Parameters
    ----------
    calibration : Calibration or None
    reason : str
        Why there is none.
    digest : str
        SHA-256 of the file.
    """

    def __init__(
        self, calibration: Calibration | None = None, reason: str = "", digest: str = ""
    ) -> None:
        self.calibration = calibration
        self.reason = reason
        self.digest = digest

    @classmethod
    def load(cls, operator: str, weights_sha256: str, folder: Path) -> Calibrator:
        """Read the calibration beside the weights, if there is one that belongs to them.

        Parameters
        ----------
        operator : str
            Name of the operator.
        weights_sha256 : str
            Digest of the weights that are used.
        folder : Path
            Of the weights.

        Raises
        ------
        WeightsError
            If the file is there but damaged.
        """
        path = calibration_file(operator, folder)
        if not path.is_file():
            return cls(reason=f"not_run: {operator} has no calibration here")
        found = read_calibration(path)
        if found.weights_sha256 != weights_sha256:
            return cls(
                reason=f"not_run: the calibration of {operator} was made for the weights "
                f"{found.weights_sha256[:12]}, and these are {weights_sha256[:12]}; make it "
                f"again with: protein-lab calibrate --operator {operator}"
            )
        return cls(found, digest=hashlib.sha256(path.read_bytes()).hexdigest())

    def kind(self, samples: int, steps: int) -> UncertaintyKind:
        """Say what the uncertainty of designs means that are drawn like this."""
        found = self.calibration
        if found is None:
            return UncertaintyKind(reason=self.reason)
        if steps != found.steps:
            return UncertaintyKind(
                reason=f"not_run: calibrated for {found.steps} steps of the flow, not {steps}"
            )
        model = found.several if samples > 1 else found.single
        measured = f"on {model.conformal_chains} held-out chains"
        return UncertaintyKind(
            kind="calibrated",
            reason=f"Error of CA atoms, given the curve, {measured}.",
            digest=self.digest,
            lengths=found.lengths,
            band=model.band,
        )

    def uncertainty(
        self,
        drawn: FlowSample,
        steps: int,
        shown: FloatArray,
        states: str,
        curve: FloatArray,
    ) -> FloatArray:
        """Give the uncertainty of every residue, calibrated where :meth:`kind` says so.

        Parameters
        ----------
        drawn : FlowSample
            All samples of the design.
        steps : int
            Euler steps they were drawn with.
        shown : ndarray, shape=(residue, 3)
            CA atoms of the design.
        states : str
            Asked secondary structure.
        curve : ndarray, shape=(residue, 3)
            Axis curve that the samples were drawn around.

        Returns
        -------
        ndarray, shape=(residue,), dtype=float32
            Root mean square error expected of a CA atom, angstrom; the spread of the samples
            where nothing is calibrated.
        """
        samples = len(drawn.field)
        found = self.calibration
        kind = self.kind(samples, steps).of_length(len(states))
        if found is None or kind == "uncalibrated":
            return uncertainty(drawn)
        model = found.several if samples > 1 else found.single
        return model.sigma(residue_features(drawn, shown, states, curve)).astype(np.float32)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration strictly.

    Raises
    ------
    WeightsError
        If the file cannot be read, is of another version, or holds impossible numbers.
    """
    remedy = "Make it again with: protein-lab calibrate."
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(f"The calibration {path} cannot be read ({error}).", remedy) from error
    if found.schema != SCHEMA:
        raise WeightsError(f"Expected {SCHEMA} in {path}, but it is {found.schema!r}.", remedy)
    known = (set(FEATURES), set(FEATURES) - set(NEEDS_SAMPLES))
    for model, features in zip((found.several, found.single), known, strict=True):
        factors = list(model.band.values())
        numbers = [*model.coefficients.values(), *model.ratio_quantiles, *factors]
        wanted = [f"{level:g}" for level in BAND_LEVELS]
        if (
            not set(model.coefficients) <= features
            or not np.isfinite(numbers).all()
            or list(model.band) != wanted
            or len(model.ratio_quantiles) != len(RATIO_LEVELS)
            or (np.diff(factors) < 0.0).any()
            or factors[0] <= 0.0
        ):
            raise WeightsError(
                f"The calibration {path} holds unknown features, or quantiles that are not "
                f"finite, not ordered, or not of the levels {', '.join(wanted)}.",
                remedy,
            )
    return found

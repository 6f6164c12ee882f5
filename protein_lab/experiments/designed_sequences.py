"""What the sequences of designs look like beside those that native backbones get.

There is no right answer for a new backbone, so recovery cannot be measured. An operator that meets
backbones unlike real ones says so in two ways: it is less sure, and it puts small residues where
there is no room for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from protein_lab import engine
from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.design.request_schema import request_examples
from protein_lab.design.sequence_options import DesignedSequence, SequenceOptions
from protein_lab.design.sequences import design_sequences, sequence_stream
from protein_lab.experiments.quality import Row
from protein_lab.metrics import dssp
from protein_lab.models.sequence import NUM_TYPES
from protein_lab.models.sequence_inputs import residue_types
from protein_lab.typing import FloatArray

_SEED: Final = 21
_RESAMPLES: Final = 2000
_LENGTHS: Final = (40, 128)
"""Native chains are as long as the designs of the examples, residues."""

_GLYCINE: Final = int(residue_types("G")[0])


@dataclass(frozen=True, slots=True, eq=False)
class DrawnCounts:
    """What is counted in the best sequence of one backbone.

    Attributes
    ----------
    residues : ndarray, shape=(20,)
        Residues of each type.
    helix : ndarray, shape=(20,)
        The same within helices.
    log_p : float
        Sum of log p over residues, nats.
    """

    residues: NDArray[np.float64]
    helix: NDArray[np.float64]
    log_p: float

    @classmethod
    def of(cls, backbone: FloatArray, made: DesignedSequence) -> DrawnCounts:
        """Count one sequence."""
        codes = residue_types(made.sequence)
        helix = np.array([state == "H" for state in dssp(backbone)], dtype=bool)
        return cls(
            residues=np.bincount(codes, minlength=NUM_TYPES).astype(np.float64),
            helix=np.bincount(codes[helix], minlength=NUM_TYPES).astype(np.float64),
            log_p=made.score * len(codes),
        )


def run_designed_sequences(
    per_request: int = 8,
    backend: str = "auto",
    requests: Sequence[DesignRequest] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Design the shipped requests, draw sequences, and compare with native backbones.

    Parameters
    ----------
    per_request : int
        Designs of each request; as many native backbones are taken as designs come out.
    backend : str
    requests : sequence of DesignRequest, optional
        The shipped examples unless given.
    progress : callable
        Called with a line after each request.

    Returns
    -------
    list of Row
        Perplexity, distance of the composition from that of the training split, and share of
        glycine in helices; on native backbones of the calibration split, then on designs.
    """
    asked = requests or [decode_request(value) for value in request_examples().values()]
    runtime = engine.Runtime.open(backend=backend)
    designed: list[DrawnCounts] = []
    for request in asked:
        wanted = msgspec.structs.replace(
            request, num_designs=per_request, sequence=SequenceOptions(num_sequences=1)
        )
        for index in range(per_request):
            made = engine.design_one(wanted, index, runtime)
            if made.sequences:
                designed.append(DrawnCounts.of(made.backbone, made.sequences[0]))
        progress(f"{request.name or 'unnamed request'}: {len(designed)} designs so far")
    native = _native(runtime, len(designed))
    background = _background(runtime)
    return [
        *composition_rows("native backbones", native, background),
        *composition_rows("designs", designed, background),
    ]


def _native(runtime: engine.Runtime, count: int) -> list[DrawnCounts]:
    """Draw one sequence for each of some native backbones that were not trained on."""
    pool = runtime.corpus.indices("calibration", *_LENGTHS)
    chosen = np.random.default_rng(_SEED).permutation(pool)[:count]
    options = SequenceOptions(num_sequences=1)
    found = []
    for index in chosen:
        backbone = np.asarray(runtime.corpus.backbone(int(index)))
        stream = sequence_stream(_SEED, int(index))
        (made,) = design_sequences(runtime.sequences, backbone, options, stream)
        found.append(DrawnCounts.of(backbone, made))
    return found


def _background(runtime: engine.Runtime) -> NDArray[np.float64]:
    """Amino acid frequencies of some chains of the training split."""
    pool = np.random.default_rng(_SEED).permutation(runtime.corpus.indices("train"))[:2000]
    codes = np.concatenate([residue_types(runtime.corpus.sequence(int(i))) for i in pool])
    counts = np.bincount(codes[codes < NUM_TYPES], minlength=NUM_TYPES)
    return counts / counts.sum()


def composition_rows(
    name: str, counted: Sequence[DrawnCounts], background: NDArray[np.float64]
) -> list[Row]:
    """Make rows with bootstrap intervals over backbones; figures without data are None."""
    if not counted:
        return [Row(f"{name}: number", 0.0, None, None, "", None, True, "None came out.")]
    residues = np.array([item.residues for item in counted])
    helix = np.array([item.helix for item in counted])
    log_p = np.array([item.log_p for item in counted])
    picks = np.random.default_rng(_SEED).integers(len(counted), size=(_RESAMPLES, len(counted)))
    chosen = [np.arange(len(counted)), *picks]
    perplexity, off, glycine = [], [], []
    for rows in chosen:
        total = residues[rows].sum(axis=0)
        in_helix = helix[rows].sum(axis=0)
        perplexity.append(np.exp(-log_p[rows].sum() / total.sum()))
        off.append(50.0 * np.abs(total / total.sum() - background).sum())
        glycine.append(100.0 * in_helix[_GLYCINE] / in_helix.sum() if in_helix.sum() else np.nan)
    note = f"{len(counted)} backbones."
    return [
        _row(f"{name}: perplexity", perplexity, "", note),
        _row(f"{name}: composition off", off, "%", note),
        _row(f"{name}: glycine in helices", glycine, "%", note),
    ]


def _row(name: str, values: Sequence[float], unit: str, note: str) -> Row:
    known = np.array(values, dtype=np.float64)
    if not np.isfinite(known[0]):
        return Row(name, None, None, None, unit, None, True, note)
    low, high = np.nanquantile(known[1:], (0.025, 0.975))
    return Row(name, float(known[0]), float(low), float(high), unit, None, True, note)

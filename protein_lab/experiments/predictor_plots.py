"""Picture of the benchmark of predicted quality: predicted against true lDDT."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.errors import MissingExtraError
from protein_lab.experiments.predictor_benchmark import Judged
from protein_lab.models.weights import write_atomically

_NAMES: Final = {
    "real chains": (("native", "refined"), "#000000"),
    "operator, own curve": (("sampled", "field"), "#0072b2"),
    "operator, wrong fold": (("fold",), "#d55e00"),
    "other changes": (("torsions", "loops", "bend", "shift", "jitter"), "#999999"),
}
_BINS: Final = 40


def draw_quality(judged: Sequence[Judged], path: Path) -> None:
    """Draw models with their sequences and without, and residues.

    Parameters
    ----------
    judged : sequence of Judged
    path : Path
        PNG file to write.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "notebooks") from error
    page = Figure(figsize=(12.0, 4.2), layout="constrained", dpi=130)
    left, middle, right = page.subplots(1, 3)
    for axes, name in ((left, "known"), (middle, "unknown")):
        for label, (kinds, color) in _NAMES.items():
            chosen = [item for item in judged if item.model.kind in kinds]
            truth = [float(np.nanmean(item.model.lddt)) for item in chosen]
            score = [getattr(item, name).score for item in chosen]
            axes.scatter(truth, score, s=9, color=color, label=label, alpha=0.7, linewidths=0)
        axes.set_title("Models, sequence known" if name == "known" else "Models, backbone alone")
    left.legend(fontsize=8, loc="lower right", frameon=False)
    seen = [np.isfinite(item.model.lddt) for item in judged]
    truth = np.concatenate([i.model.lddt[s] for i, s in zip(judged, seen, strict=True)])
    score = np.concatenate([i.known.lddt[s] for i, s in zip(judged, seen, strict=True)])
    right.hist2d(truth, score, bins=_BINS, range=((0.0, 1.0), (0.0, 1.0)), cmap="Blues", norm="log")
    right.set_title("Residues, sequence known")
    for axes in (left, middle, right):
        axes.plot((0, 1), (0, 1), color="#555555", linewidth=0.8, linestyle="--")
        axes.set(xlim=(0.15, 1.02), ylim=(0.15, 1.02), xlabel="true lDDT", ylabel="predicted lDDT")
        axes.set_aspect("equal")
    stream = io.BytesIO()
    page.savefig(stream, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, stream.getvalue())

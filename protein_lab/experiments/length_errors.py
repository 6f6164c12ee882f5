"""How far an operator is off by the length of the chain, inside and outside what it was trained on.

The operator is given the exact axis curve, secondary structure and pairs of real chains that it
never saw; what it draws is compared with the chain. No chain of the corpus is longer than the
trained range: longer ones are several of them, joined end to end in space. Requests outside the
trained range are warned with these figures (:mod:`protein_lab.design.length_range`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from protein_lab.constants import CA_CA_TRANS
from protein_lab.design.blueprint import blueprint_of
from protein_lab.design.length_range import BINS
from protein_lab.design.sampling import conditions_of
from protein_lab.errors import CorpusError
from protein_lab.experiments.rows import Row
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import axis_curve
from protein_lab.metrics import rmsd
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import load_operator, write_atomically
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray

SEED: Final = 20
STEPS: Final = 10
MIN_DOMAIN: Final = 60
"""Shortest chain that is joined to others, residues."""

QUICK, FULL = 2, 5
"""Chains of each range of lengths."""

_RESAMPLES: Final = 2000
_EXACT_CURVE: Final = 0.0

Progress = Callable[[str], None]


def run_lengths(
    quick: bool = True,
    operator: str = "enhanced_deeponet",
    progress: Progress | None = None,
    per_range: int | None = None,
) -> list[Row]:
    """Measure the error by length on calibration chains.

    Parameters
    ----------
    quick : bool
        Two chains of each range instead of eight.
    operator : str
    progress : callable, optional
        Called with what is measured next.
    per_range : int, optional
        Chains of each range, instead of the number that ``quick`` says.

    Returns
    -------
    list of Row
        One for each of :data:`protein_lab.design.length_range.BINS`.

    Raises
    ------
    CorpusError
        If the corpus has no calibration chains.
    """
    loaded, corpus = load_operator(operator), Corpus.open()
    loaded.backend.set_num_threads(1)
    count = per_range or (QUICK if quick else FULL)
    rng, rows = np.random.default_rng(SEED), list[Row]()
    for low, high in BINS:
        if progress is not None:
            progress(f"{low} to {high} residues")
        chains = [_chain_of(corpus, low, high, rng) for _ in range(count)]
        errors = np.array([_error(loaded, *chain, number) for number, chain in enumerate(chains)])
        picks = rng.integers(len(errors), size=(_RESAMPLES, len(errors)))
        bounds = np.quantile(errors[picks].mean(axis=1), (0.025, 0.975))
        note = (
            f"RMSD of CA to the chain whose curve was given; {len(errors)} chains, {STEPS} steps."
        )
        rows.append(
            Row(f"{operator}: error at {low} to {high} residues", float(errors.mean()),
                float(bounds[0]), float(bounds[1]), "angstrom", None, True, note)
        )  # fmt: skip
    return rows


def _chain_of(
    corpus: Corpus, low: int, high: int, rng: np.random.Generator
) -> tuple[FloatArray, str]:
    """Take a real chain of some length; where none is so long, join several."""
    pool = corpus.indices("calibration", low, high)
    several = not len(pool)
    if several:
        pool = corpus.indices("calibration", MIN_DOMAIN, high - low)
    if not len(pool):
        raise CorpusError(
            f"The corpus at {corpus.path} has no calibration chains of {low} to {high} residues, "
            "and none to join.",
            "Build a larger corpus.",
        )
    chain = corpus.chain(int(rng.choice(pool)))
    backbone = np.asarray(chain.backbone, dtype=np.float64)
    states = chain.secondary_structure
    while len(states) < low:
        following = corpus.chain(int(rng.choice(pool)))
        backbone = _joined(backbone, np.asarray(following.backbone, dtype=np.float64))
        states += following.secondary_structure
    return backbone, states


def _joined(first: FloatArray, second: FloatArray) -> FloatArray:
    """Put a backbone behind another, turned so that it leads away from it."""
    end, start = first[-1, 1], second[0, 1]
    away, onward = end - first[:, 1].mean(axis=0), second[:, 1].mean(axis=0) - start
    rotation = Rotation.align_vectors(away[None], onward[None])[0].as_matrix()
    step = away / np.linalg.norm(away) * CA_CA_TRANS
    return np.concatenate([first, (second - start) @ rotation.T + end + step])


def _error(
    operator: BaseNeuralOperator[Any], backbone: FloatArray, states: str, number: int
) -> float:
    """RMSD of the CA atoms that the operator draws to those of a chain."""
    blueprint = blueprint_of(backbone, states)
    center = backbone[:, 1].mean(axis=0)
    conditions = conditions_of(blueprint, axis_curve(backbone[:, 1]) - center)
    noise = draw_noise(np.random.default_rng([SEED, number]), 1, len(backbone))
    drawn = sample(operator, conditions, noise, STEPS, curve_error=_EXACT_CURVE).field[0]
    return float(rmsd(drawn[:, 1], backbone[:, 1]))


def write_table(rows: list[Row], digest: str, path: Path) -> None:
    """Write what the checks of requests read.

    Parameters
    ----------
    rows : list of Row
        From :func:`run_lengths`.
    digest : str
        SHA-256 of the measured weights.
    path : Path
    """
    import tomli_w

    table = [
        {
            "low": int(row.name.split()[-4]),
            "high": int(row.name.split()[-2]),
            "rmsd": round(row.value or 0.0, 3),
        }
        for row in rows
    ]
    content = {"command": "protein-lab benchmark lengths", "weights": digest, "error": table}
    write_atomically(path, tomli_w.dumps(content).encode())

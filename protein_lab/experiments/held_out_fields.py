"""Fields drawn for real chains that no operator was trained on, to compare with the truth.

A case is a chain of the corpus as a design would see it: its blueprint and its own axis curve,
perturbed as in training, by as much as the operator is told when it designs. Nothing is refined.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.sampling import conditions_of
from protein_lab.errors import CorpusError, ProteinLabError
from protein_lab.experiments.quality_measures import case_of, is_answerable
from protein_lab.flow import LIBRARY_CURVE_ERROR, FlowSample, draw_noise, sample
from protein_lab.geometry import axis_curve
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import write_atomically
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import perturb_curve
from protein_lab.typing import FloatArray

SEED: Final = 20
LONGEST: Final = 128
"""Operators see longer chains as crops of this length in training."""

_ARRAYS: Final = ("field", "sigma", "guess", "guess_sigma")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutCase:
    """A real chain, what the operator was told of it, and what the operator drew.

    Attributes
    ----------
    index : int
        Number of the chain in the corpus.
    blueprint : Blueprint
        States and pairs that were asked.
    curve : ndarray, shape=(residue, 3)
        Perturbed axis curve, angstrom.
    drawn : FlowSample
        Fields drawn around it.
    truth : ndarray, shape=(residue, 4, 3)
        The real backbone, angstrom.
    """

    index: int
    blueprint: Blueprint
    curve: FloatArray
    drawn: FlowSample
    truth: FloatArray


def one_per_cluster(
    corpus: Corpus, split: str, count: int | None = None, longest: int = LONGEST
) -> list[int]:
    """Choose chains of a split, one of each cluster of similar sequences, in a random order.

    Chains of one cluster resemble each other; drawn one a cluster they are exchangeable. The
    choice and the order are always the same, so fewer chains are the first of more.

    Parameters
    ----------
    corpus : Corpus
    split : str
        ``train``, ``calibration`` or ``test``.
    count : int, optional
        How many; all clusters unless given.
    longest : int
        Longer chains are left out, residues.

    Returns
    -------
    list of int
        Chains whose blueprint the engine would take.

    Raises
    ------
    CorpusError
        If the split has no such chain.
    """
    order = np.random.default_rng(SEED).permutation(corpus.indices(split, max_length=longest))
    seen: set[int] = set()
    chosen: list[int] = []
    for index in map(int, order):
        cluster = int(corpus.cluster[index])
        if cluster in seen or not is_answerable(case_of(corpus, index, 1, "enhanced_deeponet", 0)):
            continue
        seen.add(cluster)
        chosen.append(index)
        if len(chosen) == count:
            break
    if not chosen:
        raise CorpusError(
            f"The corpus at {corpus.path} has no {split} chain with helices or strands of at "
            f"most {longest} residues.",
            "Build a corpus with that split.",
        )
    return chosen


def draw_case(
    operator: BaseNeuralOperator[Any],
    corpus: Corpus,
    index: int,
    samples: int,
    steps: int,
    curve_error: float = LIBRARY_CURVE_ERROR,
) -> HeldOutCase:
    """Perturb the axis curve of a chain and draw fields around it.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Of the fine scale.
    corpus : Corpus
    index : int
        Number of the chain; it alone fixes everything random.
    samples, steps : int
        Fields, and Euler steps of each.
    curve_error : float
        Amplitude of the perturbation, angstrom. The operator is told what it is told of designs,
        whatever this is.

    Returns
    -------
    HeldOutCase
    """
    blueprint, curve, truth, rng = _question(corpus, index, curve_error)
    noise = draw_noise(rng, samples, blueprint.length)
    drawn = sample(operator, conditions_of(blueprint, curve), noise, steps)
    return HeldOutCase(index, blueprint, curve, drawn, truth)


def _question(
    corpus: Corpus, index: int, curve_error: float
) -> tuple[Blueprint, FloatArray, FloatArray, np.random.Generator]:
    rng = np.random.default_rng(np.random.SeedSequence([SEED, index]))
    blueprint = case_of(corpus, index, 1, "enhanced_deeponet", 0).blueprint
    truth = np.asarray(corpus.backbone(index), dtype=np.float64)
    spans = [(element.start, element.stop) for element in blueprint.elements]
    curve = perturb_curve(axis_curve(truth[:, 1]), spans, rng, curve_error)
    return blueprint, curve, truth, rng


def held_out_fields(
    operator: BaseNeuralOperator[Any],
    corpus: Corpus,
    indices: Sequence[int],
    samples: int,
    steps: int,
    folder: Path | None = None,
    progress: Progress | None = None,
    curve_error: float = LIBRARY_CURVE_ERROR,
) -> Iterator[HeldOutCase]:
    """Draw the fields of many chains, or read those that were drawn before.

    Parameters
    ----------
    operator : BaseNeuralOperator
    corpus : Corpus
    indices : sequence of int
        Numbers of chains.
    samples, steps : int
        Fields a chain, and Euler steps of each.
    folder : Path, optional
        Where drawn fields are kept; an interrupted run continues from there.
    progress : callable, optional
        Called with the numbers of finished and of all chains.
    curve_error : float
        Amplitude of the perturbation of curves, angstrom.

    Yields
    ------
    HeldOutCase

    Raises
    ------
    ProteinLabError
        If there are no samples or steps, or a kept file is damaged.
    """
    if samples < 1 or steps < 1:
        raise ProteinLabError(f"Expected samples and steps, but got {samples} and {steps}.")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    key = f"{operator.digest} {corpus.digest} {samples} {steps} {curve_error} {SEED}"
    prefix = hashlib.sha256(key.encode()).hexdigest()[:16]
    for number, index in enumerate(indices, start=1):
        path = None if folder is None else folder / f"{prefix}_{index}.npz"
        if path is not None and path.is_file():
            case = _read(path, corpus, index, curve_error)
        else:
            case = draw_case(operator, corpus, index, samples, steps, curve_error)
            if path is not None:
                stream = io.BytesIO()
                arrays = {name: getattr(case.drawn, name) for name in _ARRAYS}
                np.savez(stream, **arrays)
                write_atomically(path, stream.getvalue())
        if progress is not None:
            progress(number, len(indices))
        yield case


def _read(path: Path, corpus: Corpus, index: int, curve_error: float) -> HeldOutCase:
    blueprint, curve, truth, _ = _question(corpus, index, curve_error)
    try:
        with np.load(path, allow_pickle=False) as kept:
            drawn = FlowSample(*(kept[name] for name in _ARRAYS))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ProteinLabError(
            f"The drawn fields {path} cannot be read ({error}).", "Delete the file and run again."
        ) from error
    return HeldOutCase(index, blueprint, curve, drawn, truth)

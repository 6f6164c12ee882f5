"""Decoys of real chains: wrong models whose errors are known, to teach and test a judge of models.

Every decoy has the residues of a real chain, so its true local error is measured, not guessed.
They are wrong in the ways in which models are wrong: loops that swing, elements that slid, curves
that are bent, fields that an operator drew around a curve that was off, and whole folds of other
chains threaded with the same blueprint. Most of them, like designs, are refined to exact geometry,
and real chains are projected to it too, so that exactness tells nobody which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.element_table import ElementTable
from protein_lab.design.fold_library import FoldLibrary
from protein_lab.design.ideal_chain import project, with_oxygen
from protein_lab.design.refinement import RefinementOptions, refine
from protein_lab.design.sampling import conditions_of
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.experiments.held_out_fields import one_per_cluster
from protein_lab.experiments.quality_measures import case_of
from protein_lab.flow import draw_noise, sample
from protein_lab.geometry import axis_curve, backbone_from_internal
from protein_lab.geometry.motion import backbone_dihedrals
from protein_lab.metrics import lddt
from protein_lab.models.base import BaseNeuralOperator
from protein_lab.models.weights import write_atomically
from protein_lab.training.corpus import Corpus
from protein_lab.training.perturbation import (
    bend,
    displace_elements,
    perturb_curve,
    smooth_noise,
)
from protein_lab.typing import FloatArray

SEED: Final = 41
REFINED_SHARE: Final = 0.4
"""Share of changed chains that are refined; the rest are only projected."""

NATIVE: Final = "native"
KINDS: Final = (NATIVE, "refined", "sampled", "field", "fold", "torsions", "loops", "bend",
                "shift", "jitter")  # fmt: skip
"""What a model is: the chain itself, the chain refined, or how it was spoiled."""

_CHANGES: Final = ("sampled", "fold", "torsions", "loops", "bend", "shift", "jitter")
_SHARES: Final = (0.19, 0.17, 0.16, 0.15, 0.15, 0.12, 0.06)
_LARGEST_CURVE_ERROR: Final = 6.0
_MOST_FOLDS: Final = 16
_STEPS: Final = 8
_OPTIONS: Final = RefinementOptions(max_rounds=1)
_LARGEST_VIOLATION: Final = 0.1

Trace = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Decoys:
    """Models of one real chain.

    Attributes
    ----------
    index : int
        Number of the chain in the corpus.
    kinds : tuple of str
        Of each model, from :data:`KINDS`; the first is the chain itself.
    backbones : ndarray, shape=(model, residue, 4, 3)
        N, CA, C, O, angstrom.
    lddt : ndarray, shape=(model, residue)
        True lDDT of the CA atoms.
    """

    index: int
    kinds: tuple[str, ...]
    backbones: FloatArray
    lddt: FloatArray


class DecoyMaker:
    """Makes decoys of chains of a corpus.

    Parameters
    ----------
    operator : BaseNeuralOperator
        Draws fields around curves.
    corpus : Corpus
    """

    def __init__(self, operator: BaseNeuralOperator[Any], corpus: Corpus) -> None:
        self.operator, self.corpus = operator, corpus
        self.library = FoldLibrary(corpus)

    def make(self, index: int, count: int) -> Decoys:
        """Make models of one chain.

        Parameters
        ----------
        index : int
            Number of the chain; it alone fixes everything random.
        count : int
            Changes that are made to the chain; a change can give two models, or none where the
            chain broke.

        Returns
        -------
        Decoys
        """
        rng = np.random.default_rng(np.random.SeedSequence([SEED, index]))
        blueprint = case_of(self.corpus, index, 1, "enhanced_deeponet", 0).blueprint
        truth = np.asarray(self.corpus.backbone(index), dtype=np.float64)
        models = [(NATIVE, exact(truth[:, :3])), ("refined", self._refined(truth, blueprint))]
        order = rng.permutation(len(_CHANGES))
        for number in range(count):
            kind = str(rng.choice(_CHANGES, p=_SHARES))
            if count >= len(_CHANGES) > number:  # every kind once before any comes again
                kind = _CHANGES[order[number]]
            models += self._changed(kind, index, truth, blueprint, rng)
        kept = [(kind, model) for kind, model in models if model is not None]
        backbones = np.stack([model for _, model in kept]).astype(np.float32)
        return Decoys(
            index,
            tuple(kind for kind, _ in kept),
            backbones,
            lddt(backbones[:, :, 1], truth[:, 1]).astype(np.float32),
        )

    def _changed(
        self, kind: str, index: int, truth: Trace, blueprint: Blueprint, rng: np.random.Generator
    ) -> list[tuple[str, FloatArray | None]]:
        """Spoil a chain in one way."""
        if kind in ("sampled", "fold"):
            field = self._drawn(kind, index, truth, blueprint, rng)
            if field is None:
                return []
            return [(kind, self._refined(field, blueprint)), ("field", exact(field))]
        spans = [(element.start, element.stop) for element in blueprint.elements]
        if kind in ("torsions", "loops"):
            trace = turned(truth, blueprint.secondary_structure, kind == "loops", rng)
        elif kind == "bend":
            trace = truth[:, :3] + _moved(truth, lambda c: bend(c, rng, rng.uniform(0.5, 6.0)))
        elif kind == "shift":
            amplitude = rng.uniform(1.0, 8.0)
            trace = truth[:, :3] + _moved(
                truth, lambda c: displace_elements(c, spans, rng, amplitude)
            )
        else:
            trace = truth[:, :3] + rng.uniform(0.05, 0.8) * rng.standard_normal(truth[:, :3].shape)
        if kind != "jitter" and rng.random() < REFINED_SHARE:
            return [(kind, self._refined(trace, blueprint))]
        return [(kind, exact(trace))]

    def _drawn(
        self, kind: str, index: int, truth: Trace, blueprint: Blueprint, rng: np.random.Generator
    ) -> Trace | None:
        """Let the operator draw around the chain's own curve, perturbed, or that of another."""
        if kind == "sampled":
            spans = [(element.start, element.stop) for element in blueprint.elements]
            amplitude = rng.uniform(0.0, _LARGEST_CURVE_ERROR)
            curve = perturb_curve(axis_curve(truth[:, 1]), spans, rng, amplitude)
        else:
            same = np.flatnonzero(self.corpus.cluster == self.corpus.cluster[index])
            query = ElementTable.of_blueprint(blueprint)
            hits = self.library.candidates(query, same).hits
            hit = hits[int(rng.integers(min(_MOST_FOLDS, len(hits))))]
            curve = self.library.warp(hit, blueprint, rng)
        noise = draw_noise(rng, 1, blueprint.length)
        drawn = sample(self.operator, conditions_of(blueprint, curve), noise, _STEPS)
        return np.asarray(drawn.field[0], dtype=np.float64)

    def _refined(self, field: FloatArray, blueprint: Blueprint) -> FloatArray | None:
        try:
            return refine(field[:, :3], blueprint, options=_OPTIONS).backbone
        except (GeometryError, np.linalg.LinAlgError):
            return None


def exact(field: FloatArray) -> FloatArray | None:
    """Project N, CA, C to exact geometry and add O; None where the chain cannot be mended.

    Parameters
    ----------
    field : ndarray, shape=(residue, 3, 3)
        Angstrom.
    """
    try:
        trace, violation = project(np.asarray(field, dtype=np.float64).reshape(-1, 3))
    except np.linalg.LinAlgError:
        return None
    if not violation <= _LARGEST_VIOLATION:
        return None
    return np.asarray(with_oxygen(trace))


def turned(truth: Trace, states: str, loops: bool, rng: np.random.Generator) -> FloatArray:
    """Change torsions, of all residues a little or of some loops much, and build the chain again.

    Parameters
    ----------
    truth : ndarray, shape=(residue, 4, 3)
    states : str
        H, E, L.
    loops : bool
        Whether only residues of one to three loops turn, by tens of degrees.
    rng : Generator

    Returns
    -------
    ndarray, shape=(residue, 3, 3)
    """
    phi, psi, omega = np.nan_to_num(backbone_dihedrals(truth), nan=np.pi).T
    noise = rng.standard_normal((2, len(truth)))
    if loops:
        free = np.flatnonzero(np.array(list(states)) == "L")
        chosen = np.zeros(len(truth), dtype=bool)
        for center in rng.choice(free, size=min(len(free), int(rng.integers(1, 4)))):
            chosen |= (np.abs(np.arange(len(truth)) - center) <= 2) & (
                np.array(list(states)) == "L"
            )
        noise *= chosen * np.radians(rng.uniform(8.0, 50.0))
    else:
        noise += smooth_noise(rng, len(truth), 3.0, 2).T
        noise *= np.radians(np.exp(rng.uniform(np.log(0.7), np.log(9.0))))
    return backbone_from_internal(phi + noise[0], psi + noise[1], omega)[:, :3]


def _moved(truth: Trace, move: Callable[[Trace], Trace]) -> Trace:
    """Displacement of every residue when its CA atom is moved as a point of a curve."""
    ca = truth[:, 1]
    return (move(ca) - ca)[:, None]


def decoy_chains(corpus: Corpus, split: str, count: int, longest: int) -> list[int]:
    """Choose chains of a split, one of each sequence cluster, always in the same order."""
    return one_per_cluster(corpus, split, count, longest)


def read_decoys(path: Path) -> Decoys:
    """Read models of one chain.

    Raises
    ------
    ProteinLabError
        If the file is damaged or no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stored:
            kinds = tuple((stored.metadata() or {})["kinds"].split(" "))
            backbones, true = stored.get_tensor("backbones"), stored.get_tensor("lddt")
    except (OSError, SafetensorError, KeyError) as error:
        raise ProteinLabError(
            f"The decoys {path} cannot be read ({error}).", "Delete the file and run again."
        ) from error
    return Decoys(int(path.stem), kinds, backbones, true)


def make_decoys(
    maker: Callable[[], DecoyMaker],
    indices: Sequence[int],
    count: int,
    folder: Path,
    progress: Progress | None = None,
) -> Iterator[Decoys]:
    """Make the models of many chains, or read those that were made before.

    Parameters
    ----------
    maker : callable
        Gives what makes them; called when the first is missing.
    indices : sequence of int
        Numbers of chains.
    count : int
        Changes a chain; see :meth:`DecoyMaker.make`.
    folder : Path
        Where they are kept, one file a chain; an interrupted run continues from there.
    progress : callable, optional
        Called with the numbers of finished and of all chains.

    Yields
    ------
    Decoys
    """
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    made: DecoyMaker | None = None
    for number, index in enumerate(indices, start=1):
        path = folder / f"{index}.safetensors"
        if not path.is_file():
            made = made or maker()
            found = made.make(index, count)
            arrays = {"backbones": found.backbones, "lddt": found.lddt}
            write_atomically(path, save(arrays, metadata={"kinds": " ".join(found.kinds)}))
        if progress is not None:
            progress(number, len(indices))
        yield read_decoys(path)

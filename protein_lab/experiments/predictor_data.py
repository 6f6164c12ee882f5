"""Decoys as the quality operator learns from them: batches of models of like length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protein_lab.backends import Array, Backend
from protein_lab.experiments.decoys import Decoys
from protein_lab.models.quality import QualityInputs
from protein_lab.models.quality_inputs import collate_quality
from protein_lab.training.corpus import Corpus
from protein_lab.typing import FloatArray
from protein_lab.validation.evidence import evidence_of
from protein_lab.validation.potentials import load_potentials

SEQUENCE_SHARE: Final = 0.5
"""Share of models that are shown with their sequence in training."""

NOISE: Final = 0.08
"""Largest standard deviation of noise on coordinates in training, angstrom."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model of a real chain, and what is known of it.

    Attributes
    ----------
    native : int
        Number of the chain in the corpus.
    kind : str
        How it was made; see :data:`~protein_lab.experiments.decoys.KINDS`.
    backbone : ndarray, shape=(residue, 4, 3)
        Angstrom.
    sequence : str
        Of the real chain.
    lddt : ndarray, shape=(residue,)
        The truth.
    """

    native: int
    kind: str
    backbone: FloatArray
    sequence: str
    lddt: FloatArray


def models_of(decoys: Iterable[Decoys], corpus: Corpus) -> list[Model]:
    """Lay models out one by one.

    Parameters
    ----------
    decoys : iterable of Decoys
    corpus : Corpus
        That they were made from.
    """
    found: list[Model] = []
    for item in decoys:
        sequence = corpus.sequence(item.index)
        rows = zip(item.kinds, item.backbones, item.lddt, strict=True)
        found += [Model(item.index, kind, model, sequence, true) for kind, model, true in rows]
    return found


class ModelBatches:
    """Draws batches; each is a function of the seed and its number alone.

    Parameters
    ----------
    models : sequence of Model
    residues : int
        Residues of a batch, about.
    seed : int
    """

    def __init__(self, models: Sequence[Model], residues: int, seed: int) -> None:
        self.models, self.residues, self.seed = models, residues, seed
        order = np.argsort([len(item.lddt) for item in models], kind="stable")
        self._groups = np.array_split(order, max(1, min(12, len(order) // 16)))

    def batch(self, step: int, backend: Backend, neighbors: int) -> tuple[QualityInputs, Array]:
        """Make one batch.

        Parameters
        ----------
        step : int
            Its number.
        backend : Backend
        neighbors : int
            Residues in the ball around each.

        Returns
        -------
        inputs : QualityInputs
        target : Array, shape=(batch, point)
            True lDDT; zero where padded.
        """
        rng = np.random.default_rng([self.seed, step])
        total = np.array(
            [sum(len(self.models[k].lddt) for k in group) for group in self._groups], dtype=float
        )
        group = self._groups[int(rng.choice(len(total), p=total / total.sum()))]
        longest = max(len(self.models[k].lddt) for k in group)
        count = max(2, self.residues // longest)
        chosen = [self.models[int(k)] for k in rng.choice(group, count)]
        backbones, evidence, tables = [], [], load_potentials()
        for item in chosen:
            noise = rng.uniform(0.0, NOISE) * rng.standard_normal(item.backbone.shape)
            backbones.append(item.backbone + noise)
            shown = item.sequence if rng.random() < SEQUENCE_SHARE else None
            evidence.append(evidence_of(backbones[-1], shown, tables))
        inputs = collate_quality(backend, backbones, evidence, neighbors)
        target = np.zeros(tuple(inputs.backbone.weight.shape), dtype=np.float32)
        for row, item in enumerate(chosen):
            target[row, : len(item.lddt)] = item.lddt
        return inputs, backend.asarray(target)

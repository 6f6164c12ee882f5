"""From the corpus to shipped weights of the quality operator: decoys, training, calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from protein_lab.backends import get_backend
from protein_lab.experiments.decoys import DecoyMaker, decoy_chains, make_decoys
from protein_lab.experiments.predictor_benchmark import LONGEST, held_out_models
from protein_lab.experiments.predictor_calibration import fit_quality
from protein_lab.experiments.predictor_data import Model, models_of
from protein_lab.experiments.predictor_training import OPTIONS, TrainedQuality, train_quality
from protein_lab.models.quality import QualityConfig, QualityOperator
from protein_lab.models.weights import load_operator, save_weights
from protein_lab.settings import Settings
from protein_lab.training.corpus import Corpus

TRAIN_CHAINS: Final = 120
TRAIN_CHANGES: Final = 5
CALIBRATION_CHAINS: Final = 40

Say = Callable[[str], None]


def build_quality(
    folder: Path,
    *,
    steps: int = OPTIONS.total_steps,
    chains: int = TRAIN_CHAINS,
    held_out: int = CALIBRATION_CHAINS,
    seed: int = 0,
    backend: str = "torch",
    device: str = "cpu",
    say: Say,
) -> Path:
    """Make decoys, train on them, calibrate, and write weights and card.

    Decoys that are in the folder already are taken as they are, so an interrupted run goes on.

    Parameters
    ----------
    folder : Path
        For decoys, weights and card.
    steps : int
        Of the training.
    chains, held_out : int
        Real chains of the train and of the calibration split.
    seed : int
        Of weights and batches.
    backend, device : str
        What trains.
    say : callable
        Told how far it is.

    Returns
    -------
    Path
        The weights.
    """
    corpus = Corpus.open()

    def progress(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            say(f"decoys: {done} of {total} chains")

    def maker() -> DecoyMaker:
        weights = Settings.from_environment().weights
        return DecoyMaker(load_operator("enhanced_deeponet", folder=weights), corpus)

    chosen = decoy_chains(corpus, "train", chains, LONGEST)
    made = make_decoys(maker, chosen, TRAIN_CHANGES, folder / "decoys" / "train", progress)
    models = models_of(made, corpus)
    options = msgspec.structs.replace(OPTIONS, total_steps=steps, seed=seed)
    found = train_quality(models, get_backend(backend, device), options=options, report=say)
    held = held_out_models(corpus, "calibration", held_out, folder / "decoys", progress)
    command = f"protein-lab train quality --steps {steps} --seed {seed}"
    return write_quality(folder, found, models, held, corpus, command)


def write_quality(
    folder: Path,
    found: TrainedQuality,
    models: list[Model],
    held_out: list[Model],
    corpus: Corpus,
    command: str,
) -> Path:
    """Calibrate, and write weights and card.

    Parameters
    ----------
    folder : Path
    found : TrainedQuality
    models, held_out : list of Model
        What was trained on, and what it is calibrated on.
    corpus : Corpus
    command : str
        That trains it again.

    Returns
    -------
    Path
        The weights.
    """
    config, numpy = QualityConfig(), get_backend("numpy")
    params = {name: numpy.asarray(value) for name, value in found.params.items()}
    calibration = fit_quality(QualityOperator(config, params, numpy), held_out)
    card = {
        "training": {
            "corpus_digest": corpus.digest,
            "corpus_split": "train",
            "command": command,
            "steps": found.steps,
            "hours": round(found.seconds / 3600, 3),
            "chains": len({item.native for item in models}),
            "models": len(models),
            "loss": round(found.loss, 5),
        },
        "calibration": msgspec.to_builtins(calibration),
    }
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in found.params.items()}
    save_weights(arrays, folder, QualityOperator.name, config, card)
    return folder / f"{QualityOperator.name}.safetensors"

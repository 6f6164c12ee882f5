"""What checks may use beside the structure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from protein_lab.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOptions:
    """What checks may use beside the structure.

    Attributes
    ----------
    backend : str
        Array backend of the operators that judge: ``auto``, ``numpy``, ``torch`` or ``jax``.
    weights : Path
        Folder of weights and cards.
    folding : str
        Command line of a program that folds sequences, with ``{fasta}`` and ``{out}``; empty for
        none.
    folding_seconds : float
        Time that the program may take for one structure.
    simulation_steps : int
        Steps of 2 fs of the run in implicit solvent.
    simulation_seconds : float
        Time after which minimization and run are given up.
    seed : int
        Of everything random.
    """

    backend: str = "auto"
    weights: Path = field(default_factory=lambda: Settings.from_environment().weights)
    folding: str = field(default_factory=lambda: Settings.from_environment().folding)
    folding_seconds: float = 600.0
    simulation_steps: int = 500
    simulation_seconds: float = 300.0
    seed: int = 0

"""Validation: numbers, verdicts, and the presets that turn the one into the other."""

from __future__ import annotations

from protein_lab.protein import Protein
from protein_lab.typing import Check
from protein_lab.validation.base import available_presets, load_preset, run_checks
from protein_lab.validation.geometry import MEASURES
from protein_lab.validation.novelty import measure_novelty, novelty_not_run

__all__ = [
    "available_presets",
    "load_preset",
    "measure_novelty",
    "novelty_not_run",
    "validate",
]


def validate(protein: Protein, preset: str = "geometry") -> list[Check]:
    """Check a structure.

    Parameters
    ----------
    protein : Protein
        One or more chains, from a design or a file.
    preset : str
        Name of a preset; see :func:`available_presets`.

    Returns
    -------
    list of Check
        In the order of the preset.

    Raises
    ------
    ProteinLabError
        When there is no such preset.
    """
    return run_checks(protein, load_preset(preset), MEASURES)

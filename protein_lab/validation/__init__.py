"""Validation: numbers, verdicts, and the presets that turn the one into the other."""

from __future__ import annotations

from functools import lru_cache

from protein_lab.protein import Protein
from protein_lab.typing import Check
from protein_lab.validation.base import Measure, available_presets, load_preset, run_checks
from protein_lab.validation.geometry import MEASURES as GEOMETRY
from protein_lab.validation.novelty import measure_novelty, novelty_not_run
from protein_lab.validation.options import ValidationOptions
from protein_lab.validation.potentials import MEASURES as POTENTIALS
from protein_lab.validation.side_chains import MEASURES as SIDE_CHAINS
from protein_lab.validation.topology import MEASURES as TOPOLOGY

__all__ = [
    "ValidationOptions",
    "Validator",
    "available_presets",
    "load_preset",
    "measure_novelty",
    "novelty_not_run",
    "validate",
]


class Validator:
    """Checks structures one after the other; what judges them is loaded once, when first needed.

    Parameters
    ----------
    preset : str
        Name of a preset; see :func:`available_presets`.
    options : ValidationOptions, optional
        What the checks may use beside the structure.

    Raises
    ------
    ProteinLabError
        When there is no such preset.
    """

    def __init__(self, preset: str = "geometry", options: ValidationOptions | None = None) -> None:
        from protein_lab.validation import agreement, folding, physics, quality

        self.preset = load_preset(preset)
        given = options or ValidationOptions()
        self.measures: dict[str, Measure] = {
            **GEOMETRY, **TOPOLOGY, **POTENTIALS, **SIDE_CHAINS,
            **quality.measures(given), **agreement.measures(given),
            **physics.measures(given), **folding.measures(given),
        }  # fmt: skip

    def validate(self, protein: Protein, quick: bool = False) -> list[Check]:
        """Check a structure.

        Parameters
        ----------
        protein : Protein
            One or more chains, from a design or a file.
        quick : bool
            Leave out checks that take seconds to minutes.

        Returns
        -------
        list of Check
            In the order of the preset.
        """
        return run_checks(protein, self.preset, self.measures, quick)


def validate(
    protein: Protein,
    preset: str = "geometry",
    options: ValidationOptions | None = None,
    quick: bool = False,
) -> list[Check]:
    """Check a structure.

    Parameters
    ----------
    protein : Protein
        One or more chains, from a design or a file.
    preset : str
        Name of a preset; see :func:`available_presets`.
    options : ValidationOptions, optional
        What the checks may use beside the structure.
    quick : bool
        Leave out checks that take seconds to minutes.

    Returns
    -------
    list of Check
        In the order of the preset.

    Raises
    ------
    ProteinLabError
        When there is no such preset.
    """
    return _validator(preset, options or ValidationOptions()).validate(protein, quick)


@lru_cache(maxsize=8)
def _validator(preset: str, options: ValidationOptions) -> Validator:
    return Validator(preset, options)

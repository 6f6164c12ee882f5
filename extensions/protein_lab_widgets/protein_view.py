"""The 3-D view of proteins as a notebook widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from protein_lab.errors import MissingExtraError, ProteinLabError
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.viewer import BUNDLE, structure_record

try:
    import anywidget
except ImportError as error:
    raise MissingExtraError("anywidget", "notebooks") from error


class ProteinView(anywidget.AnyWidget):
    """Cartoons of one or several proteins, one shown at a time.

    All traits can be set at any time, and the picture follows. The drawing code travels with each
    widget, so show many proteins in one view rather than in many.

    Parameters
    ----------
    proteins : Protein or sequence of Protein
        What to show.
    uncertainty : sequence, optional
        Angstrom for each residue, one array a protein.
    color : {"structure", "uncertainty", "position"}
        What the colors say.
    height : int
        Pixels.

    Attributes
    ----------
    structures : list of dict
        What the browser draws; :meth:`show` fills it.
    selected : int
        Which protein is shown, from 0.
    spin : bool
        Whether it turns by itself.

    Raises
    ------
    ProteinLabError
        When the numbers of proteins and of uncertainties differ.
    """

    _esm = BUNDLE
    structures = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.Int(0, min=0).tag(sync=True)
    color = traitlets.Enum(["structure", "uncertainty", "position"], "structure").tag(sync=True)
    spin = traitlets.Bool(False).tag(sync=True)
    height = traitlets.Int(420, min=120).tag(sync=True)

    def __init__(
        self,
        proteins: Protein | Sequence[Protein] = (),
        uncertainty: Sequence[FloatArray | Sequence[float]] | None = None,
        **traits: Any,
    ) -> None:
        super().__init__(**traits)
        self.show(proteins, uncertainty)

    def show(
        self,
        proteins: Protein | Sequence[Protein],
        uncertainty: Sequence[FloatArray | Sequence[float]] | None = None,
    ) -> None:
        """Replace the proteins; the first one is shown.

        Parameters
        ----------
        proteins : Protein or sequence of Protein
            What to show.
        uncertainty : sequence, optional
            Angstrom for each residue, one array a protein.

        Raises
        ------
        ProteinLabError
            When the numbers of proteins and of uncertainties differ.
        """
        chosen = [proteins] if isinstance(proteins, Protein) else list(proteins)
        spreads = [None] * len(chosen) if uncertainty is None else list(uncertainty)
        if len(spreads) != len(chosen):
            raise ProteinLabError(
                f"Expected one uncertainty for each of {len(chosen)} proteins; got {len(spreads)}.",
                "Give a list with one array a protein.",
            )
        records = [
            structure_record(protein, uncertainty=spread)
            for protein, spread in zip(chosen, spreads, strict=True)
        ]
        with self.hold_sync():
            self.selected = 0
            self.structures = records

    @traitlets.validate("selected")
    def _known(self, proposal: Any) -> int:
        number = int(proposal["value"])
        if self.structures and number >= len(self.structures):
            raise traitlets.TraitError(
                f"Expected a protein from 0 to {len(self.structures) - 1}; got {number}."
            )
        return number

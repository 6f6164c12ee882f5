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
    confidence : sequence, optional
        Probability of the amino acid of each residue, one array a protein.
    color : {"structure", "uncertainty", "confidence", "position"}
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
        When the numbers of proteins and of uncertainties or confidences differ.
    """

    _esm = BUNDLE
    structures = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.Int(0, min=0).tag(sync=True)
    color = traitlets.Enum(["structure", "uncertainty", "confidence", "position"], "structure").tag(
        sync=True
    )
    spin = traitlets.Bool(False).tag(sync=True)
    height = traitlets.Int(420, min=120).tag(sync=True)

    def __init__(
        self,
        proteins: Protein | Sequence[Protein] = (),
        uncertainty: Sequence[FloatArray | Sequence[float]] | None = None,
        confidence: Sequence[FloatArray | Sequence[float]] | None = None,
        **traits: Any,
    ) -> None:
        super().__init__(**traits)
        self.show(proteins, uncertainty, confidence)

    def show(
        self,
        proteins: Protein | Sequence[Protein],
        uncertainty: Sequence[FloatArray | Sequence[float]] | None = None,
        confidence: Sequence[FloatArray | Sequence[float]] | None = None,
    ) -> None:
        """Replace the proteins; the first one is shown.

        Parameters
        ----------
        proteins : Protein or sequence of Protein
            What to show.
        uncertainty : sequence, optional
            Angstrom for each residue, one array a protein.
        confidence : sequence, optional
            Probability of the amino acid of each residue, one array a protein.

        Raises
        ------
        ProteinLabError
            When the numbers of proteins and of uncertainties or confidences differ.
        """
        chosen = [proteins] if isinstance(proteins, Protein) else list(proteins)
        spreads = _one_a_protein("uncertainty", uncertainty, len(chosen))
        sure = _one_a_protein("confidence", confidence, len(chosen))
        records = [
            structure_record(protein, uncertainty=spread, confidence=probability)
            for protein, spread, probability in zip(chosen, spreads, sure, strict=True)
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


def _one_a_protein(name: str, given: Sequence[Any] | None, count: int) -> list[Any]:
    """List what is given for each protein, or None for each."""
    values = [None] * count if given is None else list(given)
    if len(values) != count:
        raise ProteinLabError(
            f"Expected one {name} for each of {count} proteins; got {len(values)}.",
            "Give a list with one array a protein.",
        )
    return values

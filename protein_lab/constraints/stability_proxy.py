"""Figures of the sequence that go with stability; stability itself is not computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec

from protein_lab.constraints.amino_acids import mask_of, no_bias
from protein_lab.constraints.base import Layout, require_length
from protein_lab.constraints.proxy_limits import bound_faults, has_sequence, measured
from protein_lab.constraints.sequence_scores import aliphatic_index, instability_index
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

_SCORES: Final = {"instability_index": instability_index, "aliphatic_index": aliphatic_index}

Bound = Annotated[float, msgspec.Meta(ge=-1000.0, le=1000.0)]


class StabilityProxy(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="stability_proxy",
):
    """Bound a figure of the sequence that goes with stability, on average over many proteins.

    The instability index (Guruprasad et al., *Protein Engineering* 4, 155-161, 1990) is below 40
    for long-lived proteins; the aliphatic index (Ikai, *J. Biochem.* 88, 1895-1898, 1980) is higher
    in proteins of thermophiles.

    Attributes
    ----------
    measure : {"instability_index", "aliphatic_index"}
        The figure.
    min, max : float or None
        Bounds; at least one.
    strength : float
        Nats by which amino acids that move the aliphatic index the right way are preferred. The
        instability index depends on neighbors, so that nothing is preferred for it.
    """

    kind: ClassVar[str] = "stability_proxy"

    measure: Literal["instability_index", "aliphatic_index"] = "instability_index"
    min: Bound | None = None
    max: Bound | None = None
    strength: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.5

    def faults(self, path: str) -> list[Fault]:
        """Find missing and contradicting bounds."""
        return list(bound_faults(path, self.min, self.max))

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Prefer, or shun, aliphatic amino acids where their index is bounded on one side."""
        bias = no_bias(layout.length)
        if self.measure == "aliphatic_index" and (self.min is None) != (self.max is None):
            bias[:, mask_of("aliphatic")] = self.strength if self.max is None else -self.strength
        return bias

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Compute the figure; ``not_run`` where there is no sequence."""
        require_length(protein, layout)
        value = _SCORES[self.measure](protein.sequence) if has_sequence(protein) else None
        name = self.measure.replace("_", " ")
        return measured(self.kind, name, value, self.min, self.max, "index")

"""Which residues lie inside the protein and which at its surface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, Scope, require_length
from protein_lab.constraints.spans import Span, bounds, outside_faults, span_faults
from protein_lab.constraints.wells import CA, CB, best_of, sigmoid, well
from protein_lab.typing import Fault, FloatArray, IntArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

BURIED: Final = 3.5
"""Neighbors of a buried residue at least; a third of the residues of training chains."""

EXPOSED: Final = 2.5
"""Neighbors of an exposed residue at most; 56 % of the residues of training chains."""

MIDPOINT: Final = 9.0
SHIFT: Final = 0.5
"""Distance in angstrom where a neighbor counts half, and what is added to the cosine."""

HYDROPHOBIC: Final = (0.3, -0.8, -0.7, -1.1, 0.7, -0.8, -1.3, -0.1, -0.1, 0.6,
                      0.5, -1.3, 0.4, 0.5, -0.4, -0.4, -0.3, 0.4, 0.4, 0.5)  # fmt: skip
"""Log-odds, nats, of the amino acids among buried residues of training chains."""

POLAR: Final = (-0.2, 0.3, 0.3, 0.3, -1.0, 0.3, 0.4, 0.1, 0.0, -0.6,
                -0.6, 0.4, -0.3, -0.5, 0.2, 0.2, 0.2, -0.4, -0.4, -0.5)  # fmt: skip
"""The same among exposed residues."""

_SKIN: Final = 1.2
"""The 99th percentile of the buried share of training chains is (1 - 1.2 L^(-1/3))^3: a sphere
without its skin."""

_NEVER: Final = 1.3
"""Times that share, which no training chain comes near."""

_INWARD: Final = 0.4
_PULL: Final = 1.0
_STRENGTH: Final = 2.0
"""Nats for the square of a neighbor too few or too many."""

_SOFT: Final = 0.3
_SHOWN: Final = 12

Spans = Annotated[tuple[Span, ...], msgspec.Meta(max_length=2000)]


class Burial(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="burial",
):
    """Ask that residues lie inside the protein, or at its surface.

    Measured by the neighbors in the cone that the side chain points into, as the LayerSelector of
    Rosetta does (Dang et al., PNAS 114, 2017); RFdiffusion3 asks for burial by accessible surface.

    Attributes
    ----------
    buried, exposed : tuple of (int or (int, int))
        Residues counted from 1, and ranges of them.
    at_least : int or None
        How many of these residues must lie as asked; all when it is not given.
    """

    kind: ClassVar[str] = "burial"

    buried: Spans = ()
    exposed: Spans = ()
    at_least: Annotated[int, msgspec.Meta(ge=1, le=2000)] | None = None

    def _residues(self) -> tuple[list[int], list[int]]:
        """Buried and exposed residues, 0-based, each once."""
        return _members(self.buried), _members(self.exposed)

    @property
    def _is_readable(self) -> bool:
        return None not in (self.buried, self.exposed) and None not in (
            *self.buried,
            *self.exposed,
        )

    def faults(self, path: str) -> list[Fault]:
        """Find nothing asked, a residue asked both ways, and more asked than named."""
        found = [
            fault
            for field, spans in (("buried", self.buried), ("exposed", self.exposed))
            for number, span in enumerate(spans or ())
            for fault in span_faults(f"{path}.{field}[{number}]", span)
        ]
        if found or not self._is_readable:
            return found
        buried, exposed = self._residues()
        if not self.buried and not self.exposed:
            found.append(
                Fault(
                    path=path,
                    message="Expected residues in 'buried' or 'exposed'; got none.",
                    remedy='Write for example "buried": [12, [20, 24]].',
                )
            )
        both = sorted(set(buried) & set(exposed))
        if both:
            found.append(
                Fault(
                    path=f"{path}.exposed",
                    message=f"Residue {both[0] + 1} is asked to be exposed here, but buried in "
                    f"{path}.buried.",
                    remedy="Ask one of the two.",
                )
            )
        elif self.at_least is not None and self.at_least > len(buried) + len(exposed) > 0:
            found.append(
                Fault(
                    path=f"{path}.at_least",
                    message=f"Expected at most {len(buried) + len(exposed)}, the number of named "
                    f"residues, but got {self.at_least}.",
                    remedy="Name more residues, or ask for fewer.",
                )
            )
        return found

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Find residues outside the chain, and more buried ones than a chain has room for."""
        found = [
            fault
            for field, spans in (("buried", self.buried), ("exposed", self.exposed))
            for number, span in enumerate(spans or ())
            for fault in outside_faults(f"{path}.{field}[{number}]", span, scope)
        ]
        if found or not scope.longest or not self._is_readable:
            return found
        return [*self._room_faults(path, scope.longest)]

    def _room_faults(self, path: str, length: int) -> Iterator[Fault]:
        buried, exposed = self._residues()
        spare = 0 if self.at_least is None else len(buried) + len(exposed) - self.at_least
        asked = len(buried) - spare
        room = buried_share(length) * length
        if asked <= room:
            return
        yield Fault(
            path=f"{path}.buried",
            message=f"Expected at most about {int(room)} buried residues, which 99 % of real "
            f"chains of {length} residues do not exceed, but {asked} are asked.",
            remedy="Ask for fewer, or for a longer chain.",
            severity="error" if asked > _NEVER * room else "warning",
        )

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Count residues that lie as asked; the margin is how many more they are than must."""
        from protein_lab.geometry import virtual_cb

        require_length(protein, layout)
        backbone = np.asarray(protein.backbone, dtype=np.float64)
        buried, exposed = self._residues()
        chosen = np.array(buried + exposed)
        counts, _ = count_neighbors(backbone[:, 1], virtual_cb(backbone), chosen)
        inside = np.arange(len(chosen)) < len(buried)
        is_met = np.where(inside, counts >= BURIED, counts <= EXPOSED)
        met, needed = int(is_met.sum()), self.at_least or len(chosen)
        missed = [
            f"residue {residue + 1} has {count:.1f}"
            for residue, count, good in zip(chosen, counts, is_met, strict=True)
            if not good
        ]
        return Measurement(
            constraint=self.kind,
            value=float(met),
            unit="residues",
            target=float(needed),
            margin=float(met - needed),
            verdict="pass" if met >= needed else "fail",
            details=f"{met} of {len(chosen)} residues have at least {BURIED:g} (buried) or at "
            f"most {EXPOSED:g} (exposed) neighbors"
            + (": " + ", ".join(missed[:_SHOWN]) if missed else ""),
        )

    def restraint(self, layout: Layout) -> BurialRestraint:
        """Give an energy that turns and moves side chains inward or outward."""
        del layout
        buried, exposed = self._residues()
        return BurialRestraint(buried, exposed, self.at_least or len(buried) + len(exposed))

    def residue_bias(self, layout: Layout) -> FloatArray:
        """Favor amino acids as often as real chains have them inside and at the surface."""
        bias = np.zeros((layout.length, len(HYDROPHOBIC)))
        buried, exposed = self._residues()
        bias[buried] += HYDROPHOBIC
        bias[exposed] += POLAR
        return bias


def _members(spans: tuple[Span, ...]) -> list[int]:
    named = np.zeros(max([0, *(bounds(span)[1] for span in spans)]), dtype=bool)
    for span in spans:
        named[slice(*bounds(span))] = True
    return np.flatnonzero(named).tolist()


def buried_share(length: int) -> float:
    """Share of the residues that 99 % of real chains of a length do not bury more than."""
    return max(1.0 - _SKIN * length ** (-1.0 / 3.0), 0.0) ** 3


class BurialRestraint:
    """Wells on the numbers of neighbors of some residues.

    Parameters
    ----------
    buried, exposed : list of int
        Residues, 0-based.
    needed : int
        How many of them must lie as asked.
    """

    def __init__(self, buried: list[int], exposed: list[int], needed: int) -> None:
        self.chosen = np.array(buried + exposed)
        is_buried = np.arange(len(self.chosen)) < len(buried)
        self.low = np.where(is_buried, BURIED + _INWARD, -np.inf)
        self.high = np.where(is_buried, np.inf, EXPOSED - _INWARD)
        self.needed = needed

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of a backbone (residue, 4, 3), in nats, with its gradient."""
        counts, spread = count_neighbors(atoms[:, CA], atoms[:, CB], self.chosen)
        values, slopes = well(counts, self.low, self.high, _PULL)
        energy, shares = best_of(_STRENGTH * values, self.needed)
        gradient = np.zeros_like(atoms)
        gradient[:, CA], gradient[:, CB] = spread(_STRENGTH * shares * slopes)
        return energy, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Give 0: the axis curve does not say where side chains point."""
        return 0.0, np.zeros_like(curve)


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """Carries derivatives of numbers of neighbors back to the atoms."""

    chosen: IntArray
    to_neighbor: FloatArray
    to_axis: FloatArray
    bond: FloatArray

    def __call__(self, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient on all CA and all CB, given the derivative to each number."""
        weighted = slopes[:, None, None] * self.to_neighbor
        beta = weighted.sum(axis=0)
        alpha = np.zeros_like(beta)
        length = np.linalg.norm(self.bond, axis=-1, keepdims=True)
        axis = self.bond / length
        turn = slopes[:, None] * self.to_axis
        turn = (turn - (turn * axis).sum(axis=-1, keepdims=True) * axis) / length
        np.add.at(beta, self.chosen, turn - weighted.sum(axis=1))
        np.add.at(alpha, self.chosen, -turn)
        return alpha, beta


def count_neighbors(
    alpha: FloatArray, beta: FloatArray, chosen: IntArray
) -> tuple[FloatArray, _Spread]:
    """Count the residues in the cones that side chains point into.

    The sum over all other residues of ``1 / (1 + exp(d - 9))``, with the distance d of the CB atoms
    in angstrom, times ``((cos + 0.5) / 1.5)^2`` where that is not of a negative number; cos is of
    the angle between CA-CB and the direction to the other CB.

    Parameters
    ----------
    alpha, beta : ndarray, shape=(residue, 3)
        CA and CB, angstrom.
    chosen : ndarray of int, shape=(chosen,)
        Residues whose neighbors are counted.

    Returns
    -------
    counts : ndarray, shape=(chosen,)
    spread : callable
        Turns derivatives (chosen,) to the counts into gradients on CA and CB.
    """
    bond = beta[chosen] - alpha[chosen]
    axis = bond / np.linalg.norm(bond, axis=-1, keepdims=True)
    apart = beta[None] - beta[chosen, None]
    # softened, so that the direction to a CB in the same place is no pole
    reach = np.sqrt((apart**2).sum(axis=-1) + _SOFT**2)
    cosine = (apart * axis[:, None]).sum(axis=-1) / reach
    near, fall = sigmoid(MIDPOINT - reach)
    cone = np.maximum(cosine + SHIFT, 0.0) / (1.0 + SHIFT)
    near[np.arange(len(chosen)), chosen] = 0.0
    fall[np.arange(len(chosen)), chosen] = 0.0
    by_cosine = 2.0 * cone / (1.0 + SHIFT) * near
    direction = apart / reach[..., None]
    to_neighbor = (-(cone**2) * fall - by_cosine * cosine / reach)[..., None] * direction
    to_neighbor += (by_cosine / reach)[..., None] * axis[:, None]
    to_axis = (by_cosine[..., None] * direction).sum(axis=1)
    return (near * cone**2).sum(axis=1), _Spread(chosen, to_neighbor, to_axis, bond)

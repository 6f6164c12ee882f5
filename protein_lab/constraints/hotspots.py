"""Residues of a fixed target that a design must be able to touch, and others that it must not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, has_errors, require_length
from protein_lab.constraints.burial import BURIED, count_neighbors
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.pose import JudgedPose
from protein_lab.constraints.site_names import RESIDUE_NAME, site_index
from protein_lab.constraints.structure_source import StructureSource
from protein_lab.constraints.target_docking import CLASH, Dock
from protein_lab.constraints.wells import CA, CB
from protein_lab.constraints.windows import Windows
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

NEIGHBORHOOD: Final = 30.0
"""Angstrom about the hotspots within which the target is seen."""

_WIDE: Final = 30.0
_PER_ANGSTROM: Final = 0.1
_STRENGTH: Final = 2.0
"""A touch weighs as much as a contact of a binding site."""
_STEPS: Final = 12
"""Of the pose in a call: the nearest atoms change on the way, which no search likes."""
_SLACK: Final = 0.3
"""Angstrom: touches are wide, so a pose need not follow every small move of the chain."""

Name = Annotated[str, msgspec.Meta(max_length=16)]


class Hotspots(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="hotspots",
):
    """Ask that a design can lie against a target so that it touches given residues.

    The design is docked as a rigid body, by geometry alone: CB atoms within ``distance`` of the
    hotspots, none of the avoided residues that near, and no clash. RFdiffusion defines hotspots by
    the same distance of CB atoms; residues to avoid are as in BoltzGen.

    Attributes
    ----------
    target : StructureSource
        One or several chains that stand still.
    hotspots : tuple of str
        Residues of the target that must be touched, such as ``B30``.
    avoid : tuple of str
        Residues of the target that must not be touched.
    distance : float
        Of CB atoms (ideal ones) that touch, angstrom.
    share : float
        Part of the hotspots that must be touched.
    """

    kind: ClassVar[str] = "hotspots"

    target: StructureSource
    hotspots: Annotated[tuple[Name, ...], msgspec.Meta(max_length=60)]
    avoid: Annotated[tuple[Name, ...], msgspec.Meta(max_length=500)] = ()
    distance: Annotated[float, msgspec.Meta(ge=5.0, le=15.0)] = 8.0
    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 1.0

    def faults(self, path: str) -> list[Fault]:
        """Find residues that the target does not have, and such that cannot be touched together."""
        if None in (self.target, self.hotspots, self.avoid):
            return []
        found = self.target.faults(f"{path}.target")
        if not self.hotspots:
            found.append(
                Fault(
                    path=f"{path}.hotspots",
                    message="Expected at least one hotspot.",
                    remedy='Name residues of the target, for example ["A30", "A33"].',
                )
            )
        found += self._name_faults(path)
        if has_errors(found) or None in self.hotspots or None in self.avoid:
            return found
        try:
            found += self._target_faults(path, self.target.read())
        except ProteinLabError as error:
            place = f"{path}.target"
            found.append(Fault(path=place, message=error.problem, remedy=error.remedy))
        return found

    def _name_faults(self, path: str) -> Iterator[Fault]:
        for field, names in (("hotspots", self.hotspots), ("avoid", self.avoid)):
            for number, name in enumerate(names):
                place = f"{path}.{field}[{number}]"
                if name is not None and not RESIDUE_NAME.fullmatch(name):
                    yield Fault(
                        path=place,
                        message=f"Expected a residue of the target such as B30, but got {name!r}.",
                        remedy="Write chain, number and, where there is one, insertion code.",
                    )
                if field == "avoid" and name in self.hotspots:
                    yield Fault(
                        path=place,
                        message=f"Residue {name} is to be touched and avoided.",
                        remedy="Keep one of them.",
                    )

    def _target_faults(self, path: str, protein: Protein) -> Iterator[Fault]:
        for field, names in (("hotspots", self.hotspots), ("avoid", self.avoid)):
            for number, name in enumerate(names):
                try:
                    index = site_index(protein, name)
                except ProteinLabError as error:
                    yield Fault(
                        path=f"{path}.{field}[{number}]",
                        message=error.problem,
                        remedy=error.remedy,
                    )
                    return
                if not protein.atom_mask[index, :3].all():
                    yield Fault(
                        path=f"{path}.{field}[{number}]",
                        message=f"Residue {name} of the target lacks N, CA or C.",
                        remedy="Name another residue.",
                    )
                    return
        yield from self._buried_faults(path)
        spots = np.array([protein.ca[site_index(protein, name)] for name in self.hotspots])
        widest = float(np.linalg.norm(spots[:, None] - spots[None], axis=-1).max())
        if widest > _WIDE:
            yield Fault(
                path=f"{path}.hotspots",
                message=f"Two hotspots lie {widest:.0f} angstrom apart; a design of ordinary size "
                "hardly touches both.",
                remedy="Choose hotspots of one patch.",
                severity="warning",
            )

    def _buried_faults(self, path: str) -> Iterator[Fault]:
        dock = _dock(self)
        counts, _ = count_neighbors(dock.target[:, CA], dock.target[:, CB], dock.hotspots)
        for number in np.flatnonzero(counts > BURIED):
            yield Fault(
                path=f"{path}.hotspots[{number}]",
                message=f"Residue {self.hotspots[number]} lies inside the target.",
                remedy="Choose a residue at its surface.",
                severity="warning",
            )

    def needed_residues(self, source: StructureSource, protein: Protein) -> Sequence[int]:
        """Give the residues of the target that are seen."""
        del source
        spots = [site_index(protein, name) for name in self.hotspots]
        avoided = {site_index(protein, name) for name in self.avoid}
        apart = np.linalg.norm(protein.ca[:, None] - protein.ca[spots][None], axis=-1).min(axis=1)
        near = set(np.flatnonzero(apart < NEIGHBORHOOD).tolist())
        return sorted(near | avoided)

    def pose(self, protein: Protein) -> FloatArray:
        """Give N, CA, C and ideal CB of a design beside the target, (residue, 4, 3), angstrom."""
        return _docked(self, atoms_of(protein).tobytes())

    def restraint(self, layout: Layout) -> JudgedPose:
        """Pull the design about the hotspots, where it lies best, and off the avoided residues."""
        dock = _dock(self)
        return JudgedPose(
            points=(dock.target - dock.center).reshape(-1, 3),
            anchors=np.arange(layout.length),
            starts=dock.target_poses,
            energy=dock.beside,
            curve=Windows.of([]),
            strength=_STRENGTH,
            iterations=_STEPS,
            slack=_SLACK,
            judge=lambda chain, placed: self._margin(dock, dock.settle(chain, placed))[0] >= 0.0,
        )

    def _margin(self, dock: Dock, placed: FloatArray) -> tuple[float, list[str], float]:
        """Margin of a placed design, what there is to say of it, and the part that it touches."""
        reached = dock.reach(placed, dock.hotspots) <= self.distance
        share, nearest = float(reached.mean()), dock.nearest(placed)
        margins = [share - self.share, _PER_ANGSTROM * (nearest - CLASH)]
        said = [
            f"{int(reached.sum())} of {len(reached)} hotspots within {self.distance:g} angstrom",
            f"nearest atoms {nearest:.1f} angstrom apart",
        ]
        if len(dock.avoided):
            away = dock.reach(placed, dock.avoided)
            margins.append(_PER_ANGSTROM * (float(away.min()) - self.distance))
            said.append(f"{int((away < self.distance).sum())} avoided residues touched")
        return min(margins), said, share

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Dock a design and count the hotspots that it touches in its best pose.

        The value is their part. The margin is the smallest of what is left of the asked part, and
        of the distances to atoms and to avoided residues, of which an angstrom counts a tenth.
        """
        require_length(protein, layout)
        margin, said, share = self._margin(_dock(self), self.pose(protein))
        return Measurement(
            constraint=self.kind,
            value=share,
            unit="fraction",
            target=self.share,
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details="; ".join(said) + "; docked as a rigid body",
        )


@lru_cache(maxsize=64)
def _docked(asked: Hotspots, atoms: bytes) -> FloatArray:
    """Dock a design once, however often it is judged on its way."""
    placed = _dock(asked).dock(np.frombuffer(atoms).reshape(-1, 4, 3))
    placed.setflags(write=False)
    return placed


@lru_cache(maxsize=16)
def _dock(asked: Hotspots) -> Dock:
    """Read the target and keep what lies near the hotspots."""
    from protein_lab.geometry import virtual_cb

    protein = asked.target.read()
    kept = [
        index
        for index in asked.needed_residues(asked.target, protein)
        if protein.atom_mask[index, :3].all()
    ]
    backbone = np.asarray(protein.atom_positions[kept, :3], dtype=np.float64)
    place = {index: number for number, index in enumerate(kept)}
    return Dock(
        target=np.concatenate([backbone, virtual_cb(backbone)[:, None]], axis=1),
        hotspots=np.array([place[site_index(protein, name)] for name in asked.hotspots]),
        avoided=np.array([place[site_index(protein, name)] for name in asked.avoid], dtype=int),
        distance=asked.distance,
    )

"""One subunit of a cyclic or dihedral assembly, docked to its copies."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, Restraint, Scope, require_length
from protein_lab.constraints.docking import Docking, Pose, follow, improve, search
from protein_lab.errors import GeometryError
from protein_lab.geometry import superimpose, virtual_cb
from protein_lab.geometry.symmetry import point_group
from protein_lab.metrics.contacts import VAN_DER_WAALS_RADII
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.geometry.motion import Array
    from protein_lab.protein import Protein

Group = Literal[
    "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12",
    "D2", "D3", "D4", "D5", "D6",
]  # fmt: skip

CONTACT: Final = 8.0
"""Angstrom between the CB atoms of two chains that touch."""

MOST_DEVIATION: Final = 0.01
"""Angstrom RMSD that copies may differ by."""

_DECIMALS: Final = 3
"""Digits of coordinates in mmCIF files."""

_WANTED: Final = 2.0
"""An energy that is content with just enough contacts finds too few of them."""

_CA_CB_REACH: Final = 6.5
_CA_CB_APART: Final = np.array([[4.6, 4.4], [4.4, 4.4]])
_CURVE_REACH: Final = 10.0
_CURVE_APART: Final = np.array([[8.0]])
_POLISHED: Final = 3
_NEIGHBORHOOD: Final = 14.0
_OVERLAP: Final = 0.4
_SHORTEST_HYDROGEN_BOND: Final = 2.5
_LOST: Final = 4.0
_PATIENCE: Final = 25
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Symmetry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="symmetry",
):
    """Ask that copies of the design around an axis touch each other without overlap.

    The design is one subunit; its copies are made by the rotations of the group about z. Where
    the subunit lies beside the axis is found for every design.

    Attributes
    ----------
    group : str
        ``C2`` to ``C12`` or ``D2`` to ``D6``.
    contacts : int
        Pairs of CB atoms within 8 angstrom in each interface that holds the assembly together.
    """

    kind: ClassVar[str] = "symmetry"

    group: Group
    contacts: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10

    def faults(self, path: str) -> list[Fault]:
        """Find nothing: every group and number that can be read is possible by itself."""
        del path
        return []

    def faults_in(self, path: str, scope: Scope) -> list[Fault]:
        """Warn where so small a chain hardly has so many contacts."""
        if not scope.longest or self.contacts is None or self.contacts <= scope.longest:
            return []
        return [
            Fault(
                path=f"{path}.contacts",
                message=f"A chain of {scope.longest} residues hardly has {self.contacts} contacts "
                "with one neighbor.",
                remedy=f"Ask for at most {max(scope.longest // 3, 1)}.",
                severity="warning",
            )
        ]

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Dock the chain to its copies and count contacts and clashes.

        The value is the number of contacts in the weakest interface that is needed to hold all
        copies together. Clashes, and copies that differ by more than 0.01 angstrom RMSD, make it
        fail whatever the contacts are.
        """
        require_length(protein, layout)
        assembly = assemble_copies(protein, self)
        atoms = assembly.backbone.reshape(-1, protein.num_residues, 4, 3).astype(np.float64)
        contacts, clashes = _interfaces(atoms, self.group)
        deviation = max(copy_rmsd(assembly), symmetry_rmsd(assembly, self.group))
        margin = float(contacts - self.contacts)
        if clashes:
            margin = min(margin, -float(clashes))
        if deviation > MOST_DEVIATION:
            margin = min(margin, -1.0)
        return Measurement(
            constraint=self.kind,
            value=float(contacts),
            unit="contacts",
            target=float(self.contacts),
            margin=margin,
            verdict="pass" if margin >= 0.0 else "fail",
            details=f"{self.group}, {len(atoms)} copies, {clashes} clashes between them, "
            f"RMSD between copies {deviation:.2f} angstrom",
        )

    def restraint(self, layout: Layout) -> Restraint:
        """Pull the chain to one whose copies touch in their best pose."""
        del layout
        return SymmetryRestraint(self)

    def assembly(self, protein: Protein) -> Protein:
        """Give the design together with its copies; see :func:`assemble_copies`."""
        return assemble_copies(protein, self)


class SymmetryRestraint:
    """Energy of a chain in the best pose beside its copies.

    The pose is searched for once and then followed from call to call. It is no argument of the
    energy: at the best pose the energy does not change with it to first order.

    Parameters
    ----------
    asked : Symmetry
        The constraint.
    """

    def __init__(self, asked: Symmetry) -> None:
        self._atoms = _Tracker(_docking(asked, _CA_CB_REACH, _CA_CB_APART))
        self._curve = _Tracker(_docking(asked, _CURVE_REACH, _CURVE_APART))

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of N, CA, C and CB, ``(residue, 4, 3)``, and its gradient."""
        energy, slopes = self._atoms(np.stack([atoms[:, 1], atoms[:, 3]]))
        gradient = np.zeros_like(atoms)
        gradient[:, 1], gradient[:, 3] = slopes
        return energy, gradient

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, ``(residue, 3)``, and its gradient."""
        energy, slopes = self._curve(curve[None])
        return energy, slopes[0]


class _Tracker:
    """Keeps the best pose of a chain that changes little from call to call."""

    def __init__(self, docking: Docking) -> None:
        self._docking = docking
        self._before: Array | None = None
        self._age = 0

    def __call__(self, points: FloatArray) -> tuple[float, Array]:
        given = np.asarray(points, dtype=np.float64)
        pose, energy = self._best(given)
        rotation, translation = pose
        posed = given @ rotation.T + translation
        self._before = posed[0]
        energy, gradient = self._docking.energy(posed)
        return energy, gradient @ rotation

    def _best(self, points: Array) -> tuple[Pose, float]:
        self._age += 1
        if self._before is not None and len(self._before) == points.shape[1]:
            found = improve(self._docking, points, follow(points[0], self._before))
            if found[1] < _LOST or self._age < _PATIENCE:
                return found
            self._age = 0
            return min(found, search(self._docking, points)[0], key=lambda item: item[1])
        self._age = 0
        return search(self._docking, points)[0]


def assemble_copies(protein: Protein, asked: Symmetry) -> Protein:
    """Put a design into its best pose and add its copies as chains ``A``, ``B``, ...

    Parameters
    ----------
    protein : Protein
        One chain with all backbone atoms.
    asked : Symmetry
        The group and the contacts wanted.

    Returns
    -------
    Protein
        One chain a copy, in the order of :func:`protein_lab.geometry.symmetry.point_group`, with
        the axis along z and its center at the origin; all atoms of the design are copied.

    Raises
    ------
    GeometryError
        When a backbone atom is absent, or there are several chains.
    """
    from protein_lab.protein import Protein as Record

    if len(protein.chain_ids) != 1 or not protein.has_backbone.all():
        raise GeometryError(
            f"Expected one chain with all backbone atoms to copy; {protein.name!r} is not one."
        )
    rotation, translation = best_pose(protein, asked)
    group = point_group(asked.group)
    order, length = len(group), protein.num_residues
    own = protein.atom_positions.astype(np.float64) @ rotation.T + translation
    copies = own[None] @ np.swapaxes(group, -1, -2)[:, None]
    return Record(
        aatype=np.tile(protein.aatype, order),
        atom_positions=copies.reshape(order * length, *own.shape[1:]).astype(np.float32),
        atom_mask=np.tile(protein.atom_mask, (order, 1)),
        chain_index=np.repeat(np.arange(order, dtype=np.int32), length),
        residue_index=np.tile(protein.residue_index, order),
        author_number=np.tile(protein.author_number, order),
        insertion_code=protein.insertion_code * order,
        chain_ids=tuple(_LETTERS[:order]),
        b_factor=np.tile(protein.b_factor, order),
        name=f"{protein.name}_{asked.group}",
    )


def best_pose(protein: Protein, asked: Symmetry) -> Pose:
    """Find where a chain must lie beside the axis.

    Parameters
    ----------
    protein : Protein
        One chain with all backbone atoms.
    asked : Symmetry
        The group and the contacts wanted.

    Returns
    -------
    rotation : ndarray, shape=(3, 3)
        Proper rotation.
    translation : ndarray, shape=(3,)
        Angstrom; ``positions @ rotation.T + translation`` is the pose.
    """
    backbone = np.ascontiguousarray(protein.backbone)
    return _pose_of(asked, backbone.tobytes(), len(backbone))


@lru_cache(maxsize=1024)
def _pose_of(asked: Symmetry, content: bytes, length: int) -> Pose:
    """Search for a pose once: a design is measured first and written later."""
    backbone = np.frombuffer(content, dtype=np.float32).reshape(length, 4, 3).astype(np.float64)
    atoms = np.concatenate([backbone, virtual_cb(backbone)[:, None]], axis=1)
    coarse = _docking(asked, _CA_CB_REACH, _CA_CB_APART)
    fine = _docking(asked, _CA_CB_REACH, _closest() + 0.3)
    poses = []
    for pose, _ in search(coarse, np.stack([atoms[:, 1], atoms[:, 4]]))[:_POLISHED]:
        polished = _polish(fine, atoms, pose)
        rotation, translation = polished
        copies = (backbone.reshape(-1, 3) @ rotation.T + translation)[None] @ np.swapaxes(
            point_group(asked.group), -1, -2
        )
        contacts, clashes = _interfaces(copies.reshape(-1, length, 4, 3), asked.group)
        poses.append((clashes, -contacts, len(poses), polished))
    return min(poses, key=lambda item: item[:3])[3]


def _polish(docking: Docking, atoms: Array, pose: Pose) -> Pose:
    """Improve a pose with all backbone atoms of the residues that are near other copies."""
    rotation, translation = pose
    ca = atoms[:, 1] @ rotation.T + translation
    others = (ca @ np.swapaxes(docking.rotations[1:], -1, -2)).reshape(-1, 3)
    closest = np.linalg.norm(ca[:, None] - others, axis=-1).min(1)
    near = closest < max(_NEIGHBORHOOD, float(np.sort(closest)[min(3, len(ca) - 1)]) + 1.0)
    return improve(docking, np.swapaxes(atoms[near], 0, 1), pose)[0]


def _docking(asked: Symmetry, reach: float, apart: Array) -> Docking:
    group = point_group(asked.group)
    half = len(group) // 2
    interfaces = [(1,)] if asked.group[0] == "C" else [(1,), tuple(range(half, len(group)))]
    return Docking(group, interfaces, _WANTED * asked.contacts, reach, apart)


def _closest() -> Array:
    """Distances in angstrom below which N, CA, C, O and CB of two chains clash."""
    radii = np.array([VAN_DER_WAALS_RADII[element] for element in "NCCOC"])
    limits = radii[:, None] + radii - _OVERLAP
    limits[[0, 3], [3, 0]] = _SHORTEST_HYDROGEN_BOND
    return limits


def _interfaces(copies: Array, group: str) -> tuple[int, int]:
    """Count contacts in the weakest interface that is needed, and clashes of the first chain.

    Interfaces are taken from the strongest on until their rotations lead to all copies.
    """
    rotations = point_group(group)
    cb = virtual_cb(copies)
    atoms = np.concatenate([copies, cb[:, :, None]], axis=2)
    limits = _closest()
    contacts, clashes = [], 0
    for number in range(1, len(copies)):
        distance = np.linalg.norm(cb[0][:, None] - cb[number], axis=-1)
        contacts.append(int((distance < CONTACT).sum()))
        first, second = np.nonzero(distance < CONTACT)
        between = atoms[0][first][:, :, None] - atoms[number][second][:, None]
        clashes += int((np.linalg.norm(between, axis=-1) < limits).sum())
    reached: list[int] = []
    for number in sorted(range(1, len(copies)), key=lambda item: -contacts[item - 1]):
        reached.append(number)
        if _generated(rotations, reached) == len(rotations):
            return contacts[number - 1], clashes
    return 0, clashes


def _generated(rotations: Array, members: list[int]) -> int:
    """Count the rotations that products of some of them give."""
    found = {0}
    while True:
        products = [
            int(np.argmin(((rotations - rotations[a] @ rotations[b]) ** 2).sum((1, 2))))
            for a in found
            for b in members
        ]
        if found.issuperset(products):
            return len(found)
        found |= set(products)


def _written(assembly: Protein) -> Array:
    """Positions of the present atoms of every chain as a file has them, (copy, atom, 3)."""
    count = len(assembly.chain_ids)
    positions = np.round(assembly.atom_positions.astype(np.float64), _DECIMALS)
    return positions[assembly.atom_mask].reshape(count, -1, 3)


def copy_rmsd(assembly: Protein) -> float:
    """Largest RMSD of two copies after superposition, over all atoms, with the digits of a file.

    Parameters
    ----------
    assembly : Protein
        Chains with the same atoms.

    Returns
    -------
    float
        Angstrom.
    """
    copies = _written(assembly)
    largest = 0.0
    for number, first in enumerate(copies):
        for second in copies[number + 1 :]:
            rotation, translation = superimpose(first, second)
            moved = first @ rotation.T + translation
            largest = max(largest, float(np.sqrt(((moved - second) ** 2).sum(-1).mean())))
    return largest


def symmetry_rmsd(assembly: Protein, group: str) -> float:
    """RMSD of the copies to the first one under the rotations of the group, without superposition.

    Parameters
    ----------
    assembly : Protein
        From :func:`assemble_copies`.
    group : str
        Its group.

    Returns
    -------
    float
        Angstrom; the largest of all copies.
    """
    copies = _written(assembly)
    ideal = copies[0] @ np.swapaxes(point_group(group), -1, -2)
    return float(np.sqrt(((copies - ideal) ** 2).sum(-1).mean(-1)).max())

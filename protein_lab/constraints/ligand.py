"""Small molecules: their heavy atoms as a rigid set of points."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Annotated, Final

import msgspec
import numpy as np

from protein_lab.errors import MissingExtraError, ProteinLabError
from protein_lab.typing import Fault, FloatArray

MAX_ATOMS: Final = 200
_MAX_SDF: Final = 200_000
_COORDINATE: Final = 1e4
_SEED: Final = 7
_FORCE_FIELD_STEPS: Final = 500

Coordinate = Annotated[float, msgspec.Meta(ge=-_COORDINATE, le=_COORDINATE)]


class LigandAtom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One atom.

    Attributes
    ----------
    element : str
        Its symbol, such as ``C``.
    x, y, z : float
        Its place, angstrom.
    """

    element: Annotated[str, msgspec.Meta(max_length=2)]
    x: Coordinate
    y: Coordinate
    z: Coordinate


class Ligand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A small molecule; give exactly one of the three. Hydrogens are left out.

    Attributes
    ----------
    atoms : tuple of LigandAtom or None
        Elements and places.
    sdf : str or None
        What stands in an SDF or MOL file (V2000 or V3000); its first molecule is taken.
    smiles : str or None
        Formula; RDKit makes one conformer of it, always the same one.
    """

    atoms: Annotated[tuple[LigandAtom, ...], msgspec.Meta(max_length=MAX_ATOMS)] | None = None
    sdf: Annotated[str, msgspec.Meta(max_length=_MAX_SDF, extra={"multiline": True})] | None = None
    smiles: Annotated[str, msgspec.Meta(max_length=2000)] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether every atom could be read; what could not is None."""
        atoms = [atom and (atom.element, atom.x, atom.y, atom.z) for atom in self.atoms or ()]
        return not any(atom is None or None in atom for atom in atoms)

    def faults(self, path: str) -> list[Fault]:
        """Find what keeps the molecule from being read.

        Parameters
        ----------
        path : str
            JSON path of the ligand.
        """
        given = [name for name in ("atoms", "sdf", "smiles") if getattr(self, name) is not None]
        if len(given) != 1:
            return [
                Fault(
                    path=path,
                    message="Expected one of 'atoms', 'sdf' and 'smiles', but got "
                    f"{' and '.join(map(repr, given)) or 'none'}.",
                    remedy='Write for example {"smiles": "c1ccccc1O"}.',
                )
            ]
        if not self.is_readable:
            return []
        try:
            points_of(self)
        except ProteinLabError as error:
            place = f"{path}.{given[0]}"
            return [Fault(path=place, message=error.problem, remedy=error.remedy)]
        return []


@lru_cache(maxsize=32)
def points_of(ligand: Ligand) -> FloatArray:
    """Places of the heavy atoms, shape (atom, 3), angstrom, in the order in which they are given.

    Raises
    ------
    ProteinLabError
        When the molecule cannot be read, has no heavy atoms or too many of them.
    MissingExtraError
        When RDKit is needed and not installed.
    """
    if ligand.atoms is not None:
        table = [(item.element, (item.x, item.y, item.z)) for item in ligand.atoms]
    elif ligand.sdf is not None:
        table = _read_sdf(ligand.sdf)
    else:
        table = _embed(str(ligand.smiles))
    heavy = np.array([place for element, place in table if element not in ("H", "D")])
    if not 1 <= len(heavy) <= MAX_ATOMS:
        raise ProteinLabError(
            f"Expected a ligand of 1 to {MAX_ATOMS} heavy atoms, but got {len(heavy)}.",
            "Leave out solvent and protein; name hydrogens H.",
        )
    apart = np.linalg.norm(heavy[:, None] - heavy[None], axis=-1) + 10.0 * np.eye(len(heavy))
    if not np.isfinite(heavy).all() or apart.min() < 0.5:
        raise ProteinLabError(
            "Two atoms of the ligand lie on each other.",
            "A drawing has no third dimension either; give a conformer in angstrom.",
        )
    return heavy.astype(np.float64)


def _read_sdf(text: str) -> list[tuple[str, tuple[float, float, float]]]:
    lines = text.replace("\r", "").split("\n")
    broken = "Expected an SDF or MOL file with a line of counts and atoms in angstrom"
    remedy = "Write it anew with the program that made it, line ends included."
    try:
        if "V3000" in lines[3]:
            start = next(n for n, line in enumerate(lines) if "BEGIN ATOM" in line)
            stop = next(n for n, line in enumerate(lines) if "END ATOM" in line)
            rows = [line.split()[3:7] for line in lines[start + 1 : stop]]
            return [(row[0], (float(row[1]), float(row[2]), float(row[3]))) for row in rows]
        count = int(lines[3][:3])
        rows = lines[4 : 4 + count]
        if len(rows) < count:
            raise ProteinLabError(f"{broken}; {count} atoms are announced, {len(rows)} come.")
        return [
            (row[31:34].strip(), (float(row[:10]), float(row[10:20]), float(row[20:30])))
            for row in rows
        ]
    except (ValueError, IndexError, StopIteration) as error:
        raise ProteinLabError(f"{broken}; {error or 'a block has no end'}.", remedy) from error


def _embed(smiles: str) -> list[tuple[str, tuple[float, float, float]]]:
    try:
        # by name, so that type checkers need no RDKit
        chemistry = import_module("rdkit.Chem")
        geometry = import_module("rdkit.Chem.rdDistGeom")
        force_field = import_module("rdkit.Chem.rdForceFieldHelpers")
        base = import_module("rdkit.rdBase")
    except ImportError as error:
        raise MissingExtraError("rdkit", "ligand") from error
    silenced = base.BlockLogs()
    molecule = chemistry.MolFromSmiles(smiles)
    if molecule is None:
        raise ProteinLabError(f"RDKit cannot read the SMILES {smiles[:60]!r}.", "Check its rings.")
    molecule = chemistry.AddHs(molecule)
    if geometry.EmbedMolecule(molecule, randomSeed=_SEED) != 0:
        raise ProteinLabError(
            f"RDKit finds no conformer of {smiles[:60]!r}.", "Give the ligand as SDF."
        )
    force_field.UFFOptimizeMolecule(molecule, maxIters=_FORCE_FIELD_STEPS)
    del silenced
    places = molecule.GetConformer().GetPositions()
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    return [
        (symbol, (float(x), float(y), float(z)))
        for symbol, (x, y, z) in zip(symbols, places, strict=True)
    ]

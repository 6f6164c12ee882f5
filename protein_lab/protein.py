"""The protein record that every layer passes around.

A :class:`Protein` is immutable: its arrays are read-only copies, so one object can be shared by
threads, caches and notebooks. Coordinates are angstrom. Reading and writing files is in
:mod:`protein_lab.structure_files`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protein_lab.constants import AMINO_ACIDS, ATOM_NAMES, BACKBONE_INDICES, CB_INDEX
from protein_lab.errors import GeometryError, ProteinLabError
from protein_lab.typing import BoolArray, FloatArray

MAX_RESIDUE_INDEX = 1_000_000
MAX_CHAIN_ID_LENGTH = 32
_NUM_ATOMS = len(ATOM_NAMES)
_UNKNOWN = AMINO_ACIDS.index("X")
_CA = ATOM_NAMES.index("CA")
_SHOWN_RESIDUES = 120
_ARRAYS: tuple[tuple[str, type[np.number[Any] | np.bool_], tuple[int, ...]], ...] = (
    ("aatype", np.int8, ()),
    ("atom_positions", np.float32, (_NUM_ATOMS, 3)),
    ("atom_mask", np.bool_, (_NUM_ATOMS,)),
    ("chain_index", np.int32, ()),
    ("residue_index", np.int32, ()),
    ("author_number", np.int32, ()),
    ("b_factor", np.float32, ()),
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Protein:
    """One model of a protein of one or more chains.

    Attributes
    ----------
    aatype : ndarray, shape=(residue,), dtype=int8
        Index into :data:`protein_lab.constants.AMINO_ACIDS`; 20 is unknown (``X``).
    atom_positions : ndarray, shape=(residue, 37, 3), dtype=float32
        Angstrom, atoms in the order of :data:`protein_lab.constants.ATOM_NAMES`; zero where absent.
    atom_mask : ndarray, shape=(residue, 37), dtype=bool
        True where the atom is present; every residue has a CA.
    chain_index : ndarray, shape=(residue,), dtype=int32
        0, 1, ... ; the residues of a chain follow one another.
    residue_index : ndarray, shape=(residue,), dtype=int32
        Label numbering: starts at 1 in each chain and increases; a jump is an unmodelled stretch.
    author_number : ndarray, shape=(residue,), dtype=int32
        Residue number of the authors, as in papers and PDB files; may be negative or repeat
        with different insertion codes.
    insertion_code : tuple of str
        One character a residue, empty where there is none.
    chain_ids : tuple of str
        The authors' chain id of every ``chain_index``; may have several characters.
    b_factor : ndarray, shape=(residue,), dtype=float32
        One number a residue; designs carry their uncertainty (angstrom) here.
    name : str
        What to call the structure.

    Raises
    ------
    GeometryError
        If a shape, an index or a coordinate is not as described.
    """

    aatype: NDArray[np.int8]
    atom_positions: NDArray[np.float32]
    atom_mask: NDArray[np.bool_]
    chain_index: NDArray[np.int32]
    residue_index: NDArray[np.int32]
    author_number: NDArray[np.int32]
    insertion_code: tuple[str, ...]
    chain_ids: tuple[str, ...]
    b_factor: NDArray[np.float32]
    name: str = "protein"

    def __post_init__(self) -> None:
        for field, dtype, rest in _ARRAYS:
            array = _converted(field, getattr(self, field), dtype, (len(self.aatype), *rest))
            object.__setattr__(self, field, array)
        object.__setattr__(self, "insertion_code", tuple(self.insertion_code))
        object.__setattr__(self, "chain_ids", tuple(self.chain_ids))
        _check_atoms(self)
        _check_chains(self)
        _check_numbering(self)
        # Absent atoms are zero, so that equal proteins have equal bytes.
        positions = np.where(self.atom_mask[..., None], self.atom_positions, np.float32(0))
        object.__setattr__(self, "atom_positions", positions)
        for field, _, _ in _ARRAYS:
            getattr(self, field).setflags(write=False)

    @classmethod
    def from_backbone(
        cls,
        backbone: ArrayLike,
        sequence: str | None = None,
        b_factor: ArrayLike | None = None,
        chain_id: str = "A",
        name: str = "design",
    ) -> Protein:
        """Make a one-chain protein from backbone atoms, with an ideal CB added.

        Parameters
        ----------
        backbone : array_like, shape=(residue, 4, 3)
            N, CA, C, O in angstrom.
        sequence : str, optional
            One-letter codes; all residues are unknown (``X``) when it is not given.
        b_factor : array_like, shape=(residue,), optional
            Number stored with each residue, zero unless given.
        chain_id : str
            Id of the chain.
        name : str
            Name of the protein.

        Returns
        -------
        Protein
            Numbered from 1; every residue but glycine has a CB.

        Raises
        ------
        GeometryError
            If the shape is wrong, a coordinate is not finite, or the sequence does not fit.
        """
        from protein_lab.geometry import virtual_cb

        atoms = np.asarray(backbone, dtype=np.float64)
        if atoms.ndim != 3 or atoms.shape[1:] != (len(BACKBONE_INDICES), 3) or len(atoms) == 0:
            raise GeometryError(
                f"A backbone has the shape (residue, 4, 3) with N, CA, C, O; got {atoms.shape}."
            )
        length = len(atoms)
        aatype = _encoded("X" * length if sequence is None else sequence, length)
        positions = np.zeros((length, _NUM_ATOMS, 3))
        mask = np.zeros((length, _NUM_ATOMS), dtype=np.bool_)
        positions[:, BACKBONE_INDICES] = atoms
        mask[:, BACKBONE_INDICES] = True
        mask[:, CB_INDEX] = aatype != AMINO_ACIDS.index("G")
        positions[:, CB_INDEX] = virtual_cb(atoms)
        numbers = np.arange(1, length + 1)
        return cls(
            aatype=aatype,
            atom_positions=positions.astype(np.float32),
            atom_mask=mask,
            chain_index=np.zeros(length, dtype=np.int32),
            residue_index=numbers.astype(np.int32),
            author_number=numbers.astype(np.int32),
            insertion_code=("",) * length,
            chain_ids=(chain_id,),
            b_factor=np.asarray(np.zeros(length) if b_factor is None else b_factor, np.float32),
            name=name,
        )

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Protein:
        """Read the first model of an mmCIF, BinaryCIF or PDB file, gzipped or not.

        Raises
        ------
        StructureFileError
            If the file is missing, broken, too large or not what its name says.
        """
        from protein_lab.structure_files import read_structure

        return read_structure(path)

    @property
    def num_residues(self) -> int:
        """Number of residues of all chains."""
        return len(self.aatype)

    @property
    def sequence(self) -> str:
        """One-letter codes of all chains, one after another."""
        return "".join(AMINO_ACIDS[i] for i in self.aatype)

    @property
    def backbone(self) -> FloatArray:
        """N, CA, C, O, shape=(residue, 4, 3), angstrom; NaN where an atom is absent."""
        present = self.atom_mask[:, BACKBONE_INDICES, None]
        return np.where(present, self.atom_positions[:, BACKBONE_INDICES], np.float32(np.nan))

    @property
    def has_backbone(self) -> BoolArray:
        """True where N, CA, C and O are all present, shape=(residue,)."""
        return np.all(self.atom_mask[:, BACKBONE_INDICES], axis=1)

    @property
    def ca(self) -> FloatArray:
        """CA positions, shape=(residue, 3), angstrom."""
        return self.atom_positions[:, _CA]

    @property
    def cb(self) -> FloatArray:
        """CB positions, shape=(residue, 3), angstrom; the ideal one where it is absent."""
        from protein_lab.geometry import virtual_cb

        present = self.atom_mask[:, CB_INDEX, None]
        ideal = np.asarray(virtual_cb(self.backbone), dtype=np.float32)
        return np.where(present, self.atom_positions[:, CB_INDEX], ideal)

    def select_chain(self, chain_id: str) -> Protein:
        """Return one chain as a protein of its own, numbering kept.

        Raises
        ------
        GeometryError
            If there is no such chain; the message lists the chains.
        """
        if chain_id not in self.chain_ids:
            raise GeometryError(
                f"Protein {self.name!r} has no chain {chain_id!r}.",
                f"Its chains are {', '.join(self.chain_ids)}.",
            )
        index = np.flatnonzero(self.chain_index == self.chain_ids.index(chain_id))
        return Protein(
            aatype=self.aatype[index],
            atom_positions=self.atom_positions[index],
            atom_mask=self.atom_mask[index],
            chain_index=np.zeros(len(index), dtype=np.int32),
            residue_index=self.residue_index[index],
            author_number=self.author_number[index],
            insertion_code=tuple(self.insertion_code[i] for i in index),
            chain_ids=(chain_id,),
            b_factor=self.b_factor[index],
            name=self.name,
        )

    def to_mmcif(self) -> str:
        """Return the text of an mmCIF file; equal proteins give equal text."""
        from protein_lab.structure_files import to_mmcif

        return to_mmcif(self)

    def to_pdb(self) -> str:
        """Return the text of a PDB file; raises StructureFileError if that cannot hold it."""
        from protein_lab.structure_files import to_pdb

        return to_pdb(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file in the format that its ending names; a failed write leaves nothing behind.

        Raises
        ------
        StructureFileError
            If the ending is unknown, the format cannot hold the protein, or the disk refuses.
        """
        from protein_lab.structure_files import write_structure

        write_structure(self, path)

    def __repr__(self) -> str:
        chains = _chain_summary(self)
        return f"Protein({self.name!r}, {self.num_residues} residues, {chains})"

    def _repr_html_(self) -> str:
        """Show a table, and the 3-D view where the plotting module can be used."""
        shown = self.sequence[:_SHOWN_RESIDUES] + "…" * (self.num_residues > _SHOWN_RESIDUES)
        rows = (
            ("Residues", str(self.num_residues)),
            ("Chains", _chain_summary(self)),
            ("Sequence", shown),
            ("B-factor, mean", f"{float(self.b_factor.mean()):.2f}"),
        )
        body = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
            for key, value in rows
        )
        table = f"<table><caption>{html.escape(self.name)}</caption><tbody>{body}</tbody></table>"
        return table + _viewer(self)


def _viewer(protein: Protein) -> str:
    """Return the 3-D view, or a note when nothing can draw it here."""
    from importlib import import_module

    # Plotting is a layer above this one and optional, so it is looked up only when shown.
    try:
        page = str(import_module("protein_lab.plotting").view_html(protein))
    except (ImportError, ProteinLabError) as error:
        return f"<p>No 3-D view is available here: {html.escape(str(error))}</p>"
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="480"></iframe>'


def _chain_summary(protein: Protein) -> str:
    counts = np.bincount(protein.chain_index)
    parts = [f"{chain}:{count}" for chain, count in zip(protein.chain_ids, counts, strict=True)]
    shown = " ".join(parts[:8]) + (" …" if len(parts) > 8 else "")
    return f"{len(parts)} chain{'s' if len(parts) > 1 else ''} {shown}"


def _encoded(sequence: str, length: int) -> NDArray[np.int8]:
    if len(sequence) != length:
        raise GeometryError(f"Expected a sequence of {length} residues, got {len(sequence)}.")
    strange = sorted(set(sequence) - set(AMINO_ACIDS))
    if strange:
        raise GeometryError(
            f"The sequence holds {', '.join(map(repr, strange))}.",
            f"Use the one-letter codes {AMINO_ACIDS} in upper case.",
        )
    return np.array([AMINO_ACIDS.index(letter) for letter in sequence], dtype=np.int8)


def _converted(
    field: str, value: ArrayLike, dtype: type[np.number[Any] | np.bool_], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Copy a value into an array of its dtype; shapes are checked before anything is allocated."""
    given = np.asarray(value)
    if given.shape != shape:
        raise GeometryError(f"Protein.{field}: expected the shape {shape}, got {given.shape}.")
    if issubclass(dtype, np.integer):
        limits = np.iinfo(dtype)
        if given.dtype.kind not in "iu" or np.any((given < limits.min) | (given > limits.max)):
            raise GeometryError(
                f"Protein.{field}: expected whole numbers within {np.dtype(dtype)}, "
                f"got {given.dtype}."
            )
    with np.errstate(over="ignore"):
        return np.array(given, dtype=dtype)


def _check_atoms(protein: Protein) -> None:
    if protein.num_residues == 0:
        raise GeometryError("A protein has at least one residue; got none.")
    if protein.aatype.min() < 0 or protein.aatype.max() > _UNKNOWN:
        raise GeometryError(f"Protein.aatype: expected 0 to {_UNKNOWN}, got something outside.")
    _require_each(protein, protein.atom_mask[:, _CA], "has no CA atom")
    finite = np.isfinite(protein.atom_positions) | ~protein.atom_mask[..., None]
    _require_each(protein, np.all(finite, axis=(1, 2)), "has coordinates that are not finite")
    _require_each(protein, np.isfinite(protein.b_factor), "has a B-factor that is not finite")


def _require_each(protein: Protein, good: BoolArray, complaint: str) -> None:
    bad = np.flatnonzero(~good)
    if bad.size:
        more = f" (and {bad.size - 1} more)" if bad.size > 1 else ""
        raise GeometryError(f"Protein {protein.name!r}: residue {bad[0] + 1}{more} {complaint}.")


def _check_chains(protein: Protein) -> None:
    expected = len(protein.chain_ids)
    blocks = np.cumsum(np.diff(protein.chain_index, prepend=protein.chain_index[0]) != 0)
    if not np.array_equal(protein.chain_index, blocks) or blocks[-1] != expected - 1:
        raise GeometryError(
            f"Protein.chain_index: expected 0, 1, ... in blocks for {expected} chain ids, got "
            f"{protein.chain_index.min()} to {protein.chain_index.max()}."
        )
    if len(set(protein.chain_ids)) != expected:
        raise GeometryError(f"Chain ids must differ; got {', '.join(protein.chain_ids)}.")
    for chain_id in protein.chain_ids:
        if not is_chain_id(chain_id):
            raise GeometryError(
                f"A chain id is 1 to {MAX_CHAIN_ID_LENGTH} printable ASCII characters without "
                f"spaces, and neither '?' nor '.'; got {chain_id!r}."
            )


def is_chain_id(text: str) -> bool:
    """Tell whether a text can be a chain id: printable ASCII, no spaces, not ``?`` or ``.``."""
    visible = all("!" <= character <= "~" for character in text)
    return visible and 1 <= len(text) <= MAX_CHAIN_ID_LENGTH and text not in {"?", "."}


def _check_numbering(protein: Protein) -> None:
    index = protein.residue_index
    same_chain = np.diff(protein.chain_index) == 0
    if index.min() < 1 or index.max() > MAX_RESIDUE_INDEX or np.any(np.diff(index)[same_chain] < 1):
        raise GeometryError(
            "Protein.residue_index: expected numbers from 1 that increase in each chain, up to "
            f"{MAX_RESIDUE_INDEX}; got {index.min()} to {index.max()}."
        )
    codes = protein.insertion_code
    if len(codes) != protein.num_residues or any(not _is_insertion_code(c) for c in codes):
        raise GeometryError(
            "Protein.insertion_code: expected one printable character or an empty string for each "
            f"of {protein.num_residues} residues; got {len(codes)} entries."
        )
    keys = zip(protein.chain_index.tolist(), protein.author_number.tolist(), codes, strict=True)
    if len(set(keys)) != protein.num_residues:
        raise GeometryError(
            "Two residues of one chain have the same author number and insertion code.",
            "Number them apart; files could not tell them from one another.",
        )


def _is_insertion_code(code: str) -> bool:
    return code == "" or (len(code) == 1 and is_chain_id(code))

"""Structure files in and out: mmCIF, BinaryCIF and PDB, each also gzipped.

Reading is safe with hostile files: sizes are bounded before anything is unpacked, the format is
judged by the content and compared with the file's name, coordinates must be finite and below
9999 angstrom, and whatever is wrong becomes one
:class:`~protein_lab.errors.StructureFileError` that says what was expected and what came.
"""

from __future__ import annotations

from protein_lab.structure_files.opening import ReadLimits, StructureFormat
from protein_lab.structure_files.reading import read_structure
from protein_lab.structure_files.writing import to_binary_cif, to_mmcif, to_pdb, write_structure

__all__ = [
    "ReadLimits",
    "StructureFormat",
    "read_structure",
    "to_binary_cif",
    "to_mmcif",
    "to_pdb",
    "write_structure",
]

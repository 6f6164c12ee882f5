"""What a report is made of: the files of an output folder, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from protein_lab.errors import ReportError
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.store.manifest import Manifest
from protein_lab.store.summary import DesignSummary, Summary
from protein_lab.typing import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ShownDesign:
    """A design that the report shows in detail.

    Attributes
    ----------
    entry : DesignSummary
        What the summary says about it.
    protein : Protein
        Its structure, from the file in the folder.
    obtained : str
        Secondary structure of the structure (DSSP).
    uncertainty : FloatArray
        Angstrom for each residue; NaN where unknown.
    """

    entry: DesignSummary
    protein: Protein
    obtained: str
    uncertainty: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """What a report is made of.

    Attributes
    ----------
    folder : Path
        The output folder.
    summary : Summary
        All designs.
    manifest : Manifest
        The request and where its answer came from.
    shown : tuple of ShownDesign
        The best designs, as many as were asked for in detail.
    """

    folder: Path
    summary: Summary
    manifest: Manifest
    shown: tuple[ShownDesign, ...]


def read_output(folder: str | Path, detailed: int = 8) -> ReportData:
    """Read an output folder.

    Parameters
    ----------
    folder : str or Path
        What ``protein-lab design`` wrote.
    detailed : int
        How many of the best designs are shown in detail.

    Raises
    ------
    ReportError
        When a file is missing or cannot be read.
    """
    root = Path(folder)
    summary = _decode(root / "summary.json", Summary)
    manifest = _decode(root / "provenance.json", Manifest)
    shown = []
    for entry in summary.designs:
        if entry.file is None or len(shown) >= detailed:
            continue
        protein = Protein.from_file(root / entry.file)
        values = np.array([np.nan if v is None else v for v in entry.uncertainty], dtype=float)
        shown.append(ShownDesign(entry, protein, dssp(protein.backbone), values))
    return ReportData(root, summary, manifest, tuple(shown))


def _decode(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ReportError(
            f"Expected {path.name} in the output folder {path.parent}; it cannot be read: "
            f"{error.strerror}.",
            "Give the folder that `protein-lab design --out` wrote.",
        ) from error
    except msgspec.DecodeError as error:
        raise ReportError(
            f"{path} is not what this version of protein_lab writes: {error}.",
            "Run the request again, or use the version that wrote it.",
        ) from error

"""Motif problems: requests read from a folder, and the published set fetched into one.

A problem is a request with a motif, as JSON, or a PDB file with ``REMARK 999`` lines that say
what is designed around its residues, as the motif problems of RFdiffusion (Watson et al., Nature
620, 2023) are distributed with Genie 2 (Lin et al., 2024).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from protein_lab.constraints.motif import Motif
from protein_lab.constraints.structure_source import StructureSource, embed_sources
from protein_lab.design.request import DesignRequest, decode_request, read_request
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.errors import ProteinLabError

_INPUT: Final = re.compile(r"^REMARK 999 INPUT  (.)(.{4})(.{4})(?: (\S))?\s*$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^REMARK 999 (MINIMUM|MAXIMUM) TOTAL LENGTH\s+(\d+)", re.MULTILINE)
_MARK: Final = "REMARK 999 INPUT"

PUBLISHED: Final = (
    ("1bcf", "1bcf", "8-15/A92-99/16-30/A123-130/16-30/A47-54/16-30/A18-25/8-15", 96, 152),
    ("1prw", "1prw", "5-20/A16-35/10-25/A52-71/5-20", 60, 105),
    ("1qjg", "1qjg", "10-20/A38/15-30/A14/15-30/A99/10-20", 53, 103),
    ("1ycr", "1ycr", "10-40/B19-27/10-40", 40, 100),
    ("2kl8", "2kl8", "A1-7/20/A28-79", 79, 79),
    ("3ixt", "3ixt", "10-40/P254-277/10-40", 50, 75),
    ("4jhw", "4jhw", "10-25/F196-212/15-30/F63-69/10-25", 60, 90),
    ("4zyp", "4zyp", "10-40/A422-436/10-40", 30, 50),
    ("5ius", "5ius", "0-30/A119-140/15-40/A63-82/0-30", 57, 142),
    ("5tpn", "5tpn", "10-40/A163-181/10-40", 50, 75),
    ("5trv_long", "5trv", "0-95/A45-65/0-95", 116, 116),
    ("5trv_med", "5trv", "0-65/A45-65/0-65", 86, 86),
    ("5trv_short", "5trv", "0-35/A45-65/0-35", 56, 56),
    ("5wn9", "5wn9", "10-40/A170-189/10-40", 35, 50),
    ("5yui", "5yui", "5-30/A93-97/5-20/A118-120/10-35/A198-200/10-30", 50, 100),
    ("6e6r_long", "6e6r", "0-95/A23-35/0-95", 108, 108),
    ("6e6r_med", "6e6r", "0-65/A23-35/0-65", 78, 78),
    ("6e6r_short", "6e6r", "0-35/A23-35/0-35", 48, 48),
    ("6exz_long", "6exz", "0-95/A557-571/0-95", 110, 110),
    ("6exz_med", "6exz", "0-65/A557-571/0-65", 80, 80),
    ("6exz_short", "6exz", "0-35/A557-571/0-35", 50, 50),
    ("7mrx_128", "7mrx", "0-106/B25-46/0-106", 128, 128),
    ("7mrx_60", "7mrx", "0-38/B25-46/0-38", 60, 60),
    ("7mrx_85", "7mrx", "0-63/B25-46/0-63", 85, 85),
)
"""Name, entry of the Protein Data Bank, contig, shortest and longest design."""


@dataclass(frozen=True, slots=True)
class MotifProblem:
    """A request with a motif, and its name."""

    name: str
    request: DesignRequest


def read_problems(folder: str | Path, num_designs: int = 100, seed: int = 0) -> list[MotifProblem]:
    """Read all problems of a folder, by name.

    Parameters
    ----------
    folder : path-like
        With PDB files that have ``REMARK 999`` lines, or requests as JSON.
    num_designs, seed : int
        What every request asks for, whatever it says itself. No sequences are drawn.

    Raises
    ------
    ProteinLabError
        When there is no such folder, no problem in it, or one cannot be read.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ProteinLabError(
            f"Expected a folder with motif problems, but {place} is none.",
            "Give one with PDB files that have REMARK 999 lines, or with requests as JSON.",
        )
    found: list[MotifProblem] = []
    for path in sorted(place.iterdir()):
        if path.suffix == ".json":
            request = read_request(path)
        elif path.suffix == ".pdb" and _MARK in (text := path.read_text(errors="replace")):
            request = problem_of_remarks(text, path.name)
        else:
            continue
        if not any(isinstance(item, Motif) for item in request.constraints):
            raise ProteinLabError(f"{path.name} asks for no motif.", "Take it out of the folder.")
        options = msgspec.structs.replace(request.sequence, num_sequences=0)
        same = {"num_designs": num_designs, "seed": seed, "sequence": options}
        found.append(MotifProblem(path.stem, msgspec.structs.replace(request, **same)))
    if not found:
        raise ProteinLabError(
            f"There is no motif problem in {place}.",
            "Problems are PDB files that have REMARK 999 lines, or requests as JSON.",
        )
    return found


def problem_of_remarks(text: str, name: str) -> DesignRequest:
    """Read a problem from a PDB file with ``REMARK 999`` lines.

    ``INPUT`` lines have the chain in column 19 and two numbers of four columns after it: the
    first and last residue of a segment or, without a chain, the fewest and most residues of a
    designed stretch. A letter after them is the group of the segment.

    Parameters
    ----------
    text : str
        The file.
    name : str
        For messages.

    Raises
    ------
    ProteinLabError
        When a line cannot be read or the request has faults.
    """
    pieces: list[str] = []
    groups: list[str] = []
    for chain, first, last, group in _INPUT.findall(text):
        try:
            low, high = int(first), int(last)
        except ValueError:
            raise ProteinLabError(
                f"{name}: an INPUT line has {first!r} and {last!r} where numbers are expected.",
                "Chain in column 19, numbers in columns 20 to 23 and 24 to 27.",
            ) from None
        pieces.append(f"{chain.strip()}{low}-{high}")
        groups += [group] if chain.strip() else []
    count = text.count(_MARK)
    if len(pieces) != count:
        raise ProteinLabError(
            f"{name}: {count - len(pieces)} of {count} INPUT lines cannot be read.",
            "Chain in column 19, numbers in columns 20 to 23 and 24 to 27.",
        )
    bounds = {kind: int(number) for kind, number in _TOTAL.findall(text)}
    if set(bounds) != {"MINIMUM", "MAXIMUM"}:
        raise ProteinLabError(
            f"{name}: expected the lines MINIMUM and MAXIMUM TOTAL LENGTH.", "Add them."
        )
    letters = sorted(set(groups))
    motif = Motif(
        source=StructureSource(text=_atoms_only(text)),
        contig="/".join(pieces),
        groups=tuple(1 + letters.index(letter) for letter in groups) if len(letters) > 1 else None,
    )
    request = DesignRequest(
        length=(bounds["MINIMUM"], bounds["MAXIMUM"]),
        constraints=(motif,),
        name=name[:200],
        sequence=SequenceOptions(num_sequences=0),
    )
    return decode_request(request.canonical())


def fetch_problems(folder: str | Path, told: Callable[[str], None] | None = None) -> list[Path]:
    """Write the published problems into a folder, structures fetched from the Protein Data Bank.

    Parameters
    ----------
    folder : path-like
        Made if it is not there; problems that are there stay.
    told : callable, optional
        Called with the name of each problem.

    Returns
    -------
    list of Path
        Requests as JSON.

    Raises
    ------
    OfflineError
        When there is no network.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, entry, contig, low, high in PUBLISHED:
        path = place / f"{name}.json"
        if not path.exists():
            motif = Motif(source=StructureSource(pdb=entry), contig=contig)
            request = DesignRequest(length=(low, high), constraints=(motif,), name=name)
            path.write_bytes(embed_sources(request).canonical())
        written.append(path)
        if told is not None:
            told(name)
    return written


def _atoms_only(text: str) -> str:
    return "".join(
        f"{line}\n" for line in text.splitlines() if line.startswith(("ATOM", "HETATM", "TER"))
    )

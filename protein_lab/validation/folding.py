"""Self-consistency with a folding program that the user has: whether a sequence folds back.

Nothing of the kind is part of this package. The program is started as it is; what it writes is
read like any structure file, and what cannot be compared is not reported as a number.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protein_lab.errors import ProteinLabError
from protein_lab.metrics import rmsd, tm_score
from protein_lab.protein import Protein
from protein_lab.validation.base import Finding, Measure, Once
from protein_lab.validation.options import ValidationOptions

_SHOWN: Final = 300
_ENDINGS: Final = (".cif", ".mmcif", ".bcif", ".pdb", ".cif.gz", ".pdb.gz")
_NOT_SET: Final = "No folding program is known here; set PROTEIN_LAB_FOLDING to its command."


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """How near the folded sequence is to the structure.

    Attributes
    ----------
    rmsd : float
        Of the CA atoms after superposition, angstrom.
    tm : float
        TM-score, normalized by the length.
    """

    rmsd: float
    tm: float


def fold_back(protein: Protein, command: str, time_limit: float) -> SelfConsistency:
    """Fold the sequence of a structure with the user's program and compare.

    Parameters
    ----------
    protein : Protein
        One chain with a known sequence.
    command : str
        As one types it in a shell, with ``{fasta}`` for the FASTA file to read and ``{out}`` for
        a new, empty folder; the first structure file there is taken, by name.
    time_limit : float
        Seconds.

    Returns
    -------
    SelfConsistency

    Raises
    ------
    ProteinLabError
        If the command lacks a placeholder, or the program cannot be started, takes too long, fails,
        or writes anything but a structure of the same sequence.
    """
    lacking = [word for word in ("{fasta}", "{out}") if word not in command]
    if lacking:
        raise ProteinLabError(
            f"Expected {{fasta}} and {{out}} in the command of the folding program, but "
            f"{' and '.join(lacking)} is not in {command!r}.",
            "Set PROTEIN_LAB_FOLDING to a command with both.",
        )
    with tempfile.TemporaryDirectory(prefix="protein_lab_") as place:
        folder = Path(place)
        fasta, out = folder / "design.fasta", folder / "out"
        out.mkdir()
        fasta.write_text(f">design\n{protein.sequence}\n", encoding="ascii")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ProteinLabError(
                f"The folding command {command!r} is unclear: {error}."
            ) from error
        words = [word.replace("{fasta}", str(fasta)).replace("{out}", str(out)) for word in words]
        _start(words, folder, time_limit)
        folded = _read(out)
    if folded.sequence != protein.sequence:
        raise ProteinLabError(
            f"Expected a structure of the {protein.num_residues} residues that were given, but the "
            f"folding program wrote one of {folded.num_residues} with another sequence."
        )
    ca, wanted = (np.asarray(item.ca, dtype=np.float64) for item in (folded, protein))
    return SelfConsistency(rmsd=float(rmsd(ca, wanted)), tm=tm_score(ca, wanted))


def _start(words: list[str], folder: Path, time_limit: float) -> None:
    log = folder / "log"
    try:
        with log.open("wb") as stream:
            done = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                timeout=time_limit, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ProteinLabError(f"The folding program took longer than {time_limit:g} s.") from error
    except OSError as error:
        raise ProteinLabError(
            f"The folding program cannot be started as {words[0]!r}: {error.strerror or error}."
        ) from error
    if done.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_SHOWN:]
        raise ProteinLabError(
            f"The folding program ended with {done.returncode}: {said or 'it said nothing'}"
        )


def _read(out: Path) -> Protein:
    files = [path for path in sorted(out.rglob("*")) if path.name.lower().endswith(_ENDINGS)]
    if not files:
        raise ProteinLabError("The folding program ended well but wrote no structure file.")
    return Protein.from_file(files[0])


def measures(options: ValidationOptions) -> dict[str, Measure]:
    """Give the measures of self-consistency, which share one run of the program.

    Parameters
    ----------
    options : ValidationOptions
        Command and time limit.
    """
    once = Once(lambda protein: _findings(protein, options))

    def part(number: int) -> Callable[[Protein], Finding]:
        return lambda protein: once(protein)[number]

    return {"self_consistency_rmsd": part(0), "self_consistency_tm": part(1)}


def _findings(protein: Protein, options: ValidationOptions) -> tuple[Finding, Finding]:
    def both(finding: Finding) -> tuple[Finding, Finding]:
        return finding, finding

    if not options.folding.strip():
        return both(Finding.missing(_NOT_SET))
    if len(protein.chain_ids) > 1 or protein.num_residues < 3:
        return both(Finding(None, "For one chain of at least three residues."))
    if "X" in protein.sequence:
        return both(Finding(None, "The sequence is not known everywhere."))
    try:
        found = fold_back(protein, options.folding, options.folding_seconds)
    except ProteinLabError as error:
        return both(Finding.missing(f"{error.problem} {error.remedy}".strip()))
    program = shlex.split(options.folding)[0]
    return Finding(found.rmsd, f"By {program}."), Finding(found.tm, f"By {program}.")

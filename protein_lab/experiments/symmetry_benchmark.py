"""Whether the copies of symmetric designs are equal, and lie where their group says."""

from __future__ import annotations

from typing import Final

from protein_lab.constraints.symmetry import Symmetry, copy_rmsd, symmetry_rmsd
from protein_lab.design.request import DesignRequest
from protein_lab.engine import design_one
from protein_lab.experiments.rows import Row
from protein_lab.protein import Protein
from protein_lab.runtime import Runtime

GROUPS: Final = ("C2", "C3", "C4", "C5", "C6")
LENGTH: Final = 60
SEED: Final = 62
_FLOOR: Final = 0.01
_DESIGNS: Final = 2


def symmetry_rows(runtime: Runtime, quick: bool) -> list[Row]:
    """Design assemblies of every cyclic group of two to six copies and compare the copies.

    Coordinates are rounded as they are in files.

    Parameters
    ----------
    runtime : Runtime
        Operator, library and corpus.
    quick : bool
        One design of each group in place of two.
    """
    between: list[float] = []
    from_ideal: list[float] = []
    held = made = 0
    for group in GROUPS:
        asked = Symmetry(group=group)
        request = DesignRequest(
            length=LENGTH, constraints=(asked,), seed=SEED, samples_per_design=2
        )
        for index in range(1 if quick else _DESIGNS):
            design = design_one(request, index, runtime)
            made += 1
            if design.failed is not None:
                continue
            assembly = asked.assembly(Protein.from_backbone(design.backbone, design.sequence))
            between.append(copy_rmsd(assembly))
            from_ideal.append(symmetry_rmsd(assembly, group))
            held += all(found.verdict == "pass" for found in design.measurements)
    share = 100.0 * held / made
    note = f"Of {made} designs of {LENGTH} residues, C2 to C6: copies touch and do not clash."
    return [
        _largest("symmetry: RMSD between copies", between, made, "after superposition"),
        _largest("symmetry: RMSD from ideal positions", from_ideal, made, "without superposition"),
        Row("symmetry: held", share, share, share, "%", None, True, note),
    ]


def _largest(name: str, found: list[float], made: int, how: str) -> Row:
    """Report the largest value; a design that failed leaves the floor unmet."""
    note = f"Largest of {len(found)} of {made} assemblies, {how}; range; at most the floor."
    if not found:
        return Row(name, None, None, None, "angstrom", _FLOOR, False, note)
    ok = len(found) == made and max(found) <= _FLOOR
    return Row(name, max(found), min(found), max(found), "angstrom", _FLOOR, ok, note)

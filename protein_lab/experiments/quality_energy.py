"""Designs without a network: the energy of the refinement, minimized from where nothing is known.

What the refinement adds by itself must not be taken for what the operator does. Here it gets the
same blueprint, the same energy without the restraint to a field, and more steps; it starts from
ideal elements with random loops, from where it comes farther than from extended chains or polymers.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.hydrogen_bonds import helix_bonds, sheet_bonds
from protein_lab.design.minimization import minimize
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.refinement import refine
from protein_lab.design.request import DesignRequest
from protein_lab.design.restraints import RestraintEnergy, Strengths
from protein_lab.design.virtual_atoms import expand
from protein_lab.errors import GeometryError
from protein_lab.experiments.quality_measures import ideal_joined
from protein_lab.typing import FloatArray

_STAGES: Final = (
    Strengths(position=0.0, torsion=0.2, hydrogen_bond=1.0, repulsion=1.0),
    Strengths(position=0.0, torsion=0.35, hydrogen_bond=5.0, repulsion=10.0),
)
_BLOCKS: Final = 6
_STEPS: Final = 60


def energy_backbones(blueprint: Blueprint, request: DesignRequest) -> list[FloatArray | None]:
    """Minimize the energy from other loops for each design that is asked.

    Parameters
    ----------
    blueprint : Blueprint
        What is asked.
    request : DesignRequest
        Gives seed and number of designs.

    Returns
    -------
    list of (residue, 4, 3) array
        Exact backbones, angstrom; None where the refinement gave up.
    """
    made: list[FloatArray | None] = []
    for number in range(request.num_designs):
        rng = np.random.default_rng([request.seed, number])
        try:
            start = np.asarray(ideal_joined(blueprint, rng), dtype=np.float64)[:, :3]
            trace = lower_energy(start, blueprint)
            made.append(refine(trace, blueprint).backbone)
        except (GeometryError, np.linalg.LinAlgError):
            made.append(None)
    return made


def lower_energy(start: FloatArray, blueprint: Blueprint) -> FloatArray:
    """Minimize the energy of the refinement without a field to hold on to.

    Parameters
    ----------
    start : (residue, 3, 3) array
        N, CA, C, angstrom.
    blueprint : Blueprint

    Returns
    -------
    (residue, 3, 3) array
    """
    trace = np.asarray(start, dtype=np.float64).reshape(-1, 3)
    wells = TorsionWells.of(blueprint.secondary_structure)
    helical = helix_bonds(blueprint.secondary_structure)
    # the preconditioner needs some hold everywhere; without strength it costs no energy
    trust = np.ones(len(trace))
    for strengths in _STAGES:
        for _ in range(_BLOCKS):
            sheet = sheet_bonds(expand(trace), blueprint, helical, math.inf)
            bonds = np.array(helical + sheet, dtype=np.int64).reshape(-1, 2)
            energy = RestraintEnergy(trace, trust, wells, bonds, strengths)
            energy.find_pairs(trace)
            bands = energy.curvature(trace)
            bands[0] += 1e-3
            trace = minimize(energy, trace, bands, _STEPS)
    return trace.reshape(-1, 3, 3)

"""Checks with a force field: side chains placed, energy minimized, a short run in implicit solvent.

PDBFixer adds side chains and hydrogens, OpenMM computes (Eastman et al., *J. Phys. Chem. B* 128,
2024) with Amber ff99SB-ILDN and the OBC solvent, on one thread of its CPU platform with
deterministic forces; hydrogens weigh 4 u, which permits steps of 2 fs without constraints. A
picosecond or two tells overlaps, strained bonds and bad packing from a sound model; it
says nothing about whether a fold is stable.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from protein_lab.constants import AMINO_ACIDS
from protein_lab.errors import GeometryError, StructureFileError
from protein_lab.metrics import rmsd
from protein_lab.protein import Protein
from protein_lab.typing import FloatArray
from protein_lab.validation.base import Finding, Measure, Once
from protein_lab.validation.options import ValidationOptions

MAX_RESIDUES: Final = 512
CONTACT: Final = 8.0
"""CA atoms nearer than this, three or more residues apart, are in contact; angstrom."""

KEPT: Final = 1.2
"""A contact is kept while its distance is below this many times the one at the start."""

_FORCE_FIELD: Final = ("amber99sbildn.xml", "amber99_obc.xml")
_PH: Final = 7.0
_ROUNDS: Final = 6
_ITERATIONS: Final = 50
_BLOCK: Final = 100
_TEMPERATURE: Final = 300.0
_FRICTION: Final = 1.0
_STEP: Final = 0.002
_CUTOFF: Final = 1.2
_HYDROGEN_MASS: Final = 4.0
_PROPERTIES: Final = {"Threads": "1", "DeterministicForces": "true"}
_LARGEST_SEED: Final = 2**31 - 1
_TO_ANGSTROM: Final = 10.0

NEEDS: Final = ("openmm", "pdbfixer")


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What came of minimization and run.

    Attributes
    ----------
    energy : float
        After minimization, kJ/mol a residue.
    minimized_rmsd, final_rmsd : float
        Of the CA atoms, of what was given to the minimized and to the last structure, angstrom.
    contacts_kept : float or None
        Fraction of the contacts; None where there are none.
    added : int
        Heavy atoms that were missing and were placed.
    steps : int
        Steps of the run that were made.
    is_complete : bool
        Whether minimization and run came to their end in the time allowed.
    """

    energy: float
    minimized_rmsd: float
    final_rmsd: float
    contacts_kept: float | None
    added: int
    steps: int
    is_complete: bool


def unavailable() -> str | None:
    """Say why nothing can be simulated here; None where it can."""
    lacking = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    return f"{' and '.join(lacking)} not installed: pip install 'protein-lab[sim]'."


def simulate(protein: Protein, options: ValidationOptions) -> Simulated:
    """Place what is missing, minimize, and run.

    Parameters
    ----------
    protein : Protein
        With a known sequence and whole backbone.
    options : ValidationOptions
        Steps, seed, time allowed.

    Returns
    -------
    Simulated

    Raises
    ------
    Exception
        Whatever OpenMM and PDBFixer raise on structures that they cannot use.
    """
    began = time.monotonic()
    topology, positions, added = prepare(protein, options.seed)
    simulation = _simulation(topology, positions, options.seed)
    alphas = [atom.index for atom in topology.atoms() if atom.name == "CA"]
    start = np.asarray(protein.ca, dtype=np.float64)
    if len(alphas) != len(start):
        raise GeometryError(f"Expected {len(start)} residues, but {len(alphas)} were prepared.")

    def late() -> bool:
        return time.monotonic() - began > options.simulation_seconds

    is_complete = _minimize(simulation, late)
    energy, minimized = _state(simulation, alphas)
    simulation.context.setVelocitiesToTemperature(_TEMPERATURE, _openmm_seed(options.seed))
    steps = 0
    while steps < options.simulation_steps and not late():
        count = min(_BLOCK, options.simulation_steps - steps)
        simulation.step(count)
        steps += count
    _, final = _state(simulation, alphas)
    return Simulated(
        energy=energy / len(start),
        minimized_rmsd=float(rmsd(minimized, start)),
        final_rmsd=float(rmsd(final, start)),
        contacts_kept=_contacts_kept(start, final),
        added=added,
        steps=steps,
        is_complete=is_complete and steps == options.simulation_steps,
    )


def prepare(protein: Protein, seed: int) -> tuple[Any, Any, int]:
    """Add side chains, chain ends and hydrogens.

    Returns
    -------
    topology, positions
        As OpenMM has them.
    added : int
        Heavy atoms that were missing, chain ends left out.
    """
    from openmm import Platform
    from pdbfixer import PDBFixer

    platform = Platform.getPlatformByName("CPU")
    before = {name: platform.getPropertyDefaultValue(name) for name in _PROPERTIES}
    state = random.getstate()  # OpenMM draws the first places of hydrogens from it
    try:
        random.seed(seed)
        for name, value in _PROPERTIES.items():
            platform.setPropertyDefaultValue(name, value)
        fixer = PDBFixer(pdbfile=io.StringIO(protein.to_pdb()), platform=platform)
        fixer.missingResidues = {}
        fixer.findMissingAtoms()
        added = sum(len(atoms) for atoms in fixer.missingAtoms.values())
        fixer.addMissingAtoms(seed=_openmm_seed(seed))
        fixer.addMissingHydrogens(_PH)
    finally:
        random.setstate(state)
        for name, value in before.items():
            platform.setPropertyDefaultValue(name, value)
    return fixer.topology, fixer.positions, added


def _openmm_seed(seed: int) -> int:
    """Map a seed to those of OpenMM, which takes 0 for no seed at all."""
    return 1 + seed % (_LARGEST_SEED - 1)


def _simulation(topology: Any, positions: Any, seed: int) -> Any:
    """Set up the force field and the integrator; numbers are in OpenMM's nanometer, ps, K, u."""
    from openmm import LangevinMiddleIntegrator, Platform, app

    method: Any = app.CutoffNonPeriodic
    system = app.ForceField(*_FORCE_FIELD).createSystem(
        topology, nonbondedMethod=method, nonbondedCutoff=_CUTOFF, hydrogenMass=_HYDROGEN_MASS
    )
    integrator = LangevinMiddleIntegrator(_TEMPERATURE, _FRICTION, _STEP)
    integrator.setRandomNumberSeed(_openmm_seed(seed))
    platform = Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, system, integrator, platform, _PROPERTIES)
    simulation.context.setPositions(positions)
    return simulation


def _minimize(simulation: Any, late: Callable[[], bool]) -> bool:
    """Minimize in rounds; tells whether all of them were made."""
    for _ in range(_ROUNDS):
        if late():
            return False
        simulation.minimizeEnergy(maxIterations=_ITERATIONS)
    return True


def _state(simulation: Any, alphas: list[int]) -> tuple[float, FloatArray]:
    """Potential energy in kJ/mol and CA atoms in angstrom."""
    unit: Any = importlib.import_module("openmm.unit")  # its names are made when it is loaded
    state = simulation.context.getState(getEnergy=True, getPositions=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    places = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    found = np.asarray(places, dtype=np.float64)[alphas] * _TO_ANGSTROM
    if not np.isfinite(energy) or not np.isfinite(found).all():
        raise GeometryError("The simulation broke: its energy or coordinates are not finite.")
    return float(energy), found


def _contacts_kept(start: FloatArray, final: FloatArray) -> float | None:
    first, second = np.triu_indices(len(start), 3)
    before = np.linalg.norm(start[first] - start[second], axis=-1)
    near = before < CONTACT
    if not near.any():
        return None
    after = np.linalg.norm(final[first] - final[second], axis=-1)
    return float((after[near] < KEPT * before[near]).mean())


def measures(options: ValidationOptions) -> dict[str, Measure]:
    """Give the measures of physics, which share one minimization and one run.

    Parameters
    ----------
    options : ValidationOptions
        Steps, seed, time allowed.
    """
    once = Once(lambda protein: _findings(protein, options))
    names = ("minimized_energy", "minimized_rmsd", "simulated_rmsd", "contacts_kept")

    def part(name: str) -> Measure:
        return lambda protein: once(protein)[name]

    return {name: part(name) for name in names}


def _findings(protein: Protein, options: ValidationOptions) -> dict[str, Finding]:
    names = ("minimized_energy", "minimized_rmsd", "simulated_rmsd", "contacts_kept")
    why = unavailable()
    if why is not None:
        return dict.fromkeys(names, Finding.missing(why))
    reason = _unsuitable(protein)
    if reason:
        return dict.fromkeys(names, Finding(None, reason))
    try:
        made = simulate(protein, options)
    except Exception as error:  # noqa: BLE001 - a foreign program says in any way what it lacks
        return dict.fromkeys(names, Finding.missing(f"The force field cannot be used: {error}"))
    placed = f"{made.added} heavy atoms were placed." if made.added else ""
    time_run = made.steps * _STEP
    ran = f"After {time_run:g} ps at {_TEMPERATURE:g} K."
    if not made.is_complete:
        ran += f" The {options.simulation_seconds:g} s allowed did not suffice for more."
    kept = Finding(made.contacts_kept, ran if made.contacts_kept is not None else "No contacts.")
    values = (
        Finding(made.energy, placed),
        Finding(made.minimized_rmsd),
        Finding(made.final_rmsd, ran),
        kept,
    )
    return dict(zip(names, values, strict=True))


def _unsuitable(protein: Protein) -> str:
    """Say why a structure cannot be simulated; empty when it can."""
    if protein.num_residues > MAX_RESIDUES:
        return f"For at most {MAX_RESIDUES} residues."
    if np.any(protein.aatype == AMINO_ACIDS.index("X")):
        return "The sequence is not known everywhere, so side chains cannot be placed."
    if not np.all(protein.has_backbone):
        return "Backbone atoms are missing."
    try:
        protein.to_pdb()
    except StructureFileError as error:
        return f"A PDB file cannot hold it: {error.problem}"
    return ""

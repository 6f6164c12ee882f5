"""Figures of designs and of baselines for one held-out blueprint.

Every figure is kept as a numerator and a denominator for each blueprint, so that blueprints can
be drawn again with replacement for intervals. A design that failed stays in the denominators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from typing import Final

import numpy as np

from protein_lab.constants import RADIUS_OF_GYRATION_EXPONENT, RADIUS_OF_GYRATION_FACTOR
from protein_lab.constraints.pairing import Pairing
from protein_lab.constraints.secondary_structure import SecondaryStructure
from protein_lab.design.blueprint import MIN_HELIX, MIN_STRAND, Blueprint, blueprint_of
from protein_lab.design.fold_library import Hit
from protein_lab.design.ramachandran import TorsionWells
from protein_lab.design.request import DesignRequest
from protein_lab.engine import design_one
from protein_lab.geometry import backbone_from_internal, radius_of_gyration
from protein_lab.metrics import (
    TmAlignment,
    backbone_clash_per_1000,
    dssp,
    find_knot,
    helix_handedness,
    num_clashes,
    pairing_met,
    tm_align,
)
from protein_lab.metrics.adherence import segments
from protein_lab.metrics.knots import UNKNOT
from protein_lab.protein import Protein
from protein_lab.runtime import Runtime, one_thread
from protein_lab.store.schema import Design
from protein_lab.training.corpus import Corpus, CorpusChain
from protein_lab.typing import FloatArray
from protein_lab.validation import validate

GROUPS: Final = ("", "native: ", "nearest fold: ", "ideal joined: ")
"""Prefixes of the rows: the designs themselves and the baselines."""

_FAILED_SIZE: Final = 2.0
"""Radius of gyration over the expected one that a failed design counts with."""

_IDEAL: Final = {"H": (-63.0, -42.0), "E": (-120.0, 130.0)}
"""Phi and psi of ideal elements, degrees."""


@dataclass(slots=True)
class Tally:
    """Figures of one group for one blueprint.

    Attributes
    ----------
    sums : dict of str to list of float
        Numerator and denominator of each figure.
    sizes : list of float
        Radius of gyration over 2.2 L^0.38, one a design.
    """

    sums: dict[str, list[float]] = field(default_factory=dict)
    sizes: list[float] = field(default_factory=list)

    def add(self, name: str, numerator: float, denominator: float = 1.0) -> None:
        """Add to a figure."""
        entry = self.sums.setdefault(name, [0.0, 0.0])
        entry[0] += float(numerator)
        entry[1] += float(denominator)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A held-out chain, its blueprint, and the request for it."""

    chain: CorpusChain
    blueprint: Blueprint
    request: DesignRequest


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A backbone and what was found at the place of each asked residue and pair.

    Attributes
    ----------
    backbone : (residue, 4, 3) array
        Angstrom.
    states : str
        State found for each residue of the blueprint.
    pairs_met : int
        Pairs of the blueprint that are there.
    """

    backbone: FloatArray
    states: str
    pairs_met: int


def case_of(corpus: Corpus, index: int, num_designs: int, operator: str, seed: int) -> Case:
    """Ask for what a real chain has: its states, without too short runs, and its pairs."""
    chain = corpus.chain(index)
    runs = [(state, len(list(run))) for state, run in groupby(chain.secondary_structure)]
    least = {"H": MIN_HELIX, "E": MIN_STRAND}
    states = "".join((s if n >= least.get(s, 1) else "L") * n for s, n in runs)
    blueprint = blueprint_of(chain.backbone, states)
    pairings = tuple(
        Pairing(first=pair.first + 1, second=pair.second + 1, orientation=pair.orientation)
        for pair in blueprint.pairs
    )
    request = DesignRequest(
        constraints=(SecondaryStructure(string=states), *pairings),
        num_designs=num_designs,
        seed=seed,
        operator=operator,  # pyright: ignore[reportArgumentType]
    )
    return Case(chain, blueprint, request)


def is_answerable(case: Case) -> bool:
    """Tell whether the engine takes the request; some real chains have no element or no turn."""
    errors = [fault for fault in case.request.check() if fault.severity == "error"]
    return bool(case.blueprint.elements) and not errors


def measure_case(case: Case, runtime: Runtime) -> dict[str, Tally]:
    """Design for one blueprint and measure designs and baselines.

    Parameters
    ----------
    case : Case
        What is asked.
    runtime : Runtime
        Operator, library and corpus.

    Returns
    -------
    dict of str to Tally
        By prefix, see :data:`GROUPS`.
    """
    count = case.request.num_designs
    tallies = {"": measure_designs(case, runtime)}
    with one_thread(runtime):
        hits = runtime.hits(case.blueprint)
        rng = np.random.default_rng(case.request.seed)
        native = np.asarray(case.chain.backbone, dtype=np.float32)
        joined = [_sample(case, ideal_joined(case.blueprint, rng)) for _ in range(count)]
        folds = [_fold_sample(case, hit, runtime.corpus) for hit in hits[:count]]
        compared = ([_sample(case, native)], folds, joined)
        for prefix, samples in zip(GROUPS[1:], compared, strict=True):
            tallies[prefix] = _tally(case, samples, runtime.corpus, relatives_of(case, runtime))
    return tallies


def measure_designs(case: Case, runtime: Runtime) -> Tally:
    """Design for one blueprint and measure the designs alone."""
    count = case.request.num_designs
    designs = [design_one(case.request, index, runtime) for index in range(count)]
    backbones = [None if item.failed is not None else item.backbone for item in designs]
    tally = measure_backbones(case, backbones, runtime)
    _add_design_figures(tally, case, designs)
    return tally


def measure_backbones(
    case: Case, backbones: Sequence[FloatArray | None], runtime: Runtime
) -> Tally:
    """Measure backbones for one blueprint, whoever made them.

    Parameters
    ----------
    case : Case
        What was asked.
    backbones : sequence of (residue, 4, 3) array
        Angstrom; None where none came out, which counts as a miss.
    runtime : Runtime
        Library and corpus.
    """
    with one_thread(runtime):
        samples = [None if item is None else _sample(case, item) for item in backbones]
        return _tally(case, samples, runtime.corpus, relatives_of(case, runtime))


def relatives_of(case: Case, runtime: Runtime) -> list[int]:
    """Chains of the library that the search finds for a blueprint."""
    hits = runtime.hits(case.blueprint)
    return list(dict.fromkeys(chain for hit in hits for chain in _chains(hit)))


def _add_design_figures(tally: Tally, case: Case, designs: Sequence[Design]) -> None:
    """Figures that only designs have: of the raw field, and seconds."""
    states = case.blueprint.secondary_structure
    for item in designs:
        for name, letter in (("helix_obtained", "H"), ("strand_obtained", "E")):
            asked = states.count(letter)
            share = item.field_metrics.get(name, 0.0) if asked else 0.0
            tally.add(f"raw {name}", 100.0 * share * asked, asked)
        tally.add("seconds", item.timings.get("total", 0.0))


def _chains(hit: Hit) -> Iterable[int]:
    """Chains of the corpus that a hit takes its fold from."""
    if hit.chain_index >= 0:
        return (hit.chain_index,)
    return tuple(chain for part in hit.parts for chain in _chains(part.hit))


def _sample(case: Case, backbone: FloatArray) -> Sample:
    """Backbone whose residues are those of the blueprint."""
    spans = [(element.start, element.stop) for element in case.blueprint.elements]
    met = sum(
        pairing_met(backbone, spans[pair.first], spans[pair.second], pair.orientation)
        for pair in case.blueprint.pairs
    )
    return Sample(backbone, dssp(backbone), met)


def _fold_sample(case: Case, hit: Hit, corpus: Corpus) -> Sample | None:
    """Chain of a hit as it is; its residues are those that TM-align puts on the asked ones."""
    if hit.chain_index < 0:
        return None
    chain = corpus.chain(hit.chain_index)
    found = _align(case.chain.backbone, chain.backbone)
    own = dssp(chain.backbone)
    states = ["L"] * case.blueprint.length
    for asked, residue in np.asarray(found.aligned).reshape(-1, 2):
        states[int(asked)] = own[int(residue)]
    elements = blueprint_of(chain.backbone, chain.secondary_structure).elements
    met = 0
    for pair in case.blueprint.pairs:
        first, second = hit.element_map[pair.first], hit.element_map[pair.second]
        if first >= 0 and second >= 0:
            spans = [(elements[e].start, elements[e].stop) for e in (first, second)]
            met += pairing_met(chain.backbone, spans[0], spans[1], pair.orientation)
    return Sample(chain.backbone, "".join(states), met)


def ideal_joined(blueprint: Blueprint, rng: np.random.Generator) -> FloatArray:
    """Ideal helices and strands in sequence, joined by loops with random allowed torsions.

    Parameters
    ----------
    blueprint : Blueprint
    rng : Generator

    Returns
    -------
    (residue, 4, 3) array
        Angstrom.
    """
    wells = TorsionWells.of("L")
    used = np.isfinite(wells.heights[0])
    spread = 1.0 / np.sqrt(wells.stiffness[0][used])
    weight = np.exp(wells.heights[0][used]) * spread.prod(axis=1)
    pick = rng.choice(len(weight), size=blueprint.length, p=weight / weight.sum())
    torsions = rng.normal(wells.centers[0][used][pick], spread[pick])
    for place, letter in enumerate(blueprint.secondary_structure):
        if letter in _IDEAL:
            torsions[place] = np.radians(_IDEAL[letter])
    omega = np.full(blueprint.length, np.pi)
    backbone = backbone_from_internal(torsions[:, 0], torsions[:, 1], omega)
    return np.asarray(backbone, dtype=np.float32)


def _align(first: FloatArray, second: FloatArray) -> TmAlignment:
    """Align two backbones by shape alone."""
    return tm_align(first[:, 1], "A" * len(first), second[:, 1], "A" * len(second))


def _tally(
    case: Case, samples: Sequence[Sample | None], corpus: Corpus, relatives: Sequence[int]
) -> Tally:
    """Measure the samples of one group."""
    tally = Tally()
    scores = [
        0.0 if sample is None else _align(case.chain.backbone, sample.backbone).tm_a
        for sample in samples
    ]
    tally.add("tm best", max(scores, default=0.0))
    tally.add("tm mean", sum(scores), len(scores))
    for sample in samples:
        _add_sample(tally, case, sample, corpus, relatives)
    whole = [sample for sample in samples if sample is not None]
    for first, second in combinations(whole, 2):
        found = _align(first.backbone, second.backbone)
        tally.add("diversity", 1.0 - (found.tm_a + found.tm_b) / 2)
    return tally


def _add_sample(
    tally: Tally,
    case: Case,
    sample: Sample | None,
    corpus: Corpus,
    relatives: Sequence[int],
) -> None:
    asked = case.blueprint.secondary_structure
    states = sample.states if sample is not None else "L" * len(asked)
    for name, letter in (("helix", "H"), ("strand", "E")):
        met = sum(a == b == letter for a, b in zip(asked, states, strict=True))
        tally.add(name, 100.0 * met, asked.count(letter))
    met = sample.pairs_met if sample is not None else 0
    tally.add("pairings", 100.0 * met, len(case.blueprint.pairs))
    tally.add("failed", 100.0 * (sample is None))
    if sample is None:
        tally.add("geometry", 0.0)
        tally.add("left", 0.0)
        tally.add("favored", 0.0, len(asked))
        tally.sizes.append(_FAILED_SIZE)
        return
    backbone = sample.backbone
    checks = validate(Protein.from_backbone(backbone))
    tally.add("geometry", 100.0 * all(check.verdict != "fail" for check in checks))
    measured = {check.name: check.value or 0.0 for check in checks}
    tally.add("favored", 100.0 * measured["ramachandran_favored"] * len(backbone), len(backbone))
    tally.add("breaks", measured["chain_breaks"])
    tally.add("knots", find_knot(backbone[:, 1]).name != UNKNOT)
    tally.add("backbone clashes", backbone_clash_per_1000(backbone) * len(backbone), len(backbone))
    helices, turns = _left_handed(backbone)
    tally.add("left", helices)
    tally.add("left turns", turns)
    expected = RADIUS_OF_GYRATION_FACTOR * len(backbone) ** RADIUS_OF_GYRATION_EXPONENT
    tally.sizes.append(float(radius_of_gyration(backbone[:, 1])) / expected)
    tally.add("clashes", 100.0 * num_clashes(backbone), len(backbone))
    near = [_align(backbone, corpus.backbone(chain)).tm_a for chain in relatives]
    if near:
        tally.add("novelty", 1.0 - max(near))


def _left_handed(backbone: FloatArray) -> tuple[int, int]:
    """Count helices that are mostly left-handed, and single left-handed turns of any helix.

    Kinks of real helices have such a turn now and then, so one turn makes no helix.
    """
    helices = turns = 0
    for state, start, stop in segments(dssp(backbone)):
        if state == "H":
            right, left = helix_handedness(backbone[start:stop], state * (stop - start))
            helices += left > right
            turns += left
    return helices, turns

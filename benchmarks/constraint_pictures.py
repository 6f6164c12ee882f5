"""Make the design of each example in docs/pictures/constraints and draw it with what was asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from picture_scene import FIRST, PLAIN, Scene, letter_strip

from protein_lab.constraints.burial import count_neighbors
from protein_lab.constraints.disulfide import atoms_of
from protein_lab.constraints.metal_center import find_center
from protein_lab.constraints.metal_rotamers import rotamers
from protein_lab.constraints.metal_site import IDEAL_ANGLES
from protein_lab.constraints.shape_fit import best_pose
from protein_lab.constraints.spans import bounds
from protein_lab.design.drawing import draw_question
from protein_lab.design.request import DesignRequest, read_request
from protein_lab.engine import Runtime, design_one, plan
from protein_lab.geometry import radius_of_gyration, superimpose, virtual_cb
from protein_lab.metrics import dssp
from protein_lab.plotting import INK, STATE_COLORS
from protein_lab.protein import Protein
from protein_lab.store.schema import Design, decode_design, encode_design
from protein_lab.typing import FloatArray

FOLDER = Path(__file__).parents[1] / "docs" / "pictures" / "constraints"
SECOND, GIVEN, MISSED = "#0072b2", "#009e73", "#cc79a7"
PARTS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


@dataclass(frozen=True, slots=True)
class Made:
    """A design and what was asked of it."""

    asked: Any
    layout: Any
    protein: Protein

    @property
    def cb(self) -> FloatArray:
        """Ideal CB atoms."""
        return virtual_cb(np.asarray(self.protein.backbone, dtype=np.float64))

    def scene(self, chosen: Mapping[str, Sequence[int]], plain: str = PLAIN) -> Scene:
        """Start a picture with the chain, some residues of which have a color."""
        colors = [plain] * self.protein.num_residues
        for color, residues in chosen.items():
            for place in residues:
                colors[place] = color
        scene = Scene()
        scene.cartoon(self.protein.backbone, colors)
        return scene


def _members(spans: Sequence[Any]) -> list[int]:
    return [place for span in spans for place in range(*bounds(span))]


def _states(made: Made) -> Scene:
    states = dssp(np.asarray(made.protein.backbone, dtype=np.float64))
    chosen = {STATE_COLORS[s]: [i for i, x in enumerate(states) if x == s] for s in "HEL"}
    scene = made.scene(chosen)
    asked = made.layout.elements
    if made.asked.kind == "topology":  # which counts strands
        asked = [element for element in asked if element.kind == "E"]
    for number, element in enumerate(asked, start=1):
        scene.word(made.protein.ca[(element.start + element.stop) // 2], str(number))
    return scene


def _size(made: Made) -> Scene:
    count, ca = made.protein.num_residues, np.asarray(made.protein.ca, dtype=np.float64)
    shades = colormaps["cividis"](np.arange(count) / count)
    scene = Scene()
    scene.cartoon(made.protein.backbone, [to_hex(shade) for shade in shades])
    scene.ring = (ca.mean(axis=0), float(radius_of_gyration(ca)))
    return scene


def _distance(made: Made, every: Sequence[Any]) -> Scene:
    asked = [item for item in every if item.kind == "distance"]
    ends = [(_members([item.first]), _members([item.second])) for item in asked]
    scene = made.scene({FIRST: [place for pair in ends for part in pair for place in part]})
    for item, (first, second) in zip(asked, ends, strict=True):
        points = made.cb if item.atom == "CB" else made.protein.ca
        scene.join(points[first].mean(axis=0), points[second].mean(axis=0))
    return scene


def _contacts(made: Made) -> Scene:
    firsts, seconds = (
        [_members([getattr(pair, end)]) for pair in made.asked.pairs] for end in ("first", "second")
    )
    scene = made.scene({FIRST: [*chain(*firsts)], SECOND: [*chain(*seconds)]})
    for first, second in zip(firsts, seconds, strict=True):
        apart = np.linalg.norm(made.cb[first][:, None] - made.cb[second], axis=-1)
        one, other = np.unravel_index(apart.argmin(), apart.shape)
        color = INK if apart.min() < made.asked.distance else MISSED
        scene.join(made.cb[first[one]], made.cb[second[other]], color)
    return scene


def _burial(made: Made) -> Scene:
    inside, outside = _members(made.asked.buried), _members(made.asked.exposed)
    scene = made.scene({FIRST: inside, SECOND: outside})
    counts, _ = count_neighbors(made.protein.ca, made.cb, np.array(inside + outside))
    for place, count in zip(inside + outside, counts, strict=True):
        color = FIRST if place in inside else SECOND
        scene.stick(made.protein.ca[place], made.cb[place], color)
        scene.ball(made.cb[place], 1.2, color)
        scene.word(made.cb[place], f"{place + 1}: {count:.1f}")
    return scene


def _overlay(made: Made, places: Sequence[int], given: FloatArray) -> Scene:
    """Lay a given backbone over the residues of the design that shall be like it."""
    here = np.asarray(made.protein.backbone, dtype=np.float64)[list(places)]
    turn, shift = superimpose(given.reshape(-1, 3), here.reshape(-1, 3))
    scene = made.scene({FIRST: places})
    scene.cartoon(given @ turn.T + shift, [GIVEN] * len(given), is_tube=True)
    return scene


def _motif(made: Made) -> Scene:
    fragment = made.asked.residues().fragments[0]
    places = np.array(made.layout.places[made.asked])[fragment.places].tolist()
    return _overlay(made, places, fragment.atoms[:, :4])


def _template(made: Made) -> Scene:
    template = np.asarray(made.asked.read().backbone, dtype=np.float64)
    return _overlay(made, range(made.protein.num_residues), template)


def _site(made: Made, places: Sequence[int]) -> Scene:
    scene = made.scene({FIRST: places})
    for place in places:
        scene.stick(made.protein.ca[place], made.cb[place], FIRST)
        scene.ball(made.cb[place], 0.8, FIRST)
        scene.word(made.cb[place], f"{made.protein.sequence[place]}{place + 1}")
    return scene


def _catalytic(made: Made) -> Scene:
    return _site(made, made.layout.places[made.asked])


def _binding(made: Made) -> Scene:
    places = [item.position - 1 for item in made.asked.residues]
    scene = _site(made, places)
    ligand = made.asked.pose(made.protein)
    for atom in ligand:
        scene.ball(atom, 1.0, GIVEN)
        for other in ligand:
            if 0.1 < np.linalg.norm(other - atom) < 1.7:
                scene.stick(atom, other, GIVEN)
    for place in places:
        nearest = ligand[np.linalg.norm(ligand - made.cb[place], axis=1).argmin()]
        scene.stick(made.cb[place], nearest, INK, dashed=True)
    return scene


def _metal(made: Made) -> Scene:
    atoms = atoms_of(made.protein)
    sites = [(item.position - 1, item.residue) for item in made.asked.ligands]
    clouds = [rotamers(letter, atoms[place]) for place, letter in sites]
    center = find_center(clouds, IDEAL_ANGLES[made.asked.geometry]).place
    scene = _site(made, [place for place, _ in sites])
    for (place, _), cloud in zip(sites, clouds, strict=True):
        best = np.linalg.norm(cloud.metal - center, axis=1).argmin()
        scene.stick(made.cb[place], cloud.donor[best], FIRST)
        scene.stick(cloud.donor[best], center, INK, dashed=True)
    scene.ball(center, 1.4, "#7f7fb2")
    return scene


def _disulfide(made: Made) -> Scene:
    first, second = made.asked.first - 1, made.asked.second - 1
    scene = _site(made, [first, second])
    scene.join(made.cb[first], made.cb[second])
    return scene


def _hotspots(made: Made) -> Scene:
    target = made.asked.target.read()
    placed = made.asked.pose(made.protein)
    turn, shift = superimpose(atoms_of(made.protein).reshape(-1, 3), placed.reshape(-1, 3))
    scene = Scene()
    backbone = np.asarray(made.protein.backbone, dtype=np.float64)
    scene.cartoon(backbone @ turn.T + shift, [SECOND] * made.protein.num_residues)
    scene.cartoon(target.backbone, [PLAIN] * target.num_residues)
    for name in made.asked.hotspots:
        place = int(np.flatnonzero(target.author_number == int(name[1:]))[0])
        scene.stick(target.ca[place], target.cb[place], FIRST)
        scene.ball(target.cb[place], 1.2, FIRST)
        scene.word(target.cb[place], name)
    return scene


def _symmetry(made: Made) -> Scene:
    whole = made.asked.assembly(made.protein)
    scene = Scene(view=np.eye(3))
    for number in range(len(whole.chain_ids)):
        chain = whole.backbone[whole.chain_index == number]
        scene.cartoon(chain, [PARTS[number % len(PARTS)]] * len(chain))
    return scene


def _repeats(made: Made) -> Scene:
    unit = made.protein.num_residues // made.asked.copies
    starts = range(0, unit * made.asked.copies, unit)
    return made.scene({PARTS[start // unit]: range(start, start + unit) for start in starts})


def _shape(made: Made) -> Scene:
    cloud = made.asked.cloud(made.layout.length)
    turn, shift = best_pose(np.asarray(made.protein.ca, dtype=np.float64), cloud)
    scene = made.scene({}, SECOND)
    scene.dots = cloud @ turn.T + shift
    return scene


DRAWN: dict[str, Callable[[Made], Scene]] = {
    "binding_site": _binding,
    "burial": _burial,
    "catalytic_site": _catalytic,
    "contacts": _contacts,
    "content": _states,
    "disulfide": _disulfide,
    "hotspots": _hotspots,
    "metal_site": _metal,
    "motif": _motif,
    "pairing": _states,
    "radius_of_gyration": _size,
    "repeats": _repeats,
    "secondary_structure": _states,
    "segments": _states,
    "shape": _shape,
    "symmetry": _symmetry,
    "template": _template,
    "topology": _states,
}


def _design(path: Path, runtime: Runtime, kept: Path | None) -> tuple[DesignRequest, Design]:
    """Make the design of a request, or read it where it was kept."""
    request = read_request(path)
    place = kept / f"{path.stem}.design" if kept else None
    if place is not None and place.exists():
        return request, decode_design(place.read_bytes())
    plan(request, runtime)
    design = design_one(request, 0, runtime)
    if place is not None:
        place.write_bytes(encode_design(design))
    return request, design


def _draw(path: Path, request: DesignRequest, design: Design, runtime: Runtime) -> None:
    rng = np.random.default_rng(np.random.SeedSequence([request.seed, 0]))
    layout = draw_question(request, rng, runtime.corpus).layout
    protein = Protein.from_backbone(design.backbone, design.sequence)
    every = request.constraints
    made = Made(next(item for item in every if item.kind == path.stem), layout, protein)
    picture = path.with_suffix(".png")
    if path.stem == "distance":
        _distance(made, every).save(picture)
    elif path.stem in DRAWN:
        DRAWN[path.stem](made).save(picture)
    else:
        letter_strip(protein.sequence, picture)


def main() -> int:
    """Read the command line, design, draw, and tell what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="these alone")
    parser.add_argument("--keep", type=Path, default=None, help="folder that keeps the designs")
    options = parser.parse_args()
    kinds = options.kinds or sorted(path.stem for path in FOLDER.glob("*.json"))
    runtime = Runtime.open()
    for kind in kinds:
        request, design = _design(FOLDER / f"{kind}.json", runtime, options.keep)
        for found in (item for item in design.measurements if item.constraint == kind):
            print(f"{kind}: {found.verdict}, {found.value} {found.unit}, {found.details}")
        if design.failed is None:
            _draw(FOLDER / f"{kind}.json", request, design, runtime)
    return 0


if __name__ == "__main__":
    sys.exit(main())

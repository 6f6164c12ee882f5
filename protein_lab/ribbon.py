"""A cartoon of a backbone as colored polygons, without a 3-D engine.

The ribbon follows Carson and Bugg (*J. Mol. Graph.* 4, 121-122, 1986): a smooth curve through the
CA atoms, widened in the peptide planes. It is drawn orthographically, far polygons first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from protein_lab.geometry import unit

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

_STEPS = 10
_CORNERS = 16
_MAX_CA_CA = 4.5
_HALF_WIDTH = {"H": 1.35, "E": 1.15, "L": 0.30}
_HALF_THICKNESS = {"H": 0.22, "E": 0.26, "L": 0.30}
_ARROW_HALF_WIDTH = 2.0
_ARROW_LENGTH = 1.6
_LIGHT = np.array([-0.35, 0.55, 0.76])


@dataclass(frozen=True, slots=True, eq=False)
class RibbonMesh:
    """Quadrilaterals of a ribbon.

    Attributes
    ----------
    corners : Float64Array
        ``(face, 4, 3)``, angstrom, counter-clockwise when seen from outside.
    residue : Int64Array
        ``(face,)``: residue each face belongs to.
    """

    corners: Float64Array
    residue: Int64Array


def ribbon_mesh(backbone: Float64Array, states: str) -> RibbonMesh:
    """Build the surface of a cartoon.

    Parameters
    ----------
    backbone : Float64Array
        ``(residue, 4, 3)``: N, CA, C, O in angstrom. A gap between CA atoms splits the ribbon.
    states : str
        ``H``, ``E`` or ``L`` for each residue.

    Returns
    -------
    RibbonMesh
        No faces when no stretch has two residues.
    """
    atoms = np.asarray(backbone, dtype=np.float64)
    gaps = np.linalg.norm(np.diff(atoms[:, 1], axis=0), axis=-1) > _MAX_CA_CA
    edges = [0, *(np.flatnonzero(gaps) + 1).tolist(), len(atoms)]
    faces, residues = [np.empty((0, 4, 3))], [np.empty(0, dtype=np.int64)]
    for start, stop in pairwise(edges):
        if stop - start < 2:
            continue
        corners, residue = _stretch(atoms[start:stop], states[start:stop])
        faces.append(corners)
        residues.append(residue + start)
    return RibbonMesh(np.concatenate(faces), np.concatenate(residues))


def standing_view(ca: Float64Array) -> Float64Array:
    """Rotation that shows a chain at its widest: the shortest axis points to the reader.

    Parameters
    ----------
    ca : Float64Array
        ``(residue, 3)``.

    Returns
    -------
    Float64Array
        ``(3, 3)`` proper rotation (no mirror image); ``points @ rotation.T`` is x right, y up, z
        towards the reader.
    """
    places = np.asarray(ca, dtype=np.float64)
    centered = places - places.mean(0)
    axes = np.linalg.svd(centered, full_matrices=True)[2]
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    return axes


def shade(
    mesh: RibbonMesh, colors: Float64Array, view: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Project, light and sort the faces of a mesh.

    Parameters
    ----------
    mesh : RibbonMesh
        The surface.
    colors : Float64Array
        ``(residue, 3)`` red, green, blue from 0 to 1.
    view : Float64Array
        ``(3, 3)`` rotation to the reader's axes.

    Returns
    -------
    polygons : Float64Array
        ``(face, 4, 2)`` angstrom, far ones first; faces that look away are left out.
    face_colors : Float64Array
        ``(face, 3)``.
    """
    corners = mesh.corners @ view.T
    normals = unit(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]))
    front = normals[:, 2] > 0
    corners, normals = corners[front], normals[front]
    depth = corners[..., 2].mean(1)
    order = np.argsort(depth)
    corners, normals, depth = corners[order], normals[order], depth[order]
    base = colors[mesh.residue[front][order]]
    diffuse = np.clip(normals @ unit(_LIGHT), 0.0, 1.0)[:, None]
    gloss = diffuse**24
    lit = base * (0.42 + 0.62 * diffuse) + 0.30 * gloss
    rim = np.clip(normals[:, 2:] / 0.35, 0.0, 1.0)
    lit = np.clip(lit * (0.45 + 0.55 * rim), 0.0, 1.0)
    span = float(np.ptp(depth)) if len(depth) else 0.0
    fog = 0.38 * (1.0 - (depth - depth.min()) / span)[:, None] if span > 0 else 0.0
    return corners[..., :2], lit * (1.0 - fog) + fog


def _stretch(atoms: Float64Array, states: str) -> tuple[Float64Array, Int64Array]:
    from scipy.interpolate import CubicSpline

    length = len(atoms)
    places = np.arange(length)
    fine = np.linspace(0, length - 1, (length - 1) * _STEPS + 1)
    points = CubicSpline(places, _flatten_strands(atoms[:, 1], states))
    center, tangent = points(fine), unit(points(fine, 1))
    side = CubicSpline(places, _sides(atoms))(fine)
    side = unit(side - (side * tangent).sum(-1, keepdims=True) * tangent)
    up = np.cross(tangent, side)
    width, thickness, square = _profile(states, fine)
    angle = np.arange(_CORNERS) * 2 * np.pi / _CORNERS
    power = np.where(square, 0.55, 1.0)[:, None]
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * width[:, None]
    above = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * thickness[:, None]
    rings = center[:, None] + across[..., None] * side[:, None] + above[..., None] * up[:, None]
    following = np.roll(rings, -1, axis=1)
    tube = np.stack([rings[:-1], following[:-1], following[1:], rings[1:]], axis=2)
    residue = np.clip(np.round((fine[:-1] + fine[1:]) / 2), 0, length - 1).astype(np.int64)
    faces = [tube.reshape(-1, 4, 3), _cap(rings[0], center[0], True)]
    faces.append(_cap(rings[-1], center[-1], False))
    numbers = [np.repeat(residue, _CORNERS), np.zeros(_CORNERS, dtype=np.int64)]
    numbers.append(np.full(_CORNERS, length - 1))
    return np.concatenate(faces), np.concatenate(numbers)


def _cap(ring: Float64Array, center: Float64Array, first: bool) -> Float64Array:
    following = np.roll(ring, -1, axis=0)
    middle = np.broadcast_to(center, ring.shape)
    pieces = (following, ring, middle, middle) if first else (ring, following, middle, middle)
    return np.stack(pieces, axis=1)


def _flatten_strands(ca: Float64Array, states: str) -> Float64Array:
    """Take the pleat out of strands, so that their ribbons lie flat."""
    smooth = ca.copy()
    smooth[1:-1] = (ca[:-2] + 2 * ca[1:-1] + ca[2:]) / 4
    strand = np.array([state == "E" for state in states])
    return np.where(strand[:, None], smooth, ca)


def _sides(atoms: Float64Array) -> Float64Array:
    """Direction of each residue's ribbon: in its peptide planes, across the chain."""
    ca, oxygen = atoms[:, 1], atoms[:, 3]
    along = np.diff(ca, axis=0)
    across = oxygen[:-1] - ca[:-1]
    in_plane = unit(across - (across * unit(along)).sum(-1, keepdims=True) * unit(along))
    for i in range(1, len(in_plane)):
        if in_plane[i] @ in_plane[i - 1] < 0:
            in_plane[i] *= -1
    before = np.concatenate([in_plane[:1], in_plane])
    after = np.concatenate([in_plane, in_plane[-1:]])
    return unit(before + after)


def _profile(states: str, fine: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Half width and half thickness along the curve, and where the section is square."""
    places = np.arange(len(states))
    width = np.interp(fine, places, [_HALF_WIDTH.get(state, 0.3) for state in states])
    thickness = np.interp(fine, places, [_HALF_THICKNESS.get(state, 0.3) for state in states])
    nearest = np.clip(np.round(fine), 0, len(states) - 1).astype(np.int64)
    square = np.array([states[i] in "HE" for i in nearest])
    for last in places:
        ends = states[last] == "E" and (last + 1 == len(states) or states[last + 1] != "E")
        if not ends:
            continue
        tip = min(last + 0.5, len(states) - 1)
        head = (fine >= tip - _ARROW_LENGTH) & (fine <= tip)
        share = (tip - fine[head]) / _ARROW_LENGTH
        width[head] = np.maximum(_ARROW_HALF_WIDTH * share, _HALF_WIDTH["L"])
        neck = (fine > tip) & (fine <= last + 1)
        width[neck] = _HALF_WIDTH["L"]
    return width, thickness, square

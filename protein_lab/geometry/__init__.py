"""Geometry of backbones: frames, dihedrals, superposition, internal and Cartesian coordinates.

Everything is NumPy in float64, whatever comes in. Leading axes (samples, designs) are kept and
broadcast. Ideal bond lengths and angles are those of :mod:`protein_lab.constants`; backbone atoms
come in the order N, CA, C, O.
"""

from protein_lab.geometry.backbone import (
    backbone_from_internal,
    place_atom,
    place_oxygen,
    virtual_cb,
    virtual_hydrogen,
)
from protein_lab.geometry.curves import (
    arc_speed,
    axis_curve,
    parallel_transport_frames,
)
from protein_lab.geometry.motion import (
    backbone_dihedrals,
    coordinates,
    dihedral,
    frames,
    radius_of_gyration,
    superimpose,
    unit,
)

__all__ = [
    "arc_speed",
    "axis_curve",
    "backbone_dihedrals",
    "backbone_from_internal",
    "coordinates",
    "dihedral",
    "frames",
    "parallel_transport_frames",
    "place_atom",
    "place_oxygen",
    "radius_of_gyration",
    "superimpose",
    "unit",
    "virtual_cb",
    "virtual_hydrogen",
]

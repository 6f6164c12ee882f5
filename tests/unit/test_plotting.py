"""Pictures: what they show is what was given, and they disturb nothing else."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from protein_lab import plotting, viewer
from protein_lab.errors import MissingExtraError, ProteinLabError
from protein_lab.geometry import backbone_dihedrals
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.ribbon import ribbon_mesh, shade, standing_view
from protein_lab.training.corpus import CorpusChain


@pytest.fixture(scope="module")
def protein(real_chains: list[CorpusChain]) -> Protein:
    """Give a real chain that has helices and strands."""
    both = (c for c in real_chains if {"H", "E"} <= set(c.secondary_structure))
    chain = next(both)
    return Protein.from_backbone(chain.backbone, chain.sequence, name=chain.id)


def test_ramachandran_shows_every_residue_where_it_is(protein: Protein) -> None:
    """The points are the torsions in degrees, each once, colored by state."""
    figure = plotting.ramachandran(protein)
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in figure.axes[0].collections[-3:]])
    expected = np.degrees(backbone_dihedrals(protein.backbone))[:, :2]
    assert len(drawn) == protein.num_residues
    inside = np.isfinite(expected).all(1)
    found = drawn[np.isfinite(drawn).all(1)]
    order = np.lexsort(found.T), np.lexsort(expected[inside].T)
    np.testing.assert_allclose(found[order[0]], expected[inside][order[1]], atol=1e-4)


def test_favored_regions_hold_real_residues(real_chains: list[CorpusChain]) -> None:
    """About the stated share of real residues lies in the shaded regions, glycine left out."""
    share = np.load(plotting.ASSETS / "plotting" / "ramachandran.npy") / 250.0
    inside: list[float] = []
    for chain in real_chains:
        phi, psi, _ = np.degrees(backbone_dihedrals(chain.backbone)).T
        keep = np.isfinite(phi + psi) & np.array([x not in "GP" for x in chain.sequence])
        cells = [np.floor((angle[keep] + 180.0) / 5.0).astype(int) % 72 for angle in (phi, psi)]
        inside.extend(share[cells[0], cells[1]])
    values = np.array(inside)
    assert (values < 0.90).mean() == pytest.approx(0.90, abs=0.05)
    assert (values < 0.98).mean() == pytest.approx(0.98, abs=0.03)


def test_contact_map_is_symmetric_and_frames_what_was_asked(protein: Protein) -> None:
    """Each asked pair gives two mirrored frames, dashed when it was not met."""
    asked = [((2, 8), (20, 27), True), ((2, 8), (40, 47), False)]
    axes = plotting.contact_map(protein, asked).axes[0]
    distances = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(distances, distances.T)
    assert [patch.get_linestyle() for patch in axes.patches] == ["-", "-", "--", "--"]
    first, mirrored = (patch.get_bbox().bounds for patch in axes.patches[:2])
    assert first == (2.5, 20.5, 6.0, 7.0)
    assert mirrored == (20.5, 2.5, 7.0, 6.0)


def test_differences_of_secondary_structure_are_marked() -> None:
    """One mark for each residue that differs; residues that were left open are never marked."""
    axes = plotting.secondary_structure("LHHHH--EEL", "LHHLHEEEEE").axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == [4, 10]
    with pytest.raises(ProteinLabError, match="3 and 2"):
        plotting.secondary_structure("HHH", "HH")


def test_uncertainty_draws_the_values(protein: Protein) -> None:
    """The curve is the given numbers; residues count from 1."""
    values = np.linspace(0.2, 1.9, protein.num_residues)
    band = (values - 0.1, values + 0.1)
    axes = plotting.uncertainty(values, dssp(protein.backbone), band).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values)
    assert list(axes.lines[0].get_xdata()[:2]) == [1, 2]
    assert axes.get_ylim()[1] > 2.0
    wide = plotting.uncertainty(values, half_width=3.0 * values).axes[0]
    np.testing.assert_allclose(wide.lines[1].get_ydata(), 3.0 * values)
    assert wide.get_ylim()[1] > 5.7


def test_ribbon_is_not_a_mirror_image(protein: Protein) -> None:
    """The view is a proper rotation, faces look outwards, and each residue is drawn."""
    view = standing_view(protein.ca)
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(view) == pytest.approx(1.0)
    mesh = ribbon_mesh(protein.backbone, dssp(protein.backbone))
    assert set(mesh.residue) == set(range(protein.num_residues))
    sides = mesh.corners[:, 2] - mesh.corners[:, 0], mesh.corners[:, 3] - mesh.corners[:, 1]
    outward = np.cross(*sides)
    middle = mesh.corners.mean(1)
    own = protein.ca[mesh.residue]
    assert ((outward * (middle - own)).sum(-1) > 0).mean() > 0.7
    polygons, colors = shade(mesh, np.full((protein.num_residues, 3), 0.5), view)
    assert 0.3 < len(polygons) / len(mesh.corners) < 0.7
    assert (colors >= 0).all()
    assert (colors <= 1).all()


def test_a_chain_break_splits_the_ribbon(protein: Protein) -> None:
    """No face bridges two stretches that lie far apart."""
    apart = protein.backbone.copy()
    apart[30:] += 50.0
    mesh = ribbon_mesh(apart, "L" * len(apart))
    spans = np.ptp(mesh.corners, axis=1).max()
    assert spans < 5.0
    assert len(ribbon_mesh(apart[:1], "L").corners) == 0


@pytest.mark.parametrize("color", ["structure", "position", "uncertainty"])
def test_ribbon_draws_into_given_axes(protein: Protein, color: plotting.ColorMode) -> None:
    """Given axes are used and their figure is returned."""
    figure = Figure()
    axes = figure.add_subplot()
    values = np.linspace(0, 1, protein.num_residues)
    assert plotting.ribbon(protein, color=color, values=values, ax=axes) is figure
    (faces,) = (item for item in axes.collections if isinstance(item, PolyCollection))
    assert len(np.unique(np.asarray(faces.get_facecolor()), axis=0)) > 50


def test_faults_of_the_caller_are_named(protein: Protein) -> None:
    """A wrong shape and missing values say what was expected."""
    with pytest.raises(ProteinLabError, match=r"\(residue, 4, 3\)"):
        plotting.ribbon(protein.ca)
    with pytest.raises(ProteinLabError, match="values to color by"):
        plotting.ribbon(protein, color="uncertainty", values=[1.0, 2.0])


def test_summary_shows_itself_in_a_notebook(protein: Protein) -> None:
    """The panel has all parts and becomes a picture without pyplot."""
    states = dssp(protein.backbone)
    values = np.ones(protein.num_residues)
    figure = plotting.summary(protein, states, values, title="a design")
    assert len(figure.axes) == 6
    picture = figure._repr_png_()  # type: ignore[attr-defined]
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_drawing_leaves_no_global_state() -> None:
    """Importing the module brings no matplotlib; drawing brings no pyplot."""
    code = (
        "import sys, numpy as np; from protein_lab import plotting;"
        "assert 'matplotlib' not in sys.modules;"
        "plotting.secondary_structure('HHH', 'HHL');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    plotting._figure_class.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"protein-lab\[notebooks\]"):
        plotting.uncertainty([1.0, 2.0])
    monkeypatch.undo()
    plotting._figure_class.cache_clear()


def test_page_holds_the_structure_and_loads_nothing(protein: Protein) -> None:
    """The page carries the coordinates and its code; no attribute points outside."""
    page = plotting.view_html(protein)
    assert viewer.CONTENT_POLICY in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    (state,) = re.findall(r"mount\(document.getElementById\(\"view\"\), (.*)\);</script>", page)
    record = json.loads(state)["structures"][0]
    assert record["states"] == dssp(protein.backbone)
    assert record["pdb"].count(" CA ") == protein.num_residues


def test_hostile_names_stay_text() -> None:
    """Nothing that a file can hold ends a script element or becomes markup."""
    written = viewer.json_for_script({"name": "</script><script>alert(1)</script>&"})
    assert "<" not in written
    assert json.loads(written) == {"name": "</script><script>alert(1)</script>&"}
    assert "</script" not in viewer.bundle()


def test_pictures_of_the_report_are_reproducible() -> None:
    """The same picture is the same bytes, so that reports can be compared."""
    from protein_lab.experiments.report_figures import picture

    first, second = (picture("secondary_structure", "HHHL", "HHLL") for _ in range(2))
    assert first == second
    assert b"<svg" in base64.b64decode(first.split(",", 1)[1])

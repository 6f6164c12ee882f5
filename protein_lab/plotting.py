"""Pictures of backbones and of what was measured on them.

Every function draws into ``ax`` when one is given, else into a new figure, and returns the figure.
Colors are those of Okabe and Ito (2008) and the map ``cividis``, which readers with any color
vision can tell apart. Matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from protein_lab.errors import MissingExtraError, ProteinLabError
from protein_lab.geometry import backbone_dihedrals, virtual_cb
from protein_lab.metrics import dssp
from protein_lab.protein import Protein
from protein_lab.ribbon import Float64Array, ribbon_mesh, shade, standing_view
from protein_lab.settings import ASSETS
from protein_lab.typing import FloatArray
from protein_lab.viewer import view_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATE_COLORS = {"H": "#d55e00", "E": "#0072b2", "L": "#8c96a0", "-": "#e3e7eb"}
STATE_NAMES = {"H": "helix", "E": "strand", "L": "loop", "-": "not asked"}
INK = "#1b2733"
ColorMode = Literal["structure", "position", "uncertainty"]
_FAVORED, _ALLOWED = 0.90, 0.98


def view_html(protein: Protein, states: str | None = None) -> str:
    """Page with a turnable 3-D cartoon that works without a network.

    Parameters
    ----------
    protein : Protein
        What to show.
    states : str, optional
        ``H``, ``E`` or ``L`` for each residue; measured with DSSP when not given.

    Returns
    -------
    str
        A whole HTML document (about 0.6 MB, most of it the drawing code).
    """
    return view_page(protein, states)


def ramachandran(
    structure: Protein | FloatArray, states: str | None = None, ax: Axes | None = None
) -> Figure:
    """Backbone torsions phi and psi over the regions that real proteins fill.

    The shaded regions hold 90 % and 98 % of 1.48 million residues (glycine and proline left out) of
    the training chains of the corpus.

    Parameters
    ----------
    structure : Protein or FloatArray
        Protein, or backbone ``(residue, 4, 3)`` in angstrom.
    states : str, optional
        Secondary structure that colors the points; measured when not given.
    ax : Axes, optional
        Where to draw.
    """
    backbone, states = _backbone(structure), _states(structure, states)
    figure, axes = _axes(ax, (4.2, 4.0))
    share = np.load(ASSETS / "plotting" / "ramachandran.npy") / 250.0
    centers = (np.arange(-1, len(share) + 1) + 0.5) * 360.0 / len(share) - 180.0
    levels = [0.0, _FAVORED, _ALLOWED]
    wrapped = np.pad(share, 1, mode="wrap").T
    axes.contourf(centers, centers, wrapped, levels=levels, colors=["#c9d6e2", "#e9eef3"])
    phi, psi, _ = np.degrees(backbone_dihedrals(backbone)).T
    for state in "LEH":
        chosen = np.array([s == state for s in states])
        axes.scatter(
            phi[chosen], psi[chosen], s=16, color=STATE_COLORS[state], label=STATE_NAMES[state],
            edgecolors="white", linewidths=0.4, zorder=3,
        )  # fmt: skip
    axes.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="phi (degrees)", ylabel="psi (degrees)")
    axes.set_xticks(range(-180, 181, 90))
    axes.set_yticks(range(-180, 181, 90))
    axes.set_aspect("equal")
    axes.legend(loc="lower right", fontsize=7.5, framealpha=0.9, handletextpad=0.2)
    return figure


def contact_map(
    structure: Protein | FloatArray,
    asked: Sequence[tuple[tuple[int, int], tuple[int, int], bool]] = (),
    ax: Axes | None = None,
) -> Figure:
    """Draw distances between CB atoms; near is dark.

    Parameters
    ----------
    structure : Protein or FloatArray
        Protein, or backbone ``(residue, 4, 3)`` in angstrom.
    asked : sequence of (range, range, bool)
        Pairs of elements that were asked to touch, as half-open residue ranges counted from 0,
        and whether they do; framed in green if so, else in orange and dashed.
    ax : Axes, optional
        Where to draw.
    """
    from matplotlib.patches import Rectangle

    cb = virtual_cb(_backbone(structure))
    distances = np.linalg.norm(cb[:, None] - cb[None], axis=-1)
    figure, axes = _axes(ax, (4.6, 4.0))
    edge = len(cb) + 0.5
    image = axes.imshow(
        distances, cmap="Blues_r", vmin=4.0, vmax=20.0, origin="lower",
        extent=(0.5, edge, 0.5, edge), interpolation="nearest",
    )  # fmt: skip
    for (start, stop), (first, last), met in asked:
        for x, y, width, height in (
            (start, first, stop - start, last - first),
            (first, start, last - first, stop - start),
        ):
            frame = Rectangle(
                (x + 0.5, y + 0.5), width, height, fill=False, linewidth=1.6,
                edgecolor="#009e73" if met else "#d55e00", linestyle="-" if met else "--",
            )  # fmt: skip
            axes.add_patch(frame)
    axes.set(xlabel="residue", ylabel="residue")
    figure.colorbar(image, ax=axes, label="CB-CB distance (Å)", extend="max", shrink=0.8, pad=0.03)
    return figure


def uncertainty(
    values: Sequence[float] | FloatArray,
    states: str | None = None,
    band: tuple[FloatArray, FloatArray] | None = None,
    ax: Axes | None = None,
    half_width: Sequence[float] | FloatArray | None = None,
) -> Figure:
    """Draw the expected deviation of every residue.

    Parameters
    ----------
    values : sequence of float
        Angstrom, one a residue.
    states : str, optional
        Secondary structure, shown as a strip under the curve.
    band : pair of FloatArray, optional
        Low and high values for each residue, for instance over all designs; shaded.
    ax : Axes, optional
        Where to draw.
    half_width : sequence of float, optional
        Of the band that holds the whole chain with 90 % probability, angstrom; dashed.
    """
    spread = np.asarray(values, dtype=np.float64)
    places = np.arange(1, len(spread) + 1)
    figure, axes = _axes(ax, (8.0, 2.2))
    if band is not None:
        axes.fill_between(places, *band, color="#c9d6e2", linewidth=0, label="range over designs")
    axes.plot(places, spread, color=INK, linewidth=1.6, label="this design")
    wide = np.asarray(() if half_width is None else half_width, dtype=np.float64)
    if wide.size:
        axes.plot(places, wide, color="#0072b2", linewidth=1.2, linestyle="--", label="90 % band")
    finite = spread[np.isfinite(spread)]
    top = max([*finite, *wide, *(band[1] if band is not None else ()), 0.1])
    top *= 1.4 if wide.size else 1.15  # the legend needs room above the band
    if states is not None:
        _strip(axes, states, y=-0.09 * top, height=0.09 * top)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(xlim=(0.5, len(spread) + 0.5), ylim=(-0.14 * top, top))
    axes.set(xlabel="residue", ylabel="uncertainty (Å)")
    if band is not None or wide.size:
        axes.legend(loc="upper right", fontsize=7.5, framealpha=0.9, ncols=3)
    _plain(axes)
    return figure


def secondary_structure(asked: str, obtained: str, ax: Axes | None = None) -> Figure:
    """Secondary structure that was asked for above the one that came out.

    Parameters
    ----------
    asked, obtained : str
        One letter a residue; ``-`` where nothing is asked.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ProteinLabError
        If the two differ in length.
    """
    if len(asked) != len(obtained):
        raise ProteinLabError(
            f"Expected two strings of one length; they have {len(asked)} and {len(obtained)}.",
            "Give both for the same residues.",
        )
    figure, axes = _axes(ax, (8.0, 1.35))
    _strip(axes, asked, y=2.0, height=0.9)
    _strip(axes, obtained, y=0.55, height=0.9)
    for i, (want, have) in enumerate(zip(asked, obtained, strict=True)):
        if want not in ("-", have):
            axes.plot(i + 1, 0.2, marker="^", color="#cc79a7", markersize=4, clip_on=False)
    axes.set(xlim=(0.5, len(asked) + 0.5), ylim=(0.0, 3.1), xlabel="residue")
    axes.set_yticks([2.45, 1.0], ["asked", "obtained"])
    axes.tick_params(axis="y", length=0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    return figure


def ribbon(
    structure: Protein | FloatArray,
    states: str | None = None,
    color: ColorMode = "structure",
    values: Sequence[float] | FloatArray | None = None,
    view: FloatArray | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Still cartoon of a backbone: coils for helices, arrows for strands.

    Parameters
    ----------
    structure : Protein or FloatArray
        Protein, or backbone ``(residue, 4, 3)`` in angstrom.
    states : str, optional
        Secondary structure; measured when not given.
    color : {"structure", "position", "uncertainty"}
        What the colors say; ``uncertainty`` needs ``values``.
    values : sequence of float, optional
        Angstrom for each residue.
    view : FloatArray, optional
        ``(3, 3)`` rotation to the reader's axes (x right, y up); the widest side when not given.
    ax : Axes, optional
        Where to draw.
    """
    from matplotlib.collections import PolyCollection

    backbone, states = _backbone(structure), _states(structure, states)
    colors = _residue_colors(states, color, values)
    turn = standing_view(backbone[:, 1]) if view is None else np.asarray(view, dtype=np.float64)
    polygons, shades = shade(ribbon_mesh(backbone, states), colors, turn)
    figure, axes = _axes(ax, (4.6, 4.0))
    faces = PolyCollection(list(polygons), facecolors=shades, edgecolors=shades, linewidths=0.35)
    faces.set_rasterized(True)
    axes.add_collection(faces)
    points = polygons.reshape(-1, 2) if len(polygons) else np.zeros((1, 2))
    low, high = points.min(0) - 1.0, points.max(0) + 1.0
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure


def summary(
    structure: Protein | FloatArray,
    asked: str | None = None,
    values: Sequence[float] | FloatArray | None = None,
    title: str = "",
) -> Figure:
    """Four pictures of one design side by side: cartoon, torsions, contacts, and the sequence axis.

    Parameters
    ----------
    structure : Protein or FloatArray
        Protein, or backbone ``(residue, 4, 3)`` in angstrom.
    asked : str, optional
        Secondary structure that was asked for.
    values : sequence of float, optional
        Uncertainty of every residue, angstrom.
    title : str
        Heading of the figure.
    """
    backbone, states = _backbone(structure), _states(structure, None)
    figure = _figure_class()(figsize=(11.0, 5.6), layout="constrained")
    rows = 1 + (asked is not None) + (values is not None)
    grid = figure.add_gridspec(rows, 3, height_ratios=[3.2, *[0.8] * (rows - 1)])
    ribbon(backbone, states, ax=figure.add_subplot(grid[0, 0]))
    ramachandran(backbone, states, ax=figure.add_subplot(grid[0, 1]))
    contact_map(backbone, ax=figure.add_subplot(grid[0, 2]))
    if asked is not None:
        secondary_structure(asked, states, ax=figure.add_subplot(grid[1, :]))
    if values is not None:
        uncertainty(values, states, ax=figure.add_subplot(grid[rows - 1, :]))
    if title:
        figure.suptitle(title)
    return figure


def _backbone(structure: Protein | FloatArray) -> Float64Array:
    found = structure.backbone if isinstance(structure, Protein) else structure
    backbone = np.asarray(found, dtype=np.float64)
    if backbone.ndim != 3 or backbone.shape[1:] != (4, 3) or len(backbone) < 2:
        raise ProteinLabError(
            f"Expected a backbone (residue, 4, 3) of two residues or more; got {backbone.shape}.",
            "Give a Protein, or the N, CA, C and O coordinates of one.",
        )
    return backbone


def _states(structure: Protein | FloatArray, states: str | None) -> str:
    if states is not None:
        return states
    chains = structure.chain_index if isinstance(structure, Protein) else None
    return dssp(_backbone(structure), chains)


def _residue_colors(states: str, mode: ColorMode, values: Any) -> Float64Array:
    """Red, green, blue (residue, 3) in 0 to 1."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if mode == "structure":
        return np.array([to_rgb(STATE_COLORS.get(s, STATE_COLORS["L"])) for s in states])
    scale = np.arange(len(states)) if mode == "position" else np.asarray(values, dtype=np.float64)
    if scale.shape != (len(states),):
        raise ProteinLabError(
            f"Expected {len(states)} values to color by; got shape {scale.shape}.",
            "Give one number for each residue as `values`.",
        )
    span = float(np.ptp(scale)) or 1.0
    return colormaps["cividis"]((scale - scale.min()) / span)[:, :3]


def _strip(ax: Axes, states: str, y: float, height: float) -> None:
    """Draw a sequence of states as bars (helix, loop) and arrows (strand)."""
    from matplotlib.patches import Polygon, Rectangle

    changes = [i for i in range(1, len(states)) if states[i] != states[i - 1]]
    for start, stop in zip([0, *changes], [*changes, len(states)], strict=True):
        state = states[start]
        color = STATE_COLORS.get(state, STATE_COLORS["L"])
        left, right = start + 0.5, stop + 0.5
        if state == "E":
            neck = max(left, right - 1.5)
            low, mid, high = y + 0.2 * height, y + 0.5 * height, y + 0.8 * height
            corners = [(left, low), (neck, low), (neck, y), (right, mid)]
            corners += [(neck, y + height), (neck, high), (left, high)]
            ax.add_patch(Polygon(corners, facecolor=color, linewidth=0))
        else:
            share = 1.0 if state == "H" else 0.22
            low = y + (1 - share) / 2 * height
            ax.add_patch(
                Rectangle((left, low), right - left, share * height, color=color, linewidth=0)
            )


@functools.cache
def _figure_class() -> type:
    """Figure that notebooks show without pyplot and its global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "notebooks") from error
    from io import BytesIO

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png", dpi=110)
            return buffer.getvalue()

    return Picture


def new_axes(size: tuple[float, float]) -> tuple[Figure, Any]:
    """Make a figure of so many inches and axes without frame.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure, axes = _axes(None, size)
    _plain(axes)
    return figure, axes


def _axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Any]:
    """Give the figure and axes to draw into; new axes leave room for labels, in inches."""
    if ax is not None:
        return cast("Figure", ax.get_figure(root=True)), ax
    width, height = size
    left, right, bottom, top = 0.72, 0.15, 0.5, 0.12
    figure = _figure_class()(figsize=size)
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(place)


def _plain(ax: Axes) -> None:
    for side in ("right", "top"):
        ax.spines[side].set_visible(False)

"""Surfaces of cartoons, balls and dashed lines that hide each other, in one still picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from PIL import Image

from protein_lab.metrics import dssp
from protein_lab.plotting import INK, new_axes
from protein_lab.ribbon import Float64Array, RibbonMesh, ribbon_mesh, shade, standing_view
from protein_lab.typing import FloatArray

PLAIN, FIRST = "#c3cad1", "#d55e00"
CLASSES = {"AFILMVWY": "#e69f00", "DE": "#d55e00", "KR": "#0072b2", "HNQST": "#009e73"}


@dataclass
class Scene:
    """Surfaces and words of one picture; everything in angstrom."""

    faces: list[Float64Array] = field(default_factory=list)
    colors: list[Float64Array] = field(default_factory=list)
    words: list[tuple[FloatArray, str]] = field(default_factory=list)
    dots: FloatArray | None = None
    ring: tuple[FloatArray, float] | None = None
    view: Float64Array | None = None

    def mesh(self, corners: FloatArray, colors: FloatArray) -> None:
        """Add faces, ``(face, 4, 3)``, and their colors, ``(face, 3)``."""
        self.faces.append(np.asarray(corners, dtype=np.float64))
        self.colors.append(np.asarray(colors, dtype=np.float64))

    def cartoon(self, backbone: FloatArray, colors: Sequence[str], is_tube: bool = False) -> None:
        """Add one chain, a color for each residue; as a thin tube it hides no other."""
        chain = np.asarray(backbone, dtype=np.float64)
        found = ribbon_mesh(chain, "L" * len(chain) if is_tube else dssp(chain))
        self.mesh(found.corners, np.array([to_rgb(name) for name in colors])[found.residue])

    def ball(self, place: FloatArray, radius: float, color: str) -> None:
        """Add a sphere."""
        down, about = np.meshgrid(np.linspace(0, np.pi, 9), np.linspace(0, 2 * np.pi, 17))
        grid = np.stack(
            [np.cos(about) * np.sin(down), np.sin(about) * np.sin(down), np.cos(down)], axis=-1
        )
        grid = np.swapaxes(grid, 0, 1) * radius + place
        corners = np.stack([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=2)
        corners = corners.reshape(-1, 4, 3)
        self.mesh(corners, np.tile(to_rgb(color), (len(corners), 1)))

    def stick(self, start: FloatArray, stop: FloatArray, color: str, dashed: bool = False) -> None:
        """Add a line that is hidden by what lies before it: small balls, apart where dashed."""
        apart = float(np.linalg.norm(stop - start))
        step = 0.9 if dashed else 0.3
        for share in np.linspace(0.0, 1.0, max(int(apart / step), 2)):
            self.ball(start + share * (stop - start), 0.28, color)

    def join(self, start: FloatArray, stop: FloatArray, color: str = INK) -> None:
        """Add two balls, a dashed line between them, and its length."""
        for place in (start, stop):
            self.ball(place, 0.9, FIRST)
        self.stick(start, stop, color, dashed=True)
        self.word((start + stop) / 2, f"{np.linalg.norm(stop - start):.1f} Å")

    def word(self, place: FloatArray, text: str) -> None:
        """Write beside a place."""
        self.words.append((np.asarray(place), text))

    def save(self, path: Path) -> None:
        """Draw everything from the side that shows most of it."""
        corners, colors = np.concatenate(self.faces), np.concatenate(self.colors)
        middles = corners.mean(axis=1)[:: max(len(corners) // 500, 1)]
        view = standing_view(middles) if self.view is None else self.view
        mesh = RibbonMesh(corners, np.arange(len(corners)))
        polygons, shades = shade(mesh, colors, view)
        seen = [
            polygons.reshape(-1, 2),
            *((view @ place)[None, :2] + (4, 1) for place, _ in self.words),
        ]
        if self.dots is not None:
            seen.append(np.concatenate([(self.dots @ view.T)[:, :2] + move for move in (-3, 3)]))
        low, high = np.concatenate(seen).min(0) - 1.5, np.concatenate(seen).max(0) + 1.5
        width, height = high - low
        scale = min(6.4 / width, 4.2 / height)
        figure, axes = new_axes((width * scale, height * scale))
        axes.set_position((0, 0, 1, 1))
        if self.dots is not None:
            # as wide as 8 angstrom, so that they flow together to the outline of the shape
            size = (8.0 * 72.0 * scale) ** 2
            x, y, _ = (self.dots @ view.T).T
            axes.scatter(x, y, s=size, color="#f3e8c4", linewidths=0)
        if self.ring is not None:
            x, y, _ = view @ self.ring[0]
            outline = {"fill": False, "linestyle": "--", "edgecolor": INK, "zorder": 4}
            axes.add_patch(Circle((x, y), self.ring[1], **outline))
        faces = PolyCollection(list(polygons), facecolors=shades, edgecolors=shades, linewidths=0.3)
        axes.add_collection(faces)
        for place, text in self.words:
            x, y, _ = view @ place
            axes.text(
                x + 0.6, y + 0.6, text, fontsize=10, color=INK, zorder=5,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.2},
            )  # fmt: skip
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set_aspect("equal")
        axes.set_axis_off()
        _write(figure, path)


def letter_strip(letters: str, path: Path) -> None:
    """Draw the sequence as a strip of colored letters, 32 a row."""
    rows = -(-len(letters) // 32)
    figure, axes = new_axes((6.4, 0.42 * rows + 0.1))
    axes.set_position((0.01, 0.02, 0.98, 0.96))
    for place, letter in enumerate(letters):
        x, y = place % 32, -(place // 32)
        color = next((c for names, c in CLASSES.items() if letter in names), PLAIN)
        axes.add_patch(Rectangle((x, y), 0.94, 0.62, color=color, alpha=0.55, linewidth=0))
        axes.text(x + 0.47, y + 0.3, letter, ha="center", va="center", fontsize=9, color=INK)
        if (place + 1) % 8 == 0:
            axes.text(x + 0.47, y + 0.64, str(place + 1), ha="center", fontsize=6.5, color=INK)
    axes.set(xlim=(0, 32), ylim=(1 - rows, 0.95))
    axes.set_axis_off()
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    """Write a small file: 128 colors, of which the eye misses none here."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=100)
    picture = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)

"""The enhanced DeepONet on the coarse scale: it draws the axis curve itself.

The same operator as on the residue scale, sampled every few residues. The field is the curve; the
curve that gives the frames is the present guess of it (Chen et al., ICLR 2023, call this
self-conditioning), so that nothing but constraints and noise decides the fold.
"""

from __future__ import annotations

from protein_lab.backends import Array
from protein_lab.models.base import ChainInputs
from protein_lab.models.enhanced_deeponet import EnhancedDeepONetConfig, EnhancedProteinDeepONet


class CurveDeepONetConfig(EnhancedDeepONetConfig, frozen=True, kw_only=True):
    """Sizes of the enhanced DeepONet on the coarse scale; attributes as in its base.

    ``prior_scale`` and ``data_scale`` are standard deviations of prior and curves about their
    centers for chains of some 130 residues.
    """

    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4, 1, 2)
    prior_scale: float = 8.0
    data_scale: float = 8.0
    pair_values: bool = True
    atoms: int = 1
    spacing: float = 4.0
    curve_reach: tuple[float, float] = (4.0, 46.0)
    field_reach: tuple[float, float] = (4.0, 46.0)


class CurveDeepONet(EnhancedProteinDeepONet):
    """Draws axis curves; fields have one point a sample, and center at the origin."""

    name = "curve_deeponet"

    def center(self, inputs: ChainInputs) -> Array:
        """Expect the curve about the origin; its present guess is no place to start from."""
        return inputs.curve[:, :, None, :] * 0.0

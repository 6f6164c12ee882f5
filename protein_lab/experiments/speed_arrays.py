"""Does an operator build arrays over all pairs of residues? Every array it makes is looked at."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protein_lab.experiments.speed_inputs import forward_inputs
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.weights import load_operator

LENGTH: Final = 397
"""A prime number that is no size of anything else, so that an axis of it is one of residues."""


class _Watched(np.ndarray):
    """Array that notes the shape of everything that is computed from it."""

    shapes: set[tuple[int, ...]]

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, _Watched) and hasattr(source, "shapes"):
            self.shapes = source.shapes
            self.shapes.add(self.shape)


def _watch(value: NDArray[Any], shapes: set[tuple[int, ...]]) -> _Watched:
    watched = np.asarray(value).view(_Watched)
    watched.shapes = shapes
    shapes.add(watched.shape)
    return watched


def square_arrays(name: str) -> list[tuple[int, ...]]:
    """List shapes with two axes of residues that an operator is given or makes.

    Parameters
    ----------
    name : str
        Operator with shipped weights; it runs on NumPy.

    Returns
    -------
    list of tuple
        Shapes, one of each; empty where the cost in memory is linear in the length.
    """
    operator = load_operator(name, "numpy")
    return watched_shapes(operator)


def watched_shapes(operator: BaseNeuralOperator[Any]) -> list[tuple[int, ...]]:
    """Do it for an operator on NumPy."""
    shapes: set[tuple[int, ...]] = set()
    inputs, field = forward_inputs(operator, LENGTH)
    seen = ChainInputs(*(None if v is None else _watch(v, shapes) for v in inputs))
    encoded = operator.encode_constraints(seen)
    operator.forward(_watch(field, shapes), np.full(1, 0.5, np.float32), encoded)
    return sorted(shape for shape in shapes if sum(size >= LENGTH for size in shape) > 1)

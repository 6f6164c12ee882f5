"""Inputs that the speed of operators is measured on: made-up chains of any length."""

from __future__ import annotations

import gc
import resource
import sys
from typing import Any, Final

import numpy as np

from protein_lab.backends import Array
from protein_lab.collation import collate
from protein_lab.constraints.fields import Conditions, compile_conditions
from protein_lab.flow import LIBRARY_CURVE_ERROR, draw_noise, sample
from protein_lab.models.base import BaseNeuralOperator, ChainInputs
from protein_lab.models.weights import load_operator
from protein_lab.operators.prior import backbone_noise

PERIOD: Final = 16
"""Residues of a helix of 12 and the loop to the next one."""


def helical_conditions(length: int) -> Conditions:
    """Ask for helices that pair with the next ones, around a compact random curve.

    Parameters
    ----------
    length : int
        Residues.
    """
    rng = np.random.default_rng(length)
    states = ("LL" + "H" * 12 + "LL") * (length // PERIOD + 1)
    spans = [(k * PERIOD + 2, k * PERIOD + 14) for k in range((length - 2) // PERIOD)]
    pairs = [(k, k + 1, "antiparallel") for k in range(len(spans) - 1)]
    curve = np.cumsum(rng.normal(scale=0.9, size=(length, 3)), axis=0)
    return compile_conditions(states[:length], spans, pairs, curve)


def forward_inputs(operator: BaseNeuralOperator[Any], length: int) -> tuple[ChainInputs, Array]:
    """Make the inputs of one chain and a noisy field for an operator."""
    conditions = helical_conditions(length)
    scales = operator.config.separation_scales
    inputs = collate(
        operator.backend, [conditions], [LIBRARY_CURVE_ERROR], [0.0], scales,
        all_pairs=operator.sees_all_pairs,
    )  # fmt: skip
    noise = backbone_noise(np.random.default_rng(1), length, 1, 3.0, 2.0)
    return inputs, operator.backend.asarray(conditions.axis_curve[None, :, None] + noise)


def peak_memory(name: str, backend: str, length: int, num_samples: int, steps: int) -> int:
    """Draw fields in this process and return the most memory it ever held, bytes.

    The process should be a fresh one: what it held before counts too.
    """
    operator = load_operator(name, backend)
    operator.backend.set_num_threads(1)
    noise = draw_noise(np.random.default_rng(0), num_samples, length)
    sample(operator, helical_conditions(length), noise, steps)
    gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kilobytes


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.stdout.write(f"{peak_memory(words[0], words[1], *map(int, words[2:]))}\n")

"""One figure of a benchmark, and on what it was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_PACKAGES = ("protein-lab", "numpy", "scipy", "torch", "jax")


class Row(msgspec.Struct, frozen=True):
    """One figure of the benchmark.

    Attributes
    ----------
    name : str
        What was measured; figures of baselines start with the name of the baseline.
    value, low, high : float or None
        The figure and its 95 % interval, which is empty where there is one measurement; None where
        nothing was asked or it was not run.
    unit : str
        Unit of the three.
    floor : float or None
        What the figure has to reach or must not exceed, as the note says; None without demand.
    ok : bool
        Whether it does; true without a floor.
    note : str
        How to read the figure.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    floor: float | None
    ok: bool
    note: str


def machine_row() -> Row:
    """Say on what machine and with which versions the other figures were measured."""
    found = [f"Python {platform.python_version()}", *(_version(name) for name in _PACKAGES)]
    note = f"{_processor()}; {platform.system()} {platform.release()}; {', '.join(found)}."
    cores = float(os.cpu_count() or 1)
    return Row("machine: cores", cores, cores, cores, "count", None, True, note)


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _processor() -> str:
    """Name of the processor, as Linux knows it; else of its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

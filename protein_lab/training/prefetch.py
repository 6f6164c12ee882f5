"""Batches made ahead of their use, in processes of their own.

A GPU makes a step in less time than one core needs for its batch. Every batch is a function of
seed and step alone, so who makes it, and when, changes no bit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protein_lab.backends import Array, Backend, get_backend
from protein_lab.errors import ProteinLabError
from protein_lab.training.corpus import Corpus

_AHEAD = 3
"""Batches underway for each process."""

MakeTask = Callable[[Backend, Corpus], Any]
"""Makes a task on a backend from a corpus; travels to the processes."""

_TASK: list[Any] = []
"""The task of a process that makes batches."""


class _Repeated:
    """Equal rows, of which one travels."""

    def __init__(self, row: NDArray[Any], count: int) -> None:
        self.row, self.count = row, count


class Prefetcher:
    """Makes batches of coming steps in other processes.

    Parameters
    ----------
    make : callable
        Makes the task; it must be picklable.
    corpus : Corpus
        Opened anew by every process.
    processes : int
    stride : int
        Of training processes that work together each takes every ``stride``-th batch.
    """

    def __init__(self, make: MakeTask, corpus: Corpus, processes: int, stride: int = 1) -> None:
        self._stride = stride
        self._pool = ProcessPoolExecutor(
            processes, get_context("spawn"), initializer=_open, initargs=(make, str(corpus.path))
        )
        self._most = processes * _AHEAD
        self._underway: dict[int, Future[Any]] = {}

    def get(self, step: int, backend: Backend) -> Any:
        """Bring the batch of a step to a backend, and have those of the next steps made.

        Raises
        ------
        ProteinLabError
            When a process that makes batches has died.
        """
        for number in [number for number in self._underway if number < step]:
            self._underway.pop(number).cancel()
        try:
            for number in range(step, step + self._most * self._stride, self._stride):
                if number not in self._underway:
                    self._underway[number] = self._pool.submit(_make, number)
            return _unpack(self._underway.pop(step).result(), backend)
        except BrokenProcessPool as error:
            raise ProteinLabError(
                "A process that makes training batches has died, as for want of memory.",
                "Resume with fewer --loaders.",
            ) from error

    def close(self) -> None:
        """End the processes; batches that nobody took are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _open(make: MakeTask, path: str) -> None:
    _TASK[:] = [make(get_backend("numpy"), Corpus.open(path))]


def _make(step: int) -> Any:
    return _pack(_TASK[0].fresh(step))


def _pack(value: Any) -> Any:
    """Make arrays small for the way: equal rows once, zeros and ones as bytes."""
    if isinstance(value, tuple):
        return tuple(_pack(part) for part in value), type(value)
    if not isinstance(value, np.ndarray) or value.ndim < 2:
        return value
    if value.strides[0] == 0 and len(value) > 1:
        return _Repeated(np.ascontiguousarray(value[0]), len(value))
    if value.ndim == 4 and ((value == 0) | (value == 1)).all():
        return value.astype(np.uint8)
    return value


def _unpack(packed: Any, backend: Backend) -> Any:
    if isinstance(packed, tuple):
        parts, kind = packed
        values = [_unpack(part, backend) for part in parts]
        return tuple(values) if kind is tuple else kind(*values)
    if isinstance(packed, _Repeated):
        shape = (packed.count, *(1 for _ in packed.row.shape))
        return backend.asarray(packed.row)[None] * backend.asarray(np.ones(shape))
    if isinstance(packed, np.ndarray):
        return _bring(packed, backend)
    return packed


def _bring(value: NDArray[Any], backend: Backend) -> Array:
    if value.dtype == np.uint8:
        return backend.asarray(backend.asarray(value, "uint8"), "float32")
    return backend.asarray(value, "int32" if value.dtype.kind == "i" else "float32")

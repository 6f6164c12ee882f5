"""The log of a training run: a CSV file that fits its checkpoint, also after a crash."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from protein_lab.models.weights import write_atomically

LOG = "log.csv"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the training log.

    Attributes
    ----------
    step, total_steps : int
    seconds : float
        Spent on the run until now, in all its parts.
    learning_rate : float
    loss : float
        Of the batch of this step.
    held_out : float
        Of averaged weights on calibration chains; not a number where it was not computed.
    parts : dict of str to float
        What the loss is made of.
    metrics : dict of str to float
        Of samples drawn with the averaged weights; empty where none were drawn.
    """

    step: int
    total_steps: int
    seconds: float
    learning_rate: float
    loss: float
    held_out: float
    parts: dict[str, float]
    metrics: dict[str, float] = {}

    def row(self) -> dict[str, float]:
        """Everything in one flat mapping."""
        flat = msgspec.structs.asdict(self)
        parts, metrics = flat.pop("parts"), flat.pop("metrics")
        return flat | parts | metrics


class TrainingLog:
    """Lines of a log in memory and in ``log.csv``.

    Lines after the step at which the run goes on are dropped: they are of steps that a crash has
    undone and that will be made again.

    Parameters
    ----------
    folder : Path
    step : int
        Step at which the run goes on; 0 for a new run.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / LOG
        self.rows: list[dict[str, float]] = []
        self._columns: list[str] = []
        if self._path.is_file():
            self._read(step)

    def _read(self, step: int) -> None:
        text = self._path.read_text(encoding="utf-8", errors="replace")
        lines = csv.DictReader(io.StringIO(text))
        for line in lines:
            try:
                row = {k: float(v) for k, v in line.items() if k is not None and v != ""}
            except (TypeError, ValueError):
                continue  # torn by a crash
            if row.get("step", step + 1) <= step and "loss" in row:
                self.rows.append(row)
        self._columns = list(lines.fieldnames or [])
        self._write_all()

    def append(self, row: dict[str, float]) -> None:
        """Add a line; a column that was not there before is added to all lines."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new or not self._path.is_file():
            self._columns += new
            self._write_all()
            return
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._columns).writerow(_plain(row))

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(_plain(row) for row in self.rows)
        write_atomically(self._path, text.getvalue().encode())


def _plain(row: dict[str, float]) -> dict[str, str]:
    """Numbers as text, counts without a point; what is not a number is left empty."""
    return {
        name: "" if value != value else repr(int(value) if float(value).is_integer() else value)
        for name, value in row.items()
    }

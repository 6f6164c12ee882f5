"""Exceptions of protein_lab.

Every error says what was expected, what came, and how to mend it; the command line turns its
``exit_code`` into the process's exit status and never shows a traceback unless asked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protein_lab.typing import Fault

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INVALID_REQUEST = 2
EXIT_TOO_FEW_ACCEPTED = 3
EXIT_INTERRUPTED = 130


class ProteinLabError(Exception):
    """Base of all errors that a user can mend.

    Parameters
    ----------
    problem : str
        What was expected and what came instead.
    remedy : str
        How to mend it, as an instruction; empty when the problem says it all.
    """

    exit_code = EXIT_FAILED

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".strip()


class InvalidRequestError(ProteinLabError, ValueError):
    """A request has faults; ``faults`` lists all of them with their JSON paths."""

    exit_code = EXIT_INVALID_REQUEST

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [f"{fault.path}: {fault.message} {fault.remedy}".strip() for fault in self.faults]
        super().__init__("The request is invalid.\n" + "\n".join(lines))


class StructureFileError(ProteinLabError, ValueError):
    """A structure file is missing, broken, hostile or of another format than its name says."""


class GeometryError(ProteinLabError, ValueError):
    """Coordinates or internal coordinates have a wrong shape or are not finite."""


class CorpusError(ProteinLabError):
    """The corpus of real structures cannot be built, read or verified."""


class OfflineError(CorpusError, ConnectionError):
    """Something has to be downloaded and the network does not answer."""


class WeightsError(ProteinLabError):
    """Weights are missing, of another shape, or their digest does not match their card."""


class BackendError(ProteinLabError):
    """An array backend is unknown or not usable here."""


class MissingExtraError(ProteinLabError, ImportError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed.",
            f'Install it with: pip install "protein-lab[{extra}]"',
        )


class StoreError(ProteinLabError):
    """A result cannot be written, read or verified."""


class IntegrityError(StoreError):
    """Stored bytes differ from their manifest; the message names the object."""


class TierError(StoreError):
    """A tier of the store did not answer, or not in time; the others may."""


class ExecutionError(ProteinLabError):
    """Work could not be distributed or a worker did not finish it."""


class ReportError(ProteinLabError):
    """A report notebook failed; the message names the cell."""

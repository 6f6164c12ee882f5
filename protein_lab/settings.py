"""Settings, read once from the environment.

Every field can be set with a variable ``PROTEIN_LAB_<FIELD>`` in upper case.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from protein_lab.errors import ProteinLabError

ASSETS = Path(__file__).parent / "assets"
_PREFIX = "PROTEIN_LAB_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the library finds its assets and how it computes.

    Attributes
    ----------
    corpus : Path
        Zarr group of real structures; the one in the package unless set.
    weights : Path
        Folder of trained weights with their cards.
    backend : str
        Array backend used when a request names none: ``numpy``, ``torch`` or ``jax``.
    store : str
        Where results are kept by the service: a folder.
    database : str
        SQLite file of the service's jobs.
    service_token : str
        Bearer token that the service asks for; the service refuses to start without one.
    proteinmpnn : str
        Command that starts the user's own ``protein_mpnn_run.py``, for the sequences command.
    folding : str
        Command of the user's own folding program with ``{fasta}`` and ``{out}``, for validation.
    """

    corpus: Path = ASSETS / "corpus" / "corpus.zarr"
    weights: Path = ASSETS / "weights"
    backend: str = "auto"
    store: str = "protein_lab_results"
    database: str = "protein_lab_jobs.sqlite"
    service_token: str = ""
    proteinmpnn: str = ""
    folding: str = ""

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings; an unknown ``PROTEIN_LAB_`` variable is an error, not a typo lost."""
        known = set(cls.__struct_fields__)
        values: dict[str, str] = {}
        for name, value in os.environ.items():
            if not name.startswith(_PREFIX):
                continue
            field = name.removeprefix(_PREFIX).lower()
            if field not in known:
                raise ProteinLabError(
                    f"The environment variable {name} names no setting.",
                    f"Known settings: {', '.join(sorted(_PREFIX + f.upper() for f in known))}.",
                )
            values[field] = value
        return msgspec.convert(values, cls, strict=False, dec_hook=lambda kind, raw: kind(raw))

"""Settings, read once from the environment.

Every field can be set with a variable ``PROTEIN_LAB_<FIELD>`` in upper case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from protein_lab.errors import ProteinLabError

ASSETS = Path(__file__).parent / "assets"
_PREFIX = "PROTEIN_LAB_"


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Tiers of the store: where they are, how much they hold and for how long.

    Variables begin with ``PROTEIN_LAB_STORE_``, as ``PROTEIN_LAB_STORE_REDIS``.

    Attributes
    ----------
    objects : str
        Bytes of record: a folder, or ``s3://BUCKET/PREFIX``.
    s3_endpoint, s3_region : str
        Server of the bucket; empty for that of AWS. Credentials come from the usual ``AWS_``
        variables.
    database : str
        Index of results and table of jobs: an SQLAlchemy URL as ``postgresql+psycopg://...``;
        empty for an SQLite file beside the objects.
    redis : str
        URL as ``redis://host:6379/0``; empty to go without.
    memory_bytes, redis_bytes, database_bytes, objects_bytes : int
        What each tier holds at most. Of the objects only those that can be made again count.
    memory_seconds, redis_seconds, database_seconds, objects_seconds : float
        How long a copy lives in each tier. Bytes of record do not end with their copies.
    timeout_seconds : float
        A call to Redis that takes longer has failed; also the time to connect.
    database_timeout_seconds, objects_timeout_seconds : float
        Likewise for the database and for objects on a server.
    breaker_failures : int
        So many failures in a row keep calls away from a tier ...
    breaker_seconds : float
        ... for so long.
    hot_days, warm_days, cold_days : int
        Age at which bytes of record become warm, cold, and may be deleted.
    idle_days : int
        Results that were read within so many days stay hot, whatever their age.
    """

    objects: str = "protein_lab_results"
    s3_endpoint: str = ""
    s3_region: str = ""
    database: str = ""
    redis: str = ""
    memory_bytes: int = 1_000_000_000
    redis_bytes: int = 10_000_000_000
    database_bytes: int = 100_000_000_000
    objects_bytes: int = 1_000_000_000_000
    memory_seconds: float = 300.0
    redis_seconds: float = 3600.0
    database_seconds: float = 86_400.0
    objects_seconds: float = 604_800.0
    timeout_seconds: float = 0.2
    database_timeout_seconds: float = 5.0
    objects_timeout_seconds: float = 30.0
    breaker_failures: int = 3
    breaker_seconds: float = 5.0
    hot_days: int = 30
    warm_days: int = 365
    cold_days: int = 2555
    idle_days: int = 30

    @property
    def database_url(self) -> str:
        """The database, or the SQLite file that stands for it."""
        if self.database:
            return self.database
        if "://" in self.objects:
            return "sqlite:///protein_lab_index.sqlite"
        return f"sqlite:///{Path(self.objects) / 'index.sqlite'}"


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How work is spread over Dask workers.

    Variables begin with ``PROTEIN_LAB_CLUSTER_``, as ``PROTEIN_LAB_CLUSTER_RETRIES``.

    Attributes
    ----------
    kind : {"local", "ssh", "slurm", "kubernetes"}
        Where workers are started when no scheduler is named.
    scheduler : str
        For the service: address of a running scheduler, as ``tcp://host:8786``.
    workers : int
        For the service: workers to start; 0 makes designs in its own process.
    hosts : str
        For ``ssh``: hosts separated by commas, the scheduler's first.
    queue, walltime : str
        For ``slurm``: partition, and time limit of a job as ``02:00:00``.
    image, namespace : str
        For ``kubernetes``: image of the workers, and where they run.
    interface : str
        Network interface that scheduler and workers listen on, as ``lo`` or ``ib0``.
    gpus : int
        GPUs a host; each gets a worker process of its own. 0 for none, -1 to count them here.
    memory : str
        Memory limit of a worker, as ``4GiB``; one that goes beyond is ended and its task repeated.
    adaptive : bool
        Whether workers are started and ended with the work; else they all run to the end.
    placement : {"spread", "gpu", "pipeline"}
        ``spread``: any worker makes whole designs, and idle workers steal; ``gpu``: only workers
        with a GPU make designs; ``pipeline``: these sample and refine, workers without one draw
        sequences and validate.
    priority : int
        Of two runs on one cluster the one with the higher number goes first.
    retries : int
        Times that a design is tried again after its worker died.
    no_workers_seconds : float
        A cluster without a worker for so long is an error.
    """

    kind: Literal["local", "ssh", "slurm", "kubernetes"] = "local"
    scheduler: str = ""
    workers: int = 0
    hosts: str = ""
    queue: str = ""
    walltime: str = "02:00:00"
    image: str = ""
    namespace: str = "default"
    interface: str = ""
    gpus: int = 0
    memory: str = "4GiB"
    adaptive: bool = False
    placement: Literal["spread", "gpu", "pipeline"] = "spread"
    priority: int = 0
    retries: int = 2
    no_workers_seconds: float = 60.0


_SECTIONS: dict[str, type[msgspec.Struct]] = {"store": StoreSettings, "cluster": ClusterSettings}
"""Settings with a prefix of their own."""


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
    store : StoreSettings
        Tiers in which results are kept.
    cluster : ClusterSettings
        How work is spread over workers.
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
    store: StoreSettings = StoreSettings()
    cluster: ClusterSettings = ClusterSettings()
    service_token: str = ""
    proteinmpnn: str = ""
    folding: str = ""

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings; an unknown ``PROTEIN_LAB_`` variable is an error, not a typo lost."""
        sections = {f"{_PREFIX}{part.upper()}_": kind for part, kind in _SECTIONS.items()}
        given = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        values: dict[str, Any] = {}
        for prefix, kind in sections.items():
            own = {name: given.pop(name) for name in list(given) if name.startswith(prefix)}
            values[prefix.removeprefix(_PREFIX).rstrip("_").lower()] = _read(kind, prefix, own)
        plain = [name for name in cls.__struct_fields__ if name not in _SECTIONS]
        values |= _fields(plain, _PREFIX, given)
        return msgspec.convert(values, cls, strict=False, dec_hook=lambda kind, raw: kind(raw))


def _read(kind: type[msgspec.Struct], prefix: str, given: dict[str, str]) -> Any:
    values = _fields(kind.__struct_fields__, prefix, given)
    return msgspec.convert(values, kind, strict=False)


def _fields(known: Iterable[str], prefix: str, given: dict[str, str]) -> dict[str, str]:
    """Take values by name of their field."""
    by_variable = {prefix + field.upper(): field for field in known}
    for name in given:
        if name not in by_variable:
            raise ProteinLabError(
                f"The environment variable {name} names no setting.",
                f"Known settings: {', '.join(sorted(by_variable))}.",
            )
    return {by_variable[name]: value for name, value in given.items()}

"""What a result consists of, and how designs and results become bytes.

A design, or a result, travels between processes and rests as msgpack behind a digest of its
content, so that a torn or damaged record is recognized and never used.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from protein_lab.design.blueprint import Blueprint
from protein_lab.design.request import DesignRequest
from protein_lab.design.sequence_options import DesignedSequence
from protein_lab.design.until import Relaxation, Search
from protein_lab.errors import IntegrityError
from protein_lab.typing import Check, FloatArray, Measurement

_MAGIC = b"PLD1"
_RESULT_MAGIC = b"PLR1"
_DIGEST_BYTES = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Design:
    """One designed backbone, its sequences, and everything that was measured on it.

    Attributes
    ----------
    index : int
        Number of the design in its request; with the seed it fixes the random stream.
    backbone : FloatArray
        N, CA, C, O in angstrom, ``(residue, 4, 3)`` float32; no residues when ``failed``.
    uncertainty : FloatArray
        Angstrom per residue, ``(residue,)`` float32; the result's provenance says whether it is
        calibrated.
    blueprint : Blueprint
        Secondary structure and pairing that were asked of this design.
    source : str
        Library chain that gave the coarse curve.
    sequences : tuple of DesignedSequence
        Sequences drawn for the backbone, best score first; empty when none were asked for.
    sequence_failed : str or None
        Reason when sequences were asked for and none came out.
    measurements, checks : tuple
        How well each constraint was met, and each validation check.
    metrics : dict of str to float
        Figures of the design in its final geometry; units are in the names' documentation.
    field_metrics : dict of str to float
        The same kind of figures before the projection to exact geometry.
    failed : str or None
        Reason when no backbone came out; None otherwise.
    timings : dict of str to float
        Seconds spent per stage; the one part that differs between two runs.
    """

    index: int
    backbone: FloatArray
    uncertainty: FloatArray
    blueprint: Blueprint
    source: str = ""
    sequences: tuple[DesignedSequence, ...] = ()
    sequence_failed: str | None = None
    measurements: tuple[Measurement, ...] = ()
    checks: tuple[Check, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    field_metrics: dict[str, float] = field(default_factory=dict)
    failed: str | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of residues."""
        return len(self.backbone)

    @property
    def sequence(self) -> str | None:
        """One-letter codes of the best sequence, or None when there is none."""
        return self.sequences[0].sequence if self.sequences else None

    @property
    def accepted(self) -> bool:
        """Whether a backbone came out and :attr:`losses` is empty."""
        return not self.losses

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the checks and constraints that stand against the design.

        A check that did not run says nothing; a constraint must hold, so one that could not be
        measured counts as missed.
        """
        lost = [item.name for item in self.checks if item.verdict == "fail"]
        lost += [
            item.constraint for item in self.measurements if item.verdict in ("fail", "not_run")
        ]
        return tuple(lost) if self.failed is None else ("no backbone", *lost)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DesignResult:
    """Answer to one request.

    Attributes
    ----------
    request : DesignRequest
        The question.
    request_id : str
        Digest of question, weights and results version; the same id means the same result.
    designs : tuple of Design
        Best first.
    outcome : str
        One sentence with what came out and, where less than asked, the remedy.
    provenance : dict
        Versions, digests of weights and corpus, backend, device, seed and timings; JSON values.
    search : Search or None
        How many designs were made until enough were accepted, and why no more; None where the
        request asks for a fixed number.
    relaxations : tuple of Relaxation
        What each constraint that designs miss costs, the costliest first.
    """

    request: DesignRequest
    request_id: str
    designs: tuple[Design, ...]
    outcome: str
    provenance: dict[str, Any]
    search: Search | None = None
    relaxations: tuple[Relaxation, ...] = ()

    @property
    def num_accepted(self) -> int:
        """Number of designs that passed every check and constraint that ran."""
        return sum(design.accepted for design in self.designs)


def encode_array(value: object) -> dict[str, Any]:
    """Write an array as shape and little-endian float32 bytes, for msgspec."""
    if isinstance(value, np.ndarray):
        plain = np.ascontiguousarray(value, dtype="<f4")
        return {"shape": plain.shape, "data": plain.tobytes()}
    raise NotImplementedError(f"cannot store a {type(value).__name__}")


def decode_array(kind: type, value: Any) -> Any:
    """Read back what :func:`encode_array` wrote, for msgspec."""
    if isinstance(value, Mapping) and set(value) == {"shape", "data"}:
        return np.frombuffer(value["data"], dtype="<f4").reshape(value["shape"]).copy()
    raise ValueError(f"cannot read a {kind} from a {type(value).__name__}")


def to_plain(value: Any) -> Any:
    """Turn a value into JSON types, the way it will be read back.

    Numbers of NumPy become plain ones, paths become text, NaN becomes null.
    """
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(value, enc_hook=_number)))


def _number(value: Any) -> Any:
    """Turn numbers of NumPy and paths into JSON types, for msgspec."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot store a {type(value).__name__}")


def encode_design(design: Design) -> bytes:
    """Turn a design into bytes that carry their own digest."""
    return _seal(_MAGIC, msgspec.msgpack.encode(design, enc_hook=encode_array))


def decode_design(data: bytes, name: str = "design record") -> Design:
    """Read bytes of :func:`encode_design`.

    Parameters
    ----------
    data : bytes
        The record.
    name : str
        What to call it in an error.

    Raises
    ------
    IntegrityError
        When the record is torn, damaged, or of another version.
    """
    remedy = "Delete it and run the request again; the other designs are kept."
    payload = _unseal(_MAGIC, data, f"design in {name}", remedy)
    return _decode(payload, Design, f"design in {name}")


def encode_result(result: DesignResult) -> bytes:
    """Turn a result into bytes that carry their own digest."""
    plain = dataclasses.replace(result, provenance=to_plain(result.provenance))
    payload = msgspec.msgpack.encode(plain, enc_hook=encode_array)
    return _seal(_RESULT_MAGIC, _zstd().encode(payload))


def decode_result(data: bytes, name: str = "result record") -> DesignResult:
    """Read bytes of :func:`encode_result`.

    Parameters
    ----------
    data : bytes
        The record.
    name : str
        What to call it in an error.

    Raises
    ------
    IntegrityError
        When the record is torn, damaged, or of another version.
    """
    remedy = "Restore it from a copy, or delete it and run the request again."
    payload = _unseal(_RESULT_MAGIC, data, f"result in {name}", remedy)
    return _decode(bytes(_zstd().decode(payload)), DesignResult, f"result in {name}")


@lru_cache(maxsize=1)
def _zstd() -> Any:
    """Make the codec, which zarr brings: it reads five times faster than zlib."""
    from numcodecs import Zstd

    return Zstd(level=3)


def _seal(magic: bytes, payload: bytes) -> bytes:
    return magic + hashlib.sha256(payload).digest() + payload


def _unseal(magic: bytes, data: bytes, name: str, remedy: str) -> bytes:
    start = len(magic) + _DIGEST_BYTES
    digest, payload = data[len(magic) : start], data[start:]
    if data[: len(magic)] != magic or hashlib.sha256(payload).digest() != digest:
        problem = f"Expected an intact {name}; its bytes differ from their digest."
        raise IntegrityError(problem, remedy)
    return payload


def _decode(payload: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind, dec_hook=decode_array)
    except (msgspec.ValidationError, ValueError) as error:
        raise IntegrityError(
            f"The {name} was written by another version of protein_lab: {error}.",
            "Run the request again.",
        ) from error

"""What a user asks for, and everything that is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import inspect

from protein_lab.constants import SAMPLING_STEPS
from protein_lab.constraints.kinds import AnyConstraint
from protein_lab.constraints.structure_source import (
    absolute_files,
    embed_sources,
    outside_sources,
)
from protein_lab.design.checking import request_faults
from protein_lab.design.decoding import MAX_REQUEST_BYTES, Reader, limit_faults, parse_json
from protein_lab.design.optimizer_options import AnyOptimizer
from protein_lab.design.sequence_options import SequenceOptions
from protein_lab.design.until import Until
from protein_lab.errors import InvalidRequestError, ProteinLabError
from protein_lab.typing import Fault

RESULTS_VERSION: Final = 3
"""Raised whenever the same request would get another answer; part of every request id."""


class DesignRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question to the engine; with the same weights and corpus it has one answer.

    Attributes
    ----------
    length : int, (int, int) or None
        Number of residues, or the shortest and the longest; None when a secondary-structure
        string says it.
    constraints : tuple of SecondaryStructure or Pairing
        What must hold. Without any, blueprints are drawn from the statistics of the corpus.
    num_designs : int
        Number of designs; without meaning where ``until`` is given.
    until : Until or None
        Make designs until enough of them are accepted, instead of a fixed number.
    seed : int
        Design ``i`` depends on the seed and ``i`` alone.
    operator : str
        Neural operator that makes the fine field.
    backend : {"auto", "numpy", "torch", "jax"}
        Array library; ``auto`` takes torch, else JAX, else NumPy.
    steps : int
        Evaluations of the operator while the flow integrates.
    samples_per_design : int
        Samples drawn for each design; their spread is its uncertainty, the best is kept.
    prior : {"library", "polymer"}
        Where the coarse curve comes from: folds of real chains, or random polymers that the
        operator folds by itself.
    novelty : float
        How much of a real fold is dissolved in noise before the operator folds it anew: 0 keeps
        it, 1 keeps nothing of it. Where elements are open, those of a real chain are also
        rearranged: at 1 by four moves. The second holds for polymers too, the first does not.
    sequence : SequenceOptions
        How sequences are drawn for every backbone; no part of it changes a backbone.
    optimizer : GradientOptions, EvolutionaryOptions, AnnealingOptions or None
        Searches for what meets the constraints better than a plain draw; None draws plainly.
    preset : {"geometry", "standard", "strict"}
        Validation preset.
    name : str
        Name for files and reports.
    """

    # A constrained integer beside a fixed-length tuple in one union makes msgspec 0.22 read
    # outside its memory, so the limits of the length are checked in design.checking.
    length: int | tuple[int, int] | None = None
    constraints: Annotated[tuple[AnyConstraint, ...], msgspec.Meta(max_length=4000)] = ()
    num_designs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    until: Until | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    operator: Literal["enhanced_deeponet", "fno", "deeponet"] = "enhanced_deeponet"
    backend: Literal["auto", "numpy", "torch", "jax"] = "auto"
    steps: Annotated[int, msgspec.Meta(ge=1, le=500)] = SAMPLING_STEPS
    samples_per_design: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    prior: Literal["library", "polymer"] = "library"
    novelty: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    sequence: SequenceOptions = SequenceOptions()
    optimizer: AnyOptimizer | None = None
    preset: Literal["geometry", "standard", "strict"] = "geometry"
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""

    @property
    def num_wanted(self) -> int:
        """Accepted designs that are enough."""
        return self.num_designs if self.until is None else self.until.accepted

    @property
    def most_designs(self) -> int:
        """Most designs that are made."""
        return self.num_designs if self.until is None else self.until.most

    def check(self) -> list[Fault]:
        """List all faults and warnings with their JSON paths, before anything is computed."""
        return check_request(msgspec.to_builtins(self), ".")

    def canonical(self) -> bytes:
        """Write the request as JSON with all fields, keys sorted; equal bytes, equal request."""
        return msgspec.json.encode(self, order="sorted")


def request_id(
    request: DesignRequest,
    weights_digest: str,
    corpus_digest: str,
    results_version: int = RESULTS_VERSION,
) -> str:
    """Identify the answer to a request.

    Parameters
    ----------
    request : DesignRequest
        The question. What it names as files or ids counts by its content.
    weights_digest : str
        Digest of the operator's weights.
    corpus_digest : str
        Digest of the corpus that folds and blueprints come from.
    results_version : int
        Number that is raised when the same question would get another answer.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(embed_sources(request).canonical())
    digest.update(f"\n{weights_digest}\n{corpus_digest}\n{results_version}\n".encode())
    return digest.hexdigest()


@cache
def _request_type() -> inspect.Type:
    return inspect.type_info(DesignRequest)


def _examine(
    data: bytes | str | Mapping[str, Any], folder: str | Path | None
) -> tuple[Any, list[Fault]]:
    try:
        raw = parse_json(data) if isinstance(data, bytes | str) else deepcopy(data)
    except ProteinLabError as error:
        return None, [Fault(path="$", message=error.problem, remedy=error.remedy)]
    if folder is not None:
        absolute_files(raw, Path(folder))
    reader = Reader()
    request = reader.read(raw, _request_type(), "$")
    faults = reader.faults
    strange = outside_sources(raw) if folder is None else []
    if strange:
        # nothing is read for somebody who only sends text
        faults = faults + [_outside_fault(path) for path in strange]
    elif request is not None:
        length_known = not any(fault.path.startswith("$.length") for fault in faults)
        faults = faults + request_faults(request, length_known=length_known)
        if isinstance(request.until, Until):
            faults += request.until.faults("$.until")
    return raw, limit_faults(faults)


def _outside_fault(path: str) -> Fault:
    return Fault(
        path=path,
        message="Expected the structure itself, for files and ids are not read here.",
        remedy="Put what stands in the file into the field 'text'.",
    )


def check_request(
    data: bytes | str | Mapping[str, Any], folder: str | Path | None = None
) -> list[Fault]:
    """List all faults and warnings of a request.

    Parameters
    ----------
    data : bytes, str or mapping
        JSON text, or what it holds.
    folder : path-like, optional
        Where the paths of structure files start. Without it files and ids of structures are
        faults, and nothing is read: right for a request that came over a network.
    """
    return _examine(data, folder)[1]


def decode_request(
    data: bytes | str | Mapping[str, Any], folder: str | Path | None = None
) -> DesignRequest:
    """Read a request; structures that it names are put in as text.

    Parameters
    ----------
    data : bytes, str or mapping
        JSON text, or what it holds.
    folder : path-like, optional
        Where the paths of structure files start. Without it files and ids of structures are
        faults, and nothing is read: right for a request that came over a network.

    Raises
    ------
    InvalidRequestError
        With all faults; warnings alone do not stop a request.
    """
    raw, faults = _examine(data, folder)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise InvalidRequestError(errors)
    request = msgspec.convert(raw, DesignRequest)
    return request if folder is None else embedded_request(request)


def embedded_request(request: DesignRequest) -> DesignRequest:
    """Put in what a request without faults names as files or ids, and check it with that.

    Raises
    ------
    InvalidRequestError
        When a source cannot be read, or does not fit: entries are fetched only here.
    """
    embedded = embed_sources(request)
    if embedded is request:
        return request
    errors = [fault for fault in embedded.check() if fault.severity == "error"]
    if errors:
        raise InvalidRequestError(errors)
    return embedded


def read_request(path: str | Path) -> DesignRequest:
    """Read a request from a JSON file; paths in it start from its folder.

    Raises
    ------
    InvalidRequestError
        With all faults of the request.
    ProteinLabError
        When there is no such file or it cannot be read.
    """
    return decode_request(read_request_bytes(path), Path(path).parent)


def read_request_bytes(path: str | Path) -> bytes:
    """Read the text of a request, but never more than a request may have.

    Raises
    ------
    ProteinLabError
        When there is no such file or it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise ProteinLabError(
            f"Expected a request in JSON at {path}, but {error.strerror or error}.",
            "Give the path of a file; examples are in protein_lab/assets/requests.",
        ) from error

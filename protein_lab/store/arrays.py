"""Designs as arrays with named dimensions, and back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec

from protein_lab.constants import BACKBONE_ATOMS
from protein_lab.design.blueprint import Blueprint
from protein_lab.design.sequence_options import DesignedSequence
from protein_lab.errors import IntegrityError
from protein_lab.store.schema import Design
from protein_lab.typing import Check, Measurement, Verdict

VERDICTS: tuple[str, ...] = get_args(Verdict)
_ABSENT = -1
_SEQUENCE_ARRAYS = ("drawn_sequence", "sequence_score", "residue_probability", "residue_entropy")
_CHUNK_BYTES = 1 << 20
STRING_WARNING = ".*data type.*"


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """What of a design has no array form, or must come back exactly."""

    index: int
    sequence_failed: str | None
    blueprint: Blueprint
    source: str
    measurements: tuple[Measurement, ...]
    checks: tuple[Check, ...]
    metrics: dict[str, float | None]
    field_metrics: dict[str, float | None]
    failed: str | None
    timings: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class _Variable:
    """One array of the group, before it is written."""

    name: str
    dims: tuple[str, ...]
    values: Any
    attributes: dict[str, Any] = field(default_factory=dict)


def write_designs(
    target: Path | Store, designs: Sequence[Design], attributes: dict[str, Any]
) -> None:
    """Write designs as one Zarr v3 group.

    Parameters
    ----------
    target : Path or Store
        An empty folder, or an empty store of Zarr.
    designs : sequence of Design
        In the order in which they are to be kept.
    attributes : dict
        JSON values for the group.
    """
    group = zarr.create_group(target, zarr_format=3, attributes=attributes)
    variables = [
        *_coordinates(designs),
        *_geometry(designs),
        *_texts(designs),
        *_sequences(designs),
        *_verdicts(designs, "check"),
        *_verdicts(designs, "constraint"),
        *_figures(designs),
    ]
    for variable in variables:
        _write(group, variable)


def read_designs(source: Path | Store, place: str) -> tuple[dict[str, Any], tuple[Design, ...]]:
    """Read the group's attributes and its designs.

    Parameters
    ----------
    source : Path or Store
        Where the group is.
    place : str
        What to call it in an error.

    Raises
    ------
    IntegrityError
        When a chunk fails its checksum or the group is not one of :func:`write_designs`.
    """
    name = "zarr.json"
    try:
        group = zarr.open_group(source, mode="r", zarr_format=3, use_consolidated=False)
        attributes = dict(group.attrs)
        values = {}
        for name in ("backbone", "uncertainty", "length", "record", *_SEQUENCE_ARRAYS):
            values[name] = np.asarray(cast("zarr.Array[Any]", group[name])[...])
        designs = tuple(
            _design(
                {part: values[part][row, :size] for part in ("backbone", "uncertainty")},
                record,
                _drawn(*(values[part][row] for part in _SEQUENCE_ARRAYS)),
            )
            for row, (size, record) in enumerate(
                zip(values["length"], values["record"], strict=True)
            )
        )
    except (KeyError, ValueError, RuntimeError, OSError, msgspec.MsgspecError) as error:
        raise IntegrityError(
            f"Expected intact designs in {place}; reading {name} failed: {error}.",
            "Restore it from a copy, or delete it and run the request again.",
        ) from error
    return attributes, designs


def _design(
    arrays: dict[str, NDArray[Any]], text: str, sequences: tuple[DesignedSequence, ...]
) -> Design:
    record = msgspec.json.decode(text, type=_Record)
    return Design(
        index=record.index,
        backbone=arrays["backbone"].astype(np.float32),
        uncertainty=arrays["uncertainty"].astype(np.float32),
        blueprint=record.blueprint,
        source=record.source,
        sequences=sequences,
        sequence_failed=record.sequence_failed,
        measurements=record.measurements,
        checks=record.checks,
        metrics=_numbers(record.metrics),
        field_metrics=_numbers(record.field_metrics),
        failed=record.failed,
        timings=_numbers(record.timings),
    )


def _drawn(
    texts: NDArray[Any],
    scores: NDArray[Any],
    probability: NDArray[Any],
    entropy: NDArray[Any],
) -> tuple[DesignedSequence, ...]:
    """Rebuild the sequences of one design; four decimals survive 32-bit floats exactly."""
    return tuple(
        DesignedSequence(
            sequence=str(text),
            score=float(scores[row]),
            probability=tuple(round(float(p), 4) for p in probability[row, : len(text)]),
            entropy=tuple(round(float(h), 4) for h in entropy[row, : len(text)]),
        )
        for row, text in enumerate(texts)
        if text
    )


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}


def _coordinates(designs: Sequence[Design]) -> list[_Variable]:
    longest = max((design.length for design in designs), default=0)
    about = "number of the design in its request"
    return [
        _Variable("design", ("design",), [d.index for d in designs], {"long_name": about}),
        _Variable("residue", ("residue",), list(range(1, longest + 1))),
        _Variable("atom", ("atom",), list(BACKBONE_ATOMS)),
        _Variable("xyz", ("xyz",), ["x", "y", "z"]),
    ]


def _geometry(designs: Sequence[Design]) -> list[_Variable]:
    lengths = [design.length for design in designs]
    longest = max(lengths, default=0)
    backbone = np.full((len(designs), longest, 4, 3), np.nan, dtype=np.float32)
    uncertainty = np.full((len(designs), longest), np.nan, dtype=np.float32)
    for row, design in enumerate(designs):
        backbone[row, : design.length] = design.backbone
        uncertainty[row, : design.length] = design.uncertainty
    return [
        _Variable(
            "backbone",
            ("design", "residue", "atom", "xyz"),
            backbone,
            {"units": "angstrom", "long_name": "backbone coordinates"},
        ),
        _Variable(
            "uncertainty",
            ("design", "residue"),
            uncertainty,
            {"units": "angstrom", "long_name": "uncertainty of CA atoms"},
        ),
        _Variable("length", ("design",), lengths, {"units": "residue"}),
    ]


def _texts(designs: Sequence[Design]) -> list[_Variable]:
    columns = {
        "sequence": [design.sequence or "" for design in designs],
        "secondary_structure": [d.blueprint.secondary_structure for d in designs],
        "source": [design.source for design in designs],
        "failed": [design.failed or "" for design in designs],
        "record": [_record(design) for design in designs],
    }
    return [_Variable(name, ("design",), column) for name, column in columns.items()]


def _sequences(designs: Sequence[Design]) -> list[_Variable]:
    """Arrays over designs, their draws, best first, and residues; text is empty where none is."""
    most = max((len(design.sequences) for design in designs), default=0)
    longest = max((design.length for design in designs), default=0)
    shape = (len(designs), most)
    texts = np.full(shape, "", dtype=np.dtypes.StringDType())
    scores = np.full(shape, np.nan)
    probability = np.full((*shape, longest), np.nan, dtype=np.float32)
    entropy = probability.copy()
    for row, design in enumerate(designs):
        for column, made in enumerate(design.sequences):
            texts[row, column], scores[row, column] = made.sequence, made.score
            probability[row, column, : design.length] = made.probability
            entropy[row, column, : design.length] = made.entropy
    about = {
        "drawn_sequence": ({"long_name": "one-letter codes"}, texts),
        "sequence_score": ({"units": "nat", "long_name": "mean log p of drawn residues"}, scores),
        "residue_probability": ({"units": "1", "long_name": "p of the drawn residue"}, probability),
        "residue_entropy": ({"units": "nat", "long_name": "entropy of the choice"}, entropy),
    }
    dims = ("design", "draw", "residue")
    return [_Variable("draw", ("draw",), list(range(1, most + 1)))] + [
        _Variable(name, dims[: values.ndim], values, attributes)
        for name, (attributes, values) in about.items()
    ]


def _record(design: Design) -> str:
    fields = {name: getattr(design, name) for name in _Record.__struct_fields__}
    return msgspec.json.encode(_Record(**fields)).decode()


def _verdicts(designs: Sequence[Design], dim: str) -> list[_Variable]:
    """Arrays of value, bound and verdict over designs and checks (or constraints)."""
    rows = [_named(design, dim) for design in designs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    bound = "threshold" if dim == "check" else "target"
    shape = (len(designs), len(names))
    values, bounds = np.full(shape, np.nan), np.full(shape, np.nan)
    verdicts = np.full(shape, _ABSENT, dtype=np.int8)
    units = [""] * len(names)
    for row, items in enumerate(rows):
        for name, item in items.items():
            column = names.index(name)
            values[row, column] = math.nan if item.value is None else item.value
            limit = getattr(item, bound)
            bounds[row, column] = math.nan if limit is None else limit
            verdicts[row, column] = VERDICTS.index(item.verdict)
            units[column] = item.unit
    per_item = {"units": f"per {dim}, see {dim}_unit"}
    flags = {
        "units": "1",
        "flag_values": list(range(_ABSENT, len(VERDICTS))),
        "flag_meanings": " ".join(["absent", *VERDICTS]),
    }
    return [
        _Variable(dim, (dim,), names),
        _Variable(f"{dim}_unit", (dim,), units),
        _Variable(f"{dim}_value", ("design", dim), values, per_item),
        _Variable(f"{dim}_{bound}", ("design", dim), bounds, per_item),
        _Variable(f"{dim}_verdict", ("design", dim), verdicts, flags),
    ]


def _named(design: Design, dim: str) -> dict[str, Check | Measurement]:
    if dim == "check":
        return {check.name: check for check in design.checks}
    return {item.constraint: item for item in design.measurements}


def _figures(designs: Sequence[Design]) -> list[_Variable]:
    """Arrays of metrics before and after the projection to exact geometry."""
    rows = [design.metrics.keys() | design.field_metrics.keys() for design in designs]
    names = sorted(set().union(*rows))
    table = {
        "metrics": [[d.metrics.get(name, math.nan) for name in names] for d in designs],
        "field_metrics": [[d.field_metrics.get(n, math.nan) for n in names] for d in designs],
    }
    shape = (len(designs), len(names))
    per_item = {"units": "per metric"}
    return [_Variable("metric", ("metric",), names)] + [
        _Variable(name, ("design", "metric"), np.array(rows, dtype=float).reshape(shape), per_item)
        for name, rows in table.items()
    ]


def _write(group: zarr.Group, variable: _Variable) -> None:
    values = _array(variable.values)
    per_design = max(1, values.nbytes // max(1, len(values)))
    chunks = tuple(max(1, size) for size in values.shape)
    if variable.dims[0] == "design":
        chunks = (max(1, min(len(values), _CHUNK_BYTES // per_design)), *chunks[1:])
    with warnings.catch_warnings():
        # Variable-length text is written by zarr and read by xarray, but not yet specified.
        warnings.filterwarnings("ignore", message=STRING_WARNING)
        array = group.create_array(
            variable.name,
            shape=values.shape,
            chunks=chunks,
            dtype=values.dtype,
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            fill_value=np.nan if values.dtype.kind == "f" else None,
            dimension_names=variable.dims,
            attributes=variable.attributes,
            config={"write_empty_chunks": True},
        )
        if values.size:
            array[...] = values


def _array(values: Any) -> NDArray[Any]:
    """Choose a storage type: text of any length, 32-bit counts, floats as they are."""
    if isinstance(values, np.ndarray):
        return values
    if values and isinstance(values[0], str):
        return np.array(values, dtype=np.dtypes.StringDType())
    return np.array(values, dtype=np.int32)

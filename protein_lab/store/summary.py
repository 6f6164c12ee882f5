"""What ``summary.json`` and ``designs.fasta`` say about a result.

The JSON schema in ``assets/schemas/summary.schema.json`` is generated from these types by
:func:`summary_schema`; a change here is a change of a published format.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from protein_lab.constraints.base import Assembling
from protein_lab.design.calibration import UncertaintyKind
from protein_lab.design.request import DesignRequest
from protein_lab.design.until import Relaxation, Search
from protein_lab.store.schema import Design, DesignResult
from protein_lab.typing import Check, FloatArray, Measurement

SUMMARY_SCHEMA = "protein_lab/summary@1"
_FASTA_WIDTH = 60


class SequenceSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sequence of a design.

    Attributes
    ----------
    sequence : str
        One-letter codes.
    score : float
        Mean log p of its residues under the operator, nats.
    perplexity : float
        Exponential of minus the score.
    """

    sequence: str
    score: float
    perplexity: float


class DesignSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One design, best first.

    Attributes
    ----------
    rank : int
        1 for the best; also the number in the file name.
    index : int
        Number of the design in its request, from 0.
    file : str or None
        Structure file relative to the summary; None when the design failed.
    assembly_file : str or None
        File of the design together with its symmetric copies, where symmetry was asked for.
    accepted : bool
        Whether no check says ``fail`` and every constraint holds.
    failed : str or None
        Why there is no backbone.
    length : int
        Residues.
    sequence : str
        One-letter codes of the best sequence; ``X`` where there is none.
    sequences : tuple of SequenceSummary
        All sequences that were drawn, best first.
    sequence_confidence : tuple of float
        Probability of each residue of the best sequence; empty where there is none.
    sequence_failed : str or None
        Why there is no sequence although some were asked for.
    secondary_structure : str
        What was asked, one of H, E, L or - per residue.
    source : str
        Library chain that gave the coarse curve.
    metrics, field_metrics : dict
        Figures of the final backbone and of the field before projection; null where undefined.
    constraints, checks : tuple
        Each with value, unit, bound and verdict.
    uncertainty : tuple of float
        Angstrom per residue; null where unknown.
    uncertainty_kind : str
        ``calibrated``: root mean square error expected of a CA atom, given the curve;
        ``uncalibrated``: spread of the samples.
    half_width : tuple of float
        Angstrom per residue: a band that wide holds all residues of 90 % of chains, given the
        curve; empty where nothing is calibrated.
    """

    rank: int
    index: int
    file: str | None
    accepted: bool
    failed: str | None
    length: int
    sequence: str
    sequences: tuple[SequenceSummary, ...]
    sequence_confidence: tuple[float, ...]
    sequence_failed: str | None
    secondary_structure: str
    source: str
    metrics: dict[str, float | None]
    field_metrics: dict[str, float | None]
    constraints: tuple[Measurement, ...]
    checks: tuple[Check, ...]
    uncertainty: tuple[float | None, ...]
    uncertainty_kind: Literal["calibrated", "uncalibrated"] = "uncalibrated"
    half_width: tuple[float | None, ...] = ()
    assembly_file: str | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All designs of a request on one page.

    Attributes
    ----------
    schema : str
        Name and version of this format.
    request_id : str
        Same id, same result.
    name : str
        The request's name.
    num_designs, num_accepted : int
        How many are listed, and how many no check or constraint refuses.
    outcome : str
        One sentence, with the remedy when fewer were accepted than asked.
    designs : tuple of DesignSummary
        Best first.
    search : Search or None
        Where designs were made until enough were accepted: how many, and why no more.
    relaxations : tuple of Relaxation
        What each constraint that designs miss costs, the costliest first.
    """

    schema: str
    request_id: str
    name: str
    num_designs: int
    num_accepted: int
    outcome: str
    designs: tuple[DesignSummary, ...]
    search: Search | None = None
    relaxations: tuple[Relaxation, ...] = ()


def design_file(rank: int, design: Design) -> str | None:
    """Name the structure file of a design, relative to its output folder."""
    return None if design.failed is not None else f"designs/{rank:03d}.cif"


def assembly_file(request: DesignRequest, rank: int, design: Design) -> str | None:
    """Name the file of what a design is a part of; None where nothing of the kind is asked."""
    is_part = any(isinstance(item, Assembling) for item in request.constraints)
    return f"designs/{rank:03d}_assembly.cif" if is_part and design.failed is None else None


def summarize(result: DesignResult) -> Summary:
    """Condense a result; the same result always gives the same summary."""
    kind = msgspec.convert(result.provenance.get("uncertainty", {}), UncertaintyKind)
    return Summary(
        schema=SUMMARY_SCHEMA,
        request_id=result.request_id,
        name=result.request.name,
        num_designs=len(result.designs),
        num_accepted=result.num_accepted,
        outcome=result.outcome,
        designs=tuple(
            _summarize(result.request, rank, design, kind)
            for rank, design in enumerate(result.designs, start=1)
        ),
        search=result.search,
        relaxations=result.relaxations,
    )


def encode_summary(summary: Summary) -> bytes:
    """Write a summary as indented JSON; numbers that are not finite become null."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def summary_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of ``summary.json``."""
    (root,), types = msgspec.json.schema_components([Summary], ref_template="#/$defs/{name}")
    for name, described in types.items():
        # Docstrings go on about attributes; the schema says those in its own words.
        types[name] = described | {"description": described["description"].split("\n")[0]}
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SUMMARY_SCHEMA}
    # through JSON, so that defaults are what a reader of the file sees
    return msgspec.json.decode(msgspec.json.encode(title | root | {"$defs": types}))


def fasta(result: DesignResult) -> str:
    """Write all sequences, those of a design one after the other, best first.

    An entry ``003_2`` is the second best sequence of the design of rank 3. A design without
    sequences has one entry, ``003``, of as many X as it has residues.
    """
    temperature = result.request.sequence.temperature
    entries = []
    for rank, design in enumerate(result.designs, start=1):
        if design.failed is not None:
            continue
        shared = f"design={rank:03d}"
        ending = f"accepted={str(design.accepted).lower()} length={design.length}"
        for number, made in enumerate(design.sequences, start=1):
            figures = (
                f"sequence={number} score={made.score:.4f} perplexity={made.perplexity:.3f} "
                f"temperature={temperature:g}"
            )
            header = f"{rank:03d}_{number} {shared} {figures} {ending}"
            entries.append(fasta_entry(header, made.sequence))
        if not design.sequences:
            entries.append(fasta_entry(f"{rank:03d} {shared} {ending}", _sequence(design)))
    return "".join(entries)


def fasta_entry(header: str, sequence: str) -> str:
    """Write one entry, 60 letters a line."""
    starts = range(0, len(sequence), _FASTA_WIDTH)
    lines = [sequence[start : start + _FASTA_WIDTH] for start in starts]
    return "\n".join([f">{header}", *lines]) + "\n"


def _summarize(
    request: DesignRequest, rank: int, design: Design, kind: UncertaintyKind
) -> DesignSummary:
    factor = kind.band_factor(design.length)
    return DesignSummary(
        rank=rank,
        index=design.index,
        file=design_file(rank, design),
        assembly_file=assembly_file(request, rank, design),
        accepted=design.accepted,
        failed=design.failed,
        length=design.length,
        sequence=_sequence(design),
        sequences=tuple(
            SequenceSummary(
                sequence=item.sequence, score=item.score, perplexity=round(item.perplexity, 4)
            )
            for item in design.sequences
        ),
        sequence_confidence=design.sequences[0].probability if design.sequences else (),
        sequence_failed=design.sequence_failed,
        secondary_structure=design.blueprint.secondary_structure,
        source=design.source,
        metrics=_finite(design.metrics),
        field_metrics=_finite(design.field_metrics),
        constraints=design.measurements,
        checks=design.checks,
        uncertainty=_rounded(design.uncertainty),
        uncertainty_kind=kind.of_length(design.length),
        half_width=() if factor is None else _rounded(factor * design.uncertainty),
    )


def _rounded(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(round(value, 4) if math.isfinite(value) else None for value in values.tolist())


def _sequence(design: Design) -> str:
    return design.sequence or "X" * design.length


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: v if math.isfinite(v) else None for name, v in sorted(metrics.items())}

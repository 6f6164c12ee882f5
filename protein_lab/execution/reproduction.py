"""Run a stored result again and say what comes out differently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from protein_lab import engine
from protein_lab.errors import BackendError, MissingExtraError
from protein_lab.execution.base import Executor, spec_of
from protein_lab.execution.run import run_request
from protein_lab.settings import Settings
from protein_lab.store.manifest import raise_for
from protein_lab.store.objects import load_result, verify_result
from protein_lab.store.schema import Design, DesignResult

TOLERANCE = 0.2
"""Angstrom within which other backends and versions must agree, from the same noise.

Their fields agree to 1e-3 angstrom; the minimization that follows amplifies the last bits, as seen
to 0.11 angstrom for one atom in 288.
"""

SCORE_TOLERANCE = 0.2
"""Nats within which the mean score of a design's sequences must then agree."""

_SAME_BITS = ("versions", "backend", "device", "platform")
"""Parts of the provenance that have to agree before bits can be expected to agree."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that came out differently.

    Attributes
    ----------
    what : str
        The part of the result.
    message : str
        What was stored and what came out.
    """

    what: str
    message: str


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of running a result again.

    Attributes
    ----------
    exact : bool
        Whether coordinates were compared bit for bit; otherwise within :data:`TOLERANCE`.
    num_designs : int
        Designs that were made again.
    notes : tuple of str
        Why the comparison was not exact, and other things worth knowing.
    differences : tuple of Difference
        Empty when the result was reproduced.
    """

    exact: bool
    num_designs: int
    notes: tuple[str, ...]
    differences: tuple[Difference, ...]


def reproduce(
    folder: Path | str, executor: Executor | None = None, settings: Settings | None = None
) -> Reproduction:
    """Verify a result, run its request again from its provenance, and compare.

    Parameters
    ----------
    folder : Path or str
        A stored result or an output folder.
    executor : Executor or None
        Where to run; in this process by default.
    settings : Settings or None
        Where weights and corpus are; by default as the environment says.

    Returns
    -------
    Reproduction
        What differs. With the same backend, versions and platform coordinates must agree bit for
        bit, otherwise within 0.001 angstrom, and a note says why.

    Raises
    ------
    StoreError
        When there is no finished result.
    IntegrityError
        When a file differs from its digest; names the file and the region in it.
    WeightsError
        When the operator's weights are missing here.
    """
    root = Path(folder)
    raise_for(verify_result(root), root)
    stored = load_result(root, verify=False)
    places = settings or Settings.from_environment()
    runtime, notes = _open_runtime(stored, places)
    spec = spec_of(runtime, places)
    for name, here in (("weights", spec.weights_digest), ("corpus", spec.corpus_digest)):
        asked = stored.provenance.get(f"{name}_digest")
        if asked != here:
            message = f"the result was made with {str(asked)[:16]}; here are {here[:16]}"
            changed = Difference(what=f"{name} digest", message=message)
            return Reproduction(exact=False, num_designs=0, notes=notes, differences=(changed,))
    num_made = None if stored.search is None else stored.search.num_made
    again = run_request(stored.request, runtime, executor=executor, spec=spec, num_made=num_made)
    reasons = _reasons_for_tolerance(stored.provenance, again.provenance)
    return Reproduction(
        exact=not reasons,
        num_designs=len(again.designs),
        notes=notes + reasons,
        differences=tuple(_compare(stored, again, 0.0 if not reasons else TOLERANCE)),
    )


def _open_runtime(
    stored: DesignResult, settings: Settings
) -> tuple[engine.Runtime, tuple[str, ...]]:
    """Open the runtime that made the result, or the nearest one that works here."""
    name = str(stored.provenance.get("backend", stored.request.backend))
    operator = stored.request.operator
    try:
        return engine.Runtime.open(operator, backend=name, settings=settings), ()
    except (BackendError, MissingExtraError) as error:
        runtime = engine.Runtime.open(operator, backend="auto", settings=settings)
        return runtime, (f"The backend {name} is not available here ({error.problem})",)


def _reasons_for_tolerance(stored: dict[str, Any], again: dict[str, Any]) -> tuple[str, ...]:
    """Say which parts of the surroundings differ, so that bits cannot be expected to agree."""
    reasons = []
    for part in _SAME_BITS:
        before, now = stored.get(part), again.get(part)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            names = sorted(key for key in before | now if before.get(key) != now.get(key))
            changes = ", ".join(f"{key} {before.get(key)} -> {now.get(key)}" for key in names)
        else:
            changes = f"{before} -> {now}"
        reasons.append(
            f"{part} differ ({changes}): compared within {TOLERANCE} angstrom, not bit for bit."
        )
    return tuple(reasons)


def _compare(stored: DesignResult, again: DesignResult, tolerance: float) -> Iterator[Difference]:
    """Compare ranking and designs; request and weights are known to be the same."""
    before = [design.index for design in stored.designs]
    now = [design.index for design in again.designs]
    if before != now:
        yield Difference(what="ranking", message=f"stored {before}, now {now}")
    fresh = {design.index: design for design in again.designs}
    for rank, design in enumerate(stored.designs, start=1):
        if design.index in fresh:
            name = f"design {rank:03d} (index {design.index})"
            yield from _compare_designs(name, design, fresh[design.index], tolerance)


def _compare_designs(
    name: str, before: Design, now: Design, tolerance: float
) -> Iterator[Difference]:
    for part in ("failed", "source", "blueprint"):
        old, new = getattr(before, part), getattr(now, part)
        if old != new:
            yield Difference(what=f"{name}: {part}", message=f"stored {old}, now {new}")
    for part in ("backbone", "uncertainty"):
        message = _compare_arrays(getattr(before, part), getattr(now, part), tolerance)
        if message:
            yield Difference(what=f"{name}: {part}", message=message)
    message = _compare_sequences(before, now, exact=tolerance == 0.0)
    if message:
        yield Difference(what=f"{name}: sequences", message=message)
    old_verdicts, new_verdicts = _verdicts(before), _verdicts(now)
    for item in sorted(old_verdicts.keys() | new_verdicts.keys()):
        old, new = old_verdicts.get(item), new_verdicts.get(item)
        if old != new:
            yield Difference(what=f"{name}: {item}", message=f"stored {old}, now {new}")


def _compare_sequences(before: Design, now: Design, exact: bool) -> str:
    """Say how the sequences of two designs differ; nothing when they do not.

    On a backbone that differs in its last bits a residue may be drawn otherwise, and those after
    it with it; then only the number of sequences and the mean score must agree.
    """
    if before.sequence_failed != now.sequence_failed:
        return f"stored {before.sequence_failed or 'drawn'}, now {now.sequence_failed or 'drawn'}"
    if len(before.sequences) != len(now.sequences):
        return f"stored {len(before.sequences)} sequences, now {len(now.sequences)}"
    if exact:
        pairs = zip(before.sequences, now.sequences, strict=True)
        places = [number for number, (old, new) in enumerate(pairs, start=1) if old != new]
        return f"{len(places)} of {len(now.sequences)} differ, first {places[0]}" if places else ""
    if not now.sequences:
        return ""
    old, new = (float(np.mean([made.score for made in d.sequences])) for d in (before, now))
    return (
        "" if abs(old - new) <= SCORE_TOLERANCE else f"mean score stored {old:.3f}, now {new:.3f}"
    )


def _verdicts(design: Design) -> dict[str, str]:
    """Verdicts by constraint or check; constraints are numbered, for two may be alike."""
    constraints = {
        f"constraint {number} ({item.constraint})": item.verdict
        for number, item in enumerate(design.measurements, start=1)
    }
    return constraints | {f"check {check.name}": check.verdict for check in design.checks}


def _compare_arrays(before: Any, now: Any, tolerance: float) -> str:
    """Say how two arrays differ; nothing when they do not by more than the tolerance."""
    if before.shape != now.shape:
        return f"stored shape {before.shape}, now {now.shape}"
    if before.tobytes() == now.tobytes():
        return ""
    apart = np.abs(before.astype(np.float64) - now.astype(np.float64))
    largest = float(apart.max())
    if tolerance > 0.0 and largest <= tolerance:
        return ""
    residue = int(np.unravel_index(int(apart.argmax()), apart.shape)[0]) + 1
    differing = int(np.count_nonzero(apart > tolerance))
    return (
        f"{differing} of {apart.size} numbers differ, by up to {largest:.3g} angstrom "
        f"(at residue {residue})"
    )

"""The tasks that travel to workers.

Only bytes go in and come out: a worker needs this package, not the caller's classes. Errors that a
user can mend come back in the reply, since trying again would not help.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

import msgspec

from protein_lab import engine
from protein_lab.constraints.custom import Custom
from protein_lab.design.request import DesignRequest
from protein_lab.draft import decode_draft, encode_draft
from protein_lab.errors import ExecutionError, ProteinLabError, StoreError
from protein_lab.execution.base import RuntimeSpec, open_runtime
from protein_lab.execution.keeping import Keeping, reachable_parts
from protein_lab.store.schema import Design, encode_design


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the designs of one run have in common.

    Attributes
    ----------
    request : DesignRequest
        The question.
    request_id : str
        Its id.
    spec : RuntimeSpec
        How to open the runtime.
    keeping : Keeping or None
        Where workers keep designs, if they see that place; without it designs travel back.
    """

    request: DesignRequest
    request_id: str
    spec: RuntimeSpec
    keeping: Keeping | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker sends back: a summary or a design, or what a user has to mend.

    Attributes
    ----------
    index : int
        Number of the design.
    accepted : bool
        Whether nothing stands against it.
    digest : str
        Of :func:`digest_of`; empty with a problem.
    seconds : float
        What it took.
    design : bytes or None
        The design where the worker could not keep it.
    problem, remedy : str
        What kept the worker from working; empty when nothing did.
    """

    index: int
    accepted: bool = False
    digest: str = ""
    seconds: float = 0.0
    design: bytes | None = None
    problem: str = ""
    remedy: str = ""


class Half(msgspec.Struct, frozen=True, kw_only=True):
    """What the first of two tasks hands to the second: a draft, or the whole reply."""

    draft: bytes | None = None
    reply: bytes | None = None


def make_design(work: bytes, index: int) -> bytes:
    """Make one design in this process, and keep it where the caller will find it.

    Parameters
    ----------
    work : bytes
        A :class:`Work` as JSON.
    index : int
        Number of the design.

    Returns
    -------
    bytes
        A :class:`Reply`.
    """
    try:
        run = _opened(work)
        made = engine.design_one(run.request, index, open_runtime(run.spec))
        return _reply(run, made)
    except ProteinLabError as error:
        return _problem(index, error)


def draft_design(work: bytes, index: int) -> bytes:
    """Sample and refine a backbone: the first half of :func:`make_design`.

    Returns
    -------
    bytes
        A :class:`Half` for :func:`finish_design`.
    """
    try:
        run = _opened(work)
        made = engine.draft_one(run.request, index, open_runtime(run.spec))
        if isinstance(made, Design):
            return msgspec.msgpack.encode(Half(reply=_reply(run, made)))
        return msgspec.msgpack.encode(Half(draft=encode_draft(made)))
    except ProteinLabError as error:
        return msgspec.msgpack.encode(Half(reply=_problem(index, error)))


def finish_design(work: bytes, index: int, half: bytes) -> bytes:
    """Give a draft its sequences and checks: the second half of :func:`make_design`."""
    try:
        first = msgspec.msgpack.decode(half, type=Half)
        if first.draft is None:
            return first.reply or b""
        run = _opened(work)
        draft = decode_draft(first.draft)
        return _reply(run, engine.finish_one(run.request, draft, open_runtime(run.spec)))
    except ProteinLabError as error:
        return _problem(index, error)


@lru_cache(maxsize=8)
def _opened(work: bytes) -> Work:
    """Read what a run needs, and see that constraints which users wrote are known here.

    Raises
    ------
    ExecutionError
        When one is not, or cannot be made.
    """
    run = msgspec.json.decode(work, type=Work)
    for number, item in enumerate(run.request.constraints):
        for fault in item.faults(f"$.constraints[{number}]") if isinstance(item, Custom) else ():
            raise ExecutionError(
                f"{fault.path}: {fault.message}",
                "Install a package with the constraint as an entry point on every worker.",
            )
    return run


def digest_of(design: Design) -> str:
    """Digest of everything in a design but the time it took."""
    return hashlib.sha256(encode_design(replace(design, timings={}))).hexdigest()


def _reply(run: Work, made: Design) -> bytes:
    """Keep a design and describe it, or send it where it cannot be kept."""
    data: bytes | None = encode_design(made)
    parts = None if run.keeping is None else reachable_parts(run.keeping)
    if parts is not None:
        try:
            parts.keep(run.request_id, made)
            data = None
        except StoreError:
            pass  # the caller tries, and tells what is the matter
    reply = Reply(
        index=made.index,
        accepted=made.accepted,
        digest=digest_of(made),
        seconds=made.timings.get("total", 0.0),
        design=data,
    )
    return msgspec.msgpack.encode(reply)


def _problem(index: int, error: ProteinLabError) -> bytes:
    return msgspec.msgpack.encode(Reply(index=index, problem=error.problem, remedy=error.remedy))

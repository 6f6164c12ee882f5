"""Routes of the service.

Whatever goes wrong is answered as ``application/problem+json`` (RFC 9457) that says what was
expected and how to mend it, and never with a traceback.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import anyio.to_thread
import msgspec
from litestar import Litestar, Response, Router, delete, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.params import Parameter

from protein_lab import __version__
from protein_lab.design.decoding import MAX_REQUEST_BYTES
from protein_lab.design.request import DesignRequest, decode_request
from protein_lab.design.request_schema import request_components, request_examples
from protein_lab.errors import ProteinLabError
from protein_lab.execution.job_table import Job, Status
from protein_lab.protein import Protein
from protein_lab.settings import Settings
from protein_lab.store.schema import DesignResult
from protein_lab.store.summary import DesignSummary, fasta, summarize
from protein_lab.typing import Fault
from protein_lab_service.jobs import Jobs
from protein_lab_service.problems import HANDLERS

MIN_TOKEN_LENGTH: Final = 16
_MMCIF: Final = "chemical/x-mmcif"
_FASTA: Final = "text/x-fasta"
_SCHEMA_PLACE: Final = "#/components/schemas/{name}"
_LOGGER = logging.getLogger(__name__)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a posted request: its id, where it stands and where to ask for it."""

    id: str
    status: Status
    links: dict[str, str]
    warnings: list[Fault]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Designs made so far and designs asked for."""

    finished: int
    total: int


class DesignState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands and, when it is done, its designs, best first."""

    id: str
    status: Status
    progress: Progress
    created_at: str
    updated_at: str
    links: dict[str, str]
    error: str | None = None
    outcome: str | None = None
    num_accepted: int | None = None
    designs: tuple[DesignSummary, ...] | None = None


@dataclass
class _GivenSchema(Schema):
    """A schema that is written down already."""

    given: dict[str, Any] = field(default_factory=dict)

    def to_schema(self) -> dict[str, Any]:
        """Give it as it is."""
        return self.given


@dataclass
class _DesignOperation(Operation):
    """Describes the body, which is read by hand to name every fault with its JSON path."""

    def __post_init__(self) -> None:
        body = OpenAPIMediaType(
            schema=Reference(ref=_SCHEMA_PLACE.format(name=DesignRequest.__name__)),
            examples={name: Example(value=value) for name, value in request_examples().items()},
        )
        self.request_body = RequestBody(content={"application/json": body}, required=True)


def _describe_request(app: Litestar) -> None:
    """Add the schemas of a request, since Litestar lists only what signatures name."""
    components = app.openapi_schema.components
    found = request_components(_SCHEMA_PLACE)
    given = {name: _GivenSchema(given=schema) for name, schema in found.items()}
    components.schemas = {**(components.schemas or {}), **given}


@post("/design", status_code=202, sync_to_thread=True, operation_class=_DesignOperation)
def submit_design(body: bytes, state: State) -> Accepted:
    """Accept a request; the same request always gets the same id."""
    request = decode_request(body)
    job = _jobs(state).submit(request)
    return Accepted(id=job.id, status=job.status, links=_links(job), warnings=request.check())


@get("/designs/{identity:str}", sync_to_thread=True)
def show_design(identity: str, state: State) -> DesignState:
    """Tell where a request stands and, when it is done, what came out."""
    return _show(_find(identity, state), state)


@delete("/designs/{identity:str}", status_code=200, sync_to_thread=True)
def cancel_design(identity: str, state: State) -> DesignState:
    """End a request that is not finished; of a finished one this changes nothing."""
    _find(identity, state)
    return _show(_jobs(state).cancel(identity) or _find(identity, state), state)


def _show(job: Job, state: State) -> DesignState:
    shown = DesignState(
        id=job.id,
        status=job.status,
        progress=Progress(finished=job.finished, total=job.request.most_designs),
        created_at=job.created_at,
        updated_at=job.updated_at,
        links=_links(job),
        error=job.error,
    )
    if job.status != "done":
        return shown
    summary = summarize(_jobs(state).result(job))
    return msgspec.structs.replace(
        shown,
        outcome=summary.outcome,
        num_accepted=summary.num_accepted,
        designs=summary.designs,
    )


@get("/designs/{identity:str}/structure", media_type=_MMCIF, sync_to_thread=True)
def show_structure(
    identity: str, state: State, rank: Annotated[int, Parameter(ge=1)] = 1
) -> Response[str]:
    """Give one design as mmCIF; its B-factor column holds the uncertainty in angstrom."""
    designs = _finished(identity, state).designs
    if rank > len(designs):
        raise NotFoundException(f"Expected a rank from 1 to {len(designs)}, but got {rank}.")
    chosen = designs[rank - 1]
    if chosen.failed is not None:
        raise HTTPException(
            f"The design of rank {rank} has no structure: {chosen.failed}", status_code=409
        )
    protein = Protein.from_backbone(
        chosen.backbone,
        sequence=chosen.sequence,
        b_factor=chosen.uncertainty,
        name=f"design_{rank:03d}",
    )
    return Response(protein.to_mmcif(), media_type=_MMCIF)


@get("/designs/{identity:str}/sequences", media_type=_FASTA, sync_to_thread=True)
def show_sequences(identity: str, state: State) -> Response[str]:
    """Give the sequences of all designs as FASTA, best design and best sequence first."""
    return Response(fasta(_finished(identity, state)), media_type=_FASTA)


@get("/health", sync_to_thread=False)
def health() -> dict[str, str]:
    """Tell that the process is alive."""
    return {"status": "alive", "version": __version__}


@get("/ready", sync_to_thread=True)
def ready(state: State) -> dict[str, str]:
    """Tell whether the database answers and the weights can be used."""
    try:
        _jobs(state).check()
    except (ProteinLabError, OSError) as error:
        # Anybody may ask, so places on this machine are for the log alone.
        _LOGGER.error("Not ready: %s", error)
        kind = type(error).__name__
        raise HTTPException(
            f"Not ready ({kind}); see the service's log.", status_code=503
        ) from error
    return {"status": "ready"}


def _jobs(state: State) -> Jobs:
    return state["jobs"]


def _find(identity: str, state: State) -> Job:
    job = _jobs(state).table.find(identity)
    if job is None:
        raise NotFoundException(
            "No request has this id. Post it to /api/v1/design and use the id of the answer."
        )
    return job


def _finished(identity: str, state: State) -> DesignResult:
    """Read the result of a request, or tell that it is not there yet."""
    job = _find(identity, state)
    if job.status != "done":
        raise HTTPException(
            f"Expected a finished request; this one is {job.status}. Ask for {_links(job)['self']} "
            "until its status is done.",
            status_code=409,
        )
    return _jobs(state).result(job)


def _links(job: Job) -> dict[str, str]:
    own = f"/api/v1/designs/{job.id}"
    return {
        "self": own,
        "structure": f"{own}/structure?rank=1",
        "sequences": f"{own}/sequences",
    }


def _require_token(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Let only those in who know the token; how long the comparison takes tells nothing."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    expected = connection.app.state["token"].encode()
    # Header bytes reach us as Latin-1 text, whatever their sender meant.
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), expected)
    if scheme.lower() != "bearer" or not same:
        raise NotAuthorizedException(
            "Expected the service's token in the header 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )


@asynccontextmanager
async def _working(app: Litestar) -> AsyncIterator[None]:
    """Work on jobs while the application runs."""
    jobs = _jobs(app.state)
    jobs.start()
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(jobs.stop)
        jobs.close()


def create_app(settings: Settings) -> Litestar:
    """Build the application.

    Parameters
    ----------
    settings : Settings
        Token, database, store and assets.

    Raises
    ------
    ProteinLabError
        When the token is shorter than 16 characters or the database cannot be opened.
    """
    if len(settings.service_token) < MIN_TOKEN_LENGTH:
        raise ProteinLabError(
            f"Expected a service token of at least {MIN_TOKEN_LENGTH} characters, but got "
            f"{len(settings.service_token)}.",
            "Set PROTEIN_LAB_SERVICE_TOKEN to a long random text.",
        )
    api = Router(
        "/api/v1",
        route_handlers=[submit_design, show_design, cancel_design, show_structure, show_sequences],
        guards=[_require_token],
        security=[{"bearer": []}],
    )
    bearer = SecurityScheme(type="http", scheme="bearer")
    app = Litestar(
        route_handlers=[api, health, ready],
        state=State({"jobs": Jobs(settings), "token": settings.service_token}),
        lifespan=[_working],
        request_max_body_size=MAX_REQUEST_BYTES,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Protein Lab",
            version=__version__,
            components=Components(security_schemes={"bearer": bearer}),
            render_plugins=[JsonRenderPlugin()],
        ),
        exception_handlers=HANDLERS,
    )
    _describe_request(app)
    return app


def serve(host: str = "127.0.0.1", port: int = 8000, settings: Settings | None = None) -> None:
    """Run the service until it is interrupted.

    Parameters
    ----------
    host, port : str, int
        Where to listen; only this machine unless told otherwise.
    settings : Settings, optional
        By default as the environment says.

    Raises
    ------
    ProteinLabError
        When the settings do not allow a start.
    """
    import uvicorn

    uvicorn.run(create_app(settings or Settings.from_environment()), host=host, port=port)

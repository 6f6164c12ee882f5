"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from protein_lab.errors import InvalidRequestError, ProteinLabError

PROBLEM: Final = "application/problem+json"
_LOGGER = logging.getLogger(__name__)


def problem(status: int, detail: str, headers: Any = None, **members: Any) -> Response[Any]:
    """Build the answer to a request that could not be fulfilled."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return Response(
        content | members, status_code=status, media_type=PROBLEM, headers=headers or None
    )


def _on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= 500 and error.status_code != 503:
        return _on_unexpected(request, error)
    members = {"extra": error.extra} if isinstance(error.extra, list) else {}
    return problem(error.status_code, error.detail, error.headers, **members)


def _on_invalid(request: Request[Any, Any, Any], error: InvalidRequestError) -> Response[Any]:
    faults = [msgspec.to_builtins(fault) for fault in error.faults]
    return problem(400, "The design request is invalid; see the faults.", faults=faults)


def _on_unavailable(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _LOGGER.error("%s %s: %s", request.method, request.url.path, error)
    return problem(503, f"The service cannot do this now: {error}")


def _on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _LOGGER.error("%s %s failed.", request.method, request.url.path, exc_info=error)
    return problem(500, "An unexpected error; the service's log has the details.")


HANDLERS: Final[dict[int | type[Exception], Any]] = {
    HTTPException: _on_http_error,
    InvalidRequestError: _on_invalid,
    ProteinLabError: _on_unavailable,
    OSError: _on_unavailable,
    Exception: _on_unexpected,
}
"""Exception handlers of the application; each answers as a problem."""

"""The engine over HTTP: post a request, ask for its state, fetch structures."""

from __future__ import annotations

from protein_lab.errors import MissingExtraError

try:
    from protein_lab_service.app import create_app, serve
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in {"litestar", "uvicorn"}:
        raise
    raise MissingExtraError(str(error.name), "service") from error

__all__ = ["create_app", "serve"]

"""The way in for whoever has a token: every path below /api wants one. GET /api/v1/me says who that is, as Go does."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from starling.frame import answer
from starling.frame.auth import ForbiddenError, Identity, UnauthenticatedError, UnavailableError, Verifier


class Me(BaseModel):
    """Who asks."""

    subject: str
    email: str | None
    name: str | None
    roles: list[str]
    tenant_ids: list[str]
    claims: dict[str, Any]


def admitted(verifier: Verifier | None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets nobody below /api whose token is not good; who it is stands in request.state.identity."""

    async def admit(request: Request) -> None:
        if not request.url.path.startswith("/api/"):
            return
        if verifier is None:
            raise answer.Failure(503)
        headers = request.scope["headers"]
        try:
            who = await verifier.verify([value for name, value in headers if name == b"authorization"])
            who.choose(_values(headers, b"x-tenant-id"), _values(headers, b"x-tenant-slug"))
        except UnauthenticatedError:
            raise answer.Failure(401) from None
        except ForbiddenError:
            raise answer.Failure(403) from None
        except UnavailableError:
            raise answer.Failure(503) from None
        request.state.identity = who

    return admit


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def mount(app: FastAPI) -> None:
    """Adds GET /api/v1/me."""
    shown = HTTPBearer(scheme_name="bearer", bearerFormat="JWT", auto_error=False)  # for the document; admitted checks
    refused: dict[int | str, dict[str, Any]] = {
        401: {"model": answer.ErrorBody, "description": "No, bad or expired token"},
        403: {"model": answer.ErrorBody, "description": "The token does not allow the tenant"},
        503: {"model": answer.ErrorBody, "description": "The issuer's keys are away"},
    }

    @app.get("/api/v1/me", summary="Who am I", dependencies=[Depends(shown)], responses=refused)
    async def me(request: Request) -> Me:
        who: Identity = request.state.identity
        return Me(
            subject=who.subject,
            email=who.email or None,
            name=who.name or None,
            roles=who.roles,
            tenant_ids=who.tenants,
            claims=who.claims,
        )

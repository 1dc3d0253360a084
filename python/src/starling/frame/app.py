"""The application of a process: health, readiness, metrics and the OpenAPI document, with the door around them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from starling.frame import answer, door, me
from starling.frame.auth import Verifier
from starling.frame.config import Faults
from starling.frame.log import Log

_PROBE_BOUND_S = 2
"""Seconds that one dependency may take to answer for /readyz."""

State = Literal["ok", "degraded", "down", "stopping"]


@dataclass(frozen=True, slots=True)
class Check:
    """How a dependency does: probe raises where it is away. Without a critical one the process is not ready."""

    name: str
    critical: bool
    probe: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Options:
    """What an application is made of."""

    room: str
    """Folder of the process below starling; its metrics bear it."""
    version: str
    log: Log
    bounds: door.Bounds = field(default_factory=door.Bounds)
    faults: Faults = field(default_factory=Faults)
    """Any: the process serves health and readiness and nothing else."""
    checks: Sequence[Check] = ()
    mount: Callable[[FastAPI], None] | None = None
    """Adds the routes of the process's features."""
    metrics_apart: bool = False
    """/metrics is served on a port of its own, by exposition."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    verifier: Verifier | None = None
    """Checks tokens; None: nobody gets to a path below /api."""
    closing: Callable[[], bool] = lambda: False
    """Whether the process is stopping."""


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"]
    version: str


class Readiness(BaseModel):
    """Requests should come here."""

    status: Literal["ok"]
    dependencies: dict[str, State]


def build(o: Options) -> FastAPI:
    """Returns the application."""
    app = FastAPI(
        title=f"Starling {o.room}",
        version="1.0.0",  # of the document; it changes with the routes
        openapi_url=None if o.faults else "/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        dependencies=[Depends(me.admitted(o.verifier)), Depends(_understood)],
        responses={422: {"model": answer.ErrorBody, "description": "The request is invalid"}},
    )
    app.router.route_class = _Route
    metrics = door.Metrics(o.room, o.registry)
    app.add_middleware(door.Door, log=o.log, metrics=metrics, bounds=o.bounds, closing=o.closing)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    _health(app, o)
    if o.faults:
        return app
    for collect in (GCCollector, PlatformCollector, ProcessCollector):
        collect(registry=o.registry)
    if not o.metrics_apart:
        app.add_api_route("/metrics", _metrics(o.registry), response_class=Response, include_in_schema=False)
    me.mount(app)
    if o.mount:
        o.mount(app)
    return app


def _health(app: FastAPI, o: Options) -> None:
    away: dict[int | str, dict[str, Any]] = {503: {"model": answer.ErrorBody, "description": "Not ready"}}

    @app.get("/healthz", summary="Whether the process runs")
    async def healthz() -> Health:
        return Health(status="ok", version=o.version)

    @app.get("/readyz", summary="Whether requests should come here, and how each dependency does", responses=away)
    async def readyz() -> Readiness:
        if o.faults:
            raise answer.Failure(
                503,
                "the configuration is incomplete or invalid",
                code="FAILED_PRECONDITION",
                missing=sorted(o.faults.missing),
                invalid=[{"key": key, "problem": problem} for key, problem in o.faults.invalid],
            )
        states = dict(zip((c.name for c in o.checks), await asyncio.gather(*map(_state, o.checks)), strict=True))
        if o.closing():
            states["process"] = "stopping"
        if any(state in ("down", "stopping") for state in states.values()):
            raise answer.Failure(503, "a dependency is down", dependencies=states)
        return Readiness(status="ok", dependencies=states)


async def _state(check: Check) -> State:
    try:
        async with asyncio.timeout(_PROBE_BOUND_S):
            await check.probe()
    except Exception:
        return "down" if check.critical else "degraded"
    return "ok"


def exposition(registry: CollectorRegistry) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
    """The application of a port that serves /metrics alone."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        response = _exposed(registry) if found else Response(status_code=404)
        await response(scope, receive, send)

    return app


def _metrics(registry: CollectorRegistry) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def metrics() -> Response:
        return _exposed(registry)

    return metrics


def _exposed(registry: CollectorRegistry) -> Response:
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _answer(request: Request, fault: Exception) -> Response:
    return door.fail(request, fault).response(door.id_of(request))


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.startswith("application/") and kind.endswith("+json")


async def _understood(request: Request) -> None:
    """Refuses what would be passed over in silence: a body that says to be no JSON, a query that nobody knows."""
    kind = request.headers.get("content-type")
    if request.method in ("POST", "PUT", "PATCH") and kind and not _is_json(kind):
        raise answer.Failure(415, fields=[{"field": "header.Content-Type", "problem": "want application/json"}])
    if request.url.path in door.PROBES:
        return
    path = request.app.openapi()["paths"].get(getattr(request.scope["route"], "path", ""), {})
    operation = path.get(request.method.lower(), {})
    known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    unknown = [(f"query.{name}", "unknown query parameter") for name in request.query_params if name not in known]
    if unknown:
        raise answer.invalid(unknown)


class _Request(Request):
    """A request whose JSON is JSON: Python's own reader takes NaN and Infinity as well."""

    async def json(self) -> Any:
        return answer.read_json(await self.body())


class _Route(APIRoute):
    """A route whose work can be stopped: what computes for long does so in a pool of its own, with a bound."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        if not inspect.iscoroutinefunction(endpoint):  # a thread goes on after its request was answered 504
            raise TypeError(f"{path}: want a coroutine function")
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return strictly

"""The way in and out of every request: its id, its log lines, its metrics, its bounds in time, size and number."""

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starling.frame import answer
from starling.frame.log import Log

PROBES = ("/healthz", "/readyz", "/metrics")
"""Asked by machines, often: logged at debug level, answered however much is under way."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
_SLOT = "starling.frame"
_BODY_READ_ON = 4
"""Times the bound of a body that is read and thrown away, so that its sender gets to read the answer."""


class Metrics:
    """What a process counts of its requests, under the names of its room."""

    def __init__(self, room: str, registry: CollectorRegistry) -> None:
        name = f"starling_{room}"
        self.requests = Counter(
            f"{name}_requests",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.duration = Histogram(
            f"{name}_duration_seconds",
            "Time from a request's start to its end.",
            ["route"],
            registry=registry,
            buckets=[0.001 * 2**n for n in range(14)],
        )
        self.dropped = Counter(
            f"{name}_dropped", "Requests refused because too many were under way.", ["queue"], registry=registry
        )


@dataclass(slots=True)
class Bounds:
    """What the door holds. Zero is no bound anywhere."""

    timeout_s: float = 10
    """After it a request is answered 504, whether its work has ended or not."""
    in_flight: int = 2000
    """Requests under way, those that were answered 504 and go on included; more are answered 429."""
    body: int = 1 << 20
    """Bytes of a body; more are answered 413."""


@dataclass(slots=True)
class _Entry:
    """What is known of a request while it runs."""

    id: str
    trace: str
    failed: str = ""
    """The code of the error it was answered with."""
    cause: str = ""
    stack: str = ""


def id_of(request: Request) -> str:
    """The X-Request-ID of a request."""
    entry = request.scope.get(_SLOT)
    return entry.id if isinstance(entry, _Entry) else ""


def fail(request: Request, fault: Exception) -> answer.Failure:
    """Turns an error into its answer and gives the log its cause."""
    failure = answer.of(fault, request)
    entry = request.scope[_SLOT]
    cause = fault.__cause__ if isinstance(fault, answer.Failure) and fault.__cause__ else fault
    entry.failed = failure.code
    # A fault that we know is told by our own words: the framework's quote what came in.
    entry.cause = failure.message if failure.status_code < 500 else f"{type(cause).__name__}: {cause}"
    if failure.status_code == 500:
        entry.stack = "".join(traceback.format_exception(fault))
    return failure


@dataclass(slots=True)
class _Gate:
    """The way out: adds our headers and remembers the status. Shut, it lets nothing more through."""

    send: Send
    entry: _Entry
    closing: Callable[[], bool]
    status: int = 0
    shut: bool = False

    async def __call__(self, message: Message) -> None:
        if self.shut:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), (b"x-request-id", self.entry.id.encode())]
            if self.closing():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self.send(message)


@dataclass(slots=True)
class Door:
    """ASGI middleware around everything that answers."""

    app: ASGIApp
    log: Log
    metrics: Metrics
    bounds: Bounds
    closing: Callable[[], bool]
    """Whether the process is stopping: new requests are refused, and every answer ends its connection."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry, began = _identify(scope), time.perf_counter()
        probe = scope["path"] in PROBES
        inner = {**scope, _SLOT: entry}
        if scope["method"] == "HEAD":
            inner["method"] = "GET"  # the server below sends no body
        base = {
            "request_id": entry.id,
            "method": scope["method"],
            "path": scope["path"],
            "client_ip": (scope.get("client") or ("",))[0],
            "trace_id": entry.trace,
            "tenant_id": "",
            "robot_id": "",
            "task_id": "",
        }
        quiet = "debug" if probe else "info"
        self.log.write(quiet, "request started", "http.start", **base)
        gate = _Gate(send, entry, self.closing)
        try:
            if probe:
                await self._serve(inner, receive, gate)
            else:
                await self._bounded(inner, receive, gate)
        finally:
            took = time.perf_counter() - began
            status = gate.status or 500
            route = getattr(inner.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.duration.labels(route).observe(took)
            end: dict[str, object] = {**base, "status_code": status, "duration_ms": round(took * 1000, 3)}
            if entry.failed:
                end |= {"error_code": entry.failed, "error": entry.cause}
            if entry.stack:
                end["stack"] = entry.stack
            level = "error" if status >= 500 and not probe else quiet
            self.log.write(level, "request ended", "http.end", **end)

    async def _bounded(self, scope: Scope, receive: Receive, gate: _Gate) -> None:
        """Serves a request within the door's bounds."""
        if self.closing():
            await _refuse(scope, gate, answer.Failure(503, "the process is stopping"))
            return
        if len(self._under_way) >= self.bounds.in_flight:
            self.metrics.dropped.labels("requests").inc()
            await _refuse(scope, gate, answer.Failure(429, "too many requests are under way"))
            return
        task = asyncio.create_task(self._serve(scope, _Meter(receive, self.bounds.body), gate))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        fault: Exception = answer.Failure(504)
        try:
            await asyncio.wait({task}, timeout=self.bounds.timeout_s)
        except asyncio.CancelledError:
            if not self.closing():
                raise
            fault = answer.Failure(503, "the process is stopping")  # and waits no longer: whoever asked is told
        finally:
            task.cancel()  # it counts as under way until it has heeded that
        if task.done():
            fault = RuntimeError("the request's work was cancelled")
        gate.shut = True
        if gate.status == 0:
            late = _Gate(gate.send, gate.entry, gate.closing)
            await _refuse(scope, late, fault)
            gate.status = late.status

    async def _serve(self, scope: Scope, receive: Receive, gate: _Gate) -> None:
        """Serves a request; an error that nobody took becomes a 500."""
        try:
            await self.app(scope, receive, gate)
        except Exception as fault:
            await _refuse(scope, gate, fault)


async def _refuse(scope: Scope, gate: _Gate, fault: Exception) -> None:
    """Answers with an error, if nothing was answered yet."""
    request = Request(scope)
    failure = fail(request, fault)
    if gate.status == 0:
        await failure.response(gate.entry.id)(scope, request.receive, gate)


@dataclass(slots=True)
class _Meter:
    """The way in: counts what a body brings."""

    receive: Receive
    bound: int
    total: int = 0

    async def __call__(self) -> Message:
        while True:
            message = await self.receive()
            self.total += len(message.get("body", b""))
            more = message.get("more_body", False)
            if self.total <= self.bound:
                return message
            if not more or self.total > _BODY_READ_ON * self.bound:
                raise answer.Failure(413, fields=[{"field": "body", "problem": "too large"}])


def _identify(scope: Scope) -> _Entry:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    sent, trace = headers.get(b"x-request-id", ""), _TRACE.fullmatch(headers.get(b"traceparent", ""))
    return _Entry(sent if _ID.fullmatch(sent) else str(uuid.uuid4()), trace[1] if trace else uuid.uuid4().hex)

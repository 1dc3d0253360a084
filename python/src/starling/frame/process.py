"""From the environment to a running process, and to its end in order."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from starling.frame import app, auth, door
from starling.frame.config import Config, Faults, load
from starling.frame.log import Log

_HEADERS = 64 << 10
"""Bytes of a request's line and headers."""
_GRACE_S = 0.5
"""For so long, at most, requests on open connections are told to come back later, before idle ones are closed."""
_REQUESTS = 0.8
"""Part of the time to stop that requests under way may take."""


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of process."""

    room: str
    """Its folder below starling; SERVICE_NAME is starling-<room> unless it is set."""
    mount: Callable[[FastAPI], None] | None = None
    """Adds the routes of its features."""
    checks: Sequence[app.Check] = ()


def main(service: Service) -> None:
    """Runs the process until SIGTERM or SIGINT, with exit code 0, or until it cannot, with exit code 1."""
    sys.exit(run(service, os.environ, sys.stdout))


def run(service: Service, environ: Mapping[str, str], out: TextIO) -> int:
    """Runs the process and returns its exit code.

    STARLING_VERSION is what it calls itself: whoever starts it from a checkout or an image knows, the source does not.
    """
    config, faults = load(environ, lambda path: Path(path).read_bytes(), f"starling-{service.room}")
    version = environ.get("STARLING_VERSION") or "devel"
    log = Log(out, config, version)
    log.adopt()
    for key in faults.missing:
        log.write("error", "configuration key is missing", "config.missing", key=key)
    for key, problem in faults.invalid:
        log.write("error", "configuration key is invalid", "config.invalid", key=key, problem=problem)
    try:
        asyncio.run(_Process(service, config, faults, version, log).run())
    except OSError as fault:
        print(f"starling-{service.room}: {fault}", file=sys.stderr)
        return 1
    return 0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The process hears signals itself: it first refuses, then stops."""
        yield

    def refuse(self) -> None:
        """Takes no new connections; those that are open stay."""
        for listener in self.servers:
            listener.close()

    def cut(self) -> None:
        """Ends requests under way: the door tells whoever asked."""
        self.force_exit = True
        for task in self.server_state.tasks:
            task.cancel()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self.server_state.connections)


def _server(app: ASGIApp) -> _Server:
    # http1 without proxy headers: client_ip is who calls us. Its own log lines come by Log.adopt.
    return _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_HEADERS,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        raise OSError(f"listen on port {port}: {fault}") from fault


@dataclass(slots=True)
class _Process:
    service: Service
    config: Config
    faults: Faults
    version: str
    log: Log
    closing: bool = False

    async def run(self) -> None:
        """Serves until a signal comes, then stops within SHUTDOWN_TIMEOUT_MS."""
        stop = _signals()
        c = self.config
        apart = c.metrics_port != 0 and not self.faults
        options = app.Options(
            room=self.service.room,
            version=self.version,
            log=self.log,
            bounds=door.Bounds(timeout_s=c.request_timeout_ms / 1000),
            faults=self.faults,
            checks=self.service.checks,
            mount=self.service.mount,
            metrics_apart=apart,
            closing=lambda: self.closing,
        )
        if not self.faults:
            options.verifier = auth.verifier(
                c.issuers, c.jwks_cache_ttl_seconds, c.jwt_clock_skew_seconds, self.log, options.registry
            )
        fetching = [asyncio.create_task(keys.run()) for keys in options.verifier.sources] if options.verifier else []
        servers = [(_server(app.build(options)), _listen(c.http_host, c.http_port))]
        if apart:
            servers.append((_server(app.exposition(options.registry)), _listen(c.http_host, c.metrics_port)))
        serving = {asyncio.create_task(server.serve([at])) for server, at in servers}
        self.log.write("info", "started", "process.started", port=servers[0][1].getsockname()[1])
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({*serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for ended in serving:
            if ended.done():
                ended.result()  # nothing ends a server but us: tell what did
        await self._stop([server for server, _ in servers], serving)
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)

    async def _stop(self, servers: Sequence[_Server], serving: set[asyncio.Task[None]]) -> None:
        loop, bound = asyncio.get_running_loop(), self.config.shutdown_timeout_ms / 1000
        began = loop.time()
        self.closing = True
        for server in servers:
            server.refuse()
        # A client may be sending its next request on an idle connection at this very moment: for a while whoever does
        # is told to come back later (the door answers 503 and closes), instead of finding its connection cut.
        while servers[0].connections and loop.time() < began + min(_GRACE_S, bound / 10):  # noqa: ASYNC110 // no event
            await asyncio.sleep(0.005)
        for server in servers:
            server.should_exit = True
        _, late = await asyncio.wait(serving, timeout=began + bound * _REQUESTS - loop.time())
        if late:
            self.log.write(
                "warn", "stopping was cut short", "process.stop", part="http", error="requests are under way"
            )
            for server in servers:
                server.cut()
            await asyncio.wait(serving, timeout=bound * (1 - _REQUESTS) / 2)
        self.log.write("info", "stopped", "process.stopped")


def _signals() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(sig, stop.set)
        except NotImplementedError:  # on Windows
            signal.signal(sig, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop

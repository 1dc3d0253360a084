import asyncio

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import StreamingResponse
from starlette.types import Message

from starling.frame.app import build
from starling.frame.door import Bounds
from tests import trial
from tests.asgi import Book, ask, asked, options, scope_of


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("abc.DEF_1-2", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        ("ä", False),
        ("a\n", False),
        ("", False),
    ],
)
def test_a_request_has_one_id(sent: str, taken: bool) -> None:
    book = Book()
    reply = asked(build(options(log=book.log)), "/nothing", x_request_id=sent)
    assert (reply.headers["x-request-id"] == sent) == taken
    assert {line["request_id"] for line in book.lines()} == {reply.headers["x-request-id"]}
    assert [line["event"] for line in book.lines()] == ["http.start", "http.end"]


def test_a_trace_goes_on_or_begins() -> None:
    book, trace = Book(), "0af7651916cd43dd8448eb211c80319c"
    app = build(options(log=book.log))
    asked(app, "/nothing", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert book.last()["trace_id"] == trace
    asked(app, "/nothing", traceparent="nonsense")
    assert len(book.last()["trace_id"]) == 32
    assert book.last()["trace_id"] != trace


def test_how_loudly_the_log_speaks() -> None:
    book = Book()
    app = build(options(log=book.log, mount=trial.mount))
    for path, want in {
        "/healthz": "debug",
        "/trial/warehouses": "info",
        "/nothing": "info",
        "/trial/broken": "error",
    }.items():
        asked(app, path)
        assert book.last()["level"] == want


def test_what_breaks_is_told_to_the_log_alone() -> None:
    book = Book()
    app = build(options(log=book.log, mount=trial.mount))
    for path in ("/trial/broken", "/trial/impossible"):
        asked(app, path).fails(500, "INTERNAL_ERROR")
        assert "innards" in book.last()["error"]
        assert "Traceback" in book.last()["stack"]
    assert asked(app, "/healthz").status == 200


def test_a_request_has_its_time() -> None:
    book, app_ended = Book(), asyncio.Event()

    def mount(app: FastAPI) -> None:
        @app.get("/stubborn")
        async def stubborn() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.2)  # it does not heed at once
                app_ended.set()

    app = build(options(log=book.log, mount=mount, bounds=Bounds(timeout_s=0.05, in_flight=1)))

    async def run() -> None:
        async with asyncio.timeout(5):
            (await ask(app, "/stubborn")).fails(504, "TIMEOUT")
            assert not app_ended.is_set()
            assert book.last()["status_code"] == 504
            (await ask(app, "/nothing")).fails(429, "RESOURCE_EXHAUSTED")  # the work still counts
            await app_ended.wait()
            await asyncio.sleep(0.01)
            (await ask(app, "/nothing")).fails(404, "NOT_FOUND")

    asyncio.run(run())


def test_a_body_that_does_not_come_has_its_time_too() -> None:
    app = build(options(mount=trial.mount, bounds=Bounds(timeout_s=0.05)))
    started: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Message) -> None:
        started.append(message)

    async def run() -> None:
        await app(scope_of("/trial/warehouses", "POST", {}), receive, send)

    asyncio.run(run())
    assert started[0]["status"] == 504


def test_more_than_the_door_holds_is_refused_and_counted() -> None:
    registry, release = CollectorRegistry(), asyncio.Event()

    def mount(app: FastAPI) -> None:
        @app.get("/wait")
        async def wait() -> None:
            await release.wait()

    app = build(options(mount=mount, bounds=Bounds(in_flight=1), registry=registry))

    async def run() -> None:
        waiting = asyncio.create_task(ask(app, "/wait"))
        await asyncio.sleep(0.01)
        refused = await ask(app, "/wait")
        refused.fails(429, "RESOURCE_EXHAUSTED")
        assert refused.headers["retry-after"] == "1"
        assert (await ask(app, "/healthz")).status == 200
        release.set()
        assert (await waiting).status == 200
        assert (await ask(app, "/wait")).status == 200

    asyncio.run(run())
    assert registry.get_sample_value("starling_test_dropped_total", {"queue": "requests"}) == 1


def test_bodies_have_their_bound() -> None:
    app = build(options(mount=trial.mount, bounds=Bounds(body=100)))
    good = b'{"warehouse_code":"W","name":"n"}'
    assert asked(app, "/trial/warehouses", "POST", good.ljust(100)).status == 201
    details = asked(app, "/trial/warehouses", "POST", good.ljust(101)).fails(413, "INVALID_ARGUMENT")
    assert details == {"fields": [{"field": "body", "problem": "too large"}]}


def test_a_body_without_end_is_not_read_without_end() -> None:
    app, read, status = build(options(mount=trial.mount, bounds=Bounds(body=100))), 0, []

    async def receive() -> Message:
        nonlocal read
        read += 50
        return {"type": "http.request", "body": b"x" * 50, "more_body": True}

    async def send(message: Message) -> None:
        status.append(message.get("status"))

    asyncio.run(app(scope_of("/trial/warehouses", "POST", {}), receive, send))
    assert status[0] == 413
    assert 400 < read <= 500


def test_a_process_that_stops_refuses_and_ends_connections() -> None:
    closing = False
    app = build(options(mount=trial.mount, closing=lambda: closing))
    assert "connection" not in asked(app, "/trial/warehouses").headers
    closing = True
    reply = asked(app, "/trial/warehouses")
    reply.fails(503, "UNAVAILABLE")
    assert (reply.headers["connection"], reply.headers["retry-after"]) == ("close", "1")
    assert asked(app, "/healthz").status == 200
    assert asked(app, "/readyz").fails(503, "UNAVAILABLE") == {"dependencies": {"process": "stopping"}}


def test_whoever_is_cut_off_is_told() -> None:
    closing = False
    app = build(options(mount=trial.mount, closing=lambda: closing))

    async def run() -> None:
        nonlocal closing
        waiting = asyncio.create_task(ask(app, "/trial/slow"))
        await asyncio.sleep(0.01)
        closing = True
        waiting.cancel()
        (await waiting).fails(503, "UNAVAILABLE")

    asyncio.run(run())


def test_work_that_was_cancelled_by_somebody_is_an_error() -> None:
    def mount(app: FastAPI) -> None:
        @app.get("/cancelled")
        async def cancelled() -> None:
            raise asyncio.CancelledError

    asked(build(options(mount=mount)), "/cancelled").fails(500, "INTERNAL_ERROR")


def test_an_answer_that_breaks_off_is_not_answered_again() -> None:
    book = Book()

    def mount(app: FastAPI) -> None:
        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> object:
                yield b"part"
                raise RuntimeError("innards")

            return StreamingResponse(parts())  # type: ignore[arg-type]

    reply = asked(build(options(mount=mount, log=book.log)), "/stream")
    assert (reply.status, reply.body) == (200, b"part")
    assert book.last()["error_code"] == "INTERNAL_ERROR"


def test_what_clients_make_up_makes_no_metrics() -> None:
    registry = CollectorRegistry()
    app = build(options(mount=trial.mount, registry=registry))
    for n in range(20):
        asked(app, f"/nothing/{n}", f"M{n}")
        asked(app, f"/trial/warehouses?limit={n + 1}")
    text = asked(app, "/metrics").body.decode()
    families = {f.name: f.samples for f in text_string_to_metric_families(text)}
    counts = {
        tuple(s.labels.values()): s.value for s in families["starling_test_requests"] if s.name.endswith("_total")
    }
    assert counts == {("other", "none", "404"): 20, ("GET", "/trial/warehouses", "200"): 20}
    assert {s.labels["route"] for s in families["starling_test_duration_seconds"]} == {"none", "/trial/warehouses"}


def test_head_asks_what_get_would_answer() -> None:
    book = Book()
    app = build(options(mount=trial.mount, log=book.log))
    assert asked(app, "/healthz", "HEAD").status == 200
    assert book.last()["method"] == "HEAD"
    asked(app, "/trial/nested", "HEAD").fails(405, "NOT_FOUND")

import asyncio
import time

import pytest
from fastapi import FastAPI

from starling.frame import app as frame
from starling.frame.config import Faults
from tests import trial
from tests.asgi import Reply, asked, options


def _ready(*checks: frame.Check) -> Reply:
    return asked(frame.build(options(checks=checks)), "/readyz")


async def _well() -> None:
    """Answers."""


async def _away() -> None:
    raise ConnectionError("innards")


async def _silent() -> None:
    await asyncio.sleep(3600)


def test_readiness_lists_each_dependency() -> None:
    assert _ready().json() == {"status": "ok", "dependencies": {}}
    reply = _ready(frame.Check("a", critical=True, probe=_well), frame.Check("b", critical=False, probe=_away))
    assert (reply.status, reply.json()) == (200, {"status": "ok", "dependencies": {"a": "ok", "b": "degraded"}})
    reply = _ready(frame.Check("a", critical=True, probe=_away), frame.Check("b", critical=False, probe=_well))
    assert reply.fails(503, "UNAVAILABLE") == {"dependencies": {"a": "down", "b": "ok"}}


def test_a_silent_dependency_is_away_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "_PROBE_BOUND_S", 0.1)
    began = time.monotonic()
    reply = _ready(*(frame.Check(name, critical=False, probe=_silent) for name in "abcdef"))
    assert set(reply.json()["dependencies"].values()) == {"degraded"}
    assert time.monotonic() - began < 0.5


def test_with_faults_there_is_health_and_nothing_else() -> None:
    faults = Faults(missing=["B", "A"], invalid=[("C", "want it")])
    app = frame.build(options(faults=faults, mount=trial.mount))
    assert asked(app, "/healthz").json() == {"status": "ok", "version": "v1"}
    details = asked(app, "/readyz").fails(503, "FAILED_PRECONDITION")
    assert details == {"missing": ["A", "B"], "invalid": [{"key": "C", "problem": "want it"}]}
    for path in ("/openapi.json", "/metrics", "/docs", "/redoc", "/trial/warehouses"):
        asked(app, path).fails(404, "NOT_FOUND")


def test_metrics_may_have_a_port_of_their_own() -> None:
    o = options(metrics_apart=True)
    asked(frame.build(o), "/metrics").fails(404, "NOT_FOUND")
    apart = frame.exposition(o.registry)
    assert b"starling_test_requests_total" in asked(apart, "/metrics").body
    assert asked(apart, "/healthz").status == 404
    assert asked(apart, "/metrics", "POST").status == 404


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("Application/JSON; charset=utf-8", 201),
        ("application/problem+json", 201),
        ("", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("json", 415),
        ("application/jsonish", 415),
    ],
)
def test_a_body_says_that_it_is_json_or_nothing(content_type: str, status: int) -> None:
    body = b'{"warehouse_code":"W","name":"n"}'
    app = frame.build(options(mount=trial.mount))
    reply = asked(app, "/trial/warehouses", "POST", body, content_type=content_type)
    assert reply.status == status, reply.body
    if status == 415:
        reply.fails(415, "INVALID_ARGUMENT")


def test_a_query_that_nobody_knows_is_refused() -> None:
    app = frame.build(options(mount=trial.mount))
    assert asked(app, "/trial/warehouses?limit=1").json() == {"limit": 1}
    assert asked(app, "/trial/warehouses?limt=1").faults() == {"query.limt": "unknown query parameter"}
    assert asked(app, "/trial/warehouses?limit=x").faults() == {"query.limit": "invalid integer"}
    assert asked(app, "/readyz?verbose").status == 200


def test_work_that_cannot_be_stopped_is_refused_at_start() -> None:
    def mount(app: FastAPI) -> None:
        @app.get("/blocking")
        def blocking() -> None:
            """Runs in a thread."""

    with pytest.raises(TypeError, match="/blocking: want a coroutine function"):
        frame.build(options(mount=mount))

import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pytest
from fastapi import FastAPI
from pydantic import Field

from starling.frame.answer import Body, ErrorBody, Failure
from starling.frame.app import build
from tests import trial
from tests.asgi import Book, asked, options


class _Colour(Enum):
    RED = "red"


class _All(Body):
    """A property of each kind."""

    an_id: UUID
    at: datetime
    colour: _Colour
    kind: Literal["a", "b"]
    flag: bool
    code: Annotated[str, Field(pattern="^[a-z]+$")]
    ratio: Annotated[float, Field(gt=0, lt=1)]
    level: Annotated[int, Field(le=3)]
    names: Annotated[list[str], Field(max_length=1)]
    tags: dict[str, int]


def _mount(app: FastAPI) -> None:
    @app.put("/all")
    async def put(body: _All) -> None:
        """Takes everything."""


def test_faults_have_names_and_words_of_ours() -> None:
    app = build(options(mount=_mount))
    planted = "hunter2"
    body = {
        "an_id": planted,
        "at": planted,
        "colour": planted,
        "kind": planted,
        "flag": planted,
        "code": planted,
        "ratio": 4711,
        "level": 4711,
        "names": [planted, planted],
        "tags": {planted: planted},
    }
    reply = asked(app, "/all", "PUT", json.dumps(body).encode())
    assert reply.faults() == {
        "body.an_id": "not of the wanted type",
        "body.at": "not of the wanted type",
        "body.code": "expected string to match pattern ^[a-z]+$",
        "body.colour": "expected value to be one of 'red'",
        "body.flag": "expected boolean",
        "body.kind": "expected value to be one of 'a' or 'b'",
        "body.level": "expected number <= 3",
        "body.names": "expected array length <= 1",
        "body.ratio": "expected number < 1.0",
        "body.tags.hunter2": "expected integer",  # a name, as that of an unknown property
    }
    assert planted.encode() not in reply.body.replace(b"body.tags.hunter2", b"")


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ('{"items":[{"x":1},{"x":"a"},{}]}', {"body.items[1].x": "expected number", "body.items[2].x": "is needed"}),
        ('{"items":[],"count":10}', {"body.count": "expected number <= 9", "body.items": "expected array length >= 1"}),
        ('{"items":[{"x":1e999}]}', {"body.items[0].x": "a number is out of range"}),
        ('{"items":{"x":1}}', {"body.items": "expected array"}),
        ('{"items":[{"x":1}],"count":0.5}', {"body.count": "expected integer"}),
        ('{"items":[{"x":1}],"' + "n" * 300 + '":1}', {"body." + "n" * 195 + "…": "unexpected property"}),
        ("[]", {"body": "expected object"}),
        ("null", {"body": "expected object"}),
        ("7", {"body": "expected object"}),
    ],
)
def test_every_fault_is_told_at_once(body: str, want: dict[str, str]) -> None:
    assert asked(build(options(mount=trial.mount)), "/trial/nested", "POST", body.encode()).faults() == want


@pytest.mark.parametrize("body", [b"", b"{", b'{"items":NaN}', b'{"items":-Infinity}', b'"\xff"', b"[" * 100_000])
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    details = asked(build(options(mount=trial.mount)), "/trial/nested", "POST", body).fails(400, "INVALID_ARGUMENT")
    assert details == {"fields": [{"field": "body", "problem": "not readable as JSON"}]}


def test_every_status_has_its_code() -> None:
    book = Book()

    def mount(app: FastAPI) -> None:
        @app.get("/fail/{status}")
        async def fail(status: int) -> None:
            raise Failure(status) from ConnectionError("the cause")

    app = build(options(mount=mount, log=book.log))
    for status, code in {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "FORBIDDEN",
        404: "NOT_FOUND",
        409: "CONFLICT",
        412: "FAILED_PRECONDITION",
        418: "INVALID_ARGUMENT",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL_ERROR",
        501: "INTERNAL_ERROR",
        503: "UNAVAILABLE",
        504: "TIMEOUT",
    }.items():
        reply = asked(app, f"/fail/{status}")
        assert reply.fails(status, code) == {}
        assert ("retry-after" in reply.headers) == (status in (429, 503))
        assert (book.last()["error"] == "ConnectionError: the cause") == (status >= 500)
        assert ("stack" in book.last()) == (status == 500)
        ErrorBody.model_validate_json(reply.body)


def test_the_methods_of_a_path_are_told() -> None:
    app = build(options(mount=trial.mount))
    for path, want in {"/healthz": "GET", "/trial/warehouses": "GET, POST", "/trial/nested": "POST"}.items():
        reply = asked(app, path, "DELETE")
        reply.fails(405, "NOT_FOUND")
        assert reply.headers["allow"] == want


def test_the_document_knows_our_errors_alone() -> None:
    document = asked(build(options(mount=trial.mount)), "/openapi.json").json()
    assert "ErrorBody" in document["components"]["schemas"]
    assert "ValidationError" not in json.dumps(document)
    assert set(document["paths"]) >= {"/healthz", "/readyz", "/trial/nested"}

"""Asks an application in this process, and reads what it logs."""

import asyncio
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from starlette.types import ASGIApp, Message, Scope

from starling.frame import app, config
from starling.frame.log import Log

SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "log.schema.json").read_text(encoding="utf-8"))
)


@dataclass
class Reply:
    """An answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)

    def fails(self, status: int, code: str) -> dict[str, Any]:
        """Holds the answer to the one error body and returns its details."""
        assert self.status == status, self.body
        assert self.headers["content-type"] == "application/json"
        error = self.json()["error"]
        assert set(self.json()) == {"error"}
        assert set(error) == {"code", "message", "request_id", "details"}
        assert error["code"] == code
        assert error["message"]
        assert error["request_id"] == self.headers["x-request-id"]
        assert b"innards" not in self.body
        details: dict[str, Any] = error["details"]
        return details

    def faults(self) -> dict[str, str]:
        """The fields of a 422 and their problems."""
        fields = self.fails(422, "INVALID_ARGUMENT")["fields"]
        assert [f["field"] for f in fields] == sorted({f["field"] for f in fields})
        return {f["field"]: f["problem"] for f in fields}


class Book:
    """A log that is kept in memory; each of its lines must fit the schema."""

    def __init__(self, **keys: str) -> None:
        self.out = io.StringIO()
        settings, faults = config.load({"LOG_LEVEL": "debug", **keys}, _no_file, "starling-test")
        assert not faults
        self.log = Log(self.out, settings, "v1")

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.out.getvalue().splitlines()]
        for line in lines:
            SCHEMA.validate(line)
        return lines

    def last(self) -> dict[str, Any]:
        return self.lines()[-1]


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


def options(**more: Any) -> app.Options:
    """An application's options, with a log in memory if none is given."""
    return app.Options(**{"room": "test", "version": "v1", "log": Book().log, **more})


def scope_of(path: str, method: str, headers: dict[str, str]) -> Scope:
    """A request as the server hands it over."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def ask(to: ASGIApp, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
    """Sends a request; a body is JSON unless content_type says something else."""
    if body is not None:
        headers.setdefault("content_type", "application/json")
    scope = scope_of(path, method, headers)
    reply, sent = Reply(), False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert reply.status == 0, "answered twice"
            reply.status = message["status"]
            reply.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            reply.body += message["body"]

    await to(scope, receive, send)
    return reply


def asked(to: ASGIApp, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
    """The same where nothing else is going on."""
    return asyncio.run(ask(to, path, method, body, **headers))

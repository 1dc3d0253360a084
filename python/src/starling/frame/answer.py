"""Errors as every layer answers them: `{"error": {"code", "message", "request_id", "details"}}`, as in gateway/rest."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

Code = Literal[
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "NOT_FOUND",
    "CONFLICT",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "TIMEOUT",
    "INTERNAL_ERROR",
    "UNAVAILABLE",
]
_CODES: dict[int, Code] = {
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "NOT_FOUND",
    409: "CONFLICT",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "TIMEOUT",
}
_MESSAGES = {
    400: "the body is not readable",
    401: "no, bad or expired token",
    403: "role or tenant does not allow it",
    404: "there is no such path",
    405: "the path does not know this method",
    413: "the body is too large",
    415: "the body is not of a type that is understood here",
    422: "the request is invalid",
    500: "internal error",
    503: "a dependency is away, try again",
    504: "the request took too long",
}
_LATER = {"Retry-After": "1"}
_LONGEST_FIELD = 200
"""Characters of a fault's field: an unknown property is named by the client."""


class Body(BaseModel):
    """The base of what requests carry: a property that nobody knows is a fault, and so is a number that is none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ErrorBody(BaseModel):
    """Every error body."""

    class Error(BaseModel):
        """What went wrong."""

        code: Code
        message: str
        request_id: str
        details: dict[str, Any]

    error: Error


class Failure(HTTPException):
    """An error to answer with. What caused it goes to the log by `raise … from`, never to the client."""

    def __init__(self, status: int, message: str = "", *, code: Code | None = None, **details: object) -> None:
        self.code: Code = code or _CODES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL_ERROR")
        self.message = message or _MESSAGES.get(status, "the request is refused")
        self.details = details
        headers = {401: {"WWW-Authenticate": 'Bearer realm="starling"'}, 429: _LATER, 503: _LATER}
        super().__init__(status, self.message, headers.get(status))

    def response(self, request_id: str) -> Response:
        """The answer for the request of that id."""
        body = {"code": self.code, "message": self.message, "request_id": request_id, "details": self.details}
        text = json.dumps({"error": body}, separators=(",", ":"))
        return Response(text, self.status_code, self.headers, media_type="application/json")


def invalid(fields: Sequence[tuple[str, str]]) -> Failure:
    """A request that can be read and is wrong: all its faults, as (field, problem)."""
    return Failure(422, fields=[{"field": field, "problem": problem} for field, problem in fields])


def of(fault: Exception, request: Request) -> Failure:
    """Turns what the framework raises into the one shape; what it does not know is internal."""
    match fault:
        case Failure():
            return fault
        case RequestValidationError():
            return _of_validation(fault)
        case HTTPException(status_code=405):
            failure = Failure(405)
            failure.headers = {"Allow": ", ".join(allowed(request))}
            return failure
        case HTTPException(status_code=400):
            return _unreadable()
        case HTTPException():
            return Failure(fault.status_code)
    return Failure(500)


def read_json(body: bytes) -> Any:
    """The value of a JSON text. ValueError where it is none; NaN and Infinity, which Python would take, are none."""

    def refuse(_: str) -> Any:
        raise json.JSONDecodeError("no JSON", "", 0)

    return json.loads(body, parse_constant=refuse)


def allowed(request: Request) -> list[str]:
    """The methods that the request's path has."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return sorted(methods - {"HEAD"})


def _unreadable() -> Failure:
    return Failure(400, fields=[{"field": "body", "problem": "not readable as JSON"}])


def _of_validation(fault: RequestValidationError) -> Failure:
    fields: dict[str, str] = {}
    for error in fault.errors():
        kind, at = error["type"], error["loc"]
        if kind == "json_invalid" or kind == "missing" and at == ("body",) and fault.body is None:
            return _unreadable()
        fields.setdefault(_name(at), _problem(kind, error.get("ctx", {}), written=at[0] != "body"))
    return invalid(sorted(fields.items()))


def _name(at: Sequence[int | str]) -> str:
    """body.items[3].x of ("body", "items", 3, "x")."""
    name = ""
    for part in at:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    name = name.removeprefix(".")
    return name if len(name) <= _LONGEST_FIELD else name[:_LONGEST_FIELD] + "…"


# pydantic's kinds of faults in the words of gateway/rest; its own messages quote what came in. {x}: the schema's bound.
_PROBLEMS = {
    "missing": "is needed",
    "extra_forbidden": "unexpected property",
    "string_type": "expected string",
    "int_type": "expected integer",
    "int_parsing": "expected integer",
    "int_from_float": "expected integer",
    "float_type": "expected number",
    "float_parsing": "expected number",
    "finite_number": "a number is out of range",
    "bool_type": "expected boolean",
    "bool_parsing": "expected boolean",
    "list_type": "expected array",
    "dict_type": "expected object",
    "model_type": "expected object",
    "model_attributes_type": "expected object",
    "string_too_short": "expected length >= {min_length}",
    "string_too_long": "expected length <= {max_length}",
    "string_pattern_mismatch": "expected string to match pattern {pattern}",
    "too_short": "expected array length >= {min_length}",
    "too_long": "expected array length <= {max_length}",
    "greater_than": "expected number > {gt}",
    "greater_than_equal": "expected number >= {ge}",
    "less_than": "expected number < {lt}",
    "less_than_equal": "expected number <= {le}",
    "literal_error": "expected value to be one of {expected}",
    "enum": "expected value to be one of {expected}",
}


def _problem(kind: str, bounds: dict[str, Any], *, written: bool) -> str:
    if written and kind in _WRITTEN:
        return _WRITTEN[kind]
    return _PROBLEMS.get(kind, "not of the wanted type").format_map(bounds)


# The same where everything is text: in a path, a query or a header.
_WRITTEN = {"int_parsing": "invalid integer", "float_parsing": "invalid float", "bool_parsing": "invalid boolean"}

"""Leads made-up requests to things that exist: ids, places and times that fit the schema are replaced by real ones.

STARLING_IDS is a JSON object: the name of a field or path parameter -> the id to use; "place" -> a vertex of the map.
What does not fit the schema is left alone, so that bad requests stay bad.
"""

import datetime
import json
import os
import re
from typing import Any

import schemathesis

IDS: dict[str, str] = json.loads(os.environ["STARLING_IDS"])
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def real(name: str, value: Any) -> Any:
    """Returns what stands for a field of this name and value."""
    if not isinstance(value, str):
        return lead(value)
    if name in IDS and UUID.fullmatch(value):
        return IDS[name]
    if name in ("pickup", "dropoff", "vertex") and 0 < len(value) <= 128 and value.isprintable():
        return IDS["place"]
    if name == "ts" and TIME.fullmatch(value):
        return datetime.datetime.now(datetime.timezone.utc).isoformat()
    return value


def lead(x: Any) -> Any:
    """Replaces what can be in a body."""
    if isinstance(x, dict):
        return {name: real(name, value) for name, value in x.items()}
    if isinstance(x, list):
        return [lead(item) for item in x]
    return x


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    return lead(body)


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, parameters: Any) -> Any:
    found = lead(parameters)
    if isinstance(found, dict) and isinstance(found.get("n"), int) and found["n"] > 0:
        found["n"] = 1  # the version that is there
    return found


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    return lead(query)

"""A process with trial routes in the real frame: `python -m tests.trial`.

No feature is built yet, so no real route takes a body or can break. These do, for the tests here and manners_test.go.
/trial/warehouses takes what POST /api/v1/warehouses of the gateway takes.
"""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from starling.frame.answer import Body, Failure
from starling.frame.app import Check
from starling.frame.process import Service, main


class NewWarehouse(Body):
    """As in gateway/rest/warehouses.go."""

    warehouse_code: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    timezone: Annotated[str, Field(max_length=64)] = "UTC"


class Nested(Body):
    """Something with depths."""

    class Item(Body):
        """One of many."""

        x: float
        kind: str = "a"

    items: Annotated[list[Item], Field(min_length=1, max_length=3)]
    count: Annotated[int, Field(ge=0, le=9)] = 0


def mount(app: FastAPI) -> None:
    """Adds the trial routes."""

    @app.post("/trial/warehouses", status_code=201)
    async def create(body: NewWarehouse) -> NewWarehouse:
        return body

    @app.get("/trial/warehouses")
    async def warehouses(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, int]:
        return {"limit": limit}

    @app.post("/trial/nested")
    async def nested(body: Nested) -> dict[str, int]:
        return {"items": len(body.items)}

    @app.get("/trial/broken")
    async def broken() -> None:
        raise RuntimeError("innards")

    @app.get("/trial/failing")
    async def failing() -> None:
        raise Failure(503) from ConnectionError("innards")

    @app.get("/trial/impossible")
    async def impossible() -> dict[str, int]:
        innards: Any = "innards"
        return {"innards": innards}

    @app.get("/trial/slow")
    async def slow() -> None:
        await asyncio.sleep(3600)

    @app.put("/trial/dependency")
    async def dependency(away: bool) -> None:
        _DEPENDENCY.away = away


class _Dependency:
    away = False

    async def probe(self) -> None:
        if self.away:
            raise ConnectionError("innards")


_DEPENDENCY = _Dependency()

SERVICE = Service("predict", mount, [Check("trial", critical=True, probe=_DEPENDENCY.probe)])

if __name__ == "__main__":
    main(SERVICE)

"""A Starlette application that returns one JSON object to every request: what the framework itself allows."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def application(size: int) -> Starlette:
    """Return an application whose response bodies have about ``size`` bytes."""
    body = {f"field{number}": "x" * 40 for number in range(size // 55)}

    async def get(_: Request) -> JSONResponse:
        return JSONResponse(body)

    return Starlette(routes=[Route("/{path:path}", get)])


if __name__ == "__main__":
    uvicorn.run(application(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")

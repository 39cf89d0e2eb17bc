"""What `ingest.py` compares with: the same framework, the same reading of the same requests, and nothing kept of them."""

from __future__ import annotations

import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.ingest.bodies import body_of
from services.ingest.domain.limits import REQUEST_MAX_BYTES
from services.ingest.domain.reading import read


async def _take(request: Request) -> Response:
    reading = read(await body_of(request, limit=REQUEST_MAX_BYTES), bulk=True, platform="iOS", now_ms=time.time_ns() // 1_000_000)
    return Response(status_code=202 if not reading.faults else 400)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v2/bulkevents", _take, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[1]), http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)

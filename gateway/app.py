"""The FastAPI application: the page, health, readiness, metrics, OpenAI's API and the original
WebSocket endpoint."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Response, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gateway import metrics, web
from gateway.access import Denied
from gateway.hub import Hub, hub
from gateway.protocols import legacy, realtime, rest
from gateway.protocols.realtime.errors import ProtocolError
from shared import traces
from shared.settings import Settings


class Health(BaseModel):
    """The answer of /health and /ready."""

    status: str
    missing: list[str] = []


def create_app(settings: Settings) -> FastAPI:
    """The gateway's application; it connects to the broker when it starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with traces.exporting("gateway", settings), hub(settings) as opened:
            app.state.hub = opened
            yield

    app = FastAPI(
        title="Parley", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    _add_rest(app, settings)

    def serving() -> Hub:
        opened: Hub = app.state.hub
        return opened

    @app.get("/health")
    async def health() -> Health:
        """Whether this process is alive."""
        return Health(status="ok")

    @app.get("/ready", responses={503: {"model": Health}})
    async def ready(response: Response) -> Health:
        """Whether every stage has a live worker with its model loaded, or what is missing."""
        missing = await serving().missing()
        if not missing:
            return Health(status="ready")
        response.status_code = 503
        return Health(status="not ready", missing=missing)

    @app.websocket("/v1/realtime")
    async def v1_realtime(socket: WebSocket) -> None:
        await realtime.serve(socket, serving())

    # a base URL that ends in a slash makes the original client's path "//ws"
    @app.websocket("/ws")
    @app.websocket("//ws")
    async def ws(socket: WebSocket) -> None:
        await legacy.serve(socket, serving())

    return app


def _add_rest(app: FastAPI, settings: Settings) -> None:
    app.include_router(rest.router)
    app.include_router(web.router)
    app.include_router(metrics.router)
    app.add_exception_handler(Denied, rest.denied)
    app.add_exception_handler(ProtocolError, rest.wrong)
    app.add_exception_handler(HTTPException, rest.unknown)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )

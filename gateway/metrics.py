"""`GET /metrics`: what this gateway measures of itself, in Prometheus' formats."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from gateway.access import Denied
from gateway.hub import Hub

router = APIRouter()


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All metrics, to whoever could open a session; an ephemeral key is for sessions alone."""
    hub: Hub = request.app.state.hub
    client = await hub.access.identify(request)
    if client.ephemeral:
        raise Denied(403, "an ephemeral key reads no metrics", "invalid_api_key")
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    page = await asyncio.to_thread(encode, REGISTRY)
    return Response(page, headers={"Content-Type": content_type})

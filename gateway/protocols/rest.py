"""The HTTP endpoints of OpenAI's API: models, voices, and ephemeral keys for browsers; and what
a key has used."""

import json
import re
import time
from typing import Any, Literal

import msgspec
import pydantic
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from gateway.access import Denied
from gateway.access.tally import DAYS
from gateway.admission import Unavailable
from gateway.hub import Hub
from gateway.protocols.realtime.catalog import Catalog
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError, field
from gateway.protocols.realtime.incoming import SessionUpdate, parse
from shared.heartbeat import Offers
from shared.ids import new_id

_MOST_BODY_BYTES = 2**20
_LIMITS = {"sessions", "session_minutes", "audio_minutes", "requests_per_s"}

Json = dict[str, Any]


class _ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class _SecretRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    expires_after: _ExpiresAfter = _ExpiresAfter()
    session: Json = Field(default_factory=lambda: {"type": "realtime"})


router = APIRouter(prefix="/v1")


@router.get("/models")
async def models(request: Request) -> Json:
    """The one model there is: everything behind this server goes by its name."""
    hub = _hub(request)
    await hub.access.request(request)
    return {"object": "list", "data": [_model(hub)]}


@router.get("/models/{name:path}")
async def model(request: Request, name: str) -> Json:
    """That model."""
    hub = _hub(request)
    await hub.access.request(request)
    found = _model(hub)
    if name != found["id"]:
        raise Denied(404, f"there is no such model: this server's is {found['id']!r}", "not_found")
    return found


@router.get("/voices")
async def voices(request: Request) -> Json:
    """The voices that a session may be spoken with."""
    hub = _hub(request)
    await hub.access.request(request)
    offers = await _offers(hub)
    names = offers.voices or (Catalog(hub.settings, offers).default_voice,)
    return {"object": "list", "data": [{"id": name, "object": "voice"} for name in names]}


@router.get("/usage")
async def usage(request: Request) -> Json:
    """What the clients of a key have used, day by day (UTC), the latest first."""
    hub = _hub(request)
    client = await hub.access.request(request)
    used = await hub.access.used(client, _days(request.query_params.get("days", str(DAYS))))
    key = client.usage.key if client.usage else None
    return {
        "object": "list",
        "key": key.name if key else None,
        "limits": key.model_dump(include=_LIMITS, exclude_none=True) if key else {},
        "data": [{"object": "usage.day", **msgspec.to_builtins(day)} for day in used],
    }


def _days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,2}", text) or not 1 <= int(text) <= DAYS:
        raise ProtocolError(f"days must be a number from 1 to {DAYS}", param="days")
    return int(text)


@router.post("/realtime/client_secrets")
async def client_secrets(request: Request) -> Json:
    """A key for a browser: it lasts for minutes, and its sessions begin as it is said here."""
    hub = _hub(request)
    client = await hub.access.request(request)
    _check_load(hub)
    wanted = _wanted(await _body(request))
    update, configuration = _configuration(hub, wanted.session, await _offers(hub))
    lasts_s = wanted.expires_after.seconds
    key = await hub.access.mint(client, update, lasts_s)
    return {
        "value": key,
        "expires_at": int(time.time()) + lasts_s,
        "session": {"id": new_id("sess"), **configuration.shown},
    }


async def denied(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI answers when access is denied."""
    assert isinstance(error, Denied)
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return _error(error.status, str(error), kind, error.code, headers=error.headers)


async def wrong(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI answers when what was asked for is wrong."""
    assert isinstance(error, ProtocolError)
    return _error(400, error.message, "invalid_request_error", error.code, error.param)


async def unknown(_: Request, error: Exception) -> JSONResponse:
    """What FastAPI answers when there is nothing at an address, or not by that method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    headers = dict(error.headers or {})
    return _error(error.status_code, error.detail, "invalid_request_error", code, headers=headers)


def _error(
    status: int,
    message: str,
    kind: str,
    code: str | None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers)


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _model(hub: Hub) -> Json:
    name = Catalog(hub.settings).llm_model
    return {"id": name, "object": "model", "created": 0, "owned_by": "parley"}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BODY_BYTES:
            raise Denied(413, f"a body may have at most {_MOST_BODY_BYTES} bytes", "too_large")
    return bytes(body)


def _wanted(body: bytes) -> _SecretRequest:
    try:
        return _SecretRequest.model_validate_json(body or b"{}")
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        param = field(first["loc"]) or None
        message = f"{param or 'the body'}: {first['msg']}"
        raise ProtocolError(message, param=param) from error


async def _offers(hub: Hub) -> Offers:
    try:
        return await hub.offers()
    except Unavailable as error:
        raise _unavailable(error) from error


def _unavailable(error: Unavailable) -> Denied:
    return Denied(503, str(error), error.code, {"Retry-After": str(error.retry_after_s)})


def _check_load(hub: Hub) -> None:
    """A browser cannot read why a WebSocket was refused, so it is told when it asks for a key."""
    try:
        hub.check_load()
    except Unavailable as error:
        raise _unavailable(error) from error


def _configuration(hub: Hub, session: Json, offers: Offers) -> tuple[Json, Configuration]:
    """The session as an update, and what it makes of a session that asked for nothing."""
    event = parse(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(event, SessionUpdate)
    update = event.session.model_dump(exclude_unset=True, mode="json")
    update["type"] = kind = event.session.type
    return update, Configuration(hub.settings, offers=offers, kind=kind).updated(update)

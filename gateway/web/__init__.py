"""The page to talk to: static files, which ask for nothing but this gateway.

No key is needed to load them: they are no secret, and whatever they do asks for one.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

# The page runs its own scripts and talks to its own origin. A page that frames it could have its
# visitors press the button without knowing.
_CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # asked for each time, and answered with 304 until Parley is upgraded
    "Cache-Control": "no-cache",
}

_files = StaticFiles(directory=Path(__file__).parent / "static")

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """The page."""
    return await _file("index.html", request)


@router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
async def part(request: Request, path: str) -> Response:
    """What the page consists of: styles, scripts, pictures."""
    return await _file(path, request)


async def _file(path: str, request: Request) -> Response:
    response = await _files.get_response(path, request.scope)
    response.headers.update(_HEADERS)
    return response

"""Servers that speak OpenAI's HTTP interface: what the engines that ask one share.

The `openai` package sends the requests. It asks again, twice and with back-off, where a server
cannot be reached or answers 408, 409, 429 or 5xx, and never once an answer has begun. All that
comes back is bounded: its length, its time and every pause in it.
"""

import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
import msgspec
from openai import APIConnectionError, APIError, AsyncOpenAI, OpenAI, OpenAIError
from pydantic import SecretStr

from shared.logs import printable
from shared.registry import CannotStart
from shared.settings import Settings

_RETRIES = 2
_CONNECT_S = 5.0
# A connection that is open already saves the next turn two or three ways to the server and back.
_KEEP_S = 120.0
_LONGEST_S = 300.0
_LONGEST_REMARK = 300
_LISTED = 5
# Of the answers that refuse a request, those that another attempt may help.
_PASSING = (408, 409, 425, 429)
_FAULTS = (
    OpenAIError,
    httpx2.HTTPError,
    msgspec.ValidationError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)

log = logging.getLogger(__name__)


class RemoteError(Exception):
    """What went wrong with a server, in a sentence.

    `status` is what it answered with, if it did, and `remark` its own words. `final` says that
    the same request would be refused again.
    """

    def __init__(self, sentence: str, status: int | None = None, remark: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.remark = remark

    @property
    def final(self) -> bool:
        return self.status is not None and self.status < 500 and self.status not in _PASSING


class ServerUnfit(CannotStart):
    """A server cannot be used as the settings are."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server of one stage, and the model that it is asked for.

    Of a response at most `longest_bytes` are read, and none is waited for in silence for longer
    than `timeout_s`.
    """

    stage: Literal["stt", "llm", "tts"]
    model: str
    url: str
    key: str = field(repr=False)
    timeout_s: float
    longest_bytes: int

    @classmethod
    def of(
        cls,
        stage: Literal["stt", "llm", "tts"],
        model: str,
        settings: Settings,
        longest_bytes: int,
    ) -> "Server":
        """The server that the settings name.

        Raises:
            ServerUnfit: they name none, no model, or a key that no header can hold.
        """
        named = f"PARLEY_{stage.upper()}"
        url: str | None = getattr(settings, f"{stage}_url")
        secret: SecretStr | None = getattr(settings, f"{stage}_api_key")
        if url is None:
            raise ServerUnfit(
                f"{named}_URL must be the base URL of a server with OpenAI's interface, such as"
                " http://127.0.0.1:8000/v1, for the engine 'openai'"
            )
        if not model:
            setting = f"{named}_MODELS" if stage == "tts" else f"{named}_MODEL"
            raise ServerUnfit(f"{setting} must name a model of the server at {named}_URL")
        key = secret.get_secret_value().strip() if secret else ""
        if not (key.isascii() and key.isprintable()):
            raise ServerUnfit(f"{named}_API_KEY must be of printable ASCII characters")
        return cls(stage, model, url, key, settings.remote_timeout_s, longest_bytes)

    def client(self) -> OpenAI:
        """A client that blocks; threads may share it."""
        http = httpx2.Client(**self._transport(), event_hooks={"response": [self._bound]})
        return OpenAI(**self._access(), http_client=http)

    def async_client(self) -> AsyncOpenAI:
        """A client for one event loop."""

        async def bound(response: httpx2.Response) -> None:
            self._bound(response)

        http = httpx2.AsyncClient(**self._transport(), event_hooks={"response": [bound]})
        return AsyncOpenAI(**self._access(), http_client=http)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Makes one kind of error of all that can go wrong with the server in the block.

        Raises:
            RemoteError: with nothing in it that is secret, nor in what led to it.
        """
        try:
            yield
        except _FAULTS as error:
            raise self._explained(error) from None

    @contextmanager
    def starting(self, client: OpenAI) -> Iterator[None]:
        """Looks whether the server is there, for a block that tries its model for the first time.

        A model's name need not be in the server's list, since servers know aliases of theirs and
        may list nothing: the list only helps to say what is wrong.

        Raises:
            ServerUnfit: the server or the model cannot be used.
        """
        hint = ""
        try:
            hint = self._hint(self._models(client))
            yield
        except RemoteError as error:
            raise ServerUnfit(f"{error}{hint}") from None
        if hint:
            log.warning("%s answers as %s%s", self._name, self.model, hint)

    @property
    def _name(self) -> str:
        return f"the server of PARLEY_{self.stage.upper()}_URL"

    def _access(self) -> dict[str, Any]:
        # Without a key of its own the package would send one that it finds in the environment.
        return {"base_url": self.url, "api_key": self.key or "none", "max_retries": _RETRIES}

    def _transport(self) -> dict[str, Any]:
        return {
            "timeout": httpx2.Timeout(self.timeout_s, connect=min(_CONNECT_S, self.timeout_s)),
            "limits": httpx2.Limits(keepalive_expiry=_KEEP_S),
            # What is sent goes to the server that was named and to no other.
            "follow_redirects": False,
            # Few bytes could unfold to any number.
            "headers": {"Accept-Encoding": "identity"},
        }

    def _bound(self, response: httpx2.Response) -> None:
        """Sees to it that a response ends, and that nobody waits longer than for any other."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise RemoteError(f"{self._name} answers compressed, which it was asked not to")
        response.stream = _Bounded(response.stream, self._name, self.longest_bytes)
        if _seconds(response.headers.get("Retry-After", "")) > self.timeout_s:
            response.headers["X-Should-Retry"] = "false"

    def _models(self, client: OpenAI) -> list[str] | None:
        """The models that the server lists, None if it lists none."""
        try:
            with self.asking():
                answer = client.get("/models", cast_to=object)
                return [model.id for model in msgspec.convert(answer, _Models).data]
        except RemoteError as error:
            if error.final and error.status not in (401, 403):
                return None
            raise

    def _hint(self, listed: list[str] | None) -> str:
        if listed is None:
            return "; it has no GET /models at that URL, which as a rule ends in /v1"
        if self.model in listed:
            return ""
        names = ", ".join(self._clean(name) for name in listed[:_LISTED])
        return f"; it lists no model {self.model!r} but {names or 'none'}"

    def _explained(self, error: Exception) -> RemoteError:
        cause: BaseException | None = error
        if isinstance(error, APIConnectionError):
            cause = error.__cause__
        elif isinstance(error, APIError):
            return self._refused(error)
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
            return RemoteError(f"{self._name} cannot be reached: {self._clean(str(cause))}")
        if isinstance(cause, httpx2.TimeoutException):
            return RemoteError(f"{self._name} said nothing for {self.timeout_s:g} s")
        if isinstance(cause, httpx2.HTTPError):
            return RemoteError(f"{self._name} broke off: {self._clean(str(cause))}")
        return RemoteError(f"{self._name} answered what nobody can read: {self._clean(str(cause))}")

    def _refused(self, error: APIError) -> RemoteError:
        """What the server says is wrong, before its answer or in the middle of it."""
        remark = self._clean(_remark(error))
        status = getattr(error, "status_code", None)
        if status is None and error.code and error.code.isdigit():
            status = int(error.code)
        if status in (401, 403):
            key = f"PARLEY_{self.stage.upper()}_API_KEY"
            return RemoteError(f"{self._name} refuses the key in {key}: {remark}", status, remark)
        answered = f"answered {status}" if status else "gave up"
        kind = f"{error.type or ''} {error.code or ''}"
        sentence = f"{self._name} {answered}{': ' if remark else ''}{remark}"
        return RemoteError(sentence, status, f"{kind} {remark}")

    def _clean(self, text: str) -> str:
        """Words of the server in one line, not too many and without the key."""
        text = text.replace(self.key, "…") if self.key else text
        return printable(" ".join(text.split()))[:_LONGEST_REMARK]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Bounded(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A response's body up to a length and a time; RemoteError beyond."""

    def __init__(self, body: Any, server: str, longest_bytes: int) -> None:
        self._body = body
        self._server = server
        self._left = longest_bytes
        self._until_s = time.monotonic() + _LONGEST_S

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            yield self._counted(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            yield self._counted(piece)

    def close(self) -> None:
        self._body.close()

    async def aclose(self) -> None:
        await self._body.aclose()

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0 or time.monotonic() > self._until_s:
            raise RemoteError(f"{self._server} does not come to an end of its answer")
        return piece


def _remark(error: APIError) -> str:
    """What a server wrote about an error; their forms differ."""
    body = error.body
    if isinstance(body, dict):
        said = [body[name] for name in ("message", "error", "detail") if name in body]
        return str(said[0]) if said else ""
    return body if isinstance(body, str) else error.message


def _seconds(retry_after: str) -> float:
    """What a Retry-After header asks for, where it is a number of seconds."""
    try:
        return float(retry_after)
    except ValueError:
        return 0.0

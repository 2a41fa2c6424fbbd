"""One connection that throws frames, and what comes back."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from bench.fuzz import verdict
from bench.fuzz.frames import Frame, burst
from bench.fuzz.grammar import MARK, Json
from bench.fuzz.tally import Tally

PATIENCE_S = 60.0
"""How long an answer may take on a busy machine."""

_GOES_ON = 0.95  # after a burst
_MOST_MESSAGE_BYTES = 24 * 2**20
_QUERIES = [
    "",
    "",
    "",
    "?model=gpt-realtime",
    "?intent=transcription",
    f"?model={MARK}",
    f"?model={MARK}%0a12:00:00%20gateway%20%20{MARK}",
    "?timings=true",
    f"?after={MARK}&call_id=%00&%ff=%ff",
]
_SUBPROTOCOLS = [
    [],
    [],
    ["realtime"],
    ["realtime", f"openai-insecure-api-key.{MARK}"],
    [MARK, "realtime"],
]


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a session can be resumed with, and the last event of it that was seen."""

    session_id: str
    token: str
    after: str

    def forged(self, dice: random.Random) -> "Ticket":
        """The ticket with something wrong about it."""
        number = dice.choice(["0", "9" * 15, "9" * 20, "-1", MARK])
        parts = self.after.split("_")
        parts[dice.randrange(len(parts))] = dice.choice([number, f"{number}-{number}"])
        return dice.choice(
            [
                Ticket(self.session_id, MARK, self.after),
                Ticket(MARK, self.token, self.after),
                Ticket("", "", ""),
                Ticket(self.session_id, self.token, "_".join(parts)),
                Ticket(self.session_id, self.token, self.after[:-1]),
                Ticket(self.session_id, self.token, MARK),
            ]
        )


class Thrower:
    """Throws at one session. After each frame comes a fence: an event that does not exist, whose
    error shows that all that came for the frame has come."""

    def __init__(self, socket: ClientConnection, tally: Tally) -> None:
        self._socket = socket
        self._tally = tally
        self._fences = 0
        self._first: Json | None = None
        self._last_id = ""

    @property
    def ticket(self) -> Ticket | None:
        """With which the session can be resumed, once it has begun."""
        if self._first is None or self._first["type"] != "session.created":
            return None
        session = self._first["session"]
        return Ticket(session["id"], session["parley"]["resume"]["token"], self._last_id)

    async def throw(self, frames: Sequence[Frame]) -> bool:
        """Throws frames at once, and checks what each is answered; False if the connection is over,
        as it may be only after a message that is larger than any may be."""
        begun = self._fences
        try:
            for frame in frames:
                self._tally.throw(frame)
                await self._socket.send(frame.data)
                await self._socket.send(json.dumps({"type": "fence", "event_id": self._fence()}))
            for number, frame in enumerate(frames):
                await self._judge(frame, _fence_name(begun + number))
        except ConnectionClosed:
            self._closed(frames)
            return False
        except TimeoutError:
            self._tally.wrong(f"no answer in {PATIENCE_S:.0f} s", data=frames[0].data)
            return False
        return True

    def _fence(self) -> str:
        self._fences += 1
        return _fence_name(self._fences - 1)

    async def _judge(self, frame: Frame, fence: str) -> None:
        errors = await self._errors_until(fence)
        for event in errors:
            self._tally.refused[str(event["error"].get("code"))] += 1
        problem = verdict.problem(frame.data, errors)
        if problem is not None:
            self._tally.wrong(problem, str(errors), frame.data)

    async def _errors_until(self, fence: str) -> list[Json]:
        """The errors that come before that of a fence."""
        errors: list[Json] = []
        while True:
            async with asyncio.timeout(PATIENCE_S):
                event: Json = json.loads(await self._socket.recv())
            self._first = self._first or event
            self._last_id = event["event_id"]
            self._note_ids(event)
            error = event.get("error") if event["type"] == "error" else None
            if error is None or error.get("code") == verdict.LATE:
                continue
            if error.get("event_id") == fence:
                return errors
            errors.append(event)

    def _note_ids(self, event: Json) -> None:
        named = (event.get("item_id"), event.get("response_id"), event.get("item", {}).get("id"))
        self._tally.ids.extend(name for name in named if name)

    def _closed(self, frames: Sequence[Frame]) -> None:
        code = self._socket.close_code
        self._tally.refused[f"closed with {code}"] += 1
        if code != 1009 or all(len(frame.data) < _MOST_MESSAGE_BYTES for frame in frames):
            largest = max((frame.data for frame in frames), key=len)
            reason = str(self._socket.close_reason)
            self._tally.wrong(f"the connection was closed with {code}", reason, largest)


def _fence_name(number: int) -> str:
    return f"fence {number}"


async def throw_at_a_session(host: str, tally: Tally, dice: random.Random) -> None:
    """A session from its beginning to one of its ends."""
    query = dice.choice(_QUERIES)
    subprotocols = dice.choice(_SUBPROTOCOLS)
    ticket = await _connection(host, query, subprotocols, tally, dice)
    while ticket is not None and dice.random() < 0.5:
        shown = ticket.forged(dice) if dice.random() < 0.7 else ticket
        offered = ["realtime", f"parley-resume.{shown.session_id}.{shown.token}"]
        again = await _connection(host, f"?after={quote(shown.after)}", offered, tally, dice)
        ticket = again or ticket


async def _connection(
    host: str, query: str, subprotocols: Sequence[str], tally: Tally, dice: random.Random
) -> Ticket | None:
    """One connection; the ticket of its session, if that may wait to be resumed."""
    offered = [Subprotocol(each) for each in subprotocols] or None
    url = f"ws://{host}/v1/realtime{query}"
    tally.connections += 1
    try:
        async with connect(
            url, subprotocols=offered, open_timeout=PATIENCE_S, max_queue=None, max_size=None
        ) as socket:
            thrower = Thrower(socket, tally)
            going = True
            while going and dice.random() < _GOES_ON:
                going = await thrower.throw(burst(dice, tally.known))
            if dice.random() < 0.5:
                socket.transport.abort()
                return thrower.ticket
    except InvalidStatus as refused:
        _judge_refusal(refused, tally)
    except (OSError, TimeoutError, InvalidMessage) as error:
        tally.wrong("no connection", f"{url}: {error!r}")
    return None


def _judge_refusal(refused: InvalidStatus, tally: Tally) -> None:
    status = refused.response.status_code
    tally.refused[f"HTTP {status}"] += 1
    if not 400 <= status < 500:
        said = bytes(refused.response.body or b"").decode(errors="replace")
        tally.wrong(f"a connection was refused with {status}", said)

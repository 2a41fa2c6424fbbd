"""One session: a microphone that never stops, and an ear."""

import asyncio
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from bench.load.dialogue import Dialogue
from bench.load.protocols import Refused, address, language_of
from bench.load.question import Question
from bench.load.record import Ended, Record, Turn
from bench.load.scenario import Scenario

_CONNECT_S = 20.0
_FULL = {429, 503}


class Caller:
    """Connects, asks its questions, and reports each turn and the end."""

    def __init__(
        self,
        number: int,
        scenario: Scenario,
        question: Question,
        url: str,
        api_key: str | None,
        report: Callable[[Record], None],
    ) -> None:
        self._number = number
        self._scenario = scenario
        self._question = question
        self._url = address(url, scenario)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._report = report
        self._language = language_of(scenario)

    async def run(self, connect_s: float, begin_s: float) -> None:
        """Connects, and begins to ask, when the loop's clock shows these times."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(connect_s - loop.time())
        ended = Ended(session=self._number)
        try:
            async with connect(
                self._url,
                additional_headers=self._headers,
                compression=None,
                open_timeout=_CONNECT_S,
                ping_interval=None,
                max_size=None,
            ) as socket:
                await self._language.greet(socket)
                await self._converse(socket, begin_s)
        except InvalidStatus as error:
            ended.refused = error.response.status_code in _FULL
            ended.problem = str(error)
        except Refused as error:
            ended.refused, ended.problem = True, str(error)
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            ended.problem = f"{type(error).__name__}: {error}"
        self._report(ended)

    async def _converse(self, socket: ClientConnection, begin_s: float) -> None:
        dialogue = Dialogue(
            self._scenario,
            self._question,
            begin_s,
            lambda number: self._language.fresh(self._number, number),
        )
        ear = asyncio.create_task(self._ear(socket, dialogue))
        try:
            await self._microphone(socket, dialogue, ear)
        finally:
            ear.cancel()
            await asyncio.wait({ear})

    async def _microphone(
        self, socket: ClientConnection, dialogue: Dialogue, ear: asyncio.Task[None]
    ) -> None:
        """Sends a frame whenever one would be recorded; the clock is absolute."""
        loop = asyncio.get_running_loop()
        start_s, recorded = loop.time(), 0
        while not (dialogue.over or ear.done()):
            recorded += 1
            await asyncio.sleep(start_s + recorded * self._question.frame_s - loop.time())
            frame = dialogue.next_frame(loop.time())
            await socket.send(self._language.frame(self._question, frame))
            dialogue.sent(frame, loop.time(), time.time())
            self._tell(dialogue.ended(loop.time()))
        dialogue.fail("the server ended the session")
        self._tell(dialogue.ended(loop.time()))
        if ear.done():
            ear.result()

    def _tell(self, turns: list[Turn]) -> None:
        for turn in turns:
            self._report(turn)

    async def _ear(self, socket: ClientConnection, dialogue: Dialogue) -> None:
        loop = asyncio.get_running_loop()
        async for message in socket:
            self._language.take(message, dialogue, loop.time())

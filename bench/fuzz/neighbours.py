"""Sessions that behave: they talk all the time, and check every answer to the sample."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.chaos.broker_view import BrokerView
from bench.chaos.conversation import Conversation
from bench.chaos.invariants import check
from bench.chaos.record import Exchange
from bench.chaos.script import Turn, script
from shared.audio import Int16

_TURNS_EACH = 6
_PAUSE_S = 0.5


@dataclass
class Neighbours:
    """`wrong` gets everything that is wrong with them.

    `waits_s` are the times from when a turn was asked to when the first of its answer was heard.
    """

    url: str
    view: BrokerView
    seed: int
    wrong: Callable[[str, str], None]
    waits_s: list[float] = field(default_factory=list)
    turns: int = 0
    _number: int = 0
    _talking: list[Conversation] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """Of the sessions that are being talked in now, their responses and items."""
        records = [conversation.record for conversation in self._talking]
        return [
            named
            for record in records
            for named in (
                record.session_id,
                *(response.response_id for response in record.responses),
                *(item.item_id for item in record.items),
            )
        ]

    async def talk(self, enough: asyncio.Event) -> None:
        """One session after another; `enough` ends it after the one at hand."""
        while not enough.is_set():
            self._number += 1
            turns = script(self.seed, self._number, _TURNS_EACH, _PAUSE_S)
            conversation = Conversation(self.url, self._number, turns, self._voice)
            self._talking.append(conversation)
            await conversation.run(self.view.history)
            self._talking.remove(conversation)
            self._judge(conversation)

    def _voice(self, turn: Turn) -> Int16:
        return turn.speech(self.seed)

    def _judge(self, conversation: Conversation) -> None:
        record = conversation.record
        for violation in check(record, conversation.transcripts, conversation.history):
            place = f"session {violation.session}, turn {violation.turn}"
            self.wrong("a neighbour noticed", f"{place}: {violation.what}")
        self.turns += len(record.exchanges)
        self.waits_s += [wait for each in record.exchanges if (wait := _wait_s(each)) is not None]


def _wait_s(exchange: Exchange) -> float | None:
    heard_s = next((at_s for at_s, step in sorted(exchange.progress) if step == "audio"), None)
    if heard_s is None or exchange.asked_s is None:
        return None
    return heard_s - exchange.asked_s

"""Carries out what a client of the protocol asks for."""

import asyncio
from typing import assert_never

from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    ResponseCancelEvent,
)

from gateway.access import Grant
from gateway.conversation import ItemError
from gateway.cursor import Cursor
from gateway.protocols.realtime import items
from gateway.protocols.realtime.asked import asked
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.formats import Microphone
from gateway.protocols.realtime.incoming import (
    Append,
    ClientEvent,
    ResponseCreate,
    SessionUpdate,
    item_fields,
    reference,
)
from gateway.protocols.realtime.noise import NoiseReduction
from gateway.protocols.realtime.showing import Showing
from gateway.session import Session
from gateway.wanted import Wanted
from shared.messages import AnyItem, CommitRefused, Committed, Item, SttJob

# The most audio that the protocol allows in an append.
_MOST_AUDIO_BYTES = 15 * 2**20
# An item's audio is recognised in one piece.
_LONGEST_ITEM_S = 120
_MOST_INPUT = 256
# How long a worker may take to make a turn of what was committed before requests go on without.
_COMMIT_S = 10.0


class Requests:
    """What one connection's client asks of its session.

    Requests are carried out in the order they come in. Audio and what keeps its place in it go by
    the session's lane, the rest goes to the broker directly: after a commit the rest waits until
    its turn is an item.
    """

    def __init__(
        self, session: Session, configuration: Configuration, cursor: Cursor, grant: Grant
    ) -> None:
        self.configuration = configuration
        self._grant = grant
        self._session = session
        self._cursor = cursor
        self._noise = NoiseReduction.of(configuration.noise_reduction)
        self._microphone = Microphone(configuration.input_format, noise=self._noise)
        self._committing = 0  # the number of the last commit
        self._settled = 0  # and of the last that a turn was made of, or refused
        self._committed = asyncio.Event()
        self._committed.set()

    def settle(self, message: Committed | CommitRefused) -> None:
        """A turn was made, or refused: requests that wait for the last commit go on."""
        self._settled = max(self._settled, message.number)
        if self._settled >= self._committing:
            self._committed.set()

    def restore(self, taken: int, settled: int) -> None:
        """Goes on where another connection left the session: after so many ticks of its audio,
        with what keeps its place in it carried out up to request number `settled`."""
        self._settled = settled
        self.listen_from(taken)

    def listen_from(self, taken: int) -> None:
        """The client's audio begins anew, after so many ticks of the session."""
        self._microphone = Microphone(self.configuration.input_format, taken, self._noise)
        self._session.voice.seek(self._microphone.position)

    def _listen_anew(self) -> None:
        """Another microphone goes on where this one ends."""
        rest = self._microphone.end()
        if len(rest):
            self._session.voice.push(rest)
        self.listen_from(self._microphone.taken)

    async def carry_out(self, request: ClientEvent, showing: Showing) -> None:
        """Does what the client asks for.

        Raises:
            ProtocolError: it cannot be done; nothing of it was.
        """
        match request:
            case Append():
                await self._append(request.audio)
            case InputAudioBufferAppendEvent():
                await self._append(items.audio_bytes(request.audio, "audio"))
            case InputAudioBufferCommitEvent():
                await self._commit(reference(request.event_id))
            case InputAudioBufferClearEvent():
                self.listen_from(self._microphone.taken)
                await self._session.voice.command("clear", request=self._number)
            case _:
                await self._after_commit(request, showing)

    async def _after_commit(self, request: ClientEvent, showing: Showing) -> None:
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._committed.wait()
        except TimeoutError:
            self._committed.set()
        match request:
            case SessionUpdate():
                await self._update(request, showing)
            case ResponseCreate():
                await self._respond(request, spoke=showing.spoke)
            case ResponseCancelEvent():
                await self._cancel(request)
            case OutputAudioBufferClearEvent():
                await self._session.clear_output(request=self._number)
            case ConversationItemCreateEvent():
                await self._create_item(request)
            case ConversationItemTruncateEvent():
                await self._truncate(request)
            case ConversationItemDeleteEvent():
                await self._delete(request)
            case ConversationItemRetrieveEvent():
                await self._retrieve(request)
            case (
                Append()
                | InputAudioBufferAppendEvent()
                | InputAudioBufferCommitEvent()
                | InputAudioBufferClearEvent()
            ):
                raise TypeError("audio waits for no commit")
            case _:
                assert_never(request)

    @property
    def _number(self) -> int:
        """The number of the request at hand."""
        return self._cursor.requests + 1

    # --- audio ---

    async def _append(self, audio: bytes) -> None:
        if len(audio) > _MOST_AUDIO_BYTES:
            raise ProtocolError(
                f"audio must hold at most {_MOST_AUDIO_BYTES} bytes, not {len(audio)}",
                param="audio",
            )
        piece = self._microphone.format.second_bytes
        for start in range(0, len(audio), piece):
            samples = self._microphone.take(audio[start : start + piece])
            if len(samples):
                self._grant.hear(len(samples))
                self._session.voice.push(samples)
            if start + piece < len(audio):  # half an hour at once must not keep others waiting
                await asyncio.sleep(0)

    async def _commit(self, name: str | None) -> None:
        self._listen_anew()
        self._committing = self._number
        if self._settled < self._committing:  # else it was sent again after the connection broke
            self._committed.clear()
        await self._session.voice.command("commit", name, request=self._number)

    async def _update(self, request: SessionUpdate, showing: Showing) -> None:
        update = request.session.model_dump(exclude_unset=True)
        configuration = self.configuration.updated(update, voice_locked=showing.spoke)
        if (
            showing.responding
            and configuration.output_format is not self.configuration.output_format
        ):
            param = "session.audio.output.format"
            raise ProtocolError(f"{param} cannot change while a response is active", param=param)
        before, self.configuration = self.configuration, configuration
        if configuration.noise_reduction != before.noise_reduction:
            self._noise = NoiseReduction.of(configuration.noise_reduction)
            self._listen_anew()
        elif configuration.input_format is not before.input_format:
            self._listen_anew()
        await self._session.configure(configuration.meaning, request=self._number)

    # --- responses ---

    async def _respond(self, request: ResponseCreate, *, spoke: bool) -> None:
        if not self._session.config.responds:
            raise ProtocolError("type: a transcription session gives no responses", param="type")
        wishes = asked(request.response, self.configuration, voice_locked=spoke)
        wanted = Wanted(
            instructions=wishes.instructions,
            modality=wishes.modality,
            max_output_tokens=wishes.max_output_tokens,
            tooling=wishes.tooling,
            voice=wishes.voice,
            output_rate=wishes.output_format.rate,
            input=await self._input(wishes.input),
            aside=wishes.aside,
            protocol=wishes.protocol,
        )
        if not await self._session.respond(wanted, request=self._number):
            raise _active(aside=wishes.aside)

    async def _input(self, given: list[items.Json] | None) -> list[AnyItem] | None:
        """The items to answer in place of the conversation."""
        if given is None:
            return None
        if len(given) > _MOST_INPUT:
            param = "response.input"
            raise ProtocolError(f"{param} must have at most {_MOST_INPUT} items", param=param)
        return [await self._input_item(each, f"response.input.{n}") for n, each in enumerate(given)]

    async def _input_item(self, given: items.Json, name: str) -> AnyItem:
        if given.get("type") == "item_reference":
            item = await self._session.conversation.get(str(given.get("id")))
            if item is None:
                param = f"{name}.id"
                raise ProtocolError(f"{param} is no item of the conversation", param=param)
            return item
        found = items.read(item_fields(given, name), name)
        if found.audio is not None:
            param = f"{name}.content"
            raise ProtocolError(f"{param}: audio must be given by its transcript", param=param)
        return found.item

    async def _cancel(self, request: ResponseCancelEvent) -> None:
        if not await self._session.cancel(request.response_id, request=self._number):
            raise ProtocolError(
                "Cancellation failed: no active response found", code="response_cancel_not_active"
            )

    # --- items ---

    async def _create_item(self, request: ConversationItemCreateEvent) -> None:
        found = items.read(request.item.model_dump(exclude_none=True), "item")
        after = None
        if "previous_item_id" in request.model_fields_set:
            previous = request.previous_item_id
            after = "" if previous in (None, "", "root") else previous
        try:
            await self._session.conversation.add(
                found.item, after=after, job=self._transcription(found), request=self._number
            )
        except ItemError as error:
            if error.status == "exists":
                raise ProtocolError(
                    "item.id: the conversation has an item of this id already",
                    code="item_create_duplicate_item_id",
                    param="item.id",
                ) from error
            raise ProtocolError(
                "previous_item_id is no item of the conversation", param="previous_item_id"
            ) from error

    def _transcription(self, found: items.Read) -> SttJob | None:
        """What makes words of an item's audio."""
        if found.audio is None or not isinstance(found.item, Item):
            return None
        microphone = Microphone(self.configuration.input_format)
        if len(found.audio) > _LONGEST_ITEM_S * microphone.format.second_bytes:
            raise ProtocolError(
                f"item.content: audio must be at most {_LONGEST_ITEM_S} s long",
                param="item.content",
            )
        samples = [microphone.take(found.audio), microphone.end()]
        length = sum(map(len, samples))
        if not length:
            raise ProtocolError("item.content: audio must not be empty", param="item.content")
        self._grant.hear(length)
        return SttJob(
            session_id=self._session.keys.session_id,
            item_id=found.item.item_id,
            turn=0,
            pcm=b"".join(part.tobytes() for part in samples),
            language=self._session.config.language,
            prompt=self._session.config.transcription_prompt,
            item=found.item,
            respond="never",
        )

    async def _delete(self, request: ConversationItemDeleteEvent) -> None:
        try:
            await self._session.conversation.delete(request.item_id, request=self._number)
        except ItemError as error:
            raise _unknown("delete") from error

    async def _retrieve(self, request: ConversationItemRetrieveEvent) -> None:
        try:
            await self._session.conversation.retrieve(request.item_id, request=self._number)
        except ItemError as error:
            raise _unknown("retrieve") from error

    async def _truncate(self, request: ConversationItemTruncateEvent) -> None:
        if request.content_index != 0:
            raise ProtocolError(
                "content_index must be 0: an answer has one part", param="content_index"
            )
        answer, number = self._session.spoken(request.item_id), self._number
        try:
            if answer is not None:
                _check_end(request.audio_end_ms, answer.sent_ms)
                await self._session.truncate(answer, request.audio_end_ms, request=number)
                return
            item = await self._session.conversation.get(request.item_id)
            if not isinstance(item, Item) or item.role != "assistant" or not item.audio_ms:
                raise _unknown("truncate")
            _check_end(request.audio_end_ms, item.audio_ms)
            await self._session.conversation.cut(item, request.audio_end_ms, request=number)
        except ItemError as error:
            raise _unknown("truncate") from error


def _check_end(audio_end_ms: int, sent_ms: int) -> None:
    if not 0 <= audio_end_ms <= sent_ms:
        raise ProtocolError(
            f"audio_end_ms must be from 0 to {sent_ms}, the audio sent so far",
            param="audio_end_ms",
        )


def _active(*, aside: bool) -> ProtocolError:
    if aside:
        return ProtocolError(
            "too many responses outside the conversation are in progress",
            code="rate_limit_exceeded",
        )
    return ProtocolError(
        "Conversation already has an active response in progress",
        code="conversation_already_has_active_response",
    )


def _unknown(action: str) -> ProtocolError:
    what = "a spoken answer" if action == "truncate" else "an item"
    return ProtocolError(
        f"item_id is not that of {what} of the conversation",
        code=f"item_{action}_invalid_item_id",
        param="item_id",
    )

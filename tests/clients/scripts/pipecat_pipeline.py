"""pipecat's OpenAI Realtime service, in a pipeline as its documentation builds one."""

import asyncio
from collections.abc import Callable
from typing import Any

from given import (
    CHUNK_S,
    DEADLINE_S,
    KEY,
    RATE,
    TOOL_QUESTION,
    WEATHER,
    WEBSOCKET_URL,
    chunks,
    report,
    seconds,
    silence,
    speech,
    trace,
)
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    FunctionCallResultFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    AudioOutput,
    InputAudioTranscription,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

WATCHED = (
    ErrorFrame,
    FunctionCallResultFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStartedSpeakingFrame,
)


async def get_weather(params: FunctionCallParams, city: str) -> None:
    """The weather in a city.

    Args:
        city: Which city.
    """
    await params.result_callback({"weather": WEATHER, "city": city})


class Watcher(BaseObserver):
    """Every frame that matters here, once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.known: set[int] = set()
        self.problems: list[str] = []

    async def on_push_frame(self, data: FramePushed) -> None:
        frame = data.frame
        if not isinstance(frame, WATCHED) or frame.id in self.known:
            return
        self.known.add(frame.id)
        trace({"frame": type(frame).__name__, "from": str(data.source), "said": str(frame)[:200]})
        if isinstance(frame, ErrorFrame):
            self.problems.append(frame.error)
        self.frames.put_nowait(frame)


class Talk:
    """A running pipeline, frame by frame."""

    def __init__(self, worker: PipelineWorker, watcher: Watcher) -> None:
        self.worker = worker
        self.watcher = watcher

    async def speak(self, audio: bytes) -> None:
        """As a microphone does: pipecat has a clock of its own for who speaks when."""
        for chunk in chunks(audio):
            await self.worker.queue_frame(InputAudioRawFrame(chunk, RATE, 1))
            await asyncio.sleep(CHUNK_S)

    async def until(self, wanted: Callable[[Frame], bool]) -> list[Frame]:
        """The frames up to the next that is wanted; an error is the end of it all."""
        frames = []
        while True:
            frames.append(await self.watcher.frames.get())
            assert not self.watcher.problems, self.watcher.problems
            if wanted(frames[-1]):
                return frames

    async def answered(self) -> dict[str, Any]:
        """What the next response with words in it was."""
        frames = await self.until(is_a(TTSTextFrame))
        frames += await self.until(is_a(LLMFullResponseEndFrame))
        texts = [frame.text for frame in frames if isinstance(frame, TTSTextFrame)]
        audio = sum(len(frame.audio) for frame in frames if isinstance(frame, TTSAudioRawFrame))
        words = [frame.text for frame in frames if isinstance(frame, TranscriptionFrame)]
        return {"heard": " ".join(words), "answer": "".join(texts), "audio_s": seconds(audio)}


def is_a(kind: type[Frame]) -> Callable[[Frame], bool]:
    """Whether a frame is of this kind."""
    return lambda frame: isinstance(frame, kind)


async def converse(talk: Talk) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    await talk.worker.queue_frame(LLMRunFrame())
    frames = await talk.until(is_a(FunctionCallResultFrame))
    seen["tool"] = {"arguments": frames[-1].arguments, **await talk.answered()}
    await talk.speak(speech(0.6) + silence(1))
    seen["spoken"] = await talk.answered()
    await talk.speak(speech(0.6) + silence(1))
    await talk.until(is_a(TTSAudioRawFrame))
    await talk.speak(speech(0.5))
    await talk.until(is_a(InterruptionFrame))
    await talk.speak(silence(1))
    seen["interrupted"] = {"after": await talk.answered()}
    return seen


async def main() -> None:
    service = OpenAIRealtimeLLMService(
        api_key=KEY,
        base_url=WEBSOCKET_URL,
        settings=OpenAIRealtimeLLMService.Settings(
            system_instruction="Answer briefly.",
            session_properties=SessionProperties(
                audio=AudioConfiguration(
                    input=AudioInput(transcription=InputAudioTranscription()),
                    output=AudioOutput(voice="marin", speed=0.5),
                )
            ),
        ),
    )
    asked = {"role": "user", "content": TOOL_QUESTION}
    context = LLMContext(messages=[asked], tools=[get_weather])
    aggregators = LLMContextAggregatorPair(context)
    watcher = Watcher()
    worker = PipelineWorker(
        Pipeline([aggregators.user(), service, aggregators.assistant()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        observers=[watcher],
        cancel_on_idle_timeout=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        seen = await converse(Talk(worker, watcher))
        await worker.queue_frame(EndFrame())
    seen["problems"] = watcher.problems
    seen["context"] = [message["role"] for message in context.get_messages()]
    report(seen)


asyncio.run(main())

"""A session that speaks at length keeps no other waiting: Piper on a real broker."""

from collections.abc import Iterator, Sequence

import pytest

from shared.audio import Int16
from shared.broker import Pipe
from shared.settings import Settings
from shared.worker import Context
from tests.stages import KEYSPACE, done, until, working
from tests.tts.test_worker import speak
from workers.tts.engines import Speech, TtsEngine, Voice, create
from workers.tts.worker import start

LONG = "and on we went over the hills, through the woods and along the river " * 3
SHORT = "Yes, of course."


class Watched:
    """An engine that notes whose every chunk is."""

    works_ahead = False

    def __init__(self, engine: TtsEngine) -> None:
        self._engine = engine
        self.name, self.model = engine.name, engine.model
        self.spoken: list[str] = []

    @property
    def voices(self) -> Sequence[Voice]:
        return self._engine.voices

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        for chunk in self._engine.synthesize(speech):
            self.spoken.append(speech.text)
            yield chunk


@pytest.fixture(scope="module")
def piper() -> Iterator[TtsEngine]:
    engine = create(Settings(tts_engine="piper", tts_threads=1))
    engine.load()
    yield engine
    engine.close()


async def test_a_short_answer_is_heard_while_others_speak_at_length(
    piper: TtsEngine, pipe: Pipe, redis_url: str
) -> None:
    engine = Watched(piper)
    settings = Settings(redis_url=redis_url, shards=1, lanes=1, tts_slots=1)
    async with working(start(engine, Context("worker_1", settings, KEYSPACE, pipe))):
        long = [f"{number} {LONG}".strip() for number in ("One,", "Two,")]
        for text in long:
            await speak(pipe, text)
        await until(lambda: set(engine.spoken) == set(long))
        await speak(pipe, SHORT)
        await until(lambda: done(pipe, "tts"))
    spoken = engine.spoken
    short = spoken.index(SHORT)
    for text in long:  # each has most of it still to speak
        assert spoken[short:].count(text) > spoken[:short].count(text)

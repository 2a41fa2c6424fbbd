"""What tests of the listener share: sounds, frames of them, and what is heard in them."""

import numpy as np

from shared.audio import SAMPLE_RATE, Int16
from shared.keys import Keyspace
from shared.messages import Command, Frame, OutMessage, SttHint, TurnDetection
from shared.scripts.lanes import Heard
from workers.vad.engines.energy import EnergyEngine
from workers.vad.engines.length import LengthEngine
from workers.vad.listener import Listener

SESSION = Keyspace(1, 1).session("sess_1")
ENGINE, TURNS = EnergyEngine(), LengthEngine()
RULES = TurnDetection(silence_ms=300, prefix_ms=200)
SEMANTIC = TurnDetection(eagerness="high", prefix_ms=200)


def tone(seconds: float, loudness: int = 8000) -> Int16:
    """A sound that the energy engine takes for speech; every sample differs from its neighbour."""
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (loudness * np.sin(2 * np.pi * 220 * times)).astype(np.int16)


def silence(seconds: float) -> Int16:
    return np.zeros(int(seconds * SAMPLE_RATE), np.int16)


TWO_TURNS = np.concatenate(
    [silence(0.5), tone(1.0), silence(0.7), tone(0.6), silence(0.7), tone(0.3)]
)


def frames(audio: Int16, sizes: list[int], start: int = 0) -> list[Frame]:
    """`audio` in frames of these sizes, again and again; each arrives when its audio ends."""
    cut, at, number = [], 0, 0
    while at < len(audio):
        piece = audio[at : at + sizes[number % len(sizes)]]
        arrived_ms = 1000 * (start + at + len(piece)) // SAMPLE_RATE
        cut.append(Frame(SESSION.session_id, start + at, piece.tobytes(), arrived_ms))
        at += len(piece)
        number += 1
    return cut


def new_listener(rules: TurnDetection = RULES) -> Listener:
    listener = Listener(SESSION, ENGINE.initial_state())
    listener.turn_detection = rules
    return listener


def feed(
    listener: Listener, pieces: list[Frame], first: int = 0, hints: list[SttHint] | None = None
) -> list[Heard]:
    """Feeds frames, from lane entry `first` on, and returns what was heard; `hints` gets what may
    be transcribed ahead."""
    heard = []
    for number, frame in enumerate(pieces, first):
        listener.accept(frame, f"{number}-0")
        while not listener.idle:
            if listener.has_question:
                over = float(TURNS.over([listener.turn()])[0])
                heard += [event] if (event := listener.answer(over, frame.received_ms)) else []
                continue
            probability, state = ENGINE.step(listener.window()[None], listener.model_state[None])
            event = listener.advance(float(probability[0]), state[0], now_ms=frame.received_ms)
            if event is not None:
                heard.append(event)
            if hints is not None and (hint := listener.hint()):
                hints.append(hint)
    return heard


def essence(heard: list[Heard]) -> list[tuple[object, ...]]:
    """What was heard, without the ids that are drawn by chance."""

    def plain(message: OutMessage) -> tuple[object, ...]:
        return (type(message).__name__, getattr(message, "at", None))

    return [
        (event.seq, event.interrupts, *map(plain, event.messages), event.job and event.job.pcm)
        for event in heard
    ]


def command(action: str, at: int = 0, **fields: object) -> Command:
    return Command(SESSION.session_id, at, action, **fields)  # type: ignore[arg-type]

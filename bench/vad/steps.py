"""A step of the model by how many sessions are heard together."""

import importlib.util
import time

import numpy as np

from shared.settings import Settings
from workers.vad.engines import WINDOW, VadEngine, create

SESSIONS = (1, 8, 32, 128, 512)
WINDOW_MS = 32

_WARM_UP, _ROUNDS = 5, 100
_NEEDED = {"silero": "onnxruntime", "silero-torch": "torch"}


def installed() -> list[str]:
    """The engines that can run here."""
    return [name for name, package in _NEEDED.items() if importlib.util.find_spec(package)]


def steps_ms(name: str) -> dict[int, float]:
    """What a step costs the engine `name`, in ms by its batch: the quickest of a hundred, since
    whatever else the machine does only adds to it."""
    engine = create(Settings(vad_engine=name)).vad
    engine.load()
    try:
        return {sessions: _best_ms(engine, sessions) for sessions in SESSIONS}
    finally:
        engine.close()


def _best_ms(engine: VadEngine, sessions: int) -> float:
    noise = np.random.default_rng(1).normal(0, 0.1, (sessions, WINDOW)).astype(np.float32)
    state = np.stack([engine.initial_state()] * sessions)
    best_s = float("inf")
    for number in range(_WARM_UP + _ROUNDS):
        begun_s = time.perf_counter()
        _, state = engine.step(noise, state)
        if number >= _WARM_UP:
            best_s = min(best_s, time.perf_counter() - begun_s)
    return 1000 * best_s

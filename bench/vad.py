"""What a step of voice activity detection costs, by how many sessions are heard together:
`PARLEY_VAD_ENGINE=silero-torch python -m bench.vad`, on the GPU with `PARLEY_DEVICE=cuda`.

A window is 32 ms of audio, so a step of more than that is too slow for its sessions.
"""

import statistics
import time

import numpy as np

from shared.settings import Settings
from workers.vad.engines import WINDOW, VadEngine, create

_SESSIONS = (1, 8, 32, 128, 512)
_WINDOW_MS = 32
_WARM_UP, _ROUNDS = 5, 100


def main() -> None:
    settings = Settings()
    engine = create(settings).vad
    engine.load()
    print(f"{engine.name} on {'the GPU' if settings.on_gpu else 'the processor'}")
    for sessions in _SESSIONS:
        times = _times_ms(engine, sessions)
        usual, best = statistics.median(times), min(times)
        print(
            f"  {sessions:4} sessions: {usual:6.2f} ms a step, best {best:6.2f} ms,"
            f" {sessions * _WINDOW_MS / best:5.0f} s of audio a second"
        )
    engine.close()


def _times_ms(engine: VadEngine, sessions: int) -> list[float]:
    noise = np.random.default_rng(1).normal(0, 0.1, (sessions, WINDOW)).astype(np.float32)
    state = np.stack([engine.initial_state()] * sessions)
    times = []
    for _ in range(_WARM_UP + _ROUNDS):
        begun = time.perf_counter()
        _, state = engine.step(noise, state)
        times.append(1000 * (time.perf_counter() - begun))
    return times[_WARM_UP:]


if __name__ == "__main__":
    main()

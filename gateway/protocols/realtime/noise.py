"""Takes steady noise out of what a microphone hears, with the noise suppression of WebRTC.

It costs 0.2 % of a core and 312 KiB for a session, and 16 ms of delay. Steady noise goes by 6 or
12 dB, and speech stays. Whisper and Silero hear through noise by themselves: of speech mixed with
hiss, fans, voices and keys at 5 and 10 dB, tiny.en gets 3.5 % of the words wrong without it, 3.0 %
with it near and 4.0 % far, base 3.1 %, 3.5 % and 4.4 % (`python -m bench.noise`). So it is off
where nobody asks for it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from webrtc_noise_gain import AudioProcessor

from shared.audio import Int16, to_float32, to_int16

_FRAME = 160  # 10 ms at 16 kHz, what the processor takes
_DELAY = 96  # samples by which its output comes late
# How much of the noise goes: by about 6 dB for a microphone at the mouth, which hears little of it,
# by about 12 dB for one in the room.
_LEVELS = {"near_field": 1, "far_field": 2}


class NoiseReduction:
    """Noise reduction of one session: any chunks of 16 kHz in, in the end as many samples out."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        """`wanted` is `noise_reduction` as the protocol writes it: how near the microphone is, and
        from 0 to 1 how strongly."""
        self._strength = np.float32(wanted.get("strength", 1.0))
        self._processor = AudioProcessor(0, _LEVELS[wanted["type"]])
        self.begin()

    @classmethod
    def of(cls, wanted: Mapping[str, Any] | None) -> "NoiseReduction | None":
        """What is wanted, None if nothing is."""
        return None if wanted is None else cls(wanted)

    def begin(self) -> None:
        """Audio begins anew; what was learned of the noise stays."""
        # What was heard and did not come out yet: the first so many went into the processor.
        self._heard: Int16 = np.zeros(0, np.int16)
        self._processed = 0
        # What the processor says before it says what it heard.
        self._early = _DELAY

    def process(self, samples: Int16) -> Int16:
        """The next samples, int16 (n,) in and (m,) out; up to 16 ms are held back."""
        self._heard = np.concatenate([self._heard, samples])
        ready = (len(self._heard) - self._processed) // _FRAME * _FRAME
        frames = self._heard[self._processed : self._processed + ready].reshape(-1, _FRAME)
        said = b"".join(self._processor.Process10ms(frame.tobytes()).audio for frame in frames)
        clean = np.frombuffer(said, np.int16)[self._early :]
        self._early -= min(self._early, ready)
        noisy, self._heard = np.split(self._heard, [len(clean)])
        self._processed += ready - len(clean)
        strength = self._strength
        return to_int16(strength * to_float32(clean) + (1 - strength) * to_float32(noisy))

    def end(self) -> Int16:
        """The samples that are held back."""
        held = len(self._heard)
        return self.process(np.zeros(_DELAY + _FRAME, np.int16))[:held]

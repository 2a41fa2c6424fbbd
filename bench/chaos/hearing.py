"""What the server must hear of a session's audio, to the sample. No I/O.

The gateway's resampler, the VAD listener and the `energy` and `instant` engines work here on the
whole audio of a session at once. What reaches them in pieces, late, again or by way of another
process must come to the same transcripts, or a sample was lost or heard twice.
"""

import numpy as np

from gateway.protocols.realtime.formats import FORMATS, Microphone
from shared.audio import Int16, pcm16
from shared.keys import Keyspace
from shared.messages import Command, Frame, TurnDetection
from workers.stt.engines import Utterance
from workers.stt.engines.instant import InstantEngine
from workers.vad.engines.energy import EnergyEngine
from workers.vad.listener import Listener

_SESSION = Keyspace(shards=1, lanes=1).session("sess_expected")


class Hearing:
    """Follows what one client sends; `transcripts` are those of its turns so far, in order."""

    def __init__(self, turn_detection: TurnDetection) -> None:
        self.transcripts: list[str] = []
        self._vad, self._stt = EnergyEngine(), InstantEngine()
        self._listener = Listener(_SESSION, self._vad.initial_state())
        self._microphone = Microphone(FORMATS["audio/pcm"])
        self._at = 0
        self.configure(turn_detection)

    def audio(self, samples: Int16) -> None:
        """The client appended audio: int16 (n,) at 24 kHz."""
        self._push(self._microphone.take(samples.tobytes()))

    def configure(self, turn_detection: TurnDetection | None) -> None:
        """The client changed the turn detection; None is push-to-talk."""
        self._command("configure", turn_detection)

    def commit(self) -> None:
        """The client ended its turn by hand."""
        self._push(self._microphone.end())
        self._microphone = Microphone(FORMATS["audio/pcm"], self._microphone.taken)
        self._command("commit")

    def _push(self, samples: Int16) -> None:
        if not len(samples):
            return
        frame = Frame(_SESSION.session_id, self._at, samples.tobytes(), received_ms=0)
        self._at += len(samples)
        self._listener.accept(frame, "0-1")
        while self._listener.has_window:
            audio = self._listener.window()[None]
            state = self._listener.model_state[None]
            probabilities, states = self._vad.step(audio, state)
            self._note(self._listener.advance(float(probabilities[0]), states[0], now_ms=0))

    def _command(self, action: str, turn_detection: TurnDetection | None = None) -> None:
        command = Command(_SESSION.session_id, self._at, action, turn_detection)  # type: ignore[arg-type]
        self._note(self._listener.obey(command, now_ms=0))

    def _note(self, heard: object) -> None:
        job = getattr(heard, "job", None)
        if job is not None:
            utterance = Utterance(np.array(pcm16(job.pcm)))
            self.transcripts.append(self._stt.transcribe([utterance])[0].text)

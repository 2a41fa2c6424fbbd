"""The user's audio on its way to the VAD worker, and the commands that keep their place in it."""

from typing import Literal

from shared.audio import Int16
from shared.ids import now_ms
from shared.lanes import LaneWriter
from shared.messages import Command, Frame, SessionConfig

# Audio that the broker has not taken yet, over all sessions: about half an hour of one voice.
_MOST_WAITING_BYTES = 64 * 2**20

Action = Literal["open", "configure", "commit", "clear", "timeout", "close"]


class Voice:
    """One session's part of its lane. `config` is what commands carry from here on."""

    def __init__(self, session_id: str, lanes: LaneWriter, config: SessionConfig) -> None:
        self.config = config
        self.at = 0
        """The sample of the session, at 16 kHz, that comes next."""
        self._session_id = session_id
        self._lanes = lanes

    def push(self, samples: Int16) -> None:
        """Takes 16 kHz audio from the microphone.

        While the broker is away audio is kept, up to a bound shared by all sessions; beyond it
        frames are dropped, which the VAD worker hears as silence.
        """
        frame = Frame(self._session_id, self.at, samples.tobytes(), now_ms())
        self.at += len(samples)
        if self._lanes.waiting_bytes < _MOST_WAITING_BYTES:
            self._lanes.append(frame)

    def seek(self, at: int) -> None:
        """The audio pushed next belongs at sample `at` of the session."""
        self.at = at

    async def command(
        self, action: Action, reference: str | None = None, *, request: int = 0
    ) -> None:
        """A step that keeps its place among the frames; a refused commit names `reference`.

        Returns when the broker has it.
        """
        self.append(action, reference, request=request)
        await self._lanes.written(self._session_id)

    def append(
        self,
        action: Action,
        reference: str | None = None,
        *,
        request: int = 0,
        since: int = 0,
    ) -> None:
        """The same, without waiting for the broker."""
        self._lanes.append(
            Command(
                self._session_id,
                self.at,
                action,
                self.config.turn_detection,
                self.config.language,
                self.config.transcription_prompt,
                reference,
                request,
                since,
            )
        )

"""The original WebSocket client of Hugging Face speech-to-speech endpoints, without a sound card.

A clock stands in for the sound card: every `chunk` samples' time it asks for one chunk to play and
delivers one chunk of microphone. Everything else is as in the original: what it sends, when it
sends empty frames, and how it plays what it gets.
"""

import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
import websocket

from shared.audio import Int16, pcm16

RATE = 16_000
DONE = b"DONE"
CLOSE_TIMEOUT_S = 10


@dataclass
class Answer:
    """What came back for one question: `messages` without the closing DONE.

    `played` is what the speaker gave from the first message on, int16 (n,) at 16 kHz: every
    message padded or cut to one chunk, and silence where none was there in time (`dry` chunks).
    """

    messages: list[bytes] = field(default_factory=list)
    played: Int16 = field(default_factory=lambda: np.empty(0, np.int16))
    dry: int = 0


class LegacyClient:
    """One connection: `with LegacyClient("http://127.0.0.1:8080") as client: client.ask(...)`."""

    def __init__(self, api_url: str, chunk: int = 1024, token: str = "token") -> None:
        """`api_url`: as users gave it, http or ws, with or without a trailing slash."""
        self._chunk = chunk
        self._processing = False
        self._playing: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._opened = threading.Event()
        self._received: list[bytes] = []
        self._frames_sent = 0
        self._done = 0
        self.violations: list[str] = []
        self._socket = websocket.WebSocketApp(
            api_url.replace("http", "ws") + "/ws",
            header=[
                "Accept: application/json",
                f"Authorization: Bearer {token}",
                "Content-Type: application/json",
            ],
            on_open=lambda _: self._opened.set(),
            on_message=lambda _, message: self._on_message(message),
            on_error=lambda _, error: self._on_error(error),
        )
        # The reader looks up this often whether the connection was closed under it.
        options = {"ping_timeout": 0.1}
        self._thread = threading.Thread(target=self._socket.run_forever, kwargs=options)

    def __enter__(self) -> "LegacyClient":
        self._thread.start()
        self._opened.wait()
        assert not self.violations, self.violations
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join(CLOSE_TIMEOUT_S)
        assert not self._thread.is_alive(), "the connection did not close"

    def drop(self) -> None:
        """Vanish without a closing handshake, as this client does when it is interrupted."""
        assert self._socket.sock is not None
        assert self._socket.sock.sock is not None
        self._socket.sock.sock.shutdown(socket.SHUT_RDWR)

    def ask(self, question: Int16, timeout_s: float = 60.0) -> Answer:
        """Speak `question`, int16 (n,) at 16 kHz, then silence, until the answer was played.

        Raises:
            AssertionError: the server broke the protocol, or did not answer in time.
        """
        first, done = len(self._received), self._done
        answer = Answer()
        played: list[Int16] = []
        period_s = self._chunk / RATE
        start = time.monotonic()
        for tick, recorded in enumerate(chain(self._chunks(question), repeat(self._silence()))):
            time.sleep(max(0.0, start + tick * period_s - time.monotonic()))
            assert not self.violations, self.violations
            assert tick * period_s < timeout_s, f"no DONE within {timeout_s} s"
            if (chunk := self._play()) is not None:
                played.append(chunk)
            elif self._done > done:
                break
            elif played:
                played.append(self._silence())
                answer.dry += 1
            self._record(recorded)
        answer.messages = self._received[first:]
        answer.played = np.concatenate([np.empty(0, np.int16), *played])
        return answer

    def _chunks(self, question: Int16) -> list[Int16]:
        padded = np.append(question, np.zeros(-len(question) % self._chunk, np.int16))
        return list(padded.reshape(-1, self._chunk))

    def _silence(self) -> Int16:
        return np.zeros(self._chunk, np.int16)

    def _record(self, chunk: Int16) -> None:
        """The sound card delivers a chunk: it goes out, but while an answer comes in only as an
        empty frame, which asks for the next message."""
        data = b"" if self._processing else chunk.astype("<i2").tobytes()
        self._frames_sent += 1
        try:
            self._socket.send(data, opcode=websocket.ABNF.OPCODE_BINARY)
        except websocket.WebSocketException as error:
            self._violate(f"the connection broke: {error!r}")

    def _play(self) -> Int16 | None:
        """The sound card wants a chunk: the next message, padded or cut; None if there is none."""
        try:
            samples = pcm16(self._playing.get_nowait())[: self._chunk]
        except queue.Empty:
            return None
        return np.append(samples, np.zeros(self._chunk - len(samples), np.int16))

    def _on_message(self, message: bytes | str) -> None:
        if isinstance(message, str):
            self._violate(f"a text frame came: {message[:60]!r}")
            return
        if len(self._received) + self._done >= self._frames_sent:
            self._violate(f"more messages came than the {self._frames_sent} frames sent")
        if message == DONE:
            if not self._processing:
                self._violate("DONE came without an answer")
            self._processing = False
            self._done += 1
            return
        if len(message) != 2 * self._chunk:
            self._violate(f"a message of {len(message)} bytes came, not {2 * self._chunk}")
        self._processing = True
        self._received.append(message)
        if len(message) % 2 == 0:
            self._playing.put(message)

    def _on_error(self, error: Exception) -> None:
        self._violate(f"the connection failed: {error!r}")
        self._opened.set()

    def _violate(self, sentence: str) -> None:
        self.violations.append(sentence)

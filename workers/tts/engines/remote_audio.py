"""Audio as a speech server streams it: bare PCM, or a WAV file."""

import re
import struct
from collections.abc import Iterator

from shared.audio import Int16, pcm16

# What OpenAI's interface defines for `response_format=pcm`.
_RATE = 24_000
_PLAIN = ("", "application/octet-stream", "audio/pcm", "audio/x-pcm", "audio/raw")
_RATE_NAMED = re.compile(r";\s*rate=(\d{4,6})\b")
# A file may begin with remarks, which are skipped.
_LONGEST_HEADER = 65_536
_PCM, _EXTENSIBLE = 1, 0xFFFE
_RATES = range(4_000, 192_001)


class AudioUnfit(ValueError):
    """Audio that cannot be played; the message says what came and what was expected."""


class PcmStream:
    """The samples of a response, as they come.

    `rate` is their rate in Hz: a WAV file's own, else what the content type names, else 24 kHz.

    Raises:
        AudioUnfit: it is neither a WAV file of 16-bit mono PCM nor said to be PCM.
    """

    def __init__(self, pieces: Iterator[bytes], content_type: str) -> None:
        self._pieces = pieces
        self._held = b""
        self._left: int | None = None
        start = self._take(12)
        if start[:4] == b"RIFF" and start[8:] == b"WAVE":
            self.rate = self._read_header()
            return
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in _PLAIN:
            raise AudioUnfit(f"speech must come as PCM or as a WAV file, not as {kind[:40]!r}")
        named = _RATE_NAMED.search(content_type)
        self.rate = int(named[1]) if named else _RATE
        self._held = start + self._held

    def samples(self, most: int) -> Iterator[Int16]:
        """What comes, as int16 (n,) with 0 < n <= `most`, as soon as it does."""
        odd = b""
        for piece in self._rest():
            piece = odd + piece
            whole = len(piece) - len(piece) % 2
            odd = piece[whole:]
            for at in range(0, whole, 2 * most):
                yield pcm16(piece[at : min(at + 2 * most, whole)])

    def _rest(self) -> Iterator[bytes]:
        piece: bytes | None = self._held
        while piece is not None:
            if self._left is not None:
                piece = piece[: self._left]
                self._left -= len(piece)
            if piece:
                yield piece
            if self._left == 0:
                return
            piece = next(self._pieces, None)

    def _take(self, length: int) -> bytes:
        """The next `length` bytes, or what there are."""
        while len(self._held) < length:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held += piece
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _read_header(self) -> int:
        """Goes to the first sample of a WAV file; its rate."""
        rate, read = 0, 0
        while read < _LONGEST_HEADER:
            header = self._take(8)
            if len(header) < 8:
                break
            kind, size = struct.unpack("<4sI", header)
            if kind == b"data":
                if not rate:
                    break
                # A file that is written as it is made does not know its length.
                self._left = size if 0 < size < 0x7FFF_0000 else None
                return rate
            body = self._take(min(size + size % 2, _LONGEST_HEADER))
            if kind == b"fmt ":
                rate = _format(body)
            read += 8 + len(body)
        raise AudioUnfit("speech must come as PCM or as a WAV file: it has a broken header")


def _format(body: bytes) -> int:
    """The rate of the samples that a WAV file's format chunk describes."""
    if len(body) < 16:
        raise AudioUnfit("speech must come as PCM or as a WAV file: its format is cut short")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if kind not in (_PCM, _EXTENSIBLE) or (channels, bits) != (1, 16) or rate not in _RATES:
        raise AudioUnfit(
            "speech must come as 16-bit mono PCM, not as"
            f" format {kind} with {channels} channels of {bits} bits at {rate} Hz"
        )
    return int(rate)

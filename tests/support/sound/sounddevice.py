"""Stands in for the package sounddevice where a test machine has no sound card.

It keeps the contract of what `parley talk` uses: devices by number or part of a name, their refusal
by the package's own errors, settings that can be checked, and streams whose callbacks are called
from a thread of their own in real time, with arrays (frames, 1) that are only valid meanwhile.

The environment says what the machine is like: SOUND_DEVICES=0 (none), SOUND_RATE (the only rate
that they take, in Hz), SOUND_RECORDING (a WAV file that the microphone hears once) and SOUND_PLAYED
(a file that gets all that the loudspeaker plays, as raw int16).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from shared.audio import Int16, read_wav, resample

_BLOCK_S = 0.01
LATENCY_S = 0.02


class PortAudioError(Exception):
    pass


class _Default:
    device = (0, 1) if os.environ.get("SOUND_DEVICES") != "0" else (-1, -1)


default = _Default()
spoken: deque[Int16] = deque()
"""What the microphone hears next, int16 at the device's rate; a test may put more there."""
played: list[Int16] = []
"""What the loudspeaker played, block by block."""
unplugged = threading.Event()


def _device(index: int, name: str, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "name": name,
        "index": index,
        "hostapi": 0,
        "max_input_channels": inputs,
        "max_output_channels": outputs,
        "default_samplerate": float(os.environ.get("SOUND_RATE", 48_000)),
    }


_DEVICES = (_device(0, "Test microphone", 2, 0), _device(1, "Test speaker", 0, 2))


def query_devices(device: int | str | None = None, kind: str | None = None) -> Any:
    present: tuple[dict[str, Any], ...] = _DEVICES if default.device != (-1, -1) else ()
    if device is None and kind is None:
        return present
    if device is None:
        device = default.device[0 if kind == "input" else 1]
    if isinstance(device, str):
        fitting = [each for each in present if _fits(each, device, kind)]
        if len(fitting) != 1:
            raise ValueError(f"No {kind} device matching {device!r}")
        return fitting[0]
    if not 0 <= device < len(present):
        raise PortAudioError(f"Error querying device {device}")
    if present[device][f"max_{kind}_channels"] < 1:
        raise ValueError(f"Not an {kind} device: {device!r}")
    return present[device]


def _fits(device: dict[str, Any], text: str, kind: str | None) -> bool:
    return bool(text.lower() in device["name"].lower() and device[f"max_{kind}_channels"] > 0)


def check_input_settings(
    device: int | None = None,
    channels: int | None = None,
    dtype: str | None = None,
    extra_settings: object = None,
    samplerate: float | None = None,
) -> None:
    only = os.environ.get("SOUND_RATE")
    if only is not None and samplerate != int(only):
        raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")


check_output_settings = check_input_settings


class _Stream:
    def __init__(
        self,
        *,
        device: int | None = None,
        samplerate: int,
        channels: int,
        dtype: str,
        latency: str = "low",
        callback: Callable[[Any, int, Any, Any], None],
    ) -> None:
        check_input_settings(samplerate=samplerate)
        assert (channels, dtype, latency) == (1, "int16", "low")
        self.latency = LATENCY_S
        self._rate = samplerate
        self._callback = callback
        self._frames = round(_BLOCK_S * samplerate)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def active(self) -> bool:
        return self._thread.is_alive() and not unplugged.is_set()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set() and not unplugged.is_set():
            due += _BLOCK_S
            time.sleep(max(0.0, due - time.monotonic()))
            block = np.empty((self._frames, 1), np.int16)
            self._turn(block)

    def _turn(self, block: Int16) -> None:
        raise NotImplementedError

    def _call(self, block: Int16) -> None:
        self._callback(block, len(block), None, None)


class InputStream(_Stream):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if path := os.environ.get("SOUND_RECORDING"):
            recording, rate = read_wav(Path(path))
            spoken.append(resample(recording, rate, self._rate))

    def _turn(self, block: Int16) -> None:
        block[:] = 0
        if spoken:
            piece = spoken.popleft()
            count = min(len(piece), len(block))
            block[:count, 0] = piece[:count]
            if count < len(piece):
                spoken.appendleft(piece[count:])
        self._call(block)
        block[:] = -1  # whoever kept it finds out


class OutputStream(_Stream):
    def _turn(self, block: Int16) -> None:
        block[:] = 12_345  # what a callback does not fill is heard
        self._call(block)
        played.append(block[:, 0].copy())
        if path := os.environ.get("SOUND_PLAYED"):
            with Path(path).open("ab") as file:
                file.write(block.tobytes())

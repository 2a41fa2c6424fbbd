"""A Piper voice's model in two parts, so that its speech can be heard while it is made.

VITS (https://arxiv.org/abs/2106.06103) makes latent frames of all phonemes, and a HiFi-GAN
(https://arxiv.org/abs/2010.05646) then makes them audible, which is most of the work. It is a
convolution: of the frames far from some sound it needs nothing. So it runs piece by piece, each
with the frames around it that it hears, and the pieces put together are what it makes at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor

from shared.audio import Float32

_VOCODER = "/dec/"
_FIRST_LAYER = "/dec/conv_pre/Conv"
# Of 12 ms each. What the larger of Piper's two vocoders hears to each side, by its layers, is 13.3
# frames, and 10 the smaller.
_CONTEXT = 14
# The first piece is 0.6 s long, so that the second can be made while it is heard, also beside
# others' first; then they grow, because each has the frames around it to pay for, and no faster
# than a machine that is three times slower could make them. Somebody else's sentence waits for a
# piece, so that they grow to 3.6 s only.
_FIRST, _GROWTH, _LONG = 50, 2, 300


@dataclass(frozen=True, slots=True)
class PiperModel:
    """What speaks phonemes. Several threads may use it at once.

    `vocoder` is None for a model that is not made as Piper's own are, and runs whole.
    """

    session: onnxruntime.InferenceSession
    vocoder: onnxruntime.InferenceSession | None

    @classmethod
    def load(cls, file: Path, threads: int) -> "PiperModel":
        """Loads it from an ONNX file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning thread takes its core away from the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
            data = model.SerializeToString()
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

        whole = onnx.load(str(file))
        between = _between(whole.graph)
        if not between:
            return cls(session(whole), None)
        parts = Extractor(whole)
        first = parts.extract_model([value.name for value in whole.graph.input], between)
        second = parts.extract_model(between, [value.name for value in whole.graph.output])
        return cls(session(first), session(second))

    def speak(self, inputs: dict[str, NDArray[Any]]) -> Iterator[Float32]:
        """Speaks a sentence's phonemes; each step blocks.

        Yields:
            float32 (n,) at the model's rate, in about [-1, 1]; together one seamless recording.
        """
        outputs = self.session.run(None, inputs)
        if self.vocoder is None:
            yield outputs[0].reshape(-1)
            return
        # Of a model of several speakers, the frames are followed by what tells the voice.
        frames, *voice = outputs
        name, *others = (value.name for value in self.vocoder.get_inputs())
        known = dict(zip(others, voice, strict=True))
        count = frames.shape[-1]
        for start, end in pieces(count):
            left, right = max(start - _CONTEXT, 0), min(end + _CONTEXT, count)
            near = np.ascontiguousarray(frames[..., left:right])
            sound = self.vocoder.run(None, {name: near, **known})[0].reshape(-1)
            hop = len(sound) // (right - left)
            yield sound[(start - left) * hop : (end - left) * hop]


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """Cuts so many frames into pieces, none shorter than the one before it."""
    start, length = 0, _FIRST
    while start < count:
        end = count if count - start < 2 * length else start + length
        yield start, end
        start, length = end, min(length * _GROWTH, _LONG)


def _between(graph: onnx.GraphProto) -> list[str]:
    """What the vocoder is given, its frames first; empty where there is none."""
    inside = [node for node in graph.node if node.name.startswith(_VOCODER)]
    made = {name for node in graph.node for name in node.output}
    own = {name for node in inside for name in node.output}
    taken = dict.fromkeys(name for node in inside for name in node.input if name in made - own)
    frames = [node.input[0] for node in inside if node.name == _FIRST_LAYER]
    return [*frames, *(name for name in taken if name not in frames)] if frames else []

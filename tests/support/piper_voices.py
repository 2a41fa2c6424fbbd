"""Voices for Piper, made of the starter pack's one."""

import json
from pathlib import Path
from typing import Any

from shared.models import resolve
from shared.settings import Settings

_JOE = "en_US-joe-medium"
# Element types of the ONNX format.
_FLOAT, _INT64 = 1, 7


def joe(folder: Path, name: str, **changes: Any) -> Path:
    """The starter pack's model as the voice `name`, with `changes` to its configuration."""
    model = resolve(_JOE, Settings().models_dir) / f"{_JOE}.onnx"
    return _voice(folder / name, model.read_bytes(), changes)


def spelling(folder: Path, name: str, speakers: dict[str, int], **changes: Any) -> Path:
    """A voice of several speakers whose samples are the numbers of the phonemes that it is given.

    Speaker n divides them by n; full scale is 1.
    """
    several = {"num_speakers": len(speakers), "speaker_id_map": speakers}
    return _voice(folder / name, _spelling(), {**several, **changes})


def _voice(folder: Path, model: bytes, changes: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    joes = resolve(_JOE, Settings().models_dir) / f"{_JOE}.onnx.json"
    config = {**json.loads(joes.read_text("utf-8")), **changes}
    (folder / f"{folder.name}.onnx").write_bytes(model)
    (folder / f"{folder.name}.onnx.json").write_text(json.dumps(config), "utf-8")
    return folder


def _spelling() -> bytes:
    """An ONNX model with the inputs that Piper gives one of several speakers.

    The fields' numbers are those of onnx.proto.
    """
    nodes = [
        _node("Cast", ["input"], "numbers", to=_FLOAT),
        _node("Cast", ["sid"], "speaker", to=_FLOAT),
        _node("Div", ["numbers", "speaker"], "output"),
    ]
    inputs = [
        _value("input", _INT64, "batch", "phonemes"),
        _value("input_lengths", _INT64, "batch"),
        _value("scales", _FLOAT, "three"),
        _value("sid", _INT64, "batch"),
    ]
    graph = b"".join(
        [
            *(_bytes(1, node) for node in nodes),
            _bytes(2, b"spelling"),
            *(_bytes(11, value) for value in inputs),
            _bytes(12, _value("output", _FLOAT, "batch", "time")),
        ]
    )
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 17))


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    return b"".join(
        [
            *(_bytes(1, name.encode()) for name in inputs),
            _bytes(2, output.encode()),
            _bytes(4, kind.encode()),
            *(
                _bytes(5, _bytes(1, name.encode()) + _number(3, value) + _number(20, 2))
                for name, value in attributes.items()
            ),
        ]
    )


def _value(name: str, element: int, *dimensions: str) -> bytes:
    shape = b"".join(_bytes(1, _bytes(2, dimension.encode())) for dimension in dimensions)
    tensor = _number(1, element) + _bytes(2, shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])

"""Kokoro's model on onnxruntime, on the processor or on the GPU."""

from pathlib import Path

import onnxruntime

from shared.gpu import CONTEXT_BYTES, card, check_fits
from shared.registry import CannotStart
from shared.settings import Settings

# What a sentence takes beside the weights: an allowance.
_WORKING_BYTES = 1_000_000_000


def open_session(file: Path, settings: Settings) -> onnxruntime.InferenceSession:
    """The model in `file`, with as many threads or as much of the GPU as the settings say.

    Raises:
        CannotStart: it is to run on a GPU and cannot.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.tts_threads
    # A spinning thread takes its core away from the other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not settings.on_gpu:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    check_fits("tts", "Kokoro", file.stat().st_size + _WORKING_BYTES, settings)
    budget = settings.gpu_memory_fraction("tts") * card().total_bytes - CONTEXT_BYTES
    cuda = ("CUDAExecutionProvider", {"gpu_mem_limit": round(budget)})
    if cuda[0] in onnxruntime.get_available_providers():
        session = onnxruntime.InferenceSession(str(file), options, providers=[cuda])
        # Where CUDA's libraries are missing, onnxruntime goes on without and only logs it.
        if session.get_providers()[0] == cuda[0]:
            return session
    raise CannotStart(
        f"onnxruntime {onnxruntime.__version__} has no CUDA here, which Kokoro on a GPU takes: put"
        " the package onnxruntime-gpu in place of onnxruntime, or set PARLEY_DEVICE=cpu"
    )

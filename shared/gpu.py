"""The GPU, and the share of its memory that a stage's worker keeps to.

Four stages share one card, so a worker that takes what it likes starves the others. Each has a
budget, `PARLEY_<STAGE>_GPU_MEMORY_FRACTION` of the card: what does not fit is refused before it
is loaded, and torch is held to the budget while it works.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.profiles import Stage
from shared.registry import CannotStart
from shared.settings import Settings

# What the driver keeps for a process that computes, and the libraries' kernels and workspaces,
# beside what the process allocates: an allowance, since it depends on card and driver.
CONTEXT_BYTES = 400_000_000


class NoGpu(CannotStart):
    """The settings ask for a GPU, and there is none that can be used. The message says why."""


class DoesNotFit(CannotStart):
    """A model needs more of the GPU's memory than its stage may have, or than is free."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU and its memory."""

    name: str
    total_bytes: int
    free_bytes: int


def card() -> Card:
    """The GPU that CUDA shows this process first.

    Raises:
        NoGpu: there is none, it has no driver, or the package that asks for it is missing.
    """
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise NoGpu(
            "a GPU is asked for and the package 'nvidia-ml-py' is not installed here: install"
            " Parley's extra `gpu`, or set PARLEY_DEVICE=cpu"
        ) from error
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    try:
        with _nvml(pynvml):
            handle = (
                pynvml.nvmlDeviceGetHandleByIndex(int(visible))
                if visible.isdecimal()
                else pynvml.nvmlDeviceGetHandleByUUID(visible)
            )
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            return Card(pynvml.nvmlDeviceGetName(handle), memory.total, memory.free)
    except pynvml.NVMLError as error:
        raise NoGpu(
            f"a GPU is asked for and NVIDIA's driver shows none here ({error}): set"
            " PARLEY_DEVICE=cpu to run on the processor"
        ) from error


@contextmanager
def _nvml(pynvml: Any) -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def check_fits(stage: Stage, what: str, needed_bytes: int, settings: Settings) -> None:
    """Makes sure that a model fits on the GPU before it is loaded.

    Args:
        stage: whose budget it must fit in.
        what: the model, as a message names it.
        needed_bytes: what it allocates on the card, weights and working memory.

    Raises:
        DoesNotFit: it is more than the stage's budget, or than what other processes left free.
        NoGpu: there is no GPU to load it on.
    """
    found = card()
    needs = f"{what} needs {_gb(needed_bytes + CONTEXT_BYTES)} of the GPU's memory"
    budget = round(settings.gpu_memory_fraction(stage) * found.total_bytes)
    if needed_bytes + CONTEXT_BYTES > budget:
        raise DoesNotFit(
            f"{needs}, and a {stage} worker may have {_gb(budget)} of the"
            f" {_gb(found.total_bytes)} of {found.name}: raise"
            f" PARLEY_{stage.upper()}_GPU_MEMORY_FRACTION or {_smaller(stage)}"
        )
    if needed_bytes + CONTEXT_BYTES > found.free_bytes:
        raise DoesNotFit(
            f"{needs}, and of the {_gb(found.total_bytes)} of {found.name} only"
            f" {_gb(found.free_bytes)} are free: end what else runs on it or {_smaller(stage)}"
        )


def limit_torch(stage: Stage, settings: Settings) -> None:
    """Holds this process's torch to its stage's budget; beyond it, allocating fails.

    Raises:
        NoGpu: torch has no GPU that it can use.
    """
    import torch

    if not torch.cuda.is_available():
        raise NoGpu(
            f"a GPU is asked for and torch {torch.__version__} can use none here: it needs a build"
            " for CUDA and a driver as new as that, or PARLEY_DEVICE=cpu"
        )
    total = torch.cuda.get_device_properties(0).total_memory
    budget = settings.gpu_memory_fraction(stage) * total - CONTEXT_BYTES
    torch.cuda.set_per_process_memory_fraction(max(budget, 0) / total, 0)


def _smaller(stage: Stage) -> str:
    setting = "PARLEY_TTS_MODELS" if stage == "tts" else f"PARLEY_{stage.upper()}_MODEL"
    return f"choose a smaller {setting}"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"

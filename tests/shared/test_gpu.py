"""What does not fit on the GPU is refused before it is loaded, in words."""

import subprocess
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from shared import gpu
from shared.gpu import CONTEXT_BYTES, Card, DoesNotFit, NoGpu, check_fits, limit_torch
from shared.settings import Settings

GB = 1_000_000_000
L4 = Card("NVIDIA L4", total_bytes=24 * GB, free_bytes=24 * GB)


class NvmlError(Exception):
    pass


@dataclass
class Nvml:
    """NVIDIA's library on a machine with these cards, by index and by UUID."""

    cards: dict[int | str, Card] = field(default_factory=lambda: {0: L4})
    open: int = 0
    NVMLError: type[Exception] = NvmlError

    def nvmlInit(self) -> None:
        if not self.cards:
            raise NvmlError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def _handle(self, key: int | str) -> Card:
        assert self.open
        if key not in self.cards:
            raise NvmlError("Invalid Argument")
        return self.cards[key]

    nvmlDeviceGetHandleByIndex = nvmlDeviceGetHandleByUUID = _handle

    def nvmlDeviceGetMemoryInfo(self, handle: Card) -> SimpleNamespace:
        assert self.open
        return SimpleNamespace(total=handle.total_bytes, free=handle.free_bytes)

    def nvmlDeviceGetName(self, handle: Card) -> str:
        assert self.open
        return handle.name


def with_nvml(monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


def test_it_is_imported_without_torch_or_nvml() -> None:
    script = "import sys, shared.gpu; print(*sorted({'torch', 'pynvml'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_the_card_is_read_and_nvml_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    with_nvml(monkeypatch, nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.card() == L4
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "name"), [("1", "one"), ("1,0", "one"), ("GPU-2f", "two"), ("MIG-3a,0", "part")]
)
def test_it_is_the_first_card_that_cuda_shows(
    monkeypatch: pytest.MonkeyPatch, visible: str, name: str
) -> None:
    names: dict[int | str, str] = {0: "zero", 1: "one", "GPU-2f": "two", "MIG-3a": "part"}
    with_nvml(monkeypatch, Nvml({key: Card(name, GB, GB) for key, name in names.items()}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.card().name == name


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-no"])
def test_a_card_that_is_not_shown_is_none(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    nvml = Nvml()
    with_nvml(monkeypatch, nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NoGpu, match=r"shows none here \(Invalid Argument\): set PARLEY_DEVICE=cpu"):
        gpu.card()
    assert nvml.open == 0


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_nvml(monkeypatch, Nvml(cards={}))
    with pytest.raises(NoGpu, match=r"\(NVML Shared Library Not Found\)"):
        check_fits("stt", "Whisper", 1, Settings())


def test_without_the_package_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    with_nvml(monkeypatch, None)  # makes Python find no such module
    with pytest.raises(NoGpu, match="package 'nvidia-ml-py' is not installed"):
        check_fits("stt", "Whisper", 1, Settings())


def test_what_fits_to_the_byte_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    with_nvml(monkeypatch, Nvml())
    settings = Settings(stt_gpu_memory_fraction=0.25)
    check_fits("stt", "Whisper", 6 * GB - CONTEXT_BYTES, settings)
    with pytest.raises(DoesNotFit):
        check_fits("stt", "Whisper", 6 * GB - CONTEXT_BYTES + 1, settings)


@pytest.mark.parametrize(
    ("stage", "setting"), [("stt", "PARLEY_STT_MODEL"), ("tts", "PARLEY_TTS_MODELS")]
)
def test_what_is_too_much_names_the_budget_and_the_settings(
    monkeypatch: pytest.MonkeyPatch, stage: Any, setting: str
) -> None:
    with_nvml(monkeypatch, Nvml())
    with pytest.raises(DoesNotFit) as refused:
        check_fits(stage, "the model 'large'", 9_600_000_000, Settings())
    assert str(refused.value) == (
        f"the model 'large' needs 10.0 GB of the GPU's memory, and a {stage} worker may have 3.6 GB"
        f" of the 24.0 GB of NVIDIA L4: raise PARLEY_{stage.upper()}_GPU_MEMORY_FRACTION or choose"
        f" a smaller {setting}"
    )


def test_what_others_hold_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    with_nvml(monkeypatch, Nvml({0: Card("NVIDIA L4", 24 * GB, 2 * GB)}))
    with pytest.raises(DoesNotFit, match=r"only 2\.0 GB are free: end what else runs on it"):
        check_fits("llm", "the model 'large'", 8 * GB, Settings())
    check_fits("llm", "the model 'small'", 1 * GB, Settings())


def torch_with(total_bytes: int | None) -> tuple[ModuleType, list[tuple[float, int]]]:
    """A torch that has a GPU of that size, or none, and the fractions it was held to."""
    fractions: list[tuple[float, int]] = []
    torch = ModuleType("torch")
    torch.__version__ = "2.13.0+cpu"  # type: ignore[attr-defined]
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: total_bytes is not None,
        get_device_properties=lambda index: SimpleNamespace(total_memory=total_bytes),
        set_per_process_memory_fraction=lambda share, index: fractions.append((share, index)),
    )
    return torch, fractions


def test_torch_gets_the_budget_less_what_it_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, fractions = torch_with(20 * GB)
    monkeypatch.setitem(sys.modules, "torch", torch)
    limit_torch("llm", Settings(llm_gpu_memory_fraction=0.5))
    ((fraction, index),) = fractions
    assert fraction == pytest.approx(0.5 - CONTEXT_BYTES / (20 * GB))
    assert index == 0


def test_torch_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, fractions = torch_with(None)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(NoGpu, match=r"torch 2\.13\.0\+cpu can use none here"):
        limit_torch("llm", Settings())
    assert fractions == []

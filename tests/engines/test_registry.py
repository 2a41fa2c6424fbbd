"""Engines are found by name, and a process loads the runtime of its own engine only."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from shared.registry import EngineMissing
from shared.settings import Settings
from workers.llm import engines as llm
from workers.stt import engines as stt
from workers.tts import engines as tts
from workers.vad import engines as vad

Create = Callable[[Settings], Any]

ROLES: dict[str, tuple[Iterable[str], Create]] = {
    "vad": (vad.ENGINES, lambda settings: vad.create(settings).vad),
    "turn": (vad.TURN_ENGINES, lambda settings: vad.create(settings).turns),
    "stt": (stt.ENGINES, stt.create),
    "llm": (llm.ENGINES, llm.create),
    "tts": (tts.ENGINES, tts.create),
}
RUNTIMES = {"onnxruntime", "ctranslate2", "xllamacpp", "piper"}
ALLOWED = {"vad": {"onnxruntime"}, "stt": {"ctranslate2"}, "llm": {"xllamacpp"}}


@pytest.mark.parametrize("role", ROLES)
def test_every_engine_can_be_created(role: str) -> None:
    names, create = ROLES[role]
    for name in names:
        engine = create(Settings.model_validate({f"{role}_engine": name}))
        assert engine.name == name
        assert engine.model


@pytest.mark.parametrize("role", ROLES)
def test_an_unknown_engine_is_refused_by_the_name_of_its_setting(role: str) -> None:
    names, create = ROLES[role]
    known = ", ".join(sorted(names))
    with pytest.raises(EngineMissing, match=f"PARLEY_{role.upper()}_ENGINE must be one of {known}"):
        create(Settings.model_validate({f"{role}_engine": "abacus"}))


@pytest.mark.parametrize("stage", ALLOWED)
def test_a_process_imports_no_runtime_but_its_own(stage: str) -> None:
    script = (
        "import sys; from shared.settings import Settings; "
        f"from workers.{stage}.engines import create; create(Settings()); "
        f"print(*sorted({RUNTIMES!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == ALLOWED[stage]


@pytest.mark.parametrize("role", ROLES)
def test_an_engine_without_its_model_says_how_to_get_it(role: str, tmp_path: Any) -> None:
    _, create = ROLES[role]
    engine = create(Settings(models_dir=tmp_path))
    with pytest.raises(Exception, match=r"parley models fetch"):
        engine.load()

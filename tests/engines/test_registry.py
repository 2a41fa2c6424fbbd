"""Engines are found by name, and a process loads the runtime of its own engine only."""

import subprocess
import sys
from typing import Any

import pytest

import workers.llm.engines
import workers.stt.engines
import workers.tts.engines
import workers.vad.engines
from shared.settings import Settings

STAGES: dict[str, Any] = {
    "vad": workers.vad.engines,
    "stt": workers.stt.engines,
    "llm": workers.llm.engines,
    "tts": workers.tts.engines,
}
RUNTIMES = {"onnxruntime", "ctranslate2", "xllamacpp", "piper"}
ALLOWED = {"vad": {"onnxruntime"}, "stt": {"ctranslate2"}, "llm": {"xllamacpp"}}


@pytest.mark.parametrize("stage", STAGES)
def test_every_engine_of_a_stage_can_be_created(stage: str) -> None:
    engines = STAGES[stage]
    for name in engines.ENGINES:
        engine = engines.create(Settings.model_validate({f"{stage}_engine": name}))
        assert engine.name == name
        assert engine.model


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_engine_is_refused_by_the_name_of_its_setting(stage: str) -> None:
    engines = STAGES[stage]
    known = ", ".join(sorted(engines.ENGINES))
    with pytest.raises(ValueError, match=f"PARLEY_{stage.upper()}_ENGINE must be one of {known}"):
        engines.create(Settings.model_validate({f"{stage}_engine": "abacus"}))


@pytest.mark.parametrize("stage", ALLOWED)
def test_a_process_imports_no_runtime_but_its_own(stage: str) -> None:
    script = (
        "import sys; from shared.settings import Settings; "
        f"from workers.{stage}.engines import create; create(Settings()); "
        f"print(*sorted({RUNTIMES!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == ALLOWED[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_an_engine_without_its_model_says_how_to_get_it(stage: str, tmp_path: Any) -> None:
    engine = STAGES[stage].create(Settings(models_dir=tmp_path))
    with pytest.raises(Exception, match=r"parley models fetch"):
        engine.load()

"""Engines are found by name, and a process loads the runtime of its own engine only."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from shared.models import ModelMissing
from shared.profiles import Role
from shared.registry import EngineMissing
from shared.settings import Settings
from tests.engines.cases import CASES, Case, prepared
from workers.llm import engines as llm
from workers.stt import engines as stt
from workers.tts import engines as tts
from workers.vad import engines as vad

Create = Callable[[Settings], Any]

ROLES: dict[Role, tuple[Iterable[str], Create]] = {
    "vad": (vad.ENGINES, lambda settings: vad.create(settings).vad),
    "turn": (vad.TURN_ENGINES, lambda settings: vad.create(settings).turns),
    "stt": (stt.ENGINES, stt.create),
    "llm": (llm.ENGINES, llm.create),
    "tts": (tts.ENGINES, tts.create),
}
RUNTIMES = {"onnxruntime", "ctranslate2", "xllamacpp", "piper", "torch", "transformers"}
ALLOWED = {"vad": {"onnxruntime"}, "stt": {"ctranslate2"}, "llm": {"xllamacpp"}}
EVERY = [
    pytest.param(role, case, id=f"{role}-{case.label}", marks=case.marks)
    for role in ROLES
    for case in CASES[role]
]


@pytest.mark.parametrize("role", ROLES)
def test_the_suites_run_every_engine_there_is(role: Role) -> None:
    names, _ = ROLES[role]
    assert {case.engine for case in CASES[role]} == {*names}
    labels = [case.label for case in CASES[role]]
    assert len(labels) == len({*labels})


@pytest.mark.parametrize(("role", "case"), EVERY)
def test_every_engine_says_its_name_and_its_model(role: Role, case: Case, tmp_path: Path) -> None:
    _, create = ROLES[role]
    with prepared(role, case, tmp_path) as settings:
        engine = create(settings)
        assert engine.name == case.engine
        assert engine.model


@pytest.mark.parametrize("role", ROLES)
def test_an_unknown_engine_is_refused_by_the_name_of_its_setting(role: Role) -> None:
    names, create = ROLES[role]
    known = ", ".join(sorted(names))
    with pytest.raises(EngineMissing, match=f"PARLEY_{role.upper()}_ENGINE must be one of {known}"):
        create(Settings.model_validate({f"{role}_engine": "abacus"}))


def test_an_engine_whose_package_is_not_installed_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "workers.vad.engines.silero_torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)  # makes Python find no such module
    with pytest.raises(EngineMissing, match="the vad engine 'silero-torch' needs the package"):
        vad.create(Settings(vad_engine="silero-torch"))


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
def test_an_engine_without_its_model_says_how_to_get_it(role: Role, tmp_path: Path) -> None:
    _, create = ROLES[role]
    engine = create(Settings(models_dir=tmp_path))
    with pytest.raises(ModelMissing, match="parley models fetch"):
        engine.load()

"""Settings that depend on each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.profiles import STAGES
from shared.settings import Settings, explained


def settings(**chosen: object) -> Settings:
    return Settings.model_validate(chosen)


def test_a_profile_says_which_engine_runs_and_what_it_loads() -> None:
    gpu = settings(profile="gpu")
    assert gpu.on_gpu
    assert gpu.engine("llm") == "transformers"
    assert gpu.model("stt") == "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
    assert settings().model("stt") == "whisper-tiny.en"


def test_another_engine_brings_its_own_model() -> None:
    mixed = settings(profile="gpu", llm_engine="llama", tts_engine="piper")
    assert mixed.model("llm") == "smollm2-135m-instruct"
    assert mixed.speech_models == ("en_US-joe-medium",)


def test_what_is_named_is_loaded() -> None:
    named = settings(stt_model="whisper-base", tts_models="en_US-joe-medium, ./other")
    assert named.model("stt") == "whisper-base"
    assert named.speech_models == ("en_US-joe-medium", "./other")


def test_the_device_is_the_profiles_unless_it_is_named() -> None:
    cpu = settings(profile="gpu", device="cpu")
    assert not cpu.on_gpu
    assert cpu.model("stt") == "whisper-tiny.en"
    assert settings(device="cuda").on_gpu


def test_an_engine_without_a_usual_model_has_none() -> None:
    remote = settings(llm_engine="openai", tts_engine="openai")
    assert (remote.model("llm"), remote.speech_models) == ("", ())


@pytest.mark.parametrize("automatic", ["auto", ""])
def test_the_language_is_found_out_or_fixed(automatic: str) -> None:
    assert settings(language=automatic).language is None
    assert settings(language="fr").language == "fr"
    with pytest.raises(ValidationError) as wrong:
        settings(language="French")
    assert explained(wrong.value).startswith("PARLEY_LANGUAGE: ")


@pytest.mark.parametrize("chosen", [{"llm_gpu_memory_fraction": 0.9}, {"stt_workers": 3}])
def test_shares_of_the_gpu_are_no_more_than_all_of_it(chosen: dict[str, object]) -> None:
    assert settings(profile="gpu").problem is None
    problem = settings(profile="gpu", **chosen).problem
    assert problem is not None
    assert "PARLEY_*_GPU_MEMORY_FRACTION" in problem
    assert settings(**chosen).problem is None


def test_keys_of_servers_are_not_shown() -> None:
    assert "sk-123" not in repr(settings(llm_api_key="sk-123"))
    assert "sk-123" not in settings(llm_api_key="sk-123").model_dump_json()


@pytest.mark.parametrize("module", ["gateway", *(f"workers.{stage}" for stage in STAGES)])
def test_a_process_says_in_one_sentence_which_setting_is_wrong(module: str, tmp_path: Path) -> None:
    def started(**variables: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", module],
            env={**os.environ, **variables},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1
        [sentence] = ran.stderr.splitlines()
        return sentence

    name = module.rpartition(".")[2]
    assert started(PARLEY_LANES="none").startswith(f"{name}: PARLEY_LANES: ")
    (tmp_path / "PARLEY_LLM_API_KEY").write_bytes(b"\xff\xfesecret")
    unread = started(PARLEY_SECRETS_DIR=str(tmp_path))
    assert unread.startswith(f"{name}: PARLEY_LLM_API_KEY: ")
    assert "secret" not in unread

"""Resolving a model's name: in which order, and what is said when it is nowhere."""

from pathlib import Path

import pytest

from shared.models import ModelMissing, needed, resolve
from shared.settings import Settings


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache that holds one snapshot of owner/model."""
    cache = tmp_path / "hub"
    snapshot = cache / "models--owner--model" / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = cache / "models--owner--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123456789abcdef")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return snapshot


def test_a_path_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"")
    assert resolve(str(file), tmp_path / "models") == file
    assert resolve(str(tmp_path), tmp_path / "models") == tmp_path


def test_a_path_goes_before_the_hubs_cache(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve("owner/model", tmp_path) == hub_cache
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/model", tmp_path) == Path("owner/model")


def test_a_bare_name_is_a_folder_of_the_store_and_not_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silero-vad").mkdir()
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    with pytest.raises(ModelMissing):
        resolve("silero-vad", models)
    (models / "silero-vad").mkdir(parents=True)
    assert resolve("silero-vad", models) == models / "silero-vad"


def test_a_mounted_repository_goes_before_the_hubs_cache_and_after_the_store(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, models = tmp_path / "repository", tmp_path / "models"
    mounted = Settings(repository_dir=repository)
    monkeypatch.setattr("shared.models.store.settings", lambda: mounted)
    for name in ("silero-vad", "owner/model"):
        (repository / name).mkdir(parents=True)
        assert resolve(name, models) == repository / name
    (models / "silero-vad").mkdir(parents=True)
    assert resolve("silero-vad", models) == models / "silero-vad"
    with pytest.raises(ModelMissing):
        resolve("..", models)
    with pytest.raises(ModelMissing):
        resolve("owner/..", models)


@pytest.mark.parametrize("name", ["silero-vad", "owner/other", "/no/such/path", "../x", "a/b/c"])
@pytest.mark.usefixtures("hub_cache")
def test_a_missing_model_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="parley models fetch") as raised:
        resolve(name, tmp_path)
    assert raised.value.name == name


def test_the_cpu_profile_needs_a_model_for_each_engine() -> None:
    assert needed(Settings(profile="cpu")) == [
        "silero-vad",
        "smart-turn-v3.2",
        "whisper-tiny.en",
        "smollm2-135m-instruct",
        "en_US-joe-medium",
    ]
    assert needed(Settings(profile="cpu", llm_engine="instant", stt_model="whisper-base")) == [
        "silero-vad",
        "smart-turn-v3.2",
        "whisper-base",
        "en_US-joe-medium",
    ]
    assert needed(Settings(profile="instant")) == []


def test_a_stage_needs_its_own_models() -> None:
    assert needed(Settings(profile="cpu"), ["vad"]) == ["silero-vad", "smart-turn-v3.2"]
    assert needed(Settings(profile="cpu"), ["tts"]) == ["en_US-joe-medium"]
    assert needed(Settings(profile="gpu"), ["llm"]) == ["Qwen/Qwen3-4B-Instruct-2507"]

"""Models from the hub: the real client, and a hub on this machine."""

from pathlib import Path

import pytest

from shared.models import ModelMissing, resolve
from shared.models.hub import HubFiles, hub_files
from tests.models import hub
from tests.support.command import parley


def test_a_model_of_the_hub_is_fetched_with_the_token_and_progress_in_the_log(
    tmp_path: Path,
) -> None:
    with hub.running() as here:
        done = parley(
            "models",
            "fetch",
            hub.MODEL,
            HF_ENDPOINT=here.url,
            PARLEY_MODELS_DIR=str(tmp_path),
            HF_TOKEN="hf_ofsomebody",
            PARLEY_LOG_LEVEL="debug",
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Bearer hf_ofsomebody" in here.tokens
    assert "hf_ofsomebody" not in said
    total = sum(map(len, hub.FILES.values())) / 1e6
    assert f"fetching {hub.MODEL}: {total:.0f} of {total:.0f} MB" in done.stderr
    assert "\r" not in said
    folder = Path("".join(done.stdout.split(" is in ")[1:]).strip())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.FILES


def test_a_model_that_the_hub_lacks_is_one_sentence(tmp_path: Path) -> None:
    with hub.running() as here:
        done = parley(
            "models", "fetch", "owner/other", HF_ENDPOINT=here.url, PARLEY_MODELS_DIR=str(tmp_path)
        )
    assert done.returncode == 1
    assert "the Hugging Face hub did not give 'owner/other'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_of_all_voices_of_piper_the_one_that_is_named_is_fetched_and_found(
    tmp_path: Path,
) -> None:
    name = "fr_FR-siwis-medium"
    with pytest.raises(ModelMissing, match=f"parley models fetch {name}"):
        resolve(name, tmp_path)
    with hub.running() as here:
        done = parley(
            "models", "fetch", name, HF_ENDPOINT=here.url, PARLEY_MODELS_DIR=str(tmp_path)
        )
    assert done.returncode == 0, done.stderr
    folder = resolve(name, tmp_path)
    assert done.stdout.strip() == f"{name} is in {folder}"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == hub.SIWIS
    with pytest.raises(ModelMissing):
        resolve("en_US-amy-low", tmp_path)


def test_a_voice_that_piper_lacks_is_said(tmp_path: Path) -> None:
    name = "fr_FR-nobody-medium"
    with hub.running() as here:
        done = parley(
            "models", "fetch", name, HF_ENDPOINT=here.url, PARLEY_MODELS_DIR=str(tmp_path)
        )
    assert done.returncode == 1
    said = f"parley: the Hugging Face hub has no '{name}' in rhasspy/piper-voices"
    assert done.stderr.strip().splitlines()[-1] == said


def test_a_voice_of_piper_is_known_by_its_name() -> None:
    folder = "es/es_MX/claude_h/x_low"
    both = [f"{folder}/es_MX-claude_h-x_low.onnx", f"{folder}/es_MX-claude_h-x_low.onnx.json"]
    assert hub_files("es_MX-claude_h-x_low") == HubFiles(hub.VOICES, folder, both)
    for name in ("fr_FR-siwis", "fr_FR-../../x-low", "fr-FR-siwis-low", "FR_fr-siwis-low"):
        assert hub_files(name) is None

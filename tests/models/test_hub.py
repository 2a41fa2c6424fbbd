"""Models from the hub: the real client, and a hub on this machine."""

from pathlib import Path

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
            HF_HUB_CACHE=str(tmp_path),
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
            "models", "fetch", "owner/other", HF_ENDPOINT=here.url, HF_HUB_CACHE=str(tmp_path)
        )
    assert done.returncode == 1
    assert "the Hugging Face hub did not give 'owner/other'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

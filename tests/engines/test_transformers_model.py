"""How much memory a model of Transformers gets and how it is sampled, without its weights."""

from pathlib import Path
from typing import Any

import pytest

from shared import gpu
from shared.gpu import Card, DoesNotFit, NoGpu
from shared.settings import Settings

pytestmark = pytest.mark.torch_engine

GB = 10**9


def llama(**sizes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(tie_word_embeddings=False, **sizes)


def tiny() -> Any:
    from transformers import LlamaForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 128}
    return LlamaForCausalLM(llama(**sizes, num_hidden_layers=2, num_attention_heads=4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of the shape of Llama 3.1 8B, without its weights."""
    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 128256}
    heads = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    llama(**sizes, **heads).save_pretrained(tmp_path)
    return tmp_path


def test_a_model_that_needs_a_gpu_says_that_there_is_none(folder: Path) -> None:
    from workers.llm.engines.transformers_model import load_model

    with pytest.raises(NoGpu, match="PARLEY_DEVICE=cpu"):
        load_model("llama", folder, Settings(device="cuda"))


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.llm.engines import transformers_model

    monkeypatch.setattr(transformers_model, "limit_torch", lambda *_: None)
    monkeypatch.setattr(gpu, "card", lambda: Card("Some Card", 24 * GB, 24 * GB))
    # 8.03e9 weights of 2 bytes; 10,240 tokens of 2 x 32 x 8 x 128 x 2 bytes; 1 GB to work with
    # and 0.4 GB that the driver keeps.
    needs = r"llama for 4 answers at once needs 18\.8 GB .* may have 14\.4 GB of the 24\.0 GB"
    with pytest.raises(DoesNotFit, match=needs):
        transformers_model.load_model("llama", folder, Settings(device="cuda"))
    # With enough for it, the next thing missed is the weights.
    larger = Settings(device="cuda", llm_gpu_memory_fraction=0.9)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        transformers_model.load_model("llama", folder, larger)


def test_the_cache_holds_every_answer_at_its_longest() -> None:
    from workers.llm.engines.transformers_model import batching

    config = batching(tiny(), Settings(llm_slots=3, llm_context_tokens=1000))
    assert config.num_blocks * config.page_size >= 3 * 1000
    assert config.max_requests_per_batch == 3
    assert config.allow_block_sharing


def test_a_model_is_sampled_as_its_makers_say_or_without_chance() -> None:
    from workers.llm.engines.transformers_logits import COLDEST
    from workers.llm.engines.transformers_model import sampling

    model = tiny()
    model.generation_config.eos_token_id = [5, 7]
    chosen = sampling(model, end=9)
    assert (chosen.temperature, chosen.top_k, chosen.top_p) == (COLDEST, None, None)
    assert chosen.eos_token_id == [5, 7, 9]
    for name, value in {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8}.items():
        setattr(model.generation_config, name, value)
    chosen = sampling(model, end=None)
    assert (chosen.temperature, chosen.top_k, chosen.top_p) == (0.7, 20, 0.8)


def test_what_all_requests_share_comes_after_what_is_their_own() -> None:
    import torch
    from transformers import GenerationConfig

    from workers.llm.engines.transformers_logits import logits_processors

    config = GenerationConfig(do_sample=True, temperature=0.7, top_k=2, top_p=0.95)
    processors = logits_processors(config, 40, 3, torch.device("cpu"), lambda _: None)
    arguments = torch.zeros(processors.tensors_required, 1, dtype=torch.int32)
    processors.fill_defaults(arguments)
    scores = torch.arange(80, dtype=torch.float32).view(2, 40)
    left = processors(torch.zeros(2, dtype=torch.int64), scores, arguments.expand(-1, 2))
    assert (left > -torch.inf).sum(-1).tolist() == [2, 2]
    assert torch.allclose(left[0, -1], torch.tensor(39 / 0.7))

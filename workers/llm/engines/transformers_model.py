"""A model for Transformers' continuous batching: where it runs, and what memory it has."""

from math import ceil
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.generation.continuous_batching.utils import (
    find_head_dim,
    find_num_key_value_heads,
)
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from shared.gpu import CONTEXT_BYTES, check_fits, limit_torch
from shared.settings import Settings
from workers.llm.engines.transformers_logits import COLDEST

# A step reads at most so many tokens of new prompts. Answers that are being written wait for it,
# and so does a cancellation.
_STEP_TOKENS = {"cpu": 128, "cuda": 2048}
# Cache for more than all answers at their longest: below this much of it free, the library starts
# to forget the beginnings that prompts share.
_SPARE = 1.25
# Prompts share the cache of whole pages. Flash attention takes none that are smaller.
_PAGE_TOKENS, _FLASH_PAGE_TOKENS = 16, 256
# A step's activations and logits and the libraries' workspaces: an allowance.
_WORKING_BYTES = 1_000_000_000


def load_model(name: str, folder: Path, settings: Settings) -> PreTrainedModel:
    """The model in `folder`, in bfloat16 on the GPU or in float32 on the CPU.

    Raises:
        CannotStart: there is no GPU and there should be, or the model does not fit on it.
    """
    config = AutoConfig.from_pretrained(folder)
    device, dtype = "cpu", torch.float32
    if settings.on_gpu:
        device, dtype = "cuda", torch.bfloat16
        limit_torch("llm", settings)
        cache = _cached_tokens(settings) * _bytes_per_cached_token(config, dtype)
        needed = _weight_bytes(config, dtype) + cache + _WORKING_BYTES
        check_fits("llm", f"{name} for {settings.llm_slots} answers at once", needed, settings)
    else:
        torch.set_num_threads(settings.llm_threads)
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, device_map=device, attn_implementation=_attention(device)
    ).eval()


def batching(model: PreTrainedModel, settings: Settings) -> ContinuousBatchingConfig:
    """How a batch uses the model.

    CUDA graphs are the library's choice: it has them with flash attention, for which shapes need
    no masks. Steps are not prepared before the last one is over, since a guide must see its tokens.
    """
    flash = model.config._attn_implementation.startswith("flash")
    page = _FLASH_PAGE_TOKENS if flash else _PAGE_TOKENS
    config = ContinuousBatchingConfig(
        page_size=page,
        max_batch_tokens=max(_STEP_TOKENS[model.device.type], settings.llm_slots),
        max_requests_per_batch=settings.llm_slots,
        max_blocks_per_request=ceil(settings.llm_context_tokens / page) if flash else 0,
        use_async_batching=False,
        auto_switch_to_flash=False,
    )
    if model.device.type == "cuda":
        # As much cache as the budget leaves: what no answer needs keeps beginnings.
        free, total = torch.cuda.mem_get_info()
        budget = settings.llm_gpu_memory_fraction * total - CONTEXT_BYTES
        left = budget - torch.cuda.memory_reserved() - _WORKING_BYTES
        config.max_memory_percent = min(max(left / free, 0.0), 1.0)
    else:
        config.num_blocks = ceil(_cached_tokens(settings) / page)
    return config


def sampling(model: PreTrainedModel, end: int | None) -> GenerationConfig:
    """How the model's makers would have it sampled, or without chance if they do not say.

    `end` ends an answer beside the tokens that the model says end one.
    """
    own = model.generation_config
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return GenerationConfig(
        do_sample=True,
        temperature=(own.temperature or 1.0) if own.do_sample else COLDEST,
        top_k=own.top_k if own.do_sample else None,
        top_p=own.top_p if own.do_sample else None,
        eos_token_id=sorted({token for token in (*ends, end) if token is not None}),
        pad_token_id=own.pad_token_id,
    )


def _attention(device: str) -> str:
    if device == "cuda" and is_flash_attn_3_available():
        return "flash_attention_3"
    if device == "cuda" and is_flash_attn_2_available():
        return "flash_attention_2"
    return "sdpa"


def _cached_tokens(settings: Settings) -> int:
    return ceil(_SPARE * settings.llm_slots * settings.llm_context_tokens)


def _bytes_per_cached_token(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """The keys and values of a token in all layers."""
    heads = find_num_key_value_heads(config) * config.num_hidden_layers
    return 2 * heads * find_head_dim(config) * dtype.itemsize


def _weight_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())

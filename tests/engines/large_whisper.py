"""A Whisper with the mel bands of large-v3, small and untrained, in CTranslate2's format."""

import json
import shutil
from pathlib import Path

from shared.models import resolve

_LANGUAGES = range(50259, 50358)  # the tokens of whisper-base's, "<|en|>" the first


def whisper_of_128_mels(folder: Path) -> Path:
    """Makes the model in an empty folder; it has no preprocessor_config.json."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(0)
    layers = {f"{part}_layers": 1 for part in ("encoder", "decoder")}
    heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    widths = {"d_model": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128}
    config = WhisperConfig(vocab_size=51865, num_mel_bins=128, **layers, **heads, **widths)
    tokenizer = resolve("whisper-base") / "tokenizer.json"
    original, converted = folder / "transformers", folder / "ctranslate2"
    WhisperForConditionalGeneration(config).save_pretrained(original)
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer)).save_pretrained(original)
    shutil.copy(tokenizer, original)
    TransformersConverter(str(original), copy_files=["tokenizer.json"]).convert(str(converted))
    described = converted / "config.json"
    more = {"lang_ids": [*_LANGUAGES]}
    described.write_text(json.dumps({**json.loads(described.read_text("utf-8")), **more}))
    return converted

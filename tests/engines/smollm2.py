"""The starter pack's language model as a checkpoint of Transformers: real text, within a minute."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from shared.models import resolve


@contextmanager
def smollm2(_: Path) -> Iterator[dict[str, Any]]:
    """The setting that names it."""
    yield {"llm_model": checkpoint()}


def checkpoint() -> str:
    """Its folder, the same for a whole run."""
    return _converted().name


def checkpoint_with(template: str, folder: Path) -> str:
    """The same with another chat template."""
    made = Path(checkpoint())
    for file in made.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text(template)
    return str(folder)


@cache
def _converted() -> tempfile.TemporaryDirectory[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    (gguf,) = resolve("smollm2-135m-instruct").glob("*.gguf")
    made = tempfile.TemporaryDirectory(prefix="parley-smollm2-")
    AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    ).save_pretrained(made.name)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(made.name)
    return made

"""Fetches what MeloTTS's text front-ends read: `python deploy/melo/fetch_data.py EN FR`.

Without languages, for all of them. It runs in MeloTTS's environment where an image is built, or
once on a machine; `HF_HUB_CACHE` and `NLTK_DATA` say where to, and workers look there. The table
of what each language needs is workers/tts/engines/melo_data.py.
"""

import argparse
import os
import sys
from pathlib import Path

import nltk
from huggingface_hub import model_info, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from workers.tts.engines.melo_data import FRONT_ENDS, WEIGHTS

_TOKENIZER = ["config.json", "tokenizer*", "vocab.txt", "special_tokens_map.json"]


def fetch(language: str, nltk_data: str) -> None:
    """Fetches one language's data, and of a BERT's weights the one file that is used.

    Raises:
        RuntimeError: something is not to be had.
    """
    front_end = FRONT_ENDS[language]
    for name in front_end.tokenizers:
        snapshot_download(name, allow_patterns=_TOKENIZER)
    there = [file.rfilename for file in model_info(front_end.bert).siblings or ()]
    weights = next((file for file in WEIGHTS if file in there), None)
    if weights is None:
        raise RuntimeError(f"{front_end.bert} must have one of {', '.join(WEIGHTS)}")
    snapshot_download(front_end.bert, allow_patterns=[*_TOKENIZER, weights])
    for resource in front_end.nltk:
        name = Path(resource).stem
        if not nltk.download(name, download_dir=nltk_data, quiet=True):
            raise RuntimeError(f"NLTK's {name!r} cannot be fetched")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetches what MeloTTS's front-ends read.")
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=", ".join(FRONT_ENDS))
    languages = parser.parse_args().languages or list(FRONT_ENDS)
    if unknown := {*languages} - FRONT_ENDS.keys():
        parser.error(f"languages must be of {', '.join(FRONT_ENDS)}, not {', '.join(unknown)}")
    for language in languages:
        fetch(language, os.environ.get("NLTK_DATA", str(Path.home() / "nltk_data")))
    # Transformers 4.27 takes a cache without it for one of its older ones, and warns.
    (Path(HF_HUB_CACHE) / "version.txt").write_text("1")


if __name__ == "__main__":
    main()

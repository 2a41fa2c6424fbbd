"""Every engine there is, and what the suites need to run it.

A stage's suite (`test_vad.py`, `test_turns.py`, `test_stt.py`, `test_llm.py`, `test_tts.py`) holds
each of the stage's engines to the stage's interface. An engine that is registered and not listed
here fails `test_registry.py`. This module is imported in every environment: what a `prepare` needs
of an engine's packages it imports when it is called.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shared.profiles import Role
from shared.settings import Settings
from tests.engines import melo_checkpoint, servers
from tests.engines.smollm2 import smollm2

TORCH = (pytest.mark.torch_engine, pytest.mark.timeout(300))
MELO = (pytest.mark.melo_engine,)

Prepare = Callable[[Path], AbstractContextManager[dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """An engine as a suite runs it.

    `settings` come beside its name; `prepare` makes what it needs (a checkpoint, a server) in an
    empty folder, and gives the settings that name it. An engine that `loads` has a model, which
    may be missing, and which `close` frees. One that is not `clever` is held to the interface
    alone, not to what a real model makes of speech and of questions.
    """

    engine: str
    settings: dict[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None
    marks: tuple[pytest.MarkDecorator, ...] = ()
    loads: bool = True
    clever: bool = True

    @property
    def label(self) -> str:
        return str(next(iter(self.settings.values()), self.engine))


CASES: dict[Role, tuple[Case, ...]] = {
    "vad": (
        Case("silero"),
        Case("silero-torch", marks=TORCH),
        Case("energy", loads=False),
    ),
    "turn": (
        Case("smart-turn"),
        Case("length", loads=False),
    ),
    "stt": (
        Case("whisper", {"stt_model": "whisper-tiny.en"}),
        Case("whisper", {"stt_model": "whisper-base"}),
        Case("openai", prepare=servers.hearing),
        Case("instant", loads=False, clever=False),
        Case("paced", loads=False, clever=False),
    ),
    "llm": (
        Case("llama"),
        Case("transformers", prepare=smollm2, marks=TORCH),
        Case("openai", prepare=servers.answering),
        Case("instant", loads=False),
        Case("paced", loads=False),
    ),
    "tts": (
        Case("piper"),
        Case("kokoro", {"tts_models": "kokoro-82m-ja"}, marks=TORCH),
        Case("melo", prepare=melo_checkpoint.english, marks=MELO, clever=False),
        Case("openai", prepare=servers.speaking),
        Case("instant", loads=False),
        Case("paced", loads=False),
    ),
}


def cases(role: Role, **wanted: bool) -> list[Any]:
    """The parameters of a fixture that runs every engine for `role`; of those, the `wanted`."""
    return [
        pytest.param(case, id=case.label, marks=case.marks)
        for case in CASES[role]
        if all(getattr(case, name) == value for name, value in wanted.items())
    ]


@contextmanager
def prepared(role: Role, case: Case, folder: Path, **more: Any) -> Iterator[Settings]:
    """The settings of a case, with all they name in place; `more` come on top."""
    named = {f"{role}_engine": case.engine, **case.settings}
    if case.prepare is None:
        yield Settings.model_validate({**named, **more})
        return
    with case.prepare(folder) as made:
        yield Settings.model_validate({**named, **made, **more})

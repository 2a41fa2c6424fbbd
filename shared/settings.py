"""Settings, read from `PARLEY_*` environment variables.

One model for every process: a name means the same thing in the gateway, in a worker and
in `compose.yaml`.
"""

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from shared.api_keys import ApiKey
from shared.loopback import is_loopback
from shared.profiles import MODELS, MODELS_ON_GPU, PROFILES, STAGES, Role, Stage

# Chosen for the starter model, of 20 wordings, by 60 questions that `bench/questions.toml` lacks:
# 43 right answers, where "You are a friendly voice assistant. Answer in one or two short, plain
# sentences." gets 34. What asks for one sentence, or for friendliness, costs it facts.
DEFAULT_INSTRUCTIONS = "You speak with the user. Give short, factual answers."

Workers = Annotated[int, Field(ge=1, le=64, description="Workers that one `parley up` runs.")]
Engine = Annotated[str | None, Field(description="Of another engine than the profile's, the name.")]
Model = Annotated[
    str | None,
    Field(description="A name, path or hub id of another model than the engine's usual one."),
]
Fraction = Annotated[
    float, Field(gt=0, le=1, description="Of the GPU's memory, what a worker of this stage gets.")
]
Url = Annotated[
    str | None,
    Field(
        pattern=r"^https?://",
        description="Base URL of the OpenAI-compatible server that the engine `openai` asks.",
    ),
]
Threads = Annotated[int, Field(ge=1, description="Threads of the engine, where it is on a CPU.")]
Secret = Annotated[SecretStr | None, Field(description="The key for that server.")]


class Settings(BaseSettings):
    """Every setting of every process, with its default.

    Raises:
        pydantic.ValidationError: a variable holds a value of the wrong type; the message
            names the field.
    """

    model_config = SettingsConfigDict(
        env_prefix="PARLEY_",
        extra="ignore",
        frozen=True,
        # A folder of files that are named as the variables are, for secrets: what is in a process's
        # environment can be read in more places than a file can.
        secrets_dir=os.environ.get("PARLEY_SECRETS_DIR"),
    )

    # where things are
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        description=(
            "The broker all processes share: redis://, rediss:// or unix://, or"
            " redis+sentinel://[user:password@]host:port,host:port/service[/db] for whichever"
            " server the sentinels, which share its password, call master."
        ),
    )
    host: str = Field(default="127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(default=8080, ge=1, le=65535, description="Port of the gateway.")
    models_dir: Path = Field(
        default_factory=lambda: user_cache_path("parley") / "models",
        description="Where fetched models are kept: in the user's cache, if nothing is said.",
    )
    repository_dir: Path = Field(
        default=Path("/repository"),
        description="A folder that models are taken from where a container has one mounted.",
    )
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("parley"),
        description=(
            "Where the embedded broker keeps its append-only file: among the user's data, if"
            " nothing is said."
        ),
    )

    # who gets in
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        default=(),
        description=(
            "The keys that let clients in, as a JSON list of entries that `parley keys new` makes."
            " Without any, the gateway listens on a loopback address only."
        ),
    )
    keyless: bool = Field(
        default=False,
        description=(
            "Whether everybody who reaches the gateway gets in without a key: for a gateway behind"
            " a proxy that authenticates, and nowhere else."
        ),
    )
    origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Origins whose pages may connect from a browser, as a JSON list such as"
            ' ["https://app.example"]; ["*"] is every one. The gateway\'s own always may.'
        ),
    )
    tls_cert: Path | None = Field(
        default=None, description="Certificate chain in PEM, for https:// and wss://."
    )
    tls_key: Path | None = Field(default=None, description="The certificate's private key in PEM.")

    # what clients may take
    connections: int = Field(default=4096, ge=1, description="Connections of one gateway.")
    connections_per_address: int = Field(
        default=512,
        ge=1,
        description="Of these, from one IPv4 address or one IPv6 network of 64 bits.",
    )
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, description="Longest time from a connection to its answered request."
    )
    idle_timeout_s: float = Field(
        default=900.0,
        gt=0,
        description="After which a session ends whose client sends nothing and is sent nothing.",
    )
    queue_limit_ms: int = Field(
        default=250,
        ge=0,
        description=(
            "New sessions are refused while a stage's work waits longer than this before it begins;"
            " 0 refuses none for load."
        ),
    )

    # shape of the system
    profile: Literal["cpu", "gpu", "instant", "paced"] = Field(
        default="cpu", description="Which engines run where none is named."
    )
    device: Literal["cpu", "cuda"] | None = Field(
        default=None,
        description="Where models run whose engine can use a GPU: on it in the gpu profile.",
    )
    shards: int = Field(default=1, ge=1, le=1024, description="Units of atomicity.")
    lanes: int = Field(default=8, ge=1, le=256, description="Audio lanes per shard.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="A line for people, or for programs."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description=(
            "Where every process serves its metrics for Prometheus, to whoever reaches it; those of"
            " `parley up` take this port and the ones after it."
        ),
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of that port.")
    traces_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="The OpenTelemetry collector for turns' traces: the base URL of its OTLP/HTTP.",
    )
    traces_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Of all turns, the share that leaves a trace."
    )

    language: str | None = Field(
        default=None,
        pattern="^[a-z]{2,3}$",
        description=(
            "The language, as an ISO 639-1 code, of sessions that name none; `auto` finds out which"
            " is spoken."
        ),
    )

    # voice activity detection
    vad_engine: Engine = None
    vad_model: Model = None
    vad_workers: Workers = 1
    vad_gpu_memory_fraction: Fraction = 0.05

    # speech to text
    stt_engine: Engine = None
    stt_model: Model = None
    stt_url: Url = None
    stt_api_key: Secret = None
    stt_workers: Workers = 1
    stt_gpu_memory_fraction: Fraction = 0.15
    stt_threads: Threads = 2
    stt_batch: int = Field(default=8, ge=1, description="Utterances transcribed together.")

    # turns
    turn_engine: Engine = None
    turn_model: Model = None
    silence_ms: int = Field(
        default=500, ge=0, description="Silence that ends a turn, where the client names none."
    )

    # language model
    llm_engine: Engine = None
    llm_model: Model = None
    llm_url: Url = None
    llm_api_key: Secret = None
    llm_workers: Workers = 1
    llm_gpu_memory_fraction: Fraction = 0.6
    # llama.cpp's threads wait for each other hundreds of times a step: on two cores that the other
    # stages use too, two are no faster than one at writing one answer, and slower beside a busy
    # stage. Prompts are read, and several answers written, by twice as many.
    llm_threads: Threads = 1
    llm_slots: int = Field(default=4, ge=1, description="Responses generated together.")
    llm_context_tokens: int = Field(default=2048, ge=256, description="Context of one response.")
    llm_max_tokens: int = Field(default=256, ge=1, description="Longest answer, in tokens.")
    instructions: str = Field(
        default=DEFAULT_INSTRUCTIONS, description="Instructions of a session that brings none."
    )

    # text to speech
    tts_engine: Engine = None
    tts_models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Names, paths or hub ids of the voices' models, separated by commas, where they are"
            " not the engine's usual ones: for Piper one a voice, for MeloTTS one a language."
        ),
    )
    tts_voice: str | None = Field(
        default=None, description="The voice of sessions that name none: the engine's first."
    )
    tts_url: Url = None
    tts_api_key: Secret = None
    tts_python: Path | None = Field(
        default=None,
        description=(
            "The Python that `parley up` runs the stage with, for an engine that has packages of"
            " its own, as MeloTTS does."
        ),
    )
    tts_workers: Workers = 1
    tts_gpu_memory_fraction: Fraction = 0.15
    tts_threads: Threads = 2
    tts_slots: int = Field(default=2, ge=1, description="Segments synthesised together.")

    remote_timeout_s: float = Field(
        default=30.0, gt=0, description="Longest silence of a server that an engine asks."
    )

    # the paced engines
    paced_stt_ms: int = Field(default=100, ge=0, description="Time one utterance takes.")
    paced_token_ms: int = Field(default=20, ge=0, description="Time one word of an answer takes.")
    paced_tts_speed: float = Field(
        default=8.0, gt=0, description="How many times faster than heard speech is made."
    )

    @field_validator("api_keys", "origins", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value or "[]")
        except ValueError as error:
            raise ValueError("it must be a JSON list") from error

    @field_validator("language", mode="before")
    @classmethod
    def _fixed(cls, value: object) -> object:
        return None if value in ("", "auto") else value

    @field_validator("tts_models", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator("api_keys")
    @classmethod
    def _differ(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        names = [key.name for key in keys]
        if len({*names}) != len(names):
            raise ValueError("every key must have a name of its own")
        return keys

    @property
    def loopback(self) -> bool:
        """Whether the gateway listens where only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def problem(self) -> str | None:
        """Why no gateway may start with these settings, in a sentence; None if one may."""
        if not (self.loopback or self.api_keys or self.keyless):
            return (
                f"PARLEY_HOST is {self.host!r}, which other machines reach, and there are no keys:"
                " set PARLEY_API_KEYS to entries that `parley keys new NAME` makes or, behind a"
                " proxy that authenticates, PARLEY_KEYLESS=true"
            )
        if self.api_keys and self.keyless:
            return "PARLEY_API_KEYS and PARLEY_KEYLESS=true contradict each other: unset one"
        if (self.tls_cert is None) != (self.tls_key is None):
            return "PARLEY_TLS_CERT and PARLEY_TLS_KEY must be set together"
        for name, path in (("CERT", self.tls_cert), ("KEY", self.tls_key)):
            if path is not None and not os.access(path, os.R_OK):
                return f"PARLEY_TLS_{name}: {str(path)!r} cannot be read"
        shares = sum(self.workers(stage) * self.gpu_memory_fraction(stage) for stage in STAGES)
        if self.on_gpu and shares > 1:
            return (
                f"PARLEY_*_GPU_MEMORY_FRACTION, times each stage's workers, make {shares:g} of the"
                " GPU's memory: at most 1"
            )
        return None

    @property
    def on_gpu(self) -> bool:
        """Whether engines that can use a GPU do."""
        return self.device == "cuda" or (self.device is None and self.profile == "gpu")

    def engine(self, role: Role) -> str:
        """The engine's name for `role`: its own setting, else the profile's."""
        named: str | None = getattr(self, f"{role}_engine")
        return named or PROFILES[self.profile][role]

    def model(self, role: Role) -> str:
        """The model's name for `role`: its own setting, else its engine's usual one or "".

        Speech has `speech_models`.
        """
        named: str | None = getattr(self, f"{role}_model")
        return named or self._usual_model(role)

    @property
    def speech_models(self) -> tuple[str, ...]:
        """The models that the TTS engine loads; none for one that needs none."""
        usual = self._usual_model("tts")
        return self.tts_models or ((usual,) if usual else ())

    def _usual_model(self, role: Role) -> str:
        engine = self.engine(role)
        larger = MODELS_ON_GPU.get(engine) if self.on_gpu else None
        return larger or MODELS.get(engine, "")

    def gpu_memory_fraction(self, stage: Stage) -> float:
        """How much of the GPU's memory a worker of `stage` gets."""
        fraction: float = getattr(self, f"{stage}_gpu_memory_fraction")
        return fraction

    def workers(self, stage: Stage) -> int:
        """How many workers of `stage` one `parley up` runs."""
        number: int = getattr(self, f"{stage}_workers")
        return number


INVALID = (ValidationError, SettingsError)
"""What `settings` and `Settings` raise for wrong settings, or for files that cannot be read."""


def explained(error: ValidationError | SettingsError) -> str:
    """The first of the wrong settings, and what it should be.

    What it is stays unsaid: it may be a secret, and whoever set it can look it up.
    """
    if isinstance(error, SettingsError):
        return _unread(error)
    first = error.errors()[0]
    name, *path = map(str, first["loc"])
    field = ".".join((f"PARLEY_{name.upper()}", *path))
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"


def _unread(error: SettingsError) -> str:
    named = re.search(r'field "(\w+)"', str(error))  # nothing else of the error tells
    if named is None:
        return "PARLEY_SECRETS_DIR: it must be a folder"
    form = "a file in PARLEY_SECRETS_DIR must be UTF-8, and readable for this user"
    return f"PARLEY_{named[1].upper()}: its value cannot be read: {form}"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings, read once."""
    return Settings()


def environment(**overrides: str | int | Path) -> dict[str, str]:
    """This process's environment with settings replaced, for starting a child process."""
    named = {f"PARLEY_{name.upper()}": str(value) for name, value in overrides.items()}
    return {**os.environ, **named}

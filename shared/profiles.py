"""Which engine does a stage's work in which profile, and which model it loads."""

from typing import Literal

Stage = Literal["vad", "stt", "llm", "tts"]
Role = Stage | Literal["turn"]
"""What an engine is for: a stage's work, or telling when a turn is over, for the VAD stage."""

STAGES: tuple[Stage, ...] = ("vad", "stt", "llm", "tts")

# What each profile puts where nothing else was chosen.
PROFILES: dict[str, dict[Role, str]] = {
    "cpu": {
        "vad": "silero",
        "turn": "smart-turn",
        "stt": "whisper",
        "llm": "llama",
        "tts": "piper",
    },
    "gpu": {
        "vad": "silero-torch",
        "turn": "smart-turn",
        "stt": "whisper",
        "llm": "transformers",
        "tts": "melo",
    },
    # No models at all: answers in no time, for tests of everything around the engines.
    "instant": {
        "vad": "energy",
        "turn": "length",
        "stt": "instant",
        "llm": "instant",
        "tts": "instant",
    },
    # The same with a stated service time, so that a fault can find a worker in the middle of it.
    "paced": {"vad": "energy", "turn": "length", "stt": "paced", "llm": "paced", "tts": "paced"},
}

# What an engine loads where no model was chosen. What is not here needs none, or must be told.
MODELS: dict[str, str] = {
    "silero": "silero-vad",
    "silero-torch": "silero-vad-jit",
    "smart-turn": "smart-turn-v3.2",
    "whisper": "whisper-tiny.en",
    "llama": "smollm2-135m-instruct",
    "transformers": "Qwen/Qwen3-4B-Instruct-2507",
    "piper": "en_US-joe-medium",
    "melo": "myshell-ai/MeloTTS-English-v2",
    "kokoro": "fastrtc/kokoro-onnx",
}
# On a GPU there is room for more.
MODELS_ON_GPU = {"whisper": "mobiuslabsgmbh/faster-whisper-large-v3-turbo"}

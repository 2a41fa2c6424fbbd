"""Metrics of the audio that passes through gateways."""

from prometheus_client import Counter

AUDIO = Counter(
    "parley_audio_seconds_total",
    "Audio: in, from clients to the broker; out, sent to clients.",
    ["direction"],
)
FRAMES = Counter(
    "parley_frames_total",
    "Pieces of that audio, with the commands that keep their place in it.",
    ["direction"],
)

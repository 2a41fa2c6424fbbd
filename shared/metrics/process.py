"""Metrics of every process: what it is, and how it gets on with the broker."""

import importlib.metadata
import platform

from prometheus_client import Counter, Gauge, Histogram

from shared.metrics import SECONDS, SIZES

BUILD = Gauge(
    "parley_build_info",
    "1; which version of Parley it is, and of the Python that runs it.",
    ["version", "python"],
)
BROKER_ROUND_TRIP = Histogram(
    "parley_broker_round_trip_seconds",
    "From sending a pipeline of commands to the broker until all its replies are there.",
    buckets=SECONDS,
)
BROKER_PIPELINE = Histogram(
    "parley_broker_pipeline_commands",
    "Commands that went to the broker in one pipeline.",
    buckets=SIZES,
)
BROKER_RETRIES = Counter(
    "parley_broker_retries_total",
    "Times that something was tried again because the broker was away or took no writes.",
)


def _version() -> str:
    try:
        return importlib.metadata.version("parley")
    except importlib.metadata.PackageNotFoundError:  # MeloTTS's environment has its code alone
        return "unknown"


BUILD.labels(_version(), platform.python_version()).set(1)

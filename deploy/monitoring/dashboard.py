"""Writes Grafana's dashboard: `python deploy/monitoring/dashboard.py`.

docs/metrics.md says what the metrics mean. `tests/deploy/test_monitoring.py` holds the file against
this one, and `tests/system/test_metrics.py` every query against what Parley exports.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards" / "parley.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """A graph: what it shows of which unit, its queries with their legends, and what to know."""

    title: str
    unit: str
    queries: dict[str, str]
    description: str = ""
    stacked: bool = False


def rate(metric: str, by: str = "") -> str:
    """How fast a counter grows, summed over processes but for the labels `by`."""
    return f"sum {f'by ({by}) ' if by else ''}(rate({metric}[$__rate_interval]))"


def minutely(metric: str, by: str = "") -> str:
    """How much a counter grows in a minute, summed alike."""
    return f"60 * {rate(metric, by)}"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """The value below which that share of a histogram's observations lies."""
    return (
        f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'{by}, le' if by else 'le')})"
    )


def mean(histogram: str, by: str) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


CONVERSATION = [
    Panel(
        "From the end of speech to the answer's first audio",
        "s",
        {
            "half within": quantile(0.5, "parley_voice_to_voice_seconds"),
            "95 % within": quantile(0.95, "parley_voice_to_voice_seconds"),
            "99 % within": quantile(0.99, "parley_voice_to_voice_seconds"),
        },
        "Of turns spoken and answered aloud, the silence that ends a turn included.",
    ),
    Panel(
        "Its parts, on average",
        "s",
        {"{{part}}": mean("parley_turn_part_seconds", "part")},
        "Stacked they are the mean of the whole.",
        stacked=True,
    ),
    Panel(
        "Answers a minute, by how they ended",
        "short",
        {"{{status}}": minutely("parley_responses_total", "status")},
    ),
    Panel(
        "Interruptions a minute",
        "short",
        {
            "{{reason}}": minutely("parley_interruptions_total", "reason"),
            "epochs cancelled": minutely("parley_epochs_cancelled_total"),
        },
    ),
    Panel(
        "Underruns a minute",
        "short",
        {"underruns": minutely("parley_underruns_total")},
        "A client had played everything before there was more: somebody heard a pause.",
    ),
    Panel(
        "Turns a minute",
        "short",
        {"turns": minutely("parley_voice_to_voice_seconds_count")},
    ),
]

STAGES = [
    Panel(
        "Wait for a stage: 95 % within",
        "s",
        {"{{stage}}": quantile(0.95, "parley_queue_wait_seconds", "stage")},
        "What grows first when a stage has too few workers.",
    ),
    Panel(
        "Work of a stage: half within",
        "s",
        {"{{stage}}": quantile(0.5, "parley_service_seconds", "stage")},
    ),
    Panel(
        "Work of a stage: 95 % within",
        "s",
        {"{{stage}}": quantile(0.95, "parley_service_seconds", "stage")},
    ),
    Panel(
        "Slots in use",
        "percentunit",
        {
            "{{stage}}": (
                'sum by (stage) (parley_worker_load{stage!="vad"})'
                ' / sum by (stage) (parley_worker_slots{stage!="vad"})'
            )
        },
    ),
    Panel(
        "Batches of the engines, on average",
        "short",
        {"{{engine}}": mean("parley_batch_size", "engine")},
    ),
    Panel("Tokens a second", "short", {"{{kind}}": rate("parley_llm_tokens_total", "kind")}),
    Panel(
        "Workers that are ready",
        "short",
        {"{{stage}}": "sum by (stage) (parley_worker_ready)"},
    ),
    Panel(
        "Jobs waiting and at work",
        "short",
        {
            "{{stage}}": (
                'sum by (stage) (label_replace(redis_stream_length{stream=~".*:(stt|llm|tts)"},'
                ' "stage", "$1", "stream", ".*:(stt|llm|tts)"))'
            )
        },
        "As the broker has them.",
    ),
    Panel(
        "Engines and models",
        "short",
        {"{{stage}}: {{engine}} {{model}}": "count by (stage, engine, model) (parley_worker_info)"},
    ),
]

SESSIONS = [
    Panel("Sessions", "short", {"open": "sum(parley_sessions_open)"}),
    Panel(
        "Begun and gone on with, a minute",
        "short",
        {
            "begun": minutely("parley_sessions_opened_total"),
            "resumed": minutely("parley_sessions_resumed_total"),
        },
    ),
    Panel(
        "Seconds of audio a second",
        "short",
        {"{{direction}}": rate("parley_audio_seconds_total", "direction")},
        "How many speak, and are spoken to, at once.",
    ),
]

PROBLEMS = [
    Panel(
        "Refused, a minute",
        "short",
        {"{{reason}}": minutely("parley_sessions_refused_total", "reason")},
    ),
    Panel(
        "Dead letters and failed attempts, a minute",
        "short",
        {
            "dead: {{stage}}": minutely("parley_dead_letters_total", "stage"),
            "failed: {{stage}}": minutely('parley_jobs_total{outcome="failed"}', "stage"),
        },
        "`parley dead list` shows the jobs that failed on every attempt.",
    ),
    Panel(
        "Takeovers a minute",
        "short",
        {"{{stage}}": minutely("parley_takeovers_total", "stage")},
        "Some are usual while workers are replaced.",
    ),
    Panel(
        "Alerts",
        "short",
        {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})'},
    ),
]

BROKER = [
    Panel(
        "Round trip",
        "s",
        {
            "half within": quantile(0.5, "parley_broker_round_trip_seconds"),
            "95 % within": quantile(0.95, "parley_broker_round_trip_seconds"),
        },
    ),
    Panel(
        "Tried again a second, the broker being away",
        "short",
        {"retries": rate("parley_broker_retries_total")},
    ),
    Panel(
        "Memory of the broker",
        "bytes",
        {"used": "redis_memory_used_bytes", "limit": "redis_memory_max_bytes"},
        "From 90 % on, new sessions are refused.",
    ),
    Panel(
        "Commands",
        "ops",
        {
            "commands": "rate(redis_commands_processed_total[$__rate_interval])",
            "pipelines": rate("parley_broker_pipeline_commands_count"),
        },
    ),
    Panel(
        "Connections of the broker",
        "short",
        {
            "clients": "redis_connected_clients",
            "of these, waiting for work": "redis_blocked_clients",
        },
    ),
]

MACHINE = [
    Panel(
        "Processors in use",
        "short",
        {
            "{{service}} {{instance}}": (
                'rate(process_cpu_seconds_total{job="parley"}[$__rate_interval])'
            )
        },
    ),
    Panel(
        "Memory",
        "bytes",
        {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="parley"}'},
    ),
    Panel(
        "GPU memory",
        "bytes",
        {
            "{{gpu}}: used": "max by (gpu) (parley_gpu_memory_used_bytes)",
            "{{gpu}}: there is": "max by (gpu) (parley_gpu_memory_total_bytes)",
        },
    ),
    Panel("Versions", "short", {"{{version}}": "count by (version) (parley_build_info)"}),
]

ROWS = {
    "Conversation": CONVERSATION,
    "Stages": STAGES,
    "Sessions": SESSIONS,
    "Problems": PROBLEMS,
    "Broker": BROKER,
    "Machine": MACHINE,
}


def drawn(panel: Panel, number: int, x: int, y: int) -> Json:
    """A panel as Grafana has it."""
    custom: Json = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom = {**custom, "fillOpacity": 60, "stacking": {"mode": "normal"}}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": custom},
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def dashboard() -> Json:
    """The dashboard: a row for each part of the system, its panels side by side."""
    panels: list[Json] = []
    y = 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []}
        )
        for position, panel in enumerate(row):
            below, x = divmod(position * WIDTH, COLUMNS)
            panels.append(drawn(panel, len(panels) + 1, x, y + 1 + below * HEIGHT))
        y += 1 + HEIGHT * (-(-len(row) * WIDTH // COLUMNS))
    return {
        "uid": "parley",
        "title": "Parley",
        "tags": ["parley"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": panels,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())

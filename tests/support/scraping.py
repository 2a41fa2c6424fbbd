"""What Prometheus would read from a process."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def scrape(url: str, api_key: str | None = None) -> list[Sample]:
    """Every sample at `url`.

    Raises:
        urllib.error.HTTPError: the metrics are not for whoever asks.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels; there must be one."""
    found = [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]
    assert found, f"there is no {name} {labels or ''}"
    return sum(found)

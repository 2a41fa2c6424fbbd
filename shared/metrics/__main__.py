"""Prints the tables of docs/metrics.md: `python -m shared.metrics`."""

from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

from shared.metrics import audio, gateway, process, work


def tables() -> str:
    """Every metric there is, by who exports it."""
    return "\n\n".join(
        f"**{who}**\n\n| metric | type | labels | |\n| --- | --- | --- | --- |\n"
        + "\n".join(row for module in modules for row in _rows(module))
        for who, modules in {
            "Every process": [process],
            "Workers": [work],
            "Gateways": [gateway, audio],
        }.items()
    )


def _rows(module: ModuleType) -> list[str]:
    metrics = [each for each in vars(module).values() if isinstance(each, MetricWrapperBase)]
    return [_row(metric) for metric in metrics if not metric._labelvalues]


def _row(metric: MetricWrapperBase) -> str:
    [described] = metric.describe()
    name = described.name + ("_total" if described.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {described.type} | {labels} | {described.documentation} |"


if __name__ == "__main__":
    print(tables())

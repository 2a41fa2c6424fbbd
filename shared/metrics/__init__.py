"""What Parley measures of itself, for Prometheus.

`process` has the metrics of every process, `work` those of workers and `gateway` those of gateways;
a process exports those of the modules it imports. Labels name stages, reasons and engines, of which
there are few: never a session, never a client. docs/metrics.md lists them all.
"""

from prometheus_client import disable_created_metrics

# From one step of VAD to the longest that anybody waits for an answer.
SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
    *(0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# When each series began, said beside it, would double their number.
disable_created_metrics()  # type: ignore[no-untyped-call]

"""What this gateway says of itself, for `parley top` and `parley sessions`."""

from prometheus_client import Counter

from shared.footprint import Meter
from shared.gateways import GatewayInfo
from shared.metrics.gateway import OPENED, RECENT, RECENT_PARTS, REFUSED, RESUMED


class Status:
    """The status of the gateway `gateway_id`, whose process this is."""

    def __init__(self, gateway_id: str, meter: Meter) -> None:
        self._gateway_id = gateway_id
        self._meter = meter

    def describe(self, sessions: int) -> GatewayInfo:
        """It as it is now, with so many sessions."""
        return GatewayInfo(
            gateway_id=self._gateway_id,
            sessions=sessions,
            opened=_count(OPENED),
            resumed=_count(RESUMED),
            refused=_count(REFUSED),
            voice_to_voice=RECENT.counts(),
            parts={part: recent.counts() for part, recent in RECENT_PARTS.items()},
            footprint=self._meter.read(),
        )


def _count(counter: Counter) -> int:
    """What was counted, whatever the labels."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

"""How late the callers themselves are: what they measure is true to about so much."""

import asyncio
import time
from collections.abc import Callable

from bench.load.record import Pulse, Record

_EVERY_S = 0.02
_TOLD_EVERY = 50
_ROUNDED = 3  # digits of a millisecond


async def pulse(report: Callable[[Record], None]) -> None:
    """Feels the event loop's pulse until cancelled, and reports it every second."""
    loop = asyncio.get_running_loop()
    while True:
        began_s, cpu_s = loop.time(), time.process_time()
        late_ms: list[float] = []
        for _ in range(_TOLD_EVERY):
            due_s = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            late_ms.append(round(max(loop.time() - due_s, 0.0) * 1000, _ROUNDED))
        spent_s = time.process_time() - cpu_s
        report(Pulse(seconds=loop.time() - began_s, cpu_s=spent_s, late_ms=late_ms))

"""What the images' health checks ask: `python -P -m cli.health stt`.

Exits with 0 where this container does its work, else with 1 and the reason. It is asked again and
again, so it imports little.
"""

import asyncio
import socket
import sys

from redis.exceptions import RedisError

from cli.address import answers, local_url
from shared.broker import Pipe, connect
from shared.heartbeat import living
from shared.profiles import STAGES
from shared.settings import Settings, settings

_TIMEOUT_S = 5
_PATHS = {"gateway": "/health", "all": "/ready"}
PARTS = (*STAGES, *_PATHS)


def problem(part: str, config: Settings) -> str | None:
    """What is wrong with `part`: a stage, "gateway", or "all" for everything in one container."""
    if part in _PATHS:
        url = local_url(config) + _PATHS[part]
        return None if answers(url) else f"{url} does not answer with 200"
    try:
        ready = asyncio.run(_has_ready_worker(part, config))
    except TimeoutError:
        return f"the broker did not answer within {_TIMEOUT_S} s"
    except RedisError as error:
        return f"the broker cannot be asked: {error}"
    return None if ready else f"no {part} worker of this container is ready"


async def _has_ready_worker(stage: str, config: Settings) -> bool:
    """Whether a worker of this host has signed in, with its model loaded."""
    here = socket.gethostname()
    async with asyncio.timeout(_TIMEOUT_S), Pipe(connect(config.redis_url)) as pipe:
        workers = await living(pipe)
    return any(w.stage == stage and w.host == here and w.ready for w in workers)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in PARTS:
        sys.exit(f"usage: python -m cli.health {'|'.join(PARTS)}")
    sys.exit(problem(sys.argv[1], settings()))


if __name__ == "__main__":
    main()

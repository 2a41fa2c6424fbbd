"""Names of every key Parley uses, and how sessions spread over shards and lanes.

Every key of a session carries its shard's hash tag, so one script can touch all of them
atomically, on a single broker and on a cluster alike.
"""

import zlib
from dataclasses import dataclass

WORKERS = "parley:workers"
GATEWAYS = "parley:gateways"


def log_level(process: str) -> str:
    """What is logged by the processes of that name, "gateway" or a stage's."""
    return f"parley:log-level:{process}"


@dataclass(frozen=True, slots=True)
class Shard:
    """Keys of one shard, the unit of atomicity."""

    number: int

    @property
    def prefix(self) -> str:
        return f"parley:{{{self.number}}}"

    def jobs(self, stage: str) -> str:
        """The stream of jobs of `stage` ("stt", "llm" or "tts"); its group has the same name."""
        return f"{self.prefix}:{stage}"

    @property
    def dead(self) -> str:
        """Stream of jobs that failed on every attempt."""
        return f"{self.prefix}:dead"

    @property
    def control(self) -> str:
        """Channel on which cancelled epochs are published."""
        return f"{self.prefix}:control"

    def hints(self, stage: str) -> str:
        """Channel on which workers of `stage` are told what they will probably be asked."""
        return f"{self.prefix}:hints:{stage}"

    def doorbell(self, gateway: str) -> str:
        """Channel that tells one gateway which of its sessions have output waiting."""
        return f"{self.prefix}:bell:{gateway}"

    def lane(self, number: int) -> "Lane":
        return Lane(self, number)

    def session(self, session_id: str) -> "SessionKeys":
        return SessionKeys(self, session_id)


@dataclass(frozen=True, slots=True)
class Lane:
    """Keys of one lane, the unit of audio ordering inside a shard."""

    shard: Shard
    number: int

    @property
    def stream(self) -> str:
        return f"{self.shard.prefix}:lane:{self.number}"

    @property
    def lease(self) -> str:
        return f"{self.stream}:lease"

    @property
    def fence(self) -> str:
        return f"{self.stream}:fence"

    @property
    def checkpoint(self) -> str:
        """From which entry a successor replays, and each session's state at that point."""
        return f"{self.stream}:checkpoint"


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Keys of one session."""

    shard: Shard
    session_id: str

    @property
    def state(self) -> str:
        return f"{self.shard.prefix}:session:{self.session_id}"

    @property
    def out(self) -> str:
        return f"{self.shard.prefix}:out:{self.session_id}"

    @property
    def items(self) -> str:
        return f"{self.shard.prefix}:items:{self.session_id}"

    @property
    def order(self) -> str:
        return f"{self.shard.prefix}:order:{self.session_id}"

    @property
    def owner(self) -> str:
        """Whose the session is, and since when: of a session that an API key opened."""
        return f"{self.shard.prefix}:owner:{self.session_id}"

    def response(self, response_id: str) -> str:
        return f"{self.shard.prefix}:response:{response_id}"


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """Keys of what is used of one API key, whose name the settings give; "" is no key."""

    name: str

    @property
    def prefix(self) -> str:
        return f"parley:{{access:{self.name}}}"

    @property
    def sessions(self) -> str:
        """Leases of the connections that sessions have now."""
        return f"{self.prefix}:sessions"

    @property
    def secrets(self) -> str:
        """Leases of the ephemeral keys that are valid."""
        return f"{self.prefix}:secrets"

    @property
    def rate(self) -> str:
        """When as many requests as may come at once may come again."""
        return f"{self.prefix}:rate"

    @property
    def audio(self) -> str:
        """Audio of this day, in ms."""
        return f"{self.prefix}:audio"

    @property
    def usage(self) -> str:
        """What was used on each of the last days."""
        return f"{self.prefix}:usage"


def secret(digest: str) -> str:
    """What an ephemeral key allows, by the key's hash."""
    return f"parley:secret:{digest}"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Where each session's keys are, given the numbers of shards and lanes."""

    shards: int
    lanes: int

    def all_shards(self) -> list[Shard]:
        return [Shard(number) for number in range(self.shards)]

    def all_lanes(self) -> list[Lane]:
        return [shard.lane(n) for shard in self.all_shards() for n in range(self.lanes)]

    def session(self, session_id: str) -> SessionKeys:
        return Shard(_spread(session_id) % self.shards).session(session_id)

    def lane(self, session_id: str) -> Lane:
        spread = _spread(session_id)
        return Shard(spread % self.shards).lane(spread // self.shards % self.lanes)


def _spread(session_id: str) -> int:
    return zlib.crc32(session_id.encode())

"""The Lua scripts, one file each: every state change that must be atomic.

`prelude.lua` is put before each of them. The typed wrappers in `jobs.py`, `sessions.py` and
`lanes.py` are the contract; nothing else calls a script by name.
"""

from importlib.resources import files


def _load() -> dict[str, str]:
    sources = {
        entry.name.removesuffix(".lua"): entry.read_text("utf-8")
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".lua")
    }
    prelude = sources.pop("prelude")
    return {name: prelude + source for name, source in sources.items()}


SCRIPTS: dict[str, str] = _load()
"""Name → source."""

SESSION_TTL_S = 75
"""How long a session's keys outlive its last activity."""

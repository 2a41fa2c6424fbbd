"""Where a running worker spends its time, by what it does: sampled with py-spy."""

import asyncio
from collections import Counter
from pathlib import Path

# The innermost of these functions in a stack says which part it belongs to.
_PARTS = {
    ("workers/vad/engines/silero", "step"): "model",
    ("shared/lanes.py", "_read"): "lane read",
    ("shared/messages/", "decode"): "decode",
    ("workers/vad/worker.py", "_deliver"): "take in",
    ("workers/vad/worker.py", "_take_in"): "take in",
    ("workers/vad/worker.py", "_listen"): "batch",
    ("workers/vad/worker.py", "_advance"): "endpointing",
    ("workers/vad/listener.py", "advance"): "endpointing",
    ("workers/vad/worker.py", "_emit"): "emit",
    ("workers/vad/worker.py", "_emit_session"): "emit",
    ("workers/vad/worker.py", "_hint"): "emit",
    ("workers/vad/worker.py", "checkpoint"): "checkpoint",
    ("shared/lanes.py", "_checkpoint"): "checkpoint",
    ("shared/broker.py", "_flush"): "commands to the broker",
}
_OTHER = "event loop and the rest"
# A thread that waits for work, which py-spy takes for one that works where cores are scarce.
_IDLE = "_worker (concurrent/futures/thread.py"
_RATE_HZ = 200


async def shares(pid: int, seconds: float, stacks: Path) -> dict[str, float]:
    """Each part's share of the time in which the process was at work, the largest first; the
    sampled stacks are written to `stacks`, as flame graphs are made of.

    Raises:
        RuntimeError: py-spy could not look into the process: on Linux it must be root, or
            `kernel.yama.ptrace_scope` be 0.
    """
    recording = await asyncio.create_subprocess_exec(
        *("py-spy", "record", "--pid", str(pid), "--duration", str(max(round(seconds), 1))),
        *("--rate", str(_RATE_HZ), "--format", "raw", "--output", str(stacks)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await recording.communicate()
    if recording.returncode:
        raise RuntimeError(f"py-spy could not look into process {pid}: {said.decode().strip()}")
    counts: Counter[str] = Counter()
    for line in (await asyncio.to_thread(stacks.read_text)).splitlines():
        stack, _, samples = line.rpartition(" ")
        if _IDLE not in stack.rpartition(";")[2]:
            counts[_part(stack)] += int(samples)
    total = sum(counts.values())
    return {part: number / total for part, number in counts.most_common()}


def _part(stack: str) -> str:
    """Of calls as py-spy writes them: `Class.function (folder/file.py:line);…`."""
    for call in reversed(stack.split(";")):
        name, _, place = call.rpartition(" (")
        function = name.rpartition(".")[2]
        for (path, of_path), part in _PARTS.items():
            if function == of_path and place.startswith(path):
                return part
    return _OTHER

"""What the language model is told before it is asked."""

from shared.broker import Pipe
from shared.keys import SessionKeys
from shared.messages import LlmHint, SessionConfig, encode


async def foretell(pipe: Pipe, keys: SessionKeys, config: SessionConfig) -> None:
    """Lets the language model read what a session brings of its own before its next turn."""
    if config.instructions or config.tooling.tools:
        hint = LlmHint(session_id=keys.session_id)
        await pipe.command("PUBLISH", keys.shard.hints("llm"), encode(hint))

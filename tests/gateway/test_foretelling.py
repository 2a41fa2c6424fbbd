"""What a session brings of its own is foretold to the language model."""

from redis.asyncio import Redis

from shared.keys import Keyspace
from shared.messages import LlmHint, decode
from tests.gateway.realtime_client import joined
from tests.gateway.running import Gateway
from tests.stages import next_message


async def test_instructions_are_foretold(served: Gateway, redis_url: str) -> None:
    [shard] = Keyspace(shards=1, lanes=1).all_shards()
    async with Redis.from_url(redis_url) as client, client.pubsub() as ears:
        await ears.subscribe(shard.hints("llm"))
        async with joined(served) as talker:
            session_id = talker.seen[0]["session"]["id"]
            opened = decode(await next_message(ears), LlmHint)
            await talker.update(type="realtime", instructions="You are a lighthouse.")
            updated = decode(await next_message(ears), LlmHint)
    assert opened == updated == LlmHint(session_id=session_id)

"""Following sessions: each in order, none forgotten, whatever happens to the connection."""

import asyncio
from contextlib import aclosing
from pathlib import Path

from cli.broker import Broker, bundled_server
from gateway.follower import Follower, Inbox
from shared.broker import Pipe, connect
from shared.ids import new_id
from shared.keys import Keyspace, SessionKeys
from shared.messages import Committed, OutMessage, SessionConfig, encode
from shared.scripts import sessions
from tests.gateway.talk import GATEWAY, following
from tests.stages import KEYSPACE, SOON_S, held

SESSIONS = 100
MESSAGES = 20


async def attached(pipe: Pipe, keyspace: Keyspace = KEYSPACE) -> SessionKeys:
    keys = keyspace.session(new_id("sess"))
    config = SessionConfig()
    await sessions.attach(pipe, held(keys), gateway=GATEWAY, token="t", config=config)
    return keys


async def show(pipe: Pipe, keys: SessionKeys, number: int, *, ring: bool = True) -> None:
    """Appends to the session's output, as the scripts do."""
    message = Committed(item_id=f"{keys.session_id} {number}", audio_ms=number)
    await pipe.command("XADD", keys.out, "*", "m", encode(message))
    await pipe.command("EXPIRE", keys.out, 60)
    if ring:
        await pipe.command("PUBLISH", keys.shard.doorbell(GATEWAY), keys.session_id)


async def take(messages: Inbox) -> OutMessage:
    _, message = await asyncio.wait_for(messages.get(), SOON_S)
    return message


async def numbers(messages: Inbox, count: int) -> list[int]:
    taken = [await take(messages) for _ in range(count)]
    return [message.audio_ms for message in taken if isinstance(message, Committed)]


async def test_many_sessions_each_keep_their_order(pipe: Pipe, follower: Follower) -> None:
    everyone = [await attached(pipe) for _ in range(SESSIONS)]
    queues = [follower.follow(keys) for keys in everyone]

    async def write(keys: SessionKeys) -> None:
        for number in range(MESSAGES):
            await show(pipe, keys, number)

    await asyncio.gather(*(write(keys) for keys in everyone))
    for keys, queue in zip(everyone, queues, strict=True):
        for number in range(MESSAGES):
            message = await take(queue)
            assert isinstance(message, Committed)
            assert message.item_id == f"{keys.session_id} {number}"
    assert all(queue.waiting == 0 for queue in queues)


async def test_the_doorbells_of_all_shards_are_heard(pipe: Pipe, redis_url: str) -> None:
    keyspace = Keyspace(shards=4, lanes=1)
    async with (
        aclosing(connect(redis_url)) as subscriber,
        following(Follower(pipe, subscriber, keyspace, GATEWAY)) as follower,
    ):
        everyone = [await attached(pipe, keyspace) for _ in range(20)]
        assert len({keys.shard for keys in everyone}) == 4
        queues = [follower.follow(keys) for keys in everyone]
        for keys in everyone:
            await show(pipe, keys, 1)
        for queue in queues:
            assert await numbers(queue, 1) == [1]


async def test_what_was_there_before_is_read_without_a_bell(pipe: Pipe, follower: Follower) -> None:
    keys = await attached(pipe)
    for number in range(600):  # more than one read takes
        await show(pipe, keys, number, ring=False)
    assert await numbers(follower.follow(keys), 600) == list(range(600))


async def test_following_can_begin_after_an_entry(pipe: Pipe, follower: Follower) -> None:
    keys = await attached(pipe)
    for number in range(3):
        await show(pipe, keys, number, ring=False)
    [(first, _), *_] = await pipe.command("XRANGE", keys.out, "-", "+")
    assert await numbers(follower.follow(keys, first.decode()), 2) == [1, 2]


async def test_a_bell_that_was_lost_with_its_connection_loses_nothing(
    pipe: Pipe, follower: Follower
) -> None:
    keys = await attached(pipe)
    messages = follower.follow(keys)
    await show(pipe, keys, 0)
    assert await numbers(messages, 1) == [0]
    for number in range(1, 4):
        assert await pipe.command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await show(pipe, keys, number)
        assert await numbers(messages, 1) == [number]
        await show(pipe, keys, 10 * number)  # and the new connection hears the bell
        assert await numbers(messages, 1) == [10 * number]


async def test_an_unreadable_message_is_skipped(pipe: Pipe, follower: Follower) -> None:
    keys = await attached(pipe)
    for fields in (["m", b"\xc1"], ["m", encode(SessionConfig())], ["x", "y"]):
        await pipe.command("XADD", keys.out, "*", *fields)
    await show(pipe, keys, 7)
    assert await numbers(follower.follow(keys), 1) == [7]


async def test_who_is_not_followed_any_more_gets_nothing(pipe: Pipe, follower: Follower) -> None:
    left, stayed = await attached(pipe), await attached(pipe)
    gone, messages = follower.follow(left), follower.follow(stayed)
    follower.unfollow(gone)
    follower.unfollow(gone)  # again does no harm
    await show(pipe, left, 1)
    await show(pipe, stayed, 2)
    assert await numbers(messages, 1) == [2]
    assert gone.waiting == 0


async def test_a_broker_that_restarts_is_followed_again(tmp_path: Path) -> None:
    broker = Broker(bundled_server()[0], tmp_path)
    with broker:
        async with (
            Pipe(connect(broker.url)) as pipe,
            aclosing(connect(broker.url)) as subscriber,
            following(Follower(pipe, subscriber, KEYSPACE, GATEWAY)) as follower,
        ):
            keys = await attached(pipe)
            messages = follower.follow(keys)
            await show(pipe, keys, 1)
            assert await numbers(messages, 1) == [1]
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
            await show(pipe, keys, 2)
            assert await numbers(messages, 1) == [2]

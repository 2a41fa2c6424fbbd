"""Recognition is told of a pause: what the turn will be if it is its end."""

from redis.asyncio import Redis

from shared.broker import Pipe
from shared.lanes import LaneWriter
from shared.messages import SttHint, SttJob, decode
from tests.stages import KEYSPACE, jobs_of, next_message, open_session, until
from tests.vad.listening import CONFIG, listening, opened, turn, write


async def test_a_pause_is_told_to_recognition_once_and_is_what_the_job_will_be(
    pipe: Pipe, redis_url: str
) -> None:
    """None of a sound too short to be a turn, nor of the silence going on."""
    writer = LaneWriter(pipe, KEYSPACE)
    session = await open_session(pipe, CONFIG)
    writer.append(opened(session))
    click, said, again = turn(0.03), turn(0.8), turn(0.5)

    async def heard() -> bool:
        return len(await jobs_of(pipe, "stt")) == 2

    async with Redis.from_url(redis_url) as client, client.pubsub() as ears:
        await ears.subscribe(session.shard.hints("stt"))
        async with listening(pipe, redis_url):
            at = write(writer, session, click)
            at = write(writer, session, said, at)
            write(writer, session, again, at)
            await until(heard)
        hints = [decode(await next_message(ears), SttHint) for _ in range(2)]
        # what is published is in order: whatever else was told of them would come before this
        await client.publish(session.shard.hints("stt"), b"no more")
        assert await next_message(ears) == b"no more"
    jobs = [job for job in await jobs_of(pipe, "stt") if isinstance(job, SttJob)]
    assert [hint.pcm for hint in hints] == [job.pcm for job in jobs]
    assert {hint.session_id for hint in hints} == {session.session_id}

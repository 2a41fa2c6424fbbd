"""The client without an event loop, in processes and threads that have none."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import client
from client import ParleyError, ServerError, Unavailable
from client.sync import Parley
from shared.audio import Int16, write_wav
from tests.client.realtime_server import Script, Session, realtime_server
from tests.client.talking import RESUMED, resumable
from tests.stages import until

ROOT = Path(__file__).parents[2]


class Server:
    """A scripted server in a thread of its own."""

    def __init__(self, script: Script, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.script = script
        self.url = url
        self._loop = loop

    @property
    def session(self) -> Session:
        return self.script.sessions[-1]

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self.session.connections[-1].cut)

    def wait_until_over(self) -> None:
        over = until(lambda: self.session.over)
        asyncio.run_coroutine_threadsafe(over, self._loop).result(20)


@contextlib.contextmanager
def serving(script: Script) -> Iterator[Server]:
    started: list[Server] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with realtime_server(script) as url:
            started.append(Server(script, url, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    [server] = started
    try:
        yield server
    finally:
        server._loop.call_soon_threadsafe(stop.set)
        thread.join()


def broken_recorder() -> Iterator[Int16]:
    yield np.zeros(480, np.int16)
    raise EOFError("the recorder is gone")


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "parley"]


def test_a_conversation(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.full(4_800, 1_000, np.int16), 24_000)
    with serving(Script()) as server:
        with Parley(server.url) as session:
            assert session.connected
            assert session.id == server.session.id
            session.send_file(tmp_path / "a.wav", realtime=False)
            assert session.answer().text == "It is Paris."
            session.update(audio={"input": {"turn_detection": None}})
            session.text("And of Italy?")
            session.create_response()
            for event in session.events():
                if event.type == "response.done":
                    break
        server.wait_until_over()
        assert own_threads() == []
        assert [request["type"] for request in server.session.requests] == [
            "session.update",
            "conversation.item.create",
            "response.create",
        ]


def test_a_connection_that_breaks_is_made_anew_while_nobody_looks() -> None:
    with serving(resumable()) as server, Parley(server.url) as session:
        server.cut()
        for event in session.events():
            if event.type == RESUMED:
                break
        session.create_response()
        assert session.answer().text == "It is Paris."


def test_errors_come_to_whoever_asked() -> None:
    with serving(Script(api_key="secret")) as server:
        with pytest.raises(ParleyError, match="refused: HTTP 401"), Parley(server.url):
            raise AssertionError("it was let in")
        assert own_threads() == []
        with Parley(server.url, api_key="secret") as session:
            session.commit()
            with pytest.raises(ServerError, match="100 ms of audio") as raised:
                session.answer()
            assert raised.value.code == "input_audio_buffer_commit_empty"
            with pytest.raises(EOFError, match="the recorder is gone"):
                session.stream_audio(broken_recorder())
            session.clear()
    with pytest.raises(Unavailable, match="no server answers"):
        Parley(server.url).__enter__()
    with pytest.raises(ParleyError, match="url must look like"):
        Parley("nowhere")


def test_before_and_after() -> None:
    with pytest.raises(ParleyError, match="no session: use `with Parley"):
        Parley("ws://127.0.0.1:8080").commit()
    with serving(Script()) as server, Parley(server.url) as session:
        session.close()
        session.close()
        assert own_threads() == []
        with pytest.raises(ParleyError, match="no session: use `with Parley"):
            session.commit()


def test_closing_ends_the_events_of_another_thread() -> None:
    seen: list[str] = []
    with serving(Script()) as server, Parley(server.url) as session:
        begun = threading.Event()

        def listen() -> None:
            for event in session.events():
                seen.append(event.type)
                begun.set()

        listening = threading.Thread(target=listen)
        listening.start()
        assert begun.wait(20)
        session.close()
        listening.join(20)
        assert not listening.is_alive()
    assert seen == ["session.created"]


def test_many_threads_may_send() -> None:
    with serving(Script()) as server, Parley(server.url) as session:

        def write(name: int) -> None:
            for number in range(20):
                session.text(f"{name}.{number}")

        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = 0
        for event in session.events():
            done += event.type == "conversation.item.done"
            if done == 80:
                break
        texts = [each["item"]["content"][0]["text"] for each in server.session.requests]
    assert sorted(texts) == sorted(f"{name}.{number}" for name in range(4) for number in range(20))
    for name in range(4):
        own = [text for text in texts if text.startswith(f"{name}.")]
        assert own == [f"{name}.{number}" for number in range(20)]


PROGRAM = """
import asyncio, os, signal, sys, threading, time
from client.sync import Parley

def press_ctrl_c(session):
    while not any("receive" in repr(task) for task in asyncio.all_tasks(session._loop)):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

try:
    with Parley(sys.argv[1]) as session:
        assert session.receive().type == "session.created"
        threading.Thread(target=press_ctrl_c, args=[session]).start()
        try:
            session.receive()
        except KeyboardInterrupt:
            if sys.argv[2] == "leaves":
                raise
        session.create_response()
        print(session.receive().type)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("who", "printed"), [("leaves", "interrupted"), ("goes on", "response.created")]
)
def test_ctrl_c(who: str, printed: str) -> None:
    with serving(Script()) as server:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.url, who],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.stdout, ran.stderr, ran.returncode) == (f"{printed}\n", "", 0)
        server.wait_until_over()


def test_the_client_is_light() -> None:
    """It brings none of what servers and workers take."""
    heavy = {"fastapi", "openai", "pydantic", "redis", "rich", "typer", "uvicorn", "soundfile"}
    program = "import sys, client.sync; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert client.__name__ in ran.stdout.split()
    assert heavy.isdisjoint(ran.stdout.split())

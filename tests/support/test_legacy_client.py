"""The legacy client keeps to its protocol and notices when a server does not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.support.legacy_client import LegacyClient

CHUNK = 512
QUESTION = np.full(3 * CHUNK - 100, 500, np.int16)
ANSWER = [np.full(CHUNK, number, "<i2").tobytes() for number in (1, 2, 3)]

Reply = Callable[[int], list[bytes | str]]
"""What to send for the n-th frame after the question."""


class Server:
    """Answers as soon as it hears silence, one scripted reply a frame; keeps what it got."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.frames: list[bytes] = []
        self.path = ""
        self.authorization: str | None = None

    def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.path = socket.request.path
        self.authorization = socket.request.headers.get("Authorization")
        answered = 0
        try:
            for frame in socket:
                assert isinstance(frame, bytes)
                self.frames.append(frame)
                if np.frombuffer(frame, "<i2").any():
                    answered = 0
                else:
                    for message in self._reply(answered):
                        socket.send(message)
                    answered += 1
        except ConnectionClosed:
            return


@contextmanager
def serving(server: Server) -> Iterator[str]:
    with serve(server, "127.0.0.1", 0) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        finally:
            listener.shutdown()
            thread.join()


def well_behaved(number: int) -> list[bytes | str]:
    return [[*ANSWER, b"DONE"][number]] if number < 4 else []


def test_a_conversation() -> None:
    server = Server(well_behaved)
    with serving(server) as url, LegacyClient(url + "/", CHUNK, "secret") as client:
        answers = [client.ask(QUESTION), client.ask(QUESTION)]
    assert server.path == "//ws"
    assert server.authorization == "Bearer secret"
    for answer in answers:
        assert answer.messages == ANSWER
        # What it plays is every message in order, and silence where none was there in time.
        audible = answer.played[answer.played != 0]
        assert audible.tobytes() == b"".join(ANSWER)
        assert len(answer.played) == (len(ANSWER) + answer.dry) * CHUNK
    assert server.frames[0] == np.full(CHUNK, 500, "<i2").tobytes()
    assert server.frames[2] == np.append(QUESTION[2 * CHUNK :], np.zeros(100, "<i2")).tobytes()
    assert {len(frame) for frame in server.frames} == {0, 2 * CHUNK}


@pytest.mark.parametrize(
    ("reply", "violation"),
    [
        (lambda number: ["hello"], "a text frame came"),
        (lambda number: [b"\0" * (2 * CHUNK - 2)], "a message of 1022 bytes came, not 1024"),
        (lambda number: [b"\0" * 1023], "a message of 1023 bytes came, not 1024"),
        (lambda number: [b"DONE"], "DONE came without an answer"),
        (lambda number: ANSWER * 4, "more messages came than the"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_found_out(reply: Reply, violation: str) -> None:
    with (
        serving(Server(reply)) as url,
        LegacyClient(url, CHUNK) as client,
        pytest.raises(AssertionError, match=violation),
    ):
        client.ask(QUESTION, timeout_s=5)


def test_no_answer_is_found_out() -> None:
    with (
        serving(Server(lambda number: [])) as url,
        LegacyClient(url, CHUNK) as client,
        pytest.raises(AssertionError, match=r"no DONE within 0\.5 s"),
    ):
        client.ask(QUESTION, timeout_s=0.5)


def test_it_can_vanish() -> None:
    server = Server(well_behaved)
    with serving(server) as url, LegacyClient(url, CHUNK) as client:
        client.ask(QUESTION)
        client.drop()

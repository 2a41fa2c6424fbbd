"""Whether those who talk notice a crowd that comes, on servers of many kinds, in virtual time."""

import numpy as np
import pytest

from tests.gateway.crowd import Server, Stage

LIMIT_MS = 250
# What else somebody waits for whose turn is over: the silence, and the other stages.
OTHER_S = 1.0
SETTLED_S, CROWD_S, END_S = 15.0, 60.0, 150.0

STAGES = [
    Stage(slots=1, service_s=0.25),
    Stage(slots=2, service_s=0.5),
    Stage(slots=4, service_s=1.0),
    Stage(slots=8, service_s=0.25),
    Stage(slots=8, service_s=1.0),
    Stage(slots=16, service_s=1.0),
    Stage(slots=32, service_s=1.0),
]


def crowded(stage: Stage, load: float, limit_ms: int, seed: int) -> Server:
    """So much of the capacity talks, then five times the capacity comes within a minute."""
    server = Server(stage, limit_ms, seed)
    for number in range(round(load * stage.capacity)):
        server.talks(at_s=number * 0.05)
    newcomers = round(5 * stage.capacity)
    for number in range(newcomers):
        server.comes(at_s=CROWD_S + 60 * number / newcomers)
    server.run(END_S)
    assert server.refused + server.let_in == newcomers
    return server


def longer(server: Server) -> float:
    """How much longer those wait for an answer who talked before the crowd: 95th percentiles."""
    talking = server.sessions - server.let_in
    own = [(came_s, waited_s) for who, came_s, waited_s in server.waited_s if who < talking]
    before = [waited_s for came_s, waited_s in own if SETTLED_S < came_s < CROWD_S]
    during = [waited_s for came_s, waited_s in own if came_s >= CROWD_S]
    return float((OTHER_S + np.percentile(during, 95)) / (OTHER_S + np.percentile(before, 95)))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.slots} x {stage.service_s} s")
def test_those_who_talk_wait_hardly_longer_for_a_crowd(stage: Stage) -> None:
    found = [longer(crowded(stage, 0.7, LIMIT_MS, seed)) for seed in range(8)]
    assert np.mean(found) < 1.15
    assert max(found) < 1.3


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.slots} x {stage.service_s} s")
def test_where_everybody_is_let_in_they_wait_for_ever(stage: Stage) -> None:
    server = crowded(stage, 0.7, 0, 0)
    assert server.refused == 0
    assert longer(server) > 10


@pytest.mark.parametrize("load", [0.0, 0.3, 0.5])
def test_a_server_with_room_lets_in_as_many_as_it_can_serve(load: float) -> None:
    stage = Stage(slots=8, service_s=0.25)
    for seed in range(8):
        server = crowded(stage, load, LIMIT_MS, seed)
        assert 0.75 < server.sessions / stage.capacity < 1.0

"""Gateways sign in as workers do."""

from shared import gateways, heartbeat
from shared.broker import Pipe
from shared.footprint import Footprint, Gpu
from shared.gateways import GatewayInfo
from shared.keys import GATEWAYS


async def test_a_gateway_is_told_of_as_it_told(pipe: Pipe) -> None:
    told = GatewayInfo(
        gateway_id="gw_1",
        sessions=3,
        opened=5,
        refused=1,
        voice_to_voice={150: 2, 160: 1},
        parts={"stt": {7: 1}},
        footprint=Footprint(cpu_percent=12.5, rss_bytes=1000, gpu=Gpu("card", 1, 2)),
    )
    await gateways.sign_in(pipe, told)
    await gateways.sign_in(pipe, GatewayInfo(gateway_id="gw_2"))
    found = {info.gateway_id: info for info in await gateways.living(pipe)}
    assert found["gw_1"] == told
    assert await heartbeat.living(pipe) == [], "a gateway is no worker"
    assert 0 < await pipe.command("TTL", GATEWAYS) <= 60

    await gateways.sign_off(pipe, "gw_1")
    assert [info.gateway_id for info in await gateways.living(pipe)] == ["gw_2"]

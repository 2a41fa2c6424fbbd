"""The embedded broker, with every server there is on this machine."""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from cli.broker import (
    OLDEST_REDIS,
    Broker,
    BrokerError,
    bundled_server,
    find_server,
    server_version,
)

REDIS = shutil.which("redis-server")
SERVERS = [*([Path(REDIS)] if REDIS else []), *bundled_server()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short of name, as a unix socket's path must be, and with what needs quoting in it."""
    with tempfile.TemporaryDirectory(prefix="parley-") as name:
        yield Path(name) / 'a "b"'


@pytest.fixture(params=SERVERS, ids=lambda server: server.name)
def server(request: pytest.FixtureRequest) -> Path:
    binary: Path = request.param
    return binary


def test_it_is_private_and_append_only(server: Path, folder: Path) -> None:
    with Broker(server, folder) as broker, redis.Redis.from_url(broker.url) as client:
        config = client.config_get("*")
        assert isinstance(config, dict)
        assert config["port"] == "0"
        assert config["appendonly"] == "yes"
        assert config["maxmemory-policy"] == "noeviction"
        assert config["save"] == ""
        assert mode(folder / "broker.conf") == 0o600
        assert mode(folder / "broker.sock") == 0o700
        assert mode(folder) == 0o700
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(folder / "broker.sock")).ping()


def test_it_finds_its_data_after_a_restart(server: Path, folder: Path, tmp_path: Path) -> None:
    broker = Broker(server, folder, tmp_path / "data")
    with broker:
        redis.Redis.from_url(broker.url).set("kept", "yes")
        pid = broker.pid
    assert not psutil.pid_exists(pid)
    with broker:
        assert redis.Redis.from_url(broker.url).get("kept") == b"yes"
    assert (tmp_path / "data" / "broker.log").is_file()


def test_a_server_that_cannot_start_says_where_to_look(server: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "appendonlydir").write_text("not a folder")
    with pytest.raises(BrokerError, match=r"see .*broker\.log"):
        Broker(server, folder).start()


def test_too_long_a_path_is_refused(server: Path, folder: Path) -> None:
    with pytest.raises(BrokerError, match="too long"):
        Broker(server, folder / ("x" * 100)).prepare()


def test_the_package_brings_a_server() -> None:
    (server,) = bundled_server()
    assert server_version(server) >= (8, 0)


def test_a_server_on_the_path_goes_before_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == bundled_server()[0]
    for name, version in [("redis-server", "7.0.0"), ("valkey-server", "8.0.0")]:
        stand_in(tmp_path / name, version)
        assert find_server() == tmp_path / name


def test_a_server_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stand_in(tmp_path / "redis-server", "5.0.7")
    assert server_version(tmp_path / "redis-server") < OLDEST_REDIS
    assert find_server() == bundled_server()[0]


def test_what_is_no_server_has_no_version(tmp_path: Path) -> None:
    assert server_version(tmp_path / "nothing") == ()


def stand_in(path: Path, version: str) -> None:
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0'\n")
    path.chmod(0o755)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)

"""`parley keys`, as a person would run it, and what the gateway says of settings about keys."""

import json
import os
import subprocess
import sys

import pytest

from shared.api_keys import ApiKey, digest, find
from tests.support.command import parley


def test_a_new_key_and_its_entry() -> None:
    said = parley("keys", "new", "ada", "--sessions", "4", "--audio-minutes", "600").stdout
    key, entry = [line for line in said.splitlines() if line.startswith(("parley_", "{"))]
    assert json.loads(entry) == {
        "name": "ada",
        "sha256": digest(key),
        "sessions": 4,
        "audio_minutes": 600,
    }
    known = ApiKey(**json.loads(entry))
    assert find([known], key) == known
    assert find([known], key + "x") is None
    assert key not in parley("keys", "new", "ada").stdout


@pytest.mark.parametrize(
    ("options", "field"),
    [(["a b"], "name"), (["ada", "--sessions", "0"], "sessions")],
)
def test_what_is_wrong_is_named(options: list[str], field: str) -> None:
    done = parley("keys", "new", *options)
    assert done.returncode == 1
    assert field in done.stderr


def gateway(**settings: str) -> subprocess.CompletedProcess[str]:
    """A gateway that does not start."""
    inherited = {name: value for name, value in os.environ.items() if name[:7] != "PARLEY_"}
    return subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**inherited, "PARLEY_REDIS_URL": "redis://127.0.0.1:1", **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


ENTRY = '{"name": "ada", "sha256": "' + 64 * "0" + '"}'


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PARLEY_HOST": "0.0.0.0"}, "PARLEY_API_KEYS"),
        ({"PARLEY_HOST": "0.0.0.0"}, "PARLEY_KEYLESS=true"),
        ({"PARLEY_HOST": "::"}, "PARLEY_HOST"),
        ({"PARLEY_API_KEYS": "ada"}, "PARLEY_API_KEYS: it must be a JSON list"),
        ({"PARLEY_API_KEYS": '["secret"]'}, "PARLEY_API_KEYS.0"),
        ({"PARLEY_API_KEYS": '[{"name": "a", "sha256": "secret"}]'}, "PARLEY_API_KEYS.0.sha256"),
        ({"PARLEY_API_KEYS": f"[{ENTRY}, {ENTRY}]"}, "a name of its own"),
        ({"PARLEY_API_KEYS": f"[{ENTRY}]", "PARLEY_KEYLESS": "true"}, "contradict"),
        ({"PARLEY_TLS_CERT": "/nowhere"}, "PARLEY_TLS_KEY"),
        ({"PARLEY_TLS_CERT": "/nowhere", "PARLEY_TLS_KEY": "/nowhere"}, "cannot be read"),
    ],
)
def test_a_gateway_does_not_start_unprotected(settings: dict[str, str], said: str) -> None:
    done = gateway(**settings)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert said in line
    assert "secret" not in line


def test_nor_does_parley_up() -> None:
    done = parley("up", "--host", "0.0.0.0", PARLEY_PROFILE="instant")
    assert done.returncode == 1
    assert "PARLEY_KEYLESS=true" in done.stderr


def test_the_doctor_says_so() -> None:
    done = parley("doctor", PARLEY_HOST="0.0.0.0", PARLEY_PROFILE="instant")
    assert done.returncode == 1
    assert "PARLEY_KEYLESS=true" in done.stdout

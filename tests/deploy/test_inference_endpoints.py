"""deploy/inference_endpoints.py, against the API's documented interface and a real Parley."""

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from deploy import inference_endpoints
from shared import api_keys
from shared.audio import read_wav
from tests.deploy.endpoints_api import TOKEN, USER, Api, serving
from tests.support.up import running

ROOT = Path(__file__).parents[2]
QUESTION = ROOT / "tests" / "data" / "question.wav"
CREATE = (
    *("create", "parley", "--image", "registry.example/parley:gpu"),
    *("--repository", "Qwen/Qwen3-4B-Instruct-2507", "--instance-type", "nvidia-l4"),
)
KEYLESS = ("--env", "PARLEY_KEYLESS=true")

Run = Callable[..., Result]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    with serving() as (known, url):
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{url}/v2")
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(inference_endpoints, "POLL_S", 0.01)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        known.replica_url = f"{url}/replica"
        yield known


@pytest.fixture
def run(api: Api) -> Run:
    def command(*arguments: str) -> Result:
        result = CliRunner().invoke(inference_endpoints.app, list(arguments))
        assert TOKEN not in result.output
        return result

    return command


def fine(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def refused(result: Result) -> str:
    """The one sentence that a command failed with."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    prefix, _, sentence = line.partition("inference_endpoints: ")
    assert prefix == ""
    return sentence


def test_what_create_asks_for(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = json.dumps([{"name": "ada", "sha256": "0" * 64}])
    monkeypatch.setenv("PARLEY_API_KEYS", keys)
    monkeypatch.setenv("REGISTRY_PASSWORD", "hush")
    said = fine(
        run(
            *CREATE,
            *("--secret", "PARLEY_API_KEYS", "--env", "PARLEY_LLM_MODEL=/repository"),
            *("--vendor", "gcp", "--region", "us-east4", "--instance-size", "x4"),
            *("--max-replica", "2", "--scale-to-zero", "15", "--revision", "abc"),
            *("--registry-user", "puller", "--type", "public"),
        )
    )
    assert "hush" not in said
    method, path, body = api.requests[-1]
    assert (method, path) == ("POST", f"/v2/endpoint/{USER}")
    assert body == {
        "name": "parley",
        "type": "public",
        "provider": {"vendor": "gcp", "region": "us-east4"},
        "compute": {
            "accelerator": "gpu",
            "instanceType": "nvidia-l4",
            "instanceSize": "x4",
            "scaling": {"minReplica": 0, "maxReplica": 2, "scaleToZeroTimeout": 15},
        },
        "model": {
            "framework": "custom",
            "task": "custom",
            "repository": "Qwen/Qwen3-4B-Instruct-2507",
            "revision": "abc",
            "image": {
                "custom": {
                    "url": "registry.example/parley:gpu",
                    "port": 80,
                    "healthRoute": "/health",
                    "credentials": {"username": "puller", "password": "hush"},
                }
            },
            "env": {"PARLEY_LLM_MODEL": "/repository", "PORT": "80"},
            "secrets": {"PARLEY_API_KEYS": keys},
        },
    }


def test_what_it_asks_for_unasked(run: Run, api: Api) -> None:
    assert "parley: pending" in fine(run(*CREATE, *KEYLESS))
    endpoint = api.endpoints["parley"]
    assert endpoint["type"] == "authenticated"
    assert endpoint["compute"]["scaling"] == {
        "minReplica": 0,
        "maxReplica": 1,
        "scaleToZeroTimeout": 60,
    }
    assert endpoint["model"]["env"] == {"PARLEY_KEYLESS": "true", "PORT": "80"}
    fine(run("delete", "parley", "--yes"))

    fine(run(*CREATE, *KEYLESS, "--min-replica", "1", "--port", "8080", "--namespace", "guild"))
    assert api.requests[-1][1] == "/v2/endpoint/guild"
    endpoint = api.endpoints["parley"]
    assert endpoint["compute"]["scaling"]["scaleToZeroTimeout"] is None
    assert endpoint["model"]["image"]["custom"]["port"] == 8080
    assert endpoint["model"]["env"]["PORT"] == "8080"


def test_from_nothing_to_ready_and_back(run: Run, api: Api) -> None:
    fine(run(*CREATE, *KEYLESS))
    api.states = ["pending", "initializing", "running"]
    waited = fine(run("wait", "parley"))
    assert [line.split(" s  ")[1] for line in waited.splitlines()[:-1]] == [
        "pending",
        "initializing",
        "running, /ready says 503",
    ]
    assert waited.splitlines()[-1] == f"parley is ready at {api.replica_url}"

    api.states = ["scaledToZero", "initializing", "running"]
    api.woken = 0
    waited = fine(run("wait", "parley"))
    assert "scaledToZero, /ready says 503" in waited
    assert api.woken == 2

    fine(run("delete", "parley", "--yes"))
    assert api.endpoints == {}


@pytest.mark.parametrize("state", ["failed", "updateFailed", "paused"])
def test_an_endpoint_that_will_not_run_is_not_waited_for(run: Run, api: Api, state: str) -> None:
    fine(run(*CREATE, *KEYLESS))
    api.states, api.message = ["initializing", state], "the image cannot be pulled"
    said = refused(run("wait", "parley"))
    assert said == f"parley is {state}: the image cannot be pulled"


def test_waiting_ends(run: Run, api: Api) -> None:
    fine(run(*CREATE, *KEYLESS))
    api.states = ["initializing"]
    said = refused(run("wait", "parley", "--timeout-s", "0.05"))
    assert said == "parley is not ready after 0.05 s: initializing"


def test_what_update_changes(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fine(run(*CREATE, *KEYLESS, "--port", "8080"))
    before = api.endpoints["parley"]["model"]["repository"]
    fine(run("update", "parley", "--min-replica", "1", "--env", "PARLEY_LOG_FORMAT=json"))
    assert api.requests[-1] == (
        "PUT",
        f"/v2/endpoint/{USER}/parley",
        {
            "compute": {"scaling": {"minReplica": 1}},
            "model": {
                "env": {"PARLEY_KEYLESS": "true", "PORT": "8080", "PARLEY_LOG_FORMAT": "json"}
            },
        },
    )
    monkeypatch.setenv("HF_SECRET", "hush")
    fine(run("update", "parley", "--image", "registry.example/parley:2", "--secret", "HF_SECRET"))
    assert api.requests[-1][2] == {
        "model": {
            "image": {
                "custom": {
                    "url": "registry.example/parley:2",
                    "port": 8080,
                    "healthRoute": "/health",
                }
            },
            "secrets": {"HF_SECRET": "hush"},
        }
    }
    assert api.endpoints["parley"]["model"]["repository"] == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*CREATE,), "say who gets in"),
        ((*CREATE, *KEYLESS, "--env", "PARLEY_API_KEYS=[]"), "say who gets in"),
        ((*CREATE, *KEYLESS, "--type", "public"), "--type public lets everybody in"),
        ((*CREATE, "--env", "PARLEY_KEYLESS"), "--env: NAME=VALUE is expected"),
        ((*CREATE, "--secret", "NOT_SET_HERE"), "--secret: the variable NOT_SET_HERE is not set"),
        ((*CREATE, *KEYLESS, "--registry-user", "x"), "--registry-user: the variable REGISTRY_"),
        ((*CREATE, *KEYLESS, "--vendor", "nowhere"), "parley: the API answered 400: provider.ven"),
        ((*CREATE, *KEYLESS, "--min-replica", "2"), "parley: the API answered 400: minReplica"),
        (("wait", "other"), "other: the API answered 404: Endpoint other not found"),
        (("update", "other", "--min-replica", "1"), "other: the API answered 404"),
        (("test", "other", str(QUESTION)), "other: the API answered 404"),
        (("delete", "other", "--yes"), "other: the API answered 404"),
    ],
)
def test_what_is_refused_is_one_sentence(
    run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    assert refused(run(*arguments)).startswith(sentence)


def test_a_name_twice(run: Run) -> None:
    fine(run(*CREATE, *KEYLESS))
    assert "409: Endpoint parley already exists" in refused(run(*CREATE, *KEYLESS))


def test_without_a_token_or_with_a_wrong_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    said = refused(run("wait", "parley"))
    assert said.startswith("parley: the API answered 401")
    assert "hf_wrong" not in said
    monkeypatch.delenv("HF_TOKEN")
    assert refused(run("wait", "parley")).startswith("there is no token: set HF_TOKEN")


def test_an_api_that_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refused(run("wait", "parley")).startswith("parley: ")


def test_deleting_asks_first(api: Api, run: Run) -> None:
    fine(run(*CREATE, *KEYLESS))
    result = CliRunner().invoke(inference_endpoints.app, ["delete", "parley"], input="n\n")
    assert result.exit_code == 1
    assert "parley" in api.endpoints


def test_a_spoken_turn(run: Run, api: Api, tmp_path: Path) -> None:
    """The token is Parley's key, so Parley lets through whom Hugging Face's gateway would."""
    key = json.dumps([{"name": "ada", "sha256": api_keys.digest(TOKEN)}])
    with running(tmp_path / "data", PARLEY_API_KEYS=key) as up:
        api.replica_url = f"http://127.0.0.1:{up.port}"
        api.states = ["running"]
        fine(run(*CREATE, *KEYLESS))
        assert "parley is ready" in fine(run("wait", "parley"))
        answer = tmp_path / "answer.wav"
        said = fine(run("test", "parley", str(QUESTION), "-o", str(answer)))
        assert "you  " in said
        samples, rate = read_wav(answer)
        assert len(samples) > rate / 2

        # a public endpoint gets the key of Parley's that it asks for, and not the token
        api.endpoints["parley"]["type"] = "public"
        assert "401" in refused(run("test", "parley", str(QUESTION)))
    assert TOKEN not in up.log.read_text()


def test_an_endpoint_that_does_not_answer_fails_the_test(run: Run, api: Api) -> None:
    fine(run(*CREATE, *KEYLESS))
    assert "no address yet" in refused(run("test", "parley", str(QUESTION)))
    api.replica_url, api.states = "http://127.0.0.1:9", ["running"]
    assert "no server answers" in refused(run("test", "parley", str(QUESTION)))
    assert "cannot be read" in refused(run("test", "parley", str(ROOT / "none.wav")))


def test_the_commands_of_the_documentation(run: Run, api: Api) -> None:
    text = (ROOT / "docs" / "inference-endpoints.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"(?m)^python deploy/inference_endpoints.py (.*)$", text)
    arguments = [shlex.split(command) for command in commands]
    assert [each[0] for each in arguments] == ["create", "wait", "test"]
    fine(run(*arguments[0]))
    assert api.endpoints["parley"]["model"]["repository"] == "Qwen/Qwen3-4B-Instruct-2507"
    fine(run(*arguments[1]))


def test_it_runs_as_a_script(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["inference_endpoints.py", *CREATE, *KEYLESS])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "deploy" / "inference_endpoints.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "parley: pending" in capsys.readouterr().out
    assert "parley" in api.endpoints

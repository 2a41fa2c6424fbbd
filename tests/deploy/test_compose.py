"""compose.yaml, held against Docker Compose, the settings, the Dockerfile and the code."""

import importlib.util
import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.profiles import STAGES
from shared.settings import Settings
from tests.deploy.deployment import (
    PROFILES,
    ROOT,
    Json,
    command_of,
    configuration,
    image_of,
    images,
    read,
    services,
)
from tests.deploy.running import make_secrets
from tests.support.command import parley

EVERYTHING = (*PROFILES, "monitoring")
SETTINGS = {f"PARLEY_{name.upper()}" for name in Settings.model_fields} | {"PARLEY_SECRETS_DIR"}


def built(*profiles: str) -> dict[str, Json]:
    """The services whose images are made here, and that go on running."""
    found = services(*profiles).items()
    return {k: v for k, v in found if "build" in v and not k.startswith("models")}


def made() -> dict[str, Json]:
    """Every service whose image is made here."""
    return {k: v for k, v in services(*EVERYTHING).items() if "build" in v}


def workers(*profiles: str) -> dict[str, Json]:
    """The stages' workers."""
    return {k: v for k, v in built(*profiles).items() if not k.startswith("gateway")}


def test_what_an_unknown_key_does() -> None:
    wrong = json.dumps({"services": {"broker": {"image": "valkey", "memory": "1g"}}})
    path = "/dev/stdin"
    said = subprocess.run(
        [*read("version").args[:-1], "-f", path, "config"],
        input=wrong,
        text=True,
        check=False,
        capture_output=True,
    )
    assert said.returncode != 0
    assert "memory" in said.stderr


@pytest.mark.parametrize(
    ("profile", "speech"), [("gpu", "tts-melo"), ("melo", "tts-melo"), ("cpu", "tts")]
)
def test_every_profile_is_whole(profile: str, speech: str) -> None:
    targets = sorted(each["build"]["target"] for each in built(profile).values())
    assert targets == sorted(["gateway", "vad", "stt", "llm", speech])
    fetching = [name for name in services(profile) if name.startswith("models")]
    assert len(fetching) == 1
    assert "broker" in services(profile)


def test_the_gpu_is_the_default() -> None:
    assert services().keys() == services("gpu").keys()


def test_monitoring_comes_on_top() -> None:
    added = services("cpu", "monitoring").keys() - services("cpu").keys()
    assert added == {"exporter", "prometheus", "jaeger", "grafana"}


def test_every_variable_is_a_setting() -> None:
    for name, service in services(*EVERYTHING).items():
        variables = {v for v in service.get("environment", {}) if v.startswith("PARLEY_")}
        assert variables <= SETTINGS, name
    listed = read("config", "--variables").stdout
    asked = set(re.findall(r"^(PARLEY_\w+)", listed, re.MULTILINE))
    assert asked == {"PARLEY_PORT"}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_settings_of_a_profile_are_accepted(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, service in built(profile).items():
        with monkeypatch.context() as patch:
            for variable, value in service["environment"].items():
                patch.setenv(variable, value)
            settings = Settings()
        assert settings.profile == ("gpu" if profile == "gpu" else "cpu"), name
        shares = [settings.gpu_memory_fraction(stage) for stage in STAGES]
        assert sum(shares) <= 1


@pytest.mark.parametrize(
    ("profile", "speech", "engine"),
    [("gpu", "tts", "melo"), ("melo", "tts-melo", "melo"), ("cpu", "tts-cpu", "piper")],
)
def test_models_are_fetched_for_the_engine_that_speaks(
    profile: str, speech: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = services(profile)
    (models,) = [each for name, each in found.items() if name.startswith("models")]
    for service in (found[speech], models):
        with monkeypatch.context() as patch:
            for variable, value in service["environment"].items():
                patch.setenv(variable, value)
            assert Settings().engine("tts") == engine


def test_every_image_can_be_built() -> None:
    for name, service in made().items():
        build = service["build"]
        assert build["target"] in images(), name
        assert build.get("args", {}).keys() <= set(image_of(service).arguments), name
        assert (Path(build["context"]) / build["dockerfile"]).is_file()


def test_every_command_starts() -> None:
    for name, service in made().items():
        command = command_of(service)
        if command[:3] == ["python", "-P", "-m"]:
            assert importlib.util.find_spec(command[3]), name
        else:
            assert command[0] == "parley", name
            said = parley(*command[1:], "--help")
            assert said.returncode == 0, said.stderr


def test_every_stage_has_its_worker() -> None:
    for name, service in workers(*PROFILES).items():
        assert command_of(service)[-1] == name.partition("-")[0]


def test_every_service_that_stays_is_asked_after_its_health() -> None:
    for name, service in services(*EVERYTHING).items():
        if name.startswith("models"):
            continue
        if "build" not in service:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
            continue
        assert "healthcheck" not in service, name
        health = image_of(service).health
        assert health[:3] == ["python", "-P", "-m"], name
        assert importlib.util.find_spec(health[3]), name


def test_whoever_needs_something_waits_until_it_is_healthy() -> None:
    for name, service in services(*PROFILES).items():
        if "build" not in service or name.startswith("models"):
            continue
        waits = {k: v["condition"] for k, v in service["depends_on"].items()}
        assert waits["broker"] == "service_healthy"
        if service["build"]["target"] != "gateway":
            fetching = {k: v for k, v in waits.items() if k.startswith("models")}
            assert fetching
            assert set(fetching.values()) == {"service_completed_successfully"}


def test_every_secret_is_declared_and_made(tmp_path: Path) -> None:
    declared = configuration(*EVERYTHING)["secrets"]
    used = {
        secret["source"]
        for service in services(*EVERYTHING).values()
        for secret in service.get("secrets", [])
    }
    assert used == declared.keys()
    folder, _ = make_secrets(tmp_path)
    assert {path.name for path in folder.iterdir()} == declared.keys()
    for name, secret in declared.items():
        assert Path(secret["file"]) == ROOT / "secrets" / name


def test_secrets_are_for_containers_and_for_nobody_else(tmp_path: Path) -> None:
    folder, _ = make_secrets(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    folder, _ = make_secrets(tmp_path)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    again = subprocess.run(
        ["sh", tmp_path / "deploy" / "secrets.sh"], capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert "secrets.sh: " in again.stderr
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_no_secret_is_in_an_environment_or_a_command() -> None:
    text = json.dumps(
        [
            (service.get("environment"), service.get("command"))
            for service in services(*EVERYTHING).values()
        ]
    )
    assert "redis://:" not in text
    assert not re.search(r"(PASSWORD|TOKEN|API_KEYS?)\": \"(?!/run/secrets/)", text)


def test_who_knows_which_secret() -> None:
    known: dict[str, set[str]] = {}
    for name, service in services(*EVERYTHING).items():
        for secret in service.get("secrets", []):
            known.setdefault(secret["source"], set()).add(name)
    assert known["PARLEY_API_KEYS"] == {"gateway", "gateway-cpu"}
    assert known["HF_TOKEN"] == {"models", "models-melo", "models-cpu"}
    assert known["broker.conf"] == {"broker"}


def test_every_service_is_contained() -> None:
    for name, service in services(*EVERYTHING).items():
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) >= 64 * 2**20, name
        assert limits["pids"] >= 32, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["restart"] == ("no" if name.startswith("models") else "unless-stopped")
        assert not service.get("privileged"), name
        assert not service.get("cap_add"), name


def test_who_writes_to_which_volume() -> None:
    writes: dict[str, set[str]] = {}
    for name, service in services(*EVERYTHING).items():
        for volume in service.get("volumes", []):
            if not volume.get("read_only"):
                writes.setdefault(volume["source"], set()).add(name)
    assert writes == {
        "broker": {"broker"},
        "models": {"models", "models-melo", "models-cpu"},
        "prometheus": {"prometheus"},
        "grafana": {"grafana"},
    }


def test_workers_reach_the_broker_and_nothing_else() -> None:
    networks = configuration(*EVERYTHING)["networks"]
    assert networks["inside"]["internal"]
    for name, service in {**workers(*PROFILES), "broker": services()["broker"]}.items():
        assert service["networks"].keys() == {"inside"}, name


def test_what_is_published_is_published_on_this_machine_alone() -> None:
    published = {
        name: [(port["host_ip"], port["target"]) for port in service["ports"]]
        for name, service in services(*EVERYTHING).items()
        if "ports" in service
    }
    assert published == {
        "gateway": [("127.0.0.1", 8080)],
        "gateway-cpu": [("127.0.0.1", 8080)],
        "grafana": [("127.0.0.1", 3000)],
    }
    for name in ("gateway", "gateway-cpu"):
        assert services(*PROFILES)[name]["environment"]["PARLEY_PORT"] == "8080"


def test_workers_can_be_scaled() -> None:
    for name, service in workers(*PROFILES).items():
        assert not service.keys() & {"container_name", "hostname", "ports"}, name


def test_the_workers_share_one_card() -> None:
    cards: list[Any] = [
        service["deploy"]["resources"]["reservations"]["devices"]
        for service in workers("gpu").values()
    ]
    assert len(cards) == len(STAGES)
    only = [
        {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu", "compute", "utility"]}
    ]
    assert all(devices == only for devices in cards)
    elsewhere = json.loads(read("--profile", "gpu", "config", "--format", "json", GPU="1").stdout)
    (card,) = elsewhere["services"]["llm"]["deploy"]["resources"]["reservations"]["devices"]
    assert card["device_ids"] == ["1"]


@pytest.mark.parametrize("profile", ["cpu", "melo"])
def test_no_card_is_asked_for_on_the_cpu(profile: str) -> None:
    for name, service in services(profile, "monitoring").items():
        assert "reservations" not in service["deploy"]["resources"], name


def test_the_override_of_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "compose.md").read_text()
    (override,) = re.findall(r"(?s)```yaml\n(.*?)```", text)
    file = tmp_path / "compose.override.yaml"
    file.write_text(override)
    files = ("-f", str(ROOT / "compose.yaml"), "-f", str(file))
    said = read(*files, "--profile", "gpu", "config", "--format", "json")
    assert said.returncode == 0, said.stderr
    llm = json.loads(said.stdout)["services"]["llm"]
    assert llm["networks"].keys() == {"inside", "outside"}
    assert "reservations" not in llm["deploy"]["resources"]
    assert {"PARLEY_REDIS_URL", "PARLEY_LLM_API_KEY"} == {s["source"] for s in llm["secrets"]}


def test_what_is_mounted_from_here_is_here() -> None:
    mounted = [
        Path(volume["source"])
        for service in services(*EVERYTHING).values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert mounted
    assert all(path.exists() for path in mounted)

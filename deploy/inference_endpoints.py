"""Parley on Hugging Face Inference Endpoints: docs/inference-endpoints.md.

    python deploy/inference_endpoints.py create parley --image registry.example/parley:gpu \\
        --repository Qwen/Qwen3-4B-Instruct-2507 --env PARLEY_LLM_MODEL=/repository \\
        --env PARLEY_KEYLESS=true --instance-type nvidia-l4
    python deploy/inference_endpoints.py wait parley
    python deploy/inference_endpoints.py test parley tests/data/question.wav

The token is HF_TOKEN, or that of `hf auth login`.
"""

import asyncio
import contextlib
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from cli.say import ask
from client import SAMPLE_RATE, ParleyError
from shared.audio import AudioError, read_wav, resample, write_wav

try:
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, InferenceEndpoint, get_token
    from huggingface_hub.errors import HfHubHTTPError
except ImportError:
    sys.exit("inference_endpoints: the package huggingface_hub is missing: pip install '.[cpu]'")

HEALTH_ROUTE = "/health"
POLL_S = 5.0

_FAILED = ("failed", "updateFailed")
_REQUEST_TIMEOUT_S = 30

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(highlight=False, soft_wrap=True)

Name = Annotated[str, typer.Argument(help="The endpoint's name: lower case, digits and -.")]
Namespace = Annotated[
    str | None, typer.Option(help="Whose it is: an organization, if not the token's user.")
]
Image = Annotated[str, typer.Option(help="The all-in-one image, as a registry names it.")]
Port = Annotated[
    int, typer.Option(min=1, max=65535, help="Where the container listens; it is told by PORT.")
]
RegistryUser = Annotated[
    str | None,
    typer.Option(help="For a private registry; its password is in REGISTRY_PASSWORD."),
]
Repository = Annotated[
    str, typer.Option(help="The model repository that is mounted at /repository.")
]
Revision = Annotated[str | None, typer.Option(help="The repository's commit: the newest.")]
InstanceType = Annotated[str, typer.Option(help="Such as nvidia-l4, nvidia-l40s, intel-spr.")]
InstanceSize = Annotated[str, typer.Option(help="How many of it: x1, x2, …")]
Accelerator = Annotated[Literal["gpu", "cpu"], typer.Option(help="What the instance has.")]
Vendor = Annotated[str, typer.Option(help="Whose cloud: aws, azure or gcp.")]
Region = Annotated[str, typer.Option(help="Where in it.")]
Kind = Annotated[
    Literal["authenticated", "public", "private"],
    typer.Option("--type", help="authenticated: who shows a Hugging Face token gets through."),
]
MinReplica = Annotated[int, typer.Option(min=0, help="0 lets it scale to zero.")]
MaxReplica = Annotated[int, typer.Option(min=1, help="Each replica is a Parley of its own.")]
ScaleToZero = Annotated[
    int | None, typer.Option(min=1, help="Minutes without a request until it scales to zero.")
]
Env = Annotated[
    list[str] | None, typer.Option(help="A variable of the container: NAME=VALUE.", metavar="N=V")
]
Secret = Annotated[
    list[str] | None,
    typer.Option(help="The name of a variable whose value here is a secret of the container's."),
]


def _fail(sentence: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(
        f"inference_endpoints: {sentence}", style="red", markup=False, highlight=False
    )
    raise typer.Exit(1)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """What the API refuses, and why it cannot be asked, in a sentence."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = " ".join((error.server_message or "it did not say why").split())
        _fail(f"{name}: the API answered {status}: {said}")
    except (HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        _fail(f"{name}: {reason}")


def _token() -> str:
    token = get_token()
    if token is None:
        _fail("there is no token: set HF_TOKEN, or log in with `hf auth login`")
    return token


def _variables(pairs: list[str] | None) -> dict[str, str]:
    """The NAME=VALUE of --env as a map."""
    variables = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            _fail(f"--env: NAME=VALUE is expected, not {name!r}")
        variables[name] = value
    return variables


def _secrets(names: list[str] | None) -> dict[str, str]:
    """The values that the variables named by --secret have here."""
    missing = [name for name in names or [] if not os.environ.get(name)]
    if missing:
        _fail(f"--secret: the variable {missing[0]} is not set here")
    return {name: os.environ[name] for name in names or []}


def _custom_image(url: str, port: int, registry_user: str | None) -> dict[str, Any]:
    """The container, as the API takes it."""
    image: dict[str, Any] = {"url": url, "port": port, "healthRoute": HEALTH_ROUTE}
    if registry_user is not None:
        password = os.environ.get("REGISTRY_PASSWORD")
        if not password:
            _fail("--registry-user: the variable REGISTRY_PASSWORD is not set here")
        image["credentials"] = {"username": registry_user, "password": password}
    return image


def _check_access(kind: str, env: dict[str, str], secrets: dict[str, str]) -> None:
    """Who gets in must have been said: a gateway that was told nothing does not start."""
    keys = bool({"PARLEY_API_KEYS"} & (env.keys() | secrets.keys()))
    keyless = env.get("PARLEY_KEYLESS", "").lower() == "true"
    if keys == keyless:
        _fail("say who gets in: --secret PARLEY_API_KEYS or --env PARLEY_KEYLESS=true, one of them")
    if keyless and kind == "public":
        _fail("--type public lets everybody in, so it takes --secret PARLEY_API_KEYS")


def _show(endpoint: InferenceEndpoint) -> None:
    console.print(f"{endpoint.name}: {endpoint.status}, {endpoint.url or 'no address yet'}")


@app.command()
def create(
    name: Name,
    image: Image,
    repository: Repository,
    instance_type: InstanceType,
    instance_size: InstanceSize = "x1",
    accelerator: Accelerator = "gpu",
    vendor: Vendor = "aws",
    region: Region = "us-east-1",
    kind: Kind = "authenticated",
    min_replica: MinReplica = 0,
    max_replica: MaxReplica = 1,
    scale_to_zero: ScaleToZero = 60,
    env: Env = None,
    secret: Secret = None,
    revision: Revision = None,
    port: Port = 80,
    registry_user: RegistryUser = None,
    namespace: Namespace = None,
) -> None:
    """Creates an endpoint; `wait` for it afterwards."""
    variables, secrets = _variables(env), _secrets(secret)
    _check_access(kind, variables, secrets)
    api = HfApi(token=_token())
    with _explained(name):
        endpoint = api.create_inference_endpoint(
            name,
            repository=repository,
            revision=revision,
            framework="custom",
            task="custom",
            custom_image=_custom_image(image, port, registry_user),
            accelerator=accelerator,
            instance_type=instance_type,
            instance_size=instance_size,
            vendor=vendor,
            region=region,
            type=kind,
            min_replica=min_replica,
            max_replica=max_replica,
            scale_to_zero_timeout=scale_to_zero if min_replica == 0 else None,
            env={**variables, "PORT": str(port)},
            secrets=secrets,
            namespace=namespace,
        )
    _show(endpoint)


@app.command()
def update(
    name: Name,
    image: Annotated[str | None, typer.Option(help="Another image.")] = None,
    repository: Annotated[str | None, typer.Option(help="Another repository.")] = None,
    revision: Revision = None,
    instance_type: Annotated[str | None, typer.Option(help="Another instance.")] = None,
    instance_size: Annotated[str | None, typer.Option(help="Another size.")] = None,
    min_replica: Annotated[int | None, typer.Option(min=0, help="Fewest replicas.")] = None,
    max_replica: Annotated[int | None, typer.Option(min=1, help="Most replicas.")] = None,
    scale_to_zero: ScaleToZero = None,
    env: Env = None,
    secret: Secret = None,
    registry_user: RegistryUser = None,
    namespace: Namespace = None,
) -> None:
    """Changes what is given and leaves the rest; replicas are replaced one after another.

    Variables of --env join those that there are. Secrets cannot be read back: if one is given,
    give all.
    """
    variables, secrets = _variables(env), _secrets(secret)
    api = HfApi(token=_token())
    with _explained(name):
        now: dict[str, Any] = api.get_inference_endpoint(name, namespace=namespace).raw["model"]
        port = int(now.get("env", {}).get("PORT", "80"))
        endpoint = api.update_inference_endpoint(
            name,
            custom_image=_custom_image(image, port, registry_user) if image else None,
            repository=repository,
            revision=revision,
            instance_type=instance_type,
            instance_size=instance_size,
            min_replica=min_replica,
            max_replica=max_replica,
            scale_to_zero_timeout=scale_to_zero,
            env={**now.get("env", {}), **variables} if variables else None,
            secrets=secrets or None,
            namespace=namespace,
        )
    _show(endpoint)


@app.command()
def wait(
    name: Name,
    timeout_s: Annotated[float, typer.Option(min=0, help="Longest wait, in seconds.")] = 1800.0,
    namespace: Namespace = None,
) -> None:
    """Waits until the endpoint runs and Parley in it is ready, and tells what it waits for.

    An endpoint that is scaled to zero is woken.
    """
    token = _token()
    with _explained(name):
        endpoint = HfApi(token=token).get_inference_endpoint(name, namespace=namespace)
        _wait(endpoint, None if _is_public(endpoint) else token, timeout_s)
    console.print(f"{name} is ready at {endpoint.url}")


def _is_public(endpoint: InferenceEndpoint) -> bool:
    """Whether no token is asked for, so that none should be sent."""
    return bool(endpoint.type == "public")


def _wait(endpoint: InferenceEndpoint, token: str | None, timeout_s: float) -> None:
    started = time.monotonic()
    shown = ""
    while True:
        state = str(getattr(endpoint.status, "value", endpoint.status))
        if state in _FAILED or state == "paused":
            message = endpoint.raw["status"].get("message") or "see its log"
            _fail(f"{endpoint.name} is {state}: {message}")
        # Asking wakes what is scaled to zero.
        answer = _ready(endpoint.url, token) if state in ("running", "scaledToZero") else None
        if answer is True:
            return
        elapsed_s = time.monotonic() - started
        doing = f"{state}, {answer}" if answer else state
        if doing != shown:
            console.print(f"{elapsed_s:5.0f} s  {doing}")
            shown = doing
        if elapsed_s > timeout_s:
            _fail(f"{endpoint.name} is not ready after {timeout_s:g} s: {doing}")
        time.sleep(POLL_S)
        endpoint.fetch()


def _ready(url: str | None, token: str | None) -> Literal[True] | str:
    """Whether Parley says that every stage is ready, or what keeps it from saying so."""
    if url is None:
        return "without an address"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/ready", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_REQUEST_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (401, 403):
                _fail(f"{url} refuses this token: {error.code} {error.reason}")
        return f"/ready says {error.code}"
    except OSError as error:
        return f"/ready cannot be asked: {getattr(error, 'reason', error)}"


@app.command("test")
def ask_aloud(
    name: Name,
    question: Annotated[Path, typer.Argument(help="A recording: 16-bit WAV.", dir_okay=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the answer's WAV file goes.")
    ] = None,
    namespace: Namespace = None,
) -> None:
    """Puts a spoken question to the endpoint, and fails unless it is heard and answered aloud.

    A public endpoint is shown PARLEY_API_KEY, any other the Hugging Face token.
    """
    token = _token()
    with _explained(name):
        endpoint = HfApi(token=token).get_inference_endpoint(name, namespace=namespace)
    if endpoint.url is None:
        _fail(f"{name} has no address yet: it is {endpoint.status}")
    key = os.environ.get("PARLEY_API_KEY") if _is_public(endpoint) else token
    try:
        samples, rate = read_wav(question)
        speech = resample(samples, rate, SAMPLE_RATE)
        turn = asyncio.run(ask(speech, endpoint.url, key, 300, None, lambda who, words: None))
    except (AudioError, OSError) as error:
        _fail(f"{question} cannot be read: {error}")
    except ParleyError as error:
        _fail(f"{name}: {error}")
    if not (turn.transcript and turn.text and len(turn.audio)):
        _fail(f"{name} did not answer aloud: it heard {turn.transcript!r} and said {turn.text!r}")
    if output is not None:
        try:
            write_wav(output, turn.audio, SAMPLE_RATE)
        except OSError as error:
            _fail(f"{output} cannot be written: {error.strerror}")
    console.print(f"   you  {turn.transcript}\nparley  {turn.text}", markup=False)
    console.print(
        f"{name} heard it, and answered with {len(turn.audio) / SAMPLE_RATE:.1f} s of speech"
    )


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    namespace: Namespace = None,
) -> None:
    """Deletes the endpoint; it cannot be taken back."""
    token = _token()
    if not yes:
        typer.confirm(f"Delete the endpoint {name}?", abort=True)
    with _explained(name):
        HfApi(token=token).delete_inference_endpoint(name, namespace=namespace)
    console.print(f"{name} is deleted")


if __name__ == "__main__":
    app()

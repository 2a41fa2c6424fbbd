"""Hugging Face's API of Inference Endpoints, as far as it is documented, on this machine.

Every request is held against the API's schema (fields, types, what is required; version 2, as
huggingface_hub 2.4 writes it) and against the token. Endpoints go through the states that the
test names, one a look.
"""

import copy
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema_rs

Json = dict[str, Any]

TOKEN = "hf_" + "t" * 34
USER = "ada"

_NAME = {"type": "string", "pattern": "^[a-z0-9-]{1,32}$"}
_STRING = {"type": "string", "minLength": 1}
_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
_WHOLE = {"type": "integer", "minimum": 0}


def _object(required: list[str], **properties: Any) -> Json:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


_CREDENTIALS = _object(["username"], username=_STRING, password=_STRING)
_CUSTOM = _object(
    ["url"],
    url=_STRING,
    port={"type": "integer", "minimum": 1, "maximum": 65535},
    healthRoute={"type": "string", "pattern": "^/"},
    credentials=_CREDENTIALS,
)
_SCALING: Json = {
    "maxReplica": _WHOLE,
    "minReplica": _WHOLE,
    "scaleToZeroTimeout": {"anyOf": [_WHOLE, {"type": "null"}]},
}
_COMPUTE: Json = {
    "accelerator": {"enum": ["cpu", "gpu", "neuron"]},
    "instanceSize": {"type": "string", "pattern": "^x[0-9]+$"},
    "instanceType": _STRING,
}
_MODEL: Json = {
    "framework": {"enum": ["custom", "pytorch", "llamacpp"]},
    "repository": {"type": "string", "pattern": "^[^/]+(/[^/]+)?$"},
    "revision": {"type": ["string", "null"]},
    "task": _STRING,
    "image": _object(["custom"], custom=_CUSTOM),
    "env": _MAP,
    "secrets": _MAP,
}
CREATE = _object(
    ["compute", "model", "name", "provider", "type"],
    name=_NAME,
    type={"enum": ["public", "authenticated", "private"]},
    provider=_object(
        ["region", "vendor"], region=_STRING, vendor={"enum": ["aws", "azure", "gcp"]}
    ),
    compute=_object(
        [*_COMPUTE, "scaling"],
        **_COMPUTE,
        scaling=_object(["maxReplica", "minReplica"], **_SCALING),
    ),
    model=_object(["framework", "repository", "image"], **_MODEL),
)
UPDATE = _object(
    [],
    compute=_object([], **_COMPUTE, scaling=_object([], **_SCALING)),
    model=_object([], **_MODEL),
)


class Api:
    """What the server knows: endpoints by name, and each request as (method, path, body)."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Json] = {}
        self.requests: list[tuple[str, str, Json | None]] = []
        self.states: list[str] = ["pending", "initializing", "running"]
        self.replica_url: str | None = None
        self.message = ""
        self.woken = 0

    def answer(self, method: str, path: str, body: Json | None) -> tuple[int, Json]:
        """The status and the body for one request of somebody who showed the token."""
        self.requests.append((method, path, body))
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": USER}
        if path == "/replica/ready":
            return self._ready()
        found = re.fullmatch(r"/v2/endpoint/([\w-]+)(?:/([\w-]+))?", path)
        if found is None:
            return 404, {"error": f"there is no {path}"}
        if method == "POST":
            return self._create(body)
        if found[2] not in self.endpoints:
            return 404, {"error": f"Endpoint {found[2]} not found"}
        if method == "DELETE":
            del self.endpoints[found[2]]
            return 202, {}
        if method == "PUT" and (wrong := _wrong(UPDATE, body)):
            return wrong
        endpoint = self.endpoints[found[2]]
        _merge(endpoint, body or {})
        if method == "GET":
            self._next(endpoint)
        return 200, _shown(endpoint)

    def _create(self, body: Json | None) -> tuple[int, Json]:
        if wrong := _wrong(CREATE, body):
            return wrong
        assert body is not None
        if body["name"] in self.endpoints:
            return 409, {"error": f"Endpoint {body['name']} already exists"}
        scaling = body["compute"]["scaling"]
        if scaling["minReplica"] > scaling["maxReplica"]:
            return 400, {"error": "minReplica is above maxReplica"}
        endpoint = copy.deepcopy(body)
        endpoint["healthRoute"] = body["model"]["image"]["custom"].get("healthRoute", "/health")
        endpoint["model"].setdefault("task", "custom")
        moment = "2026-11-01T00:00:00.000Z"
        endpoint["status"] = {"createdAt": moment, "updatedAt": moment}
        self.endpoints[body["name"]] = endpoint
        self._next(endpoint)
        return 202, _shown(endpoint)

    def _next(self, endpoint: Json) -> None:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        endpoint["status"] |= {"state": state, "message": self.message}
        if state in ("running", "scaledToZero") and self.replica_url:
            endpoint["status"]["url"] = self.replica_url

    def _ready(self) -> tuple[int, Json]:
        """The proxy before a replica: a request to one that sleeps wakes it."""
        self.woken += 1
        if self.woken == 1:
            return 503, {"error": "Service Unavailable"}
        return 200, {"status": "ready"}


def _wrong(schema: Json, body: Json | None) -> tuple[int, Json] | None:
    """What is wrong with a request's body, as the API would refuse it."""
    for error in jsonschema_rs.iter_errors(schema, body):
        return 400, {"error": f"{'.'.join(map(str, error.instance_path))}: {error.message}"}
    return None


def _merge(into: Json, changes: Json) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and name not in ("env", "secrets", "image"):
            _merge(into.setdefault(name, {}), value)
        else:
            into[name] = value


def _shown(endpoint: Json) -> Json:
    """An endpoint as the API shows it: without the values of secrets, without passwords."""
    shown = copy.deepcopy(endpoint)
    shown["model"]["secrets"] = dict.fromkeys(shown["model"].get("secrets", {}), "")
    shown["model"]["image"]["custom"].pop("credentials", None)
    return shown


@contextmanager
def serving() -> Iterator[tuple[Api, str]]:
    """A server with no endpoints, and its address."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                status, answer = api.answer(self.command, self.path, body)
            else:
                status, answer = 401, {"error": "Invalid credentials in Authorization header"}
            written = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

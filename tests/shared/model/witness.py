"""What must hold of every step of the protocol of jobs, whatever an oracle says."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from shared.keys import Lane
from shared.messages import (
    AudioChunk,
    Interrupted,
    LlmJob,
    Message,
    ResponseCreated,
    SttJob,
    TextDelta,
    TextDone,
    TtsJob,
    decode,
)
from shared.scripts.jobs import Emission, Ownership
from tests.shared.model.state import ASIDES, ITEMS, NEVER_STALE, STAGES, Fields, View

_ENDS = {"finish", "finish_turn", "bury"}


class Witness:
    """Watches every step, and all that was ever shown or handed on."""

    def __init__(self, lane: Lane) -> None:
        self._shard = lane.shard
        self._seen: dict[tuple[str, str], Message] = {}
        self._forgotten: set[str] = set()
        self._cancelled: set[str] = set()
        self._awaited: dict[str, set[str]] = {}

    def forget(self, response_id: str) -> None:
        """The broker lost a response's text."""
        self._forgotten.add(response_id)

    def check(
        self, name: str, arguments: Sequence[Any], result: Any, before: View, after: View
    ) -> None:
        ended: set[tuple[str, str]] = set()
        if name in _ENDS | {"emit"}:
            owner: Ownership = arguments[0]
            if not _owns(owner, before):
                assert after == before, "a job that is another's or done was worked on"
            if name in _ENDS and result not in ("lost", "differs"):
                ended.add((self._shard.jobs(owner.stage), owner.entry))
        there, left = self._jobs(before), self._jobs(after)
        assert there - left == there & ended, "a job vanished, or stayed though it was ended"
        if name in {"emit", "finish"}:
            self._check_stale(arguments[0], arguments[1], before, after)
        self._check_items(after)
        self._check_created(before, after)
        self._check_cancelled(before, after)
        self._check_waited(before, after)
        if name != "retry":  # that hands on again what was handed on before
            self._remember(before, after)
        self._check_texts(after)

    def _jobs(self, view: View) -> set[tuple[str, str]]:
        streams = [self._shard.jobs(stage) for stage in STAGES]
        return {(stream, entry) for stream in streams for entry in _stream(view, stream)}

    def _check_stale(self, owner: Ownership, emission: Emission, before: View, after: View) -> None:
        session = cast(Fields, before.get(emission.session.state, {}))
        epoch, active = session.get(b"epoch"), session.get(b"response")
        if owner.epoch == NEVER_STALE:
            goes_on = emission.session.response(emission.response_id) in before
        else:
            goes_on = (epoch, active) == (owner.epoch.encode(), emission.response_id.encode())
        if not goes_on:
            assert not list(_added(before, after)), "what is stale was emitted"

    def _check_items(self, after: View) -> None:
        """Each item has one place, and no conversation has too many."""
        kept = {key.replace(":items:", ":order:") for key in after if ":items:" in key}
        for key in kept | {key for key in after if ":order:" in key}:
            ids = cast(list[bytes], after[key])
            assert sorted(ids) == sorted(cast(Fields, after[key.replace(":order:", ":items:")]))
            assert len(ids) <= ITEMS

    def _check_created(self, before: View, after: View) -> None:
        for stream, _, message in _added(before, after):
            if isinstance(message, ResponseCreated):
                session = cast(Fields, before[stream.replace(":out:", ":session:")])
                if message.aside:
                    assert len(session[b"asides"].split()) < ASIDES, "too many responses aside"
                else:
                    assert session[b"response"] == b"", "two responses at a time"

    def _check_cancelled(self, before: View, after: View) -> None:
        """Nothing of a response is shown after it was cancelled, be it aside or not."""
        for stream, _, message in _added(before, after):
            if ":out:" not in stream:
                continue
            if isinstance(message, ResponseCreated):  # begun again in a session that is another
                self._cancelled.discard(message.response_id)
            elif isinstance(message, Interrupted):
                session = cast(Fields, before[stream.replace(":out:", ":session:")])
                self._cancelled.add(message.response_id or session[b"response"].decode())
            elif isinstance(message, TextDelta | TextDone | AudioChunk):
                assert message.response_id not in self._cancelled

    def _check_waited(self, before: View, after: View) -> None:
        """No response is given to the language model before what was said is transcribed."""
        stt = _stream(after, self._shard.jobs("stt"))
        jobs = {entry: decode(fields[b"m"], SttJob) for entry, fields in stt.items()}
        added = [message for _, _, message in _added(before, after)]
        for stream, _, message in _added(before, after):
            if isinstance(message, ResponseCreated):
                name = stream.rpartition(":")[2]
                said = {entry for entry, job in jobs.items() if job.session_id == name}
                self._awaited[message.response_id] = said
        for message in added:
            if isinstance(message, LlmJob):
                assert self._awaited[message.response_id].isdisjoint(stt)

    def check_waiting(self, view: View) -> None:
        """None of the responses that are active waits."""
        for key, value in view.items():
            if ":session:" in key:
                session = cast(Fields, value)
                active = [session[b"response"], *session[b"asides"].split()]
                for response_id in active:
                    response = view.get(self._shard.session("").response(response_id.decode()), {})
                    assert b"job" not in cast(Fields, response)

    def _remember(self, before: View, after: View) -> None:
        for stream, entry, message in _added(before, after):
            self._seen[stream, entry] = message

    def _check_texts(self, after: View) -> None:
        """Each text is what was shown of it, and each of its segments was handed on once."""
        texts: dict[str, str] = {}
        segments: dict[str, list[int]] = {}
        for message in self._seen.values():
            if getattr(message, "response_id", None) in self._forgotten:
                continue
            if isinstance(message, TextDelta):
                so_far = texts.get(message.response_id, "")
                assert message.at == len(so_far)
                texts[message.response_id] = so_far + message.text
            elif isinstance(message, TtsJob):
                segments.setdefault(message.response_id, []).append(message.segment)
        for response_id, spoken in segments.items():
            assert spoken == list(range(len(spoken)))
            key = self._shard.session("").response(response_id)
            if key in after:
                saved = cast(Fields, after[key])
                assert saved[b"text"].decode() == texts.get(response_id, "")
                assert saved[b"segments"] == str(len(spoken)).encode()


def _owns(owner: Ownership, view: View) -> bool:
    pending = cast(dict[str, tuple[str, int]], view[f"pending {owner.stage}"])
    return pending.get(owner.entry) == (owner.consumer, owner.attempt)


def _stream(view: View, key: str) -> dict[str, Fields]:
    return dict(cast(list[tuple[str, Fields]], view.get(key, [])))


def _added(before: View, after: View) -> Iterator[tuple[str, str, Message]]:
    """What is new in output and in stages' streams."""
    for key, value in after.items():
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            known = _stream(before, key)
            for entry, fields in cast(list[tuple[str, Fields]], value):
                if entry not in known and b"stage" not in fields:  # of the dead there is no more
                    yield key, entry, decode(fields[b"m"], Message)

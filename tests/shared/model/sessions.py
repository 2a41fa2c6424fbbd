"""The scripts that a session's gateway runs."""

from collections.abc import Sequence
from typing import Literal

from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    Closed,
    Configured,
    Detached,
    Interrupted,
    Item,
    ItemAdded,
    ItemDeleted,
    OutMessage,
    SessionConfig,
    SttJob,
    Truncated,
)
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment, digest
from tests.shared.model.state import ITEMS, Session, State, Talk, since


class SessionScripts(State):
    def attach(
        self, hold: Attachment, *, gateway: str, token: str, config: SessionConfig | None
    ) -> str:
        talk = self.talk(hold.keys)
        session = talk.session
        if session and session.attachment == hold.attachment_id:
            return "ok"
        if config:
            if session:
                return "exists"
            talk.session = Session(digest(token), config, gateway, hold.attachment_id)
            return "ok"
        if session is None:
            return "gone"
        if session.token != digest(token):
            return "denied"
        self.show(hold.keys, [Detached(attachment=hold.attachment_id)])
        session.gateway, session.attachment = gateway, hold.attachment_id
        return "ok"

    def _admit(self, hold: Attachment, request: int) -> Session | str:
        """The session, or what its script must answer at once."""
        session = self.talk(hold.keys).session
        if session is None:
            return "gone"
        if session.attachment != hold.attachment_id:
            return "detached"
        return "ok" if 0 < request <= session.requests else session

    def configure(self, hold: Attachment, config: SessionConfig, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        session.config = config
        session.requests = max(session.requests, request)
        self.show(hold.keys, [Configured(protocol=config.protocol)])
        return "ok"

    def add_item(
        self,
        hold: Attachment,
        item: AnyItem,
        *,
        after: str | None = None,
        job: SttJob | None = None,
        request: int = 0,
    ) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        talk = self.talk(hold.keys)
        if item.item_id in talk.items:
            return "exists"
        if after and after not in talk.items:
            return "unknown"
        if after == "":
            self.bound(talk, ITEMS - 1)
        at = len(talk.order) if after is None else talk.order.index(after) + 1 if after else 0
        talk.order.insert(at, item.item_id)
        talk.items[item.item_id] = item
        self.bound(talk, ITEMS)
        session.requests = max(session.requests, request)
        self.show(hold.keys, [ItemAdded(item=item, after=after)])
        if job:
            self.transcribe(hold.keys, job, str(session.epoch))
        return "ok"

    def replace_item(
        self, hold: Attachment, item: AnyItem, shown: Truncated, *, request: int = 0
    ) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        if not self.replace(self.talk(hold.keys), item):
            return "missing"
        session.requests = max(session.requests, request)
        self.show(hold.keys, [shown])
        return "ok"

    def delete_item(self, hold: Attachment, item_id: str, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        talk = self.talk(hold.keys)
        if item_id not in talk.items:
            return "missing"
        del talk.items[item_id]
        talk.order.remove(item_id)
        session.requests = max(session.requests, request)
        self.show(hold.keys, [ItemDeleted(item_id=item_id)])
        return "ok"

    def tell(self, hold: Attachment, message: OutMessage, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        session.requests = max(session.requests, request)
        self.show(hold.keys, [message])
        return "ok"

    def create_response(self, hold: Attachment, response: NewResponse, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        begin = self.begin_aside if response.created.aside else self.begin
        status = begin(hold.keys, response)
        if status == "ok":
            session.requests = max(session.requests, request)
        return status

    def interrupt(
        self,
        hold: Attachment,
        reason: Literal["turn_detected", "client_cancelled"] = "client_cancelled",
        *,
        response_id: str = "",
        then: Sequence[OutMessage] = (),
        request: int = 0,
    ) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        if not self.end_aside(hold.keys, response_id):
            if session.response == "" or response_id not in ("", session.response):
                return "idle"
            session.epoch, session.response = session.epoch + 1, ""
        session.requests = max(session.requests, request)
        self.show(hold.keys, [Interrupted(reason=reason, response_id=response_id), *then])
        return "ok"

    def end_response(
        self, hold: Attachment, response_id: str, item: Item, entry: str, *, aside: bool = False
    ) -> str:
        session = self._admit(hold, 0)
        if isinstance(session, str):
            return session
        if aside:
            self.end_aside(hold.keys, response_id)
            return "ok"
        talk = self.talk(hold.keys)
        if session.response == response_id:
            session.response = ""
        self.responses.pop(response_id, None)
        if session.ended != response_id:
            self.replace(talk, item)
            if session.ended_at is not None:
                session.trimmed = session.ended_at
                if talk.out is not None:
                    talk.out = since(talk.out, session.ended_at)
            session.ended = response_id
            if not session.asides:
                session.ended_at = entry
        return "ok"

    def close(self, hold: Attachment) -> str:
        session = self._admit(hold, 0)
        if isinstance(session, str):
            return session
        for response_id in [session.response, *session.asides]:
            self.responses.pop(response_id, None)
        del self.talks[hold.keys.session_id]
        return "ok"

    def detach(self, hold: Attachment) -> str:
        session = self._admit(hold, 0)
        if isinstance(session, str):
            return session
        session.gateway = None
        return "ok"

    def end_session(self, keys: SessionKeys, reason: str) -> str:
        talk = self.talk(keys)
        if talk.session is None:
            return "gone"
        self.show(keys, [Closed(reason=reason)])
        for response_id in [talk.session.response, *talk.session.asides]:
            self.responses.pop(response_id, None)
        self.talks[keys.session_id] = Talk(out=talk.out)
        return "ok"

    def touch(self, session: SessionKeys) -> str:
        state = self.talk(session).session
        if state is None:
            return "gone"
        for job in list(state.transcribing):
            if job not in self.queues["stt"].stream:
                self.transcribed(session, job.name)
        return "ok"

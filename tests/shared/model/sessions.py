"""The scripts that a session's gateway runs."""

from shared.messages import (
    Configured,
    Detached,
    Interrupted,
    Item,
    OutMessage,
    SessionConfig,
)
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment, digest
from tests.shared.model.state import Session, State, since


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
        self.show(hold.keys, [Configured()])
        return "ok"

    def put_item(self, hold: Attachment, item: Item, shown: OutMessage, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        self.put(self.talk(hold.keys), item)
        session.requests = max(session.requests, request)
        self.show(hold.keys, [shown])
        return "ok"

    def create_response(self, hold: Attachment, response: NewResponse, *, request: int = 0) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        status = self.begin(hold.keys, response)
        if status == "ok":
            session.requests = max(session.requests, request)
        return status

    def interrupt(
        self,
        hold: Attachment,
        reason: str = "client_cancelled",
        *,
        response_id: str = "",
        request: int = 0,
    ) -> str:
        session = self._admit(hold, request)
        if isinstance(session, str):
            return session
        if session.response == "" or response_id not in ("", session.response):
            return "idle"
        session.epoch, session.response = session.epoch + 1, ""
        session.requests = max(session.requests, request)
        self.show(hold.keys, [Interrupted(reason="client_cancelled")])
        return "ok"

    def end_response(self, hold: Attachment, response_id: str, item: Item, entry: str) -> str:
        session = self._admit(hold, 0)
        if isinstance(session, str):
            return session
        talk = self.talk(hold.keys)
        if session.response == response_id:
            session.response = ""
        self.responses.pop(response_id, None)
        if session.ended != response_id:
            if item.item_id in talk.items:
                talk.items[item.item_id] = item
            if session.ended_at is not None:
                session.trimmed = session.ended_at
                if talk.out is not None:
                    talk.out = since(talk.out, session.ended_at)
            session.ended, session.ended_at = response_id, entry
        return "ok"

    def close(self, hold: Attachment) -> str:
        session = self._admit(hold, 0)
        if isinstance(session, str):
            return session
        self.responses.pop(session.response, None)
        del self.talks[hold.keys.session_id]
        return "ok"

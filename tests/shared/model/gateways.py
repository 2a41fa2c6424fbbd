"""What gateways do with sessions, their conversations and their responses, right or not."""

from typing import Any

from hypothesis import strategies as st

from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    FunctionOutput,
    Item,
    ItemRetrieved,
    LlmJob,
    OutputCleared,
    ResponseCreated,
    SessionConfig,
    SttJob,
    Truncated,
    encode,
)
from shared.scripts import SESSION_TTL_S, sessions
from shared.scripts.jobs import NewResponse
from shared.scripts.sessions import Attachment
from tests.shared.model.machine import LANE, ScriptMachine
from tests.shared.model.state import ITEMS
from tests.shared.model.witness import Witness

SHARD = LANE.shard
SESSIONS = [SHARD.session("sess_1"), SHARD.session("sess_2")]

a_session = st.sampled_from(SESSIONS)
seldom = st.sampled_from([False, False, False, True])
# Clients name their items as they like.
a_name = st.sampled_from(["item", "a b", "{0}:é", "%s\n", "@", "0-1"])


class GatewayMachine(ScriptMachine):
    """Gateways and two sessions, each with a response; subclasses say who else does what."""

    def open_both(self, crowded: bool) -> None:
        """Both sessions begin, the first with responses aside, the second with a conversation that
        is full if `crowded`."""
        self.made = 0
        self.requests = 0
        self.serving: dict[str, Attachment] = {}
        self.holds: list[Attachment] = []
        self.responses: list[NewResponse] = []
        self.witnessed = Witness(LANE)
        for session in SESSIONS:
            self.attach(session, SessionConfig())
        if crowded:
            self.fill(SESSIONS[1])
        spoken = [self.response(session) for session in SESSIONS]
        for response in [*spoken, *(self.response(SESSIONS[0], aside=True) for _ in range(3))]:
            hold = self.serving[response.job.session_id]
            self.call(sessions, "create_response", hold, response, request=self.request())

    def fill(self, session: SessionKeys) -> None:
        """Puts so much into a conversation that no more fits."""
        items = [Item.of(f"old_{n}", "user", str(n)) for n in range(ITEMS)]
        talk = self.oracle.talk(session)
        for item in items:
            self.oracle.put(talk, item)
        pairs = [part for item in items for part in (item.item_id, encode(item))]
        commands: list[tuple[Any, ...]] = [
            ("HSET", session.items, *pairs),
            ("RPUSH", session.order, *talk.order),
            ("EXPIRE", session.items, SESSION_TTL_S),
            ("EXPIRE", session.order, SESSION_TTL_S),
        ]
        for command in commands:
            self.runner.run(self.pipe.command(*command))
        self.after = self.look()

    def witness(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        self.witnessed.check(name, arguments, result, self.before, self.after)

    def new(self, kind: str) -> str:
        self.made += 1
        return f"{kind}_{self.made}"

    def request(self) -> int:
        self.requests += 1
        return self.requests

    def response(self, session: SessionKeys, aside: bool = False) -> NewResponse:
        response_id, item_id = self.new("resp"), self.new("item")
        response = NewResponse(
            response_id,
            ResponseCreated(
                response_id=response_id, item_id=item_id, modality="audio", aside=aside
            ),
            LlmJob(
                session_id=session.session_id,
                response_id=response_id,
                item_id=item_id,
                aside=aside,
            ),
        )
        self.responses.append(response)
        return response

    def gateway(self, data: st.DataObject) -> None:
        """One of the things that gateways do, the usual ones more often."""
        usual = [self.create_response, self.end_response, self.add, self.change, self.change]
        others = [self.open, self.resume, self.interrupt, self.interrupt, self.vanish, self.touch]
        data.draw(st.sampled_from(usual) | st.sampled_from(others))(data)

    # --- sessions ---

    def attach(
        self, session: SessionKeys, config: SessionConfig | None, token: str = "secret"
    ) -> None:
        hold = Attachment(session, self.new("att"))
        self.holds.append(hold)
        if self.call(sessions, "attach", hold, gateway="gw", token=token, config=config) == "ok":
            self.serving[session.session_id] = hold

    def open(self, data: st.DataObject) -> None:
        self.attach(data.draw(a_session), SessionConfig(instructions=self.new("instructions")))

    def resume(self, data: st.DataObject) -> None:
        self.attach(data.draw(a_session), None, data.draw(st.sampled_from(["secret", "guess"])))

    def hold(self, data: st.DataObject) -> Attachment:
        """A gateway's hold on a session: the one that counts or, now and then, any other."""
        return data.draw(st.sampled_from(list(self.serving.values())) | st.sampled_from(self.holds))

    def touch(self, data: st.DataObject) -> None:
        self.call(sessions, "touch", data.draw(a_session))

    def vanish(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        match data.draw(st.sampled_from(["detach", "close", "end", "expire"])):
            case "detach":
                self.call(sessions, "detach", hold)
            case "close":
                self.call(sessions, "close", hold)
            case "end":
                self.call(sessions, "end_session", hold.keys, self.new("reason"))
            case "expire":
                self.command("DEL", hold.keys.state)
                self.oracle.talk(hold.keys).session = None

    # --- conversations ---

    def change(self, data: st.DataObject) -> None:
        """Something else that a client asks for."""
        hold, request = self.hold(data), self.request()
        match data.draw(st.sampled_from(["configure", "replace", "delete", "delete", "tell"])):
            case "configure":
                config = SessionConfig(voice=self.new("voice"))
                self.call(sessions, "configure", hold, config, request=request)
            case "replace":
                cut = Item.of(self.known(data, hold), "assistant", self.new("cut"))
                shown = Truncated(item_id=cut.item_id, audio_end_ms=self.made)
                self.call(sessions, "replace_item", hold, cut, shown, request=request)
            case "delete":
                self.call(sessions, "delete_item", hold, self.known(data, hold), request=request)
            case "tell":
                told = ItemRetrieved(item=Item.of("item", "user", self.new("text")))
                self.call(sessions, "tell", hold, told, request=request)

    def known(self, data: st.DataObject, hold: Attachment) -> str:
        """An item of the conversation or, now and then, any name."""
        order = self.oracle.talk(hold.keys).order
        return data.draw(a_name if not order or data.draw(seldom) else st.sampled_from(order))

    def add(self, data: st.DataObject) -> None:
        hold, item_id = self.hold(data), data.draw(a_name | st.just(self.new("item")))
        after = data.draw(st.sampled_from([None, "", self.known(data, hold)]))
        spoken, job = data.draw(seldom), None
        item: AnyItem = FunctionOutput(item_id=item_id, call_id="call", output=self.new("output"))
        if spoken:
            item = Item.of(item_id, "user", modality="audio")
            job = SttJob(
                session_id=hold.keys.session_id,
                item_id=item_id,
                turn=self.made,
                pcm=b"",
                item=item,
                respond="never",
            )
        request = self.request()
        self.call(sessions, "add_item", hold, item, after=after, job=job, request=request)

    # --- responses ---

    def responses_of(self, hold: Attachment) -> list[NewResponse]:
        session_id = hold.keys.session_id
        return [each for each in self.responses if each.job.session_id == session_id]

    def create_response(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        response = self.response(hold.keys, aside=data.draw(st.booleans()))
        self.call(sessions, "create_response", hold, response, request=self.request())

    def interrupt(self, data: st.DataObject) -> None:
        hold, request = self.hold(data), self.request()
        known = [response.response_id for response in self.responses_of(hold)]
        meant = self.pick(data, ["", *known])
        then = [OutputCleared(response_id=meant)] if data.draw(seldom) else []
        self.call(sessions, "interrupt", hold, response_id=meant, then=then, request=request)

    def end_response(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        response = self.pick(data, self.responses_of(hold)).created
        item = Item.of(response.item_id, "assistant", "what was heard")
        out = self.before.get(hold.keys.out, [])
        assert isinstance(out, list)
        entry = out[-1][0] if out else "0-0"
        given = (hold, response.response_id, item, entry)
        self.call(sessions, "end_response", *given, aside=response.aside)

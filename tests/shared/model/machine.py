"""A state machine that runs each script on a real broker and on the oracle, and compares them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from shared.broker import Pipe, connect
from shared.keys import Shard
from tests.shared.model import Oracle
from tests.shared.model.broker import look
from tests.shared.model.state import STAGES, View

LANE = Shard(0).lane(0)

_LATE = 15  # calls

T = TypeVar("T")


class ScriptMachine(RuleBasedStateMachine):
    """Drives the wrappers of the scripts; `url` is a broker of its own."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.oracle = Oracle(LANE)
        self.calls: list[tuple[ModuleType, str, tuple[Any, ...], dict[str, Any]]] = []
        self.runner.run(self._begin())
        self.before = self.after = self.look()

    async def _begin(self) -> None:
        self.pipe = Pipe(connect(self.url))
        await self.pipe.command("FLUSHALL")
        for stage in STAGES:
            stream = LANE.shard.jobs(stage)
            await self.pipe.command("XGROUP", "CREATE", stream, stage, "0", "MKSTREAM")

    def teardown(self) -> None:
        self.runner.run(self.pipe.__aexit__(None, None, None))
        self.runner.close()

    def command(self, *arguments: str | bytes | int) -> Any:
        """Runs a command past the scripts; the oracle must be told of it."""
        result = self.runner.run(self.pipe.command(*arguments))
        self.after = self.look()
        return result

    def call(self, module: ModuleType, name: str, *arguments: Any, **options: Any) -> Any:
        """Runs a script on the broker and on the oracle, which must agree; returns its result."""
        self.calls.append((module, name, arguments, options))
        self.before = self.after
        result = self.runner.run(getattr(module, name)(self.pipe, *arguments, **options))
        assert result == getattr(self.oracle, name)(*arguments, **options)
        self.after = self.look()
        self.witness(name, arguments, result)
        return result

    def look(self) -> View:
        """Everything the broker holds; its names for new entries become the oracle's."""
        view = self.runner.run(look(self.pipe, LANE))
        self.oracle.name_entries(view)
        return view

    def witness(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Checks what must hold of a script that took the broker from `before` to `after`."""

    def again(self, data: st.DataObject) -> None:
        """A call whose reply was lost is made again, at once or late; nobody gets this reply."""
        module, name, arguments, options = self.pick(data, self.calls[-_LATE:])
        self.call(module, name, *arguments, **options)

    @invariant()
    def the_broker_holds_what_the_oracle_does(self) -> None:
        self.before = self.after
        assert self.before == self.oracle.view()

    @staticmethod
    def act(data: st.DataObject, shares: Mapping[Callable[[st.DataObject], None], int]) -> None:
        """One of some steps, each as often as its share: left to itself, hypothesis leaves some
        of a machine's rules out of most examples, and few come far."""
        steps = [step for step, share in shares.items() for _ in range(share)]
        data.draw(st.sampled_from(steps))(data)

    @staticmethod
    def pick(data: st.DataObject, among: Sequence[T]) -> T:
        """Any of some, the last of them more often than the others."""
        return data.draw(st.just(among[-1]) | st.sampled_from(among))

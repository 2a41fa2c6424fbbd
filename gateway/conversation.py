"""What a client does to its conversation's items."""

from gateway.happenings import still_ours
from gateway.playout import words_until
from shared.broker import Pipe
from shared.messages import (
    AnyItem,
    Item,
    ItemRetrieved,
    Message,
    Part,
    SttJob,
    Truncated,
    decode,
)
from shared.scripts import sessions as scripts
from shared.scripts.sessions import Attachment


class ItemError(Exception):
    """The conversation has no such item, or has one already: `status` says which."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Conversation:
    """A session's items in the broker. `request` is the number of the client's request: one that
    was carried out before does nothing.

    What is done here is shown to the client by the session's output, in its place there.
    """

    def __init__(self, pipe: Pipe, hold: Attachment) -> None:
        self._pipe = pipe
        self._hold = hold

    async def add(
        self,
        item: AnyItem,
        *,
        after: str | None = None,
        job: SttJob | None = None,
        request: int = 0,
    ) -> None:
        """Adds an item after the item `after`, "" for the beginning, None for the end; starts no
        answer. `job` transcribes audio in it.

        Raises:
            ItemError: "exists", or "unknown" if there is no item `after` which to come.
        """
        status = await scripts.add_item(
            self._pipe, self._hold, item, after=after, job=job, request=request
        )
        _check(still_ours(status))

    async def delete(self, item_id: str, *, request: int = 0) -> None:
        """Takes an item out; raises ItemError if there is none."""
        _check(
            still_ours(await scripts.delete_item(self._pipe, self._hold, item_id, request=request))
        )

    async def retrieve(self, item_id: str, *, request: int = 0) -> None:
        """Has an item shown as it is now; raises ItemError if there is none."""
        item = await self.get(item_id)
        if item is None:
            raise ItemError("missing")
        shown = ItemRetrieved(item=item)
        still_ours(await scripts.tell(self._pipe, self._hold, shown, request=request))

    async def get(self, item_id: str) -> AnyItem | None:
        """An item as it is now."""
        saved = await self._pipe.command("HGET", self._hold.keys.items, item_id)
        item: Message | None = decode(saved, Message) if saved is not None else None
        return item  # type: ignore[return-value]

    async def cut(self, item: Item, audio_end_ms: int, *, request: int = 0) -> None:
        """Cuts a spoken answer to what was played of it, when nothing is known any more of when
        each word was: in proportion, at the end of a word. One that was cut before stays so."""
        heard = text = item.text or ""
        if item.status == "completed":
            heard = words_until(text, len(text) * audio_end_ms // max(item.audio_ms, 1))
        cut = Item(
            item_id=item.item_id,
            role="assistant",
            status="incomplete",
            parts=[Part(modality="audio", text=heard)],
            audio_ms=item.audio_ms,
        )
        await self.replace(cut, audio_end_ms, request=request)

    async def replace(self, cut: Item, audio_end_ms: int, *, request: int = 0) -> None:
        """Replaces a spoken answer by what was played of it; raises ItemError if it is gone."""
        shown = Truncated(item_id=cut.item_id, audio_end_ms=audio_end_ms)
        status = await scripts.replace_item(self._pipe, self._hold, cut, shown, request=request)
        _check(still_ours(status))


def _check(status: str) -> None:
    if status != "ok":
        raise ItemError(status)

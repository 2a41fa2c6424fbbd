"""Which slot reads a conversation."""

import asyncio
import threading

import pytest

from shared.settings import Settings
from tests.engines.asking import answer
from workers.llm.engines import Message, Prompt, create
from workers.llm.engines.llama_slots import SlotChoice

TOLD = Message("system", "You keep a lighthouse.")


def said(text: str) -> Message:
    return Message("user", text)


def slot_for(slots: SlotChoice, *messages: Message) -> int | None:
    with slots.taken(messages) as slot:
        return slot


def test_a_conversation_goes_on_in_its_slot() -> None:
    slots = SlotChoice(3)
    first = slot_for(slots, TOLD, said("What is it?"))
    other = slot_for(slots, Message("system", "You keep bees."))
    assert other != first
    answered = (TOLD, said("What is it?"), Message("assistant", "A ship."))
    assert slot_for(slots, *answered, said("Which?")) == first


def test_conversations_that_begin_alike_spread() -> None:
    slots = SlotChoice(3, [TOLD])
    taken = {slot_for(slots, TOLD, said(f"What is ship {n}?")) for n in range(3)}
    assert taken == {0, 1, 2}


def test_instructions_that_go_on_were_read() -> None:
    slots = SlotChoice(2)
    read = slot_for(slots, TOLD)
    longer = Message("system", TOLD.content + "\nAnswer in English.")
    assert slot_for(slots, longer, said("What is it?")) == read


def test_a_slot_is_given_to_one_at_a_time() -> None:
    slots = SlotChoice(2)
    with slots.taken([TOLD]) as one, slots.taken([TOLD]) as other:
        assert one != other


@pytest.mark.parametrize("cancelled", [False, True], ids=["only reads", "is cancelled"])
async def test_a_slot_that_is_soon_free_is_waited_for(cancelled: bool) -> None:
    slots = SlotChoice(2)
    with slots.taken([TOLD], reading=not cancelled, cancelled=lambda: cancelled) as busy:
        other = slot_for(slots, Message("system", "You keep bees."))
        waiting = asyncio.create_task(asyncio.to_thread(slot_for, slots, TOLD, said("What is it?")))
        await asyncio.sleep(0)
    assert await waiting == busy != other


def test_a_slot_that_writes_an_answer_is_not_waited_for() -> None:
    slots = SlotChoice(2)
    with slots.taken([TOLD]) as busy:
        assert slot_for(slots, TOLD, said("What is it?")) not in (busy, None)


def test_a_slot_that_is_soon_free_and_has_read_no_more_is_not_waited_for() -> None:
    slots = SlotChoice(2, [TOLD])
    with slots.taken([TOLD, said("What is it?")], reading=True) as busy:
        assert slot_for(slots, TOLD, said("Who is it?")) not in (busy, None)


async def test_who_waits_for_a_slot_can_be_cancelled() -> None:
    slots, cancelled = SlotChoice(2), threading.Event()

    def wait() -> int | None:
        with slots.taken([TOLD], cancelled=cancelled.is_set) as slot:
            return slot

    with slots.taken([TOLD], reading=True):
        waiting = asyncio.create_task(asyncio.to_thread(wait))
        await asyncio.sleep(0)
        cancelled.set()
        slots.look()
        assert await waiting is None


async def test_an_answer_goes_on_from_what_is_being_read() -> None:
    engine = create(Settings(llm_engine="llama", llm_slots=2))
    engine.load()
    try:
        told = [Message("system", "You are the keeper of a lighthouse. " * 20)]
        assert engine.read_ahead is not None
        reading = asyncio.ensure_future(engine.read_ahead(Prompt(told)))
        await asyncio.sleep(0)
        asked = Prompt([*told, said("Who are you?")], max_tokens=4)
        _, completion = await answer(engine, asked)
        await reading
        assert completion.prompt_tokens - completion.cached_tokens < 20
    finally:
        engine.close()

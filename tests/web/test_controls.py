"""The page's controls, and what goes wrong while they are used."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.up import Up
from tests.web.browser import Visit, recording, visiting
from tests.web.conftest import KEY, ephemeral_key, page_of

LONG = "I would like to hear about the ships that pass in the night, " * 4 + "dear"


def answer(text: str) -> str:
    """What the language model says to it."""
    return f"You said: {text}. That is all I know about it."


@pytest.fixture
def visit(talkative: Up, tmp_path: Path) -> Iterator[Visit]:
    """Somebody who has entered their key, and says the question over and over if they are heard."""
    microphone = recording(tmp_path, after_s=2)
    with visiting(
        page_of(talkative), microphone, again=True, key=KEY, reduced_motion="reduce"
    ) as visit:
        yield visit
        assert visit.problems == []


def test_who_has_no_key_is_asked_for_one(talkative: Up, tmp_path: Path) -> None:
    microphone = recording(tmp_path, after_s=1)
    with visiting(page_of(talkative), microphone, reduced_motion="reduce") as visit:
        visit.button("Start talking").click()
        field = visit.page.get_by_label("API key")
        expect(field).to_be_focused()
        expect(field).to_have_accessible_description("This server asks for an API key.")
        visit.page.keyboard.type("sk-wrong")
        visit.page.keyboard.press("Enter")
        expect(field).to_have_accessible_description("Refused: the API key is not valid.")
        field.fill(ephemeral_key(talkative))
        visit.page.keyboard.press("Enter")
        visit.is_in("Connected")
        kept = "Object.keys({...localStorage, ...sessionStorage}).includes('parley.key')"
        assert visit.page.evaluate(kept) is False
        assert all("401" in said or "WebSocket" in said for said in visit.problems)


def test_speaking_cuts_an_answer_off(visit: Visit) -> None:
    visit.write(LONG)
    expect(visit.sounding).to_be_visible()
    visit.hear(1)
    visit.start()
    cut = visit.page.locator(".turn.assistant[data-state=cut]").first
    expect(cut.locator(".mark")).to_have_text("interrupted")
    heard = cut.locator(".words").evaluate("words => words.firstChild.data")
    assert answer(LONG).startswith(heard + cut.locator(".unheard").inner_text())
    [truncation] = [sent for sent in visit.sent if sent["type"] == "conversation.item.truncate"]
    assert 0 < truncation["audio_end_ms"] < 1000 * visit.received_s(truncation["item_id"])
    expect(visit.asked.nth(1)).to_contain_text("capital")
    expect(visit.answers.nth(1)).to_contain_text("You said")


def test_a_killed_gateway_is_survived(talkative: Up, visit: Visit) -> None:
    visit.write(LONG)
    expect(visit.sounding).to_be_visible()
    gateway = talkative.child("gateway")
    assert gateway is not None
    gateway.kill()
    visit.is_in("Reconnecting")
    visit.is_in("Connected")
    expect(visit.answers).to_have_text(answer(LONG))
    expect(visit.page.locator(".turn.assistant[data-state=done]")).to_have_count(1)
    expect(visit.sounding).to_have_count(0)
    visit.write("Are you still there")
    expect(visit.answers).to_have_text([answer(LONG), answer("Are you still there")])
    assert len(visit.of("session.created")) == 1
    assert len(visit.of("parley.session.resumed")) == 1
    # what a browser says by itself
    lost = ("WebSocket connection", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET")
    visit.problems = [said for said in visit.problems if not any(each in said for each in lost)]


def test_push_to_talk(visit: Visit) -> None:
    visit.button("Push to talk").click()
    visit.start()
    expect(visit.button("Hold to talk")).to_be_focused()
    visit.page.keyboard.down("Space")
    expect(visit.page.locator("#hint")).to_have_text("Listening")
    visit.page.wait_for_timeout(6_000)  # as long as it takes to say the question
    visit.page.keyboard.up("Space")
    expect(visit.asked).to_contain_text("capital city")  # wherever in the recording it began
    expect(visit.sounding).to_be_visible()
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".turn.assistant[data-state=cut]")).to_have_count(1)
    assert visit.of("input_audio_buffer.speech_started") == []


def test_who_is_muted_is_not_heard(visit: Visit) -> None:
    visit.start()
    visit.button("Mute").click()
    expect(visit.page.locator("#hint")).to_have_text("Muted")
    visit.page.wait_for_timeout(2_000)  # of silence: a turn that had begun before is over
    visit.write(LONG)
    expect(visit.sounding).to_be_visible()
    started = len(visit.of("input_audio_buffer.speech_started"))
    visit.hear(6)  # the question is a second shorter, and goes round
    assert len(visit.of("input_audio_buffer.speech_started")) == started
    visit.button("Mute").click()
    expect(visit.page.locator(".turn.assistant[data-state=cut]")).to_have_count(1)


def test_settings(visit: Visit) -> None:
    visit.start()
    visit.button("Settings").click()
    page = visit.page
    expect(page.get_by_label("Voice")).to_contain_text("en_US-joe-medium")
    expect(page.get_by_label("Microphone")).to_contain_text("Fake")
    language = page.get_by_label("Language you speak")
    language.select_option("de")
    expect(language).to_have_accessible_description(re.compile("^It must be one of en: "))
    language.select_option("en")
    page.get_by_label("Instructions").fill("Answer in one word.")
    page.keyboard.press("Tab")
    visit.until("session.updated", lambda event: "one word" in event["session"]["instructions"])
    page.keyboard.press("Escape")
    expect(visit.button("Settings")).to_be_focused()
    page.reload()
    visit.button("Settings").click()
    expect(page.get_by_label("Instructions")).to_have_value("Answer in one word.")
    expect(language).to_have_value("en")

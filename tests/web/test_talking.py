"""Press one button and talk: the page in a real browser, before a whole Parley with its models."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.support.up import Up
from tests.support.words import word_error_rate
from tests.web.browser import QUESTION, Visit, recording, visiting
from tests.web.conftest import page_of

SCREENSHOTS = os.environ.get("PARLEY_SCREENSHOTS")
"""A folder for pictures of the page."""

DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def look(visit: Visit, name: str) -> None:
    """Looks at the page on a desktop and a phone, by day and by night."""
    for device, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
        visit.page.set_viewport_size(viewport)
        check_layout(visit)
        for scheme in SCHEMES:
            if SCREENSHOTS:
                visit.page.emulate_media(color_scheme=scheme, reduced_motion="no-preference")
                visit.page.wait_for_timeout(700)  # for what moves to have arrived
                visit.page.screenshot(path=Path(SCREENSHOTS) / f"{name}-{device}-{scheme}.png")
    visit.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    visit.page.set_viewport_size(DESKTOP)


def check_layout(visit: Visit) -> None:
    """Nothing hangs over the edge, and every button can be hit with a thumb."""
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in visit.page.locator(".page button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24
        assert box["x"] >= 0
        width, height = visit.page.evaluate("[innerWidth, innerHeight]")
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height


@pytest.fixture
def visit(parley: Up, tmp_path: Path) -> Iterator[Visit]:
    """Somebody who says the question once, and then is silent."""
    microphone = recording(tmp_path, before_s=1, after_s=1)
    with visiting(page_of(parley), microphone, viewport=DESKTOP, reduced_motion="reduce") as visit:
        yield visit


def test_a_conversation(parley: Up, visit: Visit) -> None:
    look(visit, "idle")
    visit.start()
    expect(visit.page.locator(".turn.user[data-state=speaking]")).to_be_visible()
    expect(visit.sounding).to_be_visible()
    expect(visit.asked).to_have_count(1)
    assert word_error_rate(QUESTION, visit.asked.inner_text()) < 0.3
    expect(visit.answers).to_contain_text("Paris")
    expect(visit.page.locator("#announced")).to_have_text(f"You: {visit.asked.inner_text()}")

    expect(visit.page.locator(".turn.assistant[data-state=done]")).to_have_count(1)
    expect(visit.sounding).to_have_count(0)
    assert visit.heard_s > 0.5
    assert_timed(visit)

    visit.write("Tell me a long story about a lighthouse and the sea, with many details.")
    expect(visit.sounding).to_be_visible()
    visit.hear(1.5)
    visit.write("What is the capital city of Italy?")
    expect(visit.page.locator(".turn.assistant[data-state=cut] .mark")).to_have_text("interrupted")
    expect(visit.answers).to_have_count(3)
    expect(visit.page.locator(".timing")).to_have_count(3)
    look(visit, "talking")

    assert visit.problems == []
    assert {urlsplit(url).netloc for url in visit.requested} == {f"127.0.0.1:{parley.port}"}


def assert_timed(visit: Visit) -> None:
    """The turn's waterfall has Parley's stages, which add up to what was measured here."""
    visit.page.locator(".timing summary").click()
    rows = visit.page.locator(".stages tr")
    expect(rows.filter(has_text="Language model, first token")).to_be_visible()
    total = visit.page.locator(".timing .total").inner_text()
    shown = re.fullmatch(r"(\d+\.\d\d) s", total)
    assert shown, total
    stages = [int(text) for text in visit.page.locator(".stages .ms").all_inner_texts()]
    assert sum(stages) == pytest.approx(1000 * float(shown[1]), abs=5 + len(stages))
    expect(visit.page.get_by_label("Response times of the last turns")).to_be_visible()
    visit.page.locator(".timing summary").click()

"""The page on what of the protocol is here says what a server does."""

from importlib.metadata import version
from pathlib import Path

from bench.coverage.__main__ import find
from bench.coverage.report import page

PAGE = Path(__file__).parents[2] / "docs" / "realtime-coverage.md"


async def test_every_field_is_honoured_or_refused_and_the_page_says_which() -> None:
    findings = await find()
    assert not findings.ignored
    assert page(findings, version("openai")) == PAGE.read_text()

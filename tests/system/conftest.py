"""The whole product, with engines that take no time."""

from collections.abc import Iterator

import pytest

from tests.support.up import Up, running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    data = tmp_path_factory.mktemp("data")
    with running(data, "instant", PARLEY_SILENCE_MS="300") as started:
        yield started

"""A process's own footprint: this test's."""

import subprocess
import sys

import psutil

from shared.footprint import Meter


def _said_by_another_process() -> str:
    code = "from shared.footprint import Meter; print(Meter(on_gpu=False).read().machine)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def test_it_is_what_the_machine_says_of_this_process() -> None:
    now_s = 50.0
    meter = Meter(on_gpu=False, clock=lambda: now_s)
    before = sum(psutil.Process().cpu_times()[:2])
    while (spent_s := sum(psutil.Process().cpu_times()[:2]) - before) < 0.1:
        pass
    assert meter.read().cpu_percent == 0.0, "a second has not passed yet"
    now_s += 2.0
    read = meter.read()
    assert 100 * spent_s / 2 - 1 <= read.cpu_percent <= 100 * spent_s
    rss = psutil.Process().memory_info().rss
    assert 0.5 * rss < read.rss_bytes < 2 * rss
    assert read.cores == psutil.cpu_count()
    assert read.machine
    assert read.machine == _said_by_another_process()
    assert read.gpu is None
    assert meter.read() is read


def test_without_a_card_there_is_none_to_tell_of() -> None:
    now_s = 50.0
    meter = Meter(on_gpu=True, clock=lambda: now_s)
    now_s += 60.0
    assert meter.read().gpu is None

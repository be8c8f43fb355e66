"""Events and result files: a round trip, and a clear line for whatever is wrong with one."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from microzone.golden_model import ChipConfig, Events, FileError, Result
from microzone.golden_model.files import atomic_write


def test_events_survive_a_file(tmp_path: Path) -> None:
    events = Events(
        pn=np.array([1, 5]), io=np.array([], int), n_steps=9, cs=np.array([0, 4]), us=np.array([3]),
        samples=np.array([10, 20]), blanked=np.array([[0, 2], [5, 9]]), spontaneous_start=6,
    )  # fmt: skip
    events.save(tmp_path / "e.npz")
    again = Events.load(tmp_path / "e.npz")
    for name in ("pn", "io", "cs", "us", "samples", "blanked"):
        assert getattr(again, name).tolist() == getattr(events, name).tolist()
    assert again.n_steps == 9 and again.spontaneous_start == 6
    assert np.flatnonzero(again.pn_steps).tolist() == [1, 5]
    assert np.flatnonzero(again.blanked_steps).tolist() == [0, 1, 5, 6, 7, 8]


def test_a_bare_file_of_another_program_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", pn=np.array([1], np.uint8), io=np.zeros(0), n_steps=4, notes="mine")
    events = Events.load(tmp_path / "e.npz")
    assert events.pn.dtype == np.int64 and events.cs.size == 0 and events.samples is None
    assert events.spontaneous_start is None and not events.blanked_steps.any()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"io": None}, r"io: entry is missing"),
        ({"n_steps": None}, r"n_steps: entry is missing"),
        ({"pn": [5, 3]}, r"pn\[1\] = 3: not above the entry before it \(5\)"),
        ({"pn": [5, 5]}, r"pn\[1\] = 5: not above"),
        ({"io": [-1, 4]}, r"io\[0\] = -1: below 0"),
        ({"io": [4, 9]}, r"io\[1\] = 9: limit is n_steps - 1 = 8"),
        ({"cs": [40]}, r"cs\[0\] = 40: limit"),
        ({"pn": [[1]]}, r"pn: must have one dimension"),
        ({"pn": [0.5]}, r"pn: must be whole numbers, is float64"),
        ({"pn": ["a"]}, r"pn: must be whole numbers"),
        ({"n_steps": 0}, r"n_steps = 0: limits are 1 and"),
        ({"n_steps": 10**13}, r"n_steps = 10000000000000: limits are 1 and"),
        ({"n_steps": 4.5}, r"n_steps: must be one whole number"),
        ({"pn": np.array([2**63 + 5], np.uint64)}, r"pn: has an entry of 9223372036854775813, beyond"),
        ({"n_steps": [4, 5]}, r"n_steps: must be one whole number"),
        ({"blanked": [3, 5]}, r"blanked: must have 2 dimensions, has shape \(2,\)"),
        ({"blanked": [[3, 5, 6]]}, r"blanked: must have shape \(n, 2\), has \(1, 3\)"),
        ({"blanked": [[5, 3]]}, r"blanked\[1\] = 3: not above the entry before it \(5\)"),
        ({"blanked": [[1, 3], [3, 5]]}, r"blanked\[2\] = 3: not above the entry before it \(3\)"),
        ({"blanked": [[-1, 3]]}, r"blanked\[0\] = -1: below 0"),
        ({"blanked": [[4, 10]]}, r"blanked\[1\] = 10: limit is n_steps = 9"),
        ({"blanked": [[0.5, 2.0]]}, r"blanked: must be whole numbers"),
        ({"spontaneous_start": 9}, r"spontaneous_start = 9: limits are 0 and n_steps - 1 = 8"),
        ({"spontaneous_start": -1}, r"spontaneous_start = -1: limits"),
        ({"spontaneous_start": [1, 2]}, r"spontaneous_start: must be one whole number"),
        ({"spontaneous_start": 1.0}, r"spontaneous_start: must be one whole number, is float64"),
        ({"pn": np.array([1, None], object)}, r"not a readable \.npz file"),
    ],
)
def test_bad_events_name_file_and_entry(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.npz"
    whole = {"pn": [1], "io": [2], "n_steps": 9} | entries
    np.savez(path, **{name: value for name, value in whole.items() if value is not None})
    with pytest.raises(FileError, match=message) as refusal:
        Events.load(path)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def _npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "member",
    [b"no array", _npy("{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }"), _npy("{")],
    ids=["text", "oversized", "header"],
)
def test_members_that_are_no_array_of_that_size(tmp_path: Path, member: bytes) -> None:
    path = tmp_path / "bad.npz"
    Events(np.arange(5), np.arange(5), 9).save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pn.npy", member)
    with pytest.raises(FileError, match=r"bad\.npz") as refusal:
        Events.load(path)
    assert "\n" not in str(refusal.value)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    Events(np.arange(5), np.arange(5), 9).save(path)
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags: encrypted
        at = -1
        while (at := content.find(start, at + 1)) >= 0:
            content[at + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.npz: not a readable"):
        Events.load(path)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken", b"text", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_archive(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.npz"):
        Events.load(path)


def test_a_truncated_or_plain_array_file_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    Events(np.arange(50), np.arange(50), 60).save(whole)
    for cut in (10, 100, whole.stat().st_size - 30):
        path = tmp_path / "cut.npz"
        path.write_bytes(whole.read_bytes()[:cut])
        with pytest.raises(FileError, match=r"cut\.npz"):
            Events.load(path)
    np.save(tmp_path / "plain.npy", np.arange(3))
    with pytest.raises(FileError, match=r"not an \.npz file"):
        Events.load(tmp_path / "plain.npy")


def test_results_survive_a_file(tmp_path: Path) -> None:
    config = ChipConfig.make(weight={"initial": 0.25})
    result = Result(np.array([2]), np.array([0.5, 0.25, 0.125]), np.array([4, 2, 1]), config)
    result.save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz") as file:
        assert sorted(file.files) == ["config", "cr", "w", "w_raw"]
        assert (file["cr"].dtype, file["w"].dtype, file["w_raw"].dtype) == (np.int64, np.float64, np.int64)
    again = Result.load(tmp_path / "r.npz")
    assert again.config == config and again.w.tolist() == result.w.tolist()
    Result(result.cr, result.w, None, config).save(tmp_path / "float.npz")
    assert Result.load(tmp_path / "float.npz").w_raw is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"w": None}, "w: entry is missing"),
        ({"w": np.zeros(3, np.float32)}, "w: must be float64"),
        ({"w_raw": np.zeros(2, int)}, "w_raw: has 2 entries, w has 3"),
        ({"cr": np.array([3])}, r"cr\[0\] = 3: limit"),
        ({"config": "[weight"}, "not TOML"),
    ],
)
def test_bad_results_name_the_entry(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    whole = {"cr": np.array([1]), "w": np.zeros(3), "w_raw": np.zeros(3, int), "config": ""} | entries
    np.savez(tmp_path / "r.npz", **{name: value for name, value in whole.items() if value is not None})
    with pytest.raises(FileError, match=message):
        Result.load(tmp_path / "r.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError, match="cannot be written"), atomic_write(tmp_path / "no" / "out"):
        pass


def test_links_are_followed_and_devices_left_alone(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="not a regular file"), atomic_write(pipe):
        pass
    assert pipe.is_fifo()

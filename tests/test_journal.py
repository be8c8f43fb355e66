"""What a recording leaves, whatever ends it: its journal, and the files that are made of one."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fake_device import CONFIG, RECALIBRATED, TWO, Cable, FakeDevice, connect, session_of
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.gateware.link.frames import Record, RecordKind, encode
from microzone.golden_model import ChipConfig, Events, Result
from microzone.golden_model.events import MAX_STEPS
from microzone.golden_model.files import FileError
from microzone.golden_model.fixed import to_real
from microzone.tools.host import contents
from microzone.tools.host import journal as host_journal
from microzone.tools.host import session as host_session
from microzone.tools.host.conversion import EmptyJournalError, check_free, convert
from microzone.tools.host.journal import JOURNAL, LEARNT, ROW, Entry, Journal, JournalFile
from microzone.tools.host.link import LinkError
from microzone.tools.host.parameters import Weights
from microzone.tools.host.recording import CR, IO, PN, Recording
from microzone.tools.host.session import RecordingError, record_session

STEPS = 500
ARRAYS = {"events": ("pn", "io", "blanked"), "result": ("cr", "w", "w_raw")}


def header(config: ChipConfig = CONFIG, *, start: int = 0, n_steps: int | None = None) -> dict[str, Any]:
    """What a journal begins with."""
    circuits = len(config.electrodes.pn)
    words = config.quantised
    known = {
        "WEIGHT": words.weight_initial,
        "POTENTIATION": words.potentiation,
        "DEPRESSION": words.depression,
    }
    weights = Weights.of(config, {p: [known[p.name]] * circuits for p in host_session.PLASTIC})
    return {
        "start": start, "weights": asdict(weights), "blanked": False, "config": config.to_toml(),
        "chip": {}, "n_steps": n_steps, "cs": [], "us": [],
    }  # fmt: skip


def entries(folder: Path, circuit: str = "") -> dict[str, np.ndarray]:
    """Every number of a recording's files."""
    found = {}
    for name in (f"events{circuit}", f"result{circuit}", "detections"):
        with np.load(folder / f"{name}.npz") as archive:
            found |= {f"{name}.{entry}": archive[entry] for entry in archive.files}
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, and the journal that its files were made of."""
    folder = tmp_path_factory.mktemp("recorded")
    with mock.patch.object(host_session, "convert", keeping(folder)):
        report = record_session(connect(device()), CONFIG, folder, n_steps=STEPS)
    assert report["complete"] and report["cr"] > 0
    return folder


def device(**options: Any) -> FakeDevice:
    return FakeDevice(CONFIG, session=session_of(CONFIG, STEPS + 100), **options)


def keeping(folder: Path) -> Callable[..., Any]:
    """``convert``, which leaves a copy of the journal."""

    def kept(journal: Path, out: Path, **options: Any) -> Any:
        shutil.copy(journal, folder / "kept")
        return convert(journal, out, **options)

    return kept


def check_prefix(folder: Path, whole: Path) -> int:
    """A recording is the beginning of another one: how many steps."""
    events, result = Events.load(folder / "events.npz"), Result.load(folder / "result.npz")
    n_steps = events.n_steps
    all_events, all_result = Events.load(whole / "events.npz"), Result.load(whole / "result.npz")
    assert result.w.size == n_steps <= all_events.n_steps
    for name in ("pn", "io"):
        wanted = getattr(all_events, name)
        np.testing.assert_array_equal(getattr(events, name), wanted[wanted < n_steps])
    np.testing.assert_array_equal(events.blanked_steps, all_events.blanked_steps[:n_steps])
    np.testing.assert_array_equal(result.cr, all_result.cr[all_result.cr < n_steps])
    np.testing.assert_array_equal(result.w, all_result.w[:n_steps])
    assert result.w_raw is not None and all_result.w_raw is not None
    np.testing.assert_array_equal(result.w_raw, all_result.w_raw[:n_steps])
    return n_steps


# --- what is read is what was written ---------------------------------------------------------------

RECORDS = st.lists(
    st.tuples(
        st.integers(0, 9),  # steps since the record before
        st.sampled_from([RecordKind.STEP, RecordKind.STEP, RecordKind.BLANKING, RecordKind.DETECTION]),
        st.integers(0, 1),
        st.integers(0, 7),
        st.integers(1, 50),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(RECORDS, st.sampled_from([0, 3, 65_530, 2**32 - 20]), st.sampled_from([1, 7, 1 << 17]), st.booleans())
def test_the_files_are_what_the_records_say(
    tmp_path_factory: pytest.TempPathFactory, said: list[Any], start: int, piece: int, blanked: bool
) -> None:
    """Against the meaning of each record, written down a second time; however many are looked at together."""
    folder = tmp_path_factory.mktemp("said")
    recording = Recording(Journal(folder / JOURNAL, header(TWO, start=start) | {"blanked": blanked}), start)
    told: list[dict[int, tuple[int, int]]] = [{}, {}]
    levels, detections, tick = {0: blanked}, [], 1
    for sequence, (later, kind, index, flags, data) in enumerate(said):
        tick += later
        low = (start + tick) % 65_536
        recording.take(Record(sequence % 256, kind, index, flags, low, data), tick + 5)
        recording.write()
        if kind is RecordKind.STEP:
            told[index][tick - 1] = (flags, data)
        elif kind is RecordKind.BLANKING:
            levels[tick - 1] = bool(flags & 1)
        else:
            detections.append((tick, data, index))
    recording.journal.close()
    n_steps = tick - 1 if said else 0
    with mock.patch.object(contents, "_PIECE", piece), mock.patch.object(contents, "_BATCH", piece):
        if n_steps == 0:
            with pytest.raises(EmptyJournalError):
                convert(folder / JOURNAL, folder / "out")
            return
        convert(folder / JOURNAL, folder / "out")
    dense = np.zeros(n_steps, bool)
    for step in sorted(levels):
        dense[step:] = levels[step]
    for circuit, end in enumerate(["", "-1"]):
        events = Events.load(folder / f"out/events{end}.npz")
        result = Result.load(folder / f"out/result{end}.npz")
        steps = [step for step in sorted(told[circuit]) if step < n_steps]
        for found, flag in ((events.pn, PN), (events.io, IO), (result.cr, CR)):
            assert found.tolist() == [step for step in steps if told[circuit][step][0] & flag]
        w, words = TWO.quantised.weight_initial, []
        for step in range(n_steps):
            w = told[circuit].get(step, (0, w))[1]
            words.append(w)
        assert result.w_raw is not None and result.w_raw.tolist() == words
        np.testing.assert_array_equal(result.w, to_real(np.array(words), TWO.formats.weight))
        np.testing.assert_array_equal(events.blanked_steps, dense)
    with np.load(folder / "out/detections.npz") as found:
        rows = list(zip(*(found[name].tolist() for name in ("step", "frame", "electrode")), strict=True))
    assert rows == [row for row in detections if row[0] < n_steps]
    assert not (folder / JOURNAL).exists() and not list((folder / "out").glob(".*"))


def test_the_files_are_as_numpy_writes_them(recorded: Path, tmp_path: Path) -> None:
    """Names, order, types and compression of the entries, as of ``Events.save`` and ``Result.save``."""
    Events.load(recorded / "events.npz").save(tmp_path / "events.npz")
    Result.load(recorded / "result.npz").save(tmp_path / "result.npz")
    for name in ("events.npz", "result.npz"):
        ours, numpys = (Path(folder / name) for folder in (recorded, tmp_path))
        with np.load(ours) as found, np.load(numpys) as wanted:
            assert found.files == wanted.files
            for entry in found.files:
                assert found[entry].dtype == wanted[entry].dtype and found[entry].shape == wanted[entry].shape
                np.testing.assert_array_equal(found[entry], wanted[entry])
        assert ours.stat().st_size < 1.5 * numpys.stat().st_size


def test_a_journal_that_is_left_behind_becomes_the_same_files(recorded: Path, tmp_path: Path) -> None:
    shutil.copy(recorded / "kept", tmp_path / JOURNAL)
    report = convert(tmp_path / JOURNAL, tmp_path)
    wanted = report_of(recorded)
    assert report == wanted and wanted["complete"]
    found, expected = entries(tmp_path), entries(recorded)
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_array_equal(found[name], numbers)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.toml", "detections.npz", "events.npz", "report.json", "result.npz"
    ]  # fmt: skip


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


# --- damage -----------------------------------------------------------------------------------------


def check_damaged(folder: Path, content: bytes, whole: Path) -> int | None:
    """What a damaged journal becomes: a beginning of the recording, or a refusal of one line (None)."""
    (folder / JOURNAL).write_bytes(content)
    try:
        report = convert(folder / JOURNAL, folder / "out", overwrite=True)
    except FileError as error:
        assert "\n" not in str(error)
        assert isinstance(error, EmptyJournalError) or str(folder) in str(error)
        assert (folder / JOURNAL).read_bytes() == content, "it is as it was"
        return None
    assert report["complete"] is (not report["problems"])
    return check_prefix(folder / "out", whole)


def prefixes(recorded: Path, tmp_path: Path, lengths: Iterator[int]) -> None:
    content, known = (recorded / "kept").read_bytes(), 0
    for length in lengths:
        n_steps = check_damaged(tmp_path, content[:length], recorded)
        assert (n_steps or 0) >= known, "more of a journal is more of the recording"
        known = n_steps or 0
        if n_steps is not None and length < len(content):
            report = report_of(tmp_path / "out")
            assert not report["complete"] and "it has no end" in " ".join(report["problems"])
            assert "answers otherwise" not in " ".join(report["problems"])
    assert known == STEPS


def test_a_prefix_of_a_journal_is_a_prefix_of_the_recording(recorded: Path, tmp_path: Path) -> None:
    size = (recorded / "kept").stat().st_size
    chosen = random.Random(1).sample(range(size), 60)
    prefixes(recorded, tmp_path, iter([*sorted(chosen), size]))


@pytest.mark.slow
def test_each_prefix_of_a_journal_is_a_prefix_of_the_recording(recorded: Path, tmp_path: Path) -> None:
    """Of its first steps each, of the rest every seventh."""
    size = (recorded / "kept").stat().st_size
    prefixes(recorded, tmp_path, iter([*range(3_000), *range(3_000, size, 7), size]))


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_behind_a_flipped_bit_nothing_is_believed(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    content = bytearray((recorded / "kept").read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    folder = tmp_path_factory.mktemp("flipped")
    n_steps = check_damaged(folder, bytes(content), recorded)
    if n_steps is not None:
        problems = " ".join(report_of(folder / "out")["problems"])
        assert "bytes of the journal cannot be read: it is kept" in problems
        assert (folder / JOURNAL).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a journal"),
        (b"MZJOURN", "not a journal"),
        (b"PK\x03\x04" + bytes(100), "not a journal"),
        (host_journal.MAGIC, "its beginning is damaged"),
        (host_journal.MAGIC + bytes(1000), "its beginning is damaged"),
        (host_journal.MAGIC + b"\xff" * 1000, "its beginning is damaged"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FileError, match=rf"x: {message}"):
        convert(tmp_path / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "not a file"), (".", "not a file"), ("none", "No such file")):
        with pytest.raises(FileError, match=message):
            convert(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"config": "[time]\nstep_s = 'x'"},
        {"weights": 3},
        {"start": None},
        {"config": TWO.to_toml()},
        {"weights": {"digest": "", "formats": {}, "words": {}}},
        {"cs": "x"},
        {"chip": 7},
    ],
)
def test_a_header_of_another_version_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    Journal(tmp_path / JOURNAL, header() | change).close()
    with pytest.raises(FileError, match="its header does not fit this version"):
        convert(tmp_path / JOURNAL, tmp_path)


STRANGE: list[tuple[Entry, bytes]] = [
    (Entry.RECORDS, bytes(15)),
    (Entry.LEARNT, bytes(5)),
    (Entry.STATUS, b"[" * 100_000),
    (Entry.STATUS, b'{"link": [], "problems": 3, "ended": true}'),
    (Entry.STATUS, b'{"link": {"lost": "x"}, "problems": [[]]}'),
    (Entry.RECORDS, np.array([(50, 99, 0, 0, 0, 0)] * 3, ROW).tobytes()),
    (Entry.HEADER, b"{}"),
    (Entry.LEARNT, np.array([(63, 1, 2**62, 0, 0, 0)], LEARNT).tobytes()),
]


@pytest.mark.parametrize(("kind", "content"), STRANGE)
def test_what_no_recorder_writes_is_no_traceback(tmp_path: Path, kind: Entry, content: bytes) -> None:
    """Entries that are whole, and mean nothing."""
    journal = Journal(tmp_path / JOURNAL, header())
    journal.add(Entry.RECORDS, np.array([(100, RecordKind.STEP, 0, PN, 0, 7)], ROW).tobytes())
    journal.add(kind, content)
    journal.close()
    report = convert(tmp_path / JOURNAL, tmp_path)
    assert report["n_steps"] == 99 and not report["complete"]
    assert Events.load(tmp_path / "events.npz").n_steps == Result.load(tmp_path / "result.npz").w.size == 99


def test_more_steps_than_records_can_say_are_refused_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / JOURNAL, header())
    journal.add(Entry.RECORDS, np.array([(2**60, RecordKind.STEP, 0, PN, 0, 7)], ROW).tobytes())
    journal.close()
    with pytest.raises(FileError, match=f"says {2**60} steps: in its records are"):
        convert(tmp_path / JOURNAL, tmp_path)


# --- killed, and without room -----------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """Do something in a process of its own; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(1)


def record_for_ever(folder: Path) -> None:
    record_session(connect(device()), CONFIG, folder, n_steps=STEPS)


def kill_rounds(recorded: Path, tmp_path: Path, rounds: int) -> None:
    rng = random.Random(rounds)
    seen = set()
    for number in range(rounds):
        folder = tmp_path / str(number)
        pid = forked(lambda folder=folder: record_for_ever(folder))  # type: ignore[misc]
        end = time.monotonic() + 60
        wanted = rng.randrange(2_000, (recorded / "kept").stat().st_size)
        while (folder / JOURNAL).stat().st_size < wanted if (folder / JOURNAL).exists() else True:
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(rng.random() / 500)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if (folder / "report.json").exists():  # too late: it had come to its end
            assert Events.load(folder / "events.npz").n_steps == STEPS
            continue
        with pytest.raises(FileError, match="was not brought to its end: `microzone host recover"):
            record_session(connect(device()), CONFIG, folder, n_steps=STEPS, overwrite=True)
        convert(folder / JOURNAL, folder)
        seen.add(check_prefix(folder, recorded))
    assert len(seen) > rounds // 2 and max(seen) > 0


def test_what_is_killed_leaves_what_it_has_recorded(recorded: Path, tmp_path: Path) -> None:
    kill_rounds(recorded, tmp_path, 4)


@pytest.mark.slow
def test_what_is_killed_at_any_moment_leaves_what_it_has_recorded(recorded: Path, tmp_path: Path) -> None:
    kill_rounds(recorded, tmp_path, 50)


@pytest.mark.parametrize("room", [0, 500, 2_500, 4_000, 6_000])
def test_a_full_disk_ends_a_recording_in_one_line(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """The disk takes so many bytes, the last of them in part."""
    left, write = room, os.write

    def limited(file: int, content: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left -= (count := min(left, len(content)))
        return write(file, content[:count])

    chip = device()
    monkeypatch.setattr(host_journal.os, "write", limited)
    with pytest.raises((RecordingError, FileError), match="No space left on device") as told:
        record_session(connect(chip), CONFIG, tmp_path, n_steps=STEPS)
    monkeypatch.undo()
    assert "\n" not in str(told.value) and str(tmp_path / JOURNAL) in str(told.value)
    assert not chip.armed and not chip.enable
    if isinstance(told.value, FileError):  # before the chip was told anything
        assert room < 2_500 and not list(tmp_path.iterdir())
        return
    convert(tmp_path / JOURNAL, tmp_path)
    n_steps = check_prefix(tmp_path, recorded)
    assert f"it ends after {n_steps} steps" in str(told.value) and n_steps > 0
    assert not (tmp_path / JOURNAL).exists(), "the entry that had no room was cut off"


def test_a_file_that_may_not_grow_ends_a_recording_in_one_line(recorded: Path, tmp_path: Path) -> None:
    """The same of the system itself, in the command's words."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
        try:
            record_for_ever(tmp_path / "rec")
        except RecordingError as error:
            os._exit(0 if "File too large: it ends after" in str(error) else 3)

    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == 0
    convert(tmp_path / "rec" / JOURNAL, tmp_path / "rec")
    assert check_prefix(tmp_path / "rec", recorded) > 0


@pytest.mark.parametrize("name", ["told-0", "events.npz", "result.npz", "report.json"])
def test_a_disk_that_fills_in_the_conversion_leaves_the_journal(
    recorded: Path, tmp_path: Path, name: str
) -> None:
    """Whichever file has no room: none is there, and the journal becomes all of them later."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    opened, moved = Path.open, Path.replace

    def open_(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return full() if path.name == name and "w" in mode else opened(path, mode, *rest, **options)

    def replaced(path: Path, target: Path) -> Any:
        return full() if Path(target).name == name else moved(path, target)

    with (
        mock.patch.object(Path, "open", open_),
        mock.patch.object(Path, "replace", replaced),
        pytest.raises(RecordingError, match="No space left on device; nothing is lost: `microzone host rec"),
    ):
        record_session(connect(device()), CONFIG, tmp_path, n_steps=STEPS)
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]
    assert convert(tmp_path / JOURNAL, tmp_path)["complete"]
    assert check_prefix(tmp_path, recorded) == STEPS


# --- what the chip should not say -------------------------------------------------------------------


def says(chip: FakeDevice, at: int, *records: dict[str, Any]) -> Callable[[int], None]:
    """A chip that says something else once, between its own records."""

    def progress(now: int) -> None:
        if now >= at and not getattr(chip, "said", False):
            chip.said = True  # type: ignore[attr-defined]
            for fields in records:
                told = {
                    "kind": RecordKind.STEP,
                    "index": 0,
                    "flags": 0,
                    "step": chip.steps,
                    "data": 0,
                } | fields
                payload = Record(chip.sequence, **told).payload()  # type: ignore[arg-type]
                chip.sequence = (chip.sequence + 1) % 256
                chip._send(payload)

    return progress


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([{"kind": RecordKind.TIME, "data": 77}] * 3, "records that say another TIME than the chip's: 3"),
        ([{"kind": RecordKind.TIME, "data": 2**32 - 1}], "records that say another TIME than the chip's: 1"),
        ([{"step": 40_000}] * 2, "records that say a step that the chip has not made: 2"),
        ([{"index": 1}, {"index": 63}], "records that are of a microcircuit that there is not: 2"),
        (
            [{"kind": RecordKind.STATE, "flags": 3, "data": 0xF}],
            "records that say a fault that this host does",
        ),
        (
            [{"kind": RecordKind.RECALIBRATION, "index": 9}],
            "records that are of a microcircuit that there is",
        ),
        (
            [
                {"kind": RecordKind.DETECTION, "index": 60, "data": 1},
                {"kind": RecordKind.DETECTION, "data": 99},
            ],
            "records that are of an electrode or a frame that there is not: 2",
        ),
        ([{"kind": 11}] * 4, "4 records are of a kind that this host does not know"),
    ],
)
def test_what_cannot_be_is_counted_and_loses_nothing(
    recorded: Path, tmp_path: Path, records: list[dict[str, Any]], problem: str
) -> None:
    chip = device()
    progress = says(chip, 200, *records)
    report = record_session(connect(chip), CONFIG, tmp_path, n_steps=STEPS, progress=progress)
    assert not report["complete"] and len(report["problems"]) == 1 and problem in report["problems"][0]
    assert check_prefix(tmp_path, recorded) == STEPS
    assert report["link"]["missing"] == 0 and not entries(tmp_path)["detections.step"].size


def test_a_status_of_a_recalibration_that_is_none_is_counted(tmp_path: Path) -> None:
    chip = FakeDevice(RECALIBRATED, session=session_of(RECALIBRATED, 400))
    progress = says(chip, 200, {"kind": RecordKind.RECALIBRATION, "flags": 15})
    report = record_session(connect(chip), RECALIBRATED, tmp_path, n_steps=300, progress=progress)
    assert report["problems"] == ["records that say a status of a recalibration that is none: 1"]
    assert Result.load(tmp_path / "result.npz").w.size == 300


def test_a_list_of_problems_has_an_end(tmp_path: Path) -> None:
    chip = device()
    lost = {"kind": RecordKind.LOST, "data": 1}
    progress = says(chip, 200, *[{**lost, "step": chip.steps + n % 200} for n in range(300)])
    report = record_session(connect(chip), CONFIG, tmp_path, n_steps=STEPS, progress=progress)
    assert len(report["problems"]) == 101 and report["problems"][-1].startswith("and 20")


def test_frames_that_come_twice_are_duplicates_and_no_losses(recorded: Path, tmp_path: Path) -> None:
    chip = device(cable=Cable(duplicate=0.5))
    report = record_session(connect(chip), CONFIG, tmp_path, n_steps=STEPS)
    assert report["complete"], report["problems"]
    assert report["link"]["duplicates"] > 20 and report["link"]["missing"] == 0
    assert check_prefix(tmp_path, recorded) == STEPS


@pytest.mark.parametrize("burst", [1, 2, 5, 100])
def test_a_burst_that_comes_twice_is_duplicates_and_no_losses(burst: int) -> None:
    chip = FakeDevice(CONFIG)
    host = connect(chip)
    frames = [
        encode(Record(n % 256, RecordKind.STEP, 0, 1, 7 * n, n).payload())
        for n in range(200, 200 + 3 * burst)
    ]
    for sent in (frames[:burst], frames[:burst], frames[burst:], frames[-1:]):
        chip.outgoing.append((chip.time, b"".join(sent)))
        host.poll(0.1)
    assert (host.duplicates, host.missing) == (burst + 1, 0)


class BeforeItWraps(FakeDevice):
    """A chip whose register STEPS begins again while it is recorded."""

    @property
    def steps(self) -> int:
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps = steps % 2**32


def test_a_recording_goes_on_where_the_register_begins_again(tmp_path: Path) -> None:
    given = session_of(CONFIG, 4_000)
    chip = BeforeItWraps(CONFIG, session=given)
    chip.steps = 2**32 - host_session.rest_steps(CONFIG) - 300
    chip.enable, chip.runs_at, chip.next_step = True, 0.0, 0.0
    report = record_session(connect(chip), CONFIG, tmp_path, n_steps=600)
    assert report["complete"], report["problems"]
    assert report["n_steps"] == 600 and chip.steps < 2**31 and report["records"]["time"] >= 1


# --- long ones --------------------------------------------------------------------------------------


def synthetic(path: Path, n_steps: int, every: int) -> None:
    """A journal of so many steps, with a record of a PN event in each so many."""
    journal = Journal(path, header())
    block = 1 << 15
    for first in range(0, n_steps // every, block):
        rows = np.zeros(min(block, n_steps // every - first), ROW)
        rows["tick"] = every * np.arange(first, first + rows.size) + 1
        rows["kind"], rows["flags"] = RecordKind.STEP, PN
        rows["data"] = CONFIG.quantised.weight_initial
        journal.add(Entry.RECORDS, rows.tobytes())
    last = np.array([(n_steps + 1, RecordKind.TIME, 0, 0, 0, n_steps + 1 >> 16)], ROW)
    journal.add(Entry.RECORDS, last.tobytes())
    journal.close()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    peaks = []
    for n_steps in (600_000, 2_400_000):
        synthetic(tmp_path / JOURNAL, n_steps, 5)
        tracemalloc.start()
        report = convert(tmp_path / JOURNAL, tmp_path / str(n_steps))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report["n_steps"] == n_steps and report["records"]["step"] == n_steps // 5
    assert peaks[1] < min(1.3 * peaks[0], 30e6), "w alone is 8 bytes a step"


@pytest.mark.slow
def test_more_steps_than_are_read_at_once_are_recorded(tmp_path: Path) -> None:
    n_steps = MAX_STEPS + 1_000
    synthetic(tmp_path / JOURNAL, n_steps, 10_000)
    report = convert(tmp_path / JOURNAL, tmp_path)
    assert report["n_steps"] == n_steps
    with pytest.raises(FileError, match=f"n_steps = {n_steps}: limits are 1 and {MAX_STEPS}"):
        Events.load(tmp_path / "events.npz")


# --- an earlier recording ---------------------------------------------------------------------------


def test_an_earlier_recording_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    two = FakeDevice(TWO, session=session_of(TWO, 200))
    record_session(connect(two), TWO, tmp_path, n_steps=100)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "events-1.npz" in before
    chip = device()
    with pytest.raises(FileError, match=r"holds a recording \(config-1.toml\): choose another folder, or"):
        record_session(connect(chip), CONFIG, tmp_path, n_steps=100)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert not chip.enable and chip.steps == 0
    (tmp_path / "notes.txt").write_text("mine")
    report = record_session(connect(device()), CONFIG, tmp_path, n_steps=200, overwrite=True)
    assert report["n_steps"] == Events.load(tmp_path / "events.npz").n_steps == 200
    assert not list(tmp_path.glob("*-1.*")), "nothing of the one before is left"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_recording_that_fails_to_begin_leaves_the_earlier_one(tmp_path: Path) -> None:
    record_session(connect(device()), CONFIG, tmp_path, n_steps=100)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    chip = device()
    chip.absent = True
    with pytest.raises(LinkError, match="does not come up"):
        record_session(connect(chip), CONFIG, tmp_path, n_steps=100, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_journal_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / JOURNAL, header())
    with pytest.raises(FileError, match="is being written: a recording into"):
        check_free(tmp_path, overwrite=True)
    with pytest.raises(FileError, match="is being written: the recording goes on"):
        convert(tmp_path / JOURNAL, tmp_path)
    journal.close()
    with pytest.raises(FileError, match="not brought to its end"):
        check_free(tmp_path, overwrite=True)
    assert JournalFile(tmp_path / JOURNAL).header["start"] == 0


def test_the_commands_refuse_before_anything_starts(microzone: Callable[..., Any], recorded: Path) -> None:
    shutil.copytree(recorded, "rec")
    Path("rec/kept").unlink()
    for options, message in (
        ((), "rec: holds a recording (config.toml): choose another folder, or replace it with --overwrite"),
        (("--overwrite", "--load", "rec/config.toml"), "rec/config.toml: is read, and would be replaced"),
    ):
        done = microzone("host", "record", "--out", "rec", "--port", "no/tty", *options)
        assert done.status == 2 and message in done.err and done.err.count("\n") == 1, done.err
    shutil.copy(recorded / "kept", "rec/recording.journal")
    done = microzone("host", "record", "--out", "rec", "--port", "no/tty", "--overwrite")
    assert done.status == 2 and "`microzone host recover rec/recording.journal` makes files of it" in done.err
    done = microzone("host", "recover", "rec/recording.journal")
    assert done.status == 2 and "replace it with --overwrite" in done.err
    done = microzone("host", "recover", "rec/recording.journal", "--out", "new")
    assert done.status == 0 and f"{STEPS} steps" in done.out, done.err
    assert check_prefix(Path("new"), recorded) == STEPS and not Path("rec/recording.journal").exists()
    done = microzone("host", "recover", "none")
    assert done.status == 2 and done.err == "error: none: No such file\n"


def test_a_part_of_a_recording_is_not_complete(microzone: Callable[..., Any], recorded: Path) -> None:
    Path("part").write_bytes((recorded / "kept").read_bytes()[:5_000])
    done = microzone("host", "recover", "part", "--out", "new", "--json")
    assert done.status == 1 and "not complete: it has no end" in done.err
    assert "not complete: ends after" in done.err and Path("part").exists()

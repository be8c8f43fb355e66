"""Recording and monitor: against a chip in software, whose telemetry may get lost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from fake_device import (
    CONFIG,
    OTHER,
    RECALIBRATED,
    TWO,
    FakeDevice,
    connect,
    session_of,
)
from microzone.gateware.link.frames import Record, RecordKind
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import ChipConfig, Events, Result
from microzone.golden_model.fixed import to_real
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.tools.host import contents, conversion
from microzone.tools.host import recording as host_recording
from microzone.tools.host import session as host_session
from microzone.tools.host.chip import LinkError
from microzone.tools.host.monitor import Monitor, run_monitor
from microzone.tools.host.parameters import Weights
from microzone.tools.host.session import record_session, rest_steps
from rich.console import Console
from support import applying, changed

# --- recording ------------------------------------------------------------------------------------


def replayed(folder: Path, suffix: str = "") -> tuple[Events, Result]:
    """The files of a recording; the fixed-point model answers to the events as the chip did."""
    events, result = Events.load(folder / f"events{suffix}.npz"), Result.load(folder / f"result{suffix}.npz")
    assert ChipConfig.load(folder / f"config{suffix}.toml") == result.config
    answer = MicrocircuitFixed(result.config).process(
        events.pn_steps, events.io_steps, blanked=events.blanked_steps
    )
    np.testing.assert_array_equal(answer.weight, result.w_raw)
    np.testing.assert_array_equal(np.flatnonzero(answer.cr), result.cr)
    np.testing.assert_array_equal(result.w, to_real(answer.weight, result.config.formats.weight))
    return events, result


@pytest.mark.parametrize("base", [CONFIG, TWO], ids=["one", "two"])
def test_a_recording_is_what_the_microcircuits_were_told_and_answered(
    tmp_path: Path, base: ChipConfig
) -> None:
    given = session_of(base, 1200)
    report = record_session(connect(FakeDevice(base, session=given)), base, tmp_path, n_steps=1000)
    assert report["complete"] and report["problems"] == [] and report["n_steps"] == 1000
    assert report["origin"].keys() == {"version", "sources", "command", "date"}
    assert report["cr"] > 3 and json.loads((tmp_path / "report.json").read_text()) == report
    for circuit in range(len(base.electrodes.pn)):
        events, result = replayed(tmp_path, f"-{circuit}" if circuit else "")
        np.testing.assert_array_equal(events.pn_steps, given.pn[:1000, circuit])
        heard = given.io[:1000, circuit] & ~given.blanked[:1000]
        np.testing.assert_array_equal(events.io_steps, heard)
        np.testing.assert_array_equal(events.blanked_steps, given.blanked[:1000])
        assert result.w_raw is not None and np.unique(result.w_raw).size > 100


def test_a_recording_with_recalibrations(tmp_path: Path) -> None:
    base = RECALIBRATED
    device = FakeDevice(base, session=session_of(base, 7000))
    report = record_session(connect(device), base, tmp_path, n_steps=6500)
    assert report["complete"], report["problems"]
    events, result = replayed(tmp_path)
    wanted = MicrocircuitFixed(base).process(
        events.pn_steps, events.io_steps, blanked=events.blanked_steps
    ).recalibrations  # fmt: skip
    got = result.recalibrations
    assert got is not None and len(wanted) == got.step.size >= 2
    assert got.step.tolist() == [outcome.step for outcome in wanted]
    assert got.status.tolist() == [outcome.status for outcome in wanted]
    formats = base.formats
    assert got.potentiation.tolist() == [to_real(o.potentiation, formats.potentiation) for o in wanted]
    assert got.depression.tolist() == [to_real(o.depression, formats.depression) for o in wanted]
    assert got.rate_hz.tolist() == [to_real(o.rate, formats.rate) * base.rate_full_scale_hz for o in wanted]
    with pytest.raises(LinkError, match="counts from the first: reset it"):
        record_session(connect(device), base, tmp_path, n_steps=10)


def test_a_second_recording_begins_where_the_first_has_ended(tmp_path: Path) -> None:
    given = session_of(CONFIG, 3000)
    device = FakeDevice(CONFIG, session=given)
    first = record_session(connect(device), CONFIG, tmp_path / "first", n_steps=700)
    _, before = replayed(tmp_path / "first")
    began = device.steps + rest_steps(CONFIG)
    second = record_session(connect(device), CONFIG, tmp_path / "second", n_steps=900)
    events, after = replayed(tmp_path / "second")
    assert first["complete"] and second["complete"]
    assert before.config == CONFIG != after.config
    assert events.blanked[0, 0] == 0 and events.pn[0] >= events.blanked[0, 1], "at rest until frames come"
    assert after.w_raw is not None and before.w_raw is not None
    assert began <= device.steps
    assert abs(after.config.weight.initial - before.w[-1]) < 0.1


def test_a_recording_of_what_was_loaded_and_learnt(tmp_path: Path) -> None:
    wanted = CONFIG.replace(**OTHER)
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 600))
    host = connect(device)
    with pytest.raises(LinkError, match=r"register \S+ = \w+: should be"):
        record_session(host, wanted, tmp_path, n_steps=500)
    host.load(wanted)
    host.restore(Weights(CONFIG.digest, host.weights().formats, {"weight": (10**9,), "potentiation": (3,), "depression": (10**7,)}))  # fmt: skip
    report = record_session(host, wanted, tmp_path, n_steps=500)
    _, result = replayed(tmp_path)
    words = result.config.quantised
    assert report["complete"] and result.w_raw is not None
    assert (words.weight_initial, words.potentiation, words.depression) == (10**9, 3, 10**7)
    assert result.config.stimulation == wanted.stimulation


def interrupt_after(steps: int) -> Any:
    def progress(now: int) -> None:
        if now >= steps:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_ends_a_recording_whole(tmp_path: Path) -> None:
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 3000))
    report = record_session(connect(device), CONFIG, tmp_path, progress=interrupt_after(400))
    assert report["complete"] and 399 <= report["n_steps"] < 450
    replayed(tmp_path)
    assert not device.armed and not device.enable and device.mask == 0


def breaks(what: str, device: FakeDevice) -> Any:
    def progress(now: int) -> None:
        if now >= 300 and not getattr(device, "broken", False):
            device.broken = True  # type: ignore[attr-defined]
            if what == "lost in the chip":
                device.lose = 3
            elif what == "lost on the wire":
                device.sequence = (device.sequence + 2) % 256
            elif what == "unplugged":
                device.cable.plugged = False
            elif what == "reset":
                device.power_up()
            elif what == "parameters change":
                device.shadow.append(("stimulation.GAP", 5))
                device._commit()
            elif what == "stuck":
                device.next_step = np.inf

    return progress


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("lost in the chip", "the chip had no room for 3 records"),
        ("lost on the wire", "2 records got lost on the wire"),
        ("unplugged", "fake: no device"),
        ("reset", "the chip was reset"),
        ("parameters change", "1 parameters changed"),
        ("stuck", "the chip makes no steps"),
    ],
)
def test_a_recording_with_a_gap_is_kept_and_says_so(tmp_path: Path, what: str, problem: str) -> None:
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 1200))
    report = record_session(connect(device), CONFIG, tmp_path, n_steps=1000, progress=breaks(what, device))
    assert not report["complete"] and problem in " ".join(report["problems"]), report["problems"]
    assert json.loads((tmp_path / "report.json").read_text())["complete"] is False
    events, result = Events.load(tmp_path / "events.npz"), Result.load(tmp_path / "result.npz")
    assert events.n_steps == result.w.size == report["n_steps"] >= 290


def test_a_record_that_says_something_else_is_found_by_replay(tmp_path: Path) -> None:
    """What no counter shows: 256 records lost at once, or a chip that computes otherwise."""
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 800))
    say = device._say

    def wrong(kind: RecordKind, **fields: Any) -> None:
        if kind is RecordKind.STEP and device.steps == 500:
            fields["data"] ^= 1
        say(kind, **fields)

    with mock.patch.object(device, "_say", wrong):
        report = record_session(connect(device), CONFIG, tmp_path, n_steps=700)
    told = Result.load(tmp_path / "result.npz").w_raw
    assert told is not None and not report["complete"]
    assert report["problems"] == ["microcircuit 0: the fixed-point model answers otherwise from step 499 on"]


def test_a_recording_that_cannot_begin_leaves_the_chip_disabled(tmp_path: Path) -> None:
    device = FakeDevice(CONFIG)
    device.absent = True
    with pytest.raises(LinkError, match="does not come up: ABSENT"):
        record_session(connect(device), CONFIG, tmp_path, n_steps=100)
    assert not device.enable and not list(tmp_path.iterdir())


# --- the terminal ---------------------------------------------------------------------------------


def test_the_monitor_shows_what_goes_on_and_disarms_at_its_end() -> None:
    console = Console(record=True, width=160, file=io.StringIO())
    device = FakeDevice(TWO, session=session_of(TWO, 4000))
    monitor = run_monitor(connect(device), TWO, console, arm=True, seconds=5.0)
    text = console.export_text()
    assert monitor.weights == [float(to_real(int(w), TWO.formats.weight)) for w in device.circuits.weight]
    assert "microcircuit 1" in text and "no fault" in text and "armed" in text
    given, steps = device.session, monitor.steps
    assert given is not None
    heard = given.io & ~given.blanked[:, None]
    for name, events in (("PN", given.pn), ("IO", heard)):
        assert monitor.rate_hz(1, name) == pytest.approx(events[:steps, 1].sum() / (steps * 0.002))
    assert 0.02 < monitor.blanked_share < 0.25
    assert not device.armed and not device.enable and device.mask == 0


def test_the_monitor_waits_for_a_device_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, width=160, file=io.StringIO())
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 4000))
    host = connect(device)
    gone: list[float] = []

    def sleep(seconds: float) -> None:
        gone.append(seconds)
        device._run_until(device.time + seconds)
        device.cable.plugged = len(gone) >= 8

    monkeypatch.setattr("microzone.tools.host.monitor.time.sleep", sleep)
    poll = host.poll

    def pulled(timeout_s: float) -> list[Record]:
        if device.steps > 500 and not gone:
            device.cable.plugged = False
        return poll(timeout_s)

    monkeypatch.setattr(host, "poll", pulled)
    monitor = run_monitor(host, CONFIG, console, arm=True, seconds=8.0)
    assert len(gone) >= 8 and monitor.trouble is None and monitor.steps > 3500
    assert not device.armed and device.fault in (InterlockFault.WATCHDOG, InterlockFault.AMPLIFIER)


def test_ctrl_c_ends_the_monitor_and_disarms(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice(CONFIG)
    host = connect(device)
    poll = host.poll

    def interrupted(timeout_s: float) -> list[Record]:
        if device.steps > 100:
            raise KeyboardInterrupt
        return poll(timeout_s)

    monkeypatch.setattr(host, "poll", interrupted)
    run_monitor(host, CONFIG, Console(quiet=True), arm=True)
    assert 100 < device.steps < 130 and not device.armed and not device.enable


def test_the_monitor_shows_on_whatever_a_record_says() -> None:
    device = FakeDevice(CONFIG, session=session_of(CONFIG, 600))
    host = connect(device)
    monitor = Monitor(host, CONFIG)
    host.enable()
    while device.steps < 100:
        monitor.take(host.poll(0.02))
    strange = [
        Record(0, RecordKind.TIME, 0, 0, 3, 2**32 - 1),
        Record(1, RecordKind.STEP, 63, 15, 100, 0),
        Record(2, RecordKind.RECALIBRATION, 9, 15, 100, 0),
        Record(3, RecordKind.DETECTION, 60, 0, 100, 2**32 - 1),
        Record(4, RecordKind.STATE, 63, 15, 100, 2**32 - 1),
    ]
    monitor.take(strange)
    monitor.note_time()
    assert monitor.steps == device.steps < 200 and monitor.unfitting == 2
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(monitor.render())
    assert "records that mean nothing 2" in console.export_text()


# --- broken on purpose ----------------------------------------------------------------------------
RECORDING_MUTANTS = applying(
    {
        "a step late": (contents, "steps = ticks - 1", "steps = ticks"),
        "w of before": (
            conversion,
            'known[np.searchsorted(rows["step"], np.arange(start, stop), side="right")]',
            'known[np.searchsorted(rows["step"], np.arange(start, stop), side="left")]',
        ),
        "steps wrap": (host_recording, "% modulus - modulus // 2", "% modulus - modulus // 2 - (now >= 300)"),
        "blanking ends early": (
            contents,
            "np.maximum(steps[ours], 0)",
            'np.maximum(steps[ours] - (rows["flags"][ours] & 1 == 0), 0)',
        ),
    }
)


@pytest.mark.parametrize("name", RECORDING_MUTANTS)
def test_a_broken_recording_is_found(tmp_path: Path, name: str) -> None:
    module, *replaced = RECORDING_MUTANTS[name]
    other = changed(module, *replaced)
    where, part = {
        host_recording: (host_session, "Recording"),
        conversion: (host_session, "convert"),
        contents: (conversion, "Contents"),
    }[module]
    with mock.patch.object(where, part, getattr(other, part)), pytest.raises(AssertionError):
        test_a_recording_is_what_the_microcircuits_were_told_and_answered(tmp_path, CONFIG)

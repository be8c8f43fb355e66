"""Replays of sessions: the programs around the core, what they record, and what is wrong with either."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import subprocess
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from microzone.gateware.kept import kept_text
from microzone.gateware.link.record_fifo import RecordFifo
from microzone.gateware.microcircuit.parameters import Parameter
from microzone.gateware.toolchain import ToolError, to_verilog
from microzone.golden_model import ChipConfig, Events, MicrocircuitFixed, Protocol
from microzone.golden_model.experiment.protocol import Trial
from microzone.sim.build.simulators import (
    PROGRAM,
    SIMULATORS,
    CocotbSimulator,
    Design,
    Simulator,
)
from microzone.sim.failure import BenchFailure
from microzone.sim.replay import record as record_module
from microzone.sim.replay import replay as replay_module
from microzone.sim.replay.comparison import first_difference
from microzone.sim.replay.record import END_MARK, DamagedRecord, Record, read_session, recalibration_rows
from microzone.sim.replay.replay import (
    Scenario,
    Write,
    core_verilog,
    expected_signals,
    replay,
    replay_design,
    replay_session,
)
from microzone.sim.replay.scenarios import CONFIGS, scenarios
from microzone.tools.models import run_model
from support import mutant

compilers = pytest.mark.parametrize(
    "name", [name for name, simulator in SIMULATORS.items() if simulator.compiles_programs]
)


def installed(name: str) -> Simulator:
    simulator = SIMULATORS[name]
    if simulator.version() is None:
        pytest.skip(f"{name} is not installed; get it with: {simulator.how_to_get}")
    return simulator


def session_of(config: ChipConfig, n_steps: int, seed: int = 7) -> Events:
    """Many detections, and stretches in which the IO is blanked."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(n_steps, 40, replace=False)).reshape(-1, 2)
    return Events(
        pn=np.flatnonzero(rng.random(n_steps) < 0.02),
        io=np.flatnonzero(rng.random(n_steps) < 0.1),
        n_steps=n_steps,
        blanked=edges,
    )


# What a session is, and what it takes.


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_session_in_rtl_equals_the_fixed_point_model(name: str) -> None:
    config, simulator = CONFIGS["adaptive"], installed(name)
    events = session_of(config, 3000)
    told: list[int] = []
    session = replay_session(events, config, simulator, progress=told.append)
    fixed = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps, blanked=events.blanked_steps)
    assert np.array_equal(session.weight, fixed.weight) and session.weight.dtype == np.int64
    assert np.array_equal(session.cr, np.flatnonzero(fixed.cr)) and session.cr.size == 5
    assert np.array_equal(session.recalibrations, recalibration_rows(fixed.recalibrations))
    assert len(session.recalibrations) > 10
    assert told[-1:] == [3000] or not simulator.compiles_programs


def test_events_are_sent_as_their_dense_form_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stretch at a time, with blanked stretches that reach from one into the next."""
    config = ChipConfig.make()
    events = session_of(config, 1000)
    dense = {"pn": events.pn_steps, "io": events.io_steps, "blanked": events.blanked_steps}
    scenario = Scenario("session", config, **{name: steps[:, None] for name, steps in dense.items()})
    written = []
    for stimulus in (scenario, replay_module._EventStimulus(events, config)):
        for chunk in (7, 64, 1000, 5000):
            monkeypatch.setattr(replay_module, "CHUNK", chunk)
            path = tmp_path / "stimulus.bin"
            count = replay_module._write_stimulus(path, stimulus)
            assert path.stat().st_size == 16 * count
            written.append(path.read_bytes())
    assert len(set(written)) == 1
    assert count == sum(int(np.count_nonzero(steps)) for steps in dense.values())


def test_a_session_takes_16_bytes_a_step() -> None:
    """8 of them in the replay; a dense record took 96. w as real values and as words is 16 by itself."""
    simulator, config = installed("verilator"), ChipConfig.make()
    lengths = (500_000, 1_000_000)
    whole = Protocol(trials=(Trial.PAIRED,) * 180).events(config, 1)
    assert whole.n_steps > lengths[1]
    sessions = [Events(whole.pn[whole.pn < stop], whole.io[whole.io < stop], stop) for stop in lengths]

    def slope(run: Callable[[Events], Any]) -> float:
        run(Events(whole.pn[:0], whole.io[:0], 1))  # what is made once is made
        peaks = []
        for events in sessions:
            tracemalloc.start()
            run(events)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return (peaks[1] - peaks[0]) / (lengths[1] - lengths[0])

    assert slope(lambda events: replay_session(events, config, simulator)) == pytest.approx(8, abs=0.1)
    assert slope(lambda events: run_model("rtl", events, config, simulator=simulator)) == pytest.approx(
        16, abs=0.1
    )


# The two harnesses.


def test_both_harnesses_record_the_same() -> None:
    """In Verilator: under cocotb, and as a program."""
    simulator, config = installed("verilator"), CONFIGS["undelayed"]
    for scenario in scenarios(config, 2, seed=5, steps=400):
        bench = replay(scenario, simulator, full=True, check=True)
        program = replay(scenario, simulator, full=True)
        assert program.keys() == bench.keys()
        assert first_difference(bench, program, config) is None
        assert np.array_equal(bench["response"], program["response"])


def test_a_broken_core_is_found_by_the_program() -> None:
    config = CONFIGS["undelayed"]
    with mutant("8 coincidence: δd without δp") as core:
        broken = to_verilog(core(config, 2), "microcircuit")
    scenario = scenarios(config, 2, seed=3, steps=400)[0]
    wrong = replay(scenario, installed("cxxrtl"), full=True, verilog=broken)
    message = first_difference(expected_signals(scenario), wrong, config)
    assert message is not None and "weight (process 8)" in message
    with pytest.raises(BenchFailure, match=r"random: step .* weight \(process 8\) expected"):
        replay(scenario, installed("cxxrtl"), check=True, verilog=broken)


def test_a_lost_tick_is_a_failure() -> None:
    config = CONFIGS["undelayed"]
    text, count = re.subn(r"\boverrun <= \S+ ;", "overrun <= 1'h1 ;", core_verilog(config, 2))
    assert count
    with pytest.raises(BenchFailure, match="random: the core lost a tick"):
        replay(scenarios(config, 2, seed=3, steps=50)[0], installed("cxxrtl"), verilog=text)


def test_a_signal_without_a_value_is_a_failure() -> None:
    """Icarus alone has such; the record could not tell them from 0."""
    config = CONFIGS["undelayed"]
    text, count = re.subn(
        r"\bcommit__gated_io <= [^;]+;", "commit__gated_io <= 1'hx;", core_verilog(config, 2)
    )
    assert count
    with pytest.raises(BenchFailure, match="random: a recorded signal has no known value"):
        replay(scenarios(config, 2, seed=3, steps=50)[0], installed("icarus"), verilog=text)


def test_a_step_of_other_cycles_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*args: Any, **options: Any) -> Design:
        design = replay_design(*args, **options)
        return replace(design, defines={**design.defines, "STEP_CYCLES": 9})

    monkeypatch.setattr(replay_module, "replay_design", other)
    scenario = scenarios(CONFIGS["undelayed"], 2, seed=3, steps=50)[0]
    with pytest.raises(BenchFailure, match="random: a step took more or fewer cycles than the core states"):
        replay(scenario, installed("cxxrtl"))


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_rejected_write_is_a_failure(name: str) -> None:
    config = CONFIGS["signed"]
    scenario = scenarios(config, 3, seed=3, steps=50)[0]
    scenario = replace(scenario, writes=[Write(20, 3, Parameter.WEIGHT, 1)])  # channels are 0 to 2
    with pytest.raises(BenchFailure, match="random: the core rejected an event or a write"):
        replay(scenario, installed(name))


@pytest.mark.parametrize("name", ["icarus", "cxxrtl"])
@pytest.mark.parametrize("lost", [16, 1])
def test_a_stimulus_that_is_not_whole_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, lost: int
) -> None:
    """The last entry, or all of it but a byte, is not there."""
    write = replay_module._write_stimulus

    def cut(path: Path, stimulus: Any) -> int:
        count = write(path, stimulus)
        path.write_bytes(path.read_bytes()[:-lost])
        return count

    monkeypatch.setattr(replay_module, "_write_stimulus", cut)
    with pytest.raises((BenchFailure, ToolError), match="random: the replay could not read its files"):
        replay(scenarios(CONFIGS["undelayed"], 2, seed=3, steps=50)[0], installed(name))


# The record.


def a_record(entries: int) -> tuple[bytes, bytes]:
    """A record of one channel and its recalibrations, as ``replay.sv`` states them."""
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**63, entries, np.uint64) & np.uint64(2**48 - 1) << np.uint64(16)
    rows = rng.integers(0, 2**32, 8, np.uint64)
    total = (int(words.sum()) + int(rows.sum())) % 2**64
    mark = np.array([END_MARK, entries, 2, total], "<u8")
    return words.tobytes() + mark.tobytes(), rows.tobytes()


def read(folder: Path, record: bytes, rows: bytes, steps: int) -> Any:
    (folder / "recalibrations.bin").write_bytes(rows)
    stream = io.BytesIO(record)
    return read_session(Record(stream, folder=folder, steps=steps, channels=1, full=False), ChipConfig.make())


def test_only_the_whole_record_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "CHUNK", 16)
    steps = 40
    record, rows = a_record(steps)
    assert read(tmp_path, record, rows, steps).weight.shape == (steps,)
    for size in (0, 8, 13, 16 * 8, 39 * 8, 40 * 8, 40 * 8 + 8, len(record) - 8, len(record) - 1):
        with pytest.raises(
            DamagedRecord, match=f"{tmp_path}: the record of the replay is not whole; is there"
        ):
            read(tmp_path, record[:size], rows, steps)
    changed = [bytearray(record) for _ in range(len(record) // 8)]
    for word, octets in enumerate(changed):
        octets[8 * word + word % 8] ^= 1 << word % 8
    wrong = [(bytes(octets), rows, steps) for octets in changed]
    wrong += [
        (record + b"\0", rows, steps),
        (record + record, rows, steps),
        (record, rows[:-8], steps),
        (record, rows[:-32], steps),
        (record, rows + bytes(32), steps),
        (record, bytes(64), steps),
        (record, rows, steps - 1),
    ]
    for case in wrong:
        with pytest.raises(DamagedRecord, match=f"{tmp_path}: the record of the replay is damaged; is there"):
            read(tmp_path, *case)
    with pytest.raises(DamagedRecord, match="is not whole"):
        read(tmp_path, record, rows, steps + 1)


class Shell:
    """A simulator whose programs run within a line of shell."""

    def __init__(self, line: str) -> None:
        self._simulator, self._line = installed("cxxrtl"), line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._simulator, name)

    def start(self, design: Design, arguments: list[str], *, folder: Path) -> subprocess.Popen[bytes]:
        program = shlex.join([str(self.build(design) / PROGRAM), *arguments])
        line = self._line.format(program=program)
        return subprocess.Popen(["sh", "-c", line], cwd=folder, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{program} | head -c 500", "the record of the replay is not whole; is there space left"),
        ("{program} | tr '\\001' '\\002'", "the record of the replay is damaged; is there space left"),
        ("{program}; echo", "the record of the replay is damaged; is there space left"),
        ("{program} > /dev/full", "no space in .*, or it cannot be written"),
        ("ln -s /dev/full recalibrations.bin; {program}", "no space in .*, or it cannot be written"),
        ("{program} | head -c 500; exit 9", "ended with status 9"),
        ("{program}; kill -SEGV $$", "ended with status -11"),
    ],
)
def test_a_record_that_is_not_whole_is_an_error_never_a_result(line: str, error: str) -> None:
    config = CONFIGS["adaptive"]
    events = session_of(config, 3000)
    with pytest.raises(ToolError, match=error):
        replay_session(events, config, Shell(line))  # type: ignore[arg-type]


def test_a_record_of_the_bench_that_is_not_whole_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = installed("icarus")
    run = CocotbSimulator.run

    def cut(self: Any, design: Design, bench: str, folder: Path, **options: Any) -> None:
        run(self, design, bench, folder, **options)
        path = folder / "record.bin"
        path.write_bytes(path.read_bytes()[:-8])

    monkeypatch.setattr(CocotbSimulator, "run", cut)
    with pytest.raises(ToolError, match="the record of the replay is not whole; is there space left"):
        replay(scenarios(CONFIGS["undelayed"], 2, seed=3, steps=50)[0], simulator)


# Designs with programs of their own, of whatever kind.

COUNTER = """
module counter #(parameter START = 0) (input clk, output reg [7:0] count);
    initial count = START;
    always @(posedge clk) count <= count + 1;
endmodule
"""
COUNTER_PROGRAM = """
#include <cstdio>
#ifdef CXXRTL_MODEL
#include CXXRTL_MODEL
int main() {
    cxxrtl_design::p_counter top;
    for (int i = 0; i < 2 * CYCLES; i++) { top.p_clk.set<bool>(i & 1); top.step(); }
    printf("%u", top.p_count.get<unsigned>());
}
#else
#include "Vcounter.h"
int main() {
    Vcounter top;
    for (int i = 0; i < 2 * CYCLES; i++) { top.clk = i & 1; top.eval(); }
    printf("%u", top.count);
}
#endif
"""


def counter() -> Design:
    return Design(
        {"counter.sv": COUNTER, "counter.cpp": COUNTER_PROGRAM},
        "counter",
        {"START": 40},
        program="counter.cpp",
        defines={"CYCLES": 7},
    )


@compilers
def test_any_design_with_a_program_is_compiled_and_run(name: str, tmp_path: Path) -> None:
    with installed(name).start(counter(), [], folder=tmp_path) as process:
        assert process.stdout is not None and process.stdout.read() == b"47"
    assert process.returncode == 0


def test_what_a_simulator_does_not_compile_is_refused() -> None:
    with pytest.raises(ToolError, match=r"icarus: compilation failed .*compiles no programs"):
        installed("icarus").build(counter())
    with pytest.raises(ToolError, match=r"cxxrtl: compilation failed .*without a program"):
        installed("cxxrtl").build(replace(counter(), program=None))


def test_a_full_cache_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROZONE_CACHE", str(tmp_path))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: kept_text("core", "0" * 20, lambda: "module core; endmodule"),
        lambda: SIMULATORS["verilator"].build(Design({"core.sv": "module core; endmodule"}, "core")),
    ):
        with pytest.raises(ToolError, match=f"cache folder {tmp_path}: No space left on device"):
            write()
    assert not list(tmp_path.iterdir())


def test_a_yosys_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "yosys"
    broken.write_text("#!/bin/sh\n[ \"$1\" = -V ] && echo 'Yosys 0.70' && exit 0\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(broken))
    with pytest.raises(ToolError, match=rf"yosys \({broken}\): ."):
        to_verilog(RecordFifo(4), "fifo")

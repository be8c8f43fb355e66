"""The host against the gateware: the linked chip in Verilator, at the other end of a simulated cable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import ChipConfig, Events, Result
from microzone.golden_model.experiment.preparation import Preparation
from microzone.sim.loop import simulated_board
from microzone.sim.loop.closed_loop import run_closed_loop, with_slowest_clock
from microzone.sim.loop.simulated_board import SimulatedBoard, electrodes_of
from microzone.tools.host.chip import Host, LinkError
from microzone.tools.host.parameters import Weights, parameter_groups
from microzone.tools.host.session import EVERYTHING, record_session
from microzone.tools.models import paired_then_alone, run_model

BUILT = with_slowest_clock(ChipConfig.make())
"""The default chip: one build for all of these tests."""
EAGER = BUILT.replace(weight={"initial": 0.28})
"""Responds in the first trial."""
LOADED = EAGER.replace(
    plasticity={"potentiation": 5e-5, "depression": 0.02},
    detection={"pn": {"threshold": 3.5}, "io": {"threshold": 4.0, "refractory_s": 0.04}},
    stimulation={"rate_hz": 100.0, "shape": "monophasic"},
    blanking={"mode": "fixed", "fixed_s": 0.3},
)
PROTOCOL = paired_then_alone(2, 0, iti_s=(0.6, 0.7))
SEED = 3


@pytest.fixture(autouse=True, scope="module")
def elaborated_once() -> Iterator[None]:
    with mock.patch.object(simulated_board, "board_design", cache(simulated_board.board_design)):
        yield


@contextmanager
def board(preparation: Preparation | None = None) -> Iterator[tuple[Host, SimulatedBoard]]:
    electrodes = electrodes_of(BUILT, preparation, SEED) if preparation else None
    n_frames = preparation.n_frames if preparation else None
    with SimulatedBoard(BUILT, electrodes, n_frames=n_frames) as chip:
        yield Host(chip, BUILT), chip


def test_the_chip_says_what_it_is_and_has_what_it_was_built_with() -> None:
    with board() as (host, _):
        found = host.check_built()
        assert (found.circuits, found.electrodes, found.clock_hz) == (1, 2, round(BUILT.time.clock_hz))
        host.verify(BUILT, without=())
        readable = [path for path, register in host.registers.registers.items() if register.readable]
        words = host.read_words(readable)
        assert words["control.STEPS"] == 0 and words["control.FRAMES_BAD"] == 1  # the abort
        assert words["circuits[0].WEIGHT"] == 1 << 31 and host.value("circuits[0].WEIGHT") == 0.5


def test_a_configuration_is_loaded_at_rest_and_while_the_chip_runs() -> None:
    with board() as (host, _):
        host.load(LOADED, weights=True)
        host.verify(LOADED, without=())
        host.enable()
        host.load(BUILT)
        steps = host.read("control.STEPS")
        host.load(LOADED)
        assert host.read("control.STEPS") > steps, "a commit waits for a step"
        assert host.value("circuits[0].WEIGHT") == pytest.approx(0.28, abs=1e-9), "w stays"


def test_weights_survive_a_power_cycle(tmp_path: Path) -> None:
    with board() as (host, _):
        host.load(EAGER, weights=True)
        host.weights().save(tmp_path / "w.toml")
    with board() as (host, _):
        assert host.value("circuits[0].WEIGHT") == 0.5
        host.restore(Weights.load(tmp_path / "w.toml"))
        assert host.read("circuits[0].WEIGHT") == EAGER.quantised.weight_initial


@pytest.mark.slow
def test_without_heartbeats_the_watchdog_disarms() -> None:
    with board() as (host, chip):
        host.enable()
        host.arm()
        end = chip.now() + 2.5
        while chip.now() < end:
            host.poll(0.05)
            assert chip.armed
        chip.read(1.1)
        assert not chip.armed and host.faults()[0] is InterlockFault.WATCHDOG


def record(tmp_path: Path, config: ChipConfig, n_steps: int) -> tuple[dict[str, Any], Events, Result]:
    preparation = Preparation(BUILT, PROTOCOL, SEED)
    with board(preparation) as (host, _):
        host.load(config, weights=True)
        trials = preparation.cs, preparation.us
        report = record_session(host, config, tmp_path, n_steps=n_steps, trials=trials)
    return report, Events.load(tmp_path / "events.npz"), Result.load(tmp_path / "result.npz")


@pytest.mark.parametrize(
    "config", [EAGER, pytest.param(LOADED, marks=pytest.mark.slow)], ids=["eager", "loaded"]
)
def test_a_recorded_session_is_what_the_fixed_point_chip_does(tmp_path: Path, config: ChipConfig) -> None:
    """From electrodes to w: telemetry, files and the closed loop leave nothing out."""
    n_steps = 560
    report, events, result = record(tmp_path, config, n_steps)
    assert report["complete"], report["problems"]
    assert result.config == config and report["cr"] > 0 and events.cs.size == 1
    want = run_closed_loop("fixed", config, Preparation(config, PROTOCOL, SEED), SEED)
    steps = slice(0, n_steps)
    np.testing.assert_array_equal(events.pn_steps, want.pn[steps, 0])
    np.testing.assert_array_equal(events.blanked_steps, want.blanked[steps])
    heard = want.io[steps, 0] & ~want.blanked[steps]  # others do not count, and the chip does not tell them
    np.testing.assert_array_equal(events.io_steps, heard)
    np.testing.assert_array_equal(result.cr, np.flatnonzero(want.cr[steps, 0]))
    np.testing.assert_array_equal(result.w_raw, want.weight[steps, 0])
    with np.load(tmp_path / "detections.npz") as found:
        frames = found["step"] * 50 + found["frame"] - 1
        rows = np.stack([frames, found["electrode"]], axis=1)
    np.testing.assert_array_equal(rows, want.detections[want.detections[:, 0] < n_steps * 50])


@pytest.mark.slow
def test_recalibrations_are_recorded_with_what_they_changed(tmp_path: Path) -> None:
    built = BUILT.replace(
        recalibration={
            "enabled": True, "period_s": 1.0, "rate_max_hz": 20.0,
            "alpha": (1.0, 0.5, 0.1), "beta": (4e4, 1e3, 10.0), "gamma": (800.0, 10.0),
        }
    )  # fmt: skip
    preparation = Preparation(built, paired_then_alone(4, 0, iti_s=(0.6, 0.7)), SEED)
    with SimulatedBoard(
        built, electrodes_of(built, preparation, SEED), n_frames=preparation.n_frames
    ) as chip:
        host = Host(chip, built)
        host.verify(built, without=())
        report = record_session(host, built, tmp_path, n_steps=1600)
    assert report["complete"], report["problems"]
    events, result = Events.load(tmp_path / "events.npz"), Result.load(tmp_path / "result.npz")
    wanted, got = run_model("fixed", events, built).recalibrations, result.recalibrations
    assert wanted is not None and got is not None and wanted.step.size >= 2
    for name in ("step", "status", "rate_hz", "potentiation", "depression"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


def test_a_cable_that_is_pulled_during_a_recording_is_told(tmp_path: Path) -> None:
    with board(Preparation(BUILT, PROTOCOL, SEED)) as (host, chip):

        def pull(now: int) -> None:
            chip.plugged = not 250 <= now < 350

        host.retries = 0
        report = record_session(host, BUILT, tmp_path, n_steps=400, progress=pull)
        assert not report["complete"] and report["problems"]
        chip.plugged = True
        assert host.identify().digest == BUILT.digest
        host.enable(False)
        assert not chip.armed and not chip.running


def test_faults_of_the_chip_are_recorded_and_steps_go_on(tmp_path: Path) -> None:
    unplugged: list[int] = []  # seen at: the recorder tells of its steps now and then
    with board(Preparation(BUILT, PROTOCOL, SEED)) as (host, chip):

        def trouble(now: int) -> None:
            chip.emergency_stop = 60 <= now < 100
            chip.amplifiers_plugged = now < 120
            unplugged.extend([now] if now >= 120 else [])

        report = record_session(host, BUILT, tmp_path, n_steps=200, progress=trouble)
    assert report["complete"] and report["n_steps"] == 200, report["problems"]
    stop, lost = report["faults"]
    assert "stimulation: EMERGENCY_STOP" in stop and "amplifier chip 0: LOST" in lost
    (begins, ends), *others = Events.load(tmp_path / "events.npz").blanked
    assert unplugged[0] - 1 <= begins < unplugged[0] + 5 and ends == 200 and not others


class OverASimulatedCable(RuleBasedStateMachine):
    """What the host was told is done is done; of what it was not told, all, part or nothing."""

    PATHS = tuple(word.path for group in parameter_groups(BUILT, without=()) for word in group
                  if not word.path.endswith("LEVEL_HIGH"))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.chip = SimulatedBoard(BUILT)
        self.host = Host(self.chip, BUILT, retries=1, timeout_s=0.01)
        self.host.report(*EVERYTHING)
        self.live = self.host.read_words(self.PATHS)
        self.shadow: list[dict[str, int]] = [{}]

    def attempt(self, act: Callable[[], Any]) -> bool:
        try:
            act()
        except LinkError as error:
            assert not self.chip.plugged, error
            return False
        return True

    @rule(path=st.sampled_from(PATHS))
    def read(self, path: str) -> None:
        words: list[int] = []
        if self.attempt(lambda: words.append(self.host.read(path))):
            assert words == [self.live[path]]

    @rule(path=st.sampled_from(PATHS), word=st.integers(0, 7))
    def write(self, path: str, word: int) -> None:
        word &= 1 if path.endswith(("SHAPE", "BLANK_MODE")) else 7
        if self.attempt(lambda: self.host.write(path, word)):
            self.shadow = [queue | {path: word} for queue in self.shadow]

    @rule()
    def discard(self) -> None:
        if self.attempt(lambda: self.host.command("discard")):
            self.shadow = [{}]

    @rule()
    def commit(self) -> None:
        if self.attempt(self.host.commit):
            got = self.host.read_words(self.PATHS)
            assert got in [self.live | queue for queue in self.shadow]
            self.live, self.shadow = got, [{}]

    @rule()
    def run(self) -> None:
        self.attempt(lambda: self.host.enable(self.chip.plugged))

    @rule(plugged=st.booleans())
    def cable(self, plugged: bool) -> None:
        self.chip.plugged = plugged

    def teardown(self) -> None:
        try:
            self.chip.plugged = True
            self.host.load(LOADED, weights=True)
            self.host.verify(LOADED, without=())
        finally:
            self.chip.close()


TestOverASimulatedCable = OverASimulatedCable.TestCase
TestOverASimulatedCable.settings = settings(max_examples=3, stateful_step_count=12)


@pytest.mark.slow
class TestLongOverASimulatedCable(OverASimulatedCable.TestCase):
    settings = settings(max_examples=40, stateful_step_count=30)


# --- the command line -------------------------------------------------------------------------------


def test_the_verbs_on_a_simulated_chip(microzone: Callable[..., Any]) -> None:
    done = microzone("host", "identify", "--simulated", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["digest"] == BUILT.digest and json.loads(done.out)["config_is_known"]
    facts = json.loads(done.out)
    assert facts["is_built_here"] and facts["builds"] == {"simulation": facts["identity"]}
    done = microzone("host", "save", "w.toml", "--simulated")
    assert done.status == 0 and Weights.load("w.toml").words["weight"] == (1 << 31,)
    assert microzone("host", "restore", "w.toml", "--simulated").status == 0
    Path("loaded.toml").write_text(LOADED.replace(time={"clock_hz": 24e6}).to_toml())
    done = microzone("host", "load", "loaded.toml", "--simulated")
    assert done.status == 0 and "loaded.toml: loaded and verified" in done.out, done.err
    done = microzone("host", "monitor", "--arm", "--seconds", 0.1, "--paired", 1, "--simulated")
    assert done.status == 0 and "microcircuit 0" in done.out and "no fault" in done.out, done.err
    done = microzone("host", "registers", "stimulation", "--simulated")
    assert done.status == 0 and "stimulation.PULSES" in done.out and "armed=0" not in done.out


SHORT = ("--simulated", "--paired", 2, "--iti", 0.6, 0.7, "--seed", SEED)


@pytest.mark.slow
def test_record_writes_what_compare_reads(microzone: Callable[..., Any]) -> None:
    done = microzone("host", "record", "--out", "rec", "--seconds", 1.0, *SHORT, "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["complete"] and report["n_steps"] == 500
    events, result = Events.load("rec/events.npz"), Result.load("rec/result.npz")
    assert result.config == ChipConfig.load("rec/config.toml") == BUILT
    np.testing.assert_array_equal(run_model("fixed", events, result.config).w_raw, result.w_raw)


@pytest.mark.slow
def test_a_recorded_session_replays_through_float_fixed_and_rtl(microzone: Callable[..., Any]) -> None:
    Path("loaded.toml").write_text(LOADED.to_toml())
    done = microzone("host", "record", "--out", "rec", "--load", "loaded.toml", *SHORT)
    assert done.status == 0, done.err
    done = microzone("compare", "rec/events.npz", "--config", "rec/config.toml", "--out", "replay", "--json")
    assert done.status == 0 and json.loads(done.out)["bit_accurate"], done.err
    recorded = Result.load("rec/result.npz")
    for model in ("fixed", "rtl"):
        result = Result.load(f"replay/{model}.npz")
        np.testing.assert_array_equal(result.w_raw, recorded.w_raw)
        np.testing.assert_array_equal(result.cr, recorded.cr)
    real = Result.load("replay/float.npz")
    np.testing.assert_array_equal(real.cr, recorded.cr)
    assert np.abs(real.w - recorded.w).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("identify", "--port", "no/tty"), "no/tty: No such file or directory"),
        (("identify", "--port", "x", "--simulated"), "--port and --simulated: choose one"),
        (("identify", "--config", "no.toml"), "no.toml: No such file"),
        (("load", "no.toml", "--simulated"), "no.toml: No such file"),
        (("restore", "no.toml", "--simulated"), "no.toml: No such file"),
        (("save", "no/w.toml", "--simulated"), "no/w.toml: cannot be written"),
        (("record", "--out", "rec", "--simulated", "--paired", 0), "--paired and --cs-alone are both 0"),
        (("record", "--out", "rec", "--simulated", "--seconds", 0.0001), "--seconds 0.0001: not a step"),
        (("registers", "toaster", "--simulated"), "register 'toaster': the chip has none"),
    ],
)
def test_a_mistake_is_one_line(
    microzone: Callable[..., Any], arguments: tuple[object, ...], message: str
) -> None:
    done = microzone("host", *arguments)
    assert done.status in (1, 2) and message in done.err and done.err.count("\n") == 1, done.err
    assert not Path("rec").exists()

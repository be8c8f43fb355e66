"""The CFPC filter on a board: the host's library against the gateware in Verilator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from conftest import Outcome
from fake_device import FakeDevice
from microzone import __version__
from microzone.gateware.link.frames import Operation, Request, encode
from microzone.golden_model.cfpc import AdaptiveFilterFixed, CfpcConfig, run_trials
from microzone.golden_model.files import FileError
from microzone.sim.loop import simulated_cfpc
from microzone.sim.loop.simulated_cfpc import SimulatedCfpc
from microzone.tools.host.cfpc import CfpcBoard, SavedWeights, open_board
from microzone.tools.host.chip import Host
from microzone.tools.host.link import LinkError

SMALL = CfpcConfig.make(
    task={"trial_s": 0.3, "reference": ((0.05, 0.0), (0.1, 1.0), (0.2, 0.0))},
    bases={"count": 5, "spacing_s": 0.03, "first_s": 0.05, "width_s": 0.02},
)
"""Three hundred steps a trial: one build for all of the fast tests."""
GENERAL = SMALL.replace(bases={"shifted": False, "count": 40, "spacing_s": 0.005})
"""More inputs than a request has words."""
BAUD = 4e6


@pytest.fixture(autouse=True, scope="module")
def elaborated_once() -> Iterator[None]:
    once = cache(simulated_cfpc.cfpc_board_design)
    with mock.patch.object(simulated_cfpc, "cfpc_board_design", once):
        yield


@pytest.fixture
def cable() -> Iterator[SimulatedCfpc]:
    with SimulatedCfpc(SMALL, baud=BAUD) as made:
        yield made


def same_trials(board: CfpcBoard, fixed: AdaptiveFilterFixed, trials: int = 1) -> None:
    """The loop around the board goes as that around the model, to the bit."""
    got, want = ([], [])
    config = board.config
    course = run_trials(board, config, trials, keep=got.append)
    other = run_trials(fixed, config, trials, keep=want.append)
    for k, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        for name in ("o", "error", "y"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), f"{name}, trial {k}")
        assert np.abs(ours.y).max() > 0.1
    np.testing.assert_array_equal(course.weights, other.weights)
    np.testing.assert_array_equal(board.raw_weights, fixed.weight)


# --- hardware in the loop ---------------------------------------------------------------------------


def test_trials_on_the_board_are_those_of_the_fixed_point_model(cable: SimulatedCfpc) -> None:
    """Learning, then frozen, then from weights that were given, then anew."""
    board, fixed = CfpcBoard(cable, SMALL), AdaptiveFilterFixed(SMALL)
    same_trials(board, fixed, 2)
    assert np.abs(fixed.weight).max() > 1000 and cable.learning
    assert (board.lost, board.link.repeated, board.steps) == (0, 0, 600)
    board.frozen = fixed.frozen = True
    same_trials(board, fixed)
    assert not cable.learning and board.frozen
    board.frozen = fixed.frozen = False
    low, high = board.words.weight.raw_min, board.words.weight.raw_max
    given = np.array([low, -1, 0, 123456, high])
    board.raw_weights, fixed.weight[:] = given, given
    same_trials(board, fixed)
    board.reset()
    assert board.link.read("control.STEPS") == 0 and not board.raw_weights.any()
    same_trials(board, AdaptiveFilterFixed(SMALL))


@pytest.mark.slow
def test_more_inputs_than_words_in_a_request() -> None:
    with SimulatedCfpc(GENERAL, baud=BAUD) as cable:
        board = CfpcBoard(cable, GENERAL)
        assert (board.identify().synapses, board.identify().inputs) == (40, 40)
        same_trials(board, AdaptiveFilterFixed(GENERAL))


@pytest.mark.slow
def test_a_trial_of_pursuit() -> None:
    config = CfpcConfig.make()
    with SimulatedCfpc(config, baud=BAUD) as cable:
        same_trials(CfpcBoard(cable, config), AdaptiveFilterFixed(config))


def test_a_host_that_comes_later_goes_on(cable: SimulatedCfpc) -> None:
    fixed = AdaptiveFilterFixed(SMALL)
    same_trials(CfpcBoard(cable, SMALL), fixed)
    board = CfpcBoard(cable, SMALL)
    assert board.steps == 300
    same_trials(board, fixed)


class BadCable:
    """Loses each so-many-th of what is written, or of the frames that are read."""

    def __init__(self, cable: SimulatedCfpc, *, lose: int = 0, lose_records: int = 0) -> None:
        self.cable, self.lose, self.lose_records = cable, lose, lose_records
        self.writes = self.records = 0
        self.now, self.close = cable.now, cable.close

    def write(self, data: bytes) -> None:
        self.writes += 1
        if not self.lose or self.writes % self.lose:
            self.cable.write(data)

    def read(self, timeout_s: float) -> bytes:
        frames = []
        for frame in self.cable.read(timeout_s).split(b"\x7e"):
            record = len(frame) > 2 and frame[1] == 2  # not escaped: a number below 0x20
            self.records += record
            if not (record and self.lose_records and self.records % self.lose_records == 0):
                frames.append(frame)
        return b"\x7e".join(frames)


@pytest.mark.parametrize("losses", [{"lose": 7}, {"lose_records": 5}], ids=["requests", "records"])
def test_losses_on_the_way_change_nothing(cable: SimulatedCfpc, losses: dict[str, int]) -> None:
    bad = BadCable(cable, **losses)
    board = CfpcBoard(bad, SMALL, timeout_s=0.002)
    same_trials(board, AdaptiveFilterFixed(SMALL))
    if bad.lose:
        assert board.link.repeated > 40 and not board.lost
    else:
        assert 50 <= board.lost <= 70


def test_bad_frames_and_refused_accesses_change_nothing(cable: SimulatedCfpc) -> None:
    board, fixed = CfpcBoard(cable, SMALL), AdaptiveFilterFixed(SMALL)
    same_trials(board, fixed)
    link, rng = board.link, np.random.default_rng(5)
    address = link.register("step.BASIS[0]").address
    step = Request(77, Operation.WRITE, address, 2, (1000, 1000))
    good = encode(step.payload())
    for bit in rng.choice(8 * (len(good) - 2), 40, replace=False):  # any bit between the flags
        wrong = bytearray(good)
        wrong[1 + bit // 8] ^= 1 << bit % 8
        cable.write(bytes(wrong))
    cable.write(good[:9] + b"\x7d\x7e" + rng.bytes(200) + b"\x7d\x7e")
    cable.write(encode(Request(78, 9, address, 2, (1, 2)).payload()))
    cable.read(0.05)
    for wrong_address in (0x004C, 0x0012, address + 12, 0x8000, 0xC000 + 4 * 5, 0xFFFC, 0xC002):
        for refused in (
            lambda at=wrong_address: link.read_many(at, 1),
            lambda at=wrong_address: link.write_many(at, [1]),
        ):
            with pytest.raises(LinkError, match="BAD_ADDRESS"):
                refused()
    for path in ("step.OUTPUT", "control.STATUS", "control.MAGIC", "control.STEPS"):
        with pytest.raises(LinkError, match=f"write of 1 words at {re.escape(path)}: BAD_ADDRESS"):
            link.write(path, 1)
    with pytest.raises(LinkError, match=r"read of 1 words at step\.ERROR: BAD_ADDRESS"):
        link.read("step.ERROR")
    assert link.read("control.STEPS") == 300 and not link.read_fields("control.STATUS")["rejected"]
    same_trials(board, fixed)


def test_a_second_host_is_noticed(cable: SimulatedCfpc) -> None:
    board, other = CfpcBoard(cable, SMALL), CfpcBoard(cable, SMALL)
    other.step(5, np.array([7]))
    assert board.link.read("control.STEPS") == 1  # and the link does not take the next for a repetition
    with pytest.raises(LinkError, match="has made 2 steps, not 1: it does not have one host"):
        board.step(5, np.array([7]))


def test_saturation_is_shown(cable: SimulatedCfpc) -> None:
    board, signal = CfpcBoard(cable, SMALL), SMALL.formats.signal
    board.raw_weights = np.full(5, board.words.weight.raw_max)
    assert board.step(0, np.array([signal.raw_max])) == signal.raw_max and cable.saturated
    assert board.link.read_fields("control.STATUS")["saturated"]
    assert abs(board.step(0, np.array([3]))) < 100 and not cable.saturated


# --- who is there, and files ------------------------------------------------------------------------


def test_another_design_or_configuration_is_refused(cable: SimulatedCfpc) -> None:
    found = CfpcBoard(cable, SMALL).identify()
    assert (found.synapses, found.inputs, found.clock_hz) == (5, 1, 12_000_000)
    assert found.digest == SMALL.digest and found.version == __version__
    other = SMALL.replace(learning={"rate": 0.5})
    for config in (other, CfpcConfig.make()):
        with pytest.raises(
            LinkError, match=f"filter is built with configuration {SMALL.digest[:12]}, not"
        ) as told:
            CfpcBoard(cable, config)
        assert "\n" not in str(told.value)
    with pytest.raises(LinkError, match="no CFPC filter: its MAGIC is 0x6d7a6f6e"):
        CfpcBoard(FakeDevice(), SMALL)
    with pytest.raises(LinkError, match="no microzone: its MAGIC is 0x43465043"):
        Host(cable).identify()
    cable.plugged = False
    with pytest.raises(LinkError, match="no answer in 5 attempts of 50 ms"):
        CfpcBoard(cable, SMALL)
    with pytest.raises(LinkError, match="no/tty: No such file"), open_board(SMALL, "no/tty"):
        pass


def test_weights_survive_a_power_cycle(tmp_path: Path) -> None:
    path, given = tmp_path / "w.toml", np.array([1, -2, 3, -(1 << 23), (1 << 23) - 1])
    with SimulatedCfpc(SMALL, baud=BAUD) as cable:
        board = CfpcBoard(cable, SMALL)
        board.raw_weights = given
        board.save(path)
    assert SavedWeights.load(path).digest == SMALL.digest
    with SimulatedCfpc(SMALL, baud=BAUD) as cable:
        board = CfpcBoard(cable, SMALL)
        assert not board.raw_weights.any()
        board.restore(path)
        np.testing.assert_array_equal(board.raw_weights, given)
        np.testing.assert_array_equal(board.weights, given * 2.0**-22)
        text = path.read_text()
        for old, new, message in (
            ("SQ(2,22)", "SQ(2,21)", r"weights in SQ\(2,21\), those of the filter are SQ\(2,22\)"),
            ("    -2,\n", "", r"weights of shape \(4,\), the filter has 5 synapses"),
            ("-2,", f"{1 << 23},", r"weights: -8388608 to 8388608, outside SQ\(2,22\)"),
            ("-2,", f"{-1 - (1 << 23)},", r"weights: -8388609 to 8388607, outside SQ\(2,22\)"),
            ("-2,", f"{1 << 70},", "an integer of more than 64 bits"),
            ("-2,", "true,", "words: not all are integers"),
            ("words", "worlds", "words: missing, or no list"),
            ("format", '"', "not TOML"),
        ):
            assert old in text
            path.write_text(text.replace(old, new))
            with pytest.raises(FileError, match=message) as told:
                board.restore(path)
            assert str(path) in str(told.value) and "\n" not in str(told.value)
        with pytest.raises(FileError, match=r"no\.toml: No such file"):
            board.restore(tmp_path / "no.toml")
        np.testing.assert_array_equal(board.raw_weights, given)
        with pytest.raises(FileError, match="cannot be written"):
            board.save(tmp_path / "no" / "w.toml")


# --- on the command line ----------------------------------------------------------------------------


def run_on_board(microzone: Callable[..., Outcome], *options: str) -> Outcome:
    Path("small.toml").write_text(SMALL.to_toml())
    chosen = ("--config", "small.toml", "--baud", str(int(BAUD)), "--trials", "2", "--json")
    return microzone("cfpc", "pursuit", "--model", "board", "--simulated", *chosen, *options)


def test_a_task_runs_on_the_board(microzone: Callable[..., Outcome]) -> None:
    outcome = run_on_board(microzone)
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    want = run_trials(AdaptiveFilterFixed(SMALL), SMALL, 2)
    assert report["model"] == "board" and report["bit_accurate"] is True
    with np.load("cfpc-output/result.npz") as result:
        np.testing.assert_array_equal(result["rmse"], want.rmse)
        np.testing.assert_array_equal(result["weights"], want.weights)


def test_a_board_that_differs_is_found(
    microzone: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board whose first trial begins with a weight that is not 0."""
    reset = CfpcBoard.reset

    def spoilt(board: CfpcBoard) -> None:
        reset(board)
        board.raw_weights = np.array([0, 0, 1 << 16, 0, 0])

    monkeypatch.setattr(CfpcBoard, "reset", spoilt)
    outcome = run_on_board(microzone)
    assert outcome.status == 1
    report = json.loads(outcome.out)
    assert report["bit_accurate"] is False and report["first_difference"] == "first in trial 1"


@pytest.mark.parametrize("option", [["--simulated"], ["--port", "/dev/ttyUSB0"]])
def test_options_of_the_board_are_for_the_board(microzone: Callable[..., Outcome], option: list[str]) -> None:
    outcome = microzone("cfpc", "pursuit", *option)
    assert outcome.status == 2
    assert outcome.err == f"error: {option[0]}: only with --model board\n"
    both = microzone("cfpc", "pursuit", "--model", "board", "--simulated", "--port", "/dev/ttyUSB0")
    assert (both.status, both.err) == (2, "error: --port and --simulated: one of them\n")

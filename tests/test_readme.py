"""The numbers that README.md names are those of the code, and its examples write where git does not look."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from conftest import Outcome
from generate.pages import DOCS
from microzone.boards.board import BOARDS
from microzone.gateware.microcircuit.microcircuit import Timing
from microzone.golden_model import ChipConfig, Protocol
from microzone.golden_model.calibration.calibration import calibrate
from microzone.golden_model.chip import ChipTiming
from microzone.golden_model.experiment.protocol import TRAINING
from microzone.sim.loop.closed_loop import with_slowest_clock
from microzone.tools.models import CONSTANT, Comparison, paired_then_alone, run_model
from microzone.tools.sessions.chip_session import ChipSession
from microzone.tools.sessions.demo import IO_DRIFT_HZ
from rich.console import Console

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAT = " ".join(README.split())
CONFIG = ChipConfig.make()


def says(text: str) -> None:
    """The page has this text, whatever its line breaks."""
    assert " ".join(text.split()) in FLAT


def test_the_circuit() -> None:
    says(f"One step is {1000 * CONFIG.time.step_s:g} ms")
    says(f"{1000 * Protocol.isi_s:g} ms later (an air puff")
    first, last = CONFIG.eligibility.delay_s, CONFIG.eligibility.delay_s + CONFIG.trace.duration_s
    says(f"from {1000 * first:g} to {1000 * last:g} ms after a cue each step adds δp")
    delay, length = CONFIG.noi.delay_s, CONFIG.trace.duration_s
    says(f"{1000 * delay:g} ms after a CR the IO input is blocked for {1000 * length:g} ms")


def test_the_detections() -> None:
    pn, io = Protocol.pn, Protocol.io
    says(f"(PN {100 * pn.tdr:.1f} % with {pn.far_hz:g} false alarms a second, ")
    says(f"IO {100 * io.tdr:.1f} % with {io.far_hz:g})")
    depression, potentiation = CONFIG.plasticity.depression, CONFIG.plasticity.potentiation
    taken = io.far_hz * CONFIG.time.step_s * depression
    assert taken > potentiation
    says(
        f"({io.far_hz:g} Hz · {1000 * CONFIG.time.step_s:g} ms · {depression:g} = {exponent(taken)} a step) "
        f"than δp = {exponent(potentiation)} adds"
    )
    says(" to ".join(f"{rate:g}" for rate in IO_DRIFT_HZ) + " Hz")


def exponent(value: float) -> str:
    """As in 3.67e-5."""
    return re.sub("e-0", "e-", f"{value:.2e}")


def test_the_demo() -> None:
    """Its length, and what fixed point costs; that the gateware is equal is the verdict of each run."""
    protocol = paired_then_alone(120, 180)
    says("120 trials pair cue and puff, then 180 present the cue alone")
    events = protocol.events(CONFIG, 1)
    results = {model: run_model(model, events, CONFIG) for model in ("float", "fixed")}
    says(f"RTL equals fixed in w and CR at every one of {events.n_steps:,} steps (verilator")
    against = Comparison(events, {**results, "rtl": results["fixed"]}).summary()["fixed_against_float"]
    says(
        f"fixed against float: largest |Δw| {against['largest_weight_error']:.3g} "
        f"({against['largest_weight_error_lsb']:.0f} LSB); CRs moved: none"
    )
    assert set(against["cr_shift_steps"]) <= {"0", 0}
    says(f"{events.n_steps / 1e6:.1f} million steps of the Verilog")
    says(f"{1e6 * against['largest_weight_error']:.1f} millionths at worst")


def test_a_rate_that_drifts() -> None:
    """As the demo does it, without the gateware: what recalibration is good for."""
    config = calibrate(TRAINING.training(CONFIG, 1), CONFIG, training_sha256="0" * 64)
    protocol = replace(paired_then_alone(190, 180), io_drift_hz=IO_DRIFT_HZ)
    events = protocol.events(config, 1)
    found = run_model("fixed", events, config)
    constant = run_model("fixed", events, config.replace(recalibration={"enabled": False}))
    assert found.recalibrations is not None
    says(f"one of {events.n_steps:,} steps, and in each of {found.recalibrations.step.size} recalibrations")
    scores = Comparison(events, {"fixed": found, CONSTANT: constant}).scores
    with_it, without = (int(scores[name].well_timed.sum()) for name in ("fixed", CONSTANT))
    says(f"CRs are fewer ({with_it} well-timed trials against {without})")
    says(f"every {config.recalibration.period_s:g} s the gateware counts")


def test_the_cfpc_filter(microzone: Callable[..., Outcome]) -> None:
    done = microzone("cfpc", "pursuit", "--trials", 1, "--model", "float", "--json", "--out", "o")
    assert done.status == 0, done.err
    says(f"compared at each of {50 * json.loads(done.out)['steps']:,} steps")


@pytest.mark.slow
def test_the_session_of_the_gateware() -> None:
    """By the fixed-point model, which the gateware equals."""
    protocol = paired_then_alone(20, 0, iti_s=(2.0, 3.0))
    config = with_slowest_clock(CONFIG)
    done = ChipSession.run("fixed", config, protocol, 1, console=Console(quiet=True))
    record = done.record
    says(
        f"RTL equals fixed in w and CR at every one of {done.n_steps:,} steps, in {len(record.detections):,} "
        f"detections and in {len(record.edges):,} edges of the pulses"
    )
    says(f"{done.n_steps * config.time.step_s:.0f} seconds of raw samples")


def test_the_cells_are_those_of_the_page_of_the_block() -> None:
    """`make synth` measures them; both pages say the same."""
    text = " ".join((DOCS / "blocks" / "recalibration.md").read_text(encoding="utf-8").split())
    found = re.search(r"from (\d+) to (\d+) logic cells .*? from (\d+) to (\d+) block RAMs", text)
    assert found is not None
    before, after, rams, more = map(int, found.groups())
    says(f"{rams} of 30 block RAMs")
    says(f"Recalibration adds {round(after - before, -2)} cells and {more - rams} block RAMs, no DSP")


def test_the_gateware() -> None:
    for channels in (1, 7, 64):
        assert Timing(CONFIG, channels).cycles_per_step == 4 * channels + 1
    says("A step takes 4 N + 1 clock cycles for N channels")
    for electrodes, circuits, clock_hz in ((16, 8, 24e6), (64, 32, 48e6)):
        chips = -(-electrodes // 32)
        ChipTiming(
            ChipConfig.make(
                time={"clock_hz": clock_hz},
                amplifier={"chips": chips, "channels": electrodes // chips, "rate_hz": 30e3},
                electrodes={"pn": tuple(range(circuits)), "io": tuple(range(circuits, 2 * circuits))},
            )
        )
    says("16 electrodes at 24 MHz, 64 electrodes and 32 microcircuits at 48 MHz")
    for name in {name.partition("-")[0] for name in BOARDS}:
        assert name in README


@pytest.mark.parametrize("line", re.findall(r"^ {4}\.venv/bin/microzone .*$", README, re.MULTILINE))
def test_an_example_writes_into_an_ignored_folder(line: str) -> None:
    command = line.partition("#")[0].strip()
    for target in re.findall(r"--(?:out|figure) (\S+)", command):
        assert target.startswith("out/"), command
        ignored = subprocess.run(["git", "check-ignore", "-q", target], cwd=ROOT, check=False)
        assert ignored.returncode in (0, 128), f"{target}: git would list it"  # 128: no checkout

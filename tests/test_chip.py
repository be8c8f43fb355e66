"""The whole chip: its golden model, its gateware in closed loop, and what happens when something goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from microzone.gateware import chip as gateware
from microzone.gateware.amplifier.amplifier import AmplifierFault
from microzone.gateware.chip import Chip
from microzone.gateware.stimulation.interlock import InterlockFault
from microzone.golden_model import chip as golden_chip
from microzone.golden_model.amplifier import amplifier_registers, decode_registers
from microzone.golden_model.chip import ChipFixed, ChipFloat, ChipTiming, Source
from microzone.golden_model.config import ChipConfig, ConfigError
from microzone.golden_model.detection import detection_score
from microzone.golden_model.events import Events
from microzone.golden_model.experiment.preparation import Preparation
from microzone.golden_model.experiment.protocol import Protocol, Trial, score
from microzone.golden_model.fixed import to_real
from microzone.golden_model.microcircuit import MicrocircuitFixed
from microzone.golden_model.recordings.recording import read_recording
from microzone.golden_model.stimulation import LATENCY
from microzone.sim.failure import BenchFailure
from microzone.sim.loop import chip as simulation
from microzone.sim.loop.amplifier import AnaloguePath
from microzone.sim.loop.chip import Control, RtlChip
from microzone.sim.loop.chip_record import ChipRecord
from microzone.sim.loop.closed_loop import run_closed_loop, with_slowest_clock
from support import applying, changed

EAGER = {"initial": 0.28}
"""A w that responds in the first trial."""
FOUR = {
    "amplifier": {"chips": 2, "channels": 3},
    "electrodes": {"pn": (4, 0), "io": (1, 5)},
    "weight": EAGER,
}
"""Two microcircuits on two amplifier chips, with electrodes that are nobody's."""
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {"weight": EAGER},
    "monophasic, 2 s": {
        "weight": EAGER,
        "stimulation": {"shape": "monophasic"},
        "blanking": {"mode": "fixed"},
    },
    "not blanked": {"weight": EAGER, "blanking": {"mode": "none"}},
    "band-pass": {"weight": EAGER, "detection": {"io": {"bandpass_hz": (300.0, 3000.0)}}},
    "two of each": FOUR,
    "recalibrated": {
        "weight": EAGER,
        "recalibration": {
            "enabled": True,
            "period_s": 2.0,
            "rate_min_hz": 0.1,
            "rate_max_hz": 20.0,
            "alpha": (2e-3, 3e-3, 0.0),
            "beta": (60.0, 0.0, 1.0),
            "gamma": (0.7, 0.0),
        },
    },
}


def make(**sections: Any) -> ChipConfig:
    return with_slowest_clock(ChipConfig.make(**sections))


def protocol(trials: int, iti_s: float = 1.5) -> Protocol:
    return Protocol(trials=(Trial.PAIRED,) * trials, iti_s=(iti_s, 1.2 * iti_s))


def loop(model: str, config: ChipConfig, trials: int = 2, seed: int = 3) -> ChipRecord:
    return run_closed_loop(model, config, Preparation(config, protocol(trials), seed), seed)


def noise(config: ChipConfig, frames: int, seed: int) -> npt.NDArray[np.int16]:
    """Bursts on noise, in every electrode."""
    rng = np.random.default_rng(seed)
    gain = 1 + 8 * (rng.random((frames // 250 + 1, config.amplifier.electrodes)) < 0.05)
    return (rng.normal(0, 50, (frames, gain.shape[1])) * np.repeat(gain, 250, axis=0)[:frames]).astype(
        np.int16
    )


# Each configuration is a build of Verilator's more: all but one are left to the slow tests.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name != "default" else ()) for name in CONFIGS]
)
def test_gateware_equals_the_fixed_chip_in_closed_loop(name: str) -> None:
    config = make(**CONFIGS[name])
    fixed, rtl = loop("fixed", config), loop("rtl", config)
    assert fixed.first_difference(rtl) is None
    assert fixed.cr.any() and len(fixed.edges), "nothing was triggered: this shows nothing"
    assert fixed.pn.any(axis=0).all() and fixed.io.any(axis=0).all()
    if name == "recalibrated":
        assert len(fixed.recalibrations)
    assert fixed.blanked.any() == (name != "not blanked")


MUTANTS = applying(
    {
        "blanked steps not told": ("& mostly_hidden", "& (mostly_hidden & ~mostly_hidden)"),
        "a step is blanked by any frame": (
            "(hidden_frames << 1) > timing.frames_per_step",
            "hidden_frames != 0",
        ),
        "blanking decided for the first sample only": ("with m.If(decided):", "with m.If(first_sample):"),
        "PN electrodes blanked too": ("self.blanked & _is_one_of", "self.blanked | 0 & _is_one_of"),
        "tick a cycle early": ("(since == timing.tick_cycle)", "(since == timing.tick_cycle - 1)"),
        "steps a frame short": (
            "frames == timing.frames_per_step - 1",
            "frames == timing.frames_per_step - 2",
        ),
        "electrodes swapped": (
            "((EventKind.PN, electrodes.pn), (EventKind.IO, electrodes.io))",
            "((EventKind.IO, electrodes.pn), (EventKind.PN, electrodes.io))",
        ),
        "nobody's electrodes heard": ("sink.valid.eq(source.valid & used)", "sink.valid.eq(source.valid)"),
    },
    gateware,
)


def replay(config: ChipConfig, samples: npt.NDArray[np.int16]) -> ChipRecord:
    """The gateware in open loop."""
    taken = 0

    def source(on: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
        nonlocal taken
        taken += len(on)
        return samples[taken - len(on) : taken]

    rate_hz = config.amplifier.rate_hz
    configured = decode_registers(amplifier_registers(config), rate_hz)
    with RtlChip(config) as rtl:
        assert [decode_registers(words, rate_hz) for words in rtl.registers] == [
            configured
        ] * config.amplifier.chips
        for _ in range(len(samples) // rtl.timing.frames_per_step):
            rtl.step(source)
        return rtl.finish()


def expected(config: ChipConfig, samples: npt.NDArray[np.int16]) -> ChipRecord:
    """The fixed-point chip in open loop."""
    chip = ChipFixed(config)
    return ChipRecord.of(chip, [chip.process(samples)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["the chip itself", *MUTANTS])
def test_a_broken_chip_is_found(name: str) -> None:
    config = make(**FOUR)
    samples = noise(config, 2000 * ChipTiming(config).frames_per_step, seed=4)
    fixed = expected(config, samples)
    assert len(fixed.edges) > 100 and fixed.blanked.any()
    if name not in MUTANTS:
        assert fixed.first_difference(replay(config, samples)) is None
        return
    broken = changed(gateware, *MUTANTS[name]).Chip
    with mock.patch.object(simulation, "Chip", broken):
        try:
            difference = fixed.first_difference(replay(config, samples))
        except BenchFailure as failure:
            difference = str(failure)
    print(f"{name}: {difference}")
    assert difference is not None


@pytest.mark.parametrize(
    ("chips", "channels", "rate_hz", "clock_hz"),
    [(1, 2, 25e3, 24e6), (1, 16, 30e3, 24e6), (1, 32, 30e3, 48e6), (2, 32, 30e3, 48e6)],
)
def test_a_pulse_comes_within_20_microseconds_of_the_deciding_sample(
    chips: int, channels: int, rate_hz: float, clock_hz: float
) -> None:
    config = ChipConfig.make(
        time={"clock_hz": clock_hz},
        amplifier={"chips": chips, "channels": channels, "rate_hz": rate_hz},
        electrodes={"pn": (0,), "io": (chips * channels - 1,)},
    )
    timing = ChipTiming(config)
    last = timing.conversion_cycle(chips * channels - 1)
    first_edge = timing.trigger_cycle(0, 0) - (timing.frames_per_step - 1) * timing.frame_cycles
    first_edge += LATENCY
    assert (first_edge - last) / clock_hz < 20e-6


def test_the_first_edge_comes_when_it_is_said_to() -> None:
    config = make(weight=EAGER)
    rtl = loop("rtl", config)
    timing = ChipTiming(config)
    steps = np.flatnonzero(rtl.cr[:, 0])
    expected = timing.trigger_cycle(int(steps[0]), 0) + LATENCY
    assert rtl.edges[0].tolist() == [expected, 0, 1]
    assert Chip(config).pulse_latency == timing.decision_cycles + LATENCY


@pytest.mark.slow
def test_64_electrodes_and_32_microcircuits_within_the_budget() -> None:
    config = ChipConfig.make(
        time={"clock_hz": 48e6},
        amplifier={"chips": 2, "channels": 32, "rate_hz": 30e3},
        electrodes={"pn": tuple(range(32)), "io": tuple(range(32, 64))},
        detection={"pn": {"settle_s": 0.0}, "io": {"settle_s": 0.0}},
    )
    timing = ChipTiming(config)
    assert timing.frame_cycles == 1600
    samples = noise(config, 60 * timing.frames_per_step, seed=5)
    fixed = expected(config, samples)
    assert len(fixed.detections) > 20
    assert fixed.first_difference(replay(config, samples)) is None


def test_microcircuit_on_the_events_of_a_chip_gives_its_weight() -> None:
    config = make(weight=EAGER)
    record = loop("fixed", config, trials=4)
    alone = MicrocircuitFixed(config).process(record.pn[:, 0], record.io[:, 0], blanked=record.blanked)
    np.testing.assert_array_equal(alone.weight, record.weight[:, 0])
    np.testing.assert_array_equal(alone.cr, record.cr[:, 0])


def test_float_and_fixed_chip_agree_in_behaviour() -> None:
    config = make(weight=EAGER)
    real, fixed = loop("float", config, trials=8), loop("fixed", config, trials=8)
    assert np.count_nonzero(real.cr) == np.count_nonzero(fixed.cr) > 0
    assert np.abs(real.weight - fixed.weight * config.formats.weight.lsb).max() < 1e-6


def test_open_loop_does_not_depend_on_how_it_is_cut() -> None:
    config = make(weight=EAGER)
    frames = ChipTiming(config).frames_per_step
    samples = noise(config, 60 * frames, seed=2)
    whole, parts = ChipFixed(config), ChipFixed(config)
    once = whole.process(samples)
    twice = [parts.process(samples[: 7 * frames]), parts.process(samples[7 * frames :])]
    assert ChipRecord.of(whole, [once]).first_difference(ChipRecord.of(parts, twice)) is None


@pytest.mark.parametrize("frames", [0, 1, 51])
def test_open_loop_takes_whole_steps(frames: int) -> None:
    with pytest.raises(ValueError, match=r"needs \(frames, 2\), frames a multiple of 50"):
        ChipFloat(make()).process(np.zeros((frames, 2), np.int16))


REFUSED = [
    ({"time": {"clock_hz": 3e6}}, "time.clock_hz"),
    ({"time": {"clock_hz": 24.01e6}}, "time.clock_hz"),
    ({"amplifier": {"rate_hz": 20300.0}}, "whole number"),
    ({"amplifier": {"chips": 4}, "time": {"clock_hz": 6e6}}, "amplifier.chips = 4"),
    (
        {
            "time": {"step_s": 4e-5, "clock_hz": 4e6},
            "trace": {"duration_s": 0.012},
            "noi": {"delay_s": 0.004},
            "eligibility": {"delay_s": 0.004},
        },
        "the samples of a step take 205 cycles",
    ),
]


@pytest.mark.parametrize(("sections", "message"), REFUSED)
def test_what_does_not_fit_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChipFixed(ChipConfig.make(**sections))


def test_the_slowest_clock_is_the_slowest() -> None:
    config = make()
    cycles = ChipTiming(config).frame_cycles
    with pytest.raises(ConfigError):
        ChipTiming(config.replace(time={"clock_hz": (cycles - 1) * config.amplifier.rate_hz}))


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        ("_DETECTION_CYCLES", r"an event comes \d+ cycles after its sample, limit is 9 "),
        ("_SAMPLE_CYCLES", r"detection takes \d+ cycles for a sample, limit is 10 "),
    ],
)
def test_a_detection_slower_than_the_chip_counts_on_is_refused(constant: str, message: str) -> None:
    """The golden model states the detection's cycles; the gateware says where they do not hold."""
    config = make()
    Chip(config)
    with mock.patch.object(golden_chip, constant, 10), pytest.raises(ConfigError, match=message):
        Chip(config)


FAULTS = {
    "unplugged": (Control.HEARTBEAT | Control.UNPLUGGED, AmplifierFault.LOST, InterlockFault.AMPLIFIER),
    "stopped": (
        Control.HEARTBEAT | Control.EMERGENCY_STOP,
        AmplifierFault.NONE,
        InterlockFault.EMERGENCY_STOP,
    ),
    "host silent": (Control(0), AmplifierFault.NONE, InterlockFault.WATCHDOG),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_mid_session_ends_the_stimulation(name: str) -> None:
    config = make(weight={"initial": 0.1}, stimulation={"watchdog_s": 0.05})
    control, amplifier_fault, stimulation_fault = FAULTS[name]
    preparation = Preparation(config, protocol(2), 3)
    with RtlChip(config) as rtl:
        path = AnaloguePath(rtl.registers, config.amplifier.rate_hz, config.amplifier.electrodes, 3)
        on: list[npt.NDArray[np.float64]] = []

        def source(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
            on.append(shares)
            return path.convert(preparation.record(shares))

        while not any(shares.any() for shares in on):  # to the middle of the first train
            rtl.step(source)
            assert rtl.armed and rtl.steps < 2000
        rtl.control = control
        for _ in range(30 + 10):
            rtl.step(source)
        assert not rtl.armed
        assert (rtl.amplifier_fault, rtl.stimulation_fault) == (amplifier_fault, stimulation_fault)
        assert rtl.running == (amplifier_fault is AmplifierFault.NONE)
        on.clear()
        rtl.control = Control.HEARTBEAT
        for _ in range(60):
            rtl.step(source)
        assert not any(shares.any() for shares in on), "a pulse after the fault"
        assert not rtl.armed and rtl.stimulation_fault == stimulation_fault, "the reason is kept"


@pytest.mark.slow
def test_what_was_heard_before_an_outage_triggers_nothing_after_it() -> None:
    config = make(weight={"initial": 0.1})
    preparation = Preparation(config, protocol(6), 3)
    pulses: list[int] = []

    with RtlChip(config) as rtl:
        path = AnaloguePath(rtl.registers, config.amplifier.rate_hz, config.amplifier.electrodes, 3)

        def heard(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
            pulses.append(np.count_nonzero(shares))
            return path.convert(preparation.record(shares))

        def silence(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
            pulses.append(np.count_nonzero(shares))
            return np.zeros((len(shares), 2), np.int16)

        def run(steps: int, source: Source, control: Control) -> None:
            rtl.control = control
            for _ in range(steps):
                rtl.step(source)

        while not any(pulses):  # to the middle of a train, and of a trace
            run(1, heard, Control.HEARTBEAT)
        run(20, silence, Control.HEARTBEAT | Control.UNPLUGGED)
        assert not rtl.running and not rtl.armed
        run(config.trace_steps, silence, Control.HEARTBEAT | Control.DISABLED)
        run(10, silence, Control.HEARTBEAT)
        assert rtl.running and rtl.amplifier_fault is AmplifierFault.NONE and not rtl.armed
        run(1, silence, Control.HEARTBEAT | Control.ARM)
        pulses.clear()
        run(100, silence, Control.HEARTBEAT)
        assert rtl.armed and not any(pulses), "a response to what came before the outage"
        run(3000, heard, Control.HEARTBEAT)
        assert rtl.armed and any(pulses), "it works again"


@pytest.mark.slow
def test_real_recording_through_amplifier_spi_and_gateware(recording: Path) -> None:
    source = read_recording(recording)
    labels = source.vector("Labels")
    microvolts = source.channel("HIGH") * 0.195
    config = make()
    frames = ChipTiming(config).frames_per_step
    steps = microvolts.size // frames
    electrodes = np.zeros((steps * frames, 2))
    electrodes[:, 1] = microvolts[: steps * frames]
    samples = AnaloguePath([amplifier_registers(config)], config.amplifier.rate_hz, 2, 1).convert(electrodes)
    found = replay(config, samples)
    assert expected(config, samples).first_difference(found) is None
    events = found.detections[found.detections[:, 1] == 1, 0]
    labelled, hit, false = detection_score(events, labels, config.amplifier.rate_hz)
    assert (labelled, hit >= 44) == (45, True)
    assert false / (labels.size / config.amplifier.rate_hz) <= 0.05


@pytest.mark.slow
def test_sixty_paired_trials_teach_the_gateware_a_well_timed_response() -> None:
    config = make()
    paired = Protocol(trials=(Trial.PAIRED,) * 60, iti_s=(1.0, 1.2))
    records = {
        model: run_closed_loop(model, config, Preparation(config, paired, 1), 1) for model in ("fixed", "rtl")
    }
    assert records["fixed"].first_difference(records["rtl"]) is None
    rtl, preparation = records["rtl"], Preparation(config, paired, 1)
    events = Events(
        pn=np.flatnonzero(rtl.pn), io=np.flatnonzero(rtl.io), n_steps=rtl.pn.size,
        cs=preparation.cs, us=preparation.us,
    )  # fmt: skip
    trials = score(np.flatnonzero(rtl.cr), to_real(rtl.weight[:, 0], config.formats.weight), events, config)
    assert not trials.well_timed[:10].any(), "it starts naive"
    assert trials.well_timed[-20:].sum() >= 4, f"w at the CS: {trials.weight.round(3).tolist()}"

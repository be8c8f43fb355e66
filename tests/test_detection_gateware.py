"""The event detection's gateware: equal to the fixed-point model in every signal, and unequal once broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.io
from amaranth.hdl import Cat
from amaranth.lib import memory
from amaranth.sim import Simulator as AmaranthSimulator
from microzone.gateware.detection import arithmetic as detection_arithmetic
from microzone.gateware.detection import bandpass, detection
from microzone.gateware.detection.ports import DetectionCommit, detection_commit_signature
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.detection import SIGNALS, DetectorFixed, detection_score
from microzone.golden_model.detection_parameters import DetectionParameters, DetectionRow
from microzone.golden_model.events import Events
from microzone.golden_model.recordings.recording import read_recording
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS, CocotbSimulator
from microzone.sim.failure import BenchFailure
from microzone.sim.replay import detection_replay
from microzone.sim.replay.detection_replay import (
    DetectionScenario,
    expected_detection,
    first_detection_difference,
)
from microzone.sim.replay.detection_scenarios import DETECTION_CONFIGS, detection_scenarios
from support import applying, changed

# What is broken: module, what stands in it, what replaces it.
MUTATIONS = applying(
    {
        "averages are not rounded": (detection_arithmetic, "self.rounding & ~shifted[0]", "Const(0, 1)"),
        "the gain's product is not rounded": (
            detection_arithmetic,
            "rounding = 1 << gain.fraction_bits >> 1",
            "rounding = 0",
        ),
        "the plain average grows late": (
            detection_arithmetic,
            "inverted[: bits + 1]",
            "inverted[: bits + 2]",
        ),
        "no average is plain": (detection, "Mux(excess, table", "Mux(Const(0, 1), table"),
        "a blanked sample counts for the plain average": (
            detection,
            "frames.grows & ~blanked",
            "frames.grows",
        ),
        "the filter starts at 0": (bandpass, "Mux(none, walk.x, word)", "word"),
        "the filter's outputs start with the sample": (
            bandpass,
            "(row == _X1) | (row == _X2)",
            "(row == _X1) | (row == _X2) | (row == _Y1)",
        ),
        "an event at the threshold": (
            detection,
            "is_less(product.threshold, accumulator.value)",
            "is_less(product.threshold, accumulator.value - 1)",
        ),
        "a level and a gain count both": (
            detection,
            "Mux(product.relative, TableWord.NOTHING, TableWord.LEVEL)",
            "TableWord.LEVEL",
        ),
        "an event in every sample above": (
            detection,
            "recovered & settled & ~word[count.width]",
            "recovered & settled",
        ),
        "blanked samples are heard": (detection, "accumulator.alone.eq(blanked)", "accumulator.alone.eq(0)"),
        "the refractory time is a sample long": (
            detection,
            "word[1 : count.width].all()",
            "word[: count.width].all()",
        ),
        "the refractory time begins again": (detection, "counting.eq(event | ~ready)", "counting.eq(1)"),
        "settled a sample early": (
            detection,
            "is_less(word[: count.width], frames.inverted)",
            "is_less(word[: count.width], frames.inverted - 1)",
        ),
        "below the mean counts as above": (
            detection,
            "accumulator.invert.eq(below)",
            "accumulator.invert.eq(0)",
        ),
        "magnitudes wrap": (detection_arithmetic, "with m.If(self.saturating):", "with m.If(Const(0, 1)):"),
        "accesses reach what is not there": (
            detection,
            "write.en.eq(request.write & reaches & ~is_tap)",
            "write.en.eq(request.write & ~is_tap)",
        ),
        "words are kept whole": (
            detection,
            "Mux(self.access.ready, port.fitted, 0)",
            "Mux(self.access.ready, self.access.payload.word, 0)",
        ),
        "y2 is y1": (bandpass, "keep(_Y2, past)", "keep(_Y2, y)"),
        "x1 is kept while blanked": (bandpass, "kept.en.eq(~blanked)", "kept.en.eq(1)"),
        "feedback is added": (bandpass, "tap % TAPS in (3, 4)", "tap % TAPS in (3,)"),
        "the second biquad adds to the first": (bandpass, " | (turn == TAPS + _PIPELINE)", ""),
    }
)

COLLISIONS = applying(
    {
        "the mean is read as it is written": (detection, "fetch(TableWord.LONG)", "fetch(TableWord.MEAN)"),
        "a coefficient is read as it is written": (
            bandpass,
            "tap_read.en.eq(~tap_write.en)",
            "tap_read.en.eq(1)",
        ),
    }
)

OF_THE_PORTS = {
    "accesses reach what is not there": "unknown_addresses",
    "words are kept whole": "order_gaps_and_accesses.*answer",
}
"""Those that the samples do not show, and what in the bench of the ports does."""


def usable(name: str) -> CocotbSimulator:
    """The simulator of that name; skips the test where it is not installed."""
    simulator = SIMULATORS[name]
    if simulator.version() is None:
        pytest.skip(f"{name} is not installed; get it with: {simulator.how_to_get}")
    assert isinstance(simulator, CocotbSimulator)
    return simulator


@contextmanager
def mutant(name: str) -> Iterator[Any]:
    """The class of the block, with one piece of its source or of the band-pass's replaced."""
    module, old, new = (MUTATIONS | COLLISIONS)[name]
    broken = changed(module, old, new)
    if module is detection:
        yield broken.Detection
        return
    with ExitStack() as patches:
        for part in ("BandPass", "FrameCount", "Accumulator", "GainProduct", "is_less"):
            if part in module.__all__:
                patches.enter_context(mock.patch.object(detection, part, getattr(broken, part)))
        yield detection.Detection


def watched(block: Any) -> AmaranthSimulator:
    """A simulator of the block in which no word is read in the cycle in which it is written.

    What comes out of a block RAM then is undefined, as the boards' synthesis has it.
    """
    memories: list[memory.Memory] = []
    elaborate = memory.Memory.elaborate

    def recorded(one: memory.Memory, platform: Any) -> Any:
        memories.append(one)
        return elaborate(one, platform)

    with mock.patch.object(memory.Memory, "elaborate", recorded):
        simulator = AmaranthSimulator(block)
    ports = [(read, write) for one in memories for read in one.read_ports for write in one.write_ports]
    assert ports
    collides = Cat(read.en & write.en & (read.addr == write.addr) for read, write in ports).any()

    async def watch(ctx: Any) -> None:
        async for _, reset, collided in ctx.tick().sample(collides):
            assert reset or not collided, "a word is read as it is written"

    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    return simulator


def simulate(block: Any, scenario: DetectionScenario) -> dict[str, np.ndarray]:
    """Every signal of every sample, and ``late``: frames in which one took other than the stated cycles."""
    frames, electrodes = scenario.samples.shape
    names = (*SIGNALS, "event", "blanked")
    record = {name: np.zeros(scenario.samples.shape, np.int64) for name in names}
    record["sent"] = np.zeros(scenario.samples.shape, np.int64)
    late = np.zeros(frames, bool)

    async def feed(ctx: Any) -> None:
        while ctx.get(block.busy):
            await ctx.tick()
        for frame in range(frames):
            for write in (write for write in scenario.writes if write.frame == frame):
                await access(ctx, block, write.electrode, int(write.row), write.word)
            ctx.set(block.frame, 1)
            for electrode in range(electrodes):
                sample = {"electrode": electrode, "sample": int(scenario.samples[frame, electrode])}
                ctx.set(block.samples.payload, sample | {"blanked": int(scenario.mask[frame, electrode])})
                ctx.set(block.samples.valid, 1)
                taken = False
                while not taken:
                    taken = bool(ctx.get(block.samples.ready))
                    await ctx.tick()
                    ctx.set(block.frame, 0)
            ctx.set(block.samples.valid, 0)
            while ctx.get(block.busy):
                await ctx.tick()

    async def watch(ctx: Any) -> None:
        ctx.set(block.events.ready, 1)
        for frame in range(frames):
            while not (ctx.get(block.samples.valid) and ctx.get(block.samples.ready)):
                await ctx.tick()
            cycles = 0
            for electrode in range(electrodes):
                while not ctx.get(block.commit.valid):
                    await ctx.tick()
                    cycles += 1
                late[frame] |= cycles != (block.cycles_per_sample if electrode else block.latency)
                assert ctx.get(block.commit.electrode) == electrode
                for name in names:
                    record[name][frame, electrode] = ctx.get(getattr(block.commit, name))
                record["sent"][frame, electrode] = ctx.get(block.events.valid)
                await ctx.tick()
                cycles = 1

    simulator = watched(block)
    simulator.add_testbench(feed, background=True)
    simulator.add_testbench(watch)
    simulator.run()
    return record | {"late": np.flatnonzero(late)}


async def access(ctx: Any, block: Any, electrode: int, row: int, word: int | None) -> None:
    """Offer one read (`word` None) or write until it is taken."""
    width = block.access.payload.word.shape().width
    payload = {"electrode": electrode, "row": row, "write": word is not None}
    ctx.set(block.access.payload, payload | {"word": (word or 0) % (1 << width)})
    ctx.set(block.access.valid, 1)
    while not ctx.get(block.access.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(block.access.valid, 0)


def difference(kind: Any, scenario: DetectionScenario) -> str | None:
    block = kind(scenario.config, scenario.settings, scenario.rate_hz)
    got = simulate(block, scenario)
    late = got.pop("late")
    if late.size:
        return f"frame {late[0]}: a sample took other than the stated cycles"
    return first_detection_difference(expected_detection(scenario), got, block.parameters)


@pytest.mark.parametrize(("name", "electrodes"), [("default", 1), ("bandpass", 2), ("narrow", 3)])
def test_every_signal_of_every_sample_is_equal(name: str, electrodes: int) -> None:
    for scenario in detection_scenarios(name, electrodes, seed=1, frames=240 // electrodes):
        found = difference(detection.Detection, scenario)
        assert found is None, f"{scenario.name}: {found}; seed {scenario.seed}"


@pytest.mark.parametrize("settle_s", [0.0012, 0.06])
def test_frames_are_counted_up_to_their_limit(settle_s: float) -> None:
    """A count as wide as the largest shift, and a wider one, each with a frame a cycle beyond its end."""
    setup = DETECTION_CONFIGS["narrow"]
    kind = setup.kinds[1].model_copy(update={"settle_s": settle_s})
    parameters = DetectionParameters(setup.config, kind, setup.rate_hz)
    block = detection_arithmetic.FrameCount(parameters)
    limit = 1 << parameters.count_format.width
    assert (parameters.count_format.width > parameters.most_bits) is (settle_s > 0.02)

    async def bench(ctx: Any) -> None:
        ctx.set(block.frame, 1)
        await ctx.tick()
        plain = 0
        for begun in range(2 * limit + 100):
            ctx.set(block.log2, plain)
            got = min(~ctx.get(block.inverted), limit), plain
            log2 = max(begun, 1).bit_length() - 1
            assert got == (min(begun, limit), min(log2, parameters.most_bits)), begun
            # One that starts late grows too, also where the count is beyond its limit.
            for late in range(parameters.most_bits):
                ctx.set(block.log2, late)
                assert ctx.get(block.grows) == ((begun + 1) % (2 << late) == 0), (begun, late)
            ctx.set(block.log2, plain)
            plain += ctx.get(block.grows)
            await ctx.tick()

    simulator = AmaranthSimulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("name", COLLISIONS)
def test_a_word_that_is_read_as_it_is_written_is_noticed(name: str) -> None:
    scenarios = detection_scenarios("bandpass", 1, seed=1, frames=40)
    with mutant(name) as kind, pytest.raises(AssertionError, match="read as it is written"):
        for scenario in scenarios:
            difference(kind, scenario)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MUTATIONS if name not in OF_THE_PORTS])
def test_a_broken_block_is_found(name: str) -> None:
    with mutant(name) as kind:
        for config_name, electrodes in (("bandpass", 3), ("narrow", 3), ("default", 1)):
            for seed in (1, 2):
                for scenario in detection_scenarios(config_name, electrodes, seed, frames=300):
                    found = difference(kind, scenario)
                    if found:
                        print(f"{name}: {found}")
                        return
    pytest.fail("no scenario tells this mutant from the model")


@pytest.mark.parametrize("config_name", ["bandpass", "narrow"])
def test_parameters_are_read_back_and_what_is_not_there_is_rejected(config_name: str) -> None:
    setup = DETECTION_CONFIGS[config_name]
    block = detection.Detection(setup.config, setup.settings(3), setup.rate_hz)
    model = DetectorFixed(setup.config, setup.settings(3), setup.rate_hz)
    rng = np.random.default_rng(5)
    wrong: list[str] = []

    async def read(ctx: Any, electrode: int, row: int) -> int:
        await access(ctx, block, electrode, row, None)
        word = int(ctx.get(block.readback.payload))
        ctx.set(block.readback.ready, 1)
        await ctx.tick()
        ctx.set(block.readback.ready, 0)
        return word

    async def bench(ctx: Any) -> None:
        while ctx.get(block.busy):
            await ctx.tick()
        given = block.parameters
        width = block.access.payload.word.shape().width
        places = [(electrode, row) for row in given.rows for electrode in range(3)]
        for _ in range(4):
            for electrode, row in places:
                got, word = await read(ctx, electrode, row), model.read(electrode, row) % (1 << width)
                if got != word:
                    wrong.append(f"{row.name} of {electrode}: {got:#x}, not {word:#x}")
            for electrode, row in places:
                word = int(rng.integers(1 << width))  # most have bits beyond the format of the row
                model.write(electrode, row, word)
                await access(ctx, block, electrode, row, word)
        assert not ctx.get(block.rejected)
        assert await read(ctx, 3, DetectionRow.GAIN) == 0
        assert ctx.get(block.rejected)

    simulator = watched(block)
    simulator.add_testbench(bench)
    simulator.run()
    assert not wrong, wrong[:3]


@pytest.mark.parametrize(
    ("config_name", "electrodes", "frames"),
    [("bandpass", 2, 400), ("default", 1, 2000), ("narrow", 7, 2000), ("bandpass", 64, 300)],
)
@pytest.mark.slow
def test_the_replay_bench_passes(config_name: str, electrodes: int, frames: int) -> None:
    BENCHES["detection"].run(
        usable("verilator"), config_name=config_name, channels=electrodes, seed=3, steps=frames
    )


@pytest.mark.parametrize("config_name", ["bandpass", pytest.param("narrow", marks=pytest.mark.slow)])
def test_the_bench_passes_on_icarus(config_name: str) -> None:
    BENCHES["detection"].run(usable("icarus"), config_name=config_name, channels=3, seed=4, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_THE_PORTS)
def test_the_bench_of_the_ports_finds_what_samples_do_not_show(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = usable("verilator")
    with mutant(name) as kind, pytest.raises(BenchFailure, match=OF_THE_PORTS[name]):
        monkeypatch.setattr(detection_replay, "Detection", kind)
        BENCHES["detection"].run(simulator, config_name="default", channels=2, seed=3, steps=20)


def detected(microzone: Callable[..., Any], path: Path, model: str, *options: object) -> np.ndarray:
    outcome = microzone(
        "detect", path, "--channel", "HIGH", "--rate", 25000, "--model", model, "--out", "e.npz", *options
    )
    assert outcome.status == 0, outcome.err
    return np.asarray(Events.load("e.npz").samples)


def test_detect_gives_the_same_events_on_the_gateware(microzone: Callable[..., Any], tmp_path: Path) -> None:
    usable("verilator")
    rng = np.random.default_rng(11)
    x = 300 * rng.standard_normal(30_000)
    for start in (16_000, 24_000):
        x[start : start + 125] += 6000 * np.sin(np.arange(125) / 4)
    scipy.io.savemat(tmp_path / "r.mat", {"HIGH": np.rint(x).astype(np.int16)})
    (tmp_path / "settings.toml").write_text("[detection.io]\nsettle_s = 0.2\nbandpass_hz = [300.0, 3000.0]\n")
    options = ("--config", tmp_path / "settings.toml")
    fixed, rtl = (detected(microzone, tmp_path / "r.mat", model, *options) for model in ("fixed", "rtl"))
    assert fixed.size == 2 and np.array_equal(fixed, rtl)
    scipy.io.savemat(tmp_path / "wide.mat", {"HIGH": np.full(100, 40_000, np.int32)})
    outcome = microzone(
        "detect", tmp_path / "wide.mat", "--channel", "HIGH", "--rate", 25000, "--model", "rtl", "--out", "e"
    )
    assert outcome.status == 2 and "outside formats.sample" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("band", ["", "bandpass_hz = [300.0, 3000.0]"])
def test_the_gateware_finds_the_real_complex_spikes(
    microzone: Callable[..., Any], recording: Path, tmp_path: Path, band: str
) -> None:
    usable("verilator")
    (tmp_path / "settings.toml").write_text(f"[detection.io]\n{band}\n")
    options = ("--config", tmp_path / "settings.toml")
    fixed, rtl = (detected(microzone, recording, model, *options) for model in ("fixed", "rtl"))
    assert rtl.size == 45 and np.array_equal(fixed, rtl)


@pytest.mark.slow
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_the_gateware_finds_them_at_any_offset_and_scale(recording: Path, band: Any) -> None:
    """An electrode for each offset and scale."""
    source, config = read_recording(recording), ChipConfig.make()
    cases = [(20_000, 4), (-20_000, 16)]
    columns = [np.rint(source.channel("HIGH") / scale) + offset for offset, scale in cases]
    settings = config.detection.io.model_copy(update={"bandpass_hz": band})
    scenario = DetectionScenario(
        "offsets", config, (settings,) * len(cases), 25000.0, np.stack(columns, 1).astype(np.int64)
    )
    found = detection_replay.replay_detection(scenario, usable("verilator"), check=True)
    for case, column in zip(cases, found["sent"].T, strict=True):
        score = detection_score(np.flatnonzero(column), source.channel("Labels"), 25000.0)
        assert score == (45, 45, 0), case


def test_settings_that_cannot_be_built_are_refused() -> None:
    config = ChipConfig.make(formats={"filter_coefficient": "SQ(1,16)"})
    settings = dataclasses.replace(DETECTION_CONFIGS["bandpass"], config=config).settings(2)
    with pytest.raises(ConfigError, match="a coefficient of the band-pass"):
        detection.Detection(config, settings, 25000.0)


def test_the_protocol_of_the_commit_has_its_signals() -> None:
    setup = DETECTION_CONFIGS["default"]
    parameters = DetectionParameters(setup.config, setup.settings(2), setup.rate_hz)
    assert list(DetectionCommit.__annotations__) == list(detection_commit_signature(parameters).members)

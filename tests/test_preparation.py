"""The virtual preparation: the loop's causality, what the electrodes carry, and what the detector makes of it."""

from __future__ import annotations

import functools
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, ConfigError, DetectorFloat, Protocol, Trial
from microzone.golden_model.experiment.preparation import (
    _BLOCK,
    Artefact,
    Eyelid,
    Preparation,
    PreparationSettings,
)
from microzone.golden_model.experiment.protocol import IO_QUALITY, PN_QUALITY
from microzone.golden_model.experiment.spikes import (
    ComplexSpike,
    Latency,
    Neighbourhood,
    Units,
    refractory_events,
)
from microzone.golden_model.recordings.recording import read_recording
from microzone.tools.sessions.preparation_figure import draw_preparation

CONFIG = ChipConfig.make()
RATE = CONFIG.amplifier.rate_hz
PER_STEP = 50
TWO = ChipConfig.make(amplifier={"channels": 5}, electrodes={"pn": (0, 2), "io": (1, 3)})
THREE = ChipConfig.make(amplifier={"channels": 6}, electrodes={"pn": (0, 2, 4), "io": (1, 3, 5)})
NOBODY = Units(number=0, amplitude_uv=0.0, spread=0.0, rate_hz=0.0, response_hz=0.0)
SILENT = PreparationSettings(background_uv=0.0, pn_units=NOBODY, io_units=NOBODY)
BUSY = Protocol(
    trials=(Trial.PAIRED, Trial.UNPAIRED) * 4,
    iti_s=(0.4, 0.5),
    pn=replace(PN_QUALITY, far_hz=2.0),
    io=replace(IO_QUALITY, tdr=0.9, far_hz=4.0),
)
NOTHING = Protocol(
    trials=(Trial.CS_ALONE,) * 30,
    pn=replace(PN_QUALITY, tdr=0.0, far_hz=0.0),
    io=replace(IO_QUALITY, far_hz=0.0),
)


def pulses(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Biphasic pulses at random times, as shares of frames."""
    on = np.zeros((n, 2))
    for at in np.random.default_rng(seed).integers(0, max(n - 8, 1), size=n // 300):
        on[at : at + 4, 0] = (0.3, 1.0, 1.0, 0.2)
        on[at + 4 : at + 8, 1] = (0.3, 1.0, 1.0, 0.2)
    return on


def train(n: int, first: int) -> npt.NDArray[np.float64]:
    """The default train, each phase within frames of its own: 12 pulses of 2.5 frames each phase."""
    on = np.zeros((n, 2))
    for pulse in range(12):
        at = first + round(pulse * RATE / 80)
        on[at : at + 3, 0] = on[at + 4 : at + 7, 1] = (1.0, 1.0, 0.5)
    return on


def record(preparation: Preparation, n: int | None = None) -> npt.NDArray[np.float64]:
    """Without stimulation; all of it unless told."""
    return preparation.record(np.zeros((preparation.n_frames if n is None else n, 2)))


def truth(preparation: Preparation) -> list[list[int]]:
    names = ("evoked_pn", "spontaneous_pn", "evoked_io", "spontaneous_io")
    return [frames.tolist() for name in names for frames in getattr(preparation, name)]


# --- streaming ---------------------------------------------------------------------------------------

LENGTH = 50_000


@functools.cache
def whole() -> tuple[npt.NDArray[np.float64], Preparation]:
    preparation = Preparation(TWO, BUSY, 3)
    return preparation.record(pulses(LENGTH, 1)), preparation


@given(st.lists(st.integers(0, LENGTH), max_size=12))
@settings(max_examples=25)
def test_calls_of_any_length_give_the_same(cuts: list[int]) -> None:
    expected, at_once = whole()
    preparation = Preparation(TWO, BUSY, 3)
    edges = [0, *sorted(cuts), LENGTH]
    on = pulses(LENGTH, 1)
    parts = [preparation.record(on[a:b]) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), expected)
    assert truth(preparation) == truth(at_once) and np.array_equal(preparation.eyelid, at_once.eyelid)
    assert all(truth(at_once)), "events of every kind, in both microcircuits"


def test_frame_by_frame_gives_the_same() -> None:
    expected, at_once = whole()
    preparation = Preparation(TWO, BUSY, 3)
    for i, frame in enumerate(pulses(LENGTH, 1)):
        assert np.array_equal(preparation.record(frame[None])[0], expected[i]), f"frame {i}"
    assert truth(preparation) == truth(at_once) and np.array_equal(preparation.eyelid, at_once.eyelid)


@given(st.integers(0, LENGTH - 1), st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.25, 0.5)]))
@settings(max_examples=25)
def test_stimulation_changes_nothing_before_it(at: int, shares: tuple[float, float]) -> None:
    quiet = Preparation(TWO, BUSY, 3)
    expected = quiet.record(np.zeros((LENGTH, 2)))
    on = np.zeros((LENGTH, 2))
    on[at] = shares
    got = Preparation(TWO, BUSY, 3).record(on)
    assert np.array_equal(got[:at], expected[:at])
    changed = got[at] != expected[at]
    assert changed.tolist() == [True, True, True, True, False], "electrode 4 is nobody's"


def test_equal_seeds_give_equal_sessions_and_others_do_not() -> None:
    first, again, other = (record(Preparation(CONFIG, BUSY, seed), 20_000) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not (first == other).any()


def test_the_memory_does_not_grow_with_silence() -> None:
    preparation = Preparation(CONFIG, Protocol(), 1)
    on = np.zeros((5_000, 2))
    for _ in range(20):
        preparation.record(on)
    tracemalloc.start()
    try:
        for _ in range(200):
            preparation.record(on)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert preparation.frames == 1_100_000 and grown < 1_000_000, f"{grown} bytes, a frame has 16"


def test_a_session_ends() -> None:
    preparation = Preparation(CONFIG, BUSY, 1, spontaneous_s=0.1)
    assert preparation.n_frames == preparation.n_steps * PER_STEP
    record(preparation, preparation.n_frames - 1)
    with pytest.raises(
        ValueError, match=rf"frames = {preparation.n_frames + 1}: limit is {preparation.n_frames}"
    ):
        record(preparation, 2)
    assert record(preparation, 1).shape == (1, 2) and record(preparation, 0).shape == (0, 2)
    assert preparation.eyelid.size == preparation.n_steps


# --- stimuli and events -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_stimuli_are_those_of_the_protocol(seed: int) -> None:
    kinds = (Trial.PAIRED, Trial.CS_ALONE, Trial.UNPAIRED) * 10
    for protocol in (Protocol(trials=kinds), Protocol(trials=kinds, io_drift_hz=(1.0,) * 31)):
        events = protocol.events(CONFIG, seed)
        preparation = Preparation(CONFIG, protocol, seed, spontaneous_s=3.0)
        assert preparation.cs.tolist() == events.cs.tolist() and preparation.us.tolist() == events.us.tolist()
        assert preparation.spontaneous_start == events.n_steps == preparation.n_steps - 1500
        assert preparation.trials == kinds


def test_events_come_as_often_as_the_protocol_says() -> None:
    """The IO rate with its refractory time, responses with their probability, within their window."""
    kinds = (Trial.PAIRED,) * 600
    protocol = Protocol(trials=kinds, iti_s=(1.0, 1.2), io_drift_hz=(4.0, 0.5))
    preparation = Preparation(CONFIG, protocol, 5, settings=SILENT)
    record(preparation)
    seconds = preparation.n_frames / RATE
    spontaneous, evoked = preparation.spontaneous_io[0], preparation.evoked_io[0]
    assert spontaneous.size == pytest.approx(2.25 * seconds * (1 - 0.07), rel=0.06), (
        "some give way to evoked ones"
    )
    half = np.searchsorted(spontaneous, preparation.n_frames // 2)
    assert half / spontaneous.size == pytest.approx(3.125 / 4.5, abs=0.03)
    assert np.diff(spontaneous).min() >= 0.1 * RATE
    before = np.searchsorted(spontaneous, evoked)
    following = spontaneous[np.minimum(before, spontaneous.size - 1)]
    assert ((following >= evoked + 0.1 * RATE) | (before == spontaneous.size)).all()
    for events, triggers, quality in (
        (evoked, preparation.us, protocol.io),
        (preparation.evoked_pn[0], preparation.cs, protocol.pn),
    ):
        trial = np.searchsorted(triggers * PER_STEP, events, side="right") - 1
        latency = (events - triggers[trial] * PER_STEP) / RATE
        assert events.size / 600 == pytest.approx(quality.tdr, abs=4 * (0.25 / 600) ** 0.5)
        assert (
            latency.min() >= quality.window_s[0] and latency.max() <= quality.window_s[1] - 0.015 + 1 / RATE
        )
    assert preparation.spontaneous_pn[0].size == pytest.approx(
        0.11 * seconds, abs=4 * (0.11 * seconds) ** 0.5
    )


def test_responses_are_in_the_order_of_frames_whatever_the_interval() -> None:
    """With stimuli so close that a response may begin before that to the stimulus before."""
    protocol = Protocol(trials=(Trial.PAIRED,) * 60, iti_s=(0.02, 0.03), isi_s=0.01)
    preparation = Preparation(CONFIG, protocol, 3)
    all_of_them = Preparation(CONFIG, protocol, 3)
    record(all_of_them)
    for name in ("evoked_pn", "evoked_io"):
        (frames,) = getattr(all_of_them, name)
        assert frames.size > 10 and (np.diff(frames) >= 0).all(), name
    while preparation.frames < preparation.n_frames:
        record(preparation, min(1000, preparation.n_frames - preparation.frames))
        begun = [[at for at in frames if at < preparation.frames] for frames in truth(all_of_them)]
        assert truth(preparation) == begun, f"after {preparation.frames} frames"


def test_a_closed_eyelid_protects_from_the_us() -> None:
    """With the eyelid shut throughout, the share evoked is halved; what is evoked then is evoked without it."""
    protocol = Protocol(trials=(Trial.PAIRED,) * 800, iti_s=(0.4, 0.5))
    evoked = {}
    for name, protection, share in (("open", 0.5, 0.0), ("closed", 0.5, 1.0), ("shield", 1.0, 1.0)):
        how = replace(SILENT, eyelid=Eyelid(protection=protection))
        preparation = Preparation(CONFIG, protocol, 2, settings=how)
        preparation.record(np.tile([share, 0.0], (preparation.n_frames, 1)))
        evoked[name] = set(preparation.evoked_io[0].tolist())
        assert preparation.eyelid[-1] == share
    assert len(evoked["open"]) == pytest.approx(0.486 * 800, abs=60)
    assert evoked["closed"] < evoked["open"]
    assert len(evoked["closed"]) / len(evoked["open"]) == pytest.approx(0.5, abs=0.1)
    assert not evoked["shield"]


def test_refractory_events_have_the_rate_asked_for() -> None:
    rng = np.random.default_rng(1)
    frames = refractory_events(50_000_000, RATE, 5.0, 0.1, lambda at: np.full(at.size, 5.0), rng)
    assert frames.size == pytest.approx(10_000, rel=0.03), (
        "2000 s; a Poisson process has 5000 Hz·s and 40 % more"
    )
    assert np.diff(frames).min() >= 2500


# --- signals ------------------------------------------------------------------------------------------


def test_the_background_is_white_and_of_the_size_asked_for_in_the_band() -> None:
    how = replace(SILENT, background_uv=8.0)
    x = record(Preparation(TWO, NOTHING, 4, settings=how), 400_000)
    sos = scipy.signal.butter(8, TWO.amplifier.bandwidth_hz, "bandpass", fs=RATE, output="sos")
    assert scipy.signal.sosfilt(sos, x, axis=0).std(axis=0) == pytest.approx(np.full(5, 8.0), rel=0.02)
    correlation = np.corrcoef(x.T) - np.eye(5)
    assert np.abs(correlation).max() < 0.01 and abs(np.corrcoef(x[1:, 0], x[:-1, 0])[0, 1]) < 0.01


def test_microcircuits_are_independent_and_leave_each_other_alone() -> None:
    one, two, three = (Preparation(config, BUSY, 6) for config in (CONFIG, TWO, THREE))
    x, y, z = record(one), record(two), record(three)
    assert np.array_equal(x, y[:, :2]), "a further microcircuit changes nothing of the first"
    assert np.array_equal(y[:, :4], z[:, :4]), "nor of the second"
    assert truth(one) == [truth(two)[i] for i in (0, 2, 4, 6)]
    assert truth(two) == [truth(three)[i] for i in (0, 1, 3, 4, 6, 7, 9, 10)]
    for name in ("evoked_pn", "spontaneous_io"):
        first, second = getattr(two, name)
        assert first.size and second.size and not set(first.tolist()) & set(second.tolist())
    excess = np.abs(y).max(axis=0) > 110
    assert excess.tolist() == [True, True, True, True, False], "no spikes where no site is"


def test_a_complex_spike_is_all_or_none() -> None:
    preparation = Preparation(CONFIG, BUSY, 1, settings=SILENT)
    x = record(preparation)[:, 1]
    events = np.sort(np.concatenate([preparation.evoked_io[0], preparation.spontaneous_io[0]]))
    assert events.size > 10
    alone = events[:-1][np.diff(events) > 400]
    covered = np.zeros(x.size, bool)
    for at in events:
        covered[at : at + 400] = True
    assert not x[~covered].any(), "nothing else"
    for at in alone:
        shape = x[at : at + 400]
        active = np.flatnonzero(np.abs(shape) > 5)
        assert 0.004 < np.ptp(active) / RATE < 0.0085
        assert shape.argmin() <= 10 and -240 * 1.21 < shape.min() < -240 * 0.75, (
            "the initial spike is the largest"
        )
        troughs = scipy.signal.find_peaks(-shape, height=60)[0]
        assert 4 <= troughs.size <= 5, "with three or four spikelets"


def test_a_complex_spike_is_whole_wherever_it_begins() -> None:
    """Blocks are drawn one after the other; a spike may begin in one and end in the next."""
    alike = ComplexSpike(spread=0.0, spikelets=(3, 3), interval_s=(1.5e-3, 1.5e-3), share=(0.5, 0.5))
    protocol = replace(NOTHING, io=replace(IO_QUALITY, tdr=0.0, far_hz=4.0))
    preparation = Preparation(CONFIG, protocol, 3, settings=replace(SILENT, complex_spike=alike))
    x, events = record(preparation)[:, 1], preparation.spontaneous_io[0]
    spikes = np.array([x[at : at + 200] for at in events[:-1]])
    assert (spikes == spikes[0]).all() and spikes[0, :150].any() and not spikes[0, 150:].any()
    assert np.count_nonzero(events % _BLOCK > _BLOCK - 100) > 5


def test_units_fire_more_in_a_response() -> None:
    units = Units(number=5, amplitude_uv=50.0, spread=0.2, rate_hz=2.0, response_hz=100.0)
    onsets, course = np.array([100_000]), np.ones(25_000)
    near = Neighbourhood(0, units, RATE, np.random.default_rng(2), onsets, course)
    near.waveforms[:] = 0
    near.waveforms[:, 0] = 1.0
    frames = np.zeros((250_000 + near.waveforms.shape[1], 1))
    for start in range(0, 250_000, 10_000):
        near.add(frames[start:], start, 10_000)
    inside = frames[100_000:125_000].sum()
    assert inside == pytest.approx(5 * 102, abs=4 * 510**0.5)
    assert frames.sum() - inside == pytest.approx(5 * 2 * 9, abs=4 * 90**0.5)


def test_the_artefact_is_proportional_signed_and_decays() -> None:
    how = replace(SILENT, artefact=Artefact(pn_uv=10.0, io_uv=1000.0, tail_share=0.0, decay_s=3e-4))
    on = np.zeros((2_000, 2))
    on[100, 0], on[1000, 1] = 1.0, 0.5
    x = Preparation(CONFIG, NOTHING, 1, settings=how).record(on)
    assert not x[:100].any()
    assert x[100, 1] < -1000 and x[1000, 1] == pytest.approx(-x[100, 1] / 2, rel=1e-9)
    assert x[:, 0] == pytest.approx(x[:, 1] / 100)
    ratio = x[102:130, 1] / x[101:129, 1]
    assert ratio == pytest.approx(np.full(28, np.exp(-1 / (RATE * 3e-4))))
    both = np.tile([1.0, 1.0], (50, 1))
    assert not Preparation(CONFIG, NOTHING, 1, settings=SILENT).record(both).any(), "the phases cancel"


def test_the_default_train_is_millivolts_on_the_io_and_nothing_on_the_pn() -> None:
    preparation = Preparation(CONFIG, NOTHING, 1, settings=SILENT)
    x = preparation.record(train(10_000, 100))
    largest = np.abs(x).max(axis=0)
    assert largest[0] < 15 and 2000 < largest[1] < 5000
    last = 100 + round(11 * RATE / 80) + 7
    after = np.abs(x[last + round(0.0018 * RATE) :, 1])
    assert 0 < after.max() < 5 and after[1000] < 0.1, "gone when the guard time is over"


def test_the_eyelid_closes_smoothly_and_opens_again() -> None:
    preparation = Preparation(CONFIG, NOTHING, 1, settings=SILENT)
    first = 1_000
    preparation.record(train(25_000, first))
    closure, onset = preparation.eyelid, first // PER_STEP + 5
    assert closure.size == 500 and not closure[:onset].any() and closure[onset] > 0, "after 10 ms"
    assert closure.max() == 1 and np.abs(np.diff(closure)).max() < 0.15
    assert closure[first // PER_STEP + 30] > 0.9, "shut 60 ms after the train began"
    assert closure[first // PER_STEP + 150] < 0.02, "open 150 ms after its end"
    weak = Preparation(CONFIG, NOTHING, 1, settings=SILENT)
    weak.record(np.vstack([[[1.0, 0.0]], np.zeros((2_999, 2))]))
    time = np.arange(1, 61) * 0.002 - 0.01
    expected = 150 / RATE * np.clip(time, 0, None) / 0.015**2 * np.exp(-time / 0.015)
    assert weak.eyelid == pytest.approx(expected, abs=0.01), "t·exp(-t/τ), of one short pulse"
    anodic = Preparation(CONFIG, NOTHING, 1, settings=SILENT)
    anodic.record(np.tile([0.0, 1.0], (3_000, 1)))
    assert not anodic.eyelid.any(), "the cathodic phase stimulates"


# --- what the default detector makes of it ------------------------------------------------------------


class Found(NamedTuple):
    preparation: Preparation
    pn: npt.NDArray[np.int64]
    io: npt.NDArray[np.int64]


def detect(preparation: Preparation) -> Found:
    """Amplified as simply as can be: a band-pass, noise of 2.4 µV, counts of 0.195 µV."""
    sos = scipy.signal.butter(2, CONFIG.amplifier.bandwidth_hz, "bandpass", fs=RATE, output="sos")
    state, rng = np.zeros((sos.shape[0], 2, 2)), np.random.default_rng((preparation.seed, 99))
    detectors = [DetectorFloat(CONFIG, how, RATE) for how in (CONFIG.detection.pn, CONFIG.detection.io)]
    found: tuple[list[Any], list[Any]] = ([], [])
    while preparation.frames < preparation.n_frames:
        x = record(preparation, min(500_000, preparation.n_frames - preparation.frames))
        y, state = scipy.signal.sosfilt(sos, x, axis=0, zi=state)
        counts = np.rint((y + 2.4 * rng.standard_normal(y.shape)) / 0.195).astype(np.int64)
        for events, detector, column in zip(found, detectors, counts.T, strict=True):
            events.append(detector.process(column).samples[0])
    return Found(preparation, *(np.concatenate(events) for events in found))


@pytest.fixture(scope="module")
def found() -> Found:
    return detect(Preparation(CONFIG, Protocol(trials=(Trial.PAIRED,) * 300, iti_s=(2.0, 2.4)), 1))


@pytest.mark.parametrize("site", ["pn", "io"])
def test_detection_finds_the_quality_of_the_protocol(found: Found, site: str) -> None:
    preparation, events = found.preparation, getattr(found, site)
    quality = getattr(preparation.protocol, site)
    triggers = PER_STEP * (preparation.cs if site == "pn" else preparation.us)
    first, stop = (triggers + round(limit * RATE) for limit in quality.window_s)
    low, high = np.searchsorted(events, first), np.searchsorted(events, stop)
    seconds = preparation.n_frames / RATE - triggers.size * np.ptp(quality.window_s)
    chance = 1 - np.exp(-quality.far_hz * np.ptp(quality.window_s))
    tdr = quality.tdr + (1 - quality.tdr) * chance
    assert (high > low).mean() == pytest.approx(tdr, abs=4 * (tdr * (1 - tdr) / triggers.size) ** 0.5)
    far = (events.size - (high - low).sum()) / seconds
    assert far == pytest.approx(quality.far_hz, abs=4 * (quality.far_hz / seconds) ** 0.5 + 0.03)
    latency = (events[low[high > low]] - triggers[high > low]) / RATE
    mean, sd = {"pn": (0.0962, 0.02), "io": (0.0685, 0.04)}[site]
    assert latency.mean() == pytest.approx(mean, abs=4 * sd / latency.size**0.5), "the paper's mean latencies"


def test_true_events_are_detected_and_hardly_anything_else(found: Found) -> None:
    preparation = found.preparation
    for events, parts, after_s, least in (
        (found.pn, (preparation.evoked_pn[0], preparation.spontaneous_pn[0]), 0.04, 0.97),
        (found.io, (preparation.evoked_io[0], preparation.spontaneous_io[0]), 0.01, 0.98),
    ):
        true = np.sort(np.concatenate(parts))
        seen = np.searchsorted(events, true) < np.searchsorted(events, true + round(after_s * RATE))
        assert seen.mean() > least
        owner = np.searchsorted(true, events, side="right") - 1
        due = (owner >= 0) & (events - true[owner] < after_s * RATE)
        assert np.count_nonzero(~due) <= 3, (
            f"of {events.size} detections in {preparation.n_frames / RATE:.0f} s"
        )


def test_noise_and_units_alone_are_hardly_ever_detected() -> None:
    noise = detect(Preparation(CONFIG, NOTHING, 8))
    assert noise.preparation.n_frames > 350 * RATE
    assert noise.pn.size + noise.io.size <= 2


# --- a recording as background ------------------------------------------------------------------------


def test_a_recording_takes_the_place_of_the_io() -> None:
    background = np.random.default_rng(3).normal(0, 7.0, 40_001)
    preparation = Preparation(CONFIG, BUSY, 1, io_background=background)
    evoked = record(preparation)[:, 1] - background[np.arange(preparation.n_frames) % background.size]
    assert preparation.spontaneous_io[0].size == 0 < preparation.evoked_io[0].size
    covered = np.zeros(evoked.size, bool)
    for at in preparation.evoked_io[0]:
        covered[at : at + 400] = True
    assert np.abs(evoked[~covered]).max() < 1e-12 and evoked[covered].min() < -150
    y, z = (record(Preparation(config, BUSY, 1, io_background=background), 30_000) for config in (TWO, THREE))
    assert np.array_equal(y[:, :4], z[:, :4]), "a further microcircuit changes nothing of the others"
    # 0.618 of the recording further on, each.
    for electrode, start in ((1, 0), (3, 24_721), (5, 9_442)):
        assert np.array_equal(z[:100, electrode], background[start : start + 100]), electrode


def test_evoked_events_are_those_of_a_real_recording(recording: Path) -> None:
    background = read_recording(recording).vector("HIGH") * 0.02
    protocol = Protocol(trials=(Trial.PAIRED,) * 100, iti_s=(3.0, 4.0), io=replace(IO_QUALITY, tdr=0.99))
    preparation = Preparation(CONFIG, protocol, 1, io_background=background)
    detector = DetectorFloat(CONFIG, CONFIG.detection.io, RATE)
    events = detector.process(np.rint(record(preparation)[:, 1] / 0.195).astype(np.int64)).samples[0]
    true = preparation.evoked_io[0]
    assert true.size > 90
    # Seen, but for those that come within the refractory time of one of the recording's own.
    low, high = np.searchsorted(events, [true, true + round(0.02 * RATE)])
    late = true - events[np.maximum(low - 1, 0)] < 0.05 * RATE
    assert ((high > low) | late).all() and (high > low).mean() > 0.9
    seconds = preparation.n_frames / RATE
    assert (events.size - true.size) / seconds == pytest.approx(45 / 47.1, abs=0.1), (
        "the recording's, repeated"
    )


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw_preparation(CONFIG, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no trial of 20 with responses of both sites"):
        draw_preparation(CONFIG.replace(stimulation={"duration_s": 0.45}), tmp_path / "q.png")
    assert not (tmp_path / "q.png").exists()


# --- refusals -----------------------------------------------------------------------------------------

UNITS = PreparationSettings().pn_units


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PreparationSettings(background_uv=-1.0), r"background_uv = -1.0: limits are 0 and 10000"),
        (lambda: PreparationSettings(background_uv=np.nan), r"background_uv = nan: limits"),
        (
            lambda: PreparationSettings(pn_response_s=(0.01, 0.0, 0.01)),
            r"pn_response_s = \(0.01, 0.0, 0.01\)",
        ),
        (lambda: PreparationSettings(io_refractory_s=-0.1), r"io_refractory_s = -0.1"),
        (lambda: replace(UNITS, number=-1), r"Units.number = -1: limits are 0 and 1000"),
        (lambda: replace(UNITS, number=1.5), r"Units.number = 1.5: must be whole"),
        (lambda: replace(UNITS, rate_hz=np.inf), r"Units.rate_hz = inf"),
        (lambda: replace(UNITS, spread=3.0), r"Units.spread = 3.0: limits are 0 and 2"),
        (lambda: ComplexSpike(spikelets=(4, 3)), r"spikelets = \(4, 3\): needs least <= greatest"),
        (lambda: ComplexSpike(share=(0.5, 1.5)), r"share = \(0.5, 1.5\): limits are 0 and 1"),
        (lambda: Artefact(decay_s=0.0), r"Artefact.decay_s = 0.0: limits are 1e-06 and 1"),
        (lambda: Artefact(io_uv=-1.0), r"Artefact.io_uv = -1.0"),
        (lambda: Eyelid(protection=1.1), r"Eyelid.protection = 1.1: limits are 0 and 1"),
        (lambda: Eyelid(latency_s=-1e-3), r"Eyelid.latency_s = -0.001"),
        (lambda: Latency(mean_s=0.0, sd_s=0.1), r"Latency.mean_s = 0.0"),
        (
            lambda: Preparation(CONFIG, BUSY, 1, settings=replace(SILENT, pn_latency=Latency(2.0, 0.01))),
            r"Latency = 2 ± 0.01 s: hardly ever from 0.01 to 0.135",
        ),
        (
            lambda: Preparation(CONFIG, replace(BUSY, io=replace(IO_QUALITY, far_hz=10.0)), 1),
            r"refractory time = 0.1: below 0.1, one over the highest rate",
        ),
        (lambda: Preparation(CONFIG, BUSY, 1, spontaneous_s=-1.0), r"spontaneous_s = -1"),
        (lambda: Preparation(CONFIG, BUSY, 1, spontaneous_s=1e9), r"steps: limit is 200000000"),
        (lambda: Preparation(CONFIG, BUSY, 1, io_background=[]), r"io_background of shape \(0,\)"),
        (lambda: Preparation(CONFIG, BUSY, 1, io_background=[np.nan]), r"all finite"),
        (
            lambda: Preparation(CONFIG, BUSY, 1).record(np.zeros((3, 1))),
            r"on of shape \(3, 1\): needs \(frames, 2\)",
        ),
        (lambda: Preparation(CONFIG, BUSY, 1).record([[0.0, 1.1]]), r"on: must be shares from 0 to 1"),
        (lambda: Preparation(CONFIG, BUSY, 1).record([[np.nan, 0.0]]), r"on: must be shares from 0 to 1"),
    ],
)
def test_impossible_preparations_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_step_is_a_whole_number_of_frames() -> None:
    with pytest.raises(ConfigError, match=r"amplifier.rate_hz = 24999: 49.998 frames a step, must be whole"):
        Preparation(ChipConfig.make(amplifier={"rate_hz": 24999.0}), BUSY, 1)

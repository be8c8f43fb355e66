"""Event detection: the formula on made signals, fixed against float, and a real recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.signal
from microzone.golden_model import ChipConfig, ConfigError, DetectorFixed, DetectorFloat, FileError
from microzone.golden_model.amplifier import amplifier_registers
from microzone.golden_model.detection import DetectionRow, detection_score, events_in_steps
from microzone.golden_model.recordings.recording import read_recording
from microzone.sim.loop.amplifier import AnaloguePath

CONFIG = ChipConfig.make()
RATE = 25000.0
KINDS = (DetectorFloat, DetectorFixed)


def channel(**changes: Any) -> Any:
    return ChipConfig.make(detection={"io": changes}).detection.io


def bursts(seed: int, at: list[int], n: int = 250_000) -> np.ndarray:
    """Noise with a 5 ms burst of large spikes at each place, on a slow baseline."""
    rng = np.random.default_rng(seed)
    x = 300 * rng.standard_normal(n) + 500 * np.sin(np.pi * np.arange(n) / RATE)
    for start in at:
        x[start : start + 125] += 6000 * np.sin(2 * np.pi * 1000 * np.arange(125) / RATE)
    return np.rint(x).astype(np.int16)


def naive(x: np.ndarray, detector: Any) -> list[int]:
    """The formula of the docstring, sample by sample, without a band-pass."""
    settings, rate_hz = detector.parameters.settings[0], detector.rate_hz
    mean_bits, smooth_bits, variability_bits = (
        round(np.log2(tau_s * rate_hz))
        for tau_s in (settings.mean_tau_s, settings.smooth_tau_s, settings.variability_tau_s)
    )
    m = s = v = 0.0
    above, last, found = False, -(10**9), []
    for n, sample in enumerate(x.astype(float)):
        plain_bits = int(np.log2(n + 1))
        m += (sample - m) / 2 ** min(mean_bits, plain_bits)
        r = abs(sample - m)
        s += (r - s) / 2 ** min(smooth_bits, plain_bits)
        v += (r - v) / 2 ** min(variability_bits, plain_bits)
        crossed = s > settings.threshold * v
        settled = n >= round(settings.settle_s * rate_hz)
        rested = n - last >= round(settings.refractory_s * rate_hz)
        if crossed and not above and settled and rested:
            found.append(n)
            last = n
        above = crossed
    return found


def test_float_is_the_formula() -> None:
    x = bursts(1, [20_000, 20_700, 40_000], 60_000)
    detector = DetectorFloat(CONFIG, channel(threshold=1.125, refractory_s=0.004, settle_s=0.01), RATE)
    found = detector.process(x).samples[0].tolist()
    assert found == naive(x, detector)
    assert len(found) > 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
@pytest.mark.parametrize("relative", [True, False])
def test_bursts_are_found_once_each(kind: Any, band: Any, relative: bool) -> None:
    at = [30_000, 90_000, 180_000]
    settings = channel(threshold=3.75 if relative else 1200.0, relative=relative)
    settings = settings.model_copy(update={"bandpass_hz": band})
    found = kind(CONFIG, settings, RATE).process(bursts(2, at)).samples[0]
    assert found.size == 3
    assert (found >= at).all() and (found <= np.array(at) + 100).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_relative_threshold_carries_over_between_gains(kind: Any) -> None:
    x = bursts(3, [30_000, 90_000])
    found = [kind(CONFIG, channel(), RATE).process((x * gain).astype(int)).samples[0] for gain in (1, 3)]
    assert np.abs(found[0] - found[1]).max() <= 1


def test_the_refractory_time_and_the_upward_crossing() -> None:
    x = bursts(4, [30_000, 30_800, 32_000])
    for refractory_s, count in ((0.002, 3), (0.05, 2), (0.5, 1)):
        found = DetectorFixed(CONFIG, channel(refractory_s=refractory_s), RATE).process(x).samples[0]
        assert found.size == count, refractory_s
    held = np.tile([3000, -3000], 50_000)
    held[:40_000] //= 100
    found = DetectorFixed(CONFIG, channel(refractory_s=0.002), RATE).process(held).samples[0]
    assert found.size == 1, "one event an upward crossing, however long it lasts"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_channels_and_chunks_do_not_matter(kind: Any, band: Any) -> None:
    settings = channel().model_copy(update={"bandpass_hz": band})
    x = np.stack([bursts(5, [20_000]), bursts(6, [50_000, 90_000])], axis=1)
    whole = kind(CONFIG, [settings] * 2, RATE).process(x, trace=True)
    for c in range(2):
        alone = kind(CONFIG, settings, RATE)
        parts = [alone.process(x[a:b, c], trace=True) for a, b in ((0, 1), (1, 19_999), (19_999, len(x)))]
        assert np.concatenate([part.samples[0] for part in parts]).tolist() == whole.samples[c].tolist()
        for name, values in whole.signals.items():
            assert np.array_equal(np.concatenate([part.signals[name][:, 0] for part in parts]), values[:, c])
    detector = kind(CONFIG, [settings] * 2, RATE)
    detector.process(x)
    detector.reset()
    assert detector.process(x).samples[1].tolist() == whole.samples[1].tolist()


@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_fixed_is_within_one_sample_of_float(band: Any) -> None:
    settings = channel().model_copy(update={"bandpass_hz": band})
    x = bursts(7, list(range(20_000, 240_000, 7_000)))
    real, fixed = (kind(CONFIG, settings, RATE).process(x, trace=True) for kind in KINDS)
    assert real.samples[0].size == fixed.samples[0].size == 32
    assert np.abs(real.samples[0] - fixed.samples[0]).max() <= 1
    limit = 0.05 if band is None else 1.5  # ADC counts
    for name, values in real.signals.items():
        assert np.abs(values - fixed.signals[name]).max() < limit, name


def test_extreme_samples_do_not_overflow() -> None:
    rng = np.random.default_rng(8)
    x = np.where(rng.random(100_000) < 0.5, 32767, -32768)
    x[:50_000] = 32767
    # What is left is the rounding of the filter's coefficients, at full scale.
    impulse = np.zeros(500)
    impulse[0] = 1
    sections = scipy.signal.butter(2, [300.0, 3000.0], "bandpass", fs=RATE, output="sos")
    worst = np.sign(scipy.signal.sosfilt(sections, impulse))[::-1]  # what the filter amplifies most
    x[60_000:60_500] = np.where(worst >= 0, 32767, -32768)
    for band, limit in ((None, 0.5), ((300.0, 3000.0), 25)):
        settings = channel(threshold=1.25).model_copy(update={"bandpass_hz": band})
        real, fixed = (kind(CONFIG, settings, RATE).process(x, trace=True) for kind in KINDS)
        for name, values in real.signals.items():
            assert np.abs(values - fixed.signals[name]).max() < limit, name
        state = CONFIG.formats.detection_state
        largest = np.abs(real.signals["filtered"] - real.signals["mean"]).max()
        assert 65_000 < largest < state.max


@pytest.mark.parametrize("band", [None, [300.0, 3000.0]])
def test_real_complex_spikes_are_found(recording: Path, band: Any) -> None:
    config = CONFIG if band is None else ChipConfig.make(detection={"io": {"bandpass_hz": band}})
    source = read_recording(recording)
    x = source.channel("HIGH")
    real, fixed = (kind(config, config.detection.io, RATE).process(x).samples[0] for kind in KINDS)
    labelled, hit, false = detection_score(fixed, source.channel("Labels"), RATE)
    assert labelled == 45 and hit >= 44
    assert false * RATE / x.size <= 0.05
    assert real.size == fixed.size
    assert np.abs(real - fixed).max() <= 1


@pytest.mark.parametrize("band", [None, [300.0, 3000.0]])
@pytest.mark.parametrize(
    ("scale", "offsets"),
    [
        (1, (-10_000, -2048, 0, 500, 2048)),  # those that leave all samples within the converter's range
        (2, (-20_000, -10_000, -2048, 0, 500, 2048, 10_000)),
        *((scale, (-20_000, -10_000, -2048, 0, 500, 2048, 10_000, 20_000)) for scale in (4, 8, 16)),
    ],
)
def test_real_complex_spikes_are_found_at_any_offset_and_scale(
    recording: Path, band: Any, scale: int, offsets: tuple[int, ...]
) -> None:
    config = CONFIG if band is None else ChipConfig.make(detection={"io": {"bandpass_hz": band}})
    source = read_recording(recording)
    x, labels = np.rint(source.channel("HIGH") / scale).astype(int), source.channel("Labels")
    for offset in offsets:
        real, fixed = (
            kind(config, config.detection.io, RATE).process(x + offset).samples[0] for kind in KINDS
        )
        assert detection_score(fixed, labels, RATE) == (45, 45, 0), offset
        assert np.array_equal(real, fixed), offset


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0), (20.0, 3000.0), (5000.0, 12000.0)])
@pytest.mark.parametrize("offset", [-20_000, 2048, 20_000])
def test_a_constant_offset_changes_nothing_but_the_mean(kind: Any, band: Any, offset: int) -> None:
    settings = channel(threshold=1.25, settle_s=0.0).model_copy(update={"bandpass_hz": band})
    x = bursts(11, [300, 20_000, 40_000], 60_000).astype(int)
    there, moved = (kind(CONFIG, settings, RATE).process(x + by, trace=True) for by in (0, offset))
    assert there.samples[0].size > 2 and np.array_equal(there.samples[0], moved.samples[0])
    by = {"filtered": offset if band is None else 0, "mean": offset if band is None else 0}
    for name, values in there.signals.items():
        if kind is DetectorFixed:
            assert np.array_equal(moved.signals[name], values + by.get(name, 0)), name
        else:  # of the numbers of float there are fewer around a larger one
            assert np.abs(moved.signals[name] - values - by.get(name, 0)).max() < 1e-4, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_an_electrode_starts_with_its_first_sample_that_is_heard(kind: Any, band: Any) -> None:
    settings = channel().model_copy(update={"bandpass_hz": band})
    gap, x = 1 << 15, bursts(12, list(range(10_000, 150_000, 7_000)), 150_000).astype(int) + 20_000
    late = np.concatenate([np.full(gap, -32_768), x])
    both = np.stack([late, np.concatenate([x, x[:gap]])], 1)
    mask = np.zeros(both.shape, bool)
    mask[:gap, 0] = True
    found = kind(CONFIG, [settings] * 2, RATE).process(both, blanked=mask, trace=True)
    assert found.signals["mean"][gap, 0] == (x[0] if band is None else 0)
    alone = kind(CONFIG, settings, RATE).process(x).samples[0]
    assert alone.size == 20
    assert np.abs(found.samples[0] - gap - alone).max() <= 1
    assert np.array_equal(found.samples[1][:20], alone), "one electrode is nothing to another"


def test_the_first_sample_may_be_an_outlier() -> None:
    """The mean forgets it as a plain average does, not with its time constant."""
    x = bursts(13, [20_000, 40_000], 60_000)
    wild = x.copy()
    wild[0] = 32_767
    plain, other = (DetectorFixed(CONFIG, channel(), RATE).process(each, trace=True) for each in (x, wild))
    assert np.array_equal(plain.samples[0], other.samples[0])
    threshold = plain.signals["threshold"][15_000, 0]
    assert other.signals["threshold"][15_000, 0] == pytest.approx(threshold, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_electrodes_have_settings_of_their_own(kind: Any, band: Any) -> None:
    first = channel(threshold=1.5, refractory_s=0.004, settle_s=0.01).model_copy(update={"bandpass_hz": band})
    second = channel(threshold=900.0, relative=False, mean_tau_s=0.01)
    x = np.stack([bursts(7, [30_000], 60_000), bursts(8, [20_000, 40_000], 60_000)], axis=1)
    both = kind(CONFIG, [first, second], RATE).process(x, trace=True)
    for e, settings in enumerate((first, second)):
        alone = kind(CONFIG, settings, RATE).process(x[:, e], trace=True)
        assert both.samples[e].size
        if e == 0 or band is None or kind is DetectorFloat:
            assert np.array_equal(both.samples[e], alone.samples[0])
            for name, values in alone.signals.items():
                assert np.array_equal(both.signals[name][:, e], values[:, 0]), name


def test_biquads_of_an_electrode_without_band_pass_change_nothing() -> None:
    filtered = channel().model_copy(update={"bandpass_hz": (300.0, 3000.0)})
    x = bursts(9, [20_000], 40_000)
    both = DetectorFixed(CONFIG, [filtered, channel()], RATE).process(np.stack([x, x], 1), trace=True)
    assert np.array_equal(both.signals["filtered"][:, 1], x)
    assert np.array_equal(both.samples[1], DetectorFixed(CONFIG, channel(), RATE).process(x).samples[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("band", [None, (300.0, 3000.0)])
def test_a_blanked_stretch_is_as_if_it_had_not_been_but_for_time(kind: Any, band: Any) -> None:
    # The artefact lies after n has passed 2**c, so that the plain average does not tell the two apart.
    settings = channel(variability_tau_s=0.05).model_copy(update={"bandpass_hz": band})
    x = bursts(10, [30_000, 50_000], 60_000)
    gap = slice(40_000, 40_400)
    wild = x.copy()
    wild[gap] = np.where(np.arange(400) // 12 % 2, 32_767, -32_768)
    mask = np.zeros(x.size, bool)
    mask[gap] = True
    got = kind(CONFIG, settings, RATE).process(wild, blanked=mask, trace=True)
    cut = kind(CONFIG, settings, RATE).process(np.delete(x, gap), trace=True)
    for name in ("mean", "variability", "threshold"):
        assert np.array_equal(got.signals[name][~mask], cut.signals[name]), name
        assert (got.signals[name][mask] == got.signals[name][gap.start - 1]).all(), f"{name} moves"
    assert (got.signals["filtered"][mask] == 0).all()
    found = cut.samples[0]
    assert np.array_equal(got.samples[0], np.where(found >= gap.start, found + 400, found))
    assert found.size > 1
    heard = kind(CONFIG, settings, RATE).process(wild).samples[0]
    assert not np.array_equal(heard, got.samples[0]), "the artefact would have been an event"


def test_the_refractory_time_goes_on_while_blanked() -> None:
    x = bursts(4, [30_000, 32_000], 40_000)
    settings = channel(refractory_s=0.1)  # 2500 samples
    found = DetectorFixed(CONFIG, settings, RATE).process(x).samples[0]
    assert found.size == 1
    mask = np.zeros(x.size, bool)
    mask[30_500:31_500] = True
    assert DetectorFixed(CONFIG, settings, RATE).process(x, blanked=mask).samples[0].size == 1
    short = channel(refractory_s=0.06)  # over in the gap and after it, 1500 samples
    assert DetectorFixed(CONFIG, short, RATE).process(x, blanked=mask).samples[0].size == 2


def test_parameters_are_written_at_run_time() -> None:
    settings = channel().model_copy(update={"bandpass_hz": (300.0, 3000.0)})
    x = np.stack([bursts(5, [20_000, 40_000], 60_000)] * 2, axis=1)
    detector = DetectorFixed(CONFIG, [settings, settings], RATE)
    untouched = DetectorFixed(CONFIG, settings, RATE).process(x[:, 0], trace=True)
    detector.process(x[:30_000])
    level = detector.parameters.row_format(DetectionRow.LEVEL)
    detector.write(1, DetectionRow.GAIN, 0)
    detector.write(1, DetectionRow.LEVEL, level.raw_max)
    after = detector.process(x[30_000:], trace=True)
    assert (after.words["threshold"][:, 1] == level.raw_max).all() and not after.samples[1].size
    for name, values in untouched.words.items():
        assert np.array_equal(after.words[name][:, 0], values[30_000:, 0]), name
    assert after.samples[0].size
    for row in detector.parameters.rows:
        fmt = detector.parameters.row_format(row)
        for word in (fmt.raw_min, fmt.raw_max, 1):
            before = detector.read(1, row)
            detector.write(0, row, word + (1 << fmt.width))  # bits beyond the format are dropped
            assert detector.read(0, row) == word and detector.read(1, row) == before, row
    for electrode, row in ((2, DetectionRow.GAIN), (-1, DetectionRow.GAIN)):
        with pytest.raises(ValueError, match="there is none"):
            detector.write(electrode, row, 0)
    with pytest.raises(ValueError, match="there is none"):
        DetectorFixed(CONFIG, channel(), RATE).write(0, DetectionRow.FIRST_B0, 0)


def through_the_amplifier(microvolts: np.ndarray, config: ChipConfig) -> np.ndarray:
    """Counts of one electrode behind an RHD chip that is set up as configured."""
    path = AnaloguePath([amplifier_registers(config)], RATE, 2, 1)
    return path.convert(np.stack([microvolts] * 2, axis=1))[:, 0]


def noise(seed: int, n: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Of a standard deviation of 1, within a band."""
    sections = scipy.signal.butter(2, (low_hz, high_hz), "bandpass", fs=RATE, output="sos")
    x = scipy.signal.sosfilt(sections, np.random.default_rng(seed).standard_normal(n))
    return np.asarray(x / x.std())


def test_slow_complex_spikes_are_within_the_default_band_and_not_above_300_hz() -> None:
    """Waves of 20 ms in multi-unit noise of a tenth of their peak; what of them is fast is lost in it."""
    at = np.arange(30_000, 480_000, 15_000)
    x = 20 * noise(1, 500_000, 300.0, 3000.0)
    t = np.arange(1500) / RATE
    for start in at:
        x[start : start + t.size] += 200 * (t / 0.005) * np.exp(1 - t / 0.005)
    for low_hz, found, false in ((20.0, 30, 0), (300.0, 0, 0)):
        config = ChipConfig.make(amplifier={"bandwidth_hz": (low_hz, 3000.0)})
        events = (
            DetectorFloat(config, config.detection.io, RATE)
            .process(through_the_amplifier(x, config))
            .samples[0]
        )
        inside = (events >= at[:, None]) & (events < at[:, None] + 500)
        assert (inside.any(axis=1).sum(), (~inside.any(axis=0)).sum()) == (found, false), low_hz
    assert CONFIG.amplifier.bandwidth_hz == (20.0, 3000.0)


def test_multi_unit_bursts_are_heard_above_a_field_potential() -> None:
    """By the high-pass of the PN's own mean, behind an amplifier whose band is the IO's; not by the IO's."""
    at = np.arange(30_000, 480_000, 15_000)
    units = 8 * noise(2, 500_000, 300.0, 3000.0)
    for start in at:
        units[start : start + 1000] *= 8
    x = through_the_amplifier(units + 60 * noise(3, 500_000, 1.0, 30.0), CONFIG)
    pn, io = (
        DetectorFloat(CONFIG, how, RATE).process(x).samples[0]
        for how in (CONFIG.detection.pn, CONFIG.detection.io)
    )
    inside = (pn >= at[:, None]) & (pn < at[:, None] + 1000)
    assert inside.any(axis=1).all() and inside.any(axis=0).all()
    assert io.size < 20
    kept = ChipConfig.make(detection={"pn": {"threshold": 3.0}}).detection.pn
    assert kept.mean_tau_s == CONFIG.detection.pn.mean_tau_s == 5e-4, "of a part of a section too"


def test_events_fall_into_their_steps() -> None:
    steps, n_steps = events_in_steps(np.array([0, 49, 50, 99, 100]), 101, RATE, CONFIG)
    assert steps.tolist() == [0, 0, 1, 1, 2] and n_steps == 3


def test_labels_are_scored() -> None:
    labels = np.zeros(10_000, np.uint8)
    labels[1000:1100] = labels[5000:5100] = 1
    assert detection_score(np.array([990, 3000, 8000]), labels, RATE) == (2, 1, 2)
    assert detection_score(np.zeros(0, int), labels, RATE) == (2, 0, 0)
    assert detection_score(np.array([5]), np.zeros(100), RATE) == (0, 0, 1)


@pytest.mark.parametrize(
    ("changes", "rate", "message"),
    [
        ({"mean_tau_s": 1e6}, RATE, r"mean_tau_s = 1e\+06 at 25000 Hz: 2\*\*35 samples, limits"),
        ({"smooth_tau_s": 1e-5}, RATE, r"smooth_tau_s"),
        ({"bandpass_hz": (300.0, 20000.0)}, RATE, r"bandpass_hz = 300 to 20000: limit at 25000 Hz is 12500"),
        ({}, -1.0, r"rate = -1 Hz"),
        ({}, float("nan"), r"rate = nan Hz"),
    ],
)
def test_settings_that_do_not_suit_are_refused(changes: Any, rate: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectorFixed(CONFIG, channel().model_copy(update=changes), rate)


def test_narrow_filter_formats_are_refused() -> None:
    for formats, message in (
        ({"filter_coefficient": "SQ(1,16)"}, "a coefficient of the band-pass is"),
        ({"filter_coefficient": "SQ(2,40)"}, "a biquad's sum has"),
        ({"detection_state": "SQ(18,8)"}, "mean_tau_s"),
        ({"filter_state": "SQ(18,22)"}, "needs at least the 22"),
    ):
        config = ChipConfig.make(formats=formats)
        with pytest.raises(ConfigError, match=message):
            DetectorFixed(config, channel(bandpass_hz=(300.0, 3000.0), mean_tau_s=0.1), RATE)


def test_samples_that_are_no_counts_are_refused() -> None:
    detector = DetectorFixed(CONFIG, channel(), RATE)
    for samples, message in (
        (np.zeros(3), "whole ADC counts"),
        (np.array([40_000]), r"outside formats\.sample"),
        (np.zeros((3, 2), int), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.process(samples)


def test_recordings_are_read_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.mat"
    scipy.io.savemat(path, {"A": np.arange(5, dtype=np.int16), "V": np.array([0.195, -0.39]), "T": "text"})
    source = read_recording(path)
    assert set(source.variables) == {"A", "V"}
    assert source.channel("A").tolist() == [0, 1, 2, 3, 4]
    assert source.channel("V", lsb=0.195).tolist() == [1, -2]
    for name, lsb, message in (
        ("B", None, "no channel 'B'; channels: A, V"),
        ("V", None, "not ADC counts"),
        ("V", 0.0, "above 0"),
        ("V", 1e-12, r"exceeds 2\*\*31"),
    ):
        with pytest.raises(FileError, match=message):
            source.channel(name, lsb=lsb)
    for name, content, message in (
        ("r.wav", b"", "unknown kind"),
        ("none.mat", None, "no such file"),
        ("bad.mat", b"MATLAB 5.0 MAT-file" + b"\0" * 60, "cannot be read"),
        ("empty.mat", b"", "cannot be read"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=message):
            read_recording(tmp_path / name)
    cut = tmp_path / "cut.mat"
    cut.write_bytes(path.read_bytes()[:150])
    with pytest.raises(FileError, match=r"cut\.mat"):
        read_recording(cut)

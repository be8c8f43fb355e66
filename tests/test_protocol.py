"""The conditioning protocol: what is drawn has the statistics asked for; scores on sessions made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, Events, Protocol, Trial, score
from microzone.golden_model.experiment.protocol import TRAINING, DetectionQuality, usual_isi_s

CONFIG = ChipConfig.make()
STEP_S = CONFIG.time.step_s


def test_equal_seeds_give_equal_sessions_and_others_do_not() -> None:
    first, again, other = (Protocol().events(CONFIG, seed) for seed in (7, 7, 8))
    assert first.pn.tolist() == again.pn.tolist() and first.io.tolist() == again.io.tolist()
    assert first.pn.tolist() != other.pn.tolist()


def test_detection_statistics_are_those_asked_for() -> None:
    protocol = Protocol(trials=(Trial.PAIRED,) * 4000)
    events = protocol.events(CONFIG, 11)
    for quality, detections, triggers in (
        (protocol.pn, events.pn, events.cs),
        (protocol.io, events.io, events.us),
    ):
        first, stop = (round(t / STEP_S) for t in quality.window_s)
        inside = np.zeros(events.n_steps, bool)
        for offset in range(first, stop):
            inside[triggers + offset] = True
        hits = np.searchsorted(detections, triggers + first) < np.searchsorted(detections, triggers + stop)
        # The window's steps detect spontaneously too.
        expected = 1 - (1 - quality.tdr) * (1 - quality.far_hz * STEP_S) ** (stop - first)
        assert hits.mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / triggers.size))
        outside = ~inside[detections]
        rate = outside.sum() / ((~inside).sum() * STEP_S)
        assert rate == pytest.approx(quality.far_hz, abs=4 * math.sqrt(quality.far_hz / (50_000)))


def test_trials_are_laid_out_as_their_kind_says() -> None:
    kinds = (Trial.PAIRED, Trial.CS_ALONE, Trial.UNPAIRED) * 30
    events = Protocol(trials=kinds).events(CONFIG, 5)
    gaps = np.diff(events.cs) * STEP_S
    assert gaps.min() >= 10 - STEP_S and gaps.max() <= 15 + STEP_S
    assert events.cs.size == 90 and events.us.size == 60
    ends = np.append(events.cs[1:], events.n_steps)
    for kind, start, end in zip(kinds, events.cs, ends, strict=True):
        latencies = (events.us[(events.us >= start) & (events.us < end)] - start) * STEP_S
        if kind is Trial.PAIRED:
            assert latencies.tolist() == [pytest.approx(0.3)]
        elif kind is Trial.CS_ALONE:
            assert not latencies.size
        else:
            assert latencies.size == 1


def test_an_unpaired_us_comes_at_any_time_of_its_trial() -> None:
    events = Protocol(trials=(Trial.UNPAIRED,) * 2000).events(CONFIG, 6)
    ends = np.append(events.cs[1:], events.n_steps)
    share = (events.us - events.cs) / (ends - events.cs)
    assert np.histogram(share, 10, (0, 1))[0].min() > 150


def test_the_io_rate_drifts_in_straight_lines() -> None:
    kinds = (Trial.CS_ALONE,) * 300 + (Trial.UNPAIRED,) * 300
    quiet = DetectionQuality(tdr=0.0, far_hz=9.0, window_s=(0.005, 0.205))
    events = Protocol(trials=kinds, io=quiet, io_drift_hz=(1.0, 5.0, 0.5)).events(CONFIG, 4)
    middle = events.cs[300]
    for start, stop, rate in (
        (0, middle, 3.0), (0, middle // 4, 1.5), (middle, events.n_steps, 2.75),
        (events.n_steps - middle // 4, events.n_steps, 0.5 + 4.5 / 8),
    ):  # fmt: skip
        count = np.count_nonzero((events.io >= start) & (events.io < stop))
        expected = rate * (stop - start) * STEP_S
        assert abs(count - expected) < 4 * expected**0.5, (start, stop)
    assert events == events and Protocol(trials=kinds).events(CONFIG, 4).cs[300] == middle
    for wrong, message in (
        ((1.0, 2.0), "2 rates, these trials need 3"),
        ((1.0, -1.0, 1.0), "must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Protocol(trials=kinds, io_drift_hz=wrong)


def test_a_training_session_is_the_trials_and_then_silence() -> None:
    session, again, other = (TRAINING.training(CONFIG, seed, spontaneous_s=90.0) for seed in (3, 3, 4))
    trials = TRAINING.events(CONFIG, 3)
    start = session.spontaneous_start
    assert start == trials.n_steps and session.n_steps == start + 45_000
    assert session.cs.tolist() == trials.cs.tolist() and session.us.tolist() == trials.us.tolist()
    assert session.us.size == 30
    for name in ("pn", "io"):
        steps = getattr(session, name)
        assert steps[steps < start].tolist() == getattr(trials, name).tolist()
        assert steps.tolist() == getattr(again, name).tolist() != getattr(other, name).tolist()
    with pytest.raises(ValueError, match="spontaneous_start"):
        TRAINING.training(CONFIG, 1, spontaneous_s=0.0)


def test_the_silence_after_training_has_the_spontaneous_rates() -> None:
    drifting = replace(TRAINING, io_drift_hz=(1.0, 3.0))
    for protocol, io_hz in ((TRAINING, TRAINING.io.far_hz), (drifting, 3.0)):
        session = protocol.training(CONFIG, 1, spontaneous_s=20_000.0)
        for steps, rate_hz in ((session.pn, protocol.pn.far_hz), (session.io, io_hz)):
            found = (steps >= session.spontaneous_start).sum()
            assert found == pytest.approx(rate_hz * 20_000, abs=4 * (rate_hz * 20_000) ** 0.5)


@given(st.integers(0, 2000), st.floats(0, 60), st.floats(0, 0.99), st.integers(0, 2**32))
def test_detections_are_ascending_unique_and_in_range(n: int, far_hz: float, tdr: float, seed: int) -> None:
    quality = DetectionQuality(tdr=tdr, far_hz=far_hz, window_s=(0.01, 0.15))
    triggers = np.arange(0, n, 97)
    steps = quality.detections(triggers, n, STEP_S, np.random.default_rng(seed))
    assert (np.diff(steps) > 0).all()
    assert not steps.size or (steps[0] >= 0 and steps[-1] < n)


def test_a_background_takes_the_place_of_spontaneous_io() -> None:
    background = np.arange(0, 10**7, 1000)
    events = Protocol(trials=(Trial.CS_ALONE,) * 3).events(CONFIG, 1, io_background=background)
    assert events.io.tolist() == background[background < events.n_steps].tolist()


def session(cr: list[int], **changes: Any) -> Any:
    cs = np.array([1000, 7000, 13000])
    events = Events(np.zeros(0, int), np.zeros(0, int), 20000, cs=cs, us=cs + 150, **changes)
    return score(np.array(cr, int), np.linspace(0, 1, 20000), events, CONFIG)


def test_scores_of_a_session_made_by_hand() -> None:
    # 20 ms before the US, due 300 ms after the CS, is step 140 of the trial.
    got = session([999, 1140, 1200, 7141, 12999])
    assert got.well_timed.tolist() == [True, False, False]
    assert got.late.tolist() == [False, True, False]
    assert got.latency_s[0] == pytest.approx(0.28) and got.latency_s[1] == pytest.approx(0.282)
    assert math.isnan(got.latency_s[2])
    assert (got.first_cr, got.first_well_timed, got.last_well_timed) == (1, 1, 1)
    assert got.mean_latency_s == pytest.approx(0.28)
    assert got.weight.tolist() == pytest.approx([1000 / 19999, 7000 / 19999, 13000 / 19999])
    assert got.blocks(got.late).tolist() == [pytest.approx(1 / 3)]


def test_a_session_without_crs_has_no_first_one() -> None:
    got = session([])
    assert (got.first_cr, got.first_well_timed, got.last_well_timed) == (None, None, None)
    assert math.isnan(got.mean_latency_s)


def test_blocks_are_of_ten_trials() -> None:
    events = Protocol(trials=(Trial.PAIRED,) * 25).events(CONFIG, 1)
    got = score(events.cs[:12] + 50, np.zeros(events.n_steps), events, CONFIG)
    assert got.blocks(got.well_timed).tolist() == pytest.approx([1.0, 0.2, 0.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Protocol(trials=()), "at least one"),
        (lambda: Protocol(isi_s=20.0), "isi_s"),
        (lambda: Protocol(iti_s=(15.0, 10.0)), "iti_s"),
        (lambda: DetectionQuality(1.0, 0.1, (0.0, 0.1)), "tdr"),
        (lambda: DetectionQuality(0.5, -1.0, (0.0, 0.1)), "far_hz"),
        (lambda: DetectionQuality(0.5, 1.0, (0.2, 0.1)), "window_s"),
        (lambda: Protocol(iti_s=(1e7, 1e7)).events(CONFIG, 0), "limit is"),
    ],
)
def test_impossible_protocols_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("us", "isi_s"),
    [
        ([150, 1150, 2150], 0.3), ([300, 1300, 2150], 0.6), ([300, 2300], 0.6),
        ([300, 350, 1300], 0.6),  # the first of a trial counts
        ([], None), ([150, 1200, 2300], None), ([0, 1000, 2000], None),  # none, none usual, at the CS itself
    ],
)  # fmt: skip
def test_the_interval_of_the_events_themselves(us: list[int], isi_s: float | None) -> None:
    cs, none = np.array([0, 1000, 2000]), np.zeros(0, np.int64)
    events = Events(pn=none, io=none, n_steps=3000, cs=cs, us=np.array(us, np.int64))
    assert usual_isi_s(events, CONFIG) == (None if isi_s is None else pytest.approx(isi_s))

"""The golden model against the equations, written out a second time and in another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, MicrocircuitFixed, MicrocircuitFloat, Protocol, score
from microzone.golden_model.microcircuit import SIGNALS
from microzone.sim.replay.scenarios import CONFIGS


def equations(config: ChipConfig, pn: np.ndarray, io: np.ndarray) -> dict[str, np.ndarray]:
    """The table of the model, over whole arrays where it can be: no counters, no rings."""
    n, k_steps = pn.size, config.trace_steps
    steps = np.arange(n)
    last = np.maximum.accumulate(np.where(pn, steps, -(10**9)))
    age = steps - last
    active = age < k_steps
    start, end = config.trace.start, config.trace.end
    trace = np.where(active, start - age * (start - end) / k_steps, 0.0)
    eligible = _delayed(active, config.eligibility_delay_steps)
    w = np.empty(n)
    below, cr, inhibition, gated = (np.zeros(n, bool) for _ in range(4))
    before = config.weight.initial
    for k in range(n):
        delayed = k - config.noi_delay_steps
        gated[k] = io[k] and not (delayed >= 0 and inhibition[delayed])
        change = config.plasticity.potentiation - gated[k] * config.plasticity.depression
        before = before + eligible[k] * change
        before = min(max(before, config.formats.weight.min), config.formats.weight.max)
        w[k] = before
        below[k] = active[k] and w[k] * trace[k] < config.threshold.level
        cr[k] = below[k] and not (k > 0 and below[k - 1])
        inhibition[k] = cr[max(0, k - k_steps + 1) : k + 1].any()
    return {"weight": w, "cr": cr, "trace": trace, "plasticity_trace": eligible, "inhibition": inhibition}


def _delayed(signal: np.ndarray, steps: int) -> np.ndarray:
    return np.concatenate([np.zeros(min(steps, signal.size), bool), signal[: max(signal.size - steps, 0)]])


def agree(config: ChipConfig, pn: np.ndarray, io: np.ndarray) -> dict[str, np.ndarray]:
    got = MicrocircuitFloat(config).process(pn, io, trace=True)
    want = equations(config, pn, io)
    assert np.array_equal(got.cr, want["cr"])
    assert np.abs(got.weight - want["weight"]).max() <= 1e-12
    for name in ("plasticity_trace", "inhibition"):
        assert np.array_equal(got.signals[name].astype(bool), want[name]), name
    assert np.abs(got.signals["trace"] - want["trace"]).max() <= 1e-12
    return want


@st.composite
def sessions(draw: st.DrawFn) -> tuple[ChipConfig, np.ndarray, np.ndarray]:
    """Short traces and delays of 0 to 12 steps, δ from tiny to past both limits, dense detections."""
    k, d, q = draw(st.integers(1, 12)), draw(st.integers(0, 12)), draw(st.integers(0, 12))
    config = ChipConfig.make(
        trace={"duration_s": k * 0.002},
        noi={"delay_s": q * 0.002},
        eligibility={"delay_s": d * 0.002},
        plasticity={
            "potentiation": draw(st.sampled_from([0.0, 3.36e-5, 0.01, 0.3])),
            "depression": draw(st.sampled_from([0.0, 0.0161, 0.2, 0.9])),
        },
        weight={"initial": draw(st.sampled_from([0.0, 0.19, 0.3, 0.5, 0.99]))},
    )
    n = draw(st.integers(1, 120))
    pn, io = (np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))) for _ in range(2))
    return config, pn, io


@settings(max_examples=300)
@given(sessions())
def test_float_is_the_equations(session: tuple[ChipConfig, np.ndarray, np.ndarray]) -> None:
    agree(*session)


@pytest.mark.parametrize("noi_delay_s", [0.1, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_float_is_the_equations_over_a_session(seed: int, noi_delay_s: float) -> None:
    config = ChipConfig.make(noi={"delay_s": noi_delay_s})
    events = Protocol().events(config, seed)
    stop = 200_000
    want = agree(config, events.pn_steps[:stop], events.io_steps[:stop])
    assert want["cr"].any()


def test_both_limits_hold_w() -> None:
    pn = np.ones(400, bool)
    for potentiation, depression, limit in ((0.4, 0.0, "max"), (0.0, 0.4, "min")):
        config = ChipConfig.make(plasticity={"potentiation": potentiation, "depression": depression})
        io = np.full(400, depression > 0)
        agree(config, pn, io)
        fixed = MicrocircuitFixed(config).process(pn, io)
        assert fixed.weight[-1] == getattr(config.formats.weight, f"raw_{limit}")


def run(config: ChipConfig, pn: list[int], io: list[int], n: int = 600) -> Any:
    arrays = np.zeros((2, n), bool)
    arrays[0, pn] = True
    arrays[1, io] = True
    return MicrocircuitFloat(config).process(*arrays, trace=True)


def test_the_trace_is_active_for_exactly_k_steps() -> None:
    for duration_s in (0.002, 0.006, 0.3, 0.7):
        config = ChipConfig.make(trace={"duration_s": duration_s})
        active = run(config, [5], []).signals["active"]
        assert np.flatnonzero(active).tolist() == list(range(5, 5 + config.trace_steps))


def test_no_cr_when_the_trace_ends_above_threshold() -> None:
    assert not run(ChipConfig.make(weight={"initial": 0.45}), [5], []).cr.any()


def test_a_strongly_depressed_weight_fires_at_once() -> None:
    assert np.flatnonzero(run(ChipConfig.make(weight={"initial": 0.1}), [5], []).cr).tolist() == [5]


@pytest.mark.parametrize(("weight", "latency_s"), [(0.25, 0.140), (0.28, 0.186)])
def test_cr_latencies_are_those_of_the_paper(weight: float, latency_s: float) -> None:
    config = ChipConfig.make(weight={"initial": weight}, plasticity={"potentiation": 0, "depression": 0})
    (cr,) = np.flatnonzero(run(config, [5], []).cr)
    assert (cr - 5) * 0.002 == pytest.approx(latency_s, abs=0.0021)


def test_overlapping_pulses_merge() -> None:
    config = ChipConfig.make(weight={"initial": 0.1}, trace={"duration_s": 0.02})
    response = run(config, [10, 25], [])
    assert np.flatnonzero(response.cr).tolist() == [10, 25]
    assert np.flatnonzero(response.signals["inhibition"]).tolist() == [*range(10, 20), *range(25, 35)]
    response = run(config, [10, 20], [])  # B never falls: one CR
    assert np.flatnonzero(response.cr).tolist() == [10]


def test_inhibition_keeps_the_io_out_for_the_length_of_a_trace() -> None:
    config = ChipConfig.make(weight={"initial": 0.1})
    response = run(config, [0], list(range(600)))
    assert np.flatnonzero(response.signals["gated_io"] == 0).tolist() == list(range(50, 200))


@pytest.mark.parametrize("kind", [MicrocircuitFloat, MicrocircuitFixed])
def test_channels_chunks_and_steps_do_not_matter(kind: type) -> None:
    config = CONFIGS["undelayed"]
    rng = np.random.default_rng(3)
    pn, io = (rng.random((90, 3)) < 0.2 for _ in range(2))
    together = kind(config, 3)
    together.weight[1] = together.weight[1] / 2 if kind is MicrocircuitFloat else together.weight[1] // 2
    whole = together.process(pn, io, trace=True)
    for channel in range(3):
        alone = kind(config)
        if channel == 1:
            alone.weight[0] = alone.weight[0] / 2 if kind is MicrocircuitFloat else alone.weight[0] // 2
        parts = [alone.process(pn[a:b, channel], io[a:b, channel]) for a, b in ((0, 1), (1, 40), (40, 90))]
        assert np.array_equal(np.concatenate([part.weight for part in parts]), whole.weight[:, channel])
    together.reset()
    stepped = kind(config, 3)
    again = together.process(pn, io)
    for k in range(90):
        assert np.array_equal(stepped.step(pn[k], io[k]), again.cr[k])
    assert np.array_equal(stepped.weight_real, together.weight_real)
    assert set(whole.signals) == set(SIGNALS)


def test_fixed_stays_near_float_over_sessions() -> None:
    config = ChipConfig.make()
    for seed in range(10):
        events = Protocol().events(config, seed)
        real = MicrocircuitFloat(config).process(events.pn_steps, events.io_steps)
        fixed = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps)
        weight = fixed.weight * config.formats.weight.lsb
        assert np.abs(real.weight - weight).max() < 1e-5, f"seed {seed}"
        scores = [
            score(np.flatnonzero(cr), w, events, config)
            for cr, w in ((real.cr, real.weight), (fixed.cr, weight))
        ]
        assert np.abs(np.flatnonzero(real.cr) - np.flatnonzero(fixed.cr)).max() <= 1, f"seed {seed}"
        assert (scores[0].well_timed != scores[1].well_timed).sum() <= 3, f"seed {seed}"


def test_wrong_shapes_are_refused() -> None:
    model = MicrocircuitFloat(ChipConfig.make(), 2)
    for shapes in (((5, 3), (5, 3)), ((5, 2), (4, 2)), ((5,), (5,)), ((5, 2, 1), (5, 2, 1))):
        with pytest.raises(ValueError, match="shape"):
            model.process(*(np.zeros(shape, bool) for shape in shapes))
    with pytest.raises(ValueError, match="at least 1"):
        MicrocircuitFloat(ChipConfig.make(), 0)

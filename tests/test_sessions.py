"""Many sessions: what each seed gives, in any number of threads; shuffled detections."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from microzone.golden_model import ChipConfig, Events, MicrocircuitFixed, MicrocircuitFloat, Protocol, Trial
from microzone.golden_model.experiment.protocol import score
from microzone.golden_model.experiment.sessions import ProtocolDraw, Sessions, ShuffledIo, run_sessions
from microzone.golden_model.fixed import to_real

CONFIG = ChipConfig.make()
SHORT = Protocol(trials=(Trial.PAIRED,) * 12 + (Trial.CS_ALONE,) * 6, iti_s=(1.0, 2.0))
EAGER = CONFIG.replace(weight={"initial": 0.3}, plasticity={"depression": 0.03})


def assert_same(one: Sessions, other: Sessions) -> None:
    for field in dataclasses.fields(Sessions):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


@pytest.mark.parametrize("model", ["fixed", "float"])
def test_each_session_is_the_one_of_its_seed(model: str) -> None:
    found = run_sessions(ProtocolDraw(SHORT, EAGER), EAGER, [3, 1, 4], model=model)  # type: ignore[arg-type]
    for row, seed in enumerate((3, 1, 4)):
        events = SHORT.events(EAGER, seed)
        stepped = (MicrocircuitFixed if model == "fixed" else MicrocircuitFloat)(EAGER).process(
            events.pn_steps, events.io_steps
        )
        w = to_real(stepped.weight, EAGER.formats.weight) if model == "fixed" else stepped.weight
        wanted = score(np.flatnonzero(stepped.cr), w, events, EAGER)
        assert found.seeds[row] == seed and found.crs[row] == stepped.cr.sum() > 0
        np.testing.assert_array_equal(found.well_timed[row], wanted.well_timed)
        np.testing.assert_array_equal(found.late[row], wanted.late)
        np.testing.assert_array_equal(found.latency_s[row], wanted.latency_s)
        np.testing.assert_allclose(found.weight[row], wanted.weight, rtol=0, atol=1e-12)
        assert found.weight_end[row] == pytest.approx(w[-1], abs=1e-12)
        for name, trials in (("first", found.well_timed), ("last", found.well_timed)):
            ours = getattr(Sessions, name)(trials)[row]
            theirs = getattr(wanted, f"{name}_well_timed")
            assert ours == theirs or (theirs is None and np.isnan(ours))


def test_any_number_of_workers_gives_the_same() -> None:
    draw, told = ProtocolDraw(SHORT, EAGER), []
    one = run_sessions(draw, EAGER, range(100), workers=1, progress=told.append)
    assert told == [64, 100]
    assert_same(one, run_sessions(draw, EAGER, range(100), workers=3))
    parts = [run_sessions(draw, EAGER, range(start, start + 50)) for start in (0, 50)]
    assert_same(one, Sessions.join(parts))
    assert_same(one, run_sessions(pickle.loads(pickle.dumps(draw)), EAGER, range(100)))


def test_blocks_first_and_last() -> None:
    trials = np.zeros((2, 12), bool)
    trials[0, [3, 11]] = True
    np.testing.assert_array_equal(Sessions.first(trials), [4, np.nan])
    np.testing.assert_array_equal(Sessions.last(trials), [12, np.nan])
    np.testing.assert_allclose(Sessions.blocks(trials), [1 / 20, 1 / 4])


@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_shuffling_keeps_the_detections_of_each_trial(seed: int, crowded: int) -> None:
    cs, n_steps = np.array([7, 40, 60]), 90
    io = np.union1d(np.arange(40, 40 + crowded), [0, 3, 41, 70, 89])  # one trial perhaps full
    events = Events(pn=cs, io=io, n_steps=n_steps, cs=cs)
    shuffled = ShuffledIo(events)(seed)
    assert np.unique(shuffled.io).size == io.size, "no step twice, none lost"
    edges = [0, *cs, n_steps]
    np.testing.assert_array_equal(np.histogram(shuffled.io, edges)[0], np.histogram(io, edges)[0])
    np.testing.assert_array_equal(shuffled.pn, events.pn)
    np.testing.assert_array_equal(shuffled.io, ShuffledIo(events)(seed).io)


def test_shuffled_steps_are_uniform_in_their_trial() -> None:
    cs = np.array([0, 100])
    events = Events(pn=cs, io=np.array([3, 104, 105]), n_steps=300, cs=cs)
    draw = ShuffledIo(events)
    steps = np.array([draw(seed).io for seed in range(2000)])
    assert steps[:, 0].mean() == pytest.approx(49.5, abs=4 * 29 / np.sqrt(2000))
    assert steps[:, 1:].mean() == pytest.approx(199.5, abs=4 * 58 / np.sqrt(4000))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        run_sessions(ProtocolDraw(SHORT, CONFIG), CONFIG, [])


@pytest.mark.parametrize("seeds", [range(64), range(30, 50)])
def test_sessions_have_as_many_trials(seeds: range) -> None:

    def uneven(seed: int) -> Events:
        return Protocol(trials=(Trial.PAIRED,) * (1 + seed // 40), iti_s=(1.0, 2.0)).events(CONFIG, seed)

    with pytest.raises(ValueError, match="1 and 2 trials"):
        run_sessions(uneven, CONFIG, seeds)

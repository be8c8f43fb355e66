"""Layer 2: the engine against the models that go step by step: equal in fixed point, within rounding in float."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microzone.golden_model import (
    ChipConfig,
    ChipFixed,
    ConfigError,
    Events,
    MicrocircuitFixed,
    MicrocircuitFloat,
    PrecisionWarning,
    Protocol,
    Trial,
)
from microzone.golden_model.experiment import engine as engine_module
from microzone.golden_model.experiment.engine import Course, Engine
from microzone.golden_model.experiment.masking import StimulationMask
from microzone.golden_model.experiment.protocol import bernoulli_steps
from microzone.golden_model.recalibration import Status
from support import applying, changed

DEFAULT = ChipConfig.make()
RECALIBRATION = {
    "enabled": True,
    "period_s": 2.0,
    "rate_max_hz": 60.0,
    "alpha": (1.0, 0.5, 0.1),
    "beta": (4e4, 1e3, 10.0),
    "gamma": (800.0, 10.0),
}


def mask_of(stretches: np.ndarray, n_steps: int) -> np.ndarray:
    blanked = np.zeros(n_steps, bool)
    for first, stop in stretches:
        blanked[first:stop] = True
    return blanked


def check_equal(config: ChipConfig, events: Events, *, masked: bool = False, why: str = "") -> Course[Any]:
    """The fixed-point engine is bit-equal to the fixed-point model, with what it says was blanked."""
    course = Engine[np.int64](config, "fixed", masked=masked).run(events)
    blanked = mask_of(course.blanked, events.n_steps)
    model = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps, blanked=blanked)
    np.testing.assert_array_equal(course.cr, np.flatnonzero(model.cr), err_msg=f"CR {why}")
    np.testing.assert_array_equal(course.raw(np.arange(events.n_steps)), model.weight, err_msg=f"w {why}")
    assert list(course.recalibrations) == list(model.recalibrations), why
    return course


def random_config(rng: np.random.Generator, *, recalibrated: bool) -> ChipConfig:
    """Short traces, narrow words, large δ: everything that is rare in an experiment happens often."""
    while True:
        bits = int(rng.integers(5, 17))
        weight = f"SQ(1,{bits})" if rng.random() < 0.3 else f"UQ(0,{bits})"
        fraction = int(rng.integers(3, bits + 1))
        steps = {name: 0.002 * int(rng.integers(0, 25)) for name in ("noi", "eligibility")}
        sections: dict[str, Any] = {
            "trace": {"duration_s": 0.002 * int(rng.integers(1, 40)), "end": float(rng.uniform(0, 0.9))},
            "threshold": {"level": float(rng.uniform(0.01, 0.7))},
            "noi": {"delay_s": 0.0 if rng.random() < 0.2 else steps["noi"]},
            "eligibility": {"delay_s": 0.0 if rng.random() < 0.2 else steps["eligibility"]},
            "weight": {"initial": float(rng.uniform(0.05, 0.9))},
            "plasticity": {
                "potentiation": float(rng.uniform(0, 0.05)),
                "depression": float(rng.uniform(0, 0.9)),
            },
            "formats": {
                "weight": weight,
                "potentiation": f"UQ(0,{fraction})",
                "depression": f"UQ(0,{fraction})",
            },
        }
        if recalibrated:
            sections["recalibration"] = RECALIBRATION
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PrecisionWarning)
                return ChipConfig.make(**sections)
        except ConfigError:
            continue  # what the formats cannot hold


def random_events(rng: np.random.Generator, n_steps: int, *, blanked: bool = True) -> Events:
    pn, io = (bernoulli_steps(n_steps, 10 ** rng.uniform(-3, -0.2), rng) for _ in range(2))
    edges = np.unique(rng.integers(0, n_steps + 1, size=2 * int(rng.integers(0, 6))))
    edges = edges[: edges.size // 2 * 2].reshape(-1, 2)
    return Events(pn=pn, io=io, n_steps=n_steps, blanked=edges if blanked else edges[:0])


def test_ten_thousand_random_sessions() -> None:
    seed = 20140506
    rng = np.random.default_rng(seed)
    met: dict[str, int] = dict.fromkeys(("cr", "top", "bottom", "restart", "recalibrated", "no delay"), 0)
    for number in range(500):
        config = random_config(rng, recalibrated=number % 5 == 0)
        limits = config.formats.weight
        for part in range(20):
            events = random_events(rng, int(rng.integers(1, 600)))
            course = check_equal(config, events, why=f"seed {seed}, configuration {number}, session {part}")
            raw = course.raw(np.arange(events.n_steps))
            met["cr"] += course.cr.size
            met["top"] += bool((raw == limits.raw_max).any())
            met["bottom"] += bool((raw == limits.raw_min).any())
            met["restart"] += bool((np.diff(events.pn) < config.trace_steps).any())
            met["no delay"] += config.noi.delay_s == 0
        if config.recalibration.enabled:
            course = check_equal(config, random_events(rng, 4500), why=f"seed {seed}, configuration {number}")
            met["recalibrated"] += sum(o.status is Status.GOOD for o in course.recalibrations)
    assert min(met.values()) > 100, met


@given(st.data())
@settings(max_examples=300)
def test_any_session(data: st.DataObject) -> None:
    steps = st.lists(st.integers(0, 119), unique=True, max_size=40).map(
        lambda s: np.array(sorted(s), np.int64)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed of the configuration"))
    config = random_config(rng, recalibrated=False)
    check_equal(config, Events(pn=data.draw(steps, label="pn"), io=data.draw(steps, label="io"), n_steps=120))


@pytest.mark.parametrize("seed", range(3))
def test_whole_sessions(seed: int) -> None:
    events = Protocol().events(DEFAULT, seed)
    course = check_equal(DEFAULT, events)
    assert course.cr.size > 100
    float_course = Engine[np.float64](DEFAULT, "float").run(events)
    model = MicrocircuitFloat(DEFAULT).process(events.pn_steps, events.io_steps)
    every = np.arange(events.n_steps)
    # One rounding of half an ulp at 0.5 to 1 for each eligible step, at the most.
    budget = 2.0**-53 * np.cumsum(np.diff(model.weight, prepend=0.5) != 0)
    assert (np.abs(float_course.weight(every) - model.weight) <= budget + 2.0**-53).all()
    np.testing.assert_array_equal(float_course.cr, np.flatnonzero(model.cr))


def test_float_recalibrates_as_the_model_does() -> None:
    config = DEFAULT.replace(recalibration=RECALIBRATION)
    events = Protocol(trials=(Trial.PAIRED,) * 8).events(config, 1)
    ours = Engine[np.float64](config, "float").run(events)
    model = MicrocircuitFloat(config).process(events.pn_steps, events.io_steps)
    assert list(ours.recalibrations) == list(model.recalibrations) and len(model.recalibrations) > 20


MASKS = [{"mode": "fixed"}, {"mode": "pulse"}, {"mode": "none"}, {"mode": "fixed", "fixed_s": 0.41},
         {"mode": "pulse", "guard_after_s": 0.02}]  # fmt: skip


@pytest.mark.parametrize("blanking", MASKS)
@pytest.mark.parametrize("recalibrated", [False, True])
def test_masked_by_its_own_stimulation(blanking: dict[str, Any], recalibrated: bool) -> None:
    config = DEFAULT.replace(blanking=blanking, weight={"initial": 0.3})
    if recalibrated:
        config = config.replace(recalibration=RECALIBRATION | {"period_s": 30.0})
    events = Protocol(trials=(Trial.PAIRED,) * 30, iti_s=(1.0, 2.0)).events(config, 5)
    course = check_equal(config, events, masked=True)
    assert (len(course.blanked) > 0) is (blanking["mode"] != "none")
    assert course.cr.size > 10


@pytest.mark.parametrize("blanking", MASKS)
def test_the_mask_is_what_the_chip_blanks(blanking: dict[str, Any]) -> None:
    """Against the chip from raw samples: its CRs, and the steps that it blanked after them."""
    config = DEFAULT.replace(
        blanking=blanking, weight={"initial": 0.19}, amplifier={"rate_hz": 5000.0}, time={"clock_hz": 4e6},
        detection={"pn": {"threshold": 200.0, "relative": False, "settle_s": 0.0}},
    )  # fmt: skip
    chip, rng = ChipFixed(config), np.random.default_rng(3)
    samples = rng.integers(-20, 20, size=(10 * 2500, 2)).astype(np.int16)
    for at in rng.integers(0, 2500, size=36):  # bursts that the PN detector hears
        samples[10 * at : 10 * at + 30, 0] *= 100
    answer = chip.process(samples)
    cr, mask = np.flatnonzero(answer.cr[:, 0]), StimulationMask.of(config)
    assert cr.size > 8 and (np.diff(cr) < mask.recovery_steps).any(), "needs a CR that starts no train"
    course = Engine[np.int64](config, masked=True).run(
        Events(pn=np.flatnonzero(answer.pn[:, 0]), io=np.flatnonzero(answer.io[:, 0]), n_steps=2500)
    )
    np.testing.assert_array_equal(course.cr, cr)
    np.testing.assert_array_equal(mask_of(course.blanked, 2500), answer.blanked)
    np.testing.assert_array_equal(course.raw(np.arange(2500)), answer.weight[:, 0])


def test_a_rising_s_is_met_on_both_sides() -> None:
    """With a large δp S rises through θ, and falls again within the trace: two CRs of one detection."""
    config = DEFAULT.replace(
        eligibility={"delay_s": 0.0}, plasticity={"potentiation": 0.01}, weight={"initial": 0.1},
        threshold={"level": 0.5},
    )  # fmt: skip
    course = check_equal(config, Events(pn=np.array([10]), io=np.zeros(0, np.int64), n_steps=400))
    assert course.cr.size == 2 and course.cr[0] == 10
    assert len(course.pieces) == 3, "at rest, Π, at rest"


def test_time_and_memory_do_not_grow_with_silence() -> None:
    events = Protocol().events(DEFAULT, 1)
    stretched = Events(pn=events.pn * 10, io=events.io * 10, n_steps=events.n_steps * 10)
    assert len(Engine(DEFAULT).run(stretched).pieces) < 1.2 * len(Engine(DEFAULT).run(events).pieces)


def test_it_starts_again_from_reset() -> None:
    events, engine = Protocol().events(DEFAULT, 1), Engine[np.int64](DEFAULT)
    first, second = engine.run(events), engine.run(events)
    np.testing.assert_array_equal(first.cr, second.cr)
    np.testing.assert_array_equal(first.values, second.values)


def test_what_is_refused() -> None:
    events = Events(pn=np.array([1]), io=np.array([2]), n_steps=9, blanked=np.array([[2, 4]]))
    with pytest.raises(ValueError, match="blanked"):
        Engine(DEFAULT, masked=True).run(events)
    course = Engine(DEFAULT).run(events)
    for outside in (-1, 9):
        with pytest.raises(ValueError, match="limits are 0 and 8"):
            course.raw([0, outside])
    with pytest.raises(ConfigError):
        Engine(DEFAULT.replace(time={"clock_hz": 1e6}), masked=True)


MUTANTS = applying(
    {
        "the inhibition a step early": ("t - noi_delay - crs", "t + 1 - noi_delay - crs"),
        "a pulse a step longer": (
            "crs[state[_GATE] - 1] >= trace_steps",
            "crs[state[_GATE] - 1] > trace_steps",
        ),
        "S not looked at where it rises": ("if last_below and change > zero", "if False"),
        "a CR that follows at once": ("if not state[_BELOW]", "if True"),
        "no lowest w": ("max(w + (potentiation - depression), low)", "w + (potentiation - depression)"),
        "an IO detection ends no stretch": ("end = min(end, io[state[_IO]])", "pass"),
        "blanked IO counts": ("or at < blanks", "or True or at < blanks"),
        "δp goes on": ("if gated or change != line[1]:", "if gated:"),
    },
    engine_module,
)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = changed(engine_module, *MUTANTS[mutant], without="@compiled(nogil=True)\n")
    monkeypatch.setattr(engine_module, "_jump", broken._jump)
    rng = np.random.default_rng(7)
    with pytest.raises(AssertionError):
        for _ in range(400):
            check_equal(random_config(rng, recalibrated=False), random_events(rng, 300))

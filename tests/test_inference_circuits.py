"""Variants and pathologies of the microcircuit: what each changes of its configuration and its sessions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from microzone.golden_model import ChipConfig
from microzone.golden_model.events import Events
from microzone.golden_model.experiment.engine import Engine
from microzone.golden_model.inference.behaviour import NAMES, Experiment, behaviour
from microzone.golden_model.inference.circuits import CIRCUITS, HEALTHY, CircuitSpace
from microzone.golden_model.inference.parameters import CHIP
from microzone.golden_model.inference.simulations import simulate
from microzone.golden_model.microcircuit import MicrocircuitFixed

BASE = ChipConfig.make()
SMALL = Experiment(paired=40, cs_alone=20, unpaired=20)
ENERGY = NAMES.index("energy")


CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "fixed": {},
    "float": {},
    "event-driven": {},
    "again": {},
    "step-10ms": {"time": {"step_s": 0.01}, "plasticity": {"potentiation": 5 * 3.36e-5}},
    "delay-100ms": {},
    "noi-lesioned": {},
    "noi-0": {"noi": {"delay_s": 0.0}},
    "ratio-x3": {"plasticity": {"depression": 3 * 0.0161}},
    "ratio-div3": {"plasticity": {"depression": 0.0161 / 3}},
    "io-half": {},
    "io-double": {},
    "words-20-15": {
        "formats": {
            "weight": "UQ(0,20)",
            "potentiation": "UQ(0,20)",
            "depression": "UQ(0,20)",
            "trace": "UQ(1,15)",
        }
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_circuit_changes_what_it_says_and_nothing_else(name: str) -> None:
    base = BASE.replace(plasticity={"potentiation": 3.815e-5}) if name == "words-20-15" else BASE
    changed = CIRCUITS[name].configure(base).model_dump()
    assert changed == base.replace(**CHANGES[name]).model_dump()


def test_delays_are_rounded_to_the_circuits_unit() -> None:
    odd = BASE.replace(noi={"delay_s": 0.146}, eligibility={"delay_s": 0.152})
    coarse, tens = CIRCUITS["delay-100ms"].configure(odd), CIRCUITS["step-10ms"].configure(odd)
    assert (coarse.noi.delay_s, coarse.eligibility.delay_s) == (0.1, 0.2)
    assert (tens.noi_delay_steps, tens.eligibility_delay_steps) == (15, 15)


def gated(config: ChipConfig, events: Events) -> np.ndarray:
    """Steps in which an IO detection passes the gate."""
    response = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps, trace=True)
    return np.flatnonzero(response.signals["gated_io"])


def test_no_inhibition_arrives_in_a_lesioned_circuit() -> None:
    session, _ = SMALL.sessions(BASE, 3)
    lesioned = CIRCUITS["noi-lesioned"].configure(BASE)
    np.testing.assert_array_equal(gated(lesioned, session), session.io)
    assert gated(BASE, session).size < session.io.size, "the healthy circuit inhibits in this session"


@pytest.mark.parametrize("name", ["noi-lesioned", "step-10ms", "words-24-15"])
def test_the_engine_is_the_step_by_step_model_of_a_circuit(name: str) -> None:
    circuit = CIRCUITS[name]
    config, experiment = circuit.configure(BASE), circuit.experiment(SMALL, BASE)
    session, _ = experiment.sessions(config, 5)
    slow = MicrocircuitFixed(config).process(session.pn_steps, session.io_steps)
    course = Engine(config).run(session)
    np.testing.assert_array_equal(course.cr, np.flatnonzero(slow.cr))
    np.testing.assert_array_equal(course.raw(np.arange(session.n_steps)), slow.weight)
    assert course.cr.size


def test_coarse_sessions_are_the_fine_ones_in_coarser_steps() -> None:
    circuit = CIRCUITS["step-10ms"]
    pairs = zip(
        SMALL.sessions(BASE, 7),
        circuit.experiment(SMALL, BASE).sessions(circuit.configure(BASE), 7),
        strict=True,
    )
    for fine, coarse in pairs:
        assert fine is not None and coarse is not None
        for name in ("pn", "io", "cs", "us"):
            assert set(getattr(coarse, name)) == set(getattr(fine, name) // 5), name
        assert 0 <= 5 * coarse.n_steps - fine.n_steps < 5
    without = circuit.experiment(replace(SMALL, unpaired=0), BASE)
    assert without.sessions(circuit.configure(BASE), 7)[1] is None


def test_a_step_that_is_no_multiple_is_refused() -> None:
    odd = BASE.replace(
        time={"step_s": 0.004}, noi={"delay_s": 0.1}, eligibility={"delay_s": 0.1}, trace={"duration_s": 0.3}
    )
    with pytest.raises(ValueError, match=r"step-10ms: 0.01 s is no multiple of time.step_s = 0.004"):
        CIRCUITS["step-10ms"].experiment(SMALL, odd)


def test_event_driven_behaves_the_same_at_less_energy() -> None:
    healthy, asleep = (
        behaviour(BASE, SMALL, [1, 2, 3], variant=circuit.variant, event_driven=circuit.event_driven)
        for circuit in (HEALTHY, CIRCUITS["event-driven"])
    )
    np.testing.assert_array_equal(np.delete(asleep, ENERGY, 1), np.delete(healthy, ENERGY, 1))
    assert (asleep[:, ENERGY] < 0.2 * healthy[:, ENERGY]).all()


def test_an_io_rate_leaves_stimuli_and_cs_detections() -> None:
    long = replace(SMALL, paired=200, cs_alone=0, unpaired=0)
    session, double = (
        CIRCUITS[name].experiment(long, BASE).sessions(BASE, 4)[0] for name in ("fixed", "io-double")
    )
    for name in ("pn", "cs", "us"):
        np.testing.assert_array_equal(getattr(session, name), getattr(double, name))
    seconds = session.n_steps * BASE.time.step_s
    extra = double.io.size - session.io.size
    assert abs(extra - 1.14 * seconds) < 4 * math.sqrt(3 * 1.14 * seconds), (
        "twice 1.14 Hz, of independent draws"
    )


def test_only_the_control_has_other_sessions() -> None:
    for name, circuit in CIRCUITS.items():
        assert (circuit.seeds([0, 10**6])[0] > 10**6) == (name == "again"), "a million draws at most"
        assert np.diff(circuit.seeds([0, 10**6])) == 10**6


def test_what_formats_cannot_represent_has_no_statistics() -> None:
    space = CircuitSpace(CIRCUITS["words-16-15"], CHIP)
    table = simulate(space, np.array([[-4.9, -1.6, 0.4, 0.1], [-4.03, -1.2, 0.4, 0.1]]), [1, 2], SMALL)
    assert np.isnan(table.statistics[0]).all(), "1.3e-5 is less than one LSB of 16 bits"

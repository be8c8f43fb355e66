"""What the microcircuit does, whatever comes: all inputs free, from power-up through so many cycles."""

from __future__ import annotations

import pytest
from microzone.golden_model.config import ChipConfig
from microzone.sim.formal.interlock import search, verify
from microzone.sim.formal.microcircuit import SMALL, MicrocircuitHarness
from support import MUTATIONS, mutant

pytestmark = pytest.mark.formal

CONFIG = ChipConfig.make(**SMALL)
EIGHT_STEPS = 44
"""Cycles: set-up, and steps enough for a trace, its CR, the pulse and what it inhibits."""
UNSEEN = {
    "accesses go before steps",
    "an answer is overwritten",
}
"""Of readback and of who goes first: the benches of the ports see these."""


def test_nothing_breaks_it_in_two_steps() -> None:
    assert search(MicrocircuitHarness(CONFIG), depth=12)


@pytest.mark.slow
def test_nothing_breaks_it_in_three_steps() -> None:
    assert search(MicrocircuitHarness(CONFIG), depth=18)


@pytest.mark.slow
def test_left_alone_eight_steps_are_right() -> None:
    assert search(MicrocircuitHarness(CONFIG, undisturbed=True), depth=EIGHT_STEPS)


@pytest.mark.slow
def test_every_situation_is_reached() -> None:
    proof = verify(MicrocircuitHarness(CONFIG), mode="cover", depth=EIGHT_STEPS)
    assert proof.passed, proof.failed


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MUTATIONS) - UNSEEN))
def test_a_mutant_fails(name: str) -> None:
    with mutant(name) as broken:
        harness = MicrocircuitHarness(CONFIG, broken(CONFIG), undisturbed=True)
        free = MicrocircuitHarness(CONFIG, broken(CONFIG))
        assert not search(free, depth=12) or not search(harness, depth=EIGHT_STEPS)

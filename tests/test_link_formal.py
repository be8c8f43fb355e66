"""The link's guarantees, and those of its queue, are proved; and broken on purpose, not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from microzone.gateware.link import link, record_fifo
from microzone.sim.formal.interlock import verify
from microzone.sim.formal.link import FifoHarness, LinkHarness
from support import changed
from test_link import LINK

pytestmark = pytest.mark.formal


@pytest.mark.parametrize("harness", [LinkHarness, FifoHarness])
def test_proved(harness: Callable[[], Any]) -> None:
    proof = verify(harness(), mode="prove", depth=2)
    assert proof.passed, proof.failed or proof.log


@pytest.mark.slow
@pytest.mark.parametrize(("harness", "depth"), [(LinkHarness, 10), (FifoHarness, 12)])
def test_the_proofs_are_not_empty(harness: Callable[[], Any], depth: int) -> None:
    proof = verify(harness(), mode="cover", depth=depth)
    assert proof.passed, proof.failed or proof.log


UNPROVED = [
    "no check sequence",
    "errors of the line pass",
    "too long frames pass",
    "bytes pass while held",
    "an escape survives its flag",
    "an aborted frame passes",
    "a frame begins with the one before",
    "misaligned accesses",
]
FIFO = {
    "full is not noticed": ("self.takes.eq(self.valid & ~full & ~self.dropping)", "self.takes.eq(self.valid)"),
    "lost silently": ("with m.If(self.loses | (self.takes & self.owing)):", "with m.If(self.loses):"),
    "no LOST": ("with m.If(self.owing):\n", "with m.If(0):\n"),
    "LOST counts one too few": ("Signal.like(self.lost, init=1)", "Signal.like(self.lost, init=0)"),
    "dropping goes on": ("Mux(self.dropping, ~half, self.loses)", "Mux(self.dropping, ~empty, self.loses)"),
    "a record twice": ("[head.eq(head + 1), self.records.valid.eq(1)]", "[head.eq(head + self.records.ready), self.records.valid.eq(1)]"),
    "a record is replaced": ("read.en.eq(~empty & (self.records.ready | ~self.records.valid))", "read.en.eq(~empty)"),
    "a read beside its write": ("empty, half, full = low & ~middle & ~high,", "empty, half, full = low & ~middle & ~high & ~self.valid,"),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in UNPROVED])
def test_a_broken_link_is_not_proved(name: str) -> None:
    proof = verify(LinkHarness(changed(link, *LINK[name]).Link()), mode="prove", depth=2)
    assert proof.failed
    print(f"{name}: {', '.join(proof.failed)}")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in FIFO])
def test_a_broken_queue_is_found(name: str) -> None:
    """From power-up: no invariant is needed to tell."""
    design = changed(record_fifo, *FIFO[name]).RecordFifo(4)
    proof = verify(FifoHarness(design=design), mode="bmc", depth=11)
    assert proof.failed
    print(f"{name}: {', '.join(proof.failed)}")

"""The link's guarantees, and those of its queue, are proved; and broken on purpose, not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from amaranth.hdl import Const, Module, Signal, Value
from microzone.gateware.link import link
from microzone.gateware.link.record_fifo import RecordFifo
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


class NoFull(RecordFifo):
    def _level(self) -> Any:
        return super()._level()._replace(full=Const(0))


class LostSilently(RecordFifo):
    def _losing(self) -> Value:
        return self.loses


class NoLost(RecordFifo):
    def _tell(self, m: Module) -> None:
        pass


class LostCountsTooFew(RecordFifo):
    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.since = Signal.like(self.lost, init=0)


class DroppingGoesOn(RecordFifo):
    def _level(self) -> Any:
        level = super()._level()
        return level._replace(half_empty=level.empty)


class Twice(RecordFifo):
    """Goes on only where the record before is taken in the same cycle."""

    def _offer(self, m: Module, level: Any) -> None:
        super()._offer(m, level)
        with m.If(self.read.en):
            m.d.sync += self.head.eq(self.head + self.records.ready)


class Replaced(RecordFifo):
    """Reads on over the record that is offered."""

    def _offer(self, m: Module, level: Any) -> None:
        super()._offer(m, level)
        m.d.comb += self.read.en.eq(~level.empty)


class ReadBesideWrite(RecordFifo):
    def _level(self) -> Any:
        level = super()._level()
        return level._replace(empty=level.empty & ~self.valid)


FIFO = {
    "full is not noticed": NoFull,
    "lost silently": LostSilently,
    "no LOST": NoLost,
    "LOST counts one too few": LostCountsTooFew,
    "dropping goes on": DroppingGoesOn,
    "a record twice": Twice,
    "a record is replaced": Replaced,
    "a read beside its write": ReadBesideWrite,
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in UNPROVED])
def test_a_broken_link_is_not_proved(name: str) -> None:
    proof = verify(LinkHarness(changed(link, *LINK[name]).Link()), mode="prove", depth=2)
    assert proof.failed
    print(f"{name}: {', '.join(proof.failed)}")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in FIFO])
def test_a_broken_queue_is_found(name: str) -> None:
    """From power-up: no invariant is needed to tell."""
    proof = verify(FifoHarness(design=FIFO[name](4)), mode="bmc", depth=11)
    assert proof.failed
    print(f"{name}: {', '.join(proof.failed)}")

"""Wait for ``replay.sv`` to end, and compare its record with the fixed-point model's where one is given."""

from __future__ import annotations

import os
from typing import Any

import cocotb
from cocotb.triggers import Timer
from cocotb.utils import get_sim_time
from microzone.sim.replay.record import check_record

_POLL_NS = 20_000
"""Simulated time between two looks at `done`: Python touches the simulation once in 10,000 cycles."""


@cocotb.test()
async def replay(dut: Any) -> None:
    """Gateware equals fixed-point model in every recorded signal of every step."""
    scenario = os.environ["MICROZONE_SCENARIO"]
    limit_ns = 2 * int(str(cocotb.plusargs["cycles"]))
    while not int(dut.done.value) and not int(dut.failed.value):
        assert get_sim_time("ns") < limit_ns, f"{scenario}: the core hangs in step {int(dut.step.value)}"
        await Timer(_POLL_NS, "ns")
    assert not int(dut.overrun.value), f"{scenario}: the core lost a tick"
    assert not int(dut.late.value), f"{scenario}: a step took more or fewer cycles than the core states"
    assert not int(dut.rejected.value), f"{scenario}: the core rejected an event or a write"
    assert not int(dut.failed.value), f"{scenario}: the replay could not open its files"
    check_record(os.environ, full=bool(cocotb.plusargs.get("full")))

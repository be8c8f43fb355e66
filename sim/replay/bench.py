"""Wait in cocotb for ``replay.sv`` or ``detection_replay.sv`` to end, and ask how it went."""

from __future__ import annotations

import os
from typing import Any

import cocotb
from cocotb.triggers import Timer
from cocotb.utils import get_sim_time

from ..failure import check

_POLL_NS = 20_000
"""Simulated time between two looks at `done`: Python touches the simulation once in 10,000 cycles."""


@cocotb.test()
async def replay(dut: Any) -> None:
    """The gateware takes all that it is sent, in the cycles that it states."""
    scenario = os.environ["MICROZONE_SCENARIO"]
    limit_ns = 2 * int(str(cocotb.plusargs["cycles"]))
    while not int(dut.done.value) and not int(dut.failed.value):
        check(get_sim_time("ns") < limit_ns, f"{scenario}: the core hangs in step {int(dut.step.value)}")
        await Timer(_POLL_NS, "ns")
    check(not int(dut.overrun.value), f"{scenario}: the core lost a tick")
    check(not int(dut.late.value), f"{scenario}: a step took more or fewer cycles than the core states")
    check(not int(dut.rejected.value), f"{scenario}: the core rejected an event or a write")
    check(not int(dut.unknown.value), f"{scenario}: a recorded signal has no known value")
    check(not int(dut.failed.value), f"{scenario}: the replay could not read its files")

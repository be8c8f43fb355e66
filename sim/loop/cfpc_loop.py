"""The loop of CFPC closed around the gateware: the filter in Verilator, the plant in floating point here."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ...gateware.cfpc.filter import Cfpc, CfpcTiming
from ...gateware.events import channel_shape
from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.filter import AdaptiveFilter, Trial
from ...golden_model.cfpc.fixed_filter import Steps
from ...golden_model.cfpc.loop import LoopState
from ...golden_model.cfpc.stepped import close_by_steps
from ...golden_model.cfpc.systems import Reals
from ...golden_model.cfpc.words import Raw
from ..build.kept_verilog import CHECKED, kept_verilog, sim_sources
from ..build.piped import PipedProgram
from ..build.simulators import PROGRAM, Design, Verilator
from ..failure import BenchFailure

__all__ = ["AdaptiveFilterRtl", "cfpc_loop_design"]

_STEP, _RECORD, _READ, _WRITE = range(4)
_BYTES = 4
_ENDED = {
    2: "an access was rejected",
    3: "the filter hangs",
    4: "a step took more or fewer cycles than the filter states",
}
"""As ``cfpc_loop.cpp`` has it."""


def cfpc_loop_design(config: CfpcConfig, *, record: bool = False) -> Design:
    """The adaptive filter inside ``cfpc_loop.cpp``.

    Parameters
    ----------
    config : CfpcConfig
    record : bool
        Traces and weights of each step are kept until they are asked for.
    """
    timing = CfpcTiming(config)
    words = timing.words
    widths = {"SIGNAL": words.signal.width, "WEIGHT": words.weight.width}
    verilog = kept_verilog(lambda: Cfpc(config), "cfpc")
    return Design(
        sources={"cfpc.sv": verilog} | sim_sources("loop/cfpc_loop.sv", "loop/cfpc_loop.cpp", CHECKED),
        top="cfpc_loop",
        parameters=widths | {"NUMBER": channel_shape(words.count).width},
        program="cfpc_loop.cpp",
        defines=widths
        | {
            "INPUTS": words.inputs,
            "SYNAPSES": words.count,
            "INITIALISE_CYCLES": timing.initialise_cycles,
            "CYCLES_PER_STEP": timing.cycles_per_step,
            "STEP_CYCLES": timing.step_cycles,
            "RECORDS": int(record),
        },
    )


class AdaptiveFilterRtl(AdaptiveFilter):
    """The gateware as an adaptive filter, a context manager; it takes each step's time as it states.

    Parameters
    ----------
    config : CfpcConfig
    record : bool
        Keep every trace and weight, for `steps`.

    Attributes
    ----------
    frozen : bool
        The weights stay.

    Raises
    ------
    BenchFailure
        If the simulation ends by itself: the filter hangs, or takes other than the stated cycles.
    ConfigError
        As ``FilterWords.of``.
    ToolError
        If the simulator is missing or fails.
    """

    def __init__(self, config: CfpcConfig, *, record: bool = False) -> None:
        self.config, self.words = config, CfpcTiming(config).words
        self._record = record
        self._steps: list[Steps] = []
        program: Path = Verilator().build(cfpc_loop_design(config, record=record)) / PROGRAM
        self._program = PipedProgram(program, _ENDED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the simulation."""
        self._program.close()

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        outputs: list[int] = []

        def step(error: int, raw: Raw) -> int:
            (o,) = self._ask(np.array([_STEP, self.frozen, error, *raw], np.int32), 1)
            outputs.append(int(o))
            return outputs[-1]

        trial = close_by_steps(step, self.words.signal, loop, reference, inputs)
        if self._record:
            self._keep(np.array(outputs))
        return trial

    def _keep(self, outputs: Raw) -> None:
        """Traces and weights of the steps that gave these."""
        count = self.words.count
        (made,) = self._ask(np.array([_RECORD], np.int32), 1)
        if made != outputs.size:
            raise BenchFailure(f"the simulation has recorded {made} steps, not {outputs.size}")
        found = self._take(outputs.size * 2 * count).reshape(-1, 2, count)
        self._steps.append(Steps(outputs, found[:, 0], found[:, 1]))

    @property
    def steps(self) -> Steps:
        """Of all trials so far, where they are recorded."""
        if not self._record:
            raise ValueError("record = False: no step is kept")
        count = self.words.count
        none = Steps(np.zeros(0, np.int64), *(np.zeros((0, count), np.int64) for _ in range(2)))
        return Steps(
            *(
                np.concatenate([getattr(part, name) for part in (none, *self._steps)])
                for name in ("o", "traces", "weights")
            )
        )

    @property
    def raw_weights(self) -> Raw:
        """Raw words of w by the access port, shape (G,); may be written between trials."""
        return self._ask(np.array([_READ], np.int32), self.words.count)

    @raw_weights.setter
    def raw_weights(self, weights: Raw) -> None:
        fmt, weights = self.words.weight, np.asarray(weights)
        if weights.shape != (self.words.count,):
            raise ValueError(f"weights of shape {weights.shape}, needs ({self.words.count},)")
        if weights.min() < fmt.raw_min or weights.max() > fmt.raw_max:
            raise ValueError(f"weights: {weights.min()} to {weights.max()}, outside {fmt}")
        self._ask(np.array([_WRITE, *weights], np.int32), 1)

    @property
    def weights(self) -> Reals:
        return np.asarray(self.raw_weights * self.words.weight.lsb, np.float64)

    def _ask(self, request: npt.NDArray[np.int32], count: int) -> Raw:
        self._program.tell(request.tobytes())
        return self._take(count)

    def _take(self, count: int) -> Raw:
        return np.frombuffer(self._program.take(_BYTES * count), np.int32).astype(np.int64)

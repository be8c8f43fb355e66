"""A chip and a virtual preparation in closed loop: electrodes, amplifier, chip, stimulation, electrodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from ...boards.family import FamilyName
from ...golden_model.amplifier import amplifier_registers
from ...golden_model.chip import Chip, ChipFixed, ChipFloat, ChipResponse, ChipTiming, Source
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.experiment.preparation import Preparation
from ...golden_model.stimulation import StimulationTiming
from .amplifier import AnaloguePath
from .chip import RtlChip
from .chip_record import ChipRecord

__all__ = ["CHIPS", "ChipModel", "run_closed_loop", "with_slowest_clock"]

ChipModel = Literal["float", "fixed", "rtl"]
CHIPS: dict[str, type[Chip[Any]]] = {"float": ChipFloat, "fixed": ChipFixed}
"""The golden models, by name."""
_PIECE = 1024
"""Steps."""


def run_closed_loop(
    model: ChipModel,
    config: ChipConfig,
    preparation: Preparation,
    seed: int,
    *,
    netlist: FamilyName | None = None,
    progress: Callable[[int], None] | None = None,
) -> ChipRecord:
    """Run a chip on a preparation from its beginning to its end.

    What the electrodes give depends on the pulses, so that each model needs a preparation of its own. Equal
    seeds give models that do the same equal signals, to the bit.

    Parameters
    ----------
    model : {"float", "fixed", "rtl"}
        ``rtl`` takes Verilator.
    config : ChipConfig
    preparation : Preparation
        Fresh; afterwards it has the truth about its events, and the eyelid.
    seed : int
        Of the amplifier's noise and offsets.
    netlist : {"ice40", "ecp5"}, optional
        For ``rtl``: the chip as synthesised for this family.
    progress : callable, optional
        Told the number of steps done.

    Returns
    -------
    ChipRecord
        Of the whole steps that the preparation has.

    Raises
    ------
    ConfigError
        If rates, clock and durations do not fit together.
    BenchFailure, ToolError
        From the simulation.
    """
    steps, amplifier = preparation.n_frames // ChipTiming(config).frames_per_step, config.amplifier

    def electrodes(registers: Sequence[Sequence[int]]) -> Source:
        path = AnaloguePath(registers, amplifier.rate_hz, amplifier.electrodes, seed)
        return lambda on: path.convert(preparation.record(on))

    def ticks() -> Iterator[int]:
        for step in range(steps):
            yield step
            if progress and (step % 256 == 255 or step == steps - 1):
                progress(step + 1)

    if model == "rtl":
        with RtlChip(config, netlist=netlist) as rtl:
            source = electrodes(rtl.registers)
            for _ in ticks():
                rtl.step(source)
            return rtl.finish()
    chip = CHIPS[model](config)
    source = electrodes([amplifier_registers(config)] * amplifier.chips)
    responses = (chip.step(source) for _ in ticks())
    # In pieces: an array a step and signal would take far more than what is in them.
    pieces = iter(lambda: list(islice(responses, _PIECE)), [])
    return ChipRecord.of(chip, [ChipResponse.join(piece) for piece in pieces])


def with_slowest_clock(config: ChipConfig) -> ChipConfig:
    """The configuration at the slowest clock at which its chip works: the fastest to simulate.

    ConfigError if there is none; the reason is that of the configured clock.
    """
    rate = config.amplifier.rate_hz
    configured = ChipTiming(config).frame_cycles
    for cycles in range(64, configured):
        try:
            slower = config.replace(time={"clock_hz": cycles * rate})
            ChipTiming(slower)
            StimulationTiming(slower)
        except ConfigError:
            continue
        return slower
    return config

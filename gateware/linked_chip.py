"""The chip with its link to a host: bytes in, bytes out, whatever carries them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChipConfig
from .amplifier.amplifier import AmplifierFault
from .amplifier.spi import SpiPins
from .chip import Chip, Delivered, Detected
from .component import Component
from .identity import NO_IDENTITY
from .link.link import Link
from .link.record_fifo import RecordFifo
from .link.telemetry import Telemetry
from .microcircuit.ports import Commit, Recalibrated
from .registers.file import RegisterFile
from .stimulation.interlock import InterlockFault

__all__ = ["LinkedChip"]

_SHARED = ("spi", "cathodic", "anodic", "stimulate", "emergency_stop")
_OBSERVED = (
    "running", "frame", "tick", "train", "armed", "blanked", "first_sample", "overrun", "rejected",
    "amplifier_fault", "stimulation_fault", "detected", "delivered", "commit", "recalibrated",
)  # fmt: skip
"""Of the chip: for benches, and for lamps."""
_FAULTS = ("stimulation_fault", "amplifier_fault", "faulty_chip")
_TO_REGISTERS = (
    "running", "armed", "train", "blanked", "overrun", "rejected", "tick", "first_sample", *_FAULTS
)  # fmt: skip
_TO_TELEMETRY = (
    "running", "armed", "train", "tick", "first_sample", *_FAULTS, "commit", "detected", "recalibrated"
)  # fmt: skip


class Observed(Protocol):
    """Outputs of :class:`Chip` under their names there: what the port `observed` has."""

    running: Signal
    frame: Signal
    tick: Signal
    train: Signal
    armed: Signal
    blanked: Signal
    first_sample: Signal
    overrun: Signal
    rejected: Signal
    amplifier_fault: Signal
    stimulation_fault: Signal
    detected: Detected
    delivered: Delivered
    commit: Commit
    recalibrated: Recalibrated


class LinkedChip(Component):
    """Chip, register file, telemetry and link. UART, SPI or USB take the two streams of bytes.

    Parameters
    ----------
    config : ChipConfig
    identity : str
        What the gateware says of itself, see ``identity_of``.

    Members
    -------
    rx : In(stream of 8 bits)
        From the host; always taken.
    rx_error : In(1)
        The carrier lost or broke a byte of the present frame.
    tx : Out(stream of 8 bits)
        To the host.
    spi : Out(spi_signature(chips))
        To the amplifier chips, see :class:`Chip`.
    cathodic, anodic, stimulate : Out(1)
        To the stimulator, see :class:`Chip`.
    emergency_stop : In(1)
        See :class:`Chip`.
    fault : Out(1)
        A fault of stimulation or amplifier is latched, or a step was lost.
    observed : Out(parts of :class:`Observed`)
        Outputs of the chip that no wire needs.

    Raises
    ------
    ConfigError
        If rates, clock and durations do not fit together, or a word does not fit into a register.
    """

    rx: stream.Interface
    rx_error: Signal
    tx: stream.Interface
    spi: SpiPins
    cathodic: Signal
    anodic: Signal
    stimulate: Signal
    emergency_stop: Signal
    fault: Signal
    observed: Observed

    def __init__(self, config: ChipConfig, *, identity: str = NO_IDENTITY) -> None:
        self.config = config
        self._chip = Chip(config)
        self._registers = RegisterFile(config, identity=identity)
        self._telemetry = Telemetry(config)
        members = self._chip.signature.members
        self._link, self._fifo = Link(), RecordFifo()
        super().__init__(
            {
                "rx": In(stream.Signature(8)),
                "rx_error": In(1),
                "tx": Out(stream.Signature(8)),
                **{name: members[name] for name in _SHARED},
                "fault": Out(1),
                "observed": Out(wiring.Signature({name: members[name] for name in _OBSERVED})),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.chip = chip = self._chip
        m.submodules.registers = registers = self._registers
        m.submodules.telemetry = telemetry = self._telemetry
        m.submodules.fifo = fifo = self._fifo
        m.submodules.link = link = self._link

        # Bytes to and from the link; its accesses go to the registers, theirs to the blocks' parameters.
        wiring.connect(m, wiring.flipped(self.rx), link.rx)
        wiring.connect(m, link.tx, wiring.flipped(self.tx))
        wiring.connect(m, link.bus, registers.bus)
        wiring.connect(m, fifo.records, link.records)
        wiring.connect(m, chip.spi, wiring.flipped(self.spi))
        for block in ("circuit", "detection", "stimulation"):
            wiring.connect(m, getattr(registers, f"{block}_access"), getattr(chip, f"{block}_access"))
            wiring.connect(m, getattr(chip, f"{block}_readback"), getattr(registers, f"{block}_readback"))

        # Steps are made from the first time that frames are taken on, through outages too.
        begun = Signal()
        with m.If(chip.running):
            m.d.sync += begun.eq(1)

        # What changes its name, or is made of more than one signal, on its way.
        m.d.comb += [
            link.rx_error.eq(self.rx_error),
            registers.good.eq(link.good),
            registers.bad.eq(link.bad),
            registers.detected.eq(chip.detected.valid & chip.detected.event),
            registers.responded.eq(chip.commit.valid & chip.commit.cr),
            registers.lost.eq(fifo.losing),
            registers.stepping.eq(begun | chip.running),
            telemetry.mask.eq(registers.telemetry_mask),
            telemetry.steps.eq(registers.steps),
            fifo.valid.eq(telemetry.record.valid),
            fifo.record.eq(telemetry.record.payload),
            chip.emergency_stop.eq(self.emergency_stop),
            self.fault.eq(
                (chip.stimulation_fault != InterlockFault.NONE)
                | (chip.amplifier_fault != AmplifierFault.NONE)
                | chip.overrun
            ),
        ]

        # What has one name on both sides.
        m.d.comb += _copies(registers, chip, ("enable", "arm", "disarm", "heartbeat"))
        m.d.comb += _copies(chip, registers, _TO_REGISTERS)
        m.d.comb += _copies(chip, telemetry, _TO_TELEMETRY)
        m.d.comb += _copies(registers, telemetry, ("committed",))
        m.d.comb += _copies(chip, self, ("cathodic", "anodic", "stimulate"))
        m.d.comb += _copies(chip, self.observed, _OBSERVED)
        return m


def _copies(source: Any, sink: Any, names: Iterable[str]) -> Iterator[Any]:
    """Assignments of members of one component to those of another of the same names, field by field."""
    for name in names:
        given, taken = getattr(source, name), getattr(sink, name)
        if sink.signature.members[name].is_port:
            yield taken.eq(given)
        else:
            yield from _copies(given, taken, taken.signature.members)

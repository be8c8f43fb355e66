"""The front end: an SPI master for Intan RHD2000 amplifier chips, from their set-up to a stream of samples.

All chips get the same commands and answer on a line each, every line with the delay of its own cable.
Commands come from a list in memory (:func:`command_list`); what each must be answered stands there too.
"""

from __future__ import annotations

import enum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden_model.amplifier import (
    CALIBRATION_DUMMIES,
    LIVENESS_READS,
    REGISTERS,
    RESULT_FORMAT,
    ChipId,
    FrameTiming,
    Rom,
    amplifier_registers,
    calibrate_command,
    read_command,
    write_command,
)
from ...golden_model.config import ChipConfig, ConfigError
from ..component import Component
from .spi import SpiMaster, SpiPins, spi_signature

__all__ = ["Amplifier", "AmplifierFault", "Stretch", "command_list", "sample_layout"]

_INTAN = b"INTAN"
_WARM_UPS = 2
"""Rounds of reads before those that count: a chip may be in the middle of a calibration."""
_COMMAND = Shape(16)


class AmplifierFault(enum.Enum):
    """Why the front end has stopped."""

    NONE = 0
    ABSENT = 1  # no delay at which the chip says INTAN
    WRONG_CHIP = 2  # neither RHD2132 nor RHD2216, or with too few amplifiers
    LOST = 3  # a wrong answer, in set-up or in a frame
    OVERRUN = 4  # a result was not taken before the next


class Stretch(enum.Enum):
    """The parts of :func:`command_list`."""

    PROBE = "probe"
    CONFIGURE = "configure"
    CALIBRATE = "calibrate"
    CHECK = "check"


class _Phase(enum.Enum):
    IDLE = 0
    POWER_UP = 1
    PROBE = 2
    CONFIGURE = 3
    SETTLE = 4
    CALIBRATE = 5
    RUN = 6
    FAULT = 7


class _Answer(enum.Enum):
    """What is expected of an answer."""

    ANY = 0
    SAMPLE = 1
    READ = 2
    WRITE = 3
    CHIP_ID = 4
    AMPLIFIERS = 5


_KINDS = {
    Rom.DIE_REVISION: _Answer.ANY,
    Rom.CHIP_ID: _Answer.CHIP_ID,
    Rom.AMPLIFIERS: _Answer.AMPLIFIERS,
}
"""Of the registers whose contents are not known before."""
_EXPECTATION = data.StructLayout({"kind": _Answer, "byte": 8})


def command_list(config: ChipConfig) -> tuple[list[int], dict[Stretch, range]]:
    """All commands but CONVERT, and where each stretch of them is.

    The low byte of a READ is the answer that is expected; it goes out as 0. Die revision, chip and number of
    amplifiers are not compared with it. Registers 16 and 17 are read back only where they matter: the
    RHD2216 has
    no amplifiers for them. CHECK has the registers that are not 0, to be read in turn, a frame each: those
    that a chip which forgot its set-up cannot answer.

    Parameters
    ----------
    config : ChipConfig

    Returns
    -------
    list of int, dict of Stretch to range
    """
    registers = amplifier_registers(config)
    kept = REGISTERS if config.amplifier.channels > 16 else 16
    dummy = read_command(Rom.DIE_REVISION)
    spelled = [read_command(Rom.INTAN + index) | letter for index, letter in enumerate(_INTAN)]
    echoed = [read_command(index) | word for index, word in enumerate(registers[:kept])]
    stretches = {
        Stretch.PROBE: [*spelled, dummy, dummy],
        Stretch.CONFIGURE: [
            read_command(Rom.CHIP_ID), read_command(Rom.AMPLIFIERS),
            *(write_command(index, word) for index, word in enumerate(registers)), *echoed, dummy, dummy,
        ],
        Stretch.CALIBRATE: [calibrate_command(), *[dummy] * CALIBRATION_DUMMIES],
        Stretch.CHECK: [command for command in echoed if command & 0xFF],
    }  # fmt: skip
    words: list[int] = []
    where = {}
    for stretch, commands in stretches.items():
        where[stretch] = range(len(words), len(words) + len(commands))
        words += commands
    return words, where


def sample_layout(config: ChipConfig) -> data.StructLayout:
    """A conversion's result: electrode, and counts in ``golden_model.amplifier.RESULT_FORMAT``."""
    electrodes = config.amplifier.electrodes
    return data.StructLayout({"electrode": range(max(electrodes, 2)), "sample": RESULT_FORMAT.as_shape()})


class Amplifier(Component):
    """Sets up the amplifier chips, then samples all their electrodes, frame after frame.

    Commands, registers and timing: ``golden_model.amplifier`` and its source. Set-up: 100 µs; find the
    delay of each chip's MISO, which is the middle of those at which it says INTAN (of two, as where half a
    period of SCLK is one cycle, the shorter); check which chip it is; write the registers and read them
    back; 100 µs; CALIBRATE and nine dummies. In every frame a letter of INTAN and a register are read again;
    their answers come before the first result of the next frame.

    Parameters
    ----------
    config : ChipConfig

    Attributes
    ----------
    timing : FrameTiming
        When, within a frame, what happens.
    setup_cycles : int
        From the first cycle with `enable` to the first frame; plus the rest of the command at the pins, where
        there is one.

    Members
    -------
    spi : Out(spi_signature(chips))
        ``cs_n``, ``sclk``, ``mosi`` to all chips, ``miso`` from each. CS falls the cycle after `frame`.
    enable : In(1)
        Rising: set-up. Low: idle once the command at the pins has ended; clears a fault.
    samples : Out(stream of sample_layout)
        Results: of the first input of each chip, then of the second, ... A sample that waits when a fault or
        `enable` ends the run is withdrawn.
    frame : Out(1)
        The first cycle of a frame.
    running : Out(1)
        In a frame.
    fault : Out(AmplifierFault)
        Stays until `enable` is low. SPI is silent once the command at the pins has ended, there are no
        frames and no samples.
    faulty_chip : Out(range(chips))
        Whose fault it is; the first of several.
    delays : Out(array, a number a chip)
        Clock cycles by which the cable delays MISO, from 0 up; valid after set-up.

    Raises
    ------
    ConfigError
        As :class:`FrameTiming` and ``amplifier_registers``; and if ``formats.sample`` is not the chips' own.
    """

    spi: SpiPins
    enable: Signal
    samples: stream.Interface
    frame: Signal
    running: Signal
    fault: Signal
    faulty_chip: Signal
    delays: data.View[data.ArrayLayout]

    def __init__(self, config: ChipConfig) -> None:
        self.config, self.timing = config, FrameTiming(config)
        if config.formats.sample != RESULT_FORMAT:
            raise ConfigError(
                f"formats.sample = {config.formats.sample}: limit is {RESULT_FORMAT}, what the "
                "amplifier sends"
            )
        chips, timing = config.amplifier.chips, self.timing
        self._words, self._where = command_list(config)
        rounds = timing.delay_settings + _WARM_UPS
        commands = rounds * len(self._where[Stretch.PROBE])
        commands += len(self._where[Stretch.CONFIGURE]) + len(self._where[Stretch.CALIBRATE])
        self.setup_cycles = 1 + 2 * timing.settle_cycles + commands * timing.command_cycles
        super().__init__(
            {
                "spi": Out(spi_signature(chips)),
                "enable": In(1),
                "samples": Out(stream.Signature(sample_layout(config))),
                "frame": Out(1),
                "running": Out(1),
                "fault": Out(AmplifierFault),
                "faulty_chip": Out(range(max(chips, 2))),
                "delays": Out(data.ArrayLayout(range(timing.delay_settings), chips)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        timing, where, amplifier = self.timing, self._where, self.config.amplifier
        chips, frame_commands = amplifier.chips, amplifier.channels + LIVENESS_READS
        phase = Signal(_Phase)
        m.submodules.master = master = SpiMaster(timing, chips)
        wiring.connect(m, master.spi, wiring.flipped(self.spi))
        m.d.comb += self.running.eq(phase == _Phase.RUN)

        # The next command: `step` in set-up; in a frame that of `slot`, where `step` is the register's.
        kept: memory.Memory[Shape, Value] = memory.Memory(
            shape=_COMMAND, depth=len(self._words), init=self._words, attrs={"ram_style": "block"}
        )
        m.submodules.commands = kept
        read = kept.read_port()
        step = Signal(range(len(self._words)))
        letter, slot = Signal(range(len(_INTAN))), Signal(range(frame_commands + 1))
        m.d.comb += read.addr.eq(Mux(self.running & (slot == amplifier.channels), letter, step))
        listed = read.data
        converts, reads, writes = Signal(), listed[14:] == 0b11, listed[14:] == 0b10
        m.d.comb += converts.eq(self.running & (slot < amplifier.channels))
        address = Cat(Const(0, 8), Mux(converts, slot, listed[8:]))
        m.d.comb += master.word.eq(Mux(converts | reads, address, listed))

        # What the chips shall answer, two commands later.
        # Expressions, here and below: as cases of a Switch they never come to rest in Icarus.
        kind = Signal(_Answer)
        of_read: Any = _Answer.READ
        for number, of_register in _KINDS.items():
            of_read = Mux(listed[8:14] == number, of_register, of_read)
        of_command = Mux(writes, _Answer.WRITE, Mux(reads, of_read, _Answer.ANY))
        m.d.comb += kind.eq(Mux(converts, _Answer.SAMPLE, of_command))
        sent, before, answered = (
            data.View(_EXPECTATION, Signal(_EXPECTATION, name=name))
            for name in ("sent", "before", "answered")
        )
        with m.If(master.begins):
            m.d.sync += [sent.eq(Cat(kind, listed[:8])), before.eq(sent), answered.eq(before)]
        wrong_ones = []
        for chip, result in enumerate(master.results):
            is_wrong = Signal(name=f"wrong_{chip}")
            wrong_ones.append(is_wrong)
            low, high = result[:8], result[8:]
            known = (low == ChipId.RHD2132) | (low == ChipId.RHD2216)
            wrong_as = {
                _Answer.READ: (high != 0) | (low != answered.byte),
                _Answer.WRITE: (high != 0xFF) | (low != answered.byte),
                _Answer.CHIP_ID: (high != 0) | ~known,
                _Answer.AMPLIFIERS: (high != 0) | (low < amplifier.channels),
            }
            m.d.comb += is_wrong.eq(
                Cat((answered.kind == expected) & is_so for expected, is_so in wrong_as.items()).any()
            )
        wrong = Cat(wrong_ones)

        # The delay of each cable: rounds of reads, from the tap for none to the tap for the longest.
        trial, last = Signal(range(timing.delay_settings + _WARM_UPS)), Signal()
        probing, round_ends = phase == _Phase.PROBE, master.ends & last
        counts = trial < timing.delay_settings
        found_ones = [Signal(name=f"found_{chip}") for chip in range(chips)]
        right_ones = [Signal(name=f"right_{chip}") for chip in range(chips)]
        for chip in range(chips):
            earliest = Signal(range(timing.delay_settings), name=f"earliest_{chip}")
            middle = Signal(range(timing.delay_settings), name=f"middle_{chip}")
            found, right = found_ones[chip], right_ones[chip]
            m.d.comb += [
                master.taps[chip].eq(Mux(probing & counts, trial, middle)),
                self.delays[chip].eq(timing.delay_settings - 1 - earliest),
            ]
            with m.If(phase == _Phase.POWER_UP):
                m.d.sync += [found.eq(0), right.eq(1)]
            with m.Elif(probing & round_ends):
                m.d.sync += right.eq(1)
                with m.If(right & counts):
                    m.d.sync += [found.eq(1), middle.eq((earliest + trial + 1) >> 1)]
                    with m.If(~found):
                        m.d.sync += [earliest.eq(trial), middle.eq(trial)]
            with m.Elif(probing & master.complete & wrong_ones[chip]):
                m.d.sync += right.eq(0)

        # The results of one conversion wait in `held`, to be taken one after the other.
        held, waiting = Signal(RESULT_FORMAT.width * chips), Signal(range(chips + 1))
        sample, channel = self.samples.payload, Signal(range(amplifier.channels + 1))
        electrode = Signal.like(sample.electrode)
        taken, arrives = Signal(), Signal()
        m.d.comb += [
            self.samples.valid.eq(self.running & (waiting != 0)),
            sample.electrode.eq(electrode),
            sample.sample.eq(held[: RESULT_FORMAT.width].as_signed()),
            taken.eq(self.samples.valid & self.samples.ready),
            arrives.eq(self.running & master.complete & (answered.kind == _Answer.SAMPLE)),
        ]
        with m.If(~self.running):
            m.d.sync += waiting.eq(0)
        with m.Elif(arrives):
            m.d.sync += [
                held.eq(Cat(*master.results)),
                waiting.eq(chips),
                electrode.eq(channel),
                channel.eq(channel + 1),
            ]
        with m.Elif(taken):
            m.d.sync += [held.eq(held >> RESULT_FORMAT.width), waiting.eq(waiting - 1)]
            with m.If(waiting > 1):
                m.d.sync += electrode.eq(electrode + amplifier.channels)

        # Faults, and whose they are.
        fails, culprits = Signal(AmplifierFault), Signal(chips)
        checks = (phase == _Phase.CONFIGURE) | (phase == _Phase.CALIBRATE) | self.running
        overrun = arrives & (waiting > taken)
        absent = Signal(chips)  # once the last round ends; `found_ones` are one round late
        is_chip = (answered.kind == _Answer.CHIP_ID) | (answered.kind == _Answer.AMPLIFIERS)
        differs = checks & master.complete & wrong.any()
        of_answer = Mux(is_chip, AmplifierFault.WRONG_CHIP, AmplifierFault.LOST)
        of_chip = Mux(absent.any(), AmplifierFault.ABSENT, Mux(differs, of_answer, AmplifierFault.NONE))
        waits = Cat(waiting - taken == chips - chip for chip in range(chips))
        m.d.comb += [
            absent.eq(Mux(probing & round_ends & (trial == 0), ~(Cat(found_ones) | Cat(right_ones)), 0)),
            fails.eq(Mux(overrun, AmplifierFault.OVERRUN, of_chip)),
            culprits.eq(Mux(overrun, waits, Mux(absent.any(), absent, wrong))),
        ]

        # The course of events.
        elapsed = Signal(range(max(timing.frame_cycles, timing.settle_cycles)))
        settled, over = elapsed == timing.settle_cycles - 1, elapsed == timing.frame_cycles - 1
        m.d.comb += self.frame.eq(self.running & (elapsed == 0))
        m.d.sync += elapsed.eq(elapsed + 1)
        with m.If((phase == _Phase.IDLE) | Mux(self.running, over, round_ends)):
            m.d.sync += elapsed.eq(0)
        with m.If(master.begins & self.running):
            m.d.sync += slot.eq(slot + 1)
        with m.Elif(master.begins):
            m.d.sync += [step.eq(step + 1), last.eq(0)]
            for stretch in (Stretch.PROBE, Stretch.CONFIGURE, Stretch.CALIBRATE):
                with m.If(step == where[stretch].stop - 1):
                    m.d.sync += last.eq(1)
                    if stretch is Stretch.PROBE:
                        with m.If(trial != 0):
                            m.d.sync += step.eq(where[stretch].start)
        # CHECK is behind CALIBRATE, so that `step` comes to its start by itself.
        assert where[Stretch.CHECK].start == where[Stretch.CALIBRATE].stop
        pauses = (phase == _Phase.POWER_UP) | (phase == _Phase.SETTLE)
        m.d.comb += master.more.eq(
            self.enable
            & (fails == AmplifierFault.NONE)
            & (
                (pauses & settled)
                | probing
                | ((phase == _Phase.CONFIGURE) & ~last)
                | (phase == _Phase.CALIBRATE)
                | (self.running & ((slot != frame_commands) | over))
            )
        )
        with m.Switch(phase):
            with m.Case(_Phase.IDLE):
                m.d.sync += [step.eq(0), trial.eq(timing.delay_settings + _WARM_UPS - 1)]
                with m.If(~master.busy):
                    m.d.sync += phase.eq(_Phase.POWER_UP)
            with m.Case(_Phase.POWER_UP, _Phase.SETTLE), m.If(settled):
                m.d.sync += phase.eq(Mux(phase == _Phase.SETTLE, _Phase.CALIBRATE, _Phase.PROBE))
            with m.Case(_Phase.PROBE), m.If(round_ends):
                m.d.sync += trial.eq(trial - 1)
                with m.If(trial == 0):
                    m.d.sync += [trial.eq(0), phase.eq(_Phase.CONFIGURE)]
            with m.Case(_Phase.CONFIGURE), m.If(round_ends):
                m.d.sync += phase.eq(_Phase.SETTLE)
            with m.Case(_Phase.CALIBRATE):
                m.d.sync += letter.eq(0)
                with m.If(round_ends):
                    m.d.sync += [slot.eq(0), channel.eq(0), phase.eq(_Phase.RUN)]
            with m.Case(_Phase.RUN), m.If(over):
                m.d.sync += [slot.eq(0), channel.eq(0)]
                m.d.sync += [letter.eq(letter + 1), step.eq(step + 1)]
                with m.If(letter == len(_INTAN) - 1):
                    m.d.sync += letter.eq(0)
                with m.If(step == where[Stretch.CHECK].stop - 1):
                    m.d.sync += step.eq(where[Stretch.CHECK].start)
        with m.If(fails != AmplifierFault.NONE):
            m.d.sync += [phase.eq(_Phase.FAULT), self.fault.eq(fails)]
            for chip in reversed(range(chips)):
                with m.If(culprits[chip]):
                    m.d.sync += self.faulty_chip.eq(chip)
        with m.If(~self.enable):
            m.d.sync += [phase.eq(_Phase.IDLE), self.fault.eq(AmplifierFault.NONE), self.faulty_chip.eq(0)]
        return m

"""The front end: an SPI master for Intan RHD2000 amplifier chips, from their set-up to a stream of samples.

All chips get the same commands and answer on a line each, every line with the delay of its own cable.
Commands come from a list in memory (:func:`command_list`); what each must be answered stands there too.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike
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
    RHD2216 has no amplifiers for them. CHECK has the registers that are not 0, to be read in turn, a frame
    each: those that a chip which forgot its set-up cannot answer.

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


class _Course:
    """Where in set-up, or in a frame, the front end is: registers of the sequencer that all parts look at.

    Attributes
    ----------
    phase : Signal
        A :class:`_Phase`.
    step : Signal
        Word of the command list: in set-up the next command, in a frame the register that is read again.
    slot : Signal
        In a frame: its next command, the conversions first.
    letter : Signal
        In a frame: the letter of INTAN that is read again.
    last : Signal
        The command at the pins is the last of a stretch of set-up, or of a round of it.
    trial : Signal
        The tap that a round of PROBE reads by, counted down; rounds above the last tap are warm-ups.
    channel : Signal
        In a frame: the input of the next result.
    """

    def __init__(self, timing: FrameTiming, words: int, channels: int) -> None:
        self.phase = Signal(_Phase)
        self.step = Signal(range(words))
        self.slot = Signal(range(channels + LIVENESS_READS + 1))
        self.letter = Signal(range(len(_INTAN)))
        self.last = Signal()
        self.trial = Signal(range(timing.delay_settings + _WARM_UPS))
        self.channel = Signal(range(channels + 1))


@dataclass(frozen=True)
class _Answers:
    """What the chips answer in the cycle of ``complete``.

    Attributes
    ----------
    kind : Value
        A :class:`_Answer`: what is expected of them.
    wrong : list of Signal
        For each chip, whether its answer is another one.
    """

    kind: Value
    wrong: list[Signal]


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
        self._master = SpiMaster(timing, chips)
        self._course = _Course(timing, len(self._words), config.amplifier.channels)
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
        m.submodules.master = master = self._master
        wiring.connect(m, master.spi, wiring.flipped(self.spi))
        m.d.comb += self.running.eq(self._course.phase == _Phase.RUN)
        listed, kind = self._next_command(m)
        answers = self._judge_answers(m, listed, kind)
        not_found = self._find_delays(m, answers)
        overrun, late_chips = self._hand_out_results(m, answers)
        fails, culprits = self._find_fault(m, answers, not_found, overrun, late_chips)
        self._sequence(m, fails)
        self._stop(m, fails, culprits)
        return m

    def _next_command(self, m: Module) -> tuple[Value, Signal]:
        """The word for the pins; the word of the list that it is made of, and what it shall be answered."""
        course, master, channels = self._course, self._master, self.config.amplifier.channels
        slot = course.slot
        # From the list: at `step` in set-up; in a frame, after the conversions, a letter and a register.
        kept: memory.Memory[Shape, Value] = memory.Memory(
            shape=_COMMAND, depth=len(self._words), init=self._words, attrs={"ram_style": "block"}
        )
        m.submodules.commands = kept
        read = kept.read_port()
        m.d.comb += read.addr.eq(Mux(self.running & (slot == channels), course.letter, course.step))
        listed = read.data
        # Of a READ the low byte, which says what to expect, goes out as 0; a CONVERT is not in the list.
        converts, reads, writes = Signal(), listed[14:] == 0b11, listed[14:] == 0b10
        m.d.comb += converts.eq(self.running & (slot < channels))
        address = Cat(Const(0, 8), Mux(converts, slot, listed[8:]))
        m.d.comb += master.word.eq(Mux(converts | reads, address, listed))
        # Expressions, here and below: as cases of a Switch they never come to rest in Icarus.
        kind = Signal(_Answer)
        of_read: ValueLike = _Answer.READ
        for number, of_register in _KINDS.items():
            of_read = Mux(listed[8:14] == number, of_register, of_read)
        of_command = Mux(writes, _Answer.WRITE, Mux(reads, of_read, _Answer.ANY))
        m.d.comb += kind.eq(Mux(converts, _Answer.SAMPLE, of_command))
        return listed, kind

    def _judge_answers(self, m: Module, listed: Value, kind: Signal) -> _Answers:
        """Whether each chip answers as it shall."""
        master, amplifier = self._master, self.config.amplifier
        # A command is answered two commands later: expectations of the one at the pins, and the two before.
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
        return _Answers(answered.kind, wrong_ones)

    def _find_delays(self, m: Module, answers: _Answers) -> Value:
        """Choose each chip's tap; once the last round ends, the chips that have answered at none.

        Rounds of reads go from the tap for no delay to the tap for the longest. In each `right` stays up as
        long as the chip answers right. It is `found` with the first such round; the delay is the middle of
        the first and the last.
        """
        course, master, timing = self._course, self._master, self.timing
        trial, chips = course.trial, self.config.amplifier.chips
        probing, round_ends = course.phase == _Phase.PROBE, master.ends & course.last
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
            with m.If(course.phase == _Phase.POWER_UP):
                m.d.sync += [found.eq(0), right.eq(1)]
            with m.Elif(probing & round_ends):
                m.d.sync += right.eq(1)
                with m.If(right & counts):
                    m.d.sync += [found.eq(1), middle.eq((earliest + trial + 1) >> 1)]
                    with m.If(~found):
                        m.d.sync += [earliest.eq(trial), middle.eq(trial)]
            with m.Elif(probing & master.complete & answers.wrong[chip]):
                m.d.sync += right.eq(0)
        # `found_ones` are one round late.
        return Mux(probing & round_ends & (trial == 0), ~(Cat(found_ones) | Cat(right_ones)), 0)

    def _hand_out_results(self, m: Module, answers: _Answers) -> tuple[Value, Value]:
        """Samples, one after the other; whether one was not taken in time, and whose it is of the chips."""
        course, master, amplifier = self._course, self._master, self.config.amplifier
        chips, channel = amplifier.chips, course.channel
        # The results of one conversion are in `held`, `waiting` of them; the first is that of `electrode`.
        held, waiting = Signal(RESULT_FORMAT.width * chips), Signal(range(chips + 1))
        sample = self.samples.payload
        electrode = Signal.like(sample.electrode)
        taken, arrives = Signal(), Signal()
        m.d.comb += [
            self.samples.valid.eq(self.running & (waiting != 0)),
            sample.electrode.eq(electrode),
            sample.sample.eq(held[: RESULT_FORMAT.width].as_signed()),
            taken.eq(self.samples.valid & self.samples.ready),
            arrives.eq(self.running & master.complete & (answers.kind == _Answer.SAMPLE)),
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
        overrun = arrives & (waiting > taken)
        return overrun, Cat(waiting - taken == chips - chip for chip in range(chips))

    def _find_fault(
        self, m: Module, answers: _Answers, not_found: Value, overrun: Value, late_chips: Value
    ) -> tuple[Signal, Signal]:
        """The fault of this cycle, and the chips whose it is."""
        phase, chips = self._course.phase, self.config.amplifier.chips
        wrong = Cat(answers.wrong)
        fails, culprits = Signal(AmplifierFault), Signal(chips)
        absent = Signal(chips)
        checks = (phase == _Phase.CONFIGURE) | (phase == _Phase.CALIBRATE) | self.running
        is_chip = (answers.kind == _Answer.CHIP_ID) | (answers.kind == _Answer.AMPLIFIERS)
        differs = checks & self._master.complete & wrong.any()
        of_answer = Mux(is_chip, AmplifierFault.WRONG_CHIP, AmplifierFault.LOST)
        of_chip = Mux(absent.any(), AmplifierFault.ABSENT, Mux(differs, of_answer, AmplifierFault.NONE))
        m.d.comb += [
            absent.eq(not_found),
            fails.eq(Mux(overrun, AmplifierFault.OVERRUN, of_chip)),
            culprits.eq(Mux(overrun, late_chips, Mux(absent.any(), absent, wrong))),
        ]
        return fails, culprits

    def _sequence(self, m: Module, fails: Signal) -> None:
        """From phase to phase, and within each from command to command."""
        course, master, timing, where = self._course, self._master, self.timing, self._where
        phase, step, slot, letter, last = course.phase, course.step, course.slot, course.letter, course.last
        trial, channel, channels = course.trial, course.channel, self.config.amplifier.channels
        frame_commands = channels + LIVENESS_READS
        probing, round_ends = phase == _Phase.PROBE, master.ends & last

        # Clock cycles of a pause in set-up, or of a frame.
        elapsed = Signal(range(max(timing.frame_cycles, timing.settle_cycles)))
        settled, over = elapsed == timing.settle_cycles - 1, elapsed == timing.frame_cycles - 1
        m.d.comb += self.frame.eq(self.running & (elapsed == 0))
        m.d.sync += elapsed.eq(elapsed + 1)
        with m.If((phase == _Phase.IDLE) | Mux(self.running, over, round_ends)):
            m.d.sync += elapsed.eq(0)

        # Once a command is at the pins, on to the next; all rounds of PROBE but the last begin it anew.
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
        check, calibrate = where[Stretch.CHECK].start, where[Stretch.CALIBRATE].stop
        if check != calibrate:
            raise ValueError(f"CHECK begins with command {check}, CALIBRATE ends before {calibrate}")

        # Whether a command follows.
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

    def _stop(self, m: Module, fails: Signal, culprits: Signal) -> None:
        """A fault ends everything, and so does `enable` going low."""
        phase = self._course.phase
        with m.If(fails != AmplifierFault.NONE):
            m.d.sync += [phase.eq(_Phase.FAULT), self.fault.eq(fails)]
            for chip in reversed(range(len(culprits))):
                with m.If(culprits[chip]):
                    m.d.sync += self.faulty_chip.eq(chip)
        with m.If(~self.enable):
            m.d.sync += [phase.eq(_Phase.IDLE), self.fault.eq(AmplifierFault.NONE), self.faulty_chip.eq(0)]

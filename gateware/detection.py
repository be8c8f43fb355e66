"""Event detection, one walk of a sample through the averages of its electrode, time-multiplexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden_model.config import ChannelDetection, ChipConfig
from ..golden_model.detection_parameters import DetectionParameters, DetectionRow
from ..golden_model.fixed import QFormat
from .bandpass import BandPass
from .detection_parameters import (
    TABLE_BITS,
    configured_word,
    detection_access_layout,
    detection_word_width,
    sample_layout,
)
from .events import channel_shape
from .fixed import resize

__all__ = ["Detection", "DetectionTiming", "detection_commit_shapes", "electrode_stream"]

# What an electrode keeps from sample to sample, in one table with its parameters.
_MEAN, _VARIABILITY, _LONG, _COUNTS = range(8, 12)
_COUNTED = 13
"""Cycle, after that of the accepted sample, in which all that decides is known, the threshold apart."""
_MULTIPLY = 7
"""Cycle of the first bit of the gain."""


def electrode_stream(electrodes: int) -> stream.Signature:
    """Signature of a stream of events: the ``electrode`` of each."""
    return stream.Signature(data.StructLayout({"electrode": channel_shape(electrodes)}))


def detection_commit_shapes(parameters: DetectionParameters) -> dict[str, Shape]:
    """Shape of every internal signal, by the names of ``golden_model.detection.SIGNALS``, and ``event``."""
    state = parameters.config.formats.detection_state.as_shape()
    return {
        "filtered": state,
        "mean": state,
        "variability": state,
        "threshold": parameters.threshold_format.as_shape(),
        "event": Shape(1),
    }


class DetectionTiming:
    """Clock cycles of the event detection, known without making it.

    Parameters
    ----------
    config : ChipConfig
    settings : ChannelDetection or sequence of ChannelDetection
        One an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    parameters : DetectionParameters
    cycles_per_sample : int
        Clock cycles from one accepted sample to the next, where events are taken at once.
    latency : int
        Clock cycles from an accepted sample to its event and commit, where no sample is before it.
    initialise_cycles : int
        Clock cycles after reset before the first sample or access is served.

    Raises
    ------
    ConfigError
        If settings, rate and formats do not go together.
    ValueError
        If there is no electrode.
    """

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        self.parameters = DetectionParameters(config, settings, rate_hz)
        self.config, self.electrodes = config, self.parameters.electrodes
        for row in self.parameters.rows:
            self.parameters.words(row)  # refused before anything is made
        walk = max(_COUNTED, _MULTIPLY + config.formats.detection_gain.width)
        self.cycles_per_sample, self.latency = walk + 1, walk
        if self.parameters.filtered:
            self.cycles_per_sample = max(self.cycles_per_sample, BandPass.cycles_per_sample)
            self.latency += BandPass.latency
        self.initialise_cycles = 1 << TABLE_BITS + channel_shape(self.electrodes).width


class Detection(DetectionTiming, wiring.Component):
    """``s > gain·v`` (Herreros et al. 2014, "Signal processing"), one electrode after the other.

    The equations are in ``microzone.golden_model.detection``; this is ``DetectorFixed`` bit for bit. The
    three
    averages share one subtracter, shifter and adder; the gain is multiplied a bit a cycle. Where an electrode
    has a band-pass all go through :class:`BandPass` first, a sample there while another one is here.

    Parameters
    ----------
    config : ChipConfig
        Formats.
    settings : ChannelDetection or sequence of ChannelDetection
        Initial parameters, one an electrode.
    rate_hz : float
        Sample rate.

    Attributes
    ----------
    parameters, cycles_per_sample, latency, initialise_cycles
        See :class:`DetectionTiming`.

    Members
    -------
    samples : In(stream of sample_layout(electrodes, formats.sample))
        One an electrode and frame. That of an electrode which does not exist is dropped and sets `rejected`.
    frame : In(1)
        A new frame begins: high for one cycle, in or before that of its first sample, once all samples of
        the frame before are committed. Every frame has one, the first one too.
    events : Out(electrode_stream(electrodes))
        Valid in the cycle of the sample's commit. While one is not taken the detection stands still.
    access : In(stream of detection_access_layout(parameters))
        Read or write a parameter, between samples: what is written counts from the next sample on; bits
        beyond the format of its row are dropped. Samples go first, so that an access waits until there is
        neither one within nor one offered; it then holds a sample up by one cycle at most.
    readback : Out(stream of the word)
        Answer to each read, in order, a signed word with its sign in all bits above. A further read waits
        until it is taken.
    commit : Out
        Every signal of a sample, valid for the one cycle that ends it: for benches and telemetry.
    busy : Out(1)
        A sample or the initialisation is in progress.
    rejected : Out(1)
        An access named a row or electrode that does not exist, or a sample such an electrode, and had no
        effect (a read answers 0). Held until reset.

    Raises
    ------
    ConfigError
        If settings, rate and formats do not go together.
    ValueError
        If there is no electrode.
    """

    def __init__(
        self, config: ChipConfig, settings: ChannelDetection | Sequence[ChannelDetection], rate_hz: float
    ) -> None:
        DetectionTiming.__init__(self, config, settings, rate_hz)
        given, electrodes = self.parameters, self.electrodes
        commit = {"valid": Out(1), "electrode": Out(channel_shape(electrodes)), "blanked": Out(1)}
        commit |= {name: Out(shape) for name, shape in detection_commit_shapes(given).items()}
        wiring.Component.__init__(
            self,
            {
                "samples": In(stream.Signature(sample_layout(electrodes, config.formats.sample))),
                "frame": In(1),
                "events": Out(electrode_stream(electrodes)),
                "access": In(stream.Signature(detection_access_layout(given))),
                "readback": Out(stream.Signature(detection_word_width(given))),
                "commit": Out(wiring.Signature(commit)),
                "busy": Out(1),
                "rejected": Out(1),
            },
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given, formats, now = self.parameters, self.config.formats, self.commit
        state, count, gain = formats.detection_state, given.count_format, formats.detection_gain
        number = channel_shape(self.electrodes)

        # What comes in: a sample, through the band-pass where there is one, on the scale of the averages.
        request, accessing, resting = self.access.payload, Signal(), Signal()
        known = self.samples.payload.electrode < self.electrodes
        bandpass, into = None, stream.Signature(sample_layout(self.electrodes, given.input_format)).create()
        m.d.comb += resting.eq(1)
        if given.filtered:
            m.submodules.bandpass = bandpass = BandPass(given)
            m.d.comb += [
                bandpass.samples.payload.eq(self.samples.payload),
                bandpass.samples.valid.eq(self.samples.valid & known),
                self.samples.ready.eq(bandpass.samples.ready),
                into.payload.eq(bandpass.filtered.payload),
                into.valid.eq(bandpass.filtered.valid),
                bandpass.filtered.ready.eq(into.ready),
                bandpass.hold.eq(accessing),
                resting.eq(bandpass.idle),
            ]
        else:
            m.d.comb += [
                into.payload.eq(self.samples.payload),
                into.valid.eq(self.samples.valid & known),
                self.samples.ready.eq(into.ready),
            ]
        aligned = QFormat(True, given.input_format.integer_bits, state.fraction_bits)
        value = into.payload.sample.shift_left(given.align)
        scaled = resize(value, aligned, state)

        # The frames begun, and of them the shift of a plain average: floor(log2(n + 1)).
        begun, warm_bits = Signal(count.width + 1), Signal(range(given.most_bits + 1))
        following = begun + 1
        with m.If(self.frame & ~begun[-1]):
            m.d.sync += begun.eq(following)
            with m.If(following.bit_select(warm_bits + 1, 1) & (warm_bits < given.most_bits)):
                m.d.sync += warm_bits.eq(warm_bits + 1)

        # One table an electrode, of parameters and state.
        width = max(state.width, count.width + 1, detection_word_width(given))
        m.submodules.table = table = memory.Memory(
            shape=width, depth=self.initialise_cycles, init=[], attrs={"ram_style": "block"}
        )
        read, write = table.read_port(), table.write_port()
        word = read.data
        kept = word[: state.width].as_signed()
        electrode, blanked = Signal(number), Signal()
        m.d.comb += read.en.eq(0)

        def fetch(row: int, whose: Value = electrode) -> None:
            m.d.comb += [read.addr.eq(Cat(Const(row, TABLE_BITS), whose)), read.en.eq(1)]

        def keep(row: int) -> None:
            m.d.comb += [write.addr.eq(Cat(Const(row, TABLE_BITS), electrode)), write.en.eq(1)]

        # The leaky average old + (operand - old) / 2**bits, rounded half up: the last bit shifted out is the
        # carry.
        operand, old = Signal(state.as_shape()), Signal(state.as_shape())
        difference = Signal(Shape(state.width + 1, signed=True))
        increment = Signal(Shape(state.width + 2, signed=True))
        m.d.comb += write.data.eq(old)
        bound = Signal(range(given.most_bits + 1))
        m.d.comb += bound.eq(given.most_bits)
        bits = word[: given.row_format(DetectionRow.MEAN_BITS).width]
        shifted = Cat(Const(0, 1), difference).as_signed() >> Mux(bits < bound, bits, bound)
        carry = increment[0]
        average = (Cat(carry, old).as_signed() + Cat(carry, increment[1:]).as_signed())[1 : 1 + state.width]
        average = average.as_signed()

        def subtract() -> None:
            m.d.sync += [difference.eq(operand - kept), old.eq(kept)]

        def shift() -> None:
            m.d.sync += increment.eq(Mux(blanked, 0, shifted))

        # x - m and m - x side by side; the larger one is the magnitude, and saturates.
        deviation, opposite = operand - average, average - operand
        magnitude_format = QFormat(True, state.integer_bits + 1, state.fraction_bits)
        rectified = resize(Mux(deviation[-1], opposite, deviation), magnitude_format, state)

        # gain·v, a bit of the gain a cycle from the lowest: its register shifts out as the product shifts in.
        product = Signal(gain.width + state.width)
        multiplicand, relative = Signal(state.width), Signal()
        steps_left = Signal(range(gain.width + 1))
        low, high = product[: gain.width], product[gain.width :]
        half = steps_left == gain.width - gain.fraction_bits + 1 if gain.fraction_bits else Const(0, 1)
        partial = Cat(half, high) + Cat(half, Mux(low[0], multiplicand, 0))
        with m.If(steps_left != 0):
            m.d.sync += steps_left.eq(steps_left - 1)
            with m.If(relative):
                m.d.sync += product.eq(Cat(low[1:], partial[1 : 2 + state.width]))
        threshold = product[gain.fraction_bits :].as_signed()

        # The decision; by then `old` is the new variability.
        settled, ready, was_above = Signal(), Signal(), Signal()
        after_event, after = Signal(count.as_shape()), Signal(count.as_shape())  # the refractory time left
        left = word[: count.width]
        one_less = left - 1
        remaining = Mux(one_less[-1], 0, one_less[: count.width])
        above, event = Signal(), Signal()
        m.d.comb += [
            above.eq(Mux(blanked, was_above, old > threshold)),
            event.eq(above & ready),
        ]
        mean, filtered = Signal.like(old), Signal.like(operand)
        m.d.comb += [
            now.electrode.eq(electrode),
            now.blanked.eq(blanked),
            now.filtered.eq(filtered),
            now.mean.eq(mean),
            now.variability.eq(old),
            now.threshold.eq(threshold),
            now.event.eq(event),
            self.events.payload.electrode.eq(electrode),
        ]

        # A written word in the format of its row: what is beyond is dropped.
        fitted: Any = request.word
        for fmt in dict.fromkeys(given.row_format(row) for row in given.rows):
            if fmt.width < len(request.word):
                of_format = Cat(request.row == row for row in given.rows if given.row_format(row) == fmt)
                cut = request.word[: fmt.width]
                fitted = Mux(of_format.any(), cut.as_signed() if fmt.signed else cut, fitted)

        exists = Cat(request.row == row for row in given.rows).any()
        reaches = (request.electrode < self.electrodes) & exists
        is_tap = request.row >= DetectionRow.FIRST_B0
        with m.If(self.readback.ready):
            m.d.sync += self.readback.valid.eq(0)
        with m.If((self.access.ready & ~reaches) | (self.samples.valid & self.samples.ready & ~known)):
            m.d.sync += self.rejected.eq(1)
        cleared = Signal(range(self.initialise_cycles))
        if bandpass is not None:
            m.d.comb += [
                bandpass.address.eq(Cat(request.row[:TABLE_BITS], request.electrode)),
                bandpass.write_data.eq(request.word[: formats.filter_coefficient.width].as_signed()),
            ]

        m.d.comb += [self.busy.eq(1)]
        with m.FSM():
            with m.State("INITIALISE"):
                rows = [row for row in DetectionRow if row.tap is None]
                initial = configured_word(given, rows, width, cleared[TABLE_BITS:], cleared[:TABLE_BITS])
                m.d.comb += [write.addr.eq(cleared), write.data.eq(initial), write.en.eq(1)]
                if bandpass is not None:
                    m.d.comb += [bandpass.clear.eq(1), bandpass.address.eq(cleared)]
                m.d.sync += cleared.eq(cleared + 1)
                with m.If(cleared == self.initialise_cycles - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(~resting), into.ready.eq(1)]
                fetch(_MEAN, into.payload.electrode)
                m.d.sync += [
                    electrode.eq(into.payload.electrode),
                    blanked.eq(into.payload.blanked),
                    operand.eq(scaled),
                    filtered.eq(Mux(into.payload.blanked, 0, scaled)),
                ]
                with m.If(into.valid):
                    m.next = "SUBTRACT_MEAN"
                with m.Elif(
                    resting & ~self.samples.valid & self.access.valid & (request.write | ~self.readback.valid)
                ):
                    m.d.comb += accessing.eq(1)
                    m.d.comb += [
                        read.addr.eq(Cat(request.row[:TABLE_BITS], request.electrode)),
                        read.en.eq(1),
                    ]
                    m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [self.busy.eq(0), accessing.eq(1), self.access.ready.eq(1)]
                m.d.comb += [
                    write.addr.eq(Cat(request.row[:TABLE_BITS], request.electrode)),
                    write.data.eq(fitted),
                    write.en.eq(request.write & reaches & ~is_tap),
                ]
                with m.If(~request.write):
                    m.d.sync += [self.readback.valid.eq(1), self.readback.payload.eq(Mux(reaches, word, 0))]
                if bandpass is not None:
                    m.d.comb += bandpass.write.eq(request.write & reaches & is_tap)
                    with m.If(~request.write & reaches & is_tap):
                        m.d.sync += self.readback.payload.eq(bandpass.read_data)
                m.next = "IDLE"
            with m.State("SUBTRACT_MEAN"):
                subtract()
                fetch(DetectionRow.MEAN_BITS)
                m.next = "SHIFT_MEAN"
            with m.State("SHIFT_MEAN"):
                shift()
                fetch(_LONG)
                m.next = "RECTIFY"
            with m.State("RECTIFY"):
                m.d.sync += [mean.eq(average), old.eq(average), operand.eq(rectified)]
                m.next = "SUBTRACT_LONG"
            with m.State("SUBTRACT_LONG"):
                keep(_MEAN)
                subtract()
                fetch(DetectionRow.VARIABILITY_BITS)
                m.next = "SHIFT_LONG"
            with m.State("SHIFT_LONG"):
                m.d.comb += bound.eq(warm_bits)
                shift()
                fetch(DetectionRow.GAIN)
                m.next = "LOAD_GAIN"
            with m.State("LOAD_GAIN"):
                m.d.sync += [
                    old.eq(average),
                    multiplicand.eq(average),
                    product.eq(word[: gain.width]),
                    relative.eq(word[: gain.width].any()),
                    steps_left.eq(gain.width),
                ]
                fetch(_VARIABILITY)
                m.next = "SUBTRACT_VARIABILITY"
            with m.State("SUBTRACT_VARIABILITY"):
                keep(_LONG)
                subtract()
                fetch(DetectionRow.SMOOTH_BITS)
                m.next = "SHIFT_VARIABILITY"
            with m.State("SHIFT_VARIABILITY"):
                shift()
                fetch(DetectionRow.LEVEL)
                m.next = "LOAD_LEVEL"
            with m.State("LOAD_LEVEL"):
                m.d.sync += old.eq(average)
                with m.If(~relative):
                    m.d.sync += product.eq(kept.shift_left(gain.fraction_bits))
                fetch(DetectionRow.SETTLE)
                m.next = "CHECK_SETTLED"
            with m.State("CHECK_SETTLED"):
                keep(_VARIABILITY)
                m.d.sync += settled.eq(begun > word[: count.width])
                fetch(DetectionRow.REFRACTORY)
                m.next = "LOAD_REFRACTORY"
            with m.State("LOAD_REFRACTORY"):
                m.d.sync += after_event.eq(remaining)
                fetch(_COUNTS)
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [
                    after.eq(remaining),
                    was_above.eq(word[count.width]),
                    ready.eq(~word[count.width] & (left == 0) & settled),
                ]
                m.next = "MULTIPLY"
                with m.If(steps_left <= 1):
                    m.next = "DECIDE"
            with m.State("MULTIPLY"), m.If(steps_left == 1):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += self.events.valid.eq(event)
                with m.If(~event | self.events.ready):
                    m.d.comb += now.valid.eq(1)
                    keep(_COUNTS)
                    m.d.comb += write.data.eq(Cat(Mux(event, after_event, after), above))
                    m.next = "IDLE"
        return m

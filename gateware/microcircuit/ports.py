"""The ports of the microcircuit that are many signals: what a step has made, and what a recalibration has."""

from __future__ import annotations

from typing import Protocol

from amaranth.hdl import Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ...golden_model.config import ChipConfig
from ..events import channel_shape
from .rational import STATUS_FORMAT

__all__ = ["Commit", "Recalibrated", "commit_shapes", "commit_signature", "recalibrated_signature"]


def commit_shapes(config: ChipConfig) -> dict[str, Shape]:
    """Shape of every internal signal, by the names of ``golden_model.microcircuit.SIGNALS``."""
    bit = Shape(1)
    return {
        "age": Shape.cast(range(config.trace_steps + 1)),
        "active": bit,
        "trace": config.formats.trace.as_shape(),
        "plasticity_trace": bit,
        "delayed_inhibition": bit,
        "gated_io": bit,
        "weight": config.formats.weight.as_shape(),
        "scaled": config.scaled_format.as_shape(),
        "below": bit,
        "cr": bit,
        "inhibition": bit,
    }


class Commit(Protocol):
    """The signals of :func:`commit_signature`: one step of one channel, in the cycle of `valid`."""

    valid: Signal
    channel: Signal
    pn: Signal
    io: Signal
    blanked: Signal
    age: Signal
    active: Signal
    trace: Signal
    plasticity_trace: Signal
    delayed_inhibition: Signal
    gated_io: Signal
    weight: Signal
    scaled: Signal
    below: Signal
    cr: Signal
    inhibition: Signal


def commit_signature(config: ChipConfig, channels: int) -> wiring.Signature:
    """Signature of the port `commit`: ``valid``, ``channel``, what was detected, and every internal signal.

    After a reset its registers are those of a channel at rest, with the configured w.
    """
    members = {"valid": Out(1), "channel": Out(channel_shape(channels))}
    members |= {name: Out(1) for name in ("pn", "io", "blanked")}
    at_rest = {"age": config.trace_steps, "weight": config.quantised.weight_initial}
    for name, shape in commit_shapes(config).items():
        members[name] = Out(shape, init=at_rest.get(name))  # type: ignore[call-arg]  # the stubs say `reset`
    return wiring.Signature(members)


class Recalibrated(Protocol):
    """The signals of :func:`recalibrated_signature`: how a channel's recalibration ended."""

    valid: Signal
    channel: Signal
    status: Signal
    rate: Signal
    potentiation: Signal
    depression: Signal


def recalibrated_signature(config: ChipConfig, channels: int) -> wiring.Signature:
    """Signature of the port `recalibrated`: ``valid``, ``channel``, ``status``, ``rate``, and δp and δd."""
    formats = config.formats
    return wiring.Signature(
        {
            "valid": Out(1),
            "channel": Out(channel_shape(channels)),
            "status": Out(STATUS_FORMAT.as_shape()),
            "rate": Out(formats.rate.as_shape()),
            "potentiation": Out(formats.potentiation.as_shape()),
            "depression": Out(formats.depression.as_shape()),
        }
    )

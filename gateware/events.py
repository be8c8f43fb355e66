"""Address-event streams: (channel, kind) words with valid/ready, the convention of neuromorphic hardware."""

from __future__ import annotations

import enum

from amaranth.hdl import Shape
from amaranth.lib import data, stream
from amaranth.utils import ceil_log2

__all__ = ["EventKind", "event_layout", "event_stream"]


class EventKind(enum.Enum):
    """What happened.

    A detection in the pontine nuclei or the inferior olive, a conditioned response, or a step in which the
    channel of the inferior olive was blanked.
    """

    PN = 0
    IO = 1
    CR = 2
    BLANKED = 3


def channel_shape(channels: int) -> Shape:
    """Shape of a channel number: one bit at least, since Verilog has no empty vectors."""
    return Shape(max(ceil_log2(channels), 1))


def event_layout(channels: int) -> data.StructLayout:
    """Layout of one address event: ``channel``, then ``kind``."""
    return data.StructLayout({"channel": channel_shape(channels), "kind": EventKind})


def event_stream(channels: int) -> stream.Signature:
    """Signature of a stream of address events."""
    return stream.Signature(event_layout(channels))

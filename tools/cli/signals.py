"""How a verb ends when a signal tells it to: nothing left running, nothing half-written."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self

from ...gateware.processes import adopt_orphans, end_descendants

__all__ = ["Ending"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Turns the signals that end a program into ``KeyboardInterrupt``, so that all blocks are left in order.

    Ctrl-C at a terminal is one of them. A signal that is ignored, as by ``nohup``, stays so.

    Attributes
    ----------
    received : signal.Signals or None
        The last one.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before = {number: signal.getsignal(number) for number in _ENDING}

    def __enter__(self) -> Self:
        adopt_orphans()
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """Exit status of a program that this signal has ended, as a shell says it."""
        return 128 + (self.received or signal.SIGINT)

    def clean(self) -> None:
        """End what still runs and remove its files; further signals wait until that is done."""
        from ...gateware.scratch import remove_scratch

        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        end_descendants()
        remove_scratch()

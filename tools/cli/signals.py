"""How a verb ends when a signal tells it to: nothing left running, nothing half-written."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any, Self

from ...gateware.processes import adopt_orphans, end_descendants

__all__ = ["Ending"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.5
"""An interrupt that nobody has noticed comes again after this time."""


class Ending:
    """Turns the signals that end a program into ``KeyboardInterrupt``, so that all blocks are left in order.

    Ctrl-C at a terminal is one of them. A signal that is ignored, as by ``nohup``, stays so.

    A signal may come while a finaliser runs, or a function that C code has called: Python drops what is
    raised there, and the program would go on. So the interrupt is raised again and again, until blocks are
    being left.

    Attributes
    ----------
    received : signal.Signals or None
        The last one.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGALRM)}
        self._told_before = sys.unraisablehook

    def __enter__(self) -> Self:
        adopt_orphans()
        for number in _ENDING:
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, self._note)
        signal.signal(signal.SIGALRM, self._insist)
        sys.unraisablehook = self._dropped
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = self._told_before
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise KeyboardInterrupt

    def _insist(self, number: int, frame: FrameType | None) -> None:
        """Raise it again, unless it is what blocks are being left for just now."""
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                return
            error = error.__context__
        raise KeyboardInterrupt

    def _dropped(self, what: Any) -> None:
        """Python tells what it drops; an interrupt comes again."""
        if not (self.received and isinstance(what.exc_value, KeyboardInterrupt)):
            self._told_before(what)

    @property
    def status(self) -> int:
        """Exit status of a program that this signal has ended, as a shell says it."""
        return 128 + (self.received or signal.SIGINT)

    def clean(self) -> None:
        """End what still runs and remove its files; further signals wait until that is done."""
        from ...gateware.scratch import remove_scratch

        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        end_descendants()
        remove_scratch()

"""Signals that end a program, as a wish: work with a device ends between two requests, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the work shall end.

    Attributes
    ----------
    signal : signal.Signals or None
        What asked for it.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def status(self) -> int:
        """Exit status of the program. Ctrl-C is how a user ends what would go on, and no failure."""
        return 0 if self.signal in (None, signal.SIGINT) else 128 + self.signal


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP are noted; a second one ends the program at once.

    What is ignored stays so, as under ``nohup``. In another thread than the main one nothing is noted.
    """
    stop, before = Stop(), {}

    def note(number: int, _: FrameType | None) -> None:
        if stop.signal is None:
            stop.signal = signal.Signals(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):  # None: not of Python
                before[number] = handler
                signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Bytes over a serial port, with pyserial; comes back by itself when the device does."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import serial
from serial.tools import list_ports

from .link import LinkError

__all__ = ["SerialTransport", "find_port"]

_WRITE_TIMEOUT_S = 1.0


def find_port() -> str:
    """The one USB serial port that there is; LinkError lists them where there are others."""
    ports = sorted(list_ports.comports())
    found = [port for port in ports if port.vid is not None]
    if len(found) == 1:
        return str(found[0].device)
    what = "no USB serial port found" if not found else "more than one USB serial port"
    listed = ", ".join(f"{port.device} ({port.description})" for port in found or ports)
    raise LinkError(f"{what}: name it with --port{f', one of: {listed}' if listed else ''}")


class SerialTransport:
    """A serial port, 8N1; a ``host.Transport``.

    A port that is gone, as when the cable is pulled, is a :class:`LinkError` for each call until the device
    is back under the same name.

    Parameters
    ----------
    port : str
    baud : int

    Attributes
    ----------
    reopened : int
        How often the port had to be opened again.

    Raises
    ------
    LinkError
        If the port cannot be opened.
    """

    def __init__(self, port: str, baud: int = 1_000_000) -> None:
        self.port, self.baud = port, baud
        self.reopened = 0
        self._serial: serial.Serial | None = self._open()

    def now(self) -> float:
        return time.monotonic()

    def write(self, data: bytes) -> None:
        """Send bytes; LinkError if the port does not take them."""
        line = self._line()
        try:
            line.write(data)
        except (OSError, serial.SerialException) as error:  # a time-out too
            raise self._gone(error) from None

    def read(self, timeout_s: float) -> bytes:
        """What has come; waits for the first byte, at most `timeout_s`."""
        line = self._line()
        try:
            line.timeout = max(timeout_s, 0.0)
            first: bytes = line.read(1)
            return first + bytes(line.read(line.in_waiting)) if first else b""
        except (OSError, TypeError, serial.SerialException) as error:  # TypeError: pyserial, closed in a read
            raise self._gone(error) from None

    def close(self) -> None:
        """Let go of the port."""
        if self._serial is not None:
            with suppress(OSError, serial.SerialException):
                self._serial.close()
            self._serial = None

    def _open(self) -> serial.Serial:
        try:
            # Exclusive: two hosts on one chip would take each other's answers.
            return serial.Serial(self.port, self.baud, write_timeout=_WRITE_TIMEOUT_S, exclusive=True)
        except (OSError, ValueError, serial.SerialException) as error:
            raise LinkError(f"{self.port}: {_reason(error)}") from None

    def _line(self) -> serial.Serial:
        if self._serial is None:
            self._serial = self._open()
            self.reopened += 1
        return self._serial

    def _gone(self, error: Exception) -> LinkError:
        self.close()
        return LinkError(f"{self.port}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What the system says, without what pyserial puts around it."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(error)

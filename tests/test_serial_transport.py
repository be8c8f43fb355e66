"""The serial port: a pseudo terminal that is pulled and plugged in again, and the choice of a port."""

from __future__ import annotations

import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fake_device import (
    CONFIG,
    OTHER,
    FakeDevice,
)
from microzone.tools.host import serial as serial_transport
from microzone.tools.host.chip import Host, LinkError
from microzone.tools.host.serial import SerialTransport


@contextmanager
def pseudo_terminal(device: FakeDevice, link: Path) -> Iterator[Any]:
    """A chip behind a pseudo terminal, under a name that stays; the yielded function pulls and plugs it."""
    ends: dict[str, int] = {}
    stop, alive = threading.Event(), threading.Lock()

    def plug(in_: bool) -> None:
        with alive:
            for end in ends.values():
                os.close(end)
            ends.clear()
            link.unlink(missing_ok=True)
            if in_:
                ends["chip"], ends["port"] = os.openpty()
                tty.setraw(ends["port"])
                os.set_blocking(ends["chip"], False)
                link.symlink_to(os.ttyname(ends["port"]))

    def serve() -> None:
        while not stop.wait(0.001):
            with alive:
                if not ends:
                    continue
                with suppress(BlockingIOError):
                    device.write(os.read(ends["chip"], 4096))
                os.write(ends["chip"], device.read(0.002) or b"")

    plug(True)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield plug
    finally:
        stop.set()
        thread.join()
        plug(False)


def test_over_a_serial_port_that_is_pulled_and_plugged_in_again(tmp_path: Path) -> None:
    device, port = FakeDevice(CONFIG), tmp_path / "ttyUSB0"
    with pseudo_terminal(device, port) as plug:
        transport = SerialTransport(str(port), 115_200)
        host = Host(transport, CONFIG, timeout_s=0.5)
        assert host.check_built().digest == CONFIG.digest
        host.load(CONFIG.replace(**OTHER))
        plug(False)
        for _ in range(3):
            with pytest.raises(LinkError, match="ttyUSB0") as gone:
                host.read("control.MAGIC")
            assert "\n" not in str(gone.value)
        plug(True)
        assert host.read("control.MAGIC") == 0x6D7A6F6E and transport.reopened == 1
        host.load(CONFIG)
        with pytest.raises(LinkError, match="ttyUSB0"):
            SerialTransport(str(port))  # one host at a time
        host.close()
    with pytest.raises(LinkError, match="ttyUSB0: No such file"):
        SerialTransport(str(port))


class Port:
    def __init__(self, device: str, vid: int | None, description: str = "FT232R") -> None:
        self.device, self.vid, self.description = device, vid, description

    def __lt__(self, other: Port) -> bool:
        return self.device < other.device


def test_the_only_usb_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [Port("/dev/ttyS0", None, "n/a"), Port("/dev/ttyUSB1", 0x0403)]
    monkeypatch.setattr(serial_transport.list_ports, "comports", lambda: ports)
    assert serial_transport.find_port() == "/dev/ttyUSB1"
    ports.append(Port("/dev/ttyACM0", 0x1209, "OrangeCrab"))
    with pytest.raises(
        LinkError, match=r"more than one USB .*ttyACM0 \(OrangeCrab\), /dev/ttyUSB1 \(FT232R\)"
    ):
        serial_transport.find_port()
    del ports[1:]
    with pytest.raises(LinkError, match=r"no USB serial port found: name it .*/dev/ttyS0 \(n/a\)"):
        serial_transport.find_port()
    ports.clear()
    with pytest.raises(LinkError, match=r"no USB serial port found: name it with --port$"):
        serial_transport.find_port()
